"""Patched functions under load from threads and asyncio tasks, while another thread applies, switches and reverts."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteModule
from tests.few_modules import FewModules

import livepatch

CALLERS = 4
TASKS = 200

NODE = """
    import asyncio
    import functools

    def plain(x, *, y=0):
        return [("SIDE", x, y), ("SIDE", y, x)]

    class Pool:
        def validate(self, tx):
            return [("SIDE", tx)]

        @property
        def size(self):
            return ["SIDE"]

    @functools.wraps(plain)
    def wrapped(*args, **kwargs):
        return ["SIDE"]

    def make(k):
        def inner(v):
            return ["SIDE", k, v]
        return inner

    def steps(n):
        for i in range(n):
            yield "SIDE"
        yield from ["SIDE"]

    async def fetch(x):
        seen = ["SIDE"]
        await asyncio.sleep(0)
        seen.append("SIDE")
        await asyncio.sleep(0)
        return [*seen, "SIDE"]

    async def stream(n):
        for i in range(n):
            yield "SIDE"
            await asyncio.sleep(0)

    made = make("k")
"""
SIDES = {"old", "new"}
CYCLES = [pytest.param(2, id="short"), pytest.param(30, id="long", marks=pytest.mark.slow)]


class Scene:
    def __init__(self, write_module: WriteModule, new_patch: NewPatch) -> None:
        self.node = write_module(NODE.replace("SIDE", "old"))
        self.written = write_module(NODE.replace("SIDE", "new"))
        self.fix = new_patch()
        for name in ("plain", "make", "steps", "fetch", "stream"):
            self.fix.replace(f"{self.node.__name__}:{name}")(getattr(self.written, name))
        self.fix.replace(f"{self.node.__name__}:Pool")(self.written.Pool)
        self.answers: Counter[str] = Counter()
        self.problems: list[object] = []
        self.stop = threading.Event()

    def answered(self, kind: str, answer: object) -> None:
        """Take down whose answer that is; it must be one side's."""
        sides = SIDES & set(_words(answer))
        if len(sides) == 1:
            self.answers[f"{kind} {sides.pop()}"] += 1
        else:
            self.problems.append((kind, answer))

    def until_stopped(self, action: Callable[[], object]) -> threading.Thread:
        def run() -> None:
            try:
                while not self.stop.is_set():
                    action()
            except BaseException as error:
                self.problems.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread


def _words(answer: object) -> list[object]:
    return [word for item in answer for word in _words(item)] if isinstance(answer, (list, tuple)) else [answer]


@pytest.fixture
def scene(write_module: WriteModule, new_patch: NewPatch, monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = Scene(write_module, new_patch)
    monkeypatch.setattr("livepatch.process.live.sys", FewModules(made.node, made.written))
    return made


def _calls(scene: Scene) -> dict[str, Callable[[], Any]]:
    node, pool = scene.node, scene.node.Pool()
    return {
        "plain": lambda: node.plain(1, y=2),
        "method": lambda: pool.validate(1),
        "property": lambda: pool.size,
        "long-lived closure": lambda: node.made(1),
        "closure": lambda: node.make("x")(1),
        "generator": lambda: list(node.steps(3)),
        "coroutine": lambda: _drive(node.fetch(1)),
    }


def _drive(coroutine: Any) -> object:
    while True:
        try:
            coroutine.send(None)
        except StopIteration as done:
            return done.value


async def _collect(stream: Any) -> list[object]:
    return [item async for item in stream]


def _async_calls(scene: Scene) -> dict[str, Callable[[], Awaitable[Any]]]:
    node = scene.node
    return {
        "task's coroutine": lambda: node.fetch(1),
        "task's async generator": lambda: _collect(node.stream(3)),
    }


async def _tasks(scene: Scene) -> None:
    calls = _async_calls(scene)

    async def work() -> None:
        while not scene.stop.is_set():
            for kind, call in calls.items():
                scene.answered(kind, await call())
                scene.answered("task's closure", scene.node.made(1))

    await asyncio.gather(*(work() for _ in range(TASKS)))


def _switch(scene: Scene) -> None:
    applied = livepatch.apply(scene.fix)
    for mode in ("off", "on"):
        livepatch.flags[scene.fix.flag] = mode  # type: ignore[assignment]
    applied.revert()


@pytest.mark.parametrize("cycles", CYCLES)
def test_every_call_is_answered_by_one_side(scene: Scene, cycles: int) -> None:
    calls = _calls(scene)

    def call() -> None:
        for kind, action in calls.items():
            scene.answered(kind, action())

    threads = [scene.until_stopped(call) for _ in range(CALLERS)]
    threads.append(scene.until_stopped(lambda: asyncio.run(_tasks(scene))))
    expected = 2 * (len(calls) + len(_async_calls(scene)) + 1)
    made = 0
    try:
        # On a busy machine some may not have been called yet on either side.
        while made < cycles or (len(scene.answers) < expected and made < cycles + 60):
            _switch(scene)
            made += 1
    finally:
        scene.stop.set()
        for thread in threads:
            thread.join(60)
    assert scene.problems == []
    assert {kind.rpartition(" ")[2] for kind in scene.answers} == SIDES
    assert len(scene.answers) == expected, "some were never called on one side"


@pytest.mark.parametrize("cycles", CYCLES)
def test_status_and_verify_are_true_while_others_switch(scene: Scene, cycles: int) -> None:
    """Nobody else changes anything, so no look may say so, whenever it looks."""

    def verify() -> None:
        verification = livepatch.verify()
        if not verification:
            scene.problems.append(verification)
            raise AssertionError(str(verification))

    def status() -> None:
        for standing in livepatch.status():
            if standing.foreign or standing.state == "reverted":
                scene.problems.append(standing)
                raise AssertionError(str(standing))

    def flags() -> None:
        assert repr(livepatch.flags)
        assert isinstance(scene.fix.flag in livepatch.flags, bool)

    threads = [scene.until_stopped(action) for action in (verify, status, flags)]
    try:
        for _ in range(cycles):
            _switch(scene)
    finally:
        scene.stop.set()
        for thread in threads:
            thread.join(60)
    assert scene.problems == []
