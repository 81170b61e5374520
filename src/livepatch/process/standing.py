"""How an applied patch stands, and whether everything still is what the patches say."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from types import CodeType, FunctionType, ModuleType
from typing import Any, Literal

from livepatch.compat.report import Finding
from livepatch.contents.ownership import NOBODY, Owners
from livepatch.engine.commit import value_of
from livepatch.engine.frames import InFlight
from livepatch.engine.measuring import MeasuredCalls
from livepatch.engine.modes import Mode, spelled_mode
from livepatch.engine.places import Contents
from livepatch.engine.plan import State, held_now
from livepatch.engine.shadowing import Tallied
from livepatch.engine.stack import ABSENT, Slot, Stack
from livepatch.errors import counted, spelled

__all__ = ["Migrated", "Phase", "Status", "Verification", "verified"]


Phase = Literal["draining", "settled", "reverted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Migrated:
    """A migration that is in force: the state and its version, and how many objects have been taken up.

    `trouble` says what could neither be taken up nor back; empty if there is nothing.
    """

    name: str
    version: int
    lazy: bool
    objects: int
    trouble: str = ""

    def __str__(self) -> str:
        told = f"{self.name} at version {self.version}" + (f", {self.objects} objects so far" if self.lazy else "")
        return told + (f", not wholly: {self.trouble}" if self.trouble else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One patch in this process.

    `state` is ``draining`` while calls that began on the other side are still running, else ``settled``, and
    ``reverted`` once the patch is taken out.  `frames` says where those calls stand, `units` how many units of work are
    on the other side, and `since` (seconds since the epoch) when the side that is live now became so.  `foreign` names
    what others have changed since, and so was not put back; `left` what could not follow the last switch, such as live
    closures whose variables differ, modules of the patch that were imported since, or objects that the code which is
    live now cannot use, as many as there were right after it.  `troubles` counts calls for which the mode could not
    decide, so that they got the old side, and `trouble` is the last reason; `shadow` is what shadow runs have shown so
    far.  `migrations` are those of its data that are in force.  `protected` and `waived` are those of the report on
    which the patch went in.  `owners` says who watches it, who may stop it and whom to call.  `tripped` is how often
    somebody has tried the hole in this process (:func:`livepatch.tripwire`).  `measured` is what has been counted of
    each target, while the mode is to measure.
    """

    id: str
    flag: str
    summary: str
    state: Phase
    mode: Mode
    targets: tuple[str, ...]
    frames: tuple[InFlight, ...]
    foreign: tuple[str, ...]
    left: tuple[str, ...] = ()
    units: int = 0
    since: float | None = None
    troubles: int = 0
    trouble: str = ""
    shadow: Tallied | None = None
    migrations: tuple[Migrated, ...] = ()
    protected: bool = False
    waived: tuple[str, ...] = ()
    tripped: int = 0
    owners: Owners = NOBODY
    measured: tuple[MeasuredCalls, ...] = ()

    @property
    def drained(self) -> bool:
        """No call that began on the other side is still running."""
        return self.state != "draining"

    @property
    def endless(self) -> tuple[InFlight, ...]:
        """Those of `frames` that never leave by themselves: restart the task or thread that they name."""
        return tuple(frame for frame in self.frames if frame.endless)

    def to_dict(self) -> dict[str, Any]:
        """The status as plain values, fit for JSON."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        plain |= {"mode": spelled_mode(self.mode), "frames": [asdict(frame) for frame in self.frames]}
        plain["owners"] = asdict(self.owners)
        plain["migrations"] = [asdict(migrated) for migrated in self.migrations]
        plain["measured"] = [each.to_dict() for each in self.measured]
        plain["shadow"] = self.shadow.to_dict() if self.shadow is not None else None
        return {**plain, "drained": self.drained}

    def __str__(self) -> str:
        line = f"{self.id}: {self.state}, {spelled_mode(self.mode)}, {counted(len(self.targets), 'target')}"
        if self.frames:
            line += f", {counted(len(self.frames), 'call')} still on the other side, such as {self.frames[0]}"
        if self.units:
            line += f", {counted(self.units, 'unit')} of work on the other side"
        if self.endless:
            line += f", {len(self.endless)} without an end: restart what runs {self.endless[0]}"
        if self.shadow is not None:
            wrong = self.shadow.different + self.shadow.raised
            line += f", {counted(self.shadow.calls, 'call')} shadowed and {wrong} different"
        if self.measured:
            told = f"{counted(sum(each.calls for each in self.measured), 'call')} measured"
            line += f", {told}, {counted(sum(each.errors for each in self.measured), 'error')}"
        line += f", tripped {counted(self.tripped, 'time')}" if self.tripped else ""
        line += "".join(f", state {migrated}" for migrated in self.migrations)
        line += ", touches protected code" if self.protected else ""
        line += f", {self.owners}" if self.owners else ""
        line += f", {self.troubles} calls undecided: {self.trouble}" if self.troubles else ""
        line += f", changed by others: {', '.join(self.foreign)}" if self.foreign else ""
        return line + (f", left on the other side: {', '.join(self.left)}" if self.left else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Whether every place that a patch wrote still holds what the patches say, and no module runs without its patch.

    True if so.
    """

    findings: tuple[Finding, ...]
    checked: int

    @property
    def ok(self) -> bool:
        """Nothing was changed by others, and nothing came later that the patches do not reach."""
        return not self.findings

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        if self.ok:
            return f"{counted(self.checked, 'place')} checked: all as the patches say"
        changed = sum(finding.code == "foreign-change" for finding in self.findings)
        late = len(self.findings) - changed
        told = [f"{changed} of {self.checked} places were changed by others"] if changed else []
        told += [f"{counted(late, 'module')} came later, without a patch"] if late else []
        return "\n".join([", ".join(told), *map(str, self.findings)])


