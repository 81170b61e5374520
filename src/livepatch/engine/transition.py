"""A plan goes live: in one step where nothing is in its way, else by a transition that lets every call end on its side.

A transition *stages* bodies that still choose the old side, *flips* one cell, lets the calls of the old side *drain*,
and *settles* plain code in place of the bodies.  Until it has settled it can be turned round; it then drains the other
side.  Before the flip the old side is chosen by one read of the cell, with nothing between it and the reference to the
old side's function, so a call that goes there can be counted from that moment on.  After the flip the old side is
chosen only beneath one of its own frames, or in a unit of work that began before, and both keep the drain open.
"""

from __future__ import annotations

import functools
import itertools
import operator
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import CodeType, FunctionType

from livepatch.engine.caches import Cache, clearers
from livepatch.engine.choosing import Chosen, nearest
from livepatch.engine.closures import follow
from livepatch.engine.commit import commit, restore, value_of
from livepatch.engine.dispatch import Cell, Dispatch, Way, dispatching
from livepatch.engine.environment import Environment
from livepatch.engine.functions import stand_for, stands
from livepatch.engine.gauge import Busy, Gauge
from livepatch.engine.holders import is_swapped, quiet_gauge, references_of
from livepatch.engine.pace import breathe
from livepatch.engine.plan import Choices, Plan, State
from livepatch.engine.stack import ABSENT, SIDE, Choice, Slot, Stack, Write
from livepatch.engine.standins import StandIn, calls_behind, copies_of, stand_in, watch_code
from livepatch.engine.units import Epoch, current, entering, epochs_at_work, passed
from livepatch.engine.units import now as epoch_now
from livepatch.errors import TransitionError

__all__ = ["Busy", "Transition", "needs_staging", "switch", "switch_if_quiet"]

_frame = sys._getframe  # how the interpreter gives the caller's frame; warnings and logging rest on it

Side = tuple[object, object, object]


def needs_staging(writes: Sequence[Write], environment: Environment) -> bool:
    """Whether the stores could be interleaved, so that the functions must be switched by one cell instead."""
    functions = [write for write in writes if write.slot.kind == "function"]
    return not environment.stores_are_atomic and len(functions) > 1


def switch(state: State, planned: Plan, caches: list[Cache], first: Iterable[object] = ()) -> float:
    """Carry out a plan in one step; give the seconds that it took.  If anything is raised, all is as it was before.

    `first` runs at the beginning of the step.
    """
    inside, after = clearers(caches)
    before = state.stack, state.choosers, state.choices
    state.undo = planned.writes
    try:
        state.choosers, state.choices = planned.choosers, planned.choices
        seconds = commit(planned.writes, (state, "stack", planned.stack), inside, first)
        for clear in after:
            clear()
    except BaseException:
        restore(state.undo)
        state.stack, state.choosers, state.choices = before
        raise
    _retire(before[2], planned.choices)
    return seconds


def _retire(before: Choices, now: Choices) -> None:
    for key, gone in before.items():
        if now.get(key) is not gone:
            gone.retire()


def switch_if_quiet(
    state: State, planned: Plan, caches: list[Cache], gauge: Gauge | None = None, first: Iterable[object] = ()
) -> float | None:
    """Carry out a plan in one step if no call of what it changes is under way, and no unit of work; else ``None``.

    That nothing is under way is seen in the same step.  `first` runs at its beginning, and may raise :class:`Busy`.
    Raises as :func:`switch` does.
    """
    gauge = gauge if gauge is not None else quiet_gauge(state, planned)
    if gauge.busy:
        return None
    try:
        return switch(state, planned, caches, itertools.chain(first, gauge.checks()))
    except Busy:
        return None


@dataclass(frozen=True, slots=True)
class _Swapped:
    """One function that chooses: what it held and shall hold, the body between, and the functions behind that."""

    code: Slot
    sides: tuple[Side, Side]
    dispatch: Dispatch
    standing: tuple[StandIn, StandIn]
    """The old side and the new; `sides` likewise."""


