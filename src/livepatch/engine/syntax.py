"""The syntax of a patch's texts: many checks look at it, and each text is parsed once for all of them."""

from __future__ import annotations

import ast
import functools

__all__ = ["forget_syntax", "syntax_of"]


@functools.lru_cache(maxsize=256)
def syntax_of(source: str) -> ast.Module:
    """The syntax of a text, for whoever only looks at it: the next one gets the same tree.

    Raises :class:`SyntaxError` or :class:`ValueError`.
    """
    return ast.parse(source)


def forget_syntax() -> None:
    """Let go of all trees: a process runs for months between two patches."""
    syntax_of.cache_clear()
