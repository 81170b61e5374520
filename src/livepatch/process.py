"""The process's one stack of patches: check, apply, switch, revert.

One switch happens at a time.  A second thread waits for the first, up to its own timeout; the same thread (a signal
handler or ``__del__`` that runs in the middle of a switch) gets a :class:`TransitionError` at once.  A patched function
may apply and revert: its own call ends on the code it began with.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import CellType, CodeType, FunctionType
from typing import Any, Literal, TypeVar

from livepatch import distribution, standing
from livepatch.compat.checks import PatchFacts, judge
from livepatch.compat.report import Report
from livepatch.engine import code as _code
from livepatch.engine import source, transition
from livepatch.engine.caches import Cache
from livepatch.engine.code import nested_codes
from livepatch.engine.environment import observe
from livepatch.engine.frames import InFlight, in_flight, is_referenced
from livepatch.engine.locate import Refusal, find
from livepatch.engine.stack import Layer, Mode, Stack
from livepatch.engine.survey import Survey, survey
from livepatch.errors import (
    BundleError,
    IncompatibleError,
    PatchError,
    TransitionError,
    UnknownPatchError,
)
from livepatch.events import emit
from livepatch.patch import Patch, Target
from livepatch.standing import Status, Verification

__all__ = ["Applied", "Flags", "apply", "check", "fingerprint", "flags", "revert", "status", "verify"]

T = TypeVar("T")

_MODES: tuple[Mode, ...] = ("on", "off")


@dataclass(frozen=True, slots=True)
class _Record:
    """What belongs to an applied patch besides its layer."""

    patch: Patch
    id: str
    flag: str
    summary: str
    report: Report
    caches: list[Cache]
    sources: tuple[str, ...]
    targets: tuple[str, ...]


class _Live:
    """The state of this process: the stack in force, the records of its patches, and who is switching."""

    def __init__(self) -> None:
        self.state = transition.State()
        self.records: dict[str, _Record] = {}
        self.reverted: dict[str, Status] = {}
        self.lock = threading.RLock()
        self.switching = False

    @contextmanager
    def alone(self, timeout: float) -> Iterator[None]:
        """Be the only one that switches.  Raises :class:`TransitionError` with nothing changed."""
        if not self.lock.acquire(timeout=timeout):
            raise TransitionError(
                f"another thread was still switching after {timeout:g} s",
                timeout=timeout,
                found="a switch in progress",
                expected="one switch at a time",
                action="try again, or with a longer timeout",
            )
        try:
            if self.switching:
                raise TransitionError(
                    "this thread is in the middle of a switch",
                    found="a call from a signal handler, a __del__ or a callback of the switch itself",
                    expected="one switch at a time",
                    action="hand the call to another thread, or make it when the switch has returned",
                )
            self.switching = True
            try:
                yield
            finally:
                self.switching = False
        finally:
            self.lock.release()

    def after_fork(self) -> None:
        # Only the forking thread lives on; a switch that another thread was making is not ours to finish.
        self.lock = threading.RLock()
        self.switching = False


_live = _Live()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_live.after_fork)


# Asking


def check(patch: Patch) -> Report:
    """Say whether `patch` may go into this process, and what it would touch.  Never changes anything.

    Raises :class:`TypeError` if `patch` is none, :class:`TransitionError` in the middle of a switch.
    """
    _a_patch(patch)
    with _live.alone(timeout=30.0):
        return _examine(patch, frozenset(), callers=True)[0]


def fingerprint(target: str | Callable[..., Any]) -> str:
    """The pin of the live function at ``"module:qualified.name"``, for ``replace(…, expect=…)``.

    It covers the code in memory and plain default values, and holds for this Python version and ``-O`` setting.
    Raises :class:`PatchError` if there is no such function; changes nothing.
    """
    if isinstance(target, FunctionType):
        return _code.fingerprint(target)
    found = find(Target.parse(target), sys.modules)
    if isinstance(found, Refusal):
        raise PatchError(
            f"{target} has no fingerprint", found=found.found, expected=found.expected, action=found.action
        )
    if found.function is not None:
        return _code.fingerprint(found.function)
    shell = FunctionType(found.code, {}, closure=tuple(CellType() for _ in found.code.co_freevars))
    return _code.fingerprint(shell)


def status() -> tuple[Status, ...]:
    """Every applied patch, newest last."""
    return tuple(_status(layer.patch_id) for layer in _live.state.stack.layers)


def verify() -> Verification:
    """Whether every target still is what the stack of patches says; the findings name who probably changed it."""
    return standing.verified(_live.state.stack, sys.modules)


# Doing


def apply(
    patch: Patch | str | os.PathLike[str],
    *,
    mode: Mode = "on",
    consistency: Literal["immediate"] | None = None,
    timeout: float = 30.0,
    trust: object = None,
    policy: object = None,
    replaces: Iterable[str] = (),
) -> Applied:
    """Put `patch` into this process, in one step that no other thread sees half done; with ``mode="off"`` dormant.

    `timeout` is how many seconds to wait for another switch to end.  `replaces` names applied patches that this one
    takes the place of in the same step.  Returns once the new side is live; calls that are running end on the old one.

    Raises :class:`IncompatibleError`, which carries the whole report, :class:`TransitionError`, or
    :class:`TypeError` and :class:`PatchError` for a wrong argument.  Whatever is raised, every live object is
    identical to what it was before.
    """
    if isinstance(patch, (str, os.PathLike)):
        raise BundleError(
            "patch files cannot be read by this version",
            found=repr(os.fspath(patch)),
            expected="a livepatch.Patch",
            action="describe the fix as a Patch in code",
        )
    _a_patch(patch)
    _a_mode(mode)
    if consistency not in (None, "immediate"):
        raise PatchError("consistency is unknown", found=repr(consistency), expected="None or 'immediate'")
    _seconds("timeout", timeout)
    for name, value in (("trust", trust), ("policy", policy)):
        if value is not None:
            raise TypeError(f"{name} is for patch files; a Patch made in the process is the process's own code")
    others = _names("replaces", replaces)
    begun = time.perf_counter()
    with _live.alone(timeout):
        report, found = _examine(patch, frozenset(others), callers=False)
        if not report.ok:
            raise IncompatibleError(report)
        return _put_in(patch, mode, others, report, found, begun)


def revert(id: str) -> Status:
    """Take out the patch with that id: the very objects that were there before come back.

    Patches may be taken out in any order; what remains decides.  Twice is harmless.  What others have changed in the
    meantime is left alone and named in the returned status.  Raises :class:`UnknownPatchError` for an id that was
    never applied.
    """
    if not isinstance(id, str):
        raise TypeError(f"id must be a str, not {id!r}")
    with _live.alone(timeout=30.0):
        if id not in _live.records:
            if id in _live.reverted:
                return _live.reverted[id]
            raise _unknown("patch", id, _live.records)
        return _take_out(id)


def _examine(patch: Patch, replaced: frozenset[str], *, callers: bool) -> tuple[Report, Survey]:
    stack = _live.state.stack.only(lambda slot: slot.owner is not None)
    found = survey(patch.id, patch.changes, stack, sys.modules, callers=callers)
    modules = {slot.module for slot in (_module_name(change) for change in patch.changes)}
    holder = next((r.id for r in _live.records.values() if r.flag == patch.flag and r.id != patch.id), None)
    facts = PatchFacts(
        id=patch.id,
        flag=patch.flag,
        package=patch.package,
        versions=patch.versions,
        already_applied=patch.id in _live.records and patch.id not in replaced,
        flag_taken_by=None if holder in replaced else holder,
        replaces_unknown=tuple(sorted(replaced - _live.records.keys())),
        changes=len(patch.changes),
    )
    return judge(facts, distribution.look_up(patch.package, modules, sys.modules), observe(), found), found


def _module_name(change: Any) -> Target:
    return change.owner if hasattr(change, "owner") else change.target  # type: ignore[no-any-return]  # one of the four


def _put_in(
    patch: Patch, mode: Mode, replaced: tuple[str, ...], report: Report, found: Survey, begun: float
) -> Applied:
    live, was = _live, dict(_live.records)
    alive = live.state.stack.only(lambda slot: slot.owner is not None)
    new = alive.without(replaced).push(Layer(patch.id, mode, found.values), {**found.originals, **alive.originals})
    record = _Record(
        patch, patch.id, patch.flag, patch.summary, report, found.caches, tuple(found.sources), report.targets
    )
    applied = Applied(record)
    before = live.state.stack
    planned: transition.Plan | None = None
    try:
        for filename, text in found.sources.items():
            source.show_source(filename, text)
        live.state.stack = alive
        planned = transition.plan(live.state, new, sys.modules)
        _refuse_foreign(planned)
        caches = found.caches + [cache for name in replaced for cache in was[name].caches]
        live.records = {**{k: v for k, v in was.items() if k not in replaced}, patch.id: record}
        seconds = transition.switch(live.state, planned, caches if mode == "on" or replaced else [], observe())
        live.reverted.pop(patch.id, None)
        for name in replaced:
            live.reverted[name] = _gone(was[name], ())
            _forget(was[name], keep=record.sources)
        emit(
            "applied",
            patch=patch.id,
            flag=patch.flag,
            mode=mode,
            targets=len(report.targets),
            writes=len(planned.writes),
            replaced=list(replaced),
            switch_us=round(seconds * 1e6, 1),
            total_ms=round((time.perf_counter() - begun) * 1e3, 1),
        )
    except BaseException:
        if planned is not None and live.state.stack is planned.stack:
            transition.undo(live.state, planned, alive)
        live.state.stack = before
        live.records = was
        for filename in found.sources:
            source.forget_source(filename)
        raise
    applied.switch_seconds = seconds
    return applied


def _take_out(patch_id: str) -> Status:
    live, was = _live, dict(_live.records)
    record = was[patch_id]
    begun = time.perf_counter()

    def succeed(planned: transition.Plan, seconds: float) -> Status:
        foreign = tuple(f"{f.slot}: {standing.describe(f.found, sys.modules)}" for f in planned.foreign)
        gone = _gone(record, foreign)
        live.reverted[patch_id] = gone
        live.records = {k: v for k, v in was.items() if k != patch_id}
        _forget(record)
        emit(
            "reverted",
            level="warning" if foreign else "info",
            patch=patch_id,
            flag=record.flag,
            writes=len(planned.writes),
            foreign=len(foreign),
            switch_us=round(seconds * 1e6, 1),
            total_ms=round((time.perf_counter() - begun) * 1e3, 1),
        )
        return gone

    return _switch(live.state.stack.without([patch_id]), record, was, succeed)


def _set_mode(patch_id: str, mode: Mode) -> None:
    live, was = _live, dict(_live.records)
    record = was[patch_id]
    layer = live.state.stack.layer(patch_id)
    assert layer is not None
    if layer.mode == mode:
        return

    def succeed(planned: transition.Plan, seconds: float) -> None:
        if mode == "on":
            _refuse_foreign(planned)
        emit(
            "mode_changed",
            patch=patch_id,
            flag=record.flag,
            mode=mode,
            writes=len(planned.writes),
            foreign=len(planned.foreign),
            switch_us=round(seconds * 1e6, 1),
        )

    _switch(live.state.stack.with_mode(patch_id, mode), record, was, succeed)


def _switch(
    new: Stack, record: _Record, was: dict[str, _Record], succeed: Callable[[transition.Plan, float], T]
) -> T:
    """Go to another stack and finish with `succeed`; if anything is raised, all is as it was before."""
    live = _live
    before = live.state.stack
    shown = {filename: source.shown(filename) for filename in record.sources}
    known = dict(live.reverted)
    planned: transition.Plan | None = None
    try:
        planned = transition.plan(live.state, new, sys.modules)
        seconds = transition.switch(live.state, planned, record.caches, observe())
        return succeed(planned, seconds)
    except BaseException:
        if planned is not None and live.state.stack is planned.stack:
            transition.undo(live.state, planned, before)
        live.state.stack = before
        live.records = was
        live.reverted = known
        for filename, text in shown.items():
            source.show_source(filename, text)
        raise


def _refuse_foreign(planned: transition.Plan) -> None:
    if planned.foreign:
        first = planned.foreign[0]
        raise TransitionError(
            f"{len(planned.foreign)} places were changed by others, so the fix would not be whole",
            found=f"{first.slot}: {standing.describe(first.found, sys.modules)}",
            expected="what livepatch last put there",
            action="undo that change, or revert the patch and apply it anew",
        )


def _forget(record: _Record, keep: tuple[str, ...] = ()) -> None:
    for filename in record.sources:
        if filename not in keep:
            source.forget_source(filename)


# Standing


def _status(patch_id: str) -> Status:
    record = _live.records[patch_id]
    stack = _live.state.stack
    layer = stack.layer(patch_id)
    assert layer is not None
    frames = _frames(stack, layer)
    return Status(
        id=record.id,
        flag=record.flag,
        summary=record.summary,
        state="draining" if frames else "settled",
        mode=layer.mode,
        targets=record.targets,
        frames=frames,
        foreign=standing.foreign_now(stack, patch_id, sys.modules),
    )


def _gone(record: _Record, foreign: tuple[str, ...]) -> Status:
    return Status(
        id=record.id,
        flag=record.flag,
        summary=record.summary,
        state="reverted",
        mode="off",
        targets=record.targets,
        frames=(),
        foreign=foreign,
    )


def _frames(stack: Stack, layer: Layer) -> tuple[InFlight, ...]:
    """Calls that run, in this layer's functions, code which no new call would get."""
    wanted = {id(value) for value in stack.wanted().values()}
    codes: dict[int, CodeType] = {}
    held: dict[int, int] = {}
    for values in (stack.originals, *(other.values for other in stack.layers)):
        for slot, value in values.items():
            if isinstance(value, CodeType) and slot in layer.values and slot.name == "__code__":
                held[id(value)] = held.get(id(value), 0) + 1
                if id(value) not in wanted:
                    codes[id(value)] = value
    stale = [code for key, code in codes.items() if is_referenced(code, held[key] + 1)]
    return in_flight([inner for code in stale for inner in (code, *nested_codes(code))])


