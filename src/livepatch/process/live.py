"""The process's one stack, the records of its patches, and the transaction in which both change.

One transaction happens at a time.  A second thread waits for the first, up to its own timeout; the same thread (a
signal handler or ``__del__`` that runs in the middle of one) is refused at once.  Whatever a transaction raises, the
process is as it was before it.
"""

from __future__ import annotations

import collections
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

from livepatch.compat.checks import PatchFacts, judge, standing_findings
from livepatch.compat.drift import names_of_needed
from livepatch.compat.policy import Policy
from livepatch.compat.report import Report
from livepatch.engine import source, units
from livepatch.engine.caches import Cache
from livepatch.engine.choosing import Chooser
from livepatch.engine.commit import restore
from livepatch.engine.environment import observe
from livepatch.engine.facts import Survey
from livepatch.engine.frames import Stuck
from livepatch.engine.gauge import Gauge
from livepatch.engine.heap import PauseTooLongError, bounded
from livepatch.engine.modes import Mode, spelled_mode
from livepatch.engine.outliving import Unlike
from livepatch.engine.pace import breathe, courteous
from livepatch.engine.plan import Choices, State
from livepatch.engine.stack import Layer, Slot, Stack
from livepatch.engine.survey import survey
from livepatch.engine.transition import Transition
from livepatch.errors import TransitionError, UnknownPatchError
from livepatch.events import emit
from livepatch.govern.guarding import Governed, check_change, check_replacing, govern, graph_of_process
from livepatch.patch import Addition, Patch
from livepatch.process import distribution
from livepatch.process.draining import Draining
from livepatch.process.fitting import check_fits, check_may_return, fitting, held_up_by, name_members, needed
from livepatch.process.left_behind import objects_left, on_the_other_side
from livepatch.process.records import Moment, Record, call_back, may_apply
from livepatch.process.standing import Status, foreign_now
from livepatch.process.switching import Consistency, Switching, Went

__all__ = ["Live", "live"]

T = TypeVar("T")


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


@dataclass(frozen=True, slots=True)
class Request:
    """How a switch is to be made: its consistency, and how many seconds it may wait."""

    consistency: Consistency | None = None
    timeout: float = 30.0
    max_pause: float | None = None
    hold: tuple[Unlike, ...] = ()
    """What objects that are in the way of the switch have in common: it waits until there is none."""


@contextmanager
def _pauses_up_to(most: float | None) -> Iterator[None]:
    """Hold every walk through the heap inside to so many seconds.  Raises :class:`TransitionError` for a longer one."""
    try:
        with bounded(most):
            yield
    except PauseTooLongError as error:
        raise TransitionError(
            "the switch needs a search of the whole heap",
            found=str(error),
            expected="a pause within max_pause",
            action="pass a larger max_pause, or apply it when the process is idle",
        ) from error


