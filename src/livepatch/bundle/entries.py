"""Containers of functions: which statements and functions call what a container holds."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from livepatch.bundle.drawing import items_got
from livepatch.bundle.items import chain_of
from livepatch.bundle.nodes import children, walk

__all__ = ["entries_called"]

Chain = tuple[str, ...]
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_LATER = frozenset({*_FUNCTIONS, ast.Lambda})
"""What runs when somebody calls it."""


def entries_called(node: ast.stmt) -> Iterator[Chain]:
    """The names of containers of which a statement, or a call of a function, calls what they hold.

    ``TABLE["a"]()``, ``TABLE.get("a")()``, ``for each in TABLE: each()`` and ``[each() for each in TABLE.values()]``.
    """
    run = list(_run(node))
    drawn: dict[str, list[Chain]] = {}
    """What the variables of loops are drawn from."""
    for one in run:
        if isinstance(one, (ast.For, ast.AsyncFor, ast.comprehension)):
            sources = [chain for each in walk(one.iter) if (chain := _container(each))]
            for target in walk(one.target):
                if isinstance(target, ast.Name):
                    drawn.setdefault(target.id, []).extend(sources)
    for one in run:
        if isinstance(one, ast.Call):
            if isinstance(one.func, ast.Name):
                yield from drawn.get(one.func.id, ())
            elif isinstance(one.func, (ast.Subscript, ast.Call)):
                yield from _roots(one.func, drawn)


def _roots(node: ast.expr, drawn: dict[str, list[Chain]]) -> Iterator[Chain]:
    """What an entry is taken from, entry of entry."""
    while isinstance(node, (ast.Subscript, ast.Call)):
        inner = node.value if isinstance(node, ast.Subscript) else node.func
        got = items_got(node)
        chain = _container(inner if got is None else got)
        if chain:
            yield chain
            yield from drawn.get(chain[0], ())
            return
        node = inner.value if isinstance(inner, ast.Attribute) else inner


def _container(node: ast.AST) -> Chain:
    """The names of a container, without a method that gives what it holds."""
    chain = chain_of(node)
    return chain[:-1] if len(chain) > 1 and chain[-1] in ("get", "pop", "items", "values", "copy") else chain


def _run(node: ast.stmt) -> Iterator[ast.AST]:
    left: list[ast.AST] = list(node.body) if isinstance(node, _FUNCTIONS) else [node]
    while left:
        one = left.pop()
        if type(one) not in _LATER:
            yield one
            left += children(one)