class Applied:
    """An applied patch: its mode, how it stands, and the way back."""

    def __init__(self, record: _Record) -> None:
        self._record = record
        self.switch_seconds = 0.0
        """How long the stores of the apply took."""

    @property
    def id(self) -> str:
        return self._record.id

    @property
    def flag(self) -> str:
        return self._record.flag

    @property
    def patch(self) -> Patch:
        return self._record.patch

    @property
    def report(self) -> Report:
        """The report on which the patch went in."""
        return self._record.report

    @property
    def mode(self) -> Mode:
        """``"on"`` or ``"off"``.  Setting it is one atomic switch.

        Raises :class:`PatchError` for another mode, :class:`UnknownPatchError` once reverted, and
        :class:`TransitionError`; then nothing has changed.
        """
        layer = _live.state.stack.layer(self.id)
        return layer.mode if layer is not None and self._applied else "off"

    @mode.setter
    def mode(self, mode: Mode) -> None:
        _a_mode(mode)
        with _live.alone(timeout=30.0):
            if not self._applied:
                raise _unknown("patch", self.id, _live.records)
            _set_mode(self.id, mode)

    def status(self) -> Status:
        """How the patch stands now."""
        if self._applied:
            return _status(self.id)
        return _gone(self._record, self._last.foreign if self._last else ())

    def revert(self) -> Status:
        """Take the patch out; see :func:`livepatch.revert`.  From any thread; twice is harmless."""
        with _live.alone(timeout=30.0):
            return _take_out(self.id) if self._applied else self.status()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds until no call is left on the other side; say whether that is so."""
        if timeout is not None:
            _seconds("timeout", timeout)
        end = None if timeout is None else time.monotonic() + timeout
        pause = 0.001
        while not self.status().drained:
            if end is not None and time.monotonic() >= end:
                return False
            time.sleep(pause if end is None else min(pause, max(0.0, end - time.monotonic())))
            pause = min(pause * 2, 0.1)
        return True

    async def settled(self) -> None:
        """Wait, in asyncio, until no call is left on the other side."""
        pause = 0.001
        while not self.status().drained:
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.1)

    @property
    def _applied(self) -> bool:
        return _live.records.get(self.id) is self._record

    @property
    def _last(self) -> Status | None:
        return _live.reverted.get(self.id)

    def __repr__(self) -> str:
        return f"<livepatch.Applied {self.id} {self.mode if self._applied else 'reverted'}>"


class Flags(Mapping[str, Mode]):
    """The flags of the applied patches: ``flags[name]`` is a mode, and setting it switches the patch."""

    def __getitem__(self, name: str) -> Mode:
        layer = _live.state.stack.layer(_flagged(name).id)
        assert layer is not None
        return layer.mode

    def __setitem__(self, name: str, mode: Mode) -> None:
        _a_mode(mode)
        with _live.alone(timeout=30.0):
            _set_mode(_flagged(name).id, mode)

    def __iter__(self) -> Iterator[str]:
        return iter([record.flag for record in _live.records.values()])

    def __len__(self) -> int:
        return len(_live.records)

    def __contains__(self, name: object) -> bool:
        return any(record.flag == name for record in _live.records.values())

    def __repr__(self) -> str:
        return f"<livepatch.flags {dict(self)}>"


flags = Flags()


# Arguments


def _flagged(name: object) -> _Record:
    if not isinstance(name, str):
        raise TypeError(f"flag must be a str, not {name!r}")
    for record in _live.records.values():
        if record.flag == name:
            return record
    raise _unknown("flag", name, {record.flag for record in _live.records.values()})


def _unknown(kind: str, name: str, known: Iterable[str]) -> UnknownPatchError:
    return UnknownPatchError(
        f"no {kind} {name!r} in this process",
        found=f"{kind}s {', '.join(sorted(known)) or '(none)'}",
        expected=f"an applied {kind}",
        action="see livepatch.status()",
    )


def _a_patch(patch: object) -> None:
    if not isinstance(patch, Patch):
        raise TypeError(f"patch must be a livepatch.Patch, not {patch!r}")


def _a_mode(mode: object) -> None:
    if mode not in _MODES:
        raise PatchError("mode is unknown", found=repr(mode), expected=" or ".join(map(repr, _MODES)))


def _seconds(argument: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{argument} must be a number of seconds, not {value!r}")
    if not 0 <= value <= threading.TIMEOUT_MAX:
        raise PatchError(f"{argument} is no number of seconds to wait", found=repr(value), expected="0 or more, finite")


def _names(argument: str, values: object) -> tuple[str, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{argument} must be ids of patches, such as ['CVE-2026-1'], not {values!r}")
    names = tuple(values)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{argument} must hold ids of patches, not {name!r}")
    return names


