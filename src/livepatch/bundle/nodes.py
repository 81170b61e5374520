"""Syntax trees walked fast: only where something that counts can be, and without a generator for each node."""

from __future__ import annotations

import ast
from collections.abc import Iterable

__all__ = ["children", "walk", "walk_all"]

# Texts, numbers, contexts and operators: no statement or expression is below them.
_BARE = frozenset({"arg", "asname", "attr", "conversion", "ctx", "id", "is_async", "kind", "level", "module"})
_BARE |= frozenset({"op", "ops", "rest", "simple", "tag", "type_comment", "type_ignores"})
_LEAVES = frozenset({ast.Constant, ast.Name, ast.alias, ast.Global, ast.Nonlocal})
_fields: dict[type[ast.AST], tuple[str, ...]] = {}


def _fields_of(kind: type[ast.AST]) -> tuple[str, ...]:
    """The fields of a kind of node below which others may be."""
    known = () if kind in _LEAVES else tuple(name for name in kind._fields if name not in _BARE)
    _fields[kind] = known
    return known


def children(node: ast.AST) -> list[ast.AST]:
    """The nodes right below, in the order of the source, but for contexts and operators."""
    kind = type(node)
    fields = _fields.get(kind)
    if fields is None:
        fields = _fields_of(kind)
    found: list[ast.AST] = []
    for name in fields:
        value = getattr(node, name, None)
        if type(value) is list:
            found += [one for one in value if isinstance(one, ast.AST)]
        elif isinstance(value, ast.AST):
            found.append(value)
    return found


def walk(node: ast.AST) -> list[ast.AST]:
    """A node and all below it, level by level, but for contexts and operators."""
    return walk_all([node])


def walk_all(nodes: Iterable[ast.AST]) -> list[ast.AST]:
    """Nodes and all below them, level by level, but for contexts and operators."""
    found = list(nodes)
    known = _fields
    for node in found:  # it grows
        kind = type(node)
        fields = known.get(kind)
        for name in _fields_of(kind) if fields is None else fields:
            value = getattr(node, name, None)
            if type(value) is list:
                found += [one for one in value if isinstance(one, ast.AST)]
            elif isinstance(value, ast.AST):
                found.append(value)
    return found
