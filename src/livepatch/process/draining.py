"""The wait for calls on the other side: a short-lived thread that ends a transition as soon as it can end."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from livepatch.engine.frames import InFlight, stuck
from livepatch.engine.gauge import Gauge
from livepatch.engine.stack import Stack
from livepatch.engine.transition import Transition
from livepatch.errors import LivepatchError
from livepatch.events import emit
from livepatch.process.records import Record
from livepatch.process.standing import Status
from livepatch.process.switching import Drain, Look, look_for

if TYPE_CHECKING:
    from livepatch.process.transaction import Transactions

__all__ = ["Before", "Draining"]

_LOCK = 5.0  # seconds that the thread waits for the lock before it looks anew


class Before(NamedTuple):
    """What the open transition would go back to."""

    records: dict[str, Record]
    reverted: dict[str, Status]
    left: dict[str, tuple[str, ...]]
    stack: Stack


class Draining:
    """What is draining, and the thread that waits for it; there is none while nothing drains."""

    def __init__(self, live: Transactions) -> None:
        self._live = live
        self._thread: threading.Thread | None = None
        self._transition: Transition | None = None
        self._about: frozenset[str] = frozenset()
        self._memory = Before({}, {}, {}, Stack())
        self._told: set[tuple[str, int, str]] = set()

    @property
    def about(self) -> frozenset[str]:
        """The ids of the patches that the open transition puts in, takes out or sets to another mode."""
        return self._about if self._transition is self._live.state.open is not None else frozenset()

    @property
    def memory(self) -> Before:
        """What the open transition would go back to."""
        return self._memory

    def opened(self, transition: Transition, memory: Before) -> None:
        """A transition has been opened; `memory` are the records of before."""
        layers = [{(la.patch_id, la.mode, id(la.values)) for la in stack.layers} for stack in transition.stacks]
        self._transition = transition
        self._about = frozenset(patch_id for patch_id, _, _ in layers[0] ^ layers[1])
        self._memory = memory
        self._told = set()

    def turned(self, memory: Before) -> Before:
        """It has been turned round; gives the records of before, and keeps those that it is turned from."""
        before, self._memory = self._memory, memory
        self._told = set()
        return before

    def after_fork(self, transition: Transition | None) -> None:
        """In a child, where the thread is not."""
        self._thread = None
        if transition is not None:
            self.go_on()

    def go_on(self) -> None:
        """See that somebody waits for the open transition, if there is one."""
        if self._live.state.open is None or self._thread is not None:
            return
        thread = threading.Thread(target=self._run, name="livepatch-settle", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is going down
            self._thread = None
            emit("not_awaited", level="warning", error=str(error))

    def _run(self) -> None:
        try:
            while (opened := self._live.state.open) is not None:
                self._await(opened)
        finally:
            self._thread = None
        self.go_on()  # one may have been opened since the last look

    def _await(self, opened: Transition) -> None:
        drain, turns = Drain(flipped=True), opened.turns
        while self._live.state.open is opened and opened.turns == turns:
            gauge = self._live.gauge(opened, _LOCK)
            if gauge is None:
                continue
            if drain.is_over(gauge) and self._end(opened, turns, gauge, _LOCK, sure=drain.found_none):
                return
            if drain.last.frames:
                self._tell_stuck(opened, drain.last)
            del gauge
            drain.pace.rest(time.monotonic() + 1)

    def ended_without_thread(self) -> bool:
        """End the transition if it can be ended and no thread could be started for it; whether it is over."""
        opened = self._live.state.open
        if opened is None:
            return not self._live.states.settling
        if self._thread is not None:
            return False
        self.go_on()  # perhaps there can be one now
        turns, gauge = opened.turns, self._live.gauge(opened, 0.0)
        return gauge is not None and not gauge.busy and self._end(opened, turns, gauge, 0.0)

    def _end(self, opened: Transition, turns: int, gauge: Gauge, timeout: float, *, sure: bool = False) -> bool:
        """Settle, if nothing has changed since the gauge was read."""

        def body() -> bool:
            busy = gauge.units if sure else gauge.busy
            if self._live.state.open is not opened or opened.turns != turns or busy:
                return False
            self._live.end(opened)
            return True

        try:
            return self._live.transact(timeout, body)
        except LivepatchError:
            return False  # another switch is being made, and looks for itself
        except Exception as error:  # noqa: BLE001  # whatever a store may raise: it stays open, and this thread goes on
            emit("not_settled", level="error", error=type(error).__qualname__)
            time.sleep(1.0)
            return False

    def _tell_stuck(self, opened: Transition, look: Look) -> None:
        """Name each call that never leaves by itself, once; who asked for it may restart its task."""
        new = [f for f in look.frames if f.endless and _key(f) not in self._told]
        if not new:
            return
        for each in stuck(opened.codes()):
            if _key(each.where) in self._told:
                continue
            self._told.add(_key(each.where))
            emit(
                "stuck",
                level="warning",
                patches=sorted(self.about),
                function=each.where.function,
                file=each.where.file,
                line=each.where.line,
                holder=each.where.holder,
                advice="it never leaves by itself: restart the task or thread that it is in",
            )
            for patch_id in self.about:
                record = self._live.records.get(patch_id)
                if record is not None and record.on_stuck is not None:
                    try:
                        record.on_stuck(each)
                    except Exception as error:  # noqa: BLE001  # the program's own code may fail in any way
                        emit("on_stuck_failed", level="error", patch=patch_id, error=type(error).__qualname__)

    def told(self, status: Status) -> Status:
        """The status of a patch that is draining: who is still on the other side.  Ends the transition if it can."""
        opened = self._transition
        if opened is None:
            return status
        turns, gauge = opened.turns, self._live.gauge(opened, 0.0)
        if gauge is not None and not gauge.busy and self._end(opened, turns, gauge, 0.0):
            return status
        look = look_for(gauge if gauge is not None else opened.gauge())
        frames = tuple(replace(frame, since=opened.began) for frame in look.frames)
        return replace(status, state="draining", frames=frames, units=look.units, since=opened.began)


def _key(frame: InFlight) -> tuple[str, int, str]:
    return frame.function, frame.line, frame.holder
