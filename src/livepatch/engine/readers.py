"""Which live functions read a value that a patch changes: by the names in their code."""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import FunctionType, ModuleType

from livepatch.engine.code import nested_codes
from livepatch.engine.functions import code_of, is_own
from livepatch.engine.namespaces import bindings, functions_behind, is_class, is_module, namespace_of
from livepatch.engine.pace import breathe
from livepatch.engine.stack import ABSENT, Slot

__all__ = ["name_of", "readers"]

_FEW = 3  # classes: an attribute that more of them have is a common word, and says nothing

_LABEL = re.compile(r"([\w.]+):([\w.]+)")


@dataclass(frozen=True, slots=True)
class _Place:
    """A name of a module, or of a class in it."""

    owner: ModuleType | type
    name: str


def name_of(function: FunctionType) -> str:
    """What a live function is known by: ``"module:qualified.name"``."""
    return f"{function.__module__}:{function.__qualname__}"


def readers(
    originals: Mapping[Slot, object], wanted: Iterable[Slot], modules: dict[str, ModuleType]
) -> dict[Slot, tuple[tuple[str, bool], ...]]:
    """By slot, the functions that read what it holds, by name; ``True`` where that is certain.

    A name that is new is read by new code only, unless it hides a builtin.  An attribute of a class is read for certain
    by the methods of that class that name it.  Any other code that names it may mean another object; that counts within
    the same package, where few classes have such an attribute.
    """
    places = {
        slot: place
        for slot in wanted
        if (place := _place(slot, modules)) is not None
        and (originals.get(slot) is not ABSENT or hasattr(builtins, place.name))
    }
    if not places:
        return {}
    names = {place.name for place in places.values()}
    found: dict[Slot, dict[str, bool]] = {slot: {} for slot in places}
    seen: set[int] = set()
    having: dict[str, set[int]] = {name: set() for name in names}
    for owner, _, value in bindings(modules):
        if is_class(owner) and id(owner) not in seen:
            seen.add(id(owner))
            for name in names & namespace_of(owner).keys():
                having[name].add(id(owner))
        for function in functions_behind(value):
            if id(function) in seen or is_own(function):
                continue
            seen.add(id(function))
            breathe()
            code = code_of(function)
            named = {name for each in (code, *nested_codes(code)) for name in each.co_names}
            if named.isdisjoint(names):
                continue
            for slot, place in places.items():
                certain = _reads(function, named, place)
                if certain is not None:
                    known = found[slot]
                    known[name_of(function)] = certain or known.get(name_of(function), False)
    common = {name for name, classes in having.items() if len(classes) > _FEW}
    return {
        slot: tuple(sorted((f, sure) for f, sure in known.items() if sure or places[slot].name not in common))
        for slot, known in found.items()
    }


def _place(slot: Slot, modules: dict[str, ModuleType]) -> _Place | None:
    owner = slot.owner
    if slot.kind in ("module", "class"):
        return _Place(owner, slot.name) if is_module(owner) or is_class(owner) else None
    # The entry of a container, what a cell or an object holds: whoever reads the name under which that is found.
    label = _LABEL.match(str(slot))
    if label is None or not is_module(modules.get(label[1])):
        return None
    holder: ModuleType | type = modules[label[1]]
    *outer, name = label[2].split(".")
    for each in outer:
        inner = namespace_of(holder).get(each)
        if not is_class(inner):
            return _Place(holder, each)
        holder = inner
    return _Place(holder, name)


def _reads(function: FunctionType, named: set[str], place: _Place) -> bool | None:
    """Whether it reads the name for certain; ``None``: it does not name it."""
    if place.name not in named:
        return None
    owner = place.owner
    if is_module(owner):
        if function.__globals__ is namespace_of(owner):
            return True
        return True if any(function.__globals__.get(name) is owner for name in named) else None
    if function.__module__ == owner.__module__ and function.__qualname__.startswith(f"{owner.__qualname__}."):
        return True
    if any(function.__globals__.get(name) is owner for name in named):
        return True
    same_package = str(function.__module__).partition(".")[0] == owner.__module__.partition(".")[0]
    return False if same_package else None
