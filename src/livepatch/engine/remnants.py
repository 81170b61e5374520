"""Who still holds a value that gives way to another: objects that took it, before the patch, to a place of their own.

A fix that changes a value does not reach an object that keeps the old one, or something made of it.  Names of modules
and classes are seen to elsewhere; here it is about what only a walk through the heap shows: attributes of objects,
containers that these hold, defaults of functions, variables of closures.  Nor does it reach a method that was bound to
an object before its class got one of its own in place of the inherited one.
"""

from __future__ import annotations

import functools
import gc
import re
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import BuiltinMethodType, CellType, CodeType, FrameType, FunctionType, GeneratorType, MethodType, ModuleType
from typing import Any

from livepatch.engine.aliases import bears_identity
from livepatch.engine.heap import referrers
from livepatch.engine.namespaces import is_a, is_class, is_function, is_module, namespace_of
from livepatch.engine.stack import ABSENT, Slot

__all__ = ["Remnant", "remnants"]

_AT_ONCE = 16  # objects looked at in one walk for whether they go away
_LEVELS = 5  # containers in containers that are followed up to the object that holds them
_PASSING = (FrameType, GeneratorType, CodeType)


_METHODS = (MethodType, BuiltinMethodType, type(re.compile("").match))


@dataclass(frozen=True, slots=True)
class Remnant:
    """A place that a patch changes, and in words who holds what was there before."""

    label: str
    holder: str


def remnants(
    values: Mapping[Slot, object],
    originals: Mapping[Slot, object],
    modules: Mapping[str, ModuleType],
    emptied: Iterable[dict[Any, Any]] = (),
    given: Collection[int] = (),
) -> list[Remnant]:
    """Find who else holds what the slots hold now and shall hold no more.  Walks the heap if there is such a value.

    What only the `emptied` tables hold goes away with the switch.  Of what is `given` (ids), such as functions of the
    standard library, a holder need not have got it from a slot.
    """
    labels: dict[int, str] = {}
    old: list[object] = []
    for slot, value in values.items():
        held = originals.get(slot, ABSENT)
        if held is not value and slot.kind in ("module", "class", "item", "attribute") and not slot.kept:
            for part in (held, getattr(held, "__func__", None) if is_a(held, staticmethod, classmethod) else None):
                if _tells(part) and id(part) not in given:
                    if id(part) not in labels:
                        old.append(part)
                    labels[id(part)] = str(slot)
    overtaken = _overtaken(values, originals)
    if not old:
        return overtaken
    search = _Search(values, modules, emptied)
    search.share(labels[id(part)] for part in old if type(part) is re.Pattern)
    return [*overtaken, *search.holders(labels, old)]


def _overtaken(values: Mapping[Slot, object], originals: Mapping[Slot, object]) -> list[Remnant]:
    """Methods that are bound to objects of a class which gets its own in their place: who calls one, calls the old."""
    inherited: dict[int, tuple[FunctionType, list[Slot]]] = {}
    for slot in values:
        if slot.kind == "class" and originals.get(slot, ABSENT) is ABSENT and is_class(slot.owner):
            function = _inherited(slot.owner, slot.name)
            if function is not None:
                inherited.setdefault(id(function), (function, []))[1].append(slot)
    if not inherited:
        return []
    found: dict[Slot, str] = {}
    for holder in referrers([function for function, _ in inherited.values()]):
        if type(holder) is not MethodType:
            continue
        bound = holder.__self__
        of = bound if is_class(bound) else type(bound)
        for slot in inherited.get(id(holder.__func__), (None, ()))[1]:
            if slot.owner in type.__dict__["__mro__"].__get__(of):
                found[slot] = f"a method that was bound before to an object of {of.__module__}:{of.__qualname__}"
    return [Remnant(str(slot), words) for slot, words in found.items()]


def _inherited(cls: type, name: str) -> FunctionType | None:
    """The function that objects of the class have of that name, if it is a method that a base class defines."""
    for base in type.__dict__["__mro__"].__get__(cls)[1:]:
        value = namespace_of(base).get(name, ABSENT)
        if value is not ABSENT:
            function = value.__func__ if is_a(value, classmethod) else value
            return function if is_function(function) else None
    return None


def _tells(value: object) -> bool:
    """Whether who holds this very object must have got it from where it is."""
    if value is ABSENT or is_a(value, CodeType, ModuleType):
        return False
    # Equal patterns are one object; but who keeps it in an object of its own was given it.
    return type(value) is re.Pattern or (bears_identity(value) and type(value) not in (int, float, bytes))


