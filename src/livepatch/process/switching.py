"""How the process goes from one stack to another: at once, when it is quiet, or by a transition that drains.

Called with the process's one lock held, but for what says so.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import CodeType, ModuleType
from typing import Literal

from livepatch.engine import frozen
from livepatch.engine.caches import Cache
from livepatch.engine.commit import value_of
from livepatch.engine.environment import Environment, observe
from livepatch.engine.frames import InFlight, in_flight, is_nearby, nearby
from livepatch.engine.gauge import Gauge
from livepatch.engine.heap import hidden_from_the_heap_walk, is_permitted, pause_of_a_walk
from livepatch.engine.holders import quiet_gauge
from livepatch.engine.outliving import Absence, Unlike, told
from livepatch.engine.pace import breathe, others_work
from livepatch.engine.plan import Plan, State, plan
from livepatch.engine.stack import SIDE, Stack, difference
from livepatch.engine.transition import Busy, Transition, needs_staging, switch, switch_if_quiet
from livepatch.errors import TransitionError, counted
from livepatch.process.standing import describe

__all__ = ["Consistency", "Look", "Switching", "Went"]

Consistency = Literal["immediate", "chain", "quiescent"]

# Between two looks at what drains, in seconds: soon at first, and then the seldomer the longer it takes.
_SOONEST, _LATEST, _SLOWER = 0.0005, 0.05, 1.5
_PATIENCE = 0.05  # seconds for which references alone are asked, before anybody looks for frames
_RARELY = 50  # a look through the heap stops other threads: at most a fiftieth of the time goes into looking,
_SELDOM = 2.0  # but there is one every so many seconds


@dataclass(frozen=True, slots=True)
class Went:
    """What a switch did: places that others had changed, what could not follow, how much, and how long it took."""

    foreign: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    writes: int = 0
    seconds: float = 0.0
    walked: float = 0.0


@dataclass(frozen=True, slots=True)
class Look:
    """Who is still on the other side: frames, and how many units of work."""

    frames: tuple[InFlight, ...] = ()
    units: int = 0

    def __bool__(self) -> bool:
        return bool(self.frames or self.units)

    def __str__(self) -> str:
        told = [str(frame) for frame in self.frames[:5]]
        if len(self.frames) > 5:
            told.append(f"{len(self.frames) - 5} calls more")
        if self.units:
            told.append(f"{counted(self.units, 'unit')} of work that began before")
        return "; ".join(told)


class Pace:
    """When to look again, and when to look for frames as well."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._pause = _SOONEST
        self._next_search = self._began + _PATIENCE

    def rest(self, until: float) -> None:
        """Wait a little, but not beyond `until`."""
        time.sleep(max(0.0, min(self._pause, until - time.monotonic())))
        self._pause = min(self._pause * _SLOWER, _LATEST)

    @property
    def may_search(self) -> bool:
        """Whether references have had their time."""
        return time.monotonic() >= self._next_search

    def searched(self, seconds: float) -> None:
        """A search took so long."""
        self._next_search = time.monotonic() + min(max(_PATIENCE, seconds * _RARELY), _SELDOM)


class Drain:
    """Whether anything that a gauge watches is in a call, by references first and by a search when these stay."""

    def __init__(self, *, flipped: bool) -> None:
        self.pace = Pace()
        self.last = Look()
        self.found_none = False
        """Two searches, one after the other, have found no call; what the references say does not matter then."""
        self._flipped = flipped
        self._clear = 0

    def is_over(self, gauge: Gauge) -> bool:
        """Whether nothing is in a call.  If references remain that no call explains, the gauge then allows them.

        Once it has `flipped`, no call begins on the other side but by one that is there, so it is enough to find none.
        """
        if not gauge.busy:
            return True
        if not self.pace.may_search or not _may_search(gauge):
            return False
        begun = time.perf_counter()
        before = gauge.read()
        self.last = look_for(gauge)
        still = before == gauge.read()
        self.pace.searched(time.perf_counter() - begun)
        if self.last:
            self._clear = 0
            return False
        if still:
            gauge.allow(before)
            return True
        self._clear += 1
        self.found_none = self._flipped and self._clear > 1 and not gauge.units
        return self.found_none


def look_for(gauge: Gauge) -> Look:
    """Who is in a call of the code that has more references than are known, and how many units are at work."""
    units = gauge.units
    codes = [thing for thing, _ in gauge.excess if isinstance(thing, CodeType)]
    return Look(nearby(codes) or (in_flight(codes) if _may_search(gauge) else ()), units)


