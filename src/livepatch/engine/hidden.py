"""What functions keep out of sight: in variables of closures, in default values and in attributes of their own."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from types import CellType, FunctionType, MethodType, ModuleType

from livepatch.contents.changes import Target
from livepatch.contents.edits import Memo
from livepatch.engine.heap import functions_of, is_granted, is_unnoticed
from livepatch.engine.locate import resolve
from livepatch.engine.namespaces import is_a, is_class, is_function, namespace_of
from livepatch.engine.pace import paced
from livepatch.engine.refusal import Place

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
        cells = {}
        for function in _functions_of(module):
            code = function.__code__
            if code.co_qualname.startswith(f"{scope}.") and name in code.co_freevars:
                cell = (function.__closure__ or ())[code.co_freevars.index(name)]
                cells[id(cell)] = cell
        for cell in cells.values():
            if _holds(cell):
                yield f"the variable {name} of {label}", cell.cell_contents
        return
    place = resolve(Target(module.__name__, scope), modules)
    if not isinstance(place, Place):
        return
    for function in _beneath(place.value):
        if name in function.__dict__:
            yield f"the attribute {name} of {label}", function.__dict__[name]
        code, defaults = function.__code__, function.__defaults__ or ()
        names = code.co_varnames[: code.co_argcount][code.co_argcount - len(defaults) :]
        values = dict(zip(names, defaults, strict=True)) | (function.__kwdefaults__ or {})
        if name in values:
            yield f"the default {name} of {label}", values[name]


def _holds(cell: CellType) -> bool:
    """Whether there is anything in the variable yet."""
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _functions_of(module: ModuleType) -> Iterator[FunctionType]:
    """The live functions of a module, as far as they are found without holding others up that nobody asked to."""
    if is_unnoticed() or is_granted():
        yield from paced(functions_of(module))
        return
    namespace = vars(module)
    found: list[object] = list(namespace.values())
    found += [value for cls in filter(is_class, list(found)) for value in namespace_of(cls).values()]
    seen: set[int] = set()
    while found:
        for function in _beneath(found.pop()):
            if id(function) not in seen:
                seen.add(id(function))
                found += [cell.cell_contents for cell in function.__closure__ or () if _holds(cell)]
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
