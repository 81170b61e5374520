"""Whether a mode, a consistency and a patch go together, before anything is switched."""

from __future__ import annotations

from collections.abc import Mapping

from livepatch.edits import replaced_functions
from livepatch.engine.facts import Survey
from livepatch.engine.modes import Mode, as_shadow, spelled_mode
from livepatch.engine.stack import ABSENT, SIDE, Layer, Slot, Stack
from livepatch.errors import PatchError, TransitionError
from livepatch.patch import Patch, Replacement
from livepatch.records import Record
from livepatch.report import Finding
from livepatch.switching import Consistency

__all__ = ["check_fits", "fitting", "name_members", "needed", "unsuitable"]


def fitting(layer: Layer, new: Stack) -> Consistency:
    """How a patch is switched that does not say: what is one store to one function cannot be seen half."""
    changed = [slot for slot, value in layer.values.items() if new.originals[slot] is not value]
    single = all(slot.kind == "function" and slot.name == SIDE[0] for slot in changed) and len(changed) <= 1
    return "immediate" if single else "chain"


def check_fits(mode: Mode, layer: Layer, originals: Mapping[Slot, object], patch: Patch) -> None:
    """Raise :class:`PatchError` if a mode cannot do for a layer what it says."""
    if mode in ("on", "off"):
        return
    values = [
        str(slot)
        for slot, value in layer.values.items()
        if slot.kind != "function" and not (slot.is_name and originals[slot] is ABSENT) and originals[slot] is not value
    ]
    if values:
        raise PatchError(
            f"mode {spelled_mode(mode)} does not suit patch {layer.patch_id}",
            found=f"a change of {', '.join(sorted(values)[:5])}, which all calls share",
            expected="changed functions and new names only: these can differ from call to call",
            action="use 'on' or 'off', or put the value into the functions that use it",
        )
    if as_shadow(mode) is not None:
        impure = [str(c.target) for c in patch.changes if isinstance(c, Replacement) and not c.pure]
        impure += [name for name in replaced_functions(patch.edits) if name not in patch.pure]
        if impure:
            raise PatchError(
                f"mode {spelled_mode(mode)} does not suit patch {layer.patch_id}",
                found=f"{', '.join(impure[:5])}, not declared pure",
                expected="functions that may run twice because they change nothing",
                action="if that is so, declare them: replace(…, pure=True), or build(…, pure=[…])",
            )


def unsuitable(mode: Mode, found: Survey, stack: Stack, patch: Patch) -> Finding | None:
    """The error if a mode cannot do for a patch what it says, which :func:`check_fits` raises when that goes in."""
    layer = Layer(patch.id, mode, found.values, patch.flag)
    try:
        check_fits(mode, layer, {**found.originals, **stack.originals}, patch)
    except PatchError as error:
        return Finding(
            code="mode-unsuitable",
            severity="error",
            target="",
            found=f"mode {spelled_mode(mode)} for a patch with {error.found}",
            expected=error.expected,
            action=error.action,
        )
    return None


def needed(record: Record, needing: list[str], what: str) -> TransitionError:
    """The error for a patch that others need."""
    return TransitionError(
        f"patch {record.id} is required by {', '.join(sorted(needing))}",
        found="patches that do not work without it",
        expected="none",
        action=f"take those out first, then {what}; or put one in that replaces them all",
    )


def name_members(found: Survey) -> None:
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
