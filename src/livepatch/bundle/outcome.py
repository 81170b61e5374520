"""What a function leaves behind for others to call: what it returns, and what it stores outside of itself."""

from __future__ import annotations

import ast

from livepatch.bundle.items import MUTATORS
from livepatch.bundle.nodes import of_kinds, walk

__all__ = ["left_behind"]

_LEAVING = frozenset({ast.Return, ast.Yield, ast.YieldFrom, ast.Lambda, ast.Call, ast.Assign, ast.AnnAssign})
_LEAVING |= {ast.AugAssign, ast.NamedExpr, ast.For, ast.AsyncFor, ast.withitem}


def left_behind(node: ast.stmt) -> frozenset[str]:
    """The identifiers of what a function, or one inside it, gives back, or stores where others may find it.

    A variable stands for all that is assigned to it.  Rather one too many: the order of the statements does not count.
    """
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return frozenset()
    nodes = walk(node)
    outer = {name for one in nodes if isinstance(one, (ast.Global, ast.Nonlocal)) for name in one.names}
    left: list[ast.AST] = []
    local: dict[str, list[ast.AST]] = {}
    for one in of_kinds(nodes, _LEAVING):
        match one:
            case ast.Return(value=ast.expr() as value) | ast.Yield(value=ast.expr() as value):
                left.append(value)
            case ast.YieldFrom(value=value) | ast.Lambda(body=value):
                left.append(value)
            case ast.Call(func=ast.Attribute(attr=attr)) if attr in MUTATORS:
                left += [*one.args, *(keyword.value for keyword in one.keywords)]
            case ast.Call(func=ast.Name(id="setattr")):
                left += one.args
            case ast.Assign(targets=targets, value=value):
                _assigned(targets, value, outer, left, local)
            case ast.AnnAssign(target=target, value=ast.expr() as value) | ast.AugAssign(target=target, value=value):
                _assigned([target], value, outer, left, local)
            case (
                ast.NamedExpr(target=target, value=value)
                | ast.For(target=target, iter=value)
                | ast.AsyncFor(target=target, iter=value)
            ):
                _assigned([target], value, outer, left, local)
            case ast.withitem(context_expr=value, optional_vars=ast.expr() as target):
                _assigned([target], value, outer, left, local)
    found: set[str] = set()
    while left:
        new = _identifiers(left.pop()) - found
        found |= new
        left += [value for name in new for value in local.pop(name, ())]
    return frozenset(found)


def _assigned(
    targets: list[ast.expr], value: ast.AST, outer: set[str], left: list[ast.AST], local: dict[str, list[ast.AST]]
) -> None:
    for one in (each for target in targets for each in walk(target)):
        if isinstance(one, ast.Name) and one.id not in outer:
            local.setdefault(one.id, []).append(value)
        elif isinstance(one, (ast.Name, ast.Attribute, ast.Subscript)):
            left.append(value)


def _identifiers(node: ast.AST) -> set[str]:
    found = set()
    for one in walk(node):
        if isinstance(one, ast.Name):
            found.add(one.id)
        elif isinstance(one, ast.Attribute):
            found.add(one.attr)
    return found
