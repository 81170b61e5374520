"""Other definitions of a method's name, by which callers may come to it, or which they may meet in its place.

A call is written against a class, and the object decides whose method runs.  So what a method takes must hold for the
classes that it derives from and the protocols that it satisfies, and what its callers pass, for those that override it.
"""

from __future__ import annotations

import abc
import sys
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from types import FunctionType
from typing import Any, Literal

from livepatch.engine.code import Parameter, parameters_of
from livepatch.engine.namespaces import is_a, is_function, namespace_of, owner_name, with_subclasses
from livepatch.engine.pace import paced

__all__ = ["Relation", "Relative", "Relatives"]

Relation = Literal["overrides", "is overridden by", "satisfies", "is registered for"]
"""What a method does to its relative, or what is done to it."""


@dataclass(frozen=True, slots=True)
class Relative:
    """Another definition of the same name: how the method stands to it, where it is, and what it takes."""

    relation: Relation
    name: str
    file: str
    line: int
    parameters: tuple[Parameter, ...]


class Relatives:
    """The relatives of methods in this process.  Nothing is run; no metaclass or hook is asked.

    What is asked of all classes is asked once.
    """

    def of(self, owner: type, name: str) -> tuple[Relative, ...]:
        """The relatives of the function that `owner` has as `name`."""
        found = [*_above(owner, name), *_below(owner, name)]
        if not (name.startswith("__") and name.endswith("__")):  # those the interpreter calls, always in the same way
            found += [*self._satisfied(owner, name), *self._registered(owner, name)]
        return tuple(found)

    def _satisfied(self, owner: type, name: str) -> Iterator[Relative]:
        """Protocols that the class satisfies without deriving from them."""
        for protocol, members in self._protocols:
            if name in namespace_of(protocol) and not _derives(owner, protocol):
                held = (any(member in namespace_of(base) for base in owner.__mro__) for member in members)
                if all(held):
                    yield from _relative("satisfies", protocol, name)

    def _registered(self, owner: type, name: str) -> Iterator[Relative]:
        """Abstract base classes for which the class, or one that it derives from, was registered."""
        for cls, registry in self._registries:
            held = name in namespace_of(cls) and not _derives(owner, cls)
            if held and any(_derives(owner, each) for each in registry):
                yield from _relative("is registered for", cls, name)

    @cached_property
    def _protocols(self) -> list[tuple[type, frozenset[str]]]:
        classes = [cls for root in _protocol_roots() for cls in with_subclasses(root)[1:]]
        return [(cls, _members(cls)) for cls in paced(classes) if namespace_of(cls).get("_is_protocol")]

    @cached_property
    def _registries(self) -> list[tuple[type, list[type]]]:
        found: list[tuple[type, list[type]]] = []
        for cls in paced(with_subclasses(object)):
            if is_a(cls, abc.ABCMeta):
                registry = _registry_of(cls)
                if registry:
                    found.append((cls, registry))
        return found


def _derives(cls: type, base: type) -> bool:
    return any(each is base for each in cls.__mro__)


def _registry_of(cls: type) -> list[type]:
    try:
        from _abc import _get_dump  # type: ignore[import-not-found]  # where abc keeps it
    except ImportError:  # an interpreter that keeps the registry elsewhere
        return []
    return [each for reference in _get_dump(cls)[0] if (each := reference()) is not None]


def _relative(relation: Relation, cls: type, name: str) -> Iterator[Relative]:
    function = _function(namespace_of(cls).get(name))
    if function is not None:
        code = function.__code__
        where = f"{owner_name(cls)}.{name}"
        yield Relative(relation, where, code.co_filename, code.co_firstlineno, parameters_of(function))


def _function(value: object) -> FunctionType | None:
    inner: Any = value.__func__ if is_a(value, staticmethod) or is_a(value, classmethod) else value
    return inner if is_function(inner) else None


def _above(owner: type, name: str) -> Iterator[Relative]:
    for base in owner.__mro__[1:]:
        yield from _relative("overrides", base, name)


def _below(owner: type, name: str) -> Iterator[Relative]:
    for sub in paced(with_subclasses(owner)[1:]):
        yield from _relative("is overridden by", sub, name)


def _protocol_roots() -> Iterator[type]:
    for module in ("typing", "typing_extensions"):
        root: Any = vars(sys.modules[module]).get("Protocol") if module in sys.modules else None
        if is_a(root, type) and (module == "typing" or root is not typing.Protocol):
            yield root


_NO_MEMBERS = frozenset(
    {*vars(typing.Protocol), *vars(abc.ABC), "__annotations__", "__annotate__", "__annotate_func__", "__parameters__"}
    | {"__orig_bases__", "__type_params__", "__protocol_attrs__", "__non_callable_proto_members__", "__doc__"}
    | {"__module__", "__qualname__", "__dict__", "__weakref__", "__slots__", "_is_runtime_protocol", "__hash__"}
    | {"__static_attributes__", "__firstlineno__", "__annotations_cache__", "__callable_proto_members_only__"}
)


def _members(protocol: type) -> frozenset[str]:
    members: set[str] = set()
    for base in protocol.__mro__:
        space = namespace_of(base)
        if space.get("_is_protocol"):
            members.update(space.keys() - _NO_MEMBERS)
    return frozenset(members)
