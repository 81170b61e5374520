"""What the functions, modules and classes of some packages hold, object by object."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any

__all__ = ["Picture"]

# What the interpreter or a standard library module fills in by itself, whenever it likes.
_ITS_OWN = {
    "__abc_tpflags__",
    "__annotate__",
    "__annotate_func__",
    "__annotations__",
    "__annotations_cache__",
    "__builtins__",
    "__dict__",
    "__static_attributes__",
    "__warningregistry__",
    "__weakref__",
    "_abc_impl",
}
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class _Function:
    """What a function holds.  Its code is held weakly: a reference to it would look like a call that is under way."""

    function: FunctionType
    code: Callable[[], CodeType | None]
    defaults: tuple[Any, ...] | None
    kwdefaults: Mapping[str, Any]
    doc: str | None

    @classmethod
    def of(cls, function: FunctionType) -> _Function:
        kwdefaults = dict(function.__kwdefaults__ or {})
        return cls(function, weakref.ref(function.__code__), function.__defaults__, kwdefaults, function.__doc__)

    def differences(self) -> Iterator[str]:
        function, name = self.function, f"{self.function.__module__}:{self.function.__qualname__}"
        if function.__code__ is not self.code():
            yield f"{name} has another __code__"
        if function.__defaults__ is not self.defaults:
            yield f"{name} has other __defaults__"
        if function.__doc__ != self.doc:
            yield f"{name} has another __doc__"
        yield from _changed(f"{name}.__kwdefaults__", self.kwdefaults, function.__kwdefaults__ or {})


def _changed(where: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted((before.keys() | now.keys()) - _ITS_OWN):
        if before.get(name, _NOTHING) is not now.get(name, _NOTHING):
            yield f"{where}: {name!r} is another object"


class Picture:
    """Every live function, module and class of the top-level packages `tops`, and what it holds now."""

    def __init__(self, tops: Collection[str]) -> None:
        gc.collect()
        self._functions: list[_Function] = []
        self._spaces: list[tuple[str, Any, dict[str, Any]]] = []
        for found in gc.get_objects():
            if not isinstance(found, FunctionType | type):
                continue
            module = found.__module__
            if not isinstance(module, str) or module.partition(".")[0] not in tops:
                continue
            if isinstance(found, FunctionType):
                self._functions.append(_Function.of(found))
            else:
                self._spaces.append((f"class {module}:{found.__qualname__}", found, dict(vars(found))))
        for name, module in list(sys.modules.items()):
            if isinstance(module, ModuleType) and name.partition(".")[0] in tops:
                self._spaces.append((f"module {name}", module, dict(vars(module))))
        self._modules = {name for name in sys.modules if name.partition(".")[0] in tops}
        self._tops = tops

    def differences(self) -> list[str]:
        """What has changed since, by ``is``."""
        found = [difference for function in self._functions for difference in function.differences()]
        for name, space, before in self._spaces:
            found += _changed(name, before, vars(space))
        modules = {name for name in sys.modules if name.partition(".")[0] in self._tops}
        found += [f"module {name} came or went" for name in sorted(modules ^ self._modules)]
        return found
