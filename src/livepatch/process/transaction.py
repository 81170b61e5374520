"""What the process holds of its patches, and the transaction in which that changes.

One transaction happens at a time.  A second thread waits for the first, up to its own timeout; the same thread (a
signal handler or ``__del__`` that runs in the middle of one) is refused at once.  Whatever a transaction raises, the
process is as it was before it.
"""

from __future__ import annotations

import collections
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar

from livepatch.engine import shadow_variables, source, units
from livepatch.engine.choosing import Chooser
from livepatch.engine.commit import restore
from livepatch.engine.gauge import Gauge
from livepatch.engine.loaded import Loaded
from livepatch.engine.modes import is_off
from livepatch.engine.pace import courteous
from livepatch.engine.plan import Choices, State
from livepatch.engine.shadow_variables import Shadows
from livepatch.engine.stack import Stack
from livepatch.engine.transition import Transition
from livepatch.errors import TransitionError
from livepatch.events import emit
from livepatch.patch import Patch
from livepatch.process.announcing import Announcing
from livepatch.process.draining import Draining
from livepatch.process.records import Known, Moment, Record, call_back
from livepatch.process.standing import Status
from livepatch.process.switching import Switching
from livepatch.state.states import States

__all__ = ["Observer", "Transactions"]

T = TypeVar("T")


class Observer(Protocol):
    """Somebody who looks before a patch goes in.  What it raises keeps the patch out."""

    def before_apply(self, patch: Patch) -> None:
        """Nothing has been written yet, and nothing may be."""


class _Memory(NamedTuple):
    """What a transaction goes back to."""

    stack: Stack
    choosers: Mapping[str, Chooser]
    choices: Choices
    open: Transition | None
    turned: bool
    records: dict[str, Record]
    reverted: dict[str, Status]
    left: dict[str, tuple[str, ...]]
    pending: dict[str, tuple[Record, Moment]]
    known: dict[str, Known]


