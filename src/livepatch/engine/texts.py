"""A definition or statement cut out of its file so that it parses by itself and still means what it means there.

Only indentation is taken away.  Whatever stands inside a string literal is kept to the byte: the lines of a docstring,
of an f-string (whose ``{x = }`` shows its own blanks) or of a string with a backslash at the end of its line.  Plain
``textwrap.dedent`` would shift them, or, where they reach the margin, leave the definition indented.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from livepatch.contents.edits import Text
from livepatch.contents.parsing import tree_of

__all__ = ["dedented", "first_line", "source_lines", "text_of"]


def source_lines(source: str) -> list[str]:
    r"""The lines of a file as the compiler counts them, each with its ``\n``; ``splitlines`` cuts at form feeds."""
    return io.StringIO(source, newline=None).readlines()


def text_of(lines: Sequence[str], node: ast.stmt) -> Text:
    """The text of a statement or definition of the file with those lines (see :func:`dedented`)."""
    return Text(source=dedented(lines, node), line=first_line(lines, node))


def first_line(lines: Sequence[str], node: ast.stmt) -> int:
    """The number, from 1, of the line at which a statement starts, or the ``@`` of its first decorator."""
    decorators = getattr(node, "decorator_list", ())
    line: int = decorators[0].lineno if decorators else node.lineno
    while decorators and line > 1 and not lines[line - 1].lstrip().startswith("@"):
        line -= 1  # the expression may begin below its `@`, in parentheses
    return line


def dedented(lines: Sequence[str], node: ast.stmt) -> str:
    r"""The source of a statement or definition, moved to the left margin; it parses by itself, to the same syntax.

    `lines` are those of the whole file (see :func:`source_lines`), `node` the syntax of one statement in it.  The text
    holds its decorators and comments and ends in ``\n``; what else stands on its first and last line is cut away.  No
    line is added or taken out, so that line numbers inside count on from its first.  Raises :class:`ValueError` if
    `node` is not of these lines.
    """
    first, last = first_line(lines, node), node.end_lineno or node.lineno
    try:
        text = _moved(*_cut(lines, node, first, last))
        alone = tree_of(text).body
    except (SyntaxError, IndexError, UnicodeDecodeError, tokenize.TokenError) as error:
        raise ValueError(f"line {first} does not give a text that parses by itself: {error}") from error
    if len(alone) != 1 or not _same_syntax(alone[0], node):
        raise ValueError(f"line {first} by itself does not give the statement that the file gives")
    return text


def _cut(lines: Sequence[str], node: ast.stmt, first: int, last: int) -> tuple[str, list[str]]:
    """What indents the statement, and its lines without what else stands on the first and the last of them."""
    own = list(lines[first - 1 : last])
    end = own[-1].encode("utf-8", "surrogatepass")
    tail = end[node.end_col_offset :].decode("utf-8", "surrogatepass").strip()
    if tail and not tail.startswith("#"):
        own[-1] = end[: node.end_col_offset].decode("utf-8", "surrogatepass")
    if not own[-1].endswith("\n"):
        own[-1] += "\n"
    blanks = len(own[0]) - len(own[0].lstrip(" \t\f"))
    indent = own[0][:blanks]
    if first == node.lineno:  # else it begins with a decorator, which has a line to itself
        start = own[0].encode("utf-8", "surrogatepass")
        before = start[: node.col_offset].decode("utf-8", "surrogatepass")
        if len(before) > blanks:
            own[0] = indent + own[0][len(before) :]
    return indent, own


def _moved(indent: str, own: list[str]) -> str:
    if not indent:
        return "".join(own)
    kept, depths = _layout(own)
    if all(own[line].startswith(indent) for line in depths):
        moved = [line if i in kept else _without(line, indent) for i, line in enumerate(own)]
    else:  # tabs below blanks or the reverse, equal in width and not in letters: indent every block anew
        outer = min(depths.values())
        moved = [
            "    " * (depths[i] - outer) + line.lstrip(" \t\f") if i in depths else line for i, line in enumerate(own)
        ]
    return "".join(moved)


def _without(line: str, indent: str) -> str:
    """The line without as much of the indentation as it has."""
    shared = 0
    for mine, theirs in zip(line, indent, strict=False):
        if mine != theirs:
            break
        shared += 1
    return line[shared:]


# The literals that give several tokens, on the versions where they do.
_OPENING = {getattr(tokenize, name) for name in ("FSTRING_START", "TSTRING_START") if hasattr(tokenize, name)}
_CLOSING = {getattr(tokenize, name) for name in ("FSTRING_END", "TSTRING_END") if hasattr(tokenize, name)}
_UNSEEN = {tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.NEWLINE, tokenize.ENDMARKER}


def _layout(own: list[str]) -> tuple[set[int], dict[int, int]]:
    """By index: the lines that begin inside a string literal; those that begin a logical line, and how deep."""
    kept: set[int] = set()
    depths: dict[int, int] = {}
    opened: list[int] = []
    depth, fresh = 0, True
    for kind, _, start, end, _ in tokenize.generate_tokens(iter([*own, ""]).__next__):
        if kind in _OPENING:
            opened.append(start[0])
        elif kind in _CLOSING:
            kept.update(range(opened.pop(), end[0]))
        elif kind == tokenize.STRING:
            kept.update(range(start[0], end[0]))
        elif kind == tokenize.INDENT:
            depth += 1
        elif kind == tokenize.DEDENT:
            depth -= 1
        elif kind == tokenize.NEWLINE:
            fresh = True
        if fresh and kind not in _UNSEEN:
            depths[start[0] - 1] = depth
            fresh = False
    return kept, depths


def _same_syntax(one: ast.AST, other: ast.AST) -> bool:
    """Whether two trees are equal but for positions."""
    pairs: list[tuple[Any, Any]] = [(one, other)]
    while pairs:
        a, b = pairs.pop()
        if type(a) is not type(b):
            return False
        if isinstance(a, ast.AST):
            pairs += zip(_children(a), _children(b), strict=True)
        elif isinstance(a, list) and isinstance(b, list):
            pairs += zip_longest(a, b)
        elif repr(a) != repr(b) if isinstance(a, (float, complex)) else a != b:
            return False
    return True


def _children(node: ast.AST) -> Iterator[object]:
    return (getattr(node, name, None) for name in node._fields)
