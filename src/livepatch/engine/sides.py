"""The new side of one live function: its code, in the function's own context, and what else the function must hold.

Where the new code has the very free variables of the old, the function gets it as it is.  Where it has others (its own
closure, or the ``__class__`` of a ``super()`` that was not there before), the new side is a function object of its own
with its own cells, and the live function gets a body that forwards to it.
"""

from __future__ import annotations
import __future__

import ast
import contextlib
import inspect
import sys
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from types import CellType, CodeType, FunctionType
from typing import Any

from livepatch.engine.code import (
    IMPLICIT_CELLS,
    compile_in_context,
    nested_codes,
    private_names,
    same_code,
)
from livepatch.engine.functions import make_function
from livepatch.engine.namespaces import is_class
from livepatch.engine.pace import breathe
from livepatch.engine.refusal import Refusal
from livepatch.engine.source import Definition

__all__ = ["NewSide", "alike", "compile_new_side", "other_return", "returns_of", "side_of"]


@dataclass(frozen=True, slots=True)
class NewSide:
    """The replacement of one target: the function that was written, and its code compiled in the target's place.

    `text` is its source for tracebacks, empty if the code is used as it was written elsewhere; `before` is that of the
    side which was proved to run, empty if that is not known.
    """

    written: FunctionType
    code: CodeType
    text: str = ""
    asserts: bool = False
    before: str = ""


def compile_new_side(
    written: FunctionType,
    definition: Definition | None,
    qualname: str,
    filename: str,
    old: CodeType | None,
    *,
    class_name: str | None = None,
    enclosing: Mapping[str, tuple[str, ...]] | None = None,
) -> NewSide | Refusal:
    """Compile `written` as if its source stood at `qualname`.

    `old` is the code that it replaces, ``None`` for a new function.
    """
    if definition is None:
        return _as_written(written, qualname, class_name)
    if class_name is None and _bare_super(definition.node):
        return Refusal(
            "super-outside-class",
            f"super() in the replacement of {qualname}, which is no method",
            "super() in methods only",
            "name the class and the object: super(Class, self)",
        )
    free = set(written.__code__.co_freevars) | set(old.co_freevars if old else ())
    bound = {name for names in (enclosing or {}).values() for name in names}
    keep = {code.co_qualname: code.co_freevars for code in (old, *nested_codes(old)) if code.co_freevars} if old else {}
    breathe()
    try:
        code = compile_in_context(
            definition.node,
            qualname,
            filename,
            flags=definition.flags,
            enclosing=enclosing,
            outside=free - IMPLICIT_CELLS - bound,
            keep_free=keep,
        )
    except SyntaxError as error:
        return Refusal(
            "does-not-compile",
            f"{error.msg} in the replacement",
            f"source that compiles as {qualname}",
            "correct the replacement",
        )
    if old is not None and old.co_flags & inspect.CO_ITERABLE_COROUTINE and code.co_flags & inspect.CO_GENERATOR:
        code = code.replace(co_flags=code.co_flags | inspect.CO_ITERABLE_COROUTINE)  # as the target's decorator did
    breathe()
    asserts = any(isinstance(part, ast.Assert) for part in ast.walk(definition.node))
    return NewSide(written, code, definition.text, asserts)


def _bare_super(node: ast.AST) -> bool:
    """Whether ``super()`` without arguments stands in the definition, and not in a class inside it."""
    for child in ast.iter_child_nodes(node):
        called = child.func if isinstance(child, ast.Call) and not child.args else None
        if isinstance(called, ast.Name) and called.id == "super":
            return True
        if not isinstance(child, ast.ClassDef) and _bare_super(child):
            return True
    return False


