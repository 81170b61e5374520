"""Why a target cannot be patched, said so that its author knows what to do instead."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType, ModuleType

from livepatch.contents.changes import Target
from livepatch.engine.namespaces import is_a, is_class, is_function, namespace_of

__all__ = ["Place", "Refusal", "inherited", "missing", "several", "without_match"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a target cannot be patched: a stable code, what was found and expected, and what to do."""

    code: str
    found: str
    expected: str
    action: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads: the object, and the class or module and the attribute that hold it.

    `owner` is ``None`` for a place that no attribute holds (a nested function, a name that only a registry knows).
    """

    target: Target
    module: ModuleType
    owner: ModuleType | type | None
    name: str
    value: object
    accessor: str = ""


def inherited(owner: ModuleType | type, name: str) -> Refusal | None:
    """The refusal of a name that a class only inherits, if it does."""
    for base in owner.__mro__[1:] if is_class(owner) else ():
        if name in namespace_of(base):
            return Refusal(
                "inherited",
                f"{owner.__qualname__} inherits {name!r} from {base.__module__}:{base.__qualname__}",
                "a name that the class itself defines",
                f"replace '{base.__module__}:{base.__qualname__}.{name}', or add() an override to {owner.__qualname__}",
            )
    return None


def missing(target: Target, owner: ModuleType | type, name: str) -> Refusal:
    """The refusal of a name that is not there, with those that it may have been meant to be."""
    import difflib

    names: Iterable[object] = namespace_of(owner)
    close = difflib.get_close_matches(name, [n for n in names if isinstance(n, str)], 3)
    where = owner.__qualname__ if is_class(owner) else owner.__name__
    return Refusal(
        "no-such-name",
        f"{where} has no {name!r}" + (f"; it has {', '.join(close)}" if close else ""),
        f"{target} to exist",
        "correct the name; new names go in with add()",
    )


def several(target: Target, functions: Iterable[FunctionType]) -> Refusal:
    """The refusal of a name that several live functions have."""
    lines = sorted(f"line {f.__code__.co_firstlineno}" for f in functions)
    return Refusal(
        "ambiguous",
        f"{len(lines)} different functions are {target}: {', '.join(lines)}",
        "one function, or expect= with the fingerprint of one of them",
        "pass expect=livepatch.fingerprint(function) of the one that is meant",
    )


def without_match(place: Place, start: object, expected: str) -> Refusal | None:
    """Why an attribute behind which the source defines no such function cannot be patched; ``None`` for an alias."""
    target = place.target
    if is_a(start, staticmethod) or is_a(start, classmethod):
        start = start.__func__
    if is_function(start):
        code = start.__code__
        if _is_generated(code, place):
            return Refusal(
                "generated",
                f"{target} was generated at run time (code of {code.co_filename}, {code.co_qualname})",
                "a function that the source defines",
                f"replace what it is generated from, or put a function in its place with set({str(target)!r}, …)",
            )
        if "__wrapped__" in vars(start):
            return Refusal(
                "behind-wrapper",
                f"{target} holds {code.co_qualname} of {start.__globals__.get('__name__')}, and no function "
                f"{expected} of {target.module} is inside it",
                "the function that the source defines at this path, within its wrappers",
                "name the function that is to change by its own module and qualified name",
            )
        own = f"{start.__globals__.get('__name__')}:{code.co_qualname}"
        if "<locals>" in code.co_qualname:
            return Refusal(
                "made-by-factory",
                f"{target} was made by a call, from the code of {own}",
                "a function that the source defines at this path",
                f"replace '{own}', which covers all that the factory made",
            )
        return None
    inner = [f for f in _functions_within(start) if "<locals>" not in f.__code__.co_qualname]
    if inner:
        own = f"{inner[0].__globals__.get('__name__')}:{inner[0].__code__.co_qualname}"
        return Refusal(
            "behind-wrapper",
            f"{target} is a {type(start).__qualname__} around {own}",
            "the name under which the source defines the function",
            f"replace '{own}', which reaches every alias",
        )
    call = next((namespace_of(c)["__call__"] for c in type(start).__mro__ if "__call__" in namespace_of(c)), None)
    if is_function(call):
        return Refusal(
            "is-an-instance",
            f"{target} is an instance of {type(start).__module__}:{type(start).__qualname__}",
            "a function or method",
            f"replace '{call.__module__}:{call.__code__.co_qualname}'",
        )
    if not callable(start) and not hasattr(type(start), "__get__"):
        return Refusal(
            "not-callable",
            f"{target} is a {type(start).__qualname__}",
            "a function, method or property",
            f"use set({str(target)!r}, value) for a value",
        )
    return Refusal(
        "native",
        f"{target} is a {type(start).__module__}.{type(start).__qualname__} without Python code behind it",
        "a function with Python code",
        f"put a wrapper in its place with wrap({str(target)!r})",
    )


def _functions_within(start: object) -> list[FunctionType]:
    """The functions that a partial or another native wrapper holds."""
    if not is_a(start, functools.partial) and not is_a(start, functools.partialmethod) and not is_a(start, MethodType):
        return []
    return [inner for inner in (getattr(start, "func", None), getattr(start, "__func__", None)) if is_function(inner)]


def _is_generated(code: CodeType, place: Place) -> bool:
    """Made by ``exec`` while the module itself came from a file: dataclasses, attrs, named tuples."""
    if code.co_qualname.startswith("__create_fn__."):
        return True
    file = getattr(place.module, "__file__", None)
    return file is not None and code.co_filename.startswith("<") and not file.startswith("<")
