"""From a text to its syntax and code, whatever other threads do, and whatever the process makes of warnings."""

from __future__ import annotations

import ast
import time
import warnings
from collections.abc import Callable
from types import CodeType
from typing import Any, Literal, TypeVar, overload

__all__ = ["compiled", "copy_of", "tree_of", "undisturbed", "unwarned"]

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


def unwarned(make: Callable[[], T]) -> T:
    """What `make` gives, which has the interpreter read source, also where the process makes an error of each warning.

    Such a process may have loaded the very text from a ``.pyc``, and runs it.  Raises what `make` raises.
    """
    try:
        return undisturbed(make)
    except SyntaxError:
        if not any(action == "error" for action, *_ in warnings.filters):
            raise
        with warnings.catch_warnings():  # for all threads, so not without need
            warnings.simplefilter("ignore")
            return undisturbed(make)


@overload
def tree_of(source: str | bytes, filename: str = ..., mode: Literal["exec"] = ...) -> ast.Module: ...
@overload
def tree_of(source: str | bytes, filename: str = ..., *, mode: Literal["eval"]) -> ast.Expression: ...


def tree_of(source: str | bytes, filename: str = "<unknown>", mode: Any = "exec") -> ast.AST:
    """As ``ast.parse``, whatever other threads parse meanwhile.  Raises :class:`SyntaxError` or :class:`ValueError`."""
    tree: ast.AST = unwarned(lambda: ast.parse(source, filename, mode))
    return tree


def compiled(source: str | bytes | ast.AST, filename: str, mode: str = "exec", *, flags: int = 0) -> CodeType:
    """As ``compile``, with these features and none of our own.  Raises what that raises."""
    given: Any = source
    code: CodeType = unwarned(lambda: compile(given, filename, mode, flags=flags, dont_inherit=True))
    return code


def copy_of(node: Node) -> Node:
    """Another tree of the same, in a fifth of the time of ``copy.deepcopy``: what has no fields is shared."""
    made: Node = type(node).__new__(type(node))
    for name, value in vars(node).items():
        vars(made)[name] = [_part(each) for each in value] if type(value) is list else _part(value)
    return made


def _part(value: Any) -> Any:
    return copy_of(value) if isinstance(value, ast.AST) and value._fields else value