class Live:
    """The process: the stack in force, the records of its patches, and who is changing them."""

    def __init__(self) -> None:
        self.state = State()
        self.switching = Switching(self.state)
        self.records: dict[str, Record] = {}
        self.reverted: dict[str, Status] = {}
        self.left: dict[str, tuple[str, ...]] = {}
        """What could not follow the last switch of each applied patch."""
        self.draining = Draining(self)
        self._pending: dict[str, tuple[Record, Moment]] = {}
        """Callbacks that wait for the open transition to end."""
        self._lock = threading.RLock()
        self._before: _Memory | None = None
        self._shown: dict[str, str] = {}
        self.busy_with = ""
        """The id of the patch that is being switched."""

    def transact(self, timeout: float, body: Callable[[], T], about: str = "") -> T:
        """Run `body` alone; if it raises, put everything back.  Raises :class:`TransitionError` if it may not run."""
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
            try:
                self._begin(about)
                with courteous():
                    done = body()
                if self.state.open is not None:
                    self.draining.go_on()
                return done
            except BaseException:
                self._recover()
                raise
            finally:
                self._before = None
                self._shown = {}
                self.state.undo = ()
                self.busy_with = ""
        finally:
            if taken and taken[0]:
                lock.release()

    def _begin(self, about: str) -> None:
        state = self.state
        if any(slot.owner is None for slot in state.stack.originals):
            state.stack = state.stack.only(lambda slot: slot.owner is not None)
        self.switching.cancelled = False
        self.busy_with = about
        state.undo = ()  # in a child, what a thread that did not come along was doing
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
        )

    def _recover(self) -> None:
        """Put back what the transaction has changed so far."""
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
        self._pending = before.pending
        for filename in self._shown:
            source.forget_source(filename)
        for record in self.records.values():
            for filename, text in record.sources.items():
                source.show_source(filename, text)

    def after_fork(self) -> None:
        """In a child: only the forking thread lives on, so a switch that another was making is taken back."""
        lock: Any = self._lock
        if not lock._is_owned():  # noqa: SLF001  # see transact
            self._recover()
            self._before = None
            self._lock = threading.RLock()
        units.after_fork()
        self.draining.after_fork(self.state.open)

    # Within a transaction

    def wait_for_settled(self, timeout: float, max_pause: float | None = None) -> None:
        """Wait for the open transition to end, if there is one.  Raises :class:`TransitionError` when time is up."""
        opened = self.state.open
        with _pauses_up_to(max_pause):
            self.switching.wait_for_settled(timeout)
        if opened is not None:
            self._call_back()

    def examine(
        self,
        patch: Patch,
        replaced: Iterable[str],
        *,
        callers: bool,
        policy: Policy,
        mode: Mode = "on",
        max_pause: float | None = None,
    ) -> tuple[Governed, Survey]:
        """Survey the process for `patch`, and judge what was found, by the rules in force too.  Changes nothing."""
        stack = self.state.stack.only(lambda slot: slot.owner is not None)
        gone = frozenset(replaced)
        places = [change.owner if isinstance(change, Addition) else change.target for change in patch.changes]
        holder = next((r.id for r in self.records.values() if r.flag == patch.flag and r.id != patch.id), None)
        staying = [record for record in self.records.values() if record.id not in gone]
        provided = {name for record in staying for name in record.provides}
        facts = PatchFacts(
            id=patch.id,
            flag=patch.flag,
            package=patch.package,
            versions=patch.versions,
            already_applied=patch.id in self.records and patch.id not in gone,
            flag_taken_by=None if holder in gone else holder,
            replaces_unknown=tuple(sorted(gone - self.records.keys())),
            changes=len(patch.changes) + len(patch.edits) + len(patch.obstacles),
            requires_missing=tuple(name for name in patch.requires if name not in provided),
            needs=patch.needs,
        )
        breathe()
        named = [*(place.module for place in places), *(e.module for e in patch.edits if e.module in sys.modules)]
        installed = distribution.look_up(patch.package, named, sys.modules, names_of_needed(patch.needs))
        breathe()
        # Statements of a patch are run only in the release that they were taken from.
        fits = all(finding.severity != "error" for finding in standing_findings(facts, installed))
        found = survey(
            patch.id,
            patch.changes,
            stack,
            sys.modules,
            edits=() if facts.already_applied else patch.edits,
            statements=fits,
            obstacles=patch.obstacles,
            replaced=gone,
            callers=callers,
            max_pause=max_pause,
        )
        report = judge(facts, installed, observe(), found)
        return govern(patch, policy, mode, report, found, installed.installed, graph_of_process), found

    def check_replacing(self, replaced: tuple[str, ...], mode: Mode, *, protected: bool) -> None:
        """Raise :class:`PolicyError` if a replaced patch is live in protected code, and the new one would not be."""
        for name in replaced:
            if self.records[name].report.protected:
                check_replacing(name, self._mode(self.records[name]), mode, protected=protected)

    def put_in(
        self,
        patch: Patch,
        mode: Mode,
        replaced: tuple[str, ...],
        request: Request,
        *,
        report: Report,
        found: Survey,
        begun: float,
        on_stuck: Callable[[Stuck], object] | None = None,
    ) -> Record:
        """Add a layer for `patch` and take out those that it replaces, in one step."""
        layer = Layer(patch.id, mode, found.values, patch.flag)
        originals = found.originals
        alive = self.state.stack.only(lambda slot: slot.owner is not None)
        new = alive.without(replaced).push(
            layer, {slot: alive.originals.get(slot, originals[slot]) for slot in found.values}
        )
        check_fits(mode, layer, new, patch, found.outliving)
        hold = held_up_by(mode, request.consistency, patch, found.outliving)
        consistency = request.consistency or fitting(layer, new)
        name_members(found)
        self._shown = found.sources
        for filename, text in found.sources.items():
            source.show_source(filename, text)
        staying = {k: v for k, v in self.records.items() if k not in replaced}
        provides = frozenset((patch.id, *(name for each in replaced for name in self.records[each].provides)))
        self._check_left_whole(staying, provides)
        may_apply(patch)
        try:
            for name in replaced:
                self._before_leaving(self.records[name])
            caches = [*found.caches, *(cache for name in replaced for cache in self.records[name].caches)]
            # What refers to code besides the stack itself would look like a call in flight.
            found.originals = {}
            del originals, alive
            breathe()
            went = self._switch(
                new,
                caches if mode != "off" or replaced else [],
                whole=True,
                how=Request(consistency, request.timeout, request.max_pause, hold),
            )
            was = self.records
            record = Record(
                patch,
                patch.id,
                patch.flag,
                patch.summary,
                report,
                tuple(found.caches),
                found.sources,
                went.seconds,
                consistency,
                patch.requires,
                provides,
                patch.callbacks,
                on_stuck,
                found.outliving,
                request.max_pause,
            )
        except BaseException:
            call_back(patch.id, patch.callbacks, "post_revert")
            raise
        self.left = {**{k: v for k, v in self.left.items() if k not in replaced}, patch.id: went.left}
        self.records = {**staying, patch.id: record}
        gone = {name: was[name].gone() for name in replaced}
        self.reverted = {k: v for k, v in {**self.reverted, **gone}.items() if k != patch.id}
        for name in replaced:
            self._forget(was[name])
        emit(
            "applied",
            patch=patch.id,
            flag=patch.flag,
            mode=spelled_mode(mode),
            consistency="quiescent" if hold else consistency,
            draining=self.state.open is not None,
            targets=len(report.targets),
            writes=went.writes,
            left=len(went.left),
            replaced=list(replaced),
            protected=report.protected,
            waived=list(report.waived),
            switch_us=round(went.seconds * 1e6, 1),
            walked_ms=round((went.walked + (found.walked or 0.0)) * 1e3, 1),
            total_ms=round((time.perf_counter() - begun) * 1e3, 1),
        )
        self._when_settled([(record, "post_apply"), *((was[name], "post_revert") for name in replaced)])
        return record

    def on_trial(self, layer: Layer, originals: Mapping[Slot, object], run: Callable[[], T], timeout: float) -> T:
        """Run something while a layer is there that answers nobody but that; then the process is as it was before.

        The layer's mode must be one that decides call by call, and gives all others the old side.  Calls that began
        meanwhile end before this returns.  Raises what `run` raises, and :class:`TransitionError` if such a call does
        not end within `timeout` seconds; it is on the old side then, and nothing else is left.
        """
        about = self.busy_with
        alive = self.state.stack.only(lambda slot: slot.owner is not None)
        trial = alive.push(layer, {slot: alive.originals.get(slot, originals[slot]) for slot in layer.values})
        self._switch(trial, [], whole=True, how=Request("immediate", timeout))
        self._begin(about)  # what fails from here on goes back to the trial, and that is taken back below
        try:
            return run()
        finally:
            rest = self.state.stack.without([layer.patch_id])
            self._switch(rest, [], whole=False, how=Request("chain", timeout))
            self._begin(about)
            self.switching.wait_for_settled(timeout, units=False)

    def take_out(self, record: Record, request: Request) -> Status:
        """Take a layer out, wherever it is."""
        begun = time.perf_counter()
        staying = {k: v for k, v in self.records.items() if k != record.id}
        self._check_left_whole(staying)
        self._before_leaving(record)
        # Only if asked for: a revert must be possible whatever objects there are.
        waits = request.consistency == "quiescent" and self._mode(record) != "off"
        hold = tuple(record.outliving.new) if waits else ()
        went = self._switch(
            self.state.stack.without([record.id]),
            record.caches,
            whole=False,
            how=Request(request.consistency or record.consistency, request.timeout, None, hold),
        )
        left = (*went.left, *objects_left(record.outliving, record.max_pause))
        status = record.gone(went.foreign, left)
        self.records = staying
        self.reverted = {**self.reverted, record.id: status}
        self.left = {k: v for k, v in self.left.items() if k != record.id}
        self._forget(record)
        emit(
            "reverted",
            level="warning" if went.foreign or left or record.report.protected else "info",
            patch=record.id,
            flag=record.flag,
            draining=self.state.open is not None,
            writes=went.writes,
            foreign=len(went.foreign),
            left=len(left),
            protected=record.report.protected,
            switch_us=round(went.seconds * 1e6, 1),
            walked_ms=round(went.walked * 1e3, 1),
            total_ms=round((time.perf_counter() - begun) * 1e3, 1),
        )
        self._when_settled([(record, "post_revert")])
        return self.status_of_gone(record)

    def set_mode(self, record: Record, mode: Mode, request: Request) -> None:
        """Give a layer another mode."""
        layer = self.state.stack.layer(record.id)
        assert layer is not None
        if layer.mode == mode:
            return
        check_fits(mode, layer, self.state.stack, record.patch, record.outliving)
        if record.report.protected:
            check_change(record.id, layer.mode, mode)
        if mode == "off":
            needing = [other.id for other in self._needing(record) if self._mode(other) != "off"]
            if needing:
                raise needed(record, needing, "switch it off")
        hold = held_up_by(mode, request.consistency, record.patch, record.outliving)
        went = self._switch(
            self.state.stack.with_mode(record.id, mode),
            record.caches,
            whole=mode != "off",
            how=Request(
                request.consistency or record.consistency,
                request.timeout,
                record.max_pause if hold else None,
                hold,
            ),
        )
        left = (*went.left, *(objects_left(record.outliving, record.max_pause) if mode == "off" else ()))
        self.left = {**self.left, record.id: left}
        emit(
            "mode_changed",
            level="warning" if went.foreign or left or record.report.protected else "info",
            patch=record.id,
            flag=record.flag,
            mode=spelled_mode(mode),
            protected=record.report.protected,
            draining=self.state.open is not None,
            writes=went.writes,
            foreign=len(went.foreign),
            left=len(left),
            switch_us=round(went.seconds * 1e6, 1),
            walked_ms=round(went.walked * 1e3, 1),
        )

    def cancel(self, patch_id: str) -> None:
        """Turn the open transition round.  Raises :class:`TransitionError` if none of that patch is open."""
        opened = self.state.open
        about = self.draining.about
        if opened is None or patch_id not in about:
            raise TransitionError(
                f"there is no switch of {patch_id} to cancel",
                found="no switch in progress" if opened is None else f"a switch of {', '.join(sorted(about))}",
                expected="one that waits or drains",
                action="revert the patch, or set its mode",
            )
        check_may_return(about, self.draining.memory[0], self.draining.memory[3], self.state.stack)
        now = self.records, self.reverted, self.left, self.state.stack
        seconds = opened.turn(self.draining.memory[3])
        self.records, self.reverted, self.left, _ = self.draining.turned(now)
        emit("cancelled", patches=sorted(about), switch_us=round(seconds * 1e6, 1))
        applied = [(r, "post_apply") for r, m in self._pending.values() if r.id in self.records and m != "post_apply"]
        gone = [(r, "post_revert") for r, m in self._pending.values() if r.id not in self.records]
        self._when_settled([*applied, *gone])  # type: ignore[list-item]  # the two moments
        for each in self.records.values():
            for filename, text in each.sources.items():
                source.show_source(filename, text)

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
            self.switching.settle(opened)
            self._call_back()

    def _switch(self, new: Stack, caches: Iterable[Cache], *, whole: bool, how: Request) -> Went:
        before = self.state.open
        memory = self.records, self.reverted, self.left, self.state.stack
        consistency = how.consistency or "immediate"
        with _pauses_up_to(how.max_pause):
            went = self.switching.go(
                new, caches, sys.modules, whole=whole, consistency=consistency, timeout=how.timeout, hold=how.hold
            )
        if before is not None and self.state.open is None:
            self._call_back()  # the transition that was open before has settled on the way
        if self.state.open is not before and self.state.open is not None:
            self.draining.opened(self.state.open, memory)
        elif before is not None and self.state.open is before:
            self.draining.turned(memory)
        return went

    def _when_settled(self, moments: list[tuple[Record, Moment]]) -> None:
        pending = dict(self._pending)
        for record, moment in moments:
            pending[record.id] = record, moment
        self._pending = pending
        if self.state.open is None:
            self._call_back()

    def _call_back(self) -> None:
        pending, self._pending = self._pending, {}
        for record, moment in pending.values():
            call_back(record.id, record.callbacks, moment)

    def _before_leaving(self, record: Record) -> None:
        waiting = self._pending.get(record.id)
        if waiting is None or waiting[1] != "post_apply":
            call_back(record.id, record.callbacks, "pre_revert")

    def _needing(self, record: Record) -> list[Record]:
        return [other for other in self.records.values() if set(other.requires) & record.provides]

    def _check_left_whole(self, staying: dict[str, Record], new: frozenset[str] = frozenset()) -> None:
        """Raise :class:`TransitionError` if a patch that stays requires what it and the `new` ones do not provide."""
        provided = {name for record in staying.values() for name in record.provides} | new
        for record in self.records.values():
            needing = [other.id for other in staying.values() if set(other.requires) & record.provides - provided]
            if record.id not in staying and needing:
                raise needed(record, needing, "revert it")

    def _mode(self, record: Record) -> Mode:
        layer = self.state.stack.layer(record.id)
        return layer.mode if layer is not None else "off"

    def _forget(self, record: Record) -> None:
        still = {filename for other in self.records.values() for filename in other.sources}
        for filename in record.sources.keys() - still:
            source.forget_source(filename)

    # At any time

    def status(self, record: Record) -> Status:
        """How an applied patch stands now."""
        stack = self.state.stack
        layer = stack.layer(record.id)
        if layer is None:
            return self.status_of_gone(record)
        foreign = foreign_now(self.state, record.id, sys.modules)
        chooser = self.state.choosers.get(record.id)
        opened = self.state.open
        draining = opened is not None and record.id in self.draining.about
        frames = () if draining else on_the_other_side(stack, layer)
        late = [] if layer.mode == "off" else record.imported_since(sys.modules)
        left = (
            *self.left.get(record.id, ()),
            *(f"{name}, which was imported after the patch went in" for name in late),
        )
        status = record.standing("draining" if frames else "settled", layer.mode, frames, foreign, left)
        if chooser is not None:
            shadow = chooser.tally.snapshot() if chooser.tally is not None else None
            status = replace(status, troubles=chooser.troubles, trouble=chooser.trouble, shadow=shadow)
        return self.draining.told(status) if draining else status

    def status_of_gone(self, record: Record) -> Status:
        """How a patch stands that is not applied any more."""
        status = self.reverted.get(record.id) or record.gone()
        return self.draining.told(status) if record.id in self.draining.about else status

    def imported_since(self) -> dict[str, tuple[str, ...]]:
        """The modules that the process has imported since a patch went in that would change them, by its id."""
        on = [record for record in self.records.values() if self._mode(record) != "off"]
        return {record.id: late for record in on if (late := record.imported_since(sys.modules))}

    def record(self, patch_id: str) -> Record:
        """The record of an applied patch.  Raises :class:`UnknownPatchError`."""
        found = self.records.get(patch_id)
        if found is None:
            raise unknown("patch", patch_id, self.records)
        return found

    def flagged(self, flag: str) -> Record:
        """The record of the patch with that flag.  Raises :class:`UnknownPatchError`."""
        for record in self.records.values():
            if record.flag == flag:
                return record
        raise unknown("flag", flag, [record.flag for record in self.records.values()])


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownPatchError:
    """The error for a name that nothing applied has."""
    return UnknownPatchError(
        f"no {kind} {name!r} in this process",
        found=", ".join(sorted(known)) or "none at all",
        expected=f"an applied {kind}",
        action="see livepatch.status()",
    )


live = Live()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=live.after_fork)
