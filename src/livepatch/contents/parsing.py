"""From a text to its syntax, also while other threads of the program do the same."""

from __future__ import annotations

import ast
import time
from collections.abc import Callable
from typing import Any, Literal, TypeVar, overload

__all__ = ["copy_of", "tree_of", "undisturbed"]

T = TypeVar("T")
Node = TypeVar("Node", bound=ast.AST)

_TRIES = 50
_NAP = 0.0005  # seconds, more with each try


def undisturbed(make: Callable[[], T]) -> T:
    """What `make` gives, which has the interpreter make a syntax tree.

    CPython before 3.11.8 and 3.12.2 counts the depth of a tree in one place for all threads, and raises
    :class:`SystemError` where another thread has begun and ended a tree of its own meanwhile (gh-106905).  Nothing is
    wrong with the text then, so it is tried again.  Raises what `make` raises.
    """
    for tried in range(_TRIES):
        try:
            return make()
        except SystemError:
            time.sleep(_NAP * tried)
    return make()


@overload
def tree_of(source: str | bytes, filename: str = ..., mode: Literal["exec"] = ...) -> ast.Module: ...
@overload
def tree_of(source: str | bytes, filename: str = ..., *, mode: Literal["eval"]) -> ast.Expression: ...


def tree_of(source: str | bytes, filename: str = "<unknown>", mode: Any = "exec") -> ast.AST:
    """As ``ast.parse``, whatever other threads parse meanwhile.  Raises :class:`SyntaxError` or :class:`ValueError`."""
    tree: ast.AST = undisturbed(lambda: ast.parse(source, filename, mode))
    return tree


def copy_of(node: Node) -> Node:
    """Another tree of the same, in a fifth of the time of ``copy.deepcopy``: what has no fields is shared."""
    made: Node = type(node).__new__(type(node))
    for name, value in vars(node).items():
        vars(made)[name] = [_part(each) for each in value] if type(value) is list else _part(value)
    return made


def _part(value: Any) -> Any:
    return copy_of(value) if isinstance(value, ast.AST) and value._fields else value
