"""What the files say of a live function that is not what a patch was made for.

Three causes look the same in memory: the installed package is another than the patch was built from; the package was
upgraded on disk and the process still runs the old one; something changed the function in the running process.  What to
do about it differs, and the files tell them apart.
"""

from __future__ import annotations
import __future__

import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Literal

from livepatch.contents.edits import Text
from livepatch.contents.parsing import tree_of
from livepatch.engine.compiling import Context, compile_function
from livepatch.engine.default_values import defaults_match
from livepatch.engine.differing import same_shape
from livepatch.engine.disk import code_on_disk
from livepatch.engine.functions import Held
from livepatch.engine.matching import matches
from livepatch.engine.outline import Outline, outline_of
from livepatch.engine.pace import breathe, paced
from livepatch.engine.refusal import Refusal
from livepatch.engine.source import PATCH_PREFIX, lines_of
from livepatch.engine.texts import dedented

__all__ = ["DiskSays", "defaults_on_disk", "disk_says", "texts_of"]

Cause = Literal["upgraded-on-disk", "modified", "changed-in-memory", "no-source"]

_imported_at = time.time()


@dataclass(frozen=True, slots=True)
class DiskSays:
    """Why the process runs other code than the patch was made for, and the refusal that says so.

    With `is_own`, the files hold both: the live function is another definition of the same name, of an ``if`` and its
    ``else`` for example, than the patch was made for.
    """

    cause: Cause
    refusal: Refusal
    is_own: bool = False


def disk_says(
    module: ModuleType,
    context: Context,
    qualname: str,
    texts: Sequence[Text],
    live: CodeType,
    *,
    began: float | None = None,
) -> DiskSays:
    """Tell by the module's file why `live` is the code of none of the `texts`, the before side of a patch.

    ``modified``: the file gives the live code, so another release is installed, or a changed one.
    ``upgraded-on-disk``: the file gives other code, and was changed after the process `began` (seconds since the epoch;
    by default when the process started).  ``changed-in-memory``: the file gives other code and is no younger than the
    process, or the live code is from elsewhere.  ``no-source``: there is no file that says what was imported.

    Changes nothing.  What the refusal quotes is the first line of the first text that the process does not run.
    """
    filename = str(getattr(module, "__file__", None) or "")
    given = _given(module, filename, qualname, live)
    first = next((mismatch for text in texts if (mismatch := matches(live, context, qualname, text))), None)
    quoted = f": {first.what}" if first else ""
    if given is None:
        return _says(
            "no-source",
            f"{qualname} in memory is not the code that the patch was made for{quoted}",
            "build the patch from the release that this process runs; there is no source file here to compare with",
        )
    original = any(matches(code, context, qualname, text) is None for code in given for text in texts)
    if any(same_shape(live, code) for code in given):
        return _says(
            "modified",
            f"{qualname} is installed with other code than the patch was made for ({filename}){quoted}",
            "build the patch from the files that are installed here, or install the release that it was built from and "
            "restart the process",
            is_own=original,
        )
    return _changed(
        qualname,
        filename,
        quoted,
        "the code",
        source=live.co_filename if _is_from_elsewhere(live, filename) else None,
        original=original,
        began=began,
    )


def defaults_on_disk(
    module: ModuleType, qualname: str, texts: Sequence[Text], live: Held, *, began: float | None = None
) -> DiskSays:
    """The same for a function whose code is that of the `texts`, but not its default values."""
    filename = str(getattr(module, "__file__", None) or "")
    first = next((one for text in texts if (one := defaults_match(live, text).mismatch)), None)
    quoted = f": {first.what}" if first else ""
    lines = lines_of(filename, {}) if filename.endswith(".py") and Path(filename).is_file() else []
    outline = outline_of(lines) if lines else None
    if outline is None:
        return _says(
            "no-source",
            f"{qualname} in memory has other defaults than the patch was made for{quoted}",
            "build the patch from the release that this process runs; there is no source file here to compare with",
        )
    given = list(texts_of(outline, qualname, filename))
    original = any(text.source == one.source for one in given for text in texts)
    if any(defaults_match(live, one).mismatch is None for one in given):
        return _says(
            "modified",
            f"{qualname} is installed with other defaults than the patch was made for ({filename}){quoted}",
            "build the patch from the files that are installed here, or install the release that it was built from and "
            "restart the process",
            is_own=original,
        )
    return _changed(qualname, filename, quoted, "the defaults", source=None, original=original, began=began)


