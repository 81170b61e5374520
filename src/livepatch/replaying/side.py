"""One side, in a scratch process: it begins as it is told, runs the recorded calls, and tells what each gave.

Messages are plain values.  The first on standard input is the :class:`Order`; when that input ends, the process ends,
so it does not outlive who started it.  What it tells goes where standard output was; what the program prints does not.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import os
import random
import runpy
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from livepatch.engine.comparing import Outcome, spelled_outcome
from livepatch.errors import IncompatibleError, LivepatchError, PatchError, shortened, spelled
from livepatch.patch import Addition, Attachment, Patch
from livepatch.replaying.comparing import ARGUMENTS
from livepatch.replaying.content import content_of
from livepatch.replaying.inputs import Input
from livepatch.replaying.plain import pack, unpacker

__all__ = ["IN_SCRATCH", "Order", "main"]

IN_SCRATCH = "LIVEPATCH_IN_SCRATCH"
"""Set in the environment of a scratch process: none may start another."""

_AS_MAIN = "__livepatch_scratch__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a side is to do.

    The patch is in the file `patch`, or what `name` is in `module`, which lies in `source` if it cannot be imported by
    its name.  `modules` are imported first, `targets` are what will be called, each with where that is recorded first.
    """

    new: bool
    inputs: str
    patch: str = ""
    module: str = ""
    source: str = ""
    name: str = ""
    modules: tuple[str, ...] = ()
    targets: tuple[tuple[str, str], ...] = ()
    setup: str = ""
    observe: tuple[str, ...] = ()
    activation: int | None = None


def main() -> None:
    """Be the scratch process."""
    told = os.fdopen(os.dup(1), "wb", buffering=0)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.close(silent)
    orders = sys.stdin.buffer.raw  # type: ignore[union-attr]  # a buffered file has one
    size = int.from_bytes(_exactly(orders, 8), "big")
    unpacking = unpacker()
    unpacking.feed(_exactly(orders, size))
    order = Order(**unpacking.unpack())
    threading.Thread(target=_end_with, args=(orders,), name="livepatch-scratch", daemon=True).start()
    try:
        side = _Side(order)
    except BaseException as error:  # noqa: BLE001  # whatever keeps it from beginning is what is told
        told.write(pack({"failed": _told_error(error)}))
        os._exit(1)
    told.write(pack({"begun": side.patch_id}))
    with Path(order.inputs).open("rb") as file:
        for record in unpacker(file):
            told.write(pack(side.run(Input(**record))))
    told.write(pack({"calls": side.calls}))
    os._exit(0)  # threads and exit functions of the program are of no interest any more


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = b""
    while len(data) < size and (part := file.read(size - len(data))):
        data += part
    return data


def _end_with(orders: BinaryIO) -> None:
    while orders.read(1):
        pass
    os._exit(1)