class _Search:
    def __init__(
        self, values: Mapping[Slot, object], modules: Mapping[str, ModuleType], emptied: Iterable[dict[Any, Any]]
    ) -> None:
        self._emptied = {id(table): table for table in emptied}
        self._shared: set[str] = set()
        """The labels of values that the interpreter or its library shares."""
        self._answers: set[int] = set()
        """The ids of our own lists of objects that were found."""
        self._written = {slot.owner_id for slot in values}
        for slot in values:
            if is_class(slot.owner):  # which is a holder by its namespace, of which only a view is shown
                self._written.update(map(id, gc.get_referents(namespace_of(slot.owner))))
        self._spaces = {id(namespace_of(m)) for m in list(modules.values()) if is_module(m)}

    def share(self, labels: Iterable[str]) -> None:
        """Take the values of these labels for shared ones."""
        self._shared.update(labels)

    def holders(self, labels: dict[int, str], objects: list[object]) -> list[Remnant]:
        found: dict[tuple[str, str], Remnant] = {}
        seen = {id(labels), id(objects)}
        for _ in range(_LEVELS):
            walked = referrers(objects)
            seen |= {id(walked), id(objects)}
            self._answers |= {id(walked), id(objects)}
            inner = {id(each): each for each in objects}
            objects, above = [], {}
            told: dict[int, list[Remnant]] = {}
            holders: list[object] = []
            for holder in walked:
                if id(holder) in seen or id(holder) in self._written or id(holder) in self._spaces:
                    continue
                if id(holder) in self._emptied or _is_of_the_stack(holder):
                    continue
                seen.add(id(holder))
                held = [key for key in map(id, gc.get_referents(holder)) if key in inner]
                named = {labels[key] for key in held}
                if _is_container(holder):
                    above[id(holder)] = min(named, default="")
                    objects.append(holder)
                    continue
                words = self._told(holder)
                if words:
                    named = self._that_count(named, holder)  # no comprehension here: its cell would hold the holder
                    told[id(holder)] = [Remnant(label, words) for label in sorted(named)]
                    holders.append(holder)
            labels = above
            del walked, inner
            self._answers |= {id(holders), id(objects)}
            self._keep(holders, told, found)
            if not objects:
                break
        return list(found.values())

    def _that_count(self, labels: set[str], holder: object) -> set[str]:
        """Equal patterns are one object, whoever compiles them: only the package itself must have got it there."""
        return {label for label in labels if label not in self._shared or _is_of_package(holder, label)}

    def _keep(
        self, holders: list[object], told: dict[int, list[Remnant]], found: dict[tuple[str, str], Remnant]
    ) -> None:
        """Take what is told of the holders that stay: what nothing but emptied tables hold is gone with the switch."""
        while holders:
            some: list[object] = []
            while holders and len(some) < (_AT_ONCE if self._emptied else len(told)):
                holder = holders.pop()
                if any((each.label, each.holder) not in found for each in told[id(holder)]):
                    some.append(holder)
            going = self._that_go(some) if self._emptied and some else set()
            for key in map(id, some):
                if key not in going:
                    found.update({(each.label, each.holder): each for each in told[key]})

    def _that_go(self, holders: list[object]) -> set[int]:
        """The ids of those that nothing holds but tables that are emptied."""
        keys, held, stays = set(map(id, holders)), set(), set()
        self._answers.add(id(holders))
        for each in referrers(holders):
            if is_a(each, *_PASSING) or id(each) in self._answers:
                continue
            inside = keys.intersection(map(id, gc.get_referents(each)))
            held |= inside
            if id(each) not in self._emptied:
                stays |= inside
        return held - stays

    def _told(self, holder: object) -> str:
        """A holder in words; empty for one of no consequence."""
        if is_class(holder) or is_module(holder) or is_a(holder, *_PASSING):
            return ""
        if is_function(holder):
            if id(holder.__globals__) not in self._spaces or _is_ours(holder.__module__):
                return ""
            return f"the function {holder.__module__}:{holder.__qualname__}"
        kind = type(holder)
        if _is_ours(kind.__module__) or kind.__module__ in ("builtins", "sys", "re", "functools", "weakref"):
            return ""
        return f"an object of {kind.__module__}:{kind.__qualname__}"


def _is_of_the_stack(holder: object) -> bool:
    """Whether it is a table of what slots hold: livepatch's own."""
    try:
        return type(holder) is dict and type(next(iter(holder), None)) is Slot
    except RuntimeError:  # another thread has just changed it: it is the program's
        return False


def _is_of_package(holder: object, label: str) -> bool:
    """Whether a holder is of the package in which the place lies that a label names."""
    package = label.partition(":")[0].partition(".")[0]
    return str(type(holder).__module__).partition(".")[0] == package


def _is_ours(module: object) -> bool:
    return str(module).partition(".")[0] == "livepatch"


def _is_container(value: object) -> bool:
    return type(value) in (dict, list, tuple, set, frozenset, deque, CellType, functools.partial, *_METHODS)
