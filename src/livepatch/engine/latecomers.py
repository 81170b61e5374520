"""What came after the survey, copies of functions and imports of values: it follows every later switch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import CodeType, FunctionType, ModuleType

from livepatch.engine.aliases import bears_identity, imports_name
from livepatch.engine.closures import same_shape, versions_of
from livepatch.engine.commit import slot_of
from livepatch.engine.namespaces import is_module, owner_name
from livepatch.engine.stack import ABSENT, Slot, Stack, Write
from livepatch.engine.sweep import sweep
from livepatch.engine.wrapping import unwritable

__all__ = ["latecomers"]


def latecomers(
    old: Stack, new: Stack, writes: list[Write], modules: Mapping[str, ModuleType]
) -> tuple[list[Write], list[str], float]:
    """Writes for functions and names that got a side from a place that is written now.

    With them, in words, what must keep the side that it has, and the seconds for which the heap was walked.  Only
    places that the stack knew before can have been taken from since; what a new patch reaches was just surveyed.
    """
    late = [write for write in writes if write.slot in old.originals]
    functions, kept, walked = _copies(old, new, [w for w in late if w.slot.kind == "function"], modules)
    names, unwritten = _imports([w for w in late if _may_be_imported(w)], modules)
    return [*functions, *names], [*kept, *unwritten], walked


def _copies(
    old: Stack, new: Stack, late: list[Write], modules: Mapping[str, ModuleType]
) -> tuple[list[Write], list[str], float]:
    codes = {
        id(code): (code, write)
        for write in late
        if write.slot.name == "__code__"
        for code in versions_of(write, (old, new))
    }
    if not codes:
        return [], [], 0.0
    known = {write.slot.owner_id for write in late}
    owners = {write.slot.owner_id: write.slot.owner for write in late}
    # The stacks, the writes, the functions themselves; and in `codes`, in place of a maker's constant.
    held = _held_by(old, new)
    held.update(id(write.before) for write in late)
    held.update(id(owner.__code__) for owner in owners.values() if isinstance(owner, FunctionType))
    spaces = [owner.__globals__ for owner in owners.values() if isinstance(owner, FunctionType)]
    constants = [code for code, _ in codes.values()]
    swept = sweep({}, constants=constants, held=held, spaces=spaces, passing=True)
    if not swept.thorough:
        functions = [owner for owner in owners.values() if isinstance(owner, FunctionType)]
        for key, copies in sweep(modules, functions, passing=True).copies.items():
            swept.copies.setdefault(key, []).extend(copies)
    found: list[Write] = []
    kept: list[str] = []
    for key, (_, write) in codes.items():
        for function in swept.copies.get(key, ()):
            if id(function) in known or function.__code__ is write.after:
                continue
            if isinstance(write.after, CodeType) and same_shape(function.__code__, write.after, parameters=False):
                found.append(
                    Write(slot_of(function, "__code__", f"a copy of {write.slot}"), function.__code__, write.after)
                )
                found += _alike(function, write, late)
            else:
                kept.append(f"a copy of {write.slot}")
    return found, kept, swept.walked or 0.0


def _alike(function: FunctionType, write: Write, late: list[Write]) -> list[Write]:
    """What else the function that was copied gets, where the copy holds the very same."""
    return [
        Write(slot_of(function, other.slot.name, f"a copy of {other.slot}"), other.before, other.after)
        for other in late
        if other.slot.owner_id == write.slot.owner_id
        and other.slot.name != "__code__"
        and getattr(function, other.slot.name, ABSENT) is other.before
    ]


def _imports(late: list[Write], modules: Mapping[str, ModuleType]) -> tuple[list[Write], list[str]]:
    values = {id(write.before): write for write in late}
    if not values:
        return [], []
    known = {(write.slot.owner_id, write.slot.name) for write in late}
    swept = sweep(modules, values=[write.before for write in values.values()])
    found: list[Write] = []
    kept: list[str] = []
    for write in late:
        for owner, name in swept.aliases.get(id(write.before), ()):
            slot = slot_of(owner, name, f"{owner_name(owner)}:{name}")
            if (slot.owner_id, name) in known or not _imported(owner, name, write.slot):
                continue
            if write.after is ABSENT or unwritable(owner, name) is not None:
                kept.append(f"{slot}, which got it from {write.slot}")
            else:
                found.append(Write(slot, write.before, write.after))
    return found, kept


def _imported(owner: ModuleType | type, name: str, slot: Slot) -> bool:
    """Only the import statement tells a latecomer from the patch's own module, which has the value to give."""
    home = slot.owner
    return is_module(owner) and is_module(home) and imports_name(owner, home.__name__, slot.name, name)


def _may_be_imported(write: Write) -> bool:
    if write.slot.kind != "module" or write.before is ABSENT:
        return False
    return write.after is not ABSENT or bears_identity(write.before)  # a name that goes is only reported


def _held_by(*stacks: Stack) -> Counter[int]:
    """How many references the stacks themselves hold to each value, by its id."""
    mappings = {id(m): m for stack in stacks for m in (stack.originals, *(layer.values for layer in stack.layers))}
    return Counter(id(value) for mapping in mappings.values() for value in mapping.values())