class Transactions:
    """The stack in force, the records of its patches, and who is changing them."""

    def __init__(self) -> None:
        self.state = State()
        self.switching = Switching(self.state)
        self.records: dict[str, Record] = {}
        self.reverted: dict[str, Status] = {}
        self.left: dict[str, tuple[str, ...]] = {}
        """What could not follow the last switch of each applied patch."""
        self.draining = Draining(self)
        self.states = States()
        self._pending: dict[str, tuple[Record, Moment]] = {}
        """Callbacks that wait for the open transition to end."""
        self._lock = threading.RLock()
        self._before: _Memory | None = None
        self._shown: dict[str, str] = {}
        self.busy_with = ""
        """The id of the patch that is being switched."""
        self.announcing = Announcing()
        self.observers: weakref.WeakSet[Observer] = weakref.WeakSet()
        """Who is told of a patch before anything of it goes in: tests, which look what was there before."""
        self.known: dict[str, Known] = {}
        """The patches with probes that were ever applied here, each as it was applied last, by id."""
        self.loads: list[tuple[str, Loaded]] = []
        """What statements of patches have loaded, by the patch's id."""
        self.listeners: list[Callable[[bool], object]] = []
        """Called as each transaction ends, in its thread, with whether it has switched anything.

        None may raise or wait.  It is still within the transaction: what strikes in it takes all of it back.
        """

    def transact(self, timeout: float, body: Callable[[], T], about: str = "", *, max_rest: float | None = None) -> T:
        """Run `body` alone; if it raises, put everything back.  Raises :class:`TransitionError` if it may not run.

        `max_rest` is how many seconds it may rest.  Nothing is called between its end and the caller: an interrupt
        that strikes there would be raised although all is done.
        """
        lock: Any = self._lock
        if lock._is_owned():  # noqa: SLF001  # as threading.Condition asks; no flag of ours can be as exact
            raise TransitionError(
                "this thread is in the middle of a switch",
                found="a call from a signal handler, __del__, callback or log processor that the switch itself ran",
                expected="one switch at a time",
                action="hand the call to another thread, or make it when the switch has returned",
            )
        # An interrupt may strike as soon as the lock is taken.  Whether it was is noted by the same call into C.
        taken = collections.deque[bool](maxlen=1)
        around = sys.exception()
        try:
            taken.extend(map(lock.acquire, (True,), (timeout,)))
            if not taken[0]:
                raise TransitionError(
                    f"another thread was still switching after {timeout:g} s",
                    timeout=timeout,
                    found="a switch in progress",
                    expected="one switch at a time",
                    action="try again, or with a longer timeout",
                )
            return self._alone(body, about, max_rest)
        finally:
            if taken and taken[0]:
                try:
                    if self.loads and about not in self.records:  # an apply that is done ends at once
                        self._unload(around)
                finally:
                    lock.release()

    def _alone(self, body: Callable[[], T], about: str, max_rest: float | None) -> T:
        """Run `body`, and what belongs to a transaction around it, with the lock held."""
        try:
            self._begin(about)
            layers, records = self.state.stack.layers, self.records
            with courteous(max_rest):
                done = body()
            if self.state.open is not None:
                self.draining.go_on()
            self._tell(self.state.stack.layers is not layers or self.records is not records)
            return done
        except BaseException as error:
            try:
                self._recover()
            finally:
                try:
                    self.announcing.failed(error)
                finally:
                    self._tell(switched=False)
            raise
        finally:
            # All of it is done, or all put back: stores alone, so that no interrupt strikes and tells otherwise.
            self.announcing.action = None
            self._before = None
            self._shown = {}
            self.state.undo = ()
            self.busy_with = ""

    def _unload(self, around: BaseException | None) -> None:
        """Take out the modules that statements of patches have loaded, and that no patch needs now.

        `around` is the exception that the caller was about before.  What fails here changes nothing of what was done.
        """
        needed = self.records.keys() | self._pending.keys()
        over = [loaded for patch_id, loaded in self.loads if patch_id not in needed]
        if not over or self.state.open is not None:
            return
        error = sys.exception()
        while error is not None and error is not around:  # what was found is still held by the frames of what failed
            traceback.clear_frames(error.__traceback__)
            error = error.__cause__ or error.__context__
        for loaded in over:
            try:
                loaded.take_out()
            except Exception as error:  # noqa: BLE001  # modules may be of any kind, and run code when they are asked
                emit("modules_stay", level="warning", modules=sorted(loaded.names), error=type(error).__qualname__)
                loaded.names.clear()
        self.loads = [each for each in self.loads if each[1].names]

    def _tell(self, switched: bool) -> None:
        for tell in tuple(self.listeners):
            tell(switched)

    def _begin(self, about: str) -> None:
        state = self.state
        if any(slot.owner is None for slot in state.stack.originals):
            state.stack = state.stack.only(lambda slot: slot.owner is not None)
        self.switching.cancelled = False
        self.busy_with = about
        state.undo = ()  # in a child, what a thread that did not come along was doing
        self.states.begin()
        self._before = _Memory(
            state.stack,
            state.choosers,
            state.choices,
            state.open,
            state.open is not None and state.open.live,
            self.records,
            self.reverted,
            self.left,
            self._pending,
            self.known,
        )

    def _recover(self, *, data: bool = True) -> None:
        """Put back what the transaction has changed so far; and last, unless told otherwise, the data of the process.

        Raises :class:`StateError` for data that could not be put back.
        """
        before, state = self._before, self.state
        if before is None:
            return
        opened = state.open
        if opened is not None and opened is not before.open:
            opened.abandon()
        elif opened is not None and opened.live != before.turned:
            opened.turn(before.stack)
        else:
            restore(state.undo)
        state.stack, state.choosers, state.choices = before.stack, before.choosers, before.choices
        self.records, self.reverted, self.left = before.records, before.reverted, before.left
        self._pending, self.known = before.pending, before.known
        self._shadows_in_force()
        for filename in self._shown:
            source.forget_source(filename)
        for record in self.records.values():
            for filename, text in record.sources.items():
                source.show_source(filename, text)
        if data:
            self.states.roll_back()

    def after_fork(self) -> None:
        """In a child: only the forking thread lives on, so a switch that another was making is taken back."""
        lock: Any = self._lock
        away = not lock._is_owned()  # noqa: SLF001  # see transact
        self.states.after_fork(interrupted=away and self._before is not None)
        if away:
            self._recover(data=False)  # functions of the program must not run in the middle of a fork
            self._before = None
            self.announcing.action = None
            self._lock = threading.RLock()
        units.after_fork()
        self.draining.after_fork(self.state.open)

    def gauge(self, opened: Transition, timeout: float) -> Gauge | None:
        """What shows calls on the other side; ``None`` while another thread switches.

        Made between two transactions: what one of them refers to for a moment must not be taken for known.
        """
        lock = self._lock
        if not lock.acquire(timeout=timeout):
            return None
        try:
            return opened.gauge()
        finally:
            lock.release()

    def end(self, opened: Transition) -> None:
        """Settle a transition that has drained, and call back who waited for it."""
        if self.state.open is opened:
            self.states.settling = True  # before: who sees that the calls have ended waits for the data as well
            try:
                self.switching.settle(opened)
                self._call_back()
            finally:
                self.states.settling = False

    # Callbacks wait for the open transition to end

    def _when_settled(self, moments: list[tuple[Record, Moment]]) -> None:
        pending = dict(self._pending)
        for record, moment in moments:
            pending[record.id] = record, moment
        self._pending = pending
        if self.state.open is None:
            self._call_back()

    def _call_back(self) -> None:
        pending, self._pending = self._pending, {}
        self.states.settle(self._live(self.records))
        for record, moment in pending.values():
            call_back(record.id, record.callbacks, moment)
            if moment == "post_revert":
                shadow_variables.release(record.shadows, [each.shadows for each in self.records.values()])
        self._shadows_in_force()

    def _shadows_in_force(self, coming: Mapping[str, Shadows] = MappingProxyType({})) -> None:
        """Let the code of each patch attach to its own: also of one that goes, until its last call has ended."""
        going = {record.id: record.shadows for record, _ in self._pending.values()}
        shadow_variables.in_force({**going, **{i: r.shadows for i, r in self.records.items()}, **coming})

    def _reconcile(self, records: Mapping[str, Record]) -> None:
        """Bring the data to what the patches of those records ask for, unless calls still drain: then when they end."""
        if self.state.open is None:
            self.states.reconcile(self._live(records))

    def _live(self, records: Mapping[str, Record]) -> frozenset[str]:
        layers = {layer.patch_id: layer for layer in self.state.stack.layers}
        return frozenset(name for name in records if name in layers and not is_off(layers[name].mode))

    def _before_leaving(self, record: Record) -> None:
        waiting = self._pending.get(record.id)
        if waiting is None or waiting[1] != "post_apply":
            call_back(record.id, record.callbacks, "pre_revert")
