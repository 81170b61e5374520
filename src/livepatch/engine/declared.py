"""Does the process hold a function as its source declares it: its decorators, its class's bases, what it returns?

None of that is in the function's code, so a function that runs the very code that a patch was made for may still be
called through something else, or reach other methods by ``super()``.  What the source says is worked out from names
that the process holds, and nothing is run; where these do not tell, nothing is said.
"""

from __future__ import annotations

import abc
import ast
import contextlib
import functools
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from livepatch.contents.edits import ClassHead, FunctionEdit, Text
from livepatch.contents.parsing import tree_of
from livepatch.engine.default_values import value_of
from livepatch.engine.locate import Found
from livepatch.engine.namespaces import is_a, is_class, is_function, namespace_of
from livepatch.engine.ondisk import texts_of
from livepatch.engine.outline import Outline, outline_of
from livepatch.engine.pace import breathe
from livepatch.engine.refusal import Refusal
from livepatch.engine.sides import other_return, returns_of
from livepatch.engine.source import lines_of
from livepatch.engine.syntax import syntax_of

__all__ = ["declared_otherwise", "other_bases"]

Definition = ast.FunctionDef | ast.AsyncFunctionDef

# Decorators that leave the function itself in its place, and those of which it is known what they put there.
_TRANSPARENT = [abc.abstractmethod, typing.final, typing.no_type_check, *filter(None, [getattr(typing, "override", 0)])]
_WRAPPING = [contextlib.contextmanager, contextlib.asynccontextmanager, functools.singledispatch]
_DESCRIPTORS = (staticmethod, classmethod, property)
_WITHOUT_SAYING: dict[str, type] = {
    "__new__": staticmethod,
    "__init_subclass__": classmethod,
    "__class_getitem__": classmethod,
}
_UNTOLD = object()
_OTHER = object()


def declared_otherwise(
    change: FunctionEdit, text: Text, found: Found, outlines: dict[str, Outline | None]
) -> Iterator[Refusal]:
    """How the process holds a function otherwise than `text` declares it, of which it runs the code.

    `outlines` are those of the files that were read before, by name.
    """
    if found.function is None:
        return
    node = syntax_of(text.source).body[0]
    breathe()
    assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    decorated = None if change.rebound else _other_decorators(change, node, found, outlines)
    if decorated is not None:
        yield decorated
    returned = _other_return(node, found.function, found)
    if returned is not None:
        yield returned


# Decorators


def _other_decorators(
    change: FunctionEdit, node: Definition, found: Found, outlines: dict[str, Outline | None]
) -> Refusal | None:
    held = found.place.value if found.place.owner is not None else None
    inner: Any = held
    wanted: Any = FunctionType
    if found.owner_class is not None:
        wanted = _WITHOUT_SAYING.get(node.name, FunctionType)
    outermost = True
    for decorator in node.decorator_list:
        meaning = _meaning(decorator, found)
        if any(meaning is each for each in _TRANSPARENT):
            continue
        if outermost:
            wanted, outermost = (meaning if any(meaning is each for each in _DESCRIPTORS) else object), False
        inner = _accessor(change, decorator, inner) if change.accessor else _inside(inner, meaning)
        if inner is _UNTOLD:
            return _other_in_file(change, node, found, outlines)
        if inner is _OTHER:
            break
    if outermost and wanted in (staticmethod, classmethod) and type(inner) is wanted:
        inner = inner.__func__
    if inner is found.function:
        return _other_abstract(node, found)
    kind = type(held)
    is_known = any(kind is each for each in (FunctionType, *_DESCRIPTORS))
    is_other = is_known and kind is not wanted and wanted is not object
    # A class decorator or a metaclass may have done it by its own rule: only the file proves that the source differs.
    if is_other and _other_in_file(change, node, found, outlines) is not None:
        return Refusal(
            "kind-changed",
            f"the process holds it as a {kind.__name__}",
            f"a {wanted.__name__}, as it was where the patch was made for",
            "build the patch from the release that this process runs, or take out what changed it",
        )
    if found.place.owner is None:
        return _differ("no such name in its module or class any more; others hold the function", node)
    return _differ(f"{_described(held)} in its place", node)


def _other_abstract(node: Definition, found: Found) -> Refusal | None:
    """Whether the method is abstract in the process and not in the source, or the reverse."""
    stated = any(_meaning(each, found) is abc.abstractmethod for each in node.decorator_list)
    is_abstract = found.function is not None and vars(found.function).get("__isabstractmethod__") is True
    if stated == is_abstract:
        return None
    return _differ("an abstract method" if is_abstract else "a method that is not abstract", node)


def _listed(node: Definition) -> str:
    return ", ".join(f"@{ast.unparse(each)}" for each in node.decorator_list) or "no decorator"


def _differ(what: str, node: Definition) -> Refusal:
    return Refusal(
        "decorators-differ",
        what,
        f"the function with {_listed(node)}, as in the release that the patch was made for",
        "see what calls go through before they come to the function that is patched",
    )


def _meaning(decorator: ast.expr, found: Found) -> object:
    """What a decorator, or the function that makes it, is in the process; `_UNTOLD` if names do not tell."""
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    try:
        return value_of(called, found.place.module, found.owner_class)
    except LookupError:
        return _UNTOLD


def _accessor(change: FunctionEdit, decorator: ast.expr, held: object) -> object:
    """The function of a property that its decorator puts there."""
    name = decorator.attr if isinstance(decorator, ast.Attribute) else ""
    if name not in ("getter", "setter", "deleter") and not (
        isinstance(decorator, ast.Name) and decorator.id == "property"
    ):
        return _UNTOLD
    return getattr(held, change.accessor) if is_a(held, property) else _OTHER


