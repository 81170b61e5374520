"""What the places of a patch hold, by identity, before it goes in; and what of that is another object afterwards.

Looked at from outside: functions and classes of the modules that a patch names are found by these modules, and not by
what the engine says that it wrote.  What the engine did write, in any module, is held against what was there as well.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from livepatch.bundle.trust import targets
from livepatch.contents.changes import Addition, Attachment
from livepatch.engine.commit import value_of
from livepatch.engine.heap import functions_of
from livepatch.engine.namespaces import namespace_of
from livepatch.engine.stack import ABSENT, Choice, Slot, Stack
from livepatch.patch import Patch

__all__ = ["Picture", "modules_of"]

# What the interpreter makes on first use, or keeps for itself.
_OWN = frozenset(
    ["__annotations__", "__annotations_cache__", "__annotate__", "__warningregistry__", "__abstractmethods__"]
)
_LAZY = sys.version_info >= (3, 14)  # annotations are made on demand there
_CODE = (FunctionType, type, staticmethod, classmethod, property)

Reference = Callable[[], Any]


def modules_of(patch: Patch) -> tuple[str, ...]:
    """The modules that a patch changes."""
    places = [each.owner if isinstance(each, (Addition, Attachment)) else each.target for each in patch.changes]
    return tuple(dict.fromkeys([*(place.module for place in places), *(edit.module for edit in patch.edits)]))


def _spoken_of(patch: Patch) -> Iterator[str]:
    """The last name of each place that the patch names."""
    for change in patch.changes:
        if isinstance(change, Addition):
            yield from change.names
        elif not isinstance(change, Attachment):
            yield from change.target.qualname.split(".")
    for target in targets(patch):
        yield from target.partition(":")[2].split(".")


class Picture:
    """What modules, their classes and functions hold.

    Code is referred to weakly: another reference to it would look to the library like a call in flight.
    """

    def __init__(self) -> None:
        self._functions: dict[int, tuple[weakref.ref[FunctionType], dict[str, Any]]] = {}
        self._namespaces: dict[int, tuple[Any, dict[str, Any]]] = {}
        self._slots: dict[Slot, Reference] = {}
        self._names: set[str] = set()
        self._modules: set[str] = set()

    def take(self, modules: Iterable[str], names: Iterable[str] = ()) -> None:
        """Look at imported modules that were not looked at before; `names` are those whose plain values count."""
        self._names.update(names)
        for name in modules:
            module = sys.modules.get(name)
            if type(module) is not ModuleType or name in self._modules:
                continue
            self._modules.add(name)
            for function in functions_of(module):
                self._functions[id(function)] = weakref.ref(function), _held(function)
            owners: list[Any] = [module]
            while owners:
                owner = owners.pop()
                if id(owner) not in self._namespaces:
                    held = dict(namespace_of(owner))
                    self._namespaces[id(owner)] = owner, held
                    owners += [each for each in held.values() if isinstance(each, type) and each.__module__ == name]

    def take_of(self, patch: Patch) -> None:
        """Look at what a patch changes, before it goes in."""
        self.take(modules_of(patch), _spoken_of(patch))

    def take_written(self, stack: Stack, patch_id: str, before: Stack) -> None:
        """Note what was in the places that a layer of `stack` speaks of, under the stack `before`."""
        layer = stack.layer(patch_id)
        if layer is None:
            return
        wanted = before.wanted()
        for slot in layer.values:
            held = wanted.get(slot, stack.originals.get(slot, ABSENT))
            if slot not in self._slots and not (slot.kept or slot.yields or isinstance(held, Choice)):
                self._slots[slot] = _reference(held)

    def differences(self) -> list[str]:
        """What is another object than before, in words; what is gone altogether does not count."""
        found = [
            f"{function.__module__}:{function.__qualname__} has another {name}"
            for reference, was in self._functions.values()
            if (function := reference()) is not None
            for name, same in _compared(was, _held(function))
            if not same
        ]
        for owner, was in self._namespaces.values():
            now = namespace_of(owner)
            where = owner.__name__ if type(owner) is ModuleType else f"{owner.__module__}:{owner.__qualname__}"
            for name in sorted((was.keys() | now.keys()) - _OWN, key=str):
                before, after = was.get(name, ABSENT), now.get(name, ABSENT)
                if before is not after and self._counts(name, before, after):
                    found.append(f"{where} has {_changed(before, after)} {name}")
        for slot, reference in self._slots.items():
            if slot.owner is not None and value_of(slot) is not reference():
                found.append(f"{slot} does not hold what it held")
        return found

    def _counts(self, name: str, before: object, after: object) -> bool:
        """Plain values are the program's own affair, unless the patch speaks of them."""
        return name in self._names or isinstance(before, _CODE) or isinstance(after, _CODE)


def _changed(before: object, after: object) -> str:
    return "a new" if before is ABSENT else "lost" if after is ABSENT else "another"


def _reference(value: object) -> Reference:
    return weakref.ref(value) if isinstance(value, CodeType) else lambda: value


def _held(function: FunctionType) -> dict[str, Any]:
    """What a function holds; of its code a weak reference, of which there is one for each code object."""
    return {
        "__code__": weakref.ref(function.__code__),
        "__defaults__": function.__defaults__,
        "__kwdefaults__": function.__kwdefaults__,
        "values of __kwdefaults__": dict(function.__kwdefaults__ or {}),
        "__closure__": function.__closure__,
        "__annotations__": {} if _LAZY else dict(function.__annotations__),
        "__annotate__": function.__annotate__ if _LAZY else None,  # type: ignore[attr-defined]  # from 3.14 on
        "__doc__": function.__doc__,
        "__name__": function.__name__,
        "__qualname__": function.__qualname__,
        "__module__": function.__module__,
        "__dict__": dict(vars(function)),
        "__type_params__": getattr(function, "__type_params__", None),
    }


def _compared(was: dict[str, Any], now: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    for name, before in was.items():
        after = now[name]
        if isinstance(before, dict) and name != "__kwdefaults__":
            same = before.keys() == after.keys() and all(after[key] is value for key, value in before.items())
        elif name == "__code__":
            # Equal references are to equal code, which may be another object.
            same = before() is not None and before() is after()
        else:
            same = before is after or (isinstance(before, str) and before == after)
        yield name, same