def _changed(
    qualname: str,
    filename: str,
    quoted: str,
    what: str,
    *,
    source: str | None,
    original: bool,
    began: float | None,
) -> DiskSays:
    """The file does not give what is in memory: one of the two was changed since the import."""
    if source is not None or _changed_at(filename) <= (_process_began() if began is None else began):
        elsewhere = f" (it is from {source})" if source is not None else ""
        action = (
            "revert the patch that it is from, or name it in replaces= (--replaces); or build this one from what runs "
            "with that patch, and apply it over it"
            if source is not None and source.startswith(PATCH_PREFIX)
            else "take out what changes functions while the process runs (a monkey patch, an instrumenting tool, "
            "another patcher), or restart without it; then apply the patch"
        )
        return _says(
            "changed-in-memory",
            f"{qualname} was changed in this process: {filename} does not give {what} that it has{elsewhere}{quoted}",
            action,
        )
    holds = "what the patch was made for" if original else "neither that nor what the patch was made for"
    return _says(
        "upgraded-on-disk",
        f"{filename} was changed after this process started: the process still runs the {qualname} from before, the "
        f"file holds {holds}{quoted}",
        "restart the process, then apply the patch" if original else "restart the process, then build the patch anew",
    )


def _says(cause: Cause, found: str, action: str, *, is_own: bool = False) -> DiskSays:
    code = "before-differs" if cause in ("modified", "no-source") else cause
    return DiskSays(cause, Refusal(code, found, "the code that the patch was made for", action), is_own)


# What importing anew would give


def _given(module: ModuleType, filename: str, qualname: str, live: CodeType) -> list[CodeType] | None:
    """The code that the file gives for a name; ``None`` if that cannot be told."""
    lines = lines_of(filename, {}) if filename.endswith(".py") and Path(filename).is_file() else []
    outline = outline_of(lines) if lines else None
    if outline is not None and outline.renamed.isdisjoint(qualname.split(".")):
        context = _context(outline, filename)
        texts = texts_of(outline, qualname, filename)
        return [code for text in texts if (code := _compiled(context, qualname, text, live)) is not None]
    codes = code_on_disk(module)
    return None if codes is None else codes.get(qualname, [])


def texts_of(outline: Outline, qualname: str, filename: str) -> Iterator[Text]:
    """Every definition of that name in a file."""
    for block in paced(outline.blocks.get(qualname, [])):
        lines = ["if 1:\n" * bool(block.indent), *outline.lines[block.first - 1 : block.last]]
        try:
            tree = tree_of("".join(lines), filename)
            breathe()
            node: Any = tree.body[0]
            source = dedented(lines if block.indent else lines[1:], node.body[0] if block.indent else node)
        except (SyntaxError, ValueError):
            continue
        yield Text(source=source, line=block.first)


def _compiled(context: Context, qualname: str, text: Text, like: CodeType) -> CodeType | None:
    """What the text gives, at the lines at which the live code stands: a class inside has its line as a constant."""
    try:
        code = compile_function(context, qualname, text, like=like)
        if code.co_firstlineno != like.co_firstlineno:
            line = max(1, text.line + like.co_firstlineno - code.co_firstlineno)
            code = compile_function(context, qualname, Text(source=text.source, line=line), like=like)
    except SyntaxError:
        return None
    return code


_FUTURES = re.compile(r"^from[ \t]+__future__[ \t]+import\b([ \t]*\([^()]*\)|[^()#;\n]*)", re.MULTILINE)


def _context(outline: Outline, filename: str) -> Context:
    listed = " ".join(_FUTURES.findall("".join(outline.lines)))
    futures = tuple(name for name in __future__.all_feature_names if re.search(rf"\b{name}\b", listed))
    imports = (f"import {', '.join(sorted(outline.imports))}",) if outline.imports else ()
    return Context(futures, imports, filename)


# When, and where from


def _is_from_elsewhere(live: CodeType, filename: str) -> bool:
    """Whether code was made from another file than the module's."""
    name = live.co_filename
    return not name.startswith("<frozen ") and Path(name).stem != Path(filename).stem


def _changed_at(filename: str) -> float:
    """When the file was last put there or changed: an installer may set the time of its contents, but not this one."""
    try:
        status = Path(filename).stat()
    except OSError:
        return 0.0
    return max(status.st_mtime, status.st_ctime)


def _process_began() -> float:
    """When this process started; where the system does not tell, when this file was imported."""
    try:
        ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
        booted = re.search(r"^btime (\d+)$", Path("/proc/stat").read_text(encoding="utf-8"), re.MULTILINE)
        return int(booted[1]) + ticks / os.sysconf("SC_CLK_TCK") if booted else _imported_at
    except (OSError, ValueError, IndexError):
        return _imported_at