def _inside(held: Any, meaning: Any) -> object:
    """What a decorator was given, if `held` is what it made of that."""
    if meaning is staticmethod or meaning is classmethod:
        return held.__func__ if type(held) is meaning else _OTHER
    if meaning is functools.cached_property:
        return held.func if type(held) is meaning else _OTHER
    if meaning is functools.lru_cache or meaning is functools.cache:
        return held.__wrapped__ if type(held) is functools._lru_cache_wrapper else _OTHER
    if not is_function(meaning):
        return _UNTOLD
    if is_function(held) and held.__globals__ is meaning.__globals__ and "__wrapped__" in vars(held):
        return vars(held)["__wrapped__"]
    return _OTHER if any(meaning is each for each in _WRAPPING) else _UNTOLD


def _other_in_file(
    change: FunctionEdit, node: Definition, found: Found, outlines: dict[str, Outline | None]
) -> Refusal | None:
    """What the module's file says, where nothing in memory tells what a decorator made."""
    filename = str(getattr(found.place.module, "__file__", None) or "")
    if filename not in outlines:
        lines = lines_of(filename, {}) if filename.endswith(".py") and Path(filename).is_file() else []
        outlines[filename] = outline_of(lines) if lines else None
    outline = outlines[filename]
    given = list(texts_of(outline, change.qualname, filename)) if outline is not None else []
    wanted = [ast.dump(each) for each in node.decorator_list]
    others = []
    for text in given:
        other = syntax_of(text.source).body[0]
        breathe()
        assert isinstance(other, (ast.FunctionDef, ast.AsyncFunctionDef))
        if [ast.dump(each) for each in other.decorator_list] == wanted:
            return None
        others.append(_listed(other))
    return _differ(f"{others[0]} in {filename}", node) if others else None


def _described(value: object) -> str:
    if is_function(value):
        return f"{value.__globals__.get('__name__')}:{value.__code__.co_qualname}"
    return f"a {type(value).__module__}.{type(value).__qualname__}"


# Annotations


def _other_return(node: Definition, function: FunctionType, found: Found) -> Refusal | None:
    expected = node.returns
    if sys.version_info >= (3, 14):
        live: object = returns_of(function) or None
        absent = live is None
    else:
        annotations = function.__annotations__
        live, absent = annotations.get("return"), "return" not in annotations
    if expected is None:
        return None if absent else other_return("anything", _spelled(live))
    if absent:
        return other_return(ast.unparse(expected), "anything")
    if _returns_that(expected, live, found):
        return None
    return other_return(ast.unparse(expected), _spelled(live))


def _returns_that(expected: ast.expr, live: object, found: Found) -> bool:
    """Whether an annotation may be what the source says."""
    if isinstance(expected, ast.Constant) and not isinstance(live, str):
        return bool(expected.value is live) or live is type(None)
    if isinstance(live, str):
        if isinstance(expected, ast.Constant) and expected.value in (live, live.strip("'\"")):
            return True
        try:
            return ast.dump(tree_of(live, mode="eval").body) == ast.dump(expected)
        except (SyntaxError, ValueError):
            return False
    try:
        value = value_of(expected, found.place.module, found.owner_class)
    except LookupError:
        return True  # nobody can tell
    # Two type variables may be one of the function and one of the module.
    return value is live or _is_called(expected, live) or (not is_class(live) and type(value) is type(live))


def _spelled(annotation: object) -> str:
    if isinstance(annotation, str):
        return annotation
    if is_class(annotation):
        return _name_of(annotation)
    if type(annotation).__module__ in ("builtins", "types", "typing"):
        return str(annotation)
    return f"a {type(annotation).__module__}.{type(annotation).__qualname__}"


# Bases


def other_bases(head: ClassHead, cls: type, module: ModuleType) -> Refusal | None:
    """How the bases of a class differ from those that its statement names, if they do."""
    scope = _enclosing(head.qualname, module)
    live = namespace_of(cls).get("__orig_bases__", cls.__bases__)
    if not is_a(live, tuple):
        return None
    breathe()
    try:
        expected = [tree_of(base, mode="eval").body for base in head.bases]
        named = [value_of(base.value if isinstance(base, ast.Subscript) else base, module, scope) for base in expected]
    except (LookupError, SyntaxError, ValueError):
        return None  # nobody can tell
    if not all(is_class(each) for each in named):
        return None  # a function that gives the bases
    have = [each if is_class(each) else typing.get_origin(each) for each in live]
    if not expected and have == [object]:
        return None
    if len(have) == len(named) and all(
        mine is theirs or _is_called(base, mine) for base, theirs, mine in zip(expected, named, have, strict=True)
    ):
        return None
    return Refusal(
        "bases-differ",
        f"a class with the bases {', '.join(map(_spelled, have)) or 'object'}",
        f"{', '.join(head.bases) or 'object'}, as in the release that the patch was made for",
        "see which methods its objects, and super() in the fix, come to in this process",
    )


def _enclosing(qualname: str, module: ModuleType) -> type | None:
    """The class in whose body another class stands."""
    cls: object = None
    for name in qualname.split(".")[:-1]:
        cls = namespace_of(cls if is_class(cls) else module).get(name)
    return cls if is_class(cls) else None


def _is_called(expression: ast.expr, value: object) -> bool:
    """Whether a value has the name by which an expression ends: a class that a decorator has made anew keeps it."""
    inner = expression.value if isinstance(expression, ast.Subscript) else expression
    name = inner.attr if isinstance(inner, ast.Attribute) else inner.id if isinstance(inner, ast.Name) else None
    return is_class(value) and name == _name_of(value)


def _name_of(cls: type) -> str:
    """The name of a class; its metaclass is not asked."""
    name: str = vars(type)["__name__"].__get__(cls)
    return name
