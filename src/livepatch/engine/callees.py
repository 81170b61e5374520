"""The calls that a new body makes by names that lead to one live function: what they pass, and what it takes.

Only what the text shows for certain: a name that is no variable of the body, looked up where the body stands, and
``self.`` or ``cls.`` in a method whose class, and none that derives from it, has that method.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType

from livepatch.contents.parsing import tree_of
from livepatch.engine.code import Parameter, nested_codes, parameters_of
from livepatch.engine.default_values import value_of
from livepatch.engine.namespaces import (
    is_a,
    is_class,
    is_function,
    is_module,
    namespace_of,
    owner_name,
    with_subclasses,
)
from livepatch.engine.pace import breathe, paced
from livepatch.engine.syntax import syntax_of

__all__ = ["Passed", "calls_of"]


_UNFIT = frozenset({"TypeError", "Exception", "BaseException"})
"""What catches that a call does not fit what it calls."""


@dataclass(frozen=True, slots=True)
class Passed:
    """A call in a new body: whom, as it is written, in which line of the text, what it passes, and what that takes.

    Arguments and parameters are those without a bound ``self``.
    """

    callee: str
    name: str
    """``module:qualified.name`` of the live function."""
    line: int
    positional: int
    keywords: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    places: tuple[str, ...]
    """Where the name is looked up, as ``module:name`` or ``module:Class.name``: with another object there, it is
    another call."""
    before: bool = False
    """Whether the old body makes that call as well."""
    bound: bool = False
    """Whether the call itself passes a first argument, the object or the class."""

    @property
    def shape(self) -> tuple[object, ...]:
        """Whom it calls with what."""
        return self.callee, self.positional, self.keywords


@dataclass(frozen=True, slots=True)
class _Callee:
    function: FunctionType
    places: tuple[str, ...]
    bound: bool = False
    """Whether its first parameter is given by the binding."""


def calls_of(text: str, code: CodeType, module: ModuleType, cls: type | None) -> tuple[Passed, ...]:
    """The calls of a body with that text and code.  Raises :class:`SyntaxError` if the text does not parse.

    Calls that pass ``*`` or ``**``, and those for whose failure a ``try`` is prepared, are left out.  Nothing is run.
    """
    variables = {
        name
        for each in (code, *nested_codes(code))
        for name in (*each.co_varnames, *each.co_cellvars, *each.co_freevars)
    }
    found = []
    breathe()
    tree = _parsed(text)
    breathe()
    for call in paced(_unguarded(tree)):
        if any(isinstance(each, ast.Starred) for each in call.args) or any(k.arg is None for k in call.keywords):
            continue
        called = _called(call.func, variables, module, cls, code.co_varnames[:1])
        parameters = parameters_of(called.function) if called is not None else ()
        if called is None or (called.bound and (not parameters or parameters[0].kind not in "/-")):
            continue
        found.append(
            Passed(
                ast.unparse(call.func),
                f"{called.function.__globals__.get('__name__')}:{called.function.__code__.co_qualname}",
                call.lineno,
                len(call.args),
                tuple(k.arg for k in call.keywords if k.arg is not None),
                parameters[1:] if called.bound else parameters,
                called.places,
                bound=called.bound,
            )
        )
    return tuple(found)


def _parsed(text: str) -> ast.AST:
    """The syntax of a text, which may be indented as it stands in a class."""
    if text[:1] not in (" ", "\t"):
        return syntax_of(text)
    return ast.increment_lineno(tree_of(f"if 1:\n{text}"), -1)


def _unguarded(node: ast.AST) -> Iterator[ast.Call]:
    left = [node]
    while left:
        node = left.pop()
        if isinstance(node, (ast.Name, ast.Constant, ast.With, ast.AsyncWith)):
            continue  # a with statement may suppress what fails inside
        if isinstance(node, ast.Call):
            yield node
        if isinstance(node, (ast.Try, ast.TryStar)) and node.handlers:
            handlers = [handler for handler in node.handlers if not _is_another_way(handler)]
            left += [*handlers, *node.orelse, *node.finalbody][::-1]
        else:
            left += list(ast.iter_child_nodes(node))[::-1]


def _is_another_way(handler: ast.ExceptHandler) -> bool:
    """Whether a handler runs where a call has failed that does not fit: what it calls may fit another release."""
    kinds = [handler.type] if not isinstance(handler.type, ast.Tuple) else handler.type.elts
    return any(kind is None or getattr(kind, "id", "") in _UNFIT for kind in kinds)


def _called(
    expression: ast.expr, variables: set[str], module: ModuleType, cls: type | None, first: tuple[str, ...]
) -> _Callee | None:
    """The function that is called for certain."""
    if isinstance(expression, ast.Attribute) and isinstance(expression.value, ast.Name):
        of = expression.value.id
        if cls is not None and first == (of,) and of in ("self", "cls"):
            return _method(cls, expression.attr)
    names: list[str] = []
    root: ast.expr = expression
    while isinstance(root, ast.Attribute):
        names.append(root.attr)
        root = root.value
    if not isinstance(root, ast.Name) or root.id in variables:
        return None
    try:
        value = value_of(expression, module)
        owner = value_of(expression.value, module) if isinstance(expression, ast.Attribute) else module
    except LookupError:
        return None
    if not is_function(value) or not (is_class(owner) or is_module(owner)):
        return None
    places = (_place(module, root.id), _place(owner, names[0] if names else root.id))
    return _Callee(value, tuple(dict.fromkeys(places)))


def _method(cls: type, name: str) -> _Callee | None:
    """The method that objects of a class, and of those derived from it, have under a name, if it is one."""
    classes = list(cls.__mro__)
    at = next((i for i, base in enumerate(classes) if name in namespace_of(base)), None)
    derived = with_subclasses(cls)[1:]
    if at is None or any(name in namespace_of(sub) for sub in derived):
        return None
    places = tuple(_place(each, name) for each in (*classes[: at + 1], *derived))
    held = namespace_of(classes[at])[name]
    if is_a(held, staticmethod) or is_a(held, classmethod):
        inner = held.__func__
        return _Callee(inner, places, is_a(held, classmethod)) if is_function(inner) else None
    return _Callee(held, places, bound=True) if is_function(held) else None


def _place(owner: ModuleType | type, name: str) -> str:
    return f"{owner_name(owner)}{'.' if is_class(owner) else ':'}{name}"
