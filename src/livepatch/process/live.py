"""The process: what can be done with its one stack of patches, each within a transaction, and how they stand."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, TypeVar

from livepatch.compat.report import Report
from livepatch.engine import source
from livepatch.engine.caches import Cache
from livepatch.engine.facts import Survey
from livepatch.engine.frames import Stuck
from livepatch.engine.heap import PauseTooLongError, bounded
from livepatch.engine.modes import Mode, is_off, spelled_mode
from livepatch.engine.outliving import Unlike
from livepatch.engine.pace import breathe, paced
from livepatch.engine.stack import Layer, Slot, Stack
from livepatch.errors import TransitionError
from livepatch.events import emit
from livepatch.govern.guarding import check_change, check_replacing
from livepatch.patch import Patch
from livepatch.process.draining import Before
from livepatch.process.fitting import check_fits, check_may_return, fitting, held_up_by, name_members, needed
from livepatch.process.left_behind import objects_left, on_the_other_side
from livepatch.process.records import Known, Record, call_back, may_apply, unknown
from livepatch.process.standing import Status, foreign_now
from livepatch.process.switching import Consistency, Went
from livepatch.process.transaction import Transactions

__all__ = ["Live", "live"]

T = TypeVar("T")


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


class Live(Transactions):
    """The process: the stack in force, the records of its patches, and each change of these."""

    @property
    def modules(self) -> dict[str, ModuleType]:
        """The modules that the process has imported."""
        return sys.modules

    # Within a transaction

    def wait_for_settled(self, timeout: float, max_pause: float | None = None) -> None:
        """Wait for the open transition to end, if there is one.  Raises :class:`TransitionError` when time is up."""
        opened = self.state.open
        with _pauses_up_to(max_pause):
            self.switching.wait_for_settled(timeout)
        if opened is not None:
            self._call_back()

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
        stands_for: Iterable[str] = (),
    ) -> Record:
        """Add a layer for `patch` and take out those that it replaces, in one step.

        `stands_for` are ids that it provides besides: of patches that it replaced in a process before this one.
        """
        for observer in self.observers:
            observer.before_apply(patch)
        prepared = self.states.prepare(patch, found.values)
        layer = Layer(patch.id, mode, found.values, patch.flag)
        originals = found.originals
        alive = self.state.stack.only(lambda slot: slot.owner is not None)
        new = alive.without(replaced).push(
            layer, {slot: alive.originals.get(slot, originals[slot]) for slot in found.values}
        )
        breathe()
        check_fits(mode, layer, new, patch, found.outliving)
        hold = held_up_by(mode, request.consistency, patch, found.outliving)
        consistency = request.consistency or ("chain" if patch.migrations else fitting(layer, new))
        name_members(found)
        self._shown = found.sources
        for filename, text in paced(found.sources.items()):
            source.show_source(filename, text)
        breathe()
        staying = {k: v for k, v in self.records.items() if k not in replaced}
        provides = frozenset(
            (patch.id, *stands_for, *(name for each in replaced for name in self.records[each].provides))
        )
        self._check_left_whole(staying, provides)
        may_apply(patch)
        try:
            for name in replaced:
                self._before_leaving(self.records[name])
            caches = [*found.caches, *(cache for name in replaced for cache in self.records[name].caches)]
            found.shadows.take_over(self.records[name].shadows for name in replaced)
            self._shadows_in_force({patch.id: found.shadows})
            # What refers to code besides the stack itself would look like a call in flight.
            found.originals = {}
            del originals, alive
            breathe()
            if not is_off(mode):
                self.states.enter(prepared, lambda: self.switching.cancelled)
            went = self._switch(
                new,
                caches if not is_off(mode) or replaced else [],
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
                found.shadows,
                prepared,
                patch.owners,
            )
            self._reconcile({**staying, patch.id: record})
            told: dict[str, Any] = {
                "flag": patch.flag,
                "mode": spelled_mode(mode),
                "consistency": "quiescent" if hold else consistency,
                "draining": self.state.open is not None,
                "writes": went.writes,
                "left": len(went.left),
                "replaced": list(replaced),
                "protected": report.protected,
                "waived": list(report.waived),
                "switch_us": round(went.seconds * 1e6, 1),
                "walked_ms": round((went.walked + (found.walked or 0.0)) * 1e3, 1),
                "total_ms": round((time.perf_counter() - begun) * 1e3, 1),
            }
            self.announcing.done({**told, "targets": report.targets})
        except BaseException:
            call_back(patch.id, patch.callbacks, "post_revert")
            raise
        self.left = {**{k: v for k, v in self.left.items() if k not in replaced}, patch.id: went.left}
        self.records = {**staying, patch.id: record}
        known = {name: each for name, each in self.known.items() if name != patch.id}
        self.known = {**known, patch.id: Known(patch, patch.probes)} if patch.probes else known
        gone = {name: was[name].gone() for name in replaced}
        self.reverted = {k: v for k, v in {**self.reverted, **gone}.items() if k != patch.id}
        for name in replaced:
            self._forget(was[name])
        emit("applied", patch=patch.id, targets=len(report.targets), **told)
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
        self.announcing.intend("reverted", record.patch, way_back=True, flag=record.flag)
        staying = {k: v for k, v in self.records.items() if k != record.id}
        self._check_left_whole(staying)
        self._before_leaving(record)
        # Only if asked for: a revert must be possible whatever objects there are.
        waits = request.consistency == "quiescent" and not is_off(self._mode(record))
        hold = tuple(record.outliving.new) if waits else ()
        went = self._switch(
            self.state.stack.without([record.id]),
            record.caches,
            whole=False,
            how=Request(request.consistency or record.consistency, request.timeout, None, hold),
        )
        self._reconcile(staying)
        left = (*went.left, *objects_left(record.outliving, record.max_pause))
        status = record.gone(went.foreign, left)
        self.records = staying
        self.reverted = {**self.reverted, record.id: status}
        self.left = {k: v for k, v in self.left.items() if k != record.id}
        self._forget(record)
        told: dict[str, Any] = {
            "flag": record.flag,
            **self._told(record, went, left),
            "total_ms": round((time.perf_counter() - begun) * 1e3, 1),
        }
        self.announcing.done(told)
        emit("reverted", level=_level(record, went, left), patch=record.id, **told)
        self._when_settled([(record, "post_revert")])
        return self.status_of_gone(record)

    def set_mode(self, record: Record, mode: Mode, request: Request) -> None:
        """Give a layer another mode."""
        layer = self.state.stack.layer(record.id)
        assert layer is not None
        if layer.mode == mode:
            return
        modes = {"before": spelled_mode(layer.mode), "mode": spelled_mode(mode)}
        self.announcing.intend("mode_changed", record.patch, way_back=is_off(mode), flag=record.flag, **modes)
        check_fits(mode, layer, self.state.stack, record.patch, record.outliving)
        if record.report.protected:
            check_change(record.id, layer.mode, mode)
        if is_off(mode):
            needing = [other.id for other in self._needing(record) if not is_off(self._mode(other))]
            if needing:
                raise needed(record, needing, "switch it off")
        hold = held_up_by(mode, request.consistency, record.patch, record.outliving)
        if not is_off(mode):
            self.states.enter(record.prepared, lambda: self.switching.cancelled)
        went = self._switch(
            self.state.stack.with_mode(record.id, mode),
            record.caches,
            whole=not is_off(mode),
            how=Request(
                request.consistency or record.consistency,
                request.timeout,
                record.max_pause if hold else None,
                hold,
            ),
        )
        self._reconcile(self.records)
        left = (*went.left, *(objects_left(record.outliving, record.max_pause) if is_off(mode) else ()))
        self.left = {**self.left, record.id: left}
        told: dict[str, Any] = {"flag": record.flag, "mode": spelled_mode(mode), **self._told(record, went, left)}
        self.announcing.done(told)
        emit("mode_changed", level=_level(record, went, left), patch=record.id, **told)

    def _told(self, record: Record, went: Went, left: tuple[str, ...]) -> dict[str, Any]:
        """What events and the record say of a switch that takes a side away."""
        return {
            "draining": self.state.open is not None,
            "writes": went.writes,
            "foreign": len(went.foreign),
            "left": len(left),
            "protected": record.report.protected,
            "switch_us": round(went.seconds * 1e6, 1),
            "walked_ms": round(went.walked * 1e3, 1),
        }

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
        back = self.draining.memory
        check_may_return(about, back.records, back.stack, self.state.stack)
        record = self.records.get(patch_id) or back.records[patch_id]
        self.announcing.intend("rolled_back", record.patch, way_back=True, flag=record.flag, switch_of=sorted(about))
        now = Before(self.records, self.reverted, self.left, self.state.stack)
        seconds = opened.turn(back.stack)
        self.records, self.reverted, self.left, _ = self.draining.turned(now)
        told: dict[str, Any] = {"switch_us": round(seconds * 1e6, 1)}
        self.announcing.done({"flag": record.flag, "switch_of": sorted(about), **told})
        emit("cancelled", patches=sorted(about), **told)
        applied = [(r, "post_apply") for r, m in self._pending.values() if r.id in self.records and m != "post_apply"]
        gone = [(r, "post_revert") for r, m in self._pending.values() if r.id not in self.records]
        self._when_settled([*applied, *gone])  # type: ignore[list-item]  # the two moments
        for each in self.records.values():
            for filename, text in each.sources.items():
                source.show_source(filename, text)

    def _switch(self, new: Stack, caches: Iterable[Cache], *, whole: bool, how: Request) -> Went:
        before = self.state.open
        memory = Before(self.records, self.reverted, self.left, self.state.stack)
        consistency = how.consistency or "immediate"
        with _pauses_up_to(how.max_pause):
            went = self.switching.go(
                new, caches, self.modules, whole=whole, consistency=consistency, timeout=how.timeout, hold=how.hold
            )
        if before is not None and self.state.open is None:
            self._call_back()  # the transition that was open before has settled on the way
        if self.state.open is not before and self.state.open is not None:
            self.draining.opened(self.state.open, memory)
        elif before is not None and self.state.open is before:
            self.draining.turned(memory)
        return went

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
        foreign = foreign_now(self.state, record.id, self.modules)
        chooser = self.state.choosers.get(record.id)
        opened = self.state.open
        draining = opened is not None and record.id in self.draining.about
        frames = () if draining else on_the_other_side(stack, layer)
        late = [] if is_off(layer.mode) else record.imported_since(self.modules)
        left = (
            *self.left.get(record.id, ()),
            *(f"{name}, which was imported after the patch went in" for name in late),
        )
        status = record.standing(
            "draining" if frames or self.states.settling else "settled", layer.mode, frames, foreign, left
        )
        if chooser is not None:
            shadow = chooser.tally.snapshot() if chooser.tally is not None else None
            measured = tuple(counts.snapshot(target) for target, counts in list(chooser.counts.items()))
            status = replace(
                status, troubles=chooser.troubles, trouble=chooser.trouble, shadow=shadow, measured=measured
            )
        status = replace(status, migrations=self.states.told(record.id))
        return self.draining.told(status) if draining else status

    def status_of_gone(self, record: Record) -> Status:
        """How a patch stands that is not applied any more."""
        status = replace(self.reverted.get(record.id) or record.gone(), migrations=self.states.told(record.id))
        if self.states.settling:
            status = replace(status, state="draining")
        return self.draining.told(status) if record.id in self.draining.about else status

    def imported_since(self) -> dict[str, tuple[str, ...]]:
        """The modules that the process has imported since a patch went in that would change them, by its id."""
        on = [record for record in self.records.values() if not is_off(self._mode(record))]
        return {record.id: late for record in on if (late := record.imported_since(self.modules))}

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


def _level(record: Record, went: Went, left: tuple[str, ...]) -> str:
    return "warning" if went.foreign or left or record.report.protected else "info"


live = Live()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=live.after_fork)
