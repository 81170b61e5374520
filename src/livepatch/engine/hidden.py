"""What functions keep out of sight: in variables of closures, in default values and in attributes of their own."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from types import CellType, FunctionType, MethodType, ModuleType

from livepatch.contents.changes import Target
from livepatch.contents.edits import Memo
from livepatch.engine.anatomy import cell_content
from livepatch.engine.heap import functions_of, is_granted, is_unnoticed
from livepatch.engine.locate import resolve
from livepatch.engine.namespaces import is_a, is_class, is_function, namespace_of
from livepatch.engine.pace import breathe, paced
from livepatch.engine.refusal import Place
from livepatch.engine.stack import ABSENT

__all__ = ["hidden_values"]

_LOCALS = ".<locals>"
_CACHED = type(functools.cache(len))


def hidden_values(module: ModuleType, memo: Memo, modules: dict[str, ModuleType]) -> Iterator[tuple[str, object]]:
    """What the functions keep that a memo names, each with where it is in words.

    Closures are looked for in the whole heap where a walk goes unnoticed or was asked for, and else in the module.
    """
    scope, _, name = memo.target.rpartition(".")
    label = f"{module.__name__}:{scope.removesuffix(_LOCALS)}"
    if scope.endswith(_LOCALS):
        cells: dict[int, CellType] = {}
        for function in _functions_of(module):
            if function.__code__.co_qualname.startswith(f"{scope}."):
                cells.update((id(cell), cell) for free, cell in _cells(function) if free == name)
        for value in map(cell_content, cells.values()):
            if value is not ABSENT:
                yield f"the variable {name} of {label}", value
        return
    place = resolve(Target(module.__name__, scope), modules)
    if not isinstance(place, Place):
        return
    for function in _beneath(place.value):
        if name in function.__dict__:
            yield f"the attribute {name} of {label}", function.__dict__[name]
        code = function.__code__
        names = code.co_varnames[: code.co_argcount]
        # From the end: a program may have set more defaults than there are parameters.
        by_position = zip(reversed(names), reversed(function.__defaults__ or ()), strict=False)
        values = dict(by_position) | (function.__kwdefaults__ or {})
        if name in values:
            yield f"the default {name} of {label}", values[name]


def _cells(function: FunctionType) -> Iterator[tuple[str, CellType]]:
    return zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)


def _functions_of(module: ModuleType) -> Iterator[FunctionType]:
    """The live functions of a module, as far as they are found without holding others up that nobody asked to."""
    if is_unnoticed() or is_granted():
        yield from paced(functions_of(module))
        return
    namespace = namespace_of(module)
    found: list[object] = list(namespace.values())
    found += [value for cls in filter(is_class, list(found)) for value in namespace_of(cls).values()]
    seen: set[int] = set()
    while found:
        breathe()
        for function in _beneath(found.pop()):
            if id(function) not in seen:
                seen.add(id(function))
                found += [cell_content(cell) for _, cell in _cells(function)]
                if function.__globals__ is namespace:
                    yield function


def _beneath(value: object) -> Iterator[FunctionType]:
    """A function, and those that it was put around, such as by ``functools.wraps``."""
    seen: set[int] = set()
    while id(value) not in seen:
        seen.add(id(value))
        if is_function(value):
            yield value
        # Nothing that the program defines is asked: an object may have any attribute, and make it when it is asked.
        if is_a(value, staticmethod, classmethod, MethodType):
            value = value.__func__  # type: ignore[attr-defined]
        elif is_function(value) or type(value) is _CACHED:
            value = value.__dict__.get("__wrapped__")
