"""Are a live function's default values those that its source says?  Answered without running anything.

A default is evaluated where the ``def`` stands and kept by the function, not by its code.  A literal, and what the
compiler makes one constant of (``60 * 60``), is compared by type and value.  A name is looked up where the ``def``
stands: it may have been bound anew since, so another value there is no proof, but worth a word.
"""

from __future__ import annotations

import ast
import builtins
import dis
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import GetSetDescriptorType, MemberDescriptorType, ModuleType

from livepatch.contents.edits import Text
from livepatch.contents.parsing import compiled
from livepatch.engine.differing import Mismatch, same_constant, shown_at
from livepatch.engine.functions import Held
from livepatch.engine.locate import mangled
from livepatch.engine.namespaces import is_a, is_class, is_function, is_module, namespace_of
from livepatch.engine.pace import breathe
from livepatch.engine.syntax import syntax_of

__all__ = ["Defaults", "OpenDefault", "defaults_match", "is_plain", "plainly_same", "value_of"]


@dataclass(frozen=True, slots=True)
class OpenDefault:
    """A default that is no literal: of which parameter, its line in the file, its source, and what the process has."""

    parameter: str
    line: int
    expression: str
    live: object


@dataclass(frozen=True, slots=True)
class Defaults:
    """What comparing the defaults gave.

    `mismatch` is the first that is wrong.  Of those that are no literal, `differing` are the ones that are now computed
    otherwise, `unknown` those that could not be computed.
    """

    mismatch: Mismatch | None = None
    differing: tuple[OpenDefault, ...] = ()
    unknown: tuple[OpenDefault, ...] = ()


def defaults_match(held: Held, text: Text, evaluate: Callable[[ast.expr], object] | None = None) -> Defaults:
    """Compare the defaults of a live function with those of its definition.

    `evaluate` gives what an expression that is no literal comes to, and raises :class:`LookupError` if it cannot tell.
    Where that is the live object, or one that is plainly the same (of the same built-in type, with the same contents),
    the default is right.  Raises :class:`SyntaxError` for a text that does not parse.
    """
    node = syntax_of(text.source).body[0]
    breathe()
    assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    differing: list[OpenDefault] = []
    unknown: list[OpenDefault] = []
    for name, line, expression, given, live in _pairs(held, node):
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
        one = OpenDefault(name, at, source, live)
        try:
            if evaluate is None or not plainly_same(evaluate(expression), live):
                (unknown if evaluate is None else differing).append(one)
        except LookupError:
            unknown.append(one)
    return Defaults(None, tuple(differing), tuple(unknown))


def value_of(expression: ast.expr, module: ModuleType, cls: type | None = None) -> object:
    """What a name, or a name of a name, is in the module, or in the class of it in whose body it stands.

    Only namespaces are read: raises :class:`LookupError` for any other expression, and where reading the attribute
    would run something.
    """
    if isinstance(expression, ast.Attribute):
        owner = value_of(expression.value, module, cls)
        if is_module(owner):
            return namespace_of(owner)[expression.attr]
        if is_class(owner):
            return _read(_first(expression.attr, _spaces(owner)))
        raise LookupError(expression.attr)
    if not isinstance(expression, ast.Name):
        raise LookupError(ast.unparse(expression))  # noqa: TRY004  # it cannot be looked up
    if cls is not None:
        private = mangled(expression.id, cls.__name__)
        if private in namespace_of(cls):
            value = namespace_of(cls)[private]
            if is_a(value, *_OF_SLOTS):
                raise LookupError(private)  # in the body the name was another object
            return value
    return _first(expression.id, [namespace_of(module), vars(builtins)])


_OF_SLOTS = (MemberDescriptorType, GetSetDescriptorType)


def _first(name: str, spaces: Iterable[Mapping[str, object]]) -> object:
    for space in spaces:
        if name in space:
            return space[name]
    raise LookupError(name)


def _spaces(cls: type) -> list[Mapping[str, object]]:
    return [namespace_of(base) for base in cls.__mro__]


def _read(value: object) -> object:
    """What a class gives for an attribute that it holds."""
    if is_a(value, staticmethod):
        return value.__func__
    if is_function(value) or not any("__get__" in space for space in _spaces(type(value))):
        return value
    raise LookupError(type(value).__name__)


_Pair = tuple[str, int, ast.expr | None, bool, object]


def _pairs(held: Held, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[_Pair]:
    """Each parameter that may have a default: its name, line, the expression; whether a value is there, and it."""
    positional = [*node.args.posonlyargs, *node.args.args]
    written: list[ast.expr | None] = [None] * (len(positional) - len(node.args.defaults)) + list(node.args.defaults)
    defaults = held.defaults or ()
    first = len(positional) - len(defaults)
    for i, (argument, expression) in enumerate(zip(positional, written, strict=True)):
        line = argument.lineno if expression is None else expression.lineno
        yield argument.arg, line, expression, i >= first, defaults[i - first] if i >= first else None
    code, by_keyword = held.code, held.kwdefaults or {}
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
    code = compiled(ast.Expression(expression), "<default>", "eval")
    steps = [one for one in dis.get_instructions(code) if one.opname not in _AROUND]
    if len(steps) == 1 and steps[0].opname in _LOADS:
        return True, steps[0].argval
    return False, None


_AROUND = {"RESUME", "RETURN_VALUE", "EXTENDED_ARG"}
_LOADS = {"LOAD_CONST", "RETURN_CONST", "LOAD_SMALL_INT", "LOAD_COMMON_CONSTANT"}
_FOLDED = (ast.Constant, ast.UnaryOp, ast.BinOp, ast.Tuple, ast.unaryop, ast.operator, ast.Load)


def is_plain(value: object) -> bool:
    """Whether a value is a constant of a built-in type, so that another one of other value is plainly not the same."""
    if type(value) is tuple:
        return all(map(is_plain, value))
    return value is None or type(value) in (bool, int, float, complex, str, bytes)


def plainly_same(one: object, other: object) -> bool:
    """Whether two values are one object, or of the same built-in type with the same contents."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)) and type(one) in (list, tuple):
        assert isinstance(other, (list, tuple))
        return len(one) == len(other) and all(map(plainly_same, one, other))
    if type(one) is dict:
        assert isinstance(other, dict)
        return len(one) == len(other) and all(
            plainly_same(mine, theirs) for mine, theirs in zip(one.items(), other.items(), strict=True)
        )
    if type(one) in (set, frozenset):
        return same_constant(frozenset(one), frozenset(other))  # type: ignore[call-overload]
    return same_constant(one, other)
