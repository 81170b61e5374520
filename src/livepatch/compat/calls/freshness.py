"""Whether the process still is as it was when a graph was made; asked before each answer, so it must be quick."""

from __future__ import annotations

from collections.abc import Mapping
from types import FunctionType, ModuleType
from typing import Any

from livepatch.engine.namespaces import bindings, functions_behind, is_module, namespace_of
from livepatch.engine.pace import paced

__all__ = ["Snapshot"]

_CONTAINERS = frozenset({dict, list, set, tuple})
_DATA = frozenset({bool, int, float, complex, str, bytes, type(None), ModuleType})


class Snapshot:
    """The objects that namespaces held, and the code that functions had."""

    def __init__(self, modules: Mapping[str, ModuleType], *, bodies: bool) -> None:
        self._bodies = bodies
        self._modules = dict(modules)
        self._spaces: list[tuple[Mapping[str, Any], int]] = []
        self._held: list[tuple[Mapping[str, Any], str, object]] = []
        self._functions: list[FunctionType] = []
        self._sizes: list[tuple[Any, int]] = []
        seen: set[int] = set()
        for module in modules.values():
            if is_module(module):
                space = namespace_of(module)
                self._sizes += [(v, len(v)) for v in list(space.values()) if type(v) in _CONTAINERS and len(v)]
        for owner, name, value in paced(bindings(modules)):
            space = namespace_of(owner)
            if id(owner) not in seen:
                seen.add(id(owner))
                self._spaces.append((space, len(space)))
            if type(value) in _DATA:
                continue
            self._held.append((space, name, value))
            self._functions += functions_behind(value)
        self._codes = [function.__code__ for function in self._functions]
        self._defaults = [function.__defaults__ for function in self._functions]

    def still_holds(self, modules: Mapping[str, ModuleType], *, bodies: bool) -> bool:
        """Whether nothing of it has changed."""
        return (
            bodies == self._bodies
            and modules.keys() == self._modules.keys()
            and all(modules[name] is module for name, module in self._modules.items())
            and all(map(_is_code, self._functions, self._codes))
            and all(map(_has_defaults, self._functions, self._defaults))
            and all(space.get(name) is value for space, name, value in self._held)
            and all(len(space) == size for space, size in self._spaces)
            and all(len(value) == size for value, size in self._sizes)
        )


def _is_code(function: FunctionType, code: object) -> bool:
    return function.__code__ is code


def _has_defaults(function: FunctionType, defaults: object) -> bool:
    return function.__defaults__ is defaults
