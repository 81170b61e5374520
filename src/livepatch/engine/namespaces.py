"""What modules and classes hold, read without asking them.

An ordinary look may run other people's code: ``isinstance`` reads a proxy's ``__class__`` (and so evaluates a lazy
object), ``vars`` loads a lazy module.  Here only the real type is asked, and the real ``__dict__``.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import compress
from types import FunctionType, MethodType, ModuleType
from typing import Any, TypeGuard, TypeVar

from livepatch.engine.pace import breathe

__all__ = [
    "Piece",
    "bindings",
    "functions_behind",
    "has_attribute",
    "is_a",
    "is_class",
    "is_function",
    "is_module",
    "namespace_of",
    "owner_name",
    "pieces",
    "with_subclasses",
]

T = TypeVar("T")

# Names looked at between two looks at the clock.
_SLICE = 64

_module_dict: Any = vars(ModuleType)["__dict__"].__get__
_class_dict: Any = vars(type)["__dict__"].__get__


def is_a(value: object, *kinds: type[T]) -> TypeGuard[T]:
    """Whether the real type of `value` is one of `kinds` or derives from one."""
    return issubclass(type(value), kinds)


def is_function(value: object) -> TypeGuard[FunctionType]:
    """Whether it is a Python function, and no proxy that says so."""
    return type(value) is FunctionType


def is_class(value: object) -> TypeGuard[type]:
    """Whether it is a class, and no proxy that says so."""
    return issubclass(type(value), type)


def is_module(value: object) -> TypeGuard[ModuleType]:
    """Whether it is a module object."""
    return issubclass(type(value), ModuleType)


def namespace_of(owner: ModuleType | type) -> Mapping[str, Any]:
    """The namespace itself: a module's dict, or the read-only view of a class's."""
    found: Mapping[str, Any] = _class_dict(owner) if is_class(owner) else _module_dict(owner)
    return found


def has_attribute(function: object, name: str) -> bool:
    """Whether a function, native or not, has the attribute: of its own, or from its type."""
    if type(function) is FunctionType and name in function.__dict__:
        return True
    return any(name in namespace_of(kind) for kind in type(function).__mro__)


def with_subclasses(cls: type) -> list[type[Any]]:
    """A class and all that are derived from it, each once.  No metaclass is asked."""
    found: dict[int, type[Any]] = {}
    left: list[type[Any]] = [cls]
    for each in left:
        breathe()
        if id(each) not in found:
            found[id(each)] = each
            left += type.__subclasses__(each)
    return list(found.values())


def owner_name(owner: ModuleType | type) -> str:
    """``module``, or ``module:Class``."""
    return f"{owner.__module__}:{owner.__qualname__}" if is_class(owner) else owner.__name__


# Types whose values hold neither a function nor a class by themselves; most of what namespaces hold.
_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes, tuple, list, dict, set, frozenset, ModuleType})
_NATIVE = frozenset(map(type, (len, str.join, int.__add__, vars(type)["__dict__"], vars(dict)["fromkeys"], [].append)))
_LEAVES = _PLAIN | _NATIVE


class _Kinds(dict[type, int]):
    """What values of a type are to a search.  Asked once for each type, and kept no longer than the search."""

    def __missing__(self, kind: type) -> int:
        if issubclass(kind, type):
            found = _CLASS
        else:
            found = _HOLDER if kind is functools._lru_cache_wrapper or issubclass(kind, _HOLDERS) else 0
        self[kind] = found
        return found


_CLASS, _HOLDER = 1, 2
_HOLDERS = (staticmethod, classmethod, MethodType, property, functools.partial, functools.cached_property)
_PIECE = 256  # values, at least, that are looked at between two looks at the clock


@dataclass(slots=True)
class Piece:
    """Some namespaces, each as it was at one moment: whose they are, what they hold, and what of that has code."""

    owners: list[ModuleType | type] = field(default_factory=list)
    values: list[object] = field(default_factory=list)
    functions: list[FunctionType] = field(default_factory=list)
    holders: list[object] = field(default_factory=list)
    """Values that :func:`functions_behind` finds functions behind, but for functions."""


def pieces(modules: Mapping[str, object]) -> Iterator[Piece]:
    """The namespaces of modules and of the classes in them, some at a time, for a search that looks for few things.

    Other threads get their turns meanwhile.
    """
    kinds = _Kinds()
    visited: set[int] = set()
    piece = Piece()
    for module in list(modules.values()):
        if not is_module(module) or id(module) in visited:
            continue
        visited.add(id(module))
        owners: list[ModuleType | type] = [module]
        while owners:
            owner = owners.pop()
            piece.owners.append(owner)
            whole = list(namespace_of(owner).values())
            for start in range(0, len(whole), _PIECE):
                values = whole[start : start + _PIECE]
                piece.values += values
                piece.functions += [value for value in values if type(value) is FunctionType]
                for value in compress(values, map(kinds.__getitem__, map(type, values))):
                    if kinds[type(value)] == _HOLDER:
                        piece.holders.append(value)
                    elif id(value) not in visited:
                        visited.add(id(value))
                        owners.append(value)
                if len(piece.values) >= _PIECE:
                    yield piece
                    breathe()
                    piece = Piece([owner])
    yield piece


def bindings(modules: Mapping[str, object]) -> Iterator[tuple[ModuleType | type, str, object]]:
    """Every (owner, name, value) of the namespaces of modules and of the classes in them that may hold a function.

    Other threads get their turns meanwhile.
    """
    visited: set[int] = set()
    for module in list(modules.values()):
        if not is_module(module) or id(module) in visited:
            continue
        visited.add(id(module))
        owners: list[ModuleType | type] = [module]
        while owners:
            owner = owners.pop()
            for i, (name, value) in enumerate(list(namespace_of(owner).items())):
                if not i % _SLICE:
                    breathe()
                kind = type(value)
                if kind in _LEAVES:
                    continue
                yield owner, name, value
                if kind is not FunctionType and issubclass(kind, type) and id(value) not in visited:
                    visited.add(id(value))
                    owners.append(value)


def functions_behind(value: object) -> Iterable[FunctionType]:
    """A value as functions: itself, or those right behind a descriptor or ``__wrapped__``."""
    if type(value) is FunctionType and not hasattr(value, "__wrapped__"):  # most are just functions
        return (value,)
    return _functions_behind(value)


def _functions_behind(value: object) -> Iterator[FunctionType]:
    seen: set[int] = set()
    left = [value]
    while left:
        value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if is_function(value):
            yield value
            if "__wrapped__" in vars(value):
                left.append(vars(value)["__wrapped__"])
        elif is_a(value, staticmethod) or is_a(value, classmethod) or is_a(value, MethodType):
            left.append(value.__func__)
        elif is_a(value, property):
            left += [accessor for accessor in (value.fdel, value.fset, value.fget) if accessor is not None]
        elif is_a(value, functools.partial) or is_a(value, functools.cached_property):
            left.append(value.func)
        elif type(value) is functools._lru_cache_wrapper:
            left.append(value.__wrapped__)
