"""The syntax of a patch's texts: many checks look at it, and each text is parsed once for all of them."""

from __future__ import annotations

import ast

from livepatch.contents.parsing import tree_of
from livepatch.engine.pace import breathe

__all__ = ["forget_syntax", "syntax_of"]

_MOST = 256
_trees: dict[str, ast.Module] = {}


def syntax_of(source: str) -> ast.Module:
    """The syntax of a text, for whoever only looks at it: the next one gets the same tree.

    Raises :class:`SyntaxError` or :class:`ValueError`.
    """
    tree = _trees.get(source)
    if tree is None:
        tree = tree_of(source)
        while len(_trees) >= _MOST:
            _trees.pop(next(iter(_trees)), None)
        _trees[source] = tree
    return tree


def forget_syntax(*sources: str) -> None:
    """Let go of the trees of these texts, or of all: a process runs for months between two patches.

    One after the other.  To let go of hundreds at once takes milliseconds, and so does each look of the garbage
    collector at those that are kept.
    """
    for source in sources or tuple(_trees):
        _trees.pop(source, None)
        breathe()
