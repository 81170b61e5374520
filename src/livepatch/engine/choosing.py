"""Which side a call gets: the one of the nearest call that has a side, else its unit's, else what the mode says.

A call chain that has a function of one side on its stack stays on that side; coroutines that await each other are one
chain.  So a fix is seen whole, whichever way the first call of a chain or unit went.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType, FunctionType

from livepatch.engine.code import nested_codes
from livepatch.engine.dispatch import Dispatch, Way, dispatching
from livepatch.engine.functions import stand_for
from livepatch.engine.measuring import Counts, Measured, counting
from livepatch.engine.modes import At, Mode, Split, as_shadow
from livepatch.engine.shadowing import Tally, runner
from livepatch.engine.stack import Choice
from livepatch.engine.standins import StandIn, stand_in
from livepatch.engine.units import current
from livepatch.errors import shortened

__all__ = ["Chooser", "Chosen", "chosen", "nearest"]

_LONGEST = 500  # characters of a reason that is kept: it may be a program's own text of any length
_frame = sys._getframe  # how the interpreter gives the caller's frame, and all of warnings and logging rests on


def nearest(frame: FrameType | None, sides: Mapping[int, bool]) -> bool | None:
    """The side of the nearest frame whose code has one, by the code's id; ``None``: no frame's has."""
    side_of = sides.get
    while frame is not None:
        side = side_of(id(frame.f_code))
        if side is not None:
            return side
        frame = frame.f_back
    return None


class Chooser:
    """Decides for one layer, call by call, while its mode is neither on nor off."""

    __slots__ = ("_kept", "counts", "flag", "mode", "sides", "tally", "trouble", "troubles")

    def __init__(self, mode: Mode, flag: str) -> None:
        self.mode = mode
        self.flag = flag
        self.sides: dict[int, bool] = {}
        """By the id of a code: whether a call of it is on the layer's side."""
        self._kept: list[StandIn] = []
        self.tally = Tally() if as_shadow(mode) is not None else None
        self.counts: dict[str, Counts] = {}
        """By target, while the mode is to measure."""
        self.troubles = 0
        self.trouble = ""
        """How often the mode could not decide, so that the old side was taken; and why, the last time."""

    def mark(self, standing: StandIn, side: bool) -> None:  # the value itself
        """Let calls of a stand-in, and of the functions that it makes, count as being on the layer's side, or not."""
        self._kept.append(standing)
        made = nested_codes(standing.function.__code__)
        self.sides.update(dict.fromkeys(map(id, (*made, *standing.codes)), side))

    def ways(self, new: StandIn, old: StandIn, target: str) -> list[Way]:
        """The ways by which calls of a function get to the layer's side."""
        shadow = as_shadow(self.mode)
        if shadow is not None:
            assert self.tally is not None
            both = runner(old.function, new.function, shadow, self.tally, target)
            return [Way(new.function, self._below), Way(both, self._first, beside=True)]
        code = old.function.__code__  # a call that may go to either side gives what the old one takes
        names = code.co_varnames[: code.co_argcount]
        by_key = isinstance(self.mode, Split) and self.mode.key is not None
        return [Way(new.function, self._asking(names), with_arguments=by_key)]

    def measures(self, inner: FunctionType, target: str) -> FunctionType:
        """What calls a function and counts that as a call of the target."""
        return counting(inner, self.counts.setdefault(target, Counts()))

    def _below(self) -> bool:
        return nearest(_frame(1).f_back, self.sides) is True

    def _first(self) -> bool:
        return nearest(_frame(1).f_back, self.sides) is None

    def _asking(self, names: tuple[str, ...]) -> Callable[..., bool]:
        sides = self.sides

        def ask(*args: object, **kwargs: object) -> bool:
            side = nearest(_frame(1).f_back, sides)
            if side is not None:
                return side
            unit = current()
            if unit is None:
                return self._decide(args, kwargs, names)
            decided = unit.choices.get(self)
            if decided is None:
                # What another task of the unit has decided in the meantime holds.
                decided = unit.choices.setdefault(self, self._decide(args, kwargs, names))
            return decided

        return ask

    def _decide(self, args: tuple[object, ...], kwargs: dict[str, object], names: tuple[str, ...]) -> bool:
        mode = self.mode
        try:
            if isinstance(mode, At):
                return mode.reached()
            assert isinstance(mode, Split)
            return mode.chooses(args, kwargs, names, self.flag)
        except Exception as error:  # noqa: BLE001  # a key or source of the program's may fail in any way
            self.troubles += 1
            self.trouble = shortened(f"{type(error).__qualname__}: {error}", _LONGEST)
            return False


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Chosen:
    """A body that decides call by call, as a :class:`Choice` asks for, and the stand-ins behind it."""

    dispatch: Dispatch
    standing: tuple[StandIn, ...]

    def retire(self) -> None:
        """It is in no function any more."""
        stand_for(self.dispatch.code, None)


def chosen(function: FunctionType, choice: Choice, choosers: Mapping[str, Chooser], target: str) -> Chosen:
    """Build what `function` holds while the `choosers`, by patch, decide."""
    last = stand_in(function, choice.otherwise, fresh=True)
    sides = [stand_in(function, branch.side, fresh=True) for branch in choice.branches]
    ways: list[Way] = []
    for i, branch in enumerate(choice.branches):
        chooser = choosers[branch.patch_id]
        chooser.mark(sides[i], True)
        for below in (*sides[i + 1 :], last):
            chooser.mark(below, False)
        if not isinstance(branch.mode, Measured):
            ways += chooser.ways(sides[i], last, target)
    inner = last.function
    for branch in reversed(choice.branches):  # of several patches that measure one function, each counts all its calls
        if isinstance(branch.mode, Measured):
            inner = choosers[branch.patch_id].measures(inner, target)
    if inner is not last.function:
        # The plain side stays a constant of the body, so that calls of it can be found behind it.
        ways.append(Way(inner, _always, beside=True))
    # What the function holds by now may be another body that chooses, whose parameters are nobody's.
    dispatch = dispatching(last.function, [*ways, Way(last.function)])
    code = choice.otherwise[0]
    stand_for(dispatch.code, code)  # type: ignore[arg-type]  # the first of a side is its code
    return Chosen(dispatch, (*sides, last))
