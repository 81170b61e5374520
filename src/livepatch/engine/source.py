"""The source of a replacement that was written in the process, and the lines that tracebacks show of it.

Source is used only if it is proved to be what the interpreter ran: the file is compiled once more and must give the
very code that the replacement has.  A file edited since its import proves nothing, and neither does rewritten code.
"""

from __future__ import annotations

import ast
import linecache
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.abc import SourceLoader
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from livepatch.engine.code import FUTURE_FLAGS, FunctionNode, nested_codes, same_code

__all__ = ["Definition", "SourceFiles", "code_on_disk", "forget_source", "patch_filename", "show_source"]


@dataclass(frozen=True, slots=True)
class Definition:
    """A function definition as written: its syntax, its lines, and the ``__future__`` flags of its file."""

    node: FunctionNode
    text: str
    flags: int


class SourceFiles:
    """Finds the definitions of functions; reads, parses and compiles each file once."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[list[str], dict[int, FunctionNode], dict[tuple[str, int], CodeType]] | None] = {}

    def definition(self, function: FunctionType) -> Definition | None:
        """The proved definition of `function`, or ``None`` (a lambda, no file, or a file that has changed)."""
        code = function.__code__
        known = self._files.get(code.co_filename, ...)
        if known is ...:
            known = self._files[code.co_filename] = self._read(function)
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

    @staticmethod
    def _read(
        function: FunctionType,
    ) -> tuple[list[str], dict[int, FunctionNode], dict[tuple[str, int], CodeType]] | None:
        filename = function.__code__.co_filename
        lines = _lines_of(filename, function.__globals__)
        if not lines:
            return None
        try:
            tree = ast.parse("".join(lines), filename)
            top = compile("".join(lines), filename, "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            return None
        nodes = {_first_line(node): node for node in _functions(tree)}
        codes = {(code.co_qualname, code.co_firstlineno): code for code in nested_codes(top)}
        return lines, nodes, codes


def _lines_of(filename: str, namespace: dict[str, Any]) -> list[str]:
    """The lines of a file as it is now; what is no file, such as a shell's input, as ``linecache`` knows it."""
    path = Path(filename)
    try:
        if path.is_file():
            with tokenize.open(filename) as file:
                return file.readlines()
    except (OSError, SyntaxError, ValueError):
        return []
    return [] if path.is_absolute() and path.parent.is_dir() else linecache.getlines(filename, namespace)


def _functions(tree: ast.AST) -> Iterator[FunctionNode]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def _first_line(node: FunctionNode) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


class _Reader(SourceFileLoader):
    """The ordinary loader, but one that never writes a ``.pyc``."""

    def set_data(self, path: str, data: object, *, _mode: int = 0o666) -> None:  # noqa: ARG002  # the loader's own
        return None


def code_on_disk(module: ModuleType) -> dict[str, list[CodeType]] | None:
    """What code importing the module anew would give, by qualified name; ``None`` if that cannot be told."""
    spec = module.__spec__
    loader: Any = getattr(spec, "loader", None)
    if spec is None or not hasattr(loader, "get_code"):
        return None
    if type(loader) is SourceFileLoader:
        loader = _Reader(loader.name, loader.path)
    elif isinstance(loader, SourceLoader):
        return None  # its own way to make code, and to store it
    try:
        top = loader.get_code(spec.name)
    except (ImportError, OSError, SyntaxError, ValueError, EOFError):
        return None
    if top is None:
        return None
    codes: dict[str, list[CodeType]] = {}
    for code in nested_codes(top):
        codes.setdefault(code.co_qualname, []).append(code)
    return codes


def patch_filename(patch_id: str, target: object) -> str:
    """The file name under which the new side of a target shows in tracebacks."""
    return f"<livepatch {patch_id} {target}>"


def show_source(filename: str, text: str) -> None:
    """Let ``linecache``, and so tracebacks, debuggers and ``inspect``, know the lines of `filename`."""
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)


def forget_source(filename: str) -> None:
    """Undo :func:`show_source`; harmless if it is not known."""
    linecache.cache.pop(filename, None)
