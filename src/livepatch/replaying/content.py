"""What a value holds, as a digest that is the same in every process: by content and never by address.

It is made in a scratch process, where values may be asked for what they are (``__reduce_ex__``) without harm.
"""

from __future__ import annotations

import hashlib
import sys
from collections import deque
from collections.abc import Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

from livepatch.state.digests import attributes_of

__all__ = ["content_of"]

_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_VALUES = (str, bytes, int, float, complex)
_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
_SETS = (set, frozenset)
_HOLDERS = (
    BaseException,
    dict,
    list,
    tuple,
    deque,
    bytearray,
    memoryview,
    MappingProxyType,
    MethodType,
    *_SETS,
    *_VIEWS,
)
_NOT_TOLD = (object.__reduce_ex__, object.__reduce__)
_HEAP_TYPE = 1 << 9  # of the flags of a type: made by a class statement, or so that it might have been
_IN_ORDER: tuple[Any, ...] = (list, tuple, deque, *_VIEWS)
_NAMED = (type, FunctionType, BuiltinFunctionType, ModuleType, CodeType)
_DEEPEST = 4000  # levels down
_AGAIN = 50_000  # values that are gone through anew, because they lie in a circle
_ENDLESS = sys.maxsize


def content_of(value: object) -> tuple[bytes, frozenset[str]]:
    """A digest of all that a value holds, and the types of which nothing can be told but that they are there.

    Values of one type that hold the same give the same; the order of a dict counts, that of a set does not.  Whether a
    value is held once or in equal copies counts only where so much refers to each other in circles that it cannot be
    compared otherwise.
    """
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, 3 * _DEEPEST + 1000))
    try:
        opaque: set[str] = set()
        try:
            digest, _ = _Content(opaque, numbered=False).of(value, 0)
        except _Tangled:
            digest, _ = _Content(opaque, numbered=True).of(value, 0)
        return digest, frozenset(opaque)
    finally:
        sys.setrecursionlimit(limit)


class _Tangled(Exception):  # noqa: N818  # no error: another way is taken
    pass


class _Content:
    def __init__(self, opaque: set[str], *, numbered: bool) -> None:
        self._opaque = opaque
        self._numbered = numbered
        self._path: dict[int, int] = {}
        """How deep what is being gone through lies, by its address."""
        self._known: dict[int, bytes] = {}
        self._seen: set[int] = set()
        self._again = 0
        self._keep: list[object] = []

    def of(self, value: object, depth: int) -> tuple[bytes, int]:
        """The digest of a value, and how high up in the path something in it refers back to."""
        kind = type(value)
        if kind in _PLAIN or isinstance(value, _NAMED):
            return _hashed(kind.__name__.encode(), _text(value) if kind in _PLAIN else _name(value)), _ENDLESS
        place = id(value)
        known = self._known.get(place)
        if known is not None:
            return known, _ENDLESS
        above = self._path.get(place)
        if above is not None:
            return _hashed(b"above", str(above if self._numbered else depth - above).encode()), above
        if depth > _DEEPEST:
            return self._opaquely(kind, "too deep in what holds it"), _ENDLESS
        again = place in self._seen
        self._seen.add(place)
        self._keep.append(value)  # or another might come to its address
        number = len(self._path) if not self._numbered else len(self._seen)
        self._path[place] = number if self._numbered else depth
        highest = _ENDLESS
        parts = [_kind_name(kind)]
        for label, part in _parts(value, kind):
            if label == b"opaque":
                parts.append(self._opaquely(kind, ""))
                continue
            self._again += again
            if self._again > _AGAIN:
                raise _Tangled
            inside = [self.of(item, depth + 1) for item in (part if label == b"set" else [part])]
            parts += [label, *sorted(digest for digest, _ in inside)]
            highest = min([highest, *(high for _, high in inside)])
        if not self._numbered:
            del self._path[place]
        found = _hashed(*parts)
        if self._numbered or highest >= depth:
            self._known[place] = found
            highest = _ENDLESS
        return found, highest

    def _opaquely(self, kind: type, why: str) -> bytes:
        name = f"{kind.__module__}.{kind.__qualname__}"
        self._opaque.add(f"{name} ({why})" if why else name)
        return _hashed(b"opaque", name.encode("utf-8", "surrogatepass"))