class _Side:
    def __init__(self, order: Order) -> None:
        self._observe = order.observe
        self._height = 0
        self._asked = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self.calls: int | None = None
        """How often a function of the patch was called, where that is counted."""
        self.patch_id = ""
        """The patch that is in this process, if one is."""
        patch = _patch_of(order)
        for module in dict.fromkeys((*order.modules, *(_modules_of(patch) if patch is not None else ()))):
            importlib.import_module(module)
        if order.new:
            self._apply(patch, order)
        if order.setup:
            self._finished(_called(order.setup)())
        for target, where in order.targets:
            _look_up(target, where)

    def _apply(self, patch: Patch | None, order: Order) -> None:
        from livepatch.bundle.trust import UNSIGNED
        from livepatch.engine.modes import at
        from livepatch.govern.policies import rehearse
        from livepatch.process.public import apply

        rehearse()
        mode: Any = "on"
        if order.activation is not None:
            mode = at(order.activation, self._now)
        # Whoever started this process answers for the file: nothing else has been handed in.
        given = (order.patch, UNSIGNED) if order.patch else (patch, None)
        self.patch_id = apply(given[0], mode=mode, trust=given[1]).id  # type: ignore[arg-type]  # see __init__
        if order.activation is not None:
            self._asked = self.calls = 0

    def _now(self) -> int:
        self._asked += 1
        return self._height

    def run(self, each: Input) -> dict[str, object]:
        """Make one recorded call, and tell what it gave and what it left."""
        self._height = each.height or 0
        random.seed(each.number)
        self._asked = 0
        outcome, owner = self._outcome(each)
        if self.calls is not None:
            self.calls += self._asked
        self._height = each.height or 0
        opaque: set[str] = set()
        answer, hidden = _content(outcome)
        opaque |= hidden
        parts: dict[str, bytes] = {}
        for name, seen in self._observed(each, owner):
            parts[name], hidden = _content(seen)
            opaque |= hidden
        return {
            "number": each.number,
            "answer": answer,
            "told": spelled_outcome(outcome),
            "state": parts,
            "opaque": sorted(opaque),
        }

    def _outcome(self, each: Input) -> tuple[Outcome, object]:
        owner: object = None
        try:
            target: Any = _look_up(each.target, each.where)
            owner = getattr(target, "__self__", None)
            return Outcome(self._finished(target(*each.args, **each.kwargs))), owner
        except BaseException as error:  # noqa: BLE001  # the program's code may fail in any way: that is its answer
            return Outcome(None, error), owner

    def _finished(self, value: Any) -> Any:
        """What a call gives in the end: coroutines are awaited, and generators run out."""
        if inspect.isgenerator(value):
            return ["generated", *value]
        if inspect.isasyncgen(value):
            return self._run(_all_of(value))
        return self._run(_awaited(value)) if inspect.isawaitable(value) else value

    def _run(self, coroutine: Any) -> Any:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        return self._loop.run_until_complete(coroutine)

    def _observed(self, each: Input, owner: object) -> Iterator[tuple[str, Outcome]]:
        yield ARGUMENTS, Outcome([each.args, each.kwargs])
        if owner is not None and not inspect.ismodule(owner) and not inspect.isclass(owner):
            yield each.target.rpartition(".")[0], Outcome(owner)
        for name in self._observe:
            try:
                value = _look_up(name, "observe")
                yield name, Outcome(self._finished(value()) if inspect.isroutine(value) else value)
            except BaseException as error:  # noqa: BLE001  # likewise
                yield name, Outcome(None, error)


async def _awaited(value: Any) -> Any:
    return await value


async def _all_of(items: Any) -> list[Any]:
    return ["generated", *[item async for item in items]]


def _content(outcome: Outcome) -> tuple[bytes, frozenset[str]]:
    held = ["raised", outcome.error] if outcome.error is not None else ["gave", outcome.value]
    try:
        return content_of(held)
    except Exception as error:  # noqa: BLE001  # a value may be changed meanwhile, or answer in any way
        kind = type(held[1])
        name = f"{kind.__module__}.{kind.__qualname__}"
        return b"", frozenset([f"{name} ({type(error).__qualname__}: {shortened(str(error), 80)})"])


# From names to what they lead to


def _patch_of(order: Order) -> Patch | None:
    """The patch of a module: `None` if it comes in a file."""
    if order.patch:
        return None
    namespace = _namespace(order)
    found: Any = namespace.get(order.name)
    if callable(found) and not isinstance(found, Patch):
        found = found()
    if not isinstance(found, Patch):
        raise PatchError(
            f"{order.module or order.source}:{order.name} is no patch",
            found=spelled(found),
            expected="a livepatch.Patch, or a function without parameters that gives one",
            action="correct the name",
        )
    return found


def _namespace(order: Order) -> dict[str, Any]:
    if not order.module:
        return runpy.run_path(order.source, run_name=_AS_MAIN)
    try:
        return vars(importlib.import_module(order.module))
    except ModuleNotFoundError as error:
        if error.name != order.module or not order.source:
            raise
    spec = importlib.util.spec_from_file_location(order.module, order.source)
    if spec is None or spec.loader is None:
        raise PatchError(
            f"{order.module} cannot be imported",
            found=order.source,
            expected="a module",
            action="give the patch as 'module:name'",
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[order.module] = module
    spec.loader.exec_module(module)
    return vars(module)


def _modules_of(patch: Patch) -> list[str]:
    places = [c.owner if isinstance(c, (Addition, Attachment)) else c.target for c in patch.changes]
    return [*(place.module for place in places), *(edit.module for edit in patch.edits if edit.whole is None)]


def _called(path: str) -> Callable[..., object]:
    found: object = _look_up(path, "setup")
    if not callable(found):
        raise PatchError(
            f"setup {path} is no function",
            found=spelled(found),
            expected="a function without parameters",
            action="name a function that takes nothing",
        )
    return found


def _look_up(path: str, where: str) -> Any:
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


def _told_error(error: BaseException) -> dict[str, object]:
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
