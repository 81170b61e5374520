"""What the file on disk says of a live function that is not what a patch was made for.

Three causes look the same in memory: the installed package is another than the patch was built from; the package was
upgraded on disk and the process still runs the old one; something changed the function in the running process.  What to
do about it differs, and the file tells them apart.
"""

from __future__ import annotations
import __future__

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Literal

from livepatch.edits import Text
from livepatch.engine.code import nested_codes
from livepatch.engine.compiling import Context, compile_function
from livepatch.engine.differing import Mismatch, same_shape
from livepatch.engine.outline import Outline, outline_of
from livepatch.engine.pace import breathe, paced
from livepatch.engine.refusal import Refusal
from livepatch.engine.source import lines_of
from livepatch.texts import dedented

__all__ = ["DiskSays", "disk_says"]

Cause = Literal["upgraded-on-disk", "modified", "changed-in-memory", "no-source"]

_imported_at = time.time()


@dataclass(frozen=True, slots=True)
class DiskSays:
    """Why the process runs other code than the patch was made for, and the refusal that says so."""

    cause: Cause
    refusal: Refusal


def disk_says(
    module_file: str | None,
    qualname: str,
    text: Text,
    live: CodeType,
    *,
    mismatch: Mismatch | None = None,
    began: float | None = None,
) -> DiskSays:
    """Tell by the module's file why `live` is not the code of `text`, the before side of a patch.

    ``modified``: the file gives the live code, so another release is installed, or a changed one.
    ``upgraded-on-disk``: the file gives other code, and was changed after the process `began` (seconds since the epoch;
    by default when the process started).  ``changed-in-memory``: the file gives other code and is no younger than the
    process, or the live code is from elsewhere.  ``no-source``: there is no such file, or it is no Python.
    `mismatch` is quoted in the refusal.
    """
    outline = outline_of(lines_of(module_file, {})) if module_file and Path(module_file).is_file() else None
    quoted = f": {mismatch.what}" if mismatch else ""
    if outline is None or module_file is None:
        return _says(
            "no-source",
            f"{qualname} in memory is not the code that the patch was made for{quoted}",
            "build the patch from the release that this process runs; there is no source file here to compare with",
        )
    given = _given(outline, qualname, live, module_file)
    if any(same_shape(live, code) for code in given):
        return _says(
            "modified",
            f"{qualname} is installed with other code than the patch was made for ({module_file}){quoted}",
            "build the patch from the files that are installed here, or install the release that it was built from "
            "and restart the process",
        )
    before = _compiled(_context(outline, module_file), qualname, text, live)
    original = before is not None and any(same_shape(before, code) for code in given)
    if _from_elsewhere(live, module_file) or _changed_at(module_file) <= (_process_began() if began is None else began):
        found = f"{qualname} was changed in this process: {module_file} does not give the code that it runs"
        if _from_elsewhere(live, module_file):
            found += f", which is from {live.co_filename}"
        return _says(
            "changed-in-memory",
            f"{found}{quoted}",
            "take out what changes functions while the process runs (a monkey patch, an instrumenting tool, another "
            "patcher), or restart without it; then apply the patch",
        )
    holds = "what the patch was made for" if original else "neither that nor what the patch was made for"
    then = "restart the process, then apply the patch" if original else "restart the process, then build the patch anew"
    return _says(
        "upgraded-on-disk",
        f"{module_file} was changed after this process started: the process runs the {qualname} from before, the file "
        f"holds {holds}{quoted}",
        then,
    )


def _says(cause: Cause, found: str, action: str) -> DiskSays:
    code = "before-differs" if cause in ("modified", "no-source") else cause
    return DiskSays(cause, Refusal(code, found, "the code that the patch was made for", action))


def _given(outline: Outline, qualname: str, live: CodeType, filename: str) -> list[CodeType]:
    """The code that the file gives for a name; where no single definition says, by compiling it as a whole."""
    context = _context(outline, filename)
    found = []
    for block in paced(outline.blocks.get(qualname, [])):
        try:
            node, _ = outline.parsed(block, filename)
            text = Text(source=dedented(outline.lines[block.heading - 1 : block.last], node), line=block.heading)
        except (SyntaxError, ValueError):
            continue
        code = _compiled(context, qualname, text, live)
        found += [code] if code is not None else []
    if not found and not outline.renamed.isdisjoint(qualname.split(".")):
        try:
            whole = compile("".join(outline.lines), filename, "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            return []
        breathe(now=True)
        found = [code for code in nested_codes(whole) if code.co_qualname == qualname]
    return found


def _compiled(context: Context, qualname: str, text: Text, like: CodeType) -> CodeType | None:
    try:
        return compile_function(context, qualname, text, like=like)
    except SyntaxError:
        return None


_FUTURES = re.compile(r"^from[ \t]+__future__[ \t]+import\b([^()#;\n]*|[ \t]*\([^()]*\))", re.MULTILINE)


def _context(outline: Outline, filename: str) -> Context:
    listed = " ".join(_FUTURES.findall("".join(outline.lines)))
    futures = tuple(name for name in __future__.all_feature_names if re.search(rf"\b{name}\b", listed))
    imports = (f"import {', '.join(sorted(outline.imports))}",) if outline.imports else ()
    return Context(futures, imports, filename)


def _from_elsewhere(live: CodeType, module_file: str) -> bool:
    """Whether code was made from another file than the module's."""
    name = live.co_filename
    return not name.startswith("<frozen ") and Path(name).name != Path(module_file).name


def _changed_at(filename: str) -> float:
    """When the file was last put there or changed: installers may set the time of its contents, but not this one."""
    try:
        status = Path(filename).stat()
    except OSError:
        return 0.0
    return max(status.st_mtime, status.st_ctime)


def _process_began() -> float:
    """When this process started; where the system does not tell, when this file was imported."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        booted = re.search(r"^btime (\d+)$", Path("/proc/stat").read_text(), re.MULTILINE)
        return int(booted[1]) + ticks / os.sysconf("SC_CLK_TCK") if booted else _imported_at
    except (OSError, ValueError, IndexError):
        return _imported_at
