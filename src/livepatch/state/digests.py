"""What an object holds, by attribute, as digests to compare later.  Nobody's ``__eq__`` or ``__repr__`` is asked."""

from __future__ import annotations

import gc
import hashlib
import operator
import sys
from collections import deque
from collections.abc import Callable, Iterator
from types import MemberDescriptorType, ModuleType
from typing import Any, NamedTuple

from livepatch.state.touches import GONE

__all__ = ["Picture", "attributes_of", "digest_of", "digests_of", "picture_of", "place_digest"]

_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_CONTAINERS = (list, tuple, dict, set, frozenset, deque, bytearray)
_MOST = 20_000  # values inside one that are looked at,
_DEEPEST = 150  # so many levels down
_read: Any = object.__getattribute__


def attributes_of(item: object) -> Iterator[tuple[str, object]]:
    """The attributes that an object itself holds, in its ``__dict__`` and its slots; of a dict, its entries."""
    if type(item) is dict:
        yield from ((key if type(key) is str else _plain(key), value) for key, value in list(item.items()))
        return
    try:
        own = _read(item, "__dict__")
    except AttributeError:
        own = {}
    if issubclass(type(own), dict):
        yield from list(own.items())
    for cls in type.__dict__["__mro__"].__get__(type(item)):
        for name, member in list(type.__dict__["__dict__"].__get__(cls).items()):
            if type(member) is MemberDescriptorType and name not in own:
                try:
                    yield name, member.__get__(item)
                except AttributeError:
                    continue


def digests_of(item: object) -> dict[str, str]:
    """A digest for each attribute of an object, and for what it holds as a container."""
    found = {name: digest_of(value) for name, value in attributes_of(item)}
    if type(item) is not dict and issubclass(type(item), (list, set, deque, dict)):
        found["its items"] = digest_of(_inside(item))
    return found


def place_digest(place: str) -> str:
    """The digest of what is at ``"module:name"``."""
    module, _, path = place.partition(":")
    value: object = sys.modules.get(module)
    for name in path.split("."):
        held = vars(value) if isinstance(value, (ModuleType, type)) else dict(attributes_of(value))
        if name not in held:
            return GONE
        value = held[name]
    return digest_of(value)


def digest_of(value: object) -> str:
    """A digest of all that a value holds; what lies too deep, and what is native, is told by identity."""
    state = hashlib.blake2b(digest_size=16, usedforsecurity=False)
    _Digesting(state.update).add(value)
    return state.hexdigest()


class _Digesting:
    def __init__(self, update: Callable[[bytes], None]) -> None:
        self._update = update
        self._numbers: dict[int, int] = {}
        self._keep: list[object] = []

    def add(self, value: object, depth: int = 0) -> None:
        kind = type(value)
        if kind in _PLAIN:
            text = _plain(value).encode("utf-8", "surrogatepass")
            self._update(b"%s %d:%s;" % (kind.__name__.encode(), len(text), text))
            return
        known = len(self._numbers)
        number = self._numbers.setdefault(id(value), known)
        self._update(b"%s#%d" % (kind.__qualname__.encode(), number))
        if number != known:
            self._update(b"again;")
            return
        self._keep.append(value)  # or another might come to its address
        held = [] if issubclass(kind, _CONTAINERS) and kind.__module__ == "builtins" else list(attributes_of(value))
        if known > _MOST or depth > _DEEPEST or _is_leaf(kind, held):
            self._update(b"@%d;" % id(value))
            return
        self._update(b"(")
        if issubclass(kind, (set, frozenset)):
            for digest in sorted(map(digest_of, _inside(value))):
                self._update(digest.encode())
        else:
            for each in _inside(value):
                self.add(each, depth + 1)
        for name, attribute in held:
            self.add(name)
            self.add(attribute, depth + 1)
        self._update(b")")


def _inside(value: object) -> list[object]:
    """What a container holds, in order; keys and values of a dict in turn."""
    kind = type(value)
    if issubclass(kind, dict):
        items: Any = dict.items(value)  # type: ignore[arg-type]  # its own type says so
        return [part for pair in items for part in pair]
    for base in (list, tuple, set, frozenset, deque):
        if issubclass(kind, base):
            return list(base.__iter__(value))  # type: ignore[arg-type]  # likewise
    return [bytes(value)] if kind is bytearray else []  # type: ignore[call-overload]  # likewise


def _is_leaf(kind: type, held: list[tuple[str, object]]) -> bool:
    """Whether nothing can be told of a value but which one it is."""
    return issubclass(kind, (type, ModuleType)) or not (issubclass(kind, _CONTAINERS) or held)


def _plain(value: object) -> str:
    return repr(value) if type(value) in _PLAIN else f"{type(value).__qualname__}@{id(value)}"


def picture_of(item: object) -> Picture:
    """What an object refers to and how much each of that holds: whether anything was begun with the object.

    Its ``__dict__`` is not asked for: that would make one for every object that has none yet.
    """
    held = gc.get_referents(item)
    inside = [list(each.values()) for each in held if type(each) is dict]
    return Picture(held, inside, [_size(each) for each in held], _size(item))


class Picture(NamedTuple):
    """What an object referred to; held, so that no other object comes to the address of one."""

    held: list[object]
    inside: list[list[object]]
    sizes: list[int]
    size: int

    def is_of(self, item: object) -> bool:
        """Whether the object still looks so."""
        now = picture_of(item)
        return (
            now.sizes == self.sizes
            and now.size == self.size
            and _same(now.held, self.held)
            and len(now.inside) == len(self.inside)
            and all(map(_same, now.inside, self.inside))
        )


def _same(one: list[object], other: list[object]) -> bool:
    return len(one) == len(other) and all(map(operator.is_, one, other))


def _size(value: object) -> int:
    kind = type(value)
    for base in _CONTAINERS:
        if issubclass(kind, base):
            return base.__len__(value)  # type: ignore[arg-type]  # its own type says so
    return -1
