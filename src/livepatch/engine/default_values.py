"""Are a live function's default values those that its source says?  Answered as far as the source alone tells.

A default is evaluated where the ``def`` stands and kept by the function, not by its code.  A literal, and what the
compiler makes one constant of (``60 * 60``), is compared by type and value, and nothing is run for that.
"""

from __future__ import annotations

import ast
import dis
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FunctionType

from livepatch.edits import Text
from livepatch.engine.differing import Mismatch, same_constant, shown_at
from livepatch.engine.pace import breathe

__all__ = ["Defaults", "OpenDefault", "defaults_match"]


@dataclass(frozen=True, slots=True)
class OpenDefault:
    """A default that is no literal: of which parameter, its line in the file, its source, and what the process has."""

    parameter: str
    line: int
    expression: str
    live: object


@dataclass(frozen=True, slots=True)
class Defaults:
    """What comparing the defaults gave: the first that is wrong, and those that are not literal and so not known."""

    mismatch: Mismatch | None = None
    not_literal: tuple[OpenDefault, ...] = ()


def defaults_match(function: FunctionType, text: Text, evaluate: Callable[[str], object] | None = None) -> Defaults:
    """Compare the defaults of a live function with those of its definition.

    `evaluate` computes the source of an expression that is no literal.  Where that gives the live object, or one that
    is plainly the same (of the same built-in type, with the same contents), the default is right; else it is among
    those that are left open, because an object made anew is another one even if it would serve as well.  Raises
    :class:`SyntaxError` for a text that does not parse, and whatever `evaluate` raises.
    """
    node = ast.parse(text.source).body[0]
    breathe()
    assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    left: list[OpenDefault] = []
    for name, line, expression, given, live in _pairs(function, node):
        at = text.line + line - 1
        if expression is None or not given:
            if expression is None and not given:
                continue
            says = "has none in" if expression is None else "has one only in"
            return Defaults(shown_at(text, at, f"the default of parameter {name}: the source {says} {{}}"))
        literal, value = _literal(expression)
        if literal:
            if not same_constant(value, live):
                return Defaults(shown_at(text, at, f"parameter {name} has another default in the process than in {{}}"))
            continue
        source = ast.get_source_segment(text.source, expression) or ast.unparse(expression)
        if evaluate is None or not _plainly_same(evaluate(source), live):
            left.append(OpenDefault(name, at, source, live))
    return Defaults(None, tuple(left))


_Pair = tuple[str, int, ast.expr | None, bool, object]


def _pairs(function: FunctionType, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[_Pair]:
    """Each parameter that may have a default: its name, line, the expression; whether a value is there, and it."""
    positional = [*node.args.posonlyargs, *node.args.args]
    written: list[ast.expr | None] = [None] * (len(positional) - len(node.args.defaults)) + list(node.args.defaults)
    defaults = function.__defaults__ or ()
    first = len(positional) - len(defaults)
    for i, (argument, expression) in enumerate(zip(positional, written, strict=True)):
        line = argument.lineno if expression is None else expression.lineno
        yield argument.arg, line, expression, i >= first, defaults[i - first] if i >= first else None
    code, by_keyword = function.__code__, function.__kwdefaults__ or {}
    names = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]  # private ones mangled
    for argument, expression, name in zip(node.args.kwonlyargs, node.args.kw_defaults, names, strict=False):
        line = argument.lineno if expression is None else expression.lineno
        yield argument.arg, line, expression, name in by_keyword, by_keyword.get(name)


def _literal(expression: ast.expr) -> tuple[bool, object]:
    """Whether the compiler makes a constant of the expression, and that constant.  Runs nothing."""
    if isinstance(expression, ast.Constant):
        return True, expression.value
    if any(not isinstance(node, _FOLDED) for node in ast.walk(expression)):
        return False, None
    breathe()
    code = compile(ast.Expression(expression), "<default>", "eval", dont_inherit=True)
    steps = [one for one in dis.get_instructions(code) if one.opname not in _AROUND]
    if len(steps) == 1 and steps[0].opname in _LOADS:
        return True, steps[0].argval
    return False, None


_AROUND = {"RESUME", "RETURN_VALUE", "EXTENDED_ARG"}
_LOADS = {"LOAD_CONST", "RETURN_CONST", "LOAD_SMALL_INT", "LOAD_COMMON_CONSTANT"}
_FOLDED = (ast.Constant, ast.UnaryOp, ast.BinOp, ast.Tuple, ast.unaryop, ast.operator, ast.Load)


def _plainly_same(one: object, other: object) -> bool:
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)) and type(one) in (list, tuple):
        assert isinstance(other, (list, tuple))
        return len(one) == len(other) and all(map(_plainly_same, one, other))
    if type(one) is dict:
        assert isinstance(other, dict)
        return len(one) == len(other) and all(
            _plainly_same(mine, theirs) for mine, theirs in zip(one.items(), other.items(), strict=True)
        )
    if type(one) in (set, frozenset):
        return same_constant(frozenset(one), frozenset(other))  # type: ignore[call-overload]
    return same_constant(one, other)
