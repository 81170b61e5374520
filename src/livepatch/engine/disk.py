"""What importing a module anew would give: is the code in memory that of the files?

A valid ``.pyc`` is read as a whole, which takes the interpreter well under a millisecond for a thousand lines.  Without
one the source would have to be compiled, so functions are compiled one by one, and the whole module only where that
does not prove that the code is the same.
"""

from __future__ import annotations

from importlib.abc import SourceLoader
from importlib.machinery import SourceFileLoader
from os import PathLike
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from livepatch.engine.code import nested_codes, same_code
from livepatch.engine.functions import code_of
from livepatch.engine.namespaces import namespace_of
from livepatch.engine.outline import Outline, outline_of
from livepatch.engine.pace import breathe, paced
from livepatch.engine.source import lines_of

__all__ = ["Disk", "body_of", "code_on_disk", "sources_below"]


class Disk:
    """The files of modules as they are now; each is read at most once."""

    def __init__(self) -> None:
        self._outlines: dict[str, Outline | None] = {}
        self._whole: dict[str, dict[str, list[CodeType]] | None] = {}

    def gives(self, module: ModuleType, code: CodeType) -> bool | None:
        """Whether importing the module anew would give that code; ``None`` if that cannot be told."""
        outline = self._outline(module)
        blocks = outline.blocks_of(code) if outline is not None else None
        for block in sorted(blocks or (), key=lambda block: abs(block.first - code.co_firstlineno)):
            if outline is not None and outline.gives(block, code):
                return True
        codes = self._codes(module)
        return None if codes is None else any(same_code(other, code) for other in codes.get(code.co_qualname, ()))

    def gives_several(self, module: ModuleType, code: CodeType) -> bool:
        """Whether the module defines the name of that code more than once."""
        outline = self._outline(module)
        blocks = outline.blocks_of(code) if outline is not None else None
        if blocks is not None and len(blocks) < 2:
            return False
        return len((self._codes(module) or {}).get(code.co_qualname, ())) > 1

    def _outline(self, module: ModuleType) -> Outline | None:
        """The outline of a module whose source would have to be compiled."""
        if module.__name__ not in self._outlines:
            self._outlines[module.__name__] = None
            try:
                self._whole[module.__name__] = _by_name(_load(module, _Hesitant))
            except _SourceNeededError as needed:
                self._outlines[module.__name__] = outline_of(lines_of(str(needed), {}))
        return self._outlines[module.__name__]

    def _codes(self, module: ModuleType) -> dict[str, list[CodeType]] | None:
        if module.__name__ not in self._whole:
            self._whole[module.__name__] = code_on_disk(module)
        return self._whole[module.__name__]


class _Reader(SourceFileLoader):
    """The ordinary loader, but one that never writes a ``.pyc``."""

    def set_data(self, path: str, data: object, *, _mode: int = 0o666) -> None:  # noqa: ARG002  # the loader's own
        return None


class _SourceNeededError(Exception):
    """There is no valid ``.pyc`` for the source at this path."""


class _Hesitant(_Reader):
    """Compiles nothing."""

    def source_to_code(self, data: object, path: Any, *_: object, **__: object) -> CodeType:  # type: ignore[override]  # noqa: ARG002  # the loader's own, which differs between versions
        raise _SourceNeededError(path)


def code_on_disk(module: ModuleType) -> dict[str, list[CodeType]] | None:
    """What code importing the module anew would give, by qualified name; ``None`` if that cannot be told.

    Compiles the module's source if there is no valid ``.pyc``, and other threads stand still meanwhile.
    """
    return _by_name(_load(module, _Reader))


def body_of(module: ModuleType) -> CodeType | None:
    """The code of the module's own body, if the file still gives the functions that are loaded; else ``None``.

    Compiles the module's source if there is no valid ``.pyc``, and other threads stand still meanwhile.
    """
    top = _load(module, _Reader) if type(module) is ModuleType else None  # others may load when they are asked
    if top is None:
        return None
    space = namespace_of(module)
    codes = [code for code in top.co_consts if isinstance(code, CodeType)]
    by_line: dict[int, list[CodeType]] = {}
    for code in codes:
        by_line.setdefault(code.co_firstlineno, []).append(code)
    for code in codes:
        live = space.get(code.co_qualname)
        if type(live) is FunctionType and live.__module__ == module.__name__:
            mine = code_of(live)
            there = mine in by_line.get(mine.co_firstlineno, ())  # codes of other lines are never equal
            if mine.co_qualname == code.co_qualname and mine.co_filename == code.co_filename and not there:
                return None
    return top


def sources_below(directory: str | PathLike[str]) -> dict[str, bytes]:
    """The Python files below a directory, by their paths in it; hidden folders left out.

    Raises :class:`OSError` if one cannot be read.
    """
    root = Path(directory)
    found = {}
    for path in paced(sorted(root.rglob("*.py"))):
        inside = path.relative_to(root)
        if not any(part.startswith(".") or part == "__pycache__" for part in inside.parts):
            found[inside.as_posix()] = path.read_bytes()
    return found


def _load(module: ModuleType, reader: type[_Reader]) -> CodeType | None:
    spec = module.__spec__
    loader: Any = getattr(spec, "loader", None)
    if spec is None or not hasattr(loader, "get_code"):
        return None
    if type(loader) is SourceFileLoader:
        loader = reader(loader.name, loader.path)
    elif isinstance(loader, SourceLoader):
        return None  # its own way to make code, and to store it
    breathe()
    try:
        top: CodeType | None = loader.get_code(spec.name)
    except (ImportError, OSError, SyntaxError, ValueError, EOFError):
        return None
    return top


def _by_name(top: CodeType | None) -> dict[str, list[CodeType]] | None:
    if top is None:
        return None
    codes: dict[str, list[CodeType]] = {}
    for code in paced(nested_codes(top)):
        codes.setdefault(code.co_qualname, []).append(code)
    return codes
