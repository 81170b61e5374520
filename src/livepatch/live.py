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
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import CodeType
from typing import Any, TypeVar

from livepatch import distribution
from livepatch.compat.checks import PatchFacts, judge
from livepatch.engine import source, transition
from livepatch.engine.caches import Cache
from livepatch.engine.code import nested_codes
from livepatch.engine.commit import restore
from livepatch.engine.environment import observe
from livepatch.engine.facts import Survey
from livepatch.engine.frames import InFlight, in_flight, is_referenced
from livepatch.engine.stack import Layer, Mode, Slot, Stack
from livepatch.engine.survey import survey
from livepatch.errors import PatchError, TransitionError, UnknownPatchError
from livepatch.events import emit
from livepatch.patch import Addition, Patch
from livepatch.report import Report
from livepatch.standing import Phase, Status, describe, foreign_now

__all__ = ["Live", "Record", "live"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Record:
    """What belongs to an applied patch besides its layer.  `switch_seconds`: how long the stores of its apply took."""

    patch: Patch
    id: str
    flag: str
    summary: str
    report: Report
    caches: tuple[Cache, ...]
    sources: dict[str, str]
    switch_seconds: float

    def gone(self, foreign: tuple[str, ...] = (), left: tuple[str, ...] = ()) -> Status:
        """How the patch stands once it is taken out."""
        return self.standing("reverted", "off", (), foreign, left)

    def standing(
        self,
        state: Phase,
        mode: Mode,
        frames: tuple[InFlight, ...],
        foreign: tuple[str, ...],
        left: tuple[str, ...] = (),
    ) -> Status:
        """How the patch stands."""
        return Status(
            id=self.id,
            flag=self.flag,
            summary=self.summary,
            state=state,
            mode=mode,
            targets=self.report.targets,
            frames=frames,
            foreign=foreign,
            left=left,
        )


_Memory = tuple[Stack, dict[str, Record], dict[str, Status], dict[str, tuple[str, ...]]]


class Live:
    """The process: the stack in force, the records of its patches, and who is changing them."""

    def __init__(self) -> None:
        self.state = transition.State()
        self.records: dict[str, Record] = {}
        self.reverted: dict[str, Status] = {}
        self.left: dict[str, tuple[str, ...]] = {}
        """What could not follow the last switch of each applied patch."""
        self._lock = threading.RLock()
        self._before: _Memory | None = None
        self._shown: dict[str, str] = {}

    def transact(self, timeout: float, body: Callable[[], T]) -> T:
        """Run `body` alone; if it raises, put everything back.  Raises :class:`TransitionError` if it may not run."""
        lock: Any = self._lock
        if lock._is_owned():  # noqa: SLF001  # as threading.Condition asks; no flag of ours can be as exact
            raise TransitionError(
                "this thread is in the middle of a switch",
                found="a call from a signal handler, a __del__ or a log processor that the switch itself ran",
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
                if any(slot.owner is None for slot in self.state.stack.originals):
                    self.state.stack = self.state.stack.only(lambda slot: slot.owner is not None)
                self._before = (self.state.stack, self.records, self.reverted, self.left)
                return body()
            except BaseException:
                self._recover()
                raise
            finally:
                self._before = None
                self._shown = {}
                self.state.undo = ()
        finally:
            if taken and taken[0]:
                lock.release()

    def _recover(self) -> None:
        """Put back what the transaction has changed so far."""
        if self._before is None:
            return
        restore(self.state.undo)
        self.state.stack, self.records, self.reverted, self.left = self._before
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

    # Within a transaction

    def examine(self, patch: Patch, replaced: Iterable[str], *, callers: bool) -> tuple[Report, Survey]:
        """Survey the process for `patch`, and judge what was found.  Changes nothing."""
        stack = self.state.stack.only(lambda slot: slot.owner is not None)
        gone = frozenset(replaced)
        found = survey(patch.id, patch.changes, stack, sys.modules, replaced=gone, callers=callers)
        places = [change.owner if isinstance(change, Addition) else change.target for change in patch.changes]
        holder = next((r.id for r in self.records.values() if r.flag == patch.flag and r.id != patch.id), None)
        facts = PatchFacts(
            id=patch.id,
            flag=patch.flag,
            package=patch.package,
            versions=patch.versions,
            already_applied=patch.id in self.records and patch.id not in gone,
            flag_taken_by=None if holder in gone else holder,
            replaces_unknown=tuple(sorted(gone - self.records.keys())),
            changes=len(patch.changes),
        )
        installed = distribution.look_up(patch.package, (place.module for place in places), sys.modules)
        return judge(facts, installed, observe(), found), found

    def put_in(
        self, patch: Patch, mode: Mode, replaced: tuple[str, ...], *, report: Report, found: Survey, begun: float
    ) -> Record:
        """Add a layer for `patch` and take out those that it replaces, in one step."""
        alive = self.state.stack.only(lambda slot: slot.owner is not None)
        known = {slot: alive.originals.get(slot, found.originals[slot]) for slot in found.values}
        new = alive.without(replaced).push(Layer(patch.id, mode, found.values), known)
        _name_members(found)
        self._shown = found.sources
        for filename, text in found.sources.items():
            source.show_source(filename, text)
        caches = [*found.caches, *(cache for name in replaced for cache in self.records[name].caches)]
        planned, seconds = self._switch(new, caches if mode == "on" or replaced else [], whole=True)
        record = Record(patch, patch.id, patch.flag, patch.summary, report, tuple(found.caches), found.sources, seconds)
        was = self.records
        self.left = {**{k: v for k, v in self.left.items() if k not in replaced}, patch.id: planned.left}
        self.records = {**{k: v for k, v in was.items() if k not in replaced}, patch.id: record}
        gone = {name: was[name].gone() for name in replaced}
        self.reverted = {k: v for k, v in {**self.reverted, **gone}.items() if k != patch.id}
        for name in replaced:
            self._forget(was[name])
        emit(
            "applied",
            patch=patch.id,
            flag=patch.flag,
            mode=mode,
            targets=len(report.targets),
            writes=len(planned.writes),
            left=len(planned.left),
            replaced=list(replaced),
            switch_us=round(seconds * 1e6, 1),
            walked_ms=round((planned.walked + (found.walked or 0.0)) * 1e3, 1),
            total_ms=round((time.perf_counter() - begun) * 1e3, 1),
        )
        return record

    def take_out(self, record: Record) -> Status:
        """Take a layer out, wherever it is."""
        begun = time.perf_counter()
        planned, seconds = self._switch(self.state.stack.without([record.id]), record.caches, whole=False)
        foreign = tuple(f"{f.slot}: {describe(f.found, sys.modules)}" for f in planned.foreign)
        status = record.gone(foreign, planned.left)
        self.records = {k: v for k, v in self.records.items() if k != record.id}
        self.reverted = {**self.reverted, record.id: status}
        self.left = {k: v for k, v in self.left.items() if k != record.id}
        self._forget(record)
        emit(
            "reverted",
            level="warning" if foreign or planned.left else "info",
            patch=record.id,
            flag=record.flag,
            writes=len(planned.writes),
            foreign=len(foreign),
            left=len(planned.left),
            switch_us=round(seconds * 1e6, 1),
            walked_ms=round(planned.walked * 1e3, 1),
            total_ms=round((time.perf_counter() - begun) * 1e3, 1),
        )
        return status

    def set_mode(self, record: Record, mode: Mode) -> None:
        """Give a layer another mode."""
        layer = self.state.stack.layer(record.id)
        assert layer is not None
        if layer.mode == mode:
            return
        new = self.state.stack.with_mode(record.id, mode)
        planned, seconds = self._switch(new, record.caches, whole=mode == "on")
        self.left = {**self.left, record.id: planned.left}
        emit(
            "mode_changed",
            level="warning" if planned.foreign else "info",
            patch=record.id,
            flag=record.flag,
            mode=mode,
            writes=len(planned.writes),
            foreign=len(planned.foreign),
            left=len(planned.left),
            switch_us=round(seconds * 1e6, 1),
            walked_ms=round(planned.walked * 1e3, 1),
        )

    def _switch(self, new: Stack, caches: Iterable[Cache], *, whole: bool) -> tuple[transition.Plan, float]:
        """Go to another stack.  With `whole`, not if others have changed a place that must be written."""
        planned = transition.plan(self.state, new, sys.modules)
        if whole and planned.foreign:
            first = planned.foreign[0]
            raise TransitionError(
                f"{len(planned.foreign)} places were changed by others, so the fix would not be whole",
                found=f"{first.slot}: {describe(first.found, sys.modules)}",
                expected="what livepatch last put there",
                action="undo that change, or revert the patch and apply it anew",
            )
        return planned, transition.switch(self.state, planned, list(caches), observe())

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
            return self.reverted.get(record.id, record.gone())
        frames = _on_the_other_side(stack, layer)
        foreign = foreign_now(self.state, record.id, sys.modules)
        phase: Phase = "draining" if frames else "settled"
        return record.standing(phase, layer.mode, frames, foreign, self.left.get(record.id, ()))

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


def _name_members(found: Survey) -> None:
    """Tell each value that goes into a class its name there, as the class statement does."""
    for slot, value in found.values.items():
        tell = getattr(type(value), "__set_name__", None) if slot.kind == "class" else None
        if tell is not None and slot.owner is not None:
            try:
                tell(value, slot.owner, slot.name)
            except Exception as error:
                raise PatchError(
                    f"the value for {slot} refuses that name",
                    found=f"{type(error).__name__}: {error}",
                    expected=f"a value that can be a member {slot.name} of a class",
                    action="make it anew for this place",
                ) from error


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownPatchError:
    """The error for a name that nothing applied has."""
    return UnknownPatchError(
        f"no {kind} {name!r} in this process",
        found=", ".join(sorted(known)) or "none at all",
        expected=f"an applied {kind}",
        action="see livepatch.status()",
    )


def _on_the_other_side(stack: Stack, layer: Layer) -> tuple[InFlight, ...]:
    """Calls that run code of this layer's functions, or of functions that those made, which no new call would get."""
    slots = [slot for slot in layer.values if slot.name == "__code__"]
    wanted = stack.wanted()
    held: collections.Counter[int] = collections.Counter()
    codes = _versions(stack, slots, held)
    for slot in slots:
        for key in [id(wanted[slot]), *(id(nested) for nested in _nested(wanted[slot]))]:
            codes.pop(key, None)
    return in_flight([codes[key] for key in codes if is_referenced(codes, key, held[key])])


def _versions(stack: Stack, slots: list[Slot], held: collections.Counter[int]) -> dict[int, CodeType]:
    """Every code object that the slots may hold and those in it, by id; `held` counts who of us refers to each."""
    codes: dict[int, CodeType] = {}
    outer: dict[int, object] = {}
    for values in (stack.originals, *(other.values for other in stack.layers)):
        held.update(id(values[slot]) for slot in slots if slot in values)
        outer.update((id(values[slot]), values[slot]) for slot in slots if slot in values)
    for code in outer.values():
        held.update(id(nested) for nested in _nested(code))
        codes.update((id(each), each) for each in (code, *_nested(code)) if isinstance(each, CodeType))
    return codes


def _nested(code: object) -> list[CodeType]:
    return list(nested_codes(code)) if isinstance(code, CodeType) else []


live = Live()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=live.after_fork)
