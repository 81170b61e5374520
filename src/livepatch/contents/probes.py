"""What shows that a hole is there, or is not: a regression probe, which a patch carries as source text."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path

from livepatch.contents.files import read_at_most
from livepatch.contents.identity import check_name
from livepatch.contents.parsing import tree_of
from livepatch.errors import PatchError, spelled

__all__ = ["ENTRY", "MOST", "Probe", "check_probe_source", "probe_of"]

ENTRY = "vulnerable"
"""The function that a probe's source defines: it takes nothing, and says by True or False whether the hole is open."""
MOST = 100
"""Probes of one patch."""
LARGEST = 64 << 10
"""Bytes of the source of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A regression probe: source text that tries the hole.

    `source` is a module of its own, with its own imports.  It defines ``vulnerable()``, which takes nothing and gives
    ``True`` if the hole is open and ``False`` if it is closed; anything else, and whatever it raises, shows nothing.
    `safe` declares that it may run in a process that is in use: it changes nothing and takes no time to speak of.  The
    source is under embargo, see :class:`livepatch.Embargo`; the `name` is not, so that it should tell nothing.
    """

    name: str
    source: str = field(repr=False)
    safe: bool = False


def probe_of(name: object, source: object, safe: object) -> Probe:
    """A probe, if it is one; of a path the text of the file, read now.

    Raises :class:`PatchError` or :class:`TypeError`, which quote nothing of the source.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {spelled(name)}")
    if not isinstance(safe, bool):
        raise TypeError(f"safe must be True or False, not {spelled(safe)}")
    check_name("name", name)
    if isinstance(source, Path):
        source = _read(source)
    if not isinstance(source, str):
        raise TypeError(f"source must be a str or a pathlib.Path, not of type {type(source).__qualname__}")
    text = source.replace("\r\n", "\n")
    check_probe_source(name, text)
    return Probe(name=name, source=text, safe=safe)


def _read(path: Path) -> str:
    try:
        data = read_at_most(path, LARGEST)
        if data is None:
            raise ValueError("no regular file")
        return data.decode()
    except (OSError, ValueError) as error:
        wrong = "text that is not UTF-8" if isinstance(error, UnicodeError) else error
        raise PatchError(
            "a probe cannot be read",
            found=f"{spelled(str(path))}: {getattr(error, 'strerror', None) or wrong}",
            expected="a file of Python source",
            action="correct the path",
        ) from error


def check_probe_source(name: str, source: str) -> None:
    """Raise :class:`PatchError` unless it is source that defines ``vulnerable()``.  It is parsed, and not run."""
    found = ""
    if len(source.encode("utf-8", "surrogatepass")) > LARGEST:
        found = f"more than {LARGEST} bytes"
    elif "\0" in source or "\r" in source or _has_surrogates(source):
        found = "a NUL, a bare carriage return or half of a character"
    else:
        try:
            tree = tree_of(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            # Neither the message nor the cause: both quote the source.
            found = f"{type(error).__name__} in line {getattr(error, 'lineno', None) or '?'}"
        else:
            found = _lacking(tree)
    if found:
        raise PatchError(
            f"probe {name} is no probe",
            found=found,
            expected=f"Python source that defines {ENTRY}(), a plain function without parameters",
            action="say by True or False whether the hole is open",
        ) from None


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _lacking(tree: ast.Module) -> str:
    defined = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    function = next((node for node in reversed(defined) if node.name == ENTRY), None)
    if function is None:
        return f"no function {ENTRY} at the top"
    if isinstance(function, ast.AsyncFunctionDef):
        return "a coroutine function: there may be no event loop to run it"
    given = function.args
    needed = len(given.posonlyargs) + len(given.args) - len(given.defaults)
    needed += sum(default is None for default in given.kw_defaults)
    return f"{needed} parameters that have to be given" if needed else ""
