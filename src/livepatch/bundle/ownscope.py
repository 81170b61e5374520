"""What a function's own scope holds: the names that it binds, and what some of them stand for."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field

from livepatch.bundle.nodes import children

__all__ = ["Own", "own_of"]

_NAMELESS = frozenset({ast.Lambda, ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp})
_SCOPES = frozenset({ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, *_NAMELESS})
_NAMING = frozenset({ast.Import, ast.ImportFrom, ast.ExceptHandler, ast.MatchAs, ast.MatchStar, ast.MatchMapping})
_KEEPING = frozenset({ast.Assign, ast.withitem})


@dataclass(slots=True)
class Own:
    """What a function's own scope holds: those of nested functions, classes and comprehensions not included."""

    outer: set[str] = field(default_factory=set)
    bound: set[str] = field(default_factory=set)
    imports: list[ast.Import | ast.ImportFrom] = field(default_factory=list)
    nested: bool = False
    made: dict[str, ast.Call] = field(default_factory=dict)
    """The names that are bound once, to what a call gives."""


def own_of(body: Iterable[ast.AST]) -> Own:  # noqa: C901  # one branch for each kind of syntax
    """Read the own scope of a function with that body."""
    own = Own()
    pending = list(body)
    bound = own.bound
    again: set[str] = set()
    while pending:
        node = pending.pop()
        kind = type(node)
        if kind is ast.Name:
            if type(node.ctx) is not ast.Load:  # type: ignore[attr-defined]
                (again if node.id in bound else bound).add(node.id)  # type: ignore[attr-defined]
            continue
        if kind in _SCOPES:
            own.nested = own.nested or kind in (ast.FunctionDef, ast.AsyncFunctionDef)
            if kind not in _NAMELESS:
                bound.add(node.name)  # type: ignore[attr-defined]
            continue
        if kind is ast.Global:
            own.outer.update(node.names)  # type: ignore[attr-defined]
        elif kind in _NAMING:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                own.imports.append(node)
                bound.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.MatchMapping):
                bound.update([node.rest] if node.rest else [])
            elif node.name:  # type: ignore[attr-defined]
                bound.add(node.name)  # type: ignore[attr-defined]
        elif kind in _KEEPING:
            _made_by_call(node, own.made)
        if kind is not ast.Constant:
            pending += children(node)
    own.made = {name: call for name, call in own.made.items() if name not in again}
    return own


def _made_by_call(node: ast.AST, made: dict[str, ast.Call]) -> None:
    """Note the name that a statement binds to what a call gives."""
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call):
            made[name] = call
        case ast.withitem(optional_vars=ast.Name(id=name), context_expr=ast.Call() as call):
            made[name] = call
