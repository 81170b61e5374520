"""What a call gives, as far as its text tells: by position, by keyword, and out of literals that it unpacks."""

from __future__ import annotations

import ast
from collections.abc import Iterator

__all__ = ["FACTORIES", "by_keyword", "factories_in", "in_order"]

FACTORIES = frozenset({"default_factory", "factory"})
"""The keywords under which `dataclasses`, `attrs` and their like take what makes the value of each object."""


def in_order(node: ast.Call) -> Iterator[ast.expr]:
    """The arguments by position, up to the first of which the text does not tell how many they are."""
    for argument in node.args:
        if not isinstance(argument, ast.Starred):
            yield argument
            continue
        inner = argument.value
        if not isinstance(inner, (ast.List, ast.Tuple)) or any(isinstance(e, ast.Starred) for e in inner.elts):
            return
        yield from inner.elts


def by_keyword(node: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    """The arguments by keyword, those of a literal dictionary behind ``**`` too."""
    for keyword in node.keywords:
        if keyword.arg:
            yield keyword.arg, keyword.value
        elif isinstance(keyword.value, ast.Dict):
            for key, value in zip(keyword.value.keys, keyword.value.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield key.value, value


def factories_in(node: ast.AST | None) -> list[ast.expr]:
    """What a call is given to make the value of a field for each object anew."""
    return [k.value for k in node.keywords if k.arg in FACTORIES] if isinstance(node, ast.Call) else []
