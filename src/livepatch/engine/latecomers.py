"""What came while a side was live: copies of its functions and imports of its values, which leave with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import CodeType, FunctionType, ModuleType

from livepatch.engine.aliases import bears_identity, imports_name
from livepatch.engine.closures import same_shape
from livepatch.engine.commit import slot_of, value_of
from livepatch.engine.namespaces import is_module, owner_name
from livepatch.engine.stack import ABSENT, Slot, Stack, Write
from livepatch.engine.sweep import sweep
from livepatch.engine.wrapping import unwritable

__all__ = ["latecomers"]


def latecomers(
    old: Stack, new: Stack, writes: list[Write], modules: Mapping[str, ModuleType]
) -> tuple[list[Write], list[str]]:
    """Writes for functions and names that got a leaving side from where we put it; and what must keep it, in words.

    Only what a layer brought can have come late; what the original program holds was found when the patch was applied.
    """
    brought = {id(value) for layer in old.layers for value in layer.values.values()}
    leaving = [write for write in writes if id(write.before) in brought]
    codes = {id(write.before): write for write in leaving if isinstance(write.before, CodeType)}
    values = {id(write.before): write for write in leaving if _may_be_imported(write)}
    if not codes and not values:
        return [], []
    functions = [f for w in leaving if id(w.before) in codes and isinstance(f := w.slot.owner, FunctionType)]
    held = held_by(old, new)
    held.update(id(write.before) for write in writes)
    before = [write.before for write in values.values()]
    swept = sweep(modules if values else {}, functions, before, held=held, thorough=False)
    known = {(write.slot.owner_id, write.slot.name) for write in leaving}
    found: list[Write] = []
    kept: list[str] = []
    for key, write in codes.items():
        for function in swept.copies.get(key, ()):
            if (id(function), "__code__") in known or function.__code__ is not write.before:
                continue
            assert isinstance(write.after, CodeType)
            if same_shape(function.__code__, write.after):
                found.append(Write(slot_of(function, "__code__", f"a copy of {write.slot}"), write.before, write.after))
            else:
                kept.append(f"a copy of {write.slot}")
    for key, write in values.items():
        for owner, name in swept.aliases.get(key, ()):
            slot = slot_of(owner, name, f"{owner_name(owner)}:{name}")
            if (slot.owner_id, name) in known or value_of(slot) is not write.before:
                continue
            # Only the import statement tells a latecomer from the patch's own module, which has the value to give.
            if not _imported(owner, name, write.slot):
                continue
            if write.after is ABSENT or unwritable(owner, name) is not None:
                kept.append(f"{slot}, which got it from {write.slot}")
            else:
                found.append(Write(slot, write.before, write.after))
    return found, kept


def _imported(owner: ModuleType | type, name: str, slot: Slot) -> bool:
    home = slot.owner
    if name != slot.name and not bears_identity(value_of(slot)):
        return False  # chance: half of all modules hold a 1
    return is_module(owner) and is_module(home) and imports_name(owner, home.__name__, slot.name, name)


def _may_be_imported(write: Write) -> bool:
    return write.slot.kind == "module" and write.before is not ABSENT


def held_by(*stacks: Stack) -> Counter[int]:
    """How many references the stacks themselves hold to each value, by its id."""
    mappings = {id(m): m for stack in stacks for m in (stack.originals, *(layer.values for layer in stack.layers))}
    return Counter(id(value) for mapping in mappings.values() for value in mapping.values())