def _is_anybody_there(gauge: Gauge) -> bool:
    """Whether a look finds somebody, without asking who.  `gauge` has no units."""
    codes = [thing for thing, _ in gauge.excess if isinstance(thing, CodeType)]
    return is_nearby(codes) or (_may_search(gauge) and bool(in_flight(codes)))


def _may_search(gauge: Gauge) -> bool:
    """Whether the pause for which a search of the heap holds others is permitted."""
    return is_permitted(len(gauge.excess))


_SHORT = 0.05  # seconds that a search of the heap may take where the switch can go another way
_UNNOTICED = 0.001  # and beside others who work: what is not found then is left to the drain


def _is_cheap(gauge: Gauge) -> bool:
    """Whether a search is one short walk.  What ``gc.freeze()`` hides takes a long one if nobody has looked before."""
    if hidden_from_the_heap_walk() and frozen.known() is None:
        return False
    return _may_search(gauge) and pause_of_a_walk(len(gauge.excess)) <= (_UNNOTICED if others_work() else _SHORT)


def _allow_unexplained(gauge: Gauge) -> None:
    """Look once, where that is cheap, whether references that are not known belong to no call."""
    if gauge.units or not gauge.busy:
        return
    before = gauge.read()  # with no list of the code in our hands: it would count
    if not _is_cheap(gauge) or _is_anybody_there(gauge):
        return
    if before == gauge.read():
        gauge.allow(before)


def _is_clear(opened: Transition) -> bool:
    """Whether nothing is on the other side, by a search as well where that is cheap.  Right after a flip."""
    for _ in range(2):
        gauge = opened.gauge()
        if not gauge.busy:
            return True
        if gauge.units or not _is_cheap(gauge) or _is_anybody_there(gauge):
            return False
        del gauge
        time.sleep(0.001)
    return True


def _held_up(absence: Absence, timeout: float) -> TransitionError:
    return TransitionError(
        f"within {timeout:g} s there was no moment without objects that the other side cannot use",
        timeout=timeout,
        found="; ".join(told(absence.counts)),
        expected="no such object, and no call that may make one",
        action="have them made anew at a quieter time, try again with a longer timeout, or restart",
    )