def _as_written(written: FunctionType, qualname: str, class_name: str | None) -> NewSide | Refusal:
    """Without source the code stands as it is, if it would mean the same in the target's place."""
    code = written.__code__
    needs = []
    if class_name is not None and private_names(code):
        needs.append(f"private names ({', '.join(sorted(private_names(code)))})")
    if "super" in code.co_names and "__class__" not in code.co_freevars and code.co_name != "<lambda>":
        needs.append("super() outside a class")
    if needs:
        return Refusal(
            "source-needed",
            f"{written.__qualname__} has {' and '.join(needs)}, and {code.co_filename} does not give its code",
            "source, to compile it as part of the target's class",
            "define the replacement in a file that has not changed since it was imported",
        )
    return NewSide(written, code.replace(co_name=qualname.rpartition(".")[2], co_qualname=qualname))


def side_of(
    function: FunctionType, new: NewSide, owner: type | None, primary: FunctionType | None = None
) -> dict[str, object] | Refusal:
    """What the attributes of `function` shall be under the new side, by name; unchanged values are the very objects.

    A copy of the target keeps what the patch does not change in the `primary` function, such as defaults of its own.
    """
    primary = primary or function
    cells = _cells_for(function, new, owner)
    if isinstance(cells, Refusal):
        return cells
    written, code = new.written, new.code
    own = function.__closure__ or ()
    if code.co_freevars != function.__code__.co_freevars or any(a is not b for a, b in zip(cells, own, strict=True)):
        code = _forward(function, new, cells)
    values: dict[str, object] = {
        "__code__": code,
        "__defaults__": function.__defaults__
        if alike(primary.__defaults__, written.__defaults__)
        else written.__defaults__,
        "__kwdefaults__": function.__kwdefaults__
        if alike(primary.__kwdefaults__, written.__kwdefaults__)
        else written.__kwdefaults__,
    }
    if written.__doc__ is not None:
        values["__doc__"] = function.__doc__ if written.__doc__ == function.__doc__ else written.__doc__
    values.update(_annotations(function, written))
    return values


def new_function(new: NewSide, namespace: dict[str, Any], module: str, owner: type | None) -> FunctionType | Refusal:
    """A function that the target's module or class did not have, as its own source would have made it."""
    shell = FunctionType(_empty(new.code), namespace)
    cells = _cells_for(shell, new, owner)
    if isinstance(cells, Refusal):
        return cells
    written = new.written
    made = make_function(new.code, namespace, cells, written.__defaults__, written.__kwdefaults__)
    made.__doc__ = written.__doc__
    made.__module__ = module
    made.__dict__.update(vars(written))
    for name, value in _annotations(made, written).items():
        setattr(made, name, value)
    return made


def other_return(old: str, new: str) -> Refusal:
    """What is to be said where the annotation of what a function returns differs."""
    return Refusal(
        "return-annotation",
        f"it is annotated to return {new}, and was to return {old}",
        "what its callers use",
        "see whether its callers can use what it returns now",
    )


def returns_of(function: FunctionType) -> str:
    """The annotation of what a function returns, as text; empty without one, and where only its own code could tell."""
    if sys.version_info >= (3, 14):
        import annotationlib

        try:
            given = annotationlib.get_annotations(function, format=annotationlib.Format.STRING)
        except (NameError, AttributeError, TypeError, ValueError):
            return ""
    else:
        given = function.__annotations__
    value: Any = given.get("return", "")
    if type(value) is str:
        return value
    if is_class(value):
        return str(value.__qualname__)
    return repr(value) if value is None or type(value).__module__ in ("typing", "types") else ""


def _empty(code: CodeType) -> CodeType:
    return compile("", code.co_filename, "exec", dont_inherit=True)