# A place that somebody else changed stays changed.  One that only seems so, because a switch is on its way through the
# stores (which takes more than one step under an audit hook), is found right when it is looked at again.
_BETWEEN = (0.002, 0.02, 0.1)  # seconds between looks


def verified(
    state: State, modules: dict[str, ModuleType], late: Mapping[str, tuple[str, ...]] | None = None
) -> Verification:
    """Compare every slot of the stack in force with what it holds; what is wrong is looked at again.

    `late` are the modules that were imported after the patch of that id had gone in.
    """
    found = _verified(state, modules)
    for pause in _BETWEEN:
        if not found.findings:
            break
        time.sleep(pause)
        again = _verified(state, modules)
        wrong = {finding.target for finding in found.findings}
        found = replace(again, findings=tuple(each for each in again.findings if each.target in wrong))
    came = [_imported_since(name, patch_id) for patch_id, names in (late or {}).items() for name in names]
    return replace(found, findings=(*found.findings, *came))


def _imported_since(module: str, patch_id: str) -> Finding:
    return Finding(
        code="imported-since",
        severity="error",
        target=module,
        found=f"a module that was imported after patch {patch_id} had gone in, and runs without it",
        expected="a module with the patch",
        action=f"apply the patch anew with replaces=[{patch_id!r}]; if it changes values, revert it and apply it again",
    )


def _verified(state: State, modules: dict[str, ModuleType]) -> Verification:
    while True:
        before = _moment(state)
        verification = _compare(state, modules, _moving(state))
        if before.is_still(state):  # else another thread switched while we looked
            return verification


@dataclass(frozen=True, slots=True)
class _Moment:
    """Which switch had been made when a look began.  It holds the stack, or the next might come to its address."""

    stack: Stack
    undo: int
    open: int

    def is_still(self, state: State) -> bool:
        return state.stack is self.stack and (id(state.undo), id(state.open)) == (self.undo, self.open)


def _moment(state: State) -> _Moment:
    return _Moment(state.stack, id(state.undo), id(state.open))


def _moving(state: State) -> frozenset[int]:
    """The ids of the values that a switch in progress puts in place on its way."""
    return frozenset(id(value) for write in state.undo for value in (write.before, write.after))


def _compare(state: State, modules: dict[str, ModuleType], moving: frozenset[int]) -> Verification:
    findings = []
    held = held_now(state)
    for slot, value in held.items():
        if slot.owner is None or slot.kept or slot.yields:
            continue
        found = value_of(slot)
        if found is not value and id(found) not in moving:
            decider = state.stack.decider(slot)
            findings.append(
                Finding(
                    code="foreign-change",
                    severity="error",
                    target=str(slot),
                    found=describe(found, modules),
                    expected=f"what patch {decider} put there" if decider else "the original",
                    action="find out who changed it; revert leaves it alone",
                )
            )
    return Verification(findings=tuple(findings), checked=len(held))


def describe(value: object, modules: dict[str, ModuleType]) -> str:
    """A value that somebody else stored, and who that probably was."""
    if value is ABSENT:
        return "nothing (deleted)"
    if isinstance(value, Contents):
        return f"other contents: {counted(len(value.items), 'item')}"
    if isinstance(value, FunctionType):
        return f"function {value.__qualname__} of {value.__module__}"
    if isinstance(value, CodeType):
        author = _module_of(value.co_filename, modules)
        return f"code {value.co_qualname} of {value.co_filename}:{value.co_firstlineno}" + (
            f" ({author})" if author else ""
        )
    return spelled(value)


def _module_of(filename: str, modules: dict[str, ModuleType]) -> str:
    return next((name for name, m in list(modules.items()) if getattr(m, "__file__", None) == filename), "")


def foreign_now(state: State, patch_id: str, modules: dict[str, ModuleType]) -> tuple[str, ...]:
    """The slots of one patch that others changed; each is looked at again."""
    found = _foreign_at_once(state, patch_id, modules)
    for pause in _BETWEEN:
        if not found:
            break
        time.sleep(pause)
        again = _foreign_at_once(state, patch_id, modules)
        found = {slot: text for slot, text in again.items() if slot in found}
    return tuple(found.values())


def _foreign_at_once(state: State, patch_id: str, modules: dict[str, ModuleType]) -> dict[Slot, str]:
    while True:
        before = _moment(state)
        foreign = _foreign(state, patch_id, modules, _moving(state))
        if before.is_still(state):
            return foreign


def _foreign(state: State, patch_id: str, modules: dict[str, ModuleType], moving: frozenset[int]) -> dict[Slot, str]:
    layer = state.stack.layer(patch_id)
    if layer is None:
        return {}
    held = held_now(state)
    slots = [
        slot
        for slot in layer.values
        if slot.owner is not None
        and not slot.kept
        and not slot.yields
        and (now := value_of(slot)) is not held[slot]
        and id(now) not in moving
    ]
    return {slot: f"{slot}: {describe(value_of(slot), modules)}" for slot in slots}