class Switching:
    """Carries out changes of the stack."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.cancelled = False
        """Set by another thread to give up a wait."""

    def go(
        self,
        new: Stack,
        caches: Iterable[Cache],
        modules: dict[str, ModuleType],
        *,
        whole: bool,
        consistency: Consistency,
        timeout: float,
        hold: Sequence[Unlike] = (),
    ) -> Went:
        """Go to another stack.  With `whole`, not if others have changed a place that must be written.

        As long as there are objects that `hold` the switch, it waits, as it does for a quiescent moment.
        Raises :class:`TransitionError`, and all is as it was before.
        """
        until = time.monotonic() + timeout
        state = self.state
        if state.open is not None:
            if not hold and not difference(state.open.stacks[not state.open.live], new):
                return Went(seconds=state.open.turn(new), writes=1)
            self._wait_for_settled(state.open, until, timeout)
        planned = plan(state, new, modules)
        if whole and planned.foreign:
            first = planned.foreign[0]
            raise TransitionError(
                f"{len(planned.foreign)} places were changed by others, so the fix would not be whole",
                found=f"{first.slot}: {describe(first.found, modules)}",
                expected="what livepatch last put there",
                action="undo that change, or revert the patch and apply it anew",
            )
        seconds = self._carry_out(planned, list(caches), observe(), consistency, until, timeout, hold)
        foreign = tuple(f"{f.slot}: {describe(f.found, modules)}" for f in planned.foreign)
        return Went(foreign, planned.left, len(planned.writes), seconds, planned.walked)

    def _carry_out(
        self,
        planned: Plan,
        caches: list[Cache],
        environment: Environment,
        consistency: Consistency,
        until: float,
        timeout: float,
        hold: Sequence[Unlike],
    ) -> float:
        state = self.state
        staged = needs_staging(planned.writes, environment)
        if hold:
            # A hook that runs at the store to a function would come between the look and the switch.
            hooked = not environment.stores_are_atomic and any(w.slot.kind == "function" for w in planned.writes)
            return self._when_quiet(planned, caches, until, timeout, staged=staged or hooked, absence=Absence(hold))
        if not any(write.slot.kind == "function" and write.slot.name in SIDE for write in planned.writes):
            return switch(state, planned, caches)
        if consistency == "quiescent":
            return self._when_quiet(planned, caches, until, timeout, staged=staged)
        if consistency == "immediate" and not staged:
            return switch(state, planned, caches)
        if consistency == "chain" and not staged:
            breathe()
            gauge = quiet_gauge(state, planned)
            breathe()
            _allow_unexplained(gauge)
            seconds = switch_if_quiet(state, planned, caches, gauge)
            if seconds is not None:
                return seconds
            del gauge
        opened = Transition(state, planned, caches, chains=consistency == "chain")
        opened.stage()
        try:
            seconds = opened.flip()
            if consistency == "immediate" or _is_clear(opened):
                opened.settle()
        except BaseException:
            opened.abandon()
            raise
        return seconds

    def _when_quiet(
        self,
        planned: Plan,
        caches: list[Cache],
        until: float,
        timeout: float,
        *,
        staged: bool,
        absence: Absence | None = None,
    ) -> float:
        """Switch when no call of a target and no unit of work is under way, and no object is there that must not be."""
        drain = Drain(flipped=False)
        opened = Transition(self.state, planned, caches, chains=True) if staged else None
        if opened is not None:
            opened.stage()
        try:
            while True:
                gauge = opened.gauge(side=False) if opened is not None else quiet_gauge(self.state, planned)
                if drain.is_over(gauge) and (absence is None or absence.may_look):
                    # The look comes first: from there on nothing but C code runs, also where a hook is told of it.
                    first = absence.checks() if absence is not None else ()
                    if opened is None:
                        self._check_unchanged(planned)
                        seconds = switch_if_quiet(self.state, planned, caches, gauge, first)
                        if seconds is not None:
                            return seconds
                    else:
                        try:
                            seconds = opened.flip(itertools.chain(first, gauge.checks()))
                        except Busy:
                            pass
                        else:
                            opened.settle()
                            return seconds
                    if absence is not None:
                        absence.look_again()
                if absence is not None and absence.counts and time.monotonic() >= until:
                    raise _held_up(absence, timeout)
                self._give_up_if(cancelled=self.cancelled, until=until, timeout=timeout, drain=drain, gauge=gauge)
                drain.pace.rest(until)
        except BaseException:
            if opened is not None:
                opened.abandon()
            raise

    def _give_up_if(self, *, cancelled: bool, until: float, timeout: float, drain: Drain, gauge: Gauge) -> None:
        if cancelled:
            raise TransitionError(
                "the switch was cancelled before it was made",
                found="a call of cancel()",
                expected="a moment in which no target is running",
                action="apply it again when it suits",
            )
        if time.monotonic() < until:
            return
        look = look_for(gauge)
        raise TransitionError(
            f"within {timeout:g} s there was no moment in which no target was running",
            timeout=timeout,
            found=str(look or drain.last) or "calls that came and went",
            expected="no thread, coroutine or generator inside a target, and no unit of work",
            action="try again with a longer timeout or at a quieter time, or use consistency='chain'",
        )

    @staticmethod
    def _check_unchanged(planned: Plan) -> None:
        for write in planned.writes:
            if write.slot.owner is not None and value_of(write.slot) is not write.before:
                raise TransitionError(
                    f"{write.slot} was changed by others while the switch waited",
                    found="another value than when the wait began",
                    expected="nobody else to change what a patch changes",
                    action="find out who did; then try again",
                )

    def wait_for_settled(self, timeout: float, *, units: bool = True) -> None:
        """Wait for the open transition to end, if there is one.  Raises :class:`TransitionError` when time is up.

        Without `units`, only for calls: where both sides gave units of work the same, none need end.
        """
        if self.state.open is not None:
            self._wait_for_settled(self.state.open, time.monotonic() + timeout, timeout, units=units)

    def _wait_for_settled(self, opened: Transition, until: float, timeout: float, *, units: bool = True) -> None:
        drain = Drain(flipped=True)
        while self.state.open is opened:
            gauge = opened.gauge()
            if not units:
                gauge.epochs.clear()
            if drain.is_over(gauge):
                self.settle(opened)
                return
            if time.monotonic() >= until:
                look = look_for(gauge)
                raise TransitionError(
                    f"the switch before is still draining after {timeout:g} s",
                    timeout=timeout,
                    found=str(look or drain.last) or "calls on the other side",
                    expected="one switch at a time, so that no call sees half of two",
                    action="wait for it, restart the task that is named, or take that switch back with cancel()",
                )
            drain.pace.rest(until)

    def settle(self, opened: Transition) -> None:
        """End a transition whose other side is in no call any more.  It is done: a failure later does not undo it."""
        opened.settle(final=True)
