"""What of a statement counts when two are compared: its syntax without layout, docstrings, annotations and the like."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Sequence
from typing import Any

from livepatch.bundle.nodes import walk

__all__ = [
    "block",
    "body_of",
    "decorators_of",
    "defaults_of",
    "header_of",
    "is_overload",
    "is_type_checking",
    "normal",
    "outer_of",
    "parameters_of",
]

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef

_UNSEEN = {"ctx", "type_comment", "kind", "returns", "annotation", "type_ignores"}


def normal(node: ast.AST) -> str:
    """Two statements that give the same text do the same, whatever their layout."""
    out: list[str] = []
    _write(node, out)
    return "".join(out)


def block(statements: Sequence[ast.stmt], *, fields: bool = False) -> Iterator[ast.stmt]:
    """The statements of a block that do anything.

    An annotation without a value does nothing, unless the block is the body of a class that may read its own
    (`fields`).
    """
    for statement in statements:
        if isinstance(statement, ast.Pass) or (
            isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        ):
            continue
        if isinstance(statement, ast.AnnAssign) and statement.value is None and not fields:
            continue
        if isinstance(statement, ast.If) and is_type_checking(statement.test):
            yield from block(statement.orelse, fields=fields)
        elif not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)) or not is_overload(statement):
            yield statement


def is_type_checking(test: ast.expr) -> bool:
    """Whether that is the condition under which only type checkers read on."""
    name = test.id if isinstance(test, ast.Name) else test.attr if isinstance(test, ast.Attribute) else ""
    return name == "TYPE_CHECKING"


def is_overload(node: FunctionNode) -> bool:
    """Whether the definition is a stub for type checkers."""
    return any(
        (isinstance(d, ast.Name) and d.id == "overload") or (isinstance(d, ast.Attribute) and d.attr == "overload")
        for d in node.decorator_list
    )


def decorators_of(node: FunctionNode | ast.ClassDef) -> str:
    """What is called on the definition; with what a bare ``@function.register`` reads, the first annotation."""
    said = "".join(normal(d) + "," for d in node.decorator_list)
    if isinstance(node, ast.ClassDef) or not any(_registers(d) for d in node.decorator_list):
        return said
    read = [each.annotation for each in (*node.args.posonlyargs, *node.args.args) if each.annotation][:1]
    return said + "".join(f"({normal(annotation)})" for annotation in read)


def _registers(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Attribute) and decorator.attr == "register"


def defaults_of(node: FunctionNode) -> str:
    """The expressions of the default values, by parameter."""
    a = node.args
    positional = [*a.posonlyargs, *a.args]
    pairs = [*zip(positional[len(positional) - len(a.defaults) :], a.defaults, strict=True)]
    pairs += [(arg, value) for arg, value in zip(a.kwonlyargs, a.kw_defaults, strict=True) if value is not None]
    return "".join(f"{arg.arg}={normal(value)}," for arg, value in pairs)


def body_of(node: FunctionNode) -> str:
    """Parameters, defaults and body of a function: all but its name and decorators."""
    out: list[str] = [type(node).__name__]
    _write(node.args, out)
    for parameter in getattr(node, "type_params", ()):
        _write(parameter, out)
    _write_block(node.body, out)
    return "".join(out)


def header_of(node: ast.ClassDef) -> str:
    """Bases, keywords and type parameters of a class."""
    parts: list[ast.AST] = [*node.bases, *node.keywords, *getattr(node, "type_params", ())]
    return "".join(normal(part) + "," for part in parts)


def _write(node: Any, out: list[str]) -> None:
    if node is None or isinstance(node, str):
        out.append(repr(node))
    elif isinstance(node, list):
        if node and isinstance(node[0], ast.stmt):
            _write_block(node, out)
            return
        out.append("[")
        for one in node:
            _write(one, out)
            out.append(",")
        out.append("]")
    elif isinstance(node, ast.Constant):
        # The type tells 1 from True and 1.0; repr of the value alone does too, and of -0.0 and nan.
        out.append(f"<{node.value!r}>")
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        out.append("Assign([")
        _write(node.target, out)
        out.append(",] ")
        _write(node.value, out)
        out.append(" )")
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and any(map(_registers, node.decorator_list)):
        out.append(f"{decorators_of(node)}:{node.name}:{body_of(node)}")
    elif isinstance(node, ast.ClassDef):
        out.append(f"ClassDef({node.name}:{decorators_of(node)}:{header_of(node)}")
        _write_block(node.body, out, fields=bool(node.bases or node.decorator_list))
        out.append(")")
    elif isinstance(node, ast.AST):
        out.append(type(node).__name__)
        out.append("(")
        for field in node._fields:
            if field not in _UNSEEN:
                _write(getattr(node, field, None), out)
                out.append(" ")
        out.append(")")
    else:
        out.append(repr(node))


def _write_block(statements: Sequence[ast.stmt], out: list[str], *, fields: bool = False) -> None:
    out.append("[")
    for statement in block(statements, fields=fields):
        _write(statement, out)
        out.append(";")
    out.append("]")


def parameters_of(node: FunctionNode) -> str:
    """How the function may be called."""
    a = node.args
    needed = len(a.posonlyargs) + len(a.args) - len(a.defaults)
    names = [[x.arg for x in a.posonlyargs], [x.arg for x in a.args], [x.arg for x in a.kwonlyargs]]
    keyword = [x.arg for x, d in zip(a.kwonlyargs, a.kw_defaults, strict=True) if d is None]
    return f"{names} {needed} {keyword} {bool(a.vararg)} {bool(a.kwarg)}"


def outer_of(node: FunctionNode, level: int = 0) -> str:
    """What counts of a function when a call is done: all but the bodies of inner functions that only its results run.

    With a higher `level`, what runs when its result is called counts, too.
    """
    bare = _outer(node, level)
    return body_of(bare)


def _outer(node: Any, level: int) -> Any:
    called = {n.func.id for n in walk(node) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}

    def strip(one: Any, left: int) -> Any:
        made = copy.copy(one)
        for name, value in ast.iter_fields(one):
            if isinstance(value, list):
                setattr(made, name, [child(v, left) if isinstance(v, ast.AST) else v for v in value])
            elif isinstance(value, ast.AST):
                setattr(made, name, child(value, left))
        return made

    def child(one: Any, left: int) -> Any:
        if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)) and one.name not in called:
            if left:
                return strip(one, left - 1)
            made = copy.copy(one)
            made.body, made.args = [], ast.arguments([], [], None, [], [], None, [])
            return made
        if isinstance(one, ast.Lambda):
            return strip(one, left - 1) if left else ast.Constant(None)
        return strip(one, left) if isinstance(one, ast.AST) else one

    return strip(node, level)