def _cells_for(function: FunctionType, new: NewSide, owner: type | None) -> tuple[CellType, ...] | Refusal:
    """A cell for each free variable of the new code: the live function's own, else what the replacement brought."""
    live = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    brought = dict(zip(new.written.__code__.co_freevars, new.written.__closure__ or (), strict=True))
    cells = []
    for name in new.code.co_freevars:
        if name in live:
            if name in brought and name not in IMPLICIT_CELLS and not _same_content(live[name], brought[name]):
                return Refusal(
                    "ambiguous-name",
                    f"{name} is a variable around the target and another one around the replacement",
                    "one meaning for each name",
                    f"rename {name} where the replacement is written",
                )
            cells.append(live[name])
        elif name == "__class__" and owner is not None:
            cells.append(CellType(owner))
        elif name in brought and name not in IMPLICIT_CELLS:
            cells.append(brought[name])
        else:
            return Refusal(
                "free-variable",
                f"the new code needs the variable {name!r}, which the live function's closure does not hold"
                + (f" (it holds {', '.join(live)})" if live else ""),
                "free variables that the live function has, or that the replacement brings along",
                "replace the function that makes the closure as a whole, or get the value another way",
            )
    return tuple(cells)


def _same_content(one: CellType, other: CellType) -> bool:
    try:
        mine, theirs = one.cell_contents, other.cell_contents
    except ValueError:
        return False  # not yet bound
    if type(mine) in _TYPE_PARAMETERS and type(mine) is type(theirs):
        return bool(mine.__name__ == theirs.__name__)  # written anew, as the target's own stands there
    return alike(mine, theirs)


def _forward(function: FunctionType, new: NewSide, cells: tuple[CellType, ...]) -> CodeType:
    from livepatch.engine.dispatch import forwarding_code

    written = new.written
    callee = make_function(
        new.code, function.__globals__, cells, written.__defaults__, written.__kwdefaults__, behind=True
    )
    return forwarding_code(callee, callee, function.__code__.co_freevars)


_TYPE_PARAMETERS = (typing.TypeVar, typing.ParamSpec, typing.TypeVarTuple)
_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis))


def alike(one: object, other: object) -> bool:
    """The same object, or equal plain values of the same types; anything else may differ in ways we cannot see."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if type(one) in _PLAIN:
        return one == other and repr(one) == repr(other)
    if isinstance(one, (tuple, list)) and isinstance(other, (tuple, list)) and type(one) in (tuple, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if type(one) is dict and type(other) is dict:
        return list(one) == list(other) and all(alike(one[key], other[key]) for key in one)
    if type(one) in (set, frozenset):
        return all(type(item) in _PLAIN for item in (*one, *other)) and one == other  # type: ignore[misc]  # sets
    return False


def _annotations(function: FunctionType, written: FunctionType) -> dict[str, object]:
    """The annotations, if the replacement has any; equal ones are the live ones.  Lazy ones (3.14) compare by code."""
    if sys.version_info >= (3, 14) and function.__annotate__ is not None:
        annotate = written.__annotate__
        if annotate is None:
            return {}
        live = function.__annotate__
        if isinstance(live, FunctionType) and isinstance(annotate, FunctionType):
            code = annotate.__code__.replace(co_qualname=live.__code__.co_qualname)
            if same_code(code, live.__code__):
                return {"__annotate__": live}
        return {"__annotate__": annotate}
    # Storing evaluated annotations is the only store that also puts back those of a function without lazy ones.
    annotations = _evaluated(written, function)
    if not annotations:
        return {}
    live_ones = function.__annotations__
    same = list(live_ones) == list(annotations) and all(
        alike(live_ones[name], annotations[name]) for name in annotations
    )
    return {"__annotations__": live_ones if same else annotations}


def _evaluated(written: FunctionType, function: FunctionType) -> dict[str, Any]:
    """The replacement's annotations as the target's module would have them: strings only where its own are strings."""
    try:
        annotations = dict(written.__annotations__)
    except NameError:  # lazy ones that name what is not there
        return {}
    future = __future__.annotations.compiler_flag
    if written.__code__.co_flags & future and not function.__code__.co_flags & future:
        for name, text in annotations.items():
            with contextlib.suppress(Exception):  # it may be any expression; what cannot be evaluated stays a string
                annotations[name] = eval(text, function.__globals__)  # noqa: S307  # the patch's own text
    return annotations
