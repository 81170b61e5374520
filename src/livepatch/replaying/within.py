"""What every scratch process does: it takes its order, finds its patch, and says what keeps it from beginning.

Messages are plain values.  The first on standard input is the order; when that input ends, the process ends, so it does
not outlive who started it.  What it tells goes where standard output was; what the program prints does not.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import runpy
import sys
import threading
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

from livepatch.contents.changes import Addition, Attachment
from livepatch.errors import IncompatibleError, LivepatchError, PatchError, shortened, spelled
from livepatch.patch import Patch
from livepatch.replaying.plain import unpacker

__all__ = ["IN_SCRATCH", "Brought", "look_up", "modules_of", "patch_of", "take_order", "told_error"]

IN_SCRATCH = "LIVEPATCH_IN_SCRATCH"
"""Set in the environment of a scratch process: none may start another."""

_AS_MAIN = "__livepatch_scratch__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """How a patch gets into a scratch process.

    It is in the file `patch`, or what `name` is in `module`, which lies in `source` if it cannot be imported by its
    name.  `modules` are imported first.
    """

    patch: str = ""
    module: str = ""
    source: str = ""
    name: str = ""
    modules: tuple[str, ...] = ()


def take_order() -> tuple[BinaryIO, dict[str, Any]]:
    """Where to tell what, and the fields of the order."""
    told = os.fdopen(os.dup(1), "wb", buffering=0)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.close(silent)
    orders = sys.stdin.buffer.raw  # type: ignore[union-attr]  # a buffered file has one
    size = int.from_bytes(_exactly(orders, 8), "big")
    unpacking = unpacker()
    unpacking.feed(_exactly(orders, size))
    fields: dict[str, Any] = unpacking.unpack()
    threading.Thread(target=_end_with, args=(orders,), name="livepatch-scratch", daemon=True).start()
    return told, fields


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = b""
    while len(data) < size and (part := file.read(size - len(data))):
        data += part
    return data


def _end_with(orders: BinaryIO) -> None:
    while orders.read(1):
        pass
    os._exit(1)


# From names to what they lead to


def patch_of(brought: Brought) -> Patch | None:
    """The patch of a module: `None` if it comes in a file."""
    if brought.patch:
        return None
    namespace = _namespace(brought)
    found: Any = namespace.get(brought.name)
    if callable(found) and not isinstance(found, Patch):
        found = found()
    if not isinstance(found, Patch):
        raise PatchError(
            f"{brought.module or brought.source}:{brought.name} is no patch",
            found=spelled(found),
            expected="a livepatch.Patch, or a function without parameters that gives one",
            action="correct the name",
        )
    return found


def _namespace(brought: Brought) -> dict[str, Any]:
    if not brought.module:
        return runpy.run_path(brought.source, run_name=_AS_MAIN)
    try:
        return vars(importlib.import_module(brought.module))
    except ModuleNotFoundError as error:
        if error.name != brought.module or not brought.source:
            raise
    spec = importlib.util.spec_from_file_location(brought.module, brought.source)
    if spec is None or spec.loader is None:
        raise PatchError(
            f"{brought.module} cannot be imported",
            found=brought.source,
            expected="a module",
            action="give the patch as 'module:name'",
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[brought.module] = module
    spec.loader.exec_module(module)
    return vars(module)


def modules_of(patch: Patch) -> list[str]:
    """The modules in which a patch changes something."""
    places = [c.owner if isinstance(c, (Addition, Attachment)) else c.target for c in patch.changes]
    return [*(place.module for place in places), *(edit.module for edit in patch.edits if edit.whole is None)]


def look_up(path: str, where: str) -> Any:
    """What a name leads to.  Raises :class:`PatchError`."""
    module, _, qualname = path.partition(":")
    try:
        found: Any = sys.modules.get(module) or importlib.import_module(module)
        for name in qualname.split("."):
            found = getattr(found, name)
    except Exception as error:
        raise PatchError(
            f"{path} is not to be had",
            found=shortened(f"{type(error).__qualname__}: {error}", 200),
            expected="a name in a module that can be imported",
            action=f"correct the name ({where}); what makes it can be given as setup=",
        ) from error
    return found


def told_error(error: BaseException) -> dict[str, object]:
    """What keeps it from beginning, as plain values."""
    if isinstance(error, IncompatibleError):
        return {"report": _plain(asdict(error.report)), "policy": type(error).__name__}
    if isinstance(error, LivepatchError):
        head = str(error).partition("; found:")[0]
        return {"message": head, "found": error.found, "expected": error.expected, "action": error.action}
    return {"message": "", "found": shortened(f"{type(error).__qualname__}: {error}", 500)}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
