"""Programs of two sides, and calls of them that are held open while a patch goes in or out."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, ModuleType
from typing import Any

import livepatch

HOLDS = """
import threading, types
entered, gate = threading.Event(), threading.Event()
@types.coroutine
def pause():
    yield
def as_generator():
    yield 'old'
    yield ('old', *route())
async def as_coroutine():
    await pause()
    return ('old', *route())
async def as_async_generator():
    yield 'old'
    yield ('old', *route())
def as_thread():
    entered.set()
    gate.wait(10)
    return ('old', *route())
"""
KINDS = ("as_generator", "as_coroutine", "as_async_generator", "as_thread")


def new_side(source: str) -> str:
    """The text of the new side: what says old says new."""
    return re.sub(r"\bold\b", "new", source)


def fixing(
    fix: livepatch.Patch, target: ModuleType, written: ModuleType, *names: str, pure: bool = False
) -> livepatch.Patch:
    """Let `fix` replace those functions of `target` by those of the module `written`, which means nothing else."""
    for name in names:
        owner, _, last = name.rpartition(".")
        holder: Any = written
        for part in owner.split(".") if owner else ():
            holder = getattr(holder, part)
        fix.replace(f"{target.__name__}:{name}", pure=pure)(vars(holder)[last])
    for other in vars(written).keys() - {name.split(".")[0] for name in names}:
        if hasattr(target, other) and not other.startswith("__"):
            delattr(written, other)  # else it would be another object of that name
    return fix


def sent(awaitable: Any, value: object = None) -> Any:
    """Drive something to its next suspension or end: what it yields or returns."""
    try:
        return awaitable.send(value)
    except StopIteration as stop:
        return stop.value


class Held:
    """A call that has begun and goes on when told to; `go_on` gives what its later half has seen."""

    def __init__(self, m: ModuleType, kind: str) -> None:
        self._m, self._kind = m, kind
        self._seen: list[Any] = []
        self._thread: threading.Thread | None = None
        self._item: Any = None
        if kind == "as_thread":
            m.entered.clear()
            m.gate.clear()
            self._thread = threading.Thread(target=lambda: self._seen.append(m.as_thread()), name="held-thread")
            self._thread.start()
            assert m.entered.wait(5)
        else:
            self._item = getattr(m, kind)()
            sent(self._item.asend(None) if kind == "as_async_generator" else self._item)

    def go_on(self) -> Any:
        if self._thread is not None:
            self._m.gate.set()
            self._thread.join(5)
            return self._seen[0]
        if self._kind == "as_async_generator":
            return sent(self._item.asend(None))
        return sent(self._item)

    def close(self) -> None:
        """End it, also if it never went on."""
        item, self._item = self._item, None
        if self._thread is not None:
            self._m.gate.set()
            self._thread.join(5)
        elif self._kind == "as_async_generator":
            sent(item.aclose())
        elif item is not None:
            item.close()


@contextmanager
def held(m: ModuleType, kind: str = "as_generator") -> Iterator[Held]:
    """A call of that kind in the module, which ends with the block."""
    call = Held(m, kind)
    try:
        yield call
    finally:
        call.close()


def fresh(m: ModuleType, kind: str) -> Any:
    """What a call of that kind sees that begins now."""
    m.gate.set()
    if kind == "as_thread":
        return m.as_thread()
    with held(m, kind) as call:
        return call.go_on()


def soon(condition: Callable[[], object], seconds: float = 5.0) -> bool:
    """Whether it comes to hold."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def is_plain_and_new(m: ModuleType, *names: str) -> bool:
    codes = [getattr(m, name).__code__ for name in names]
    constants = [constant for code in codes for constant in code.co_consts]
    return all(type(c) is CodeType and c.co_filename.startswith("<livepatch") for c in codes) and not any(
        callable(constant) for constant in constants
    )