def _parts(value: Any, kind: type) -> Iterator[tuple[bytes, Any]]:
    """What a value consists of, each with what it is to it."""
    if not issubclass(kind, _SETS) and (kind.__reduce_ex__, kind.__reduce__) != _NOT_TOLD:
        reduced = _reduced(value)  # its class says what it is, and leaves out what it only remembers
        if reduced is not None:
            yield from ((b"reduced", part) for part in reduced)
            return
    told = False
    for label, part in _held(value, kind):
        told = True
        yield label, part
    if told and not _is_native(kind):
        return
    reduced = _reduced(value)
    yield from [(b"opaque", None)] if reduced is None else ((b"reduced", part) for part in reduced)


def _is_native(kind: type) -> bool:
    """Whether its objects may hold what no attribute tells."""
    written_in_c = next(each for each in kind.__mro__ if not each.__flags__ & _HEAP_TYPE)
    return written_in_c is not object and not issubclass(written_in_c, (*_VALUES, *_HOLDERS))


def _held(value: Any, kind: type) -> Iterator[tuple[bytes, Any]]:
    base = next((each for each in _VALUES if issubclass(kind, each)), None)
    if base is not None:
        yield b"value", base(value) if base is not str else str.__str__(value)
    yield from _inside(value, kind)
    held = () if kind is dict else sorted(attributes_of(value), key=lambda pair: str(pair[0]))
    for name, part in held:
        yield b"name", name
        yield b"attribute", part


def _inside(value: Any, kind: type) -> Iterator[tuple[bytes, Any]]:
    if issubclass(kind, BaseException):
        yield b"args", value.args
    elif issubclass(kind, dict):
        yield b"size", dict.__len__(value)
        for key, item in list(dict.items(value)):
            yield b"key", key
            yield b"item", item
    elif issubclass(kind, _SETS):
        yield b"set", list((set if issubclass(kind, set) else frozenset).__iter__(value))
    elif base := next((each for each in _IN_ORDER if issubclass(kind, each)), None):
        items = list(base.__iter__(value))
        yield b"size", len(items)
        for item in items:
            yield b"item", item
    elif issubclass(kind, (bytearray, memoryview)):
        yield b"bytes", bytes(value)
    elif kind is MappingProxyType:
        yield b"of", dict(value)
    elif kind is MethodType:
        yield b"function", value.__func__
        yield b"self", value.__self__


def _reduced(value: Any) -> list[Any] | None:
    """What pickle would write of a value, if it would; nothing is written, and nothing of it is ever made again."""
    try:
        reduced = value.__reduce_ex__(4)
        if isinstance(reduced, str):
            return [reduced]
        return [*reduced[:3], *(list(each) if each is not None else None for each in reduced[3:5])]
    except Exception:  # noqa: BLE001  # what cannot be told is told as such
        return None


def _hashed(*parts: bytes) -> bytes:
    state = hashlib.blake2b(digest_size=16, usedforsecurity=False)
    for part in parts:
        state.update(b"%d:" % len(part))
        state.update(part)
    return state.digest()


def _text(value: object) -> bytes:
    text = hex(value) if type(value) is int else repr(value)  # digits of large numbers are refused
    return text.encode("utf-8", "surrogatepass")


def _kind_name(kind: type) -> bytes:
    return f"{kind.__module__}:{kind.__qualname__}".encode("utf-8", "surrogatepass")


def _name(value: Any) -> bytes:
    name = value.co_qualname if isinstance(value, CodeType) else getattr(value, "__qualname__", None) or value.__name__
    return f"{getattr(value, '__module__', '')}:{name}".encode("utf-8", "surrogatepass")