class Transition:
    """A switch whose calls end on the side that they began on.

    One side is :attr:`live`, and new chains get it; calls that began on the other one drain.
    """

    def __init__(self, state: State, planned: Plan, caches: list[Cache], *, chains: bool) -> None:
        self.stacks = state.stack, planned.stack
        self.began = time.time()
        self.seconds = 0.0
        self._state = state
        self._planned = planned
        self._before = state.choosers, state.choices
        self._caches = caches
        self._cell = Cell([False])
        self._live = [False]
        """Whether new chains get the new side."""
        self._flips: list[int] = []
        self._epochs: tuple[list[Epoch], list[Epoch]] = ([], [])
        self._sides: dict[int, bool] = {}
        self._select = self._selector() if chains else None
        self._swapped: list[_Swapped] = []
        self._added: list[Write] = []
        self._values: list[Write] = []
        self._removed: list[Write] = []
        self._sort()

    @property
    def live(self) -> bool:
        """Whether new chains get the new side."""
        return self._live[0]

    @property
    def turns(self) -> int:
        """How often it has flipped."""
        return len(self._flips)

    # Prepare

    def _sort(self) -> None:
        functions: dict[int, dict[str, Write]] = {}
        for write in self._planned.writes:
            if is_swapped(write, self._planned):
                functions.setdefault(write.slot.owner_id, {})[write.slot.name] = write
            elif write.before is ABSENT and write.slot.is_name:
                self._added.append(write)
            elif write.after is ABSENT and write.slot.is_name:
                self._removed.append(write)
            else:
                self._values.append(write)
        for writes in functions.values():
            slot = next(iter(writes.values())).slot
            if isinstance(slot.owner, FunctionType):
                self._swapped.append(self._swap(slot.owner, slot, writes))
            breathe()

    def _swap(self, function: FunctionType, slot: Slot, writes: dict[str, Write]) -> _Swapped:
        now: Side = (function.__code__, function.__defaults__, function.__kwdefaults__)
        # A tuple that grows must not be met by a search that another thread makes for what refers to code.
        shall = [writes[name].after if name in writes else value for name, value in zip(SIDE, now, strict=True)]
        then: Side = (shall[0], shall[1], shall[2])
        # Where only defaults change, one code would be on both sides.
        same = now[0] is then[0]
        old, new = stand_in(function, now), stand_in(function, then, fresh=same, remember=same)
        dispatch = dispatching(
            old.function,
            [Way(new.function, self._select), Way(old.function)],
            self._cell,
        )
        assert isinstance(now[0], CodeType)
        self._sides.update(dict.fromkeys(map(id, (*old.codes, *copies_of(now[0]))), False))
        self._sides.update(dict.fromkeys(map(id, new.codes), True))
        return _Swapped(slot.beside(SIDE[0])[0], (now, then), dispatch, (old, new))

    def _selector(self) -> Callable[[], bool]:
        sides, live, side_in = self._sides, self._live, self._side_in

        def select() -> bool:
            side = nearest(_frame(1).f_back, sides)
            if side is not None:
                return side
            unit = current()
            epoch = unit.epoch if unit is not None else None
            if epoch is not None:
                return side_in(epoch.number)
            return live[0]

        return select

    def _side_in(self, epoch: int) -> bool:
        return sum(flip <= epoch for flip in self._flips) % 2 == 1

    def _home(self) -> Epoch | None:
        """The epoch of a unit that begins beneath a call that has a side."""
        side = nearest(_frame(1), self._sides)
        return self._epochs[side][-1] if side is not None else None

    # Stage and flip

    def stage(self) -> None:
        """Install the bodies, which choose the old side, and the names that only the new side knows.

        Raises :class:`TransitionError` if others have changed a function meanwhile; then all is as it was before.
        """
        state = self._state
        staged = [write for each in self._swapped for write in self._stores(each, each.sides[0], _staged(each))]
        bodies = {write.slot for write in staged if write.slot.name == SIDE[0]}
        changed = [each.code for each in self._swapped if each.code.owner is not None and each.code not in bodies]
        if changed:
            raise TransitionError(
                f"{changed[0]} was changed by others while the switch was prepared",
                found="other code than a moment before",
                expected="nobody else to change the functions of a patch",
                action="find out who did; then try again",
            )
        # The code first: where a hook runs between two stores, the old side does not meet stand-ins for its defaults.
        staged.sort(key=lambda write: write.slot.name != SIDE[0])
        self._stand_for(False)
        self._epochs[False][:] = epochs_at_work()
        state.undo = (*staged, *self._added)
        try:
            commit(state.undo, (state, "stack", state.stack))
            if self._select is not None:
                entering[:] = [self._home]
        except BaseException:
            self.abandon()
            raise

    def flip(self, first: Iterable[object] = ()) -> float:
        """Make the new side live; give the seconds that it took.  `first` runs at the beginning of the same step.

        If anything is raised, nothing has changed since the stage.
        """
        return self._flip(self.stacks[1], self._values, first)

    def turn(self, stack: Stack) -> float:
        """Make the other side live again, under `stack`; give the seconds that the flip took.

        Calls of the side that was live until now end there.  If anything is raised, nothing has changed.
        """
        back = [Write(w.slot, w.after, w.before) for w in self._values] if self.live else self._values
        return self._flip(stack, [write for write in back if value_of(write.slot) is write.before])

    def _flip(self, stack: Stack, values: list[Write], first: Iterable[object] = ()) -> float:
        state, side = self._state, not self.live
        inside, after = clearers(self._caches)
        epoch = Epoch(epoch_now[0].number + 1)
        believed = state.stack, state.choosers, state.choices, state.open, epoch_now[0]
        state.undo = (*state.undo, *values)
        self._flips.append(epoch.number)
        self._epochs[side].append(epoch)
        steps = [
            functools.partial(operator.setitem, self._live, 0, side),
            functools.partial(operator.setitem, self._cell, 0, True),
            functools.partial(operator.setitem, epoch_now, 0, epoch),
        ]
        try:
            state.choosers, state.choices = (self._planned.choosers, self._planned.choices) if side else self._before
            seconds = commit(values, (state, "stack", stack), [*steps, *inside], first)
            self._stand_for(side)
            state.open = self
            for clear in after:
                clear()
        except BaseException:
            self._live[0] = not side
            self._flips.remove(epoch.number)
            self._epochs[side].remove(epoch)
            restore(values)
            state.stack, state.choosers, state.choices, state.open, epoch_now[0] = believed
            self._stand_for(not side)
            raise
        passed(believed[-1])
        self.began, self.seconds = time.time(), seconds
        return seconds

    def _stand_for(self, side: bool) -> None:  # the value itself
        for each in self._swapped:
            stand_for(each.dispatch.code, each.sides[side][0])  # type: ignore[arg-type]  # the first is the code

    def _stores(self, each: _Swapped, before: Side, after: Side) -> Iterator[Write]:
        """What takes a function from one side to another; not what others have changed meanwhile."""
        for slot, was, shall in zip(each.code.beside(*SIDE), before, after, strict=True):
            if slot.owner is not None and was is not shall and value_of(slot) is was:
                yield Write(slot, was, shall)

    def holds(self) -> Iterator[tuple[Slot, object]]:
        """What its functions, and the places that wait for the end, hold while it is open."""
        for each in self._swapped:
            yield from zip(each.code.beside(*SIDE), _staged(each), strict=True)
        for write in self._added:
            yield write.slot, write.after
        for write in self._removed:
            yield write.slot, write.before

    def abandon(self) -> None:
        """Take back all that was staged and flipped."""
        self._live[0] = self._cell[0] = False
        state = self._state
        restore(state.undo)
        state.undo = ()
        state.stack, state.open = self.stacks[0], None
        state.choosers, state.choices = self._before
        _retire(self._planned.choices, state.choices)
        self._end()

    def _end(self) -> None:
        """Let go of everything: what is referred to from here would look like a call to the next switch."""
        entering.clear()
        for each in self._swapped:
            stand_for(each.dispatch.code, None)
        self.stacks = Stack(), Stack()
        self._planned = replace(self._planned, stack=Stack(), writes=(), choosers={}, choices={})
        self._before = {}, {}
        self._swapped, self._added, self._values, self._removed, self._caches = [], [], [], [], []
        self._select = None
        for epochs in self._epochs:
            epochs.clear()

    # Drain and settle

    def gauge(self, *, side: bool | None = None) -> Gauge:
        """What shows calls and units on the side that is not live, or on that `side`.

        Good for as long as nothing else is switched.
        """
        gauge = Gauge()
        side = not self.live if side is None else side
        known = references_of((*self.stacks, self._state.stack), self._state.undo, self._choices())
        known.update(id(value) for write in self._planned.writes for value in (write.before, write.after))
        for each in self._swapped:
            known.update(id(value) for held in each.sides for value in held)
            known.update(id(standing_in.function.__code__) for standing_in in each.standing)
        for each in self._swapped:
            standing_in, code = each.standing[side], each.sides[side][0]
            standing_in.watch(gauge, known[id(standing_in.function.__code__)])
            assert isinstance(code, CodeType)
            if each.sides[False][0] is not each.sides[True][0]:
                watch_code(gauge, code, known[id(code)])
            for copy in () if side else copies_of(code):
                if copy is not each.standing[True].function.__code__:
                    watch_code(gauge, copy, 0)
        gauge.epochs += self._epochs[side]
        return gauge

    def _choices(self) -> list[tuple[tuple[object, Choice], Chosen]]:
        return [*self._before[1].items(), *self._planned.choices.items()]

    def codes(self) -> list[CodeType]:
        """The code of calls on the side that is not live."""
        side = not self.live
        codes = []
        for each in self._swapped:
            code = each.sides[side][0]
            assert isinstance(code, CodeType)
            codes += [*each.standing[side].codes]
            if each.sides[False][0] is not each.sides[True][0]:
                codes += [code, *calls_behind(code), *copies_of(code)]
        return list({id(code): code for code in codes}.values())

    def settle(self, *, final: bool = False) -> tuple[str, ...]:
        """Put plain code, or what chooses by call, in place of the bodies; the transition is over.

        Only when the other side is in no call any more.  Gives what others have changed meanwhile, which stays.
        If anything is raised, it is still open.  Unless it is `final`, the switch that goes on may still be undone.
        """
        state, side = self._state, self.live
        inside, after = clearers(self._caches)
        ends = [write for each in self._swapped for write in self._stores(each, _staged(each), each.sides[side])]
        # The code last: while a body chooses, stand-ins for defaults and defaults alike do no harm.
        ends.sort(key=lambda write: write.slot.name == SIDE[0])
        gone = self._removed if side else [Write(w.slot, w.after, w.before) for w in self._added]
        ends += [write for write in gone if write.slot.owner is not None and value_of(write.slot) is write.before]
        ends += self._late()
        if not final:
            state.undo = (*state.undo, *ends)
        commit(ends, (state, "open", None), inside)
        for clear in after:
            clear()
        _retire(self._before[1] if side else self._planned.choices, state.choices)
        planned = {write.slot for write in ends}
        left = tuple(
            str(each.code) for each in self._swapped if each.code.owner is not None and each.code not in planned
        )
        self._end()
        return left

    def _late(self) -> list[Write]:
        """Closures that the side which has drained made meanwhile."""
        side = self.live
        swapped = {each.code for each in self._swapped}
        writes = [
            Write(each.code, each.sides[not side][0], each.sides[side][0])
            for each in self._swapped
            if each.code.owner is not None and not stands(each.sides[side][0])
        ]
        return [write for write in follow(writes, *self.stacks).writes if write.slot not in swapped]


def _staged(each: _Swapped) -> Side:
    return each.dispatch.code, each.dispatch.defaults, each.dispatch.kwdefaults
