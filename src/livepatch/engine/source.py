"""The source of a replacement that was written in the process, and the lines that tracebacks show of it.

Source is used only if it is proved to be what the interpreter ran: it is compiled once more and must give the very
code that the replacement has.  A file edited since its import proves nothing, and neither does rewritten code.

Compiling a whole file stops every other thread meanwhile, so a definition is compiled by itself, and the whole file
only where that proves nothing.
"""

from __future__ import annotations

import ast
import linecache
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, Final

from livepatch.contents.parsing import compiled, tree_of
from livepatch.engine.code import FUTURE_FLAGS, FunctionNode, nested_codes, same_code
from livepatch.engine.outline import Outline, outline_of
from livepatch.engine.pace import breathe, paced

__all__ = [
    "PATCH_PREFIX",
    "Definition",
    "SourceFiles",
    "forget_source",
    "is_of_a_patch",
    "lines_of",
    "patch_filename",
    "show_source",
]


@dataclass(frozen=True, slots=True)
class Definition:
    """A function definition as written: its syntax, its lines, and the ``__future__`` flags of its file."""

    node: FunctionNode
    text: str
    flags: int


_Whole = tuple[list[str], dict[int, FunctionNode], dict[tuple[str, int], CodeType]]


class SourceFiles:
    """Finds the definitions of functions; reads each file once, and parses it as a whole at most once."""

    def __init__(self) -> None:
        self._outlines: dict[str, Outline | None] = {}
        self._whole: dict[str, _Whole | None] = {}

    def definition(self, function: FunctionType) -> Definition | None:
        """The proved definition of `function`, or ``None`` (a lambda, no file, or a file that has changed)."""
        code = function.__code__
        if not code.co_name.isidentifier():
            return None
        outline = self._outline(function)
        if outline is None:
            return None
        for block in outline.blocks_of(code) or ():
            if block.first == code.co_firstlineno and outline.gives(block, code):
                return Definition(*outline.parsed(block, code.co_filename), code.co_flags & FUTURE_FLAGS)
        return self._in_the_whole_file(function, outline.lines)

    def _outline(self, function: FunctionType) -> Outline | None:
        filename = function.__code__.co_filename
        if filename not in self._outlines:
            lines = lines_of(filename, function.__globals__)
            self._outlines[filename] = outline_of(lines) if lines else None
        return self._outlines[filename]

    def _in_the_whole_file(self, function: FunctionType, lines: list[str]) -> Definition | None:
        code = function.__code__
        known = self._whole.get(code.co_filename, ...)
        if known is ...:
            known = self._whole[code.co_filename] = _whole(lines, code.co_filename)
        if known is None:
            return None
        lines, nodes, codes = known
        node = nodes.get(code.co_firstlineno)
        compiled = codes.get((code.co_qualname, code.co_firstlineno))
        if node is None or compiled is None or node.name != code.co_name or not same_code(compiled, code):
            return None
        assert node.end_lineno is not None
        text = "".join(lines[node.lineno - 1 : node.end_lineno])
        return Definition(node, text if text.endswith("\n") else text + "\n", code.co_flags & FUTURE_FLAGS)


def _whole(lines: list[str], filename: str) -> _Whole | None:
    try:
        tree = tree_of("".join(lines), filename)
        breathe()
        top = compiled("".join(lines), filename)
    except (SyntaxError, ValueError):
        return None
    breathe()
    nodes = {_first_line(node): node for node in paced(_functions(tree))}
    codes = {(code.co_qualname, code.co_firstlineno): code for code in paced(nested_codes(top))}
    return lines, nodes, codes


def lines_of(filename: str, namespace: dict[str, Any]) -> list[str]:
    """The lines of a file as it is now; what is no file, such as a shell's input, as ``linecache`` knows it."""
    path = Path(filename)
    try:
        if path.is_file():
            with tokenize.open(filename) as file:
                return list(paced(file))
    except (OSError, SyntaxError, ValueError):
        return []
    return [] if path.is_absolute() and path.parent.is_dir() else linecache.getlines(filename, namespace)


def _first_line(node: FunctionNode) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _functions(tree: ast.AST) -> Iterator[FunctionNode]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


PATCH_PREFIX: Final = "<livepatch "
"""What the file names of all code begin with that patches bring; the id of the patch follows, and a blank."""


def patch_filename(patch_id: str, target: object) -> str:
    """The file name under which the new side of a target shows in tracebacks."""
    return f"{PATCH_PREFIX}{patch_id} {target}>"


def is_of_a_patch(code: CodeType) -> bool:
    """Whether a patch brought the code, so that no file of the program gives it."""
    return code.co_filename.startswith(PATCH_PREFIX)


def show_source(filename: str, text: str) -> None:
    """Let ``linecache``, and so tracebacks, debuggers and ``inspect``, know the lines of `filename`."""
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)


def forget_source(filename: str) -> None:
    """Undo :func:`show_source`; harmless if it is not known."""
    linecache.cache.pop(filename, None)
