"""Syntax trees walked fast: only where something that counts can be, and without a generator for each node."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterable
from typing import Any

__all__ = ["children", "of_kinds", "walk", "walk_all"]

# Texts, numbers, contexts and operators: no statement or expression is below them.
_BARE = frozenset({"arg", "asname", "attr", "conversion", "ctx", "id", "is_async", "kind", "level", "module"})
_BARE |= frozenset({"op", "ops", "rest", "simple", "tag", "type_comment", "type_ignores"})
_LEAVES = frozenset({ast.Constant, ast.Name, ast.alias, ast.Global, ast.Nonlocal, ast.Pass, ast.Break, ast.Continue})
_Below = Callable[[Any], list[ast.AST]]


def _generic(kind: type[ast.AST]) -> _Below:
    """What gives the nodes right below one of a kind, field by field."""
    fields = () if kind in _LEAVES else tuple(name for name in kind._fields if name not in _BARE)

    def below(node: ast.AST) -> list[ast.AST]:
        found: list[ast.AST] = []
        for name in fields:
            value = getattr(node, name, None)
            if type(value) is list:
                found += [one for one in value if isinstance(one, ast.AST)]
            elif isinstance(value, ast.AST):
                found.append(value)
        return found

    return below if fields else lambda _: []


class _Kinds(dict[type[ast.AST], _Below]):
    """What gives the nodes below, by kind."""

    def __missing__(self, kind: type[ast.AST]) -> _Below:
        found = self[kind] = _generic(kind)
        return found


# Most nodes are of these kinds: their fields are read without looking for them.
_BELOW = _Kinds(
    {
        ast.Attribute: lambda node: [node.value],
        ast.Call: lambda node: [node.func, *node.args, *node.keywords],
        ast.keyword: lambda node: [node.value],
        ast.Expr: lambda node: [node.value],
        ast.Assign: lambda node: [*node.targets, node.value],
        ast.Subscript: lambda node: [node.value, node.slice],
        ast.Tuple: lambda node: [*node.elts],
        ast.List: lambda node: [*node.elts],
        ast.If: lambda node: [node.test, *node.body, *node.orelse],
        ast.Compare: lambda node: [node.left, *node.comparators],
        ast.BinOp: lambda node: [node.left, node.right],
        ast.BoolOp: lambda node: [*node.values],
        ast.UnaryOp: lambda node: [node.operand],
        ast.Return: lambda node: [] if node.value is None else [node.value],
        ast.JoinedStr: lambda node: [*node.values],
        ast.For: lambda node: [node.target, node.iter, *node.body, *node.orelse],
        ast.Raise: lambda node: [one for one in (node.exc, node.cause) if one is not None],
        ast.arg: lambda node: [] if node.annotation is None else [node.annotation],
    }
)


def children(node: ast.AST) -> list[ast.AST]:
    """The nodes right below, in the order of the source, but for contexts and operators."""
    return _BELOW[type(node)](node)


def walk(node: ast.AST) -> list[ast.AST]:
    """A node and all below it, level by level, but for contexts and operators."""
    return walk_all([node])


def walk_all(nodes: Iterable[ast.AST]) -> list[ast.AST]:
    """Nodes and all below them, level by level, but for contexts and operators."""
    found = list(nodes)
    below = _BELOW
    for node in found:  # it grows
        kind = type(node)
        if kind not in _LEAVES:
            found += below[kind](node)
    return found


def of_kinds(nodes: Iterable[ast.AST], kinds: Collection[type[ast.AST]]) -> list[ast.AST]:
    """The nodes that are of some kinds: to match each with several patterns takes many times as long."""
    return [node for node in nodes if type(node) in kinds]
