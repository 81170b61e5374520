"""One side, in a scratch process: it begins as it is told, runs the recorded calls, and tells what each gave."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from livepatch.engine.comparing import Outcome, spelled_outcome
from livepatch.errors import PatchError, shortened, spelled
from livepatch.patch import Patch
from livepatch.replaying.comparing import ARGUMENTS
from livepatch.replaying.content import content_of
from livepatch.replaying.inputs import Input
from livepatch.replaying.plain import pack, unpacker
from livepatch.replaying.within import Brought, look_up, modules_of, patch_of, take_order, told_error

__all__ = ["Order", "main"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(Brought):
    """What a side is to do: `targets` are what will be called, each with where that is recorded first."""

    new: bool
    inputs: str
    targets: tuple[tuple[str, str], ...] = ()
    setup: str = ""
    observe: tuple[str, ...] = ()
    activation: int | None = None


def main() -> None:
    """Be the scratch process."""
    told, fields = take_order()
    order = Order(**fields)
    try:
        side = _Side(order)
    except BaseException as error:  # noqa: BLE001  # whatever keeps it from beginning is what is told
        told.write(pack({"failed": told_error(error)}))
        os._exit(1)
    told.write(pack({"begun": side.patch_id}))
    with Path(order.inputs).open("rb") as file:
        for record in unpacker(file):
            told.write(pack(side.run(Input(**record))))
    told.write(pack({"calls": side.calls}))
    os._exit(0)  # threads and exit functions of the program are of no interest any more


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
        patch = patch_of(order)
        for module in dict.fromkeys((*order.modules, *(modules_of(patch) if patch is not None else ()))):
            importlib.import_module(module)
        if order.new:
            self._apply(patch, order)
        if order.setup:
            self._finished(_called(order.setup)())
        for target, where in order.targets:
            look_up(target, where)

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
            target: Any = look_up(each.target, each.where)
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
                value = look_up(name, "observe")
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


def _called(path: str) -> Callable[..., object]:
    found: object = look_up(path, "setup")
    if not callable(found):
        raise PatchError(
            f"setup {path} is no function",
            found=spelled(found),
            expected="a function without parameters",
            action="name a function that takes nothing",
        )
    return found
