"""What the functions, modules and classes of some packages hold, object by object."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Collection, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

__all__ = ["Picture", "differences", "take"]

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


# All of it lies in tuples, lists and dicts: an object of a class that holds what a patch changes would be one that the
# patch does not reach, and a reason to refuse it.
_Function = tuple[FunctionType, Any, tuple[Any, ...] | None, dict[str, Any], str | None]
_Space = tuple[str, Any, dict[str, Any]]
Picture = tuple[list[_Function], list[_Space], set[str], tuple[str, ...]]
"""The functions and the classes and modules of some top-level packages, the names of the modules, and the packages."""


def take(tops: Collection[str]) -> Picture:
    """Every live function, module and class of the top-level packages `tops`, and what it holds now."""
    gc.collect()
    functions: list[_Function] = []
    spaces: list[_Space] = []
    for found in gc.get_objects():
        if not isinstance(found, FunctionType | type):
            continue
        module = found.__module__
        if not isinstance(module, str) or module.partition(".")[0] not in tops:
            continue
        if isinstance(found, FunctionType):
            # Its code is held weakly: a reference to it would look like a call that is under way.
            code, kwdefaults = weakref.ref(found.__code__), dict(found.__kwdefaults__ or {})
            functions.append((found, code, found.__defaults__, kwdefaults, found.__doc__))
        else:
            spaces.append((f"class {module}:{found.__qualname__}", found, dict(vars(found))))
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and name.partition(".")[0] in tops:
            spaces.append((f"module {name}", module, dict(vars(module))))
    return functions, spaces, _modules(tops), tuple(tops)


def differences(picture: Picture) -> list[str]:
    """What has changed since, by ``is``."""
    functions, spaces, modules, tops = picture
    found = [difference for function in functions for difference in _changes(*function)]
    for name, space, before in spaces:
        found += _changed(name, before, vars(space))
    return [*found, *(f"module {name} came or went" for name in sorted(modules ^ _modules(tops)))]


def _modules(tops: Collection[str]) -> set[str]:
    return {name for name in sys.modules if name.partition(".")[0] in tops}


def _changes(
    function: FunctionType,
    code: Any,
    defaults: tuple[Any, ...] | None,
    kwdefaults: Mapping[str, Any],
    doc: str | None,
) -> Iterator[str]:
    name = f"{function.__module__}:{function.__qualname__}"
    if function.__code__ is not code():
        yield f"{name} has another __code__"
    if function.__defaults__ is not defaults:
        yield f"{name} has other __defaults__"
    if function.__doc__ != doc:
        yield f"{name} has another __doc__"
    yield from _changed(f"{name}.__kwdefaults__", kwdefaults, function.__kwdefaults__ or {})


def _changed(where: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted((before.keys() | now.keys()) - _ITS_OWN):
        if before.get(name, _NOTHING) is not now.get(name, _NOTHING):
            yield f"{where}: {name!r} is another object"
