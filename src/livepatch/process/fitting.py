"""Whether a mode, a consistency and a patch go together, before anything is switched."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from types import CodeType

from livepatch.compat.report import Finding
from livepatch.contents.changes import Replacement
from livepatch.contents.edits import replaced_functions
from livepatch.engine.facts import Survey
from livepatch.engine.modes import At, Mode, Split, as_shadow, is_off, is_on, spelled_mode
from livepatch.engine.outliving import Outliving, Unlike
from livepatch.engine.stack import ABSENT, SIDE, Layer, Stack
from livepatch.errors import PatchError, TransitionError
from livepatch.patch import Patch
from livepatch.process.records import Record
from livepatch.process.switching import Consistency

__all__ = ["check_fits", "fitting", "name_members", "needed", "unsuitable"]


_DESCRIBING = frozenset({"__doc__", "__annotations__", "__annotate__"})


def fitting(layer: Layer, new: Stack) -> Consistency:
    """How a patch is switched that does not say: one body cannot be seen half, nor with what no call looks at."""
    changed = [
        slot
        for slot, value in layer.values.items()
        if new.originals[slot] is not value and not (slot.kind == "function" and slot.name in _DESCRIBING)
    ]
    single = all(slot.kind == "function" and slot.name == SIDE[0] for slot in changed) and len(changed) <= 1
    return "immediate" if single else "chain"


def check_fits(mode: Mode, layer: Layer, stack: Stack, patch: Patch, outliving: Outliving) -> None:
    """Raise :class:`PatchError` if a mode cannot do for a layer of a stack what it says."""
    if is_on(mode) or is_off(mode):
        return
    _check_migrations(mode, patch)
    originals = stack.originals
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
            action="put the value into the functions that use it; as it is the patch can only be 'on' or 'off', and "
            "where it touches protected code not 'on' either: then restart with the release that has the fix",
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
    _check_objects(mode, layer, outliving)
    if isinstance(mode, Split) and isinstance(mode.key, str):
        _check_key(mode, mode.key, layer, stack)


def _check_migrations(mode: Mode, patch: Patch) -> None:
    """Raise :class:`PatchError` if calls of the old side would go on making what only a migration takes up."""
    eager = [str(migration) for migration in patch.migrations if not migration.lazy or as_shadow(mode) is not None]
    if eager:
        raise PatchError(
            f"mode {spelled_mode(mode)} does not suit patch {patch.id}",
            found=f"migration {', '.join(eager[:5])}, which is made once, while both sides go on with the data",
            expected="data that calls of either side can use in turn",
            action="use 'on' or 'off'" + ("" if as_shadow(mode) is not None else ", or a lazy migration"),
        )


def _check_objects(mode: Mode, layer: Layer, outliving: Outliving) -> None:
    """Raise :class:`PatchError` if objects go from one side to the other and are of no use there."""
    unlike = [f"{each.label} ({each.why})" for each in (*outliving.old, *outliving.new)]
    # A height is reached once, and from then on every call leaves there what later ones look for.
    unlike += [] if isinstance(mode, At) else [f"{name} (only new code sets it)" for name in outliving.changing]
    if unlike:
        raise PatchError(
            f"mode {spelled_mode(mode)} does not suit patch {layer.patch_id}",
            found=f"objects that are not the same on both sides: {', '.join(unlike[:5])}",
            expected="objects that calls of either side can use in turn, for they outlive a call",
            action="use 'on' or 'off'",
        )


def _check_key(mode: Split, key: str, layer: Layer, stack: Stack) -> None:
    """Raise :class:`PatchError` if no function beneath the layer takes the key, so that no call can give it."""
    parameters: dict[str, list[str]] = {}
    beneath = [stack.originals, *(each.values for each in stack.layers if each.patch_id != layer.patch_id)]
    for slot in layer.values:
        if slot.kind != "function" or slot.name != SIDE[0]:
            continue
        codes = [code for values in beneath if isinstance(code := values.get(slot), CodeType)]
        if any(code.co_flags & inspect.CO_VARKEYWORDS for code in codes):
            return
        named = [name for code in codes for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]]
        parameters[str(slot).removesuffix(f".{SIDE[0]}")] = list(dict.fromkeys(named))
    if parameters and not any(key in names for names in parameters.values()):
        told = [f"{target}({', '.join(names)})" for target, names in parameters.items()]
        raise PatchError(
            f"mode {spelled_mode(mode)} does not suit patch {layer.patch_id}: no function has a parameter {key}",
            found=", ".join(told[:5]) + (f" and {len(told) - 5} more" if len(told) > 5 else ""),
            expected="the name of a parameter of the patched functions, or a callable",
            action="correct the key",
        )


def unsuitable(mode: Mode, found: Survey, stack: Stack, patch: Patch) -> Finding | None:
    """The error if a mode cannot do for a patch what it says, which :func:`check_fits` raises when that goes in."""
    layer = Layer(patch.id, mode, found.values, patch.flag)
    try:
        check_fits(mode, layer, stack.push(layer, found.originals), patch, found.outliving)
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


def held_up_by(mode: Mode, consistency: Consistency | None, patch: Patch, outliving: Outliving) -> tuple[Unlike, ...]:
    """What objects that must not be there when the new side goes live have in common.

    Raises :class:`PatchError` if the switch is asked for in a way that lets calls of the old side go on making them.
    """
    if not is_on(mode) or not outliving.old:
        return ()
    if consistency not in (None, "quiescent"):
        raise PatchError(
            f"consistency {consistency!r} does not suit patch {patch.id}",
            found="new code that cannot use objects of the old side: " + _listed(outliving.old),
            expected="'quiescent': calls that go on on the old side go on making such objects",
            action="leave the consistency out",
        )
    return tuple(outliving.old)


def check_may_return(about: frozenset[str], records: Mapping[str, Record], before: Stack, now: Stack) -> None:
    """Raise :class:`TransitionError` if to cancel a switch would bring a side back among objects that it cannot use."""
    for patch_id in about:
        was, layer = before.layer(patch_id), now.layer(patch_id)
        back = was is not None and is_on(was.mode) and (layer is None or not is_on(layer.mode))
        if back and records[patch_id].outliving.old:
            raise TransitionError(
                f"the switch that takes patch {patch_id} out cannot be cancelled",
                found="calls of the old side that may have made objects: " + _listed(records[patch_id].outliving.old),
                expected="no object that the new side cannot use",
                action="let it drain, then apply the patch, or set its mode, again",
            )


def _listed(unlike: Iterable[Unlike]) -> str:
    return ", ".join([f"{each.label} ({each.why})" for each in unlike][:5])


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
