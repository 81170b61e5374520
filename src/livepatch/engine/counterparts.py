"""Which objects of the two sides and of the live modules are counterparts: those that stand under one name.

The statements of either side run in copies of the live modules' namespaces.  What they make anew there (functions,
classes, singletons) has its counterpart under the same name in the live module.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from livepatch.engine.anatomy import PLAIN, attributes_of, members_of, parts_of
from livepatch.engine.code import same_code
from livepatch.engine.functions import code_of
from livepatch.engine.namespaces import is_a, is_class, is_function, is_module, namespace_of
from livepatch.engine.places import dict_of
from livepatch.engine.stack import ABSENT

__all__ = ["ModuleSides", "Sides", "unmangled"]


@dataclass(frozen=True, slots=True)
class ModuleSides:
    """One module: its live namespace, and the two that the statements of the before and the after side ran in."""

    name: str
    live: dict[str, Any]
    before: dict[str, Any]
    after: dict[str, Any]


_GENERATED = 8  # names in the namespace of the one function that a named tuple's class has generated

# What no name stands for: such values are compared by what they are.
_NAMELESS = PLAIN | {tuple, frozenset, re.Pattern, ModuleType}


class Sides:
    """What the names of both sides and of the live modules stand for.

    `names` are those (``"module:qualified.name"``) whose values the patch changes; with a class, all that is in it.
    Every other name stands for the same on all sides, and so do those `elsewhere`, whose functions get other bodies by
    other means: the live function stays.
    """

    def __init__(
        self, modules: Iterable[ModuleSides], names: Collection[str] = (), elsewhere: Collection[str] = ()
    ) -> None:
        self.modules = {each.name: each for each in modules}
        self.names = frozenset(names)
        self.elsewhere = frozenset(elsewhere)
        self.live_at: dict[str, object] = {}
        self.before_at: dict[str, object] = {}
        self.after_at: dict[str, object] = {}
        self._keys: dict[int, set[str]] = {}
        self._spaces: dict[int, str] = {}
        self.scratch: dict[int, ModuleSides] = {}
        """The namespaces that must not stay in use, by id."""
        for each in self.modules.values():
            self._spaces.update({id(space): each.name for space in (each.live, each.before, each.after)})
            self.scratch.update({id(space): each for space in (each.before, each.after)})
            for table, space in (
                (self.live_at, each.live),
                (self.before_at, each.before),
                (self.after_at, each.after),
            ):
                for key, value in _named(each.name, space, each.live if space is not each.live else {}):
                    # The tables keep the objects alive, so that an id stays theirs.
                    if table.setdefault(key, value) is value:
                        self._keys.setdefault(id(value), set()).add(key)

    def keys(self, value: object) -> Collection[str]:
        """The names under which an object can be found."""
        return self._keys.get(id(value), ())

    def key_of(self, value: object) -> str | None:
        """The name that stands for an object, if one does: one under which its own module defines it, or the first."""
        own = f"{value.__module__}:{value.__qualname__}" if is_function(value) or is_class(value) else None
        keys = sorted(self.keys(value), key=lambda key: (key != own, key.partition(":")[2] != _qualname(value), key))
        return keys[0] if keys else None

    def changes(self, key: str) -> bool:
        """Whether the value that a name stands for may be another on the after side."""
        name = key.partition("#")[0]
        if name in self.elsewhere:
            return False
        while name not in self.names:
            name, _, last = name.rpartition(".")
            if ":" not in name or not last:
                return False
        return True

    def is_one(self, one: object, other: object, *, changed: bool) -> bool:
        """Whether one name stands for both; with `changed`, that may be a name whose value changes.

        A name such as ``_`` may stand for several functions in turn, so those that nothing changes must be alike.
        """
        shared = set(self.keys(one)).intersection(self.keys(other))
        return any(changed or not self.changes(key) for key in shared) and (
            self.is_alike(one, other) or any(key.partition("#")[0] in self.elsewhere for key in shared)
        )

    def is_edited(self, one: object, other: object) -> bool:
        """Whether both are one function that gets another body by other means, whatever else names it."""
        if not self.elsewhere or not is_function(one) or not is_function(other):
            return False
        places = [(self.space(each.__globals__), each.__code__.co_qualname) for each in (one, other)]
        return places[0] == places[1] and f"{places[0][0]}:{places[0][1]}" in self.elsewhere

    @staticmethod
    def is_alike(one: object, other: object) -> bool:
        """Whether two objects of one name are of one kind, and functions the same."""
        if is_function(one) and is_function(other):
            return same_code(code_of(one), code_of(other))
        return is_function(one) == is_function(other) and is_class(one) == is_class(other)

    def is_same_class(self, one: type, other: type) -> bool:
        """Whether objects of the two classes may stand for each other."""
        return one is other or self.is_one(one, other, changed=True)

    def space(self, namespace: object) -> object:
        """What tells a namespace from others, whichever side it is of."""
        known = self._spaces.get(id(namespace))
        if known is None and type(namespace) is dict and len(namespace) < _GENERATED:
            name = namespace.get("__name__")
            known = name if type(name) is str and name.startswith("namedtuple_") else None
        return known if known is not None else id(namespace)

    def token(self, key: object) -> object:
        """What tells a dict's key or a set's member from others, whichever side it is of."""
        if type(key) in PLAIN and type(key) is not range:
            return (type(key), repr(key) if type(key) in (float, complex) else key)
        if type(key) is tuple:
            return (tuple, *map(self.token, key))
        named = self.key_of(key)
        return named if named is not None else id(key)


def _qualname(value: object) -> object:
    return value.__qualname__ if is_function(value) or is_class(value) else None


def _named(module: str, space: dict[str, Any], known: dict[str, Any]) -> Iterator[tuple[str, object]]:
    for name, value in list(space.items()):
        if type(name) is str and known.get(name, ABSENT) is not value:
            yield from _under(module, name, value)


def _under(module: str, path: str, value: object) -> Iterator[tuple[str, object]]:
    if type(value) in _NAMELESS or is_module(value):
        return
    key = f"{module}:{path}"
    yield key, value
    if is_class(value):
        if namespace_of(value).get("__module__") == module and value.__qualname__ == path:
            members = members_of(value)
            kept = members.get("_member_map_")  # of an enum; since 3.11 a class may hold a descriptor in its place
            for name, member in (members | kept if type(kept) is dict else members).items():
                yield from _under(module, f"{path}.{unmangled(name, value)}", member)
        return
    seen = {id(value)}
    while True:
        behind = [(step, part) for step, part in _functions(value) if id(part) not in seen]
        for step, part in behind:
            yield f"{key}#{step}", part
        if not behind:
            return
        seen.update(id(part) for _, part in behind)
        step, value = behind[0]
        key = f"{key}#{step}"


def _functions(value: object) -> list[tuple[str, object]]:
    if is_function(value):
        parts = [("__wrapped__", (dict_of(value) or {}).get("__wrapped__"))]
    elif is_a(value, functools.cached_property):
        parts = [("func", attributes_of(value).get("func"))]
    elif type(value) in (property, staticmethod, classmethod, functools.partial, functools._lru_cache_wrapper):
        parts = parts_of(value) or []
    else:
        return []
    return [(step, part) for step, part in parts if is_function(part) or type(part) is functools._lru_cache_wrapper]


def unmangled(name: str, owner: type) -> str:
    """A member's name as the source has it."""
    stem = "_" + owner.__name__.lstrip("_")
    return name.removeprefix(stem) if name.startswith(f"{stem}__") and not name.endswith("__") else name
