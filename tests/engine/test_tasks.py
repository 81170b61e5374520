"""Whose task it is: await chains of every shape, loops in other threads, tasks of every kind."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import subprocess
import sys
import threading
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest

from livepatch.engine import tasks as tasks_module
from livepatch.engine.frames import InFlight, in_flight, nearby, stuck
from livepatch.engine.tasks import asyncio_tasks, awaited_by, code_of, frame_of, is_running, is_suspendable

EAGER = pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")


async def target(gate: asyncio.Event) -> str:
    await gate.wait()
    return "done"


TARGET = target.__code__


async def outer(awaitable: Any) -> Any:
    return await awaitable


def run(main: Callable[[asyncio.Event], Coroutine[Any, Any, Any]]) -> None:
    """Run the scenario with a closed gate.  It asks; then the gate opens and all tasks end."""

    async def scenario() -> None:
        gate = asyncio.Event()
        try:
            await main(gate)
        finally:
            gate.set()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*left, return_exceptions=True)
        assert nearby([TARGET]) == ()

    asyncio.run(scenario())


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def both(*codes: types.CodeType) -> list[InFlight]:
    """What is found nearby, which the heap confirms."""
    near = nearby(codes or [TARGET])
    assert sorted(near, key=str) == sorted(in_flight(codes or [TARGET]), key=str)
    return sorted(near, key=str)


# Chains


class Wrapped:
    """An awaitable of somebody's own."""

    def __init__(self, coroutine: Any) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Any:
        return self._coroutine.__await__()


class Delegating(Wrapped):
    def __await__(self) -> Any:
        return (yield from self._coroutine.__await__())


class Driving(Wrapped):
    """Its own iterator, which drives the coroutine by hand."""

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return self._coroutine.send(None)


class Sending(Driving, Coroutine[Any, Any, Any]):
    """A coroutine by its interface, which a task can be made of."""

    def send(self, value: object) -> Any:
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()


class Slotted(Sending):
    __slots__ = ("_coroutine",)


@types.coroutine
def old_style(awaitable: Any) -> Any:
    return (yield from awaitable)


async def stream(gate: asyncio.Event) -> Any:
    yield 1
    await target(gate)
    yield 2


async def through_a_stream(gate: asyncio.Event) -> None:
    async for _ in stream(gate):
        pass


async def with_anext(gate: asyncio.Event) -> None:
    items = stream(gate)
    await anext(items)
    await anext(items, None)


async def closing_a_stream(gate: asyncio.Event) -> None:
    async def items() -> Any:
        try:
            yield 1
        finally:
            await target(gate)

    opened = items()
    await anext(opened)
    await opened.aclose()


async def in_a_context(gate: asyncio.Event) -> None:
    @contextlib.asynccontextmanager
    async def context() -> Any:
        await target(gate)
        yield

    async with context():
        pass


CHAINS: dict[str, Callable[[asyncio.Event], Any]] = {
    "itself": target,
    "awaited": lambda gate: outer(target(gate)),
    "awaited twice": lambda gate: outer(outer(target(gate))),
    "a wrapper": lambda gate: outer(Wrapped(target(gate))),
    "a delegating wrapper": lambda gate: outer(Delegating(target(gate))),
    "a driving wrapper": lambda gate: outer(Driving(target(gate))),
    "a coroutine of another class": lambda gate: Sending(target(gate)),
    "one with slots": lambda gate: outer(Slotted(target(gate))),
    "types.coroutine": lambda gate: outer(old_style(target(gate))),
    "async for": through_a_stream,
    "anext with a default": with_anext,
    "aclose": closing_a_stream,
    "a context": in_a_context,
    "wait_for": lambda gate: asyncio.wait_for(outer(target(gate)), 100),
}


if sys.version_info < (3, 12):  # later ones make no task of a generator
    CHAINS["types.coroutine as a task"] = lambda gate: old_style(target(gate))


@pytest.mark.parametrize("make", CHAINS.values(), ids=CHAINS)
def test_a_chain(make: Callable[[asyncio.Event], Any]):
    async def main(gate: asyncio.Event) -> None:
        task = asyncio.get_running_loop().create_task(make(gate), name="gossip")
        await settle()
        (found,) = both()
        assert (found.function, found.thread) == ("target", "MainThread")
        if make is not CHAINS["wait_for"] or sys.version_info >= (3, 12):  # a task of its own before that
            assert (found.task, found.holder) == ("gossip", "task 'gossip'")
        assert found.line == TARGET.co_firstlineno + 1
        assert not task.done()

    run(main)


def test_tasks_that_are_awaited_keep_what_is_theirs():
    async def main(gate: asyncio.Event) -> None:
        named = functools.partial(asyncio.create_task)
        one, two, three = (named(outer(target(gate)), name=name) for name in ("one", "two", "three"))
        gathering = named(outer(asyncio.gather(one, two)), name="gathering")
        shielding = named(outer(asyncio.shield(three)), name="shielding")
        nested = named(outer(gathering), name="nested")
        await settle()
        assert [frame.task for frame in both()] == ["one", "three", "two"]
        assert sorted({frame.task for frame in both(outer.__code__)}) == sorted(
            ["one", "two", "three", "gathering", "shielding", "nested"]
        )
        del shielding, nested

    run(main)


def test_a_task_group_and_what_it_made():
    async def group(gate: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(target(gate), name="inner 1")
            tasks.create_task(target(gate), name="inner 2")

    async def main(gate: asyncio.Event) -> None:
        task = asyncio.create_task(group(gate), name="group")
        await settle()
        assert sorted(frame.task for frame in both(TARGET, group.__code__)) == ["group", "inner 1", "inner 2"]
        del task

    run(main)


def test_what_has_not_begun():
    async def main(gate: asyncio.Event) -> None:
        task = asyncio.create_task(outer(target(gate)), name="fresh")
        (frame,) = both(outer.__code__)
        assert (frame.task, frame.line) == ("fresh", outer.__code__.co_firstlineno)
        (frame,) = both()  # an argument of what has not begun
        assert frame.task == "fresh"
        del task

    run(main)


# What the variables of a chain hold


def steps() -> Iterator[int]:
    yield 1
    yield 2


async def ticks() -> Any:
    yield 1
    yield 2


async def goes_through(gate: asyncio.Event) -> None:
    for _ in steps():
        await gate.wait()


async def goes_through_asynchronously(gate: asyncio.Event) -> None:
    async for _ in ticks():
        await gate.wait()


@pytest.mark.parametrize(
    ("goes", "source"), [(goes_through, steps), (goes_through_asynchronously, ticks)], ids=["for", "async for"]
)
def test_what_a_loop_in_a_task_goes_through(goes: Any, source: Any):
    async def main(gate: asyncio.Event) -> None:
        task = asyncio.create_task(outer(goes(gate)), name="reader")
        await settle()
        (frame,) = both(source.__code__)
        assert (frame.task, frame.holder) == ("reader", "task 'reader'")
        del task

    run(main)


def test_a_coroutine_that_a_variable_holds_belongs_to_its_own_task():
    async def maker(gate: asyncio.Event) -> None:
        made = target(gate)
        task = asyncio.create_task(made, name="second")
        await asyncio.gather(task)

    async def main(gate: asyncio.Event) -> None:
        task = asyncio.create_task(maker(gate), name="first")
        await settle()
        assert [frame.task for frame in both()] == ["second"]
        del task

    run(main)


# What runs


def test_what_the_loop_just_runs_is_named_with_both():
    asked: list[tuple[InFlight, ...]] = []
    codes = [TARGET, outer.__code__]

    def ask() -> None:
        asked.append(nearby([*codes, calls.__code__, plain.__code__]))
        asked.append(in_flight([*codes, calls.__code__, plain.__code__]))

    def plain() -> None:
        ask()

    async def calls() -> None:
        plain()

    async def main(gate: asyncio.Event) -> None:
        await asyncio.create_task(outer(calls()), name="busy")

    run(main)
    for frames in asked:
        assert [(f.function.rpartition(".")[2], f.task) for f in frames] == [
            ("plain", "busy"),
            ("calls", "busy"),
            ("outer", "busy"),
        ]
        assert {f.holder for f in frames} == {"thread MainThread, task 'busy'"}
        assert {f.thread for f in frames} == {"MainThread"}


def test_what_is_beneath_the_loop_is_in_no_task():
    asked: list[InFlight] = []

    async def inner() -> None:
        asked.extend(nearby([starts.__code__]))

    def starts() -> None:
        asyncio.run(inner())

    starts()
    assert [(frame.holder, frame.task) for frame in asked] == [("thread MainThread", "")]


def test_a_running_async_generator_is_named_once():
    asked: list[tuple[InFlight, ...]] = []

    async def asks() -> Any:
        asked.append(nearby([asks.__code__]))
        asked.append(in_flight([asks.__code__]))
        yield 1

    async def reads() -> None:
        async for _ in asks():
            pass

    async def main(gate: asyncio.Event) -> None:
        await asyncio.create_task(reads(), name="reader")

    run(main)
    assert [[f.holder for f in frames] for frames in asked] == [["thread MainThread, task 'reader'"]] * 2


@EAGER
def test_an_eager_task_within_a_task():
    asked: list[tuple[str, str]] = []

    def begin(coroutine: Any, name: str) -> Any:
        return asyncio.Task(coroutine, loop=asyncio.get_running_loop(), name=name, eager_start=True)

    async def eager() -> None:
        asked.extend((f.function.rpartition(".")[2], f.task) for f in nearby([eager.__code__, makes.__code__]))

    async def makes() -> None:
        begin(eager(), name="eager")  # it ends at once

    async def main(gate: asyncio.Event) -> None:
        begin(makes(), name="maker")
        waits = begin(target(gate), name="waits")
        assert [frame.task for frame in both()] == ["waits"]
        del waits

    run(main)
    assert asked == [("eager", "eager"), ("makes", "maker")]


# Other threads, other loops, other tasks


@contextlib.contextmanager
def loop_in_a_thread(name: str = "loops") -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name=name)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_loop_in_another_thread():
    async def start() -> tuple[asyncio.Event, Any]:
        gate = asyncio.Event()
        task = asyncio.create_task(outer(target(gate)), name="far")
        await settle()
        return gate, task

    async def end(gate: asyncio.Event, task: Any) -> None:
        gate.set()
        await task

    with loop_in_a_thread("far away") as loop:
        gate, task = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
        (frame,) = both()
        assert (frame.task, frame.thread, frame.holder) == ("far", "far away", "task 'far'")
        assert stuck([TARGET]) == []
        asyncio.run_coroutine_threadsafe(end(gate, task), loop).result(10)
        assert both() == []


def test_a_loop_that_stands_still():
    loop = asyncio.new_event_loop()
    gate = asyncio.Event()
    task = loop.create_task(target(gate), name="paused")
    loop.run_until_complete(asyncio.sleep(0))
    (frame,) = in_flight([TARGET])
    assert (frame.task, frame.thread) == ("paused", "")
    if sys.version_info < (3, 14):
        assert nearby([TARGET]) == (frame,)
    gate.set()
    loop.run_until_complete(task)
    assert in_flight([TARGET]) == ()
    loop.close()


class OwnTask(asyncio.Task):  # type: ignore[type-arg]
    def get_name(self) -> str:
        raise RuntimeError("not to be asked")

    def get_coro(self) -> Any:
        raise RuntimeError("not to be asked")


@pytest.mark.parametrize("kind", [OwnTask, asyncio.tasks._PyTask], ids=["derived", "pure"])
def test_tasks_of_another_kind(kind: Any):
    async def main(gate: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        task = kind(outer(target(gate)), loop=loop, name="other")
        await settle()
        assert [frame.task for frame in both()] == ["other"]
        gate.set()
        await task

    run(main)


def test_a_derived_task_of_a_loop_that_stands_still():
    loop = asyncio.new_event_loop()
    gate = asyncio.Event()
    task = OwnTask(target(gate), loop=loop, name="paused")
    loop.run_until_complete(asyncio.sleep(0))
    assert [frame.task for frame in in_flight([TARGET])] == ["paused"]
    gate.set()
    loop.run_until_complete(task)
    loop.close()


def test_a_task_that_cannot_answer_is_left_out(monkeypatch: pytest.MonkeyPatch):
    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

    found = {id(broken): broken for broken in [Broken()]}
    assert asyncio_tasks(found.values()) == {}


class ForeignLoop(asyncio.AbstractEventLoop):
    """There is a kind of loop that asyncio has not made."""


@pytest.mark.skipif(sys.version_info < (3, 14), reason="until 3.13 a registry knows the tasks")
def test_a_loop_that_is_not_written_in_python(monkeypatch: pytest.MonkeyPatch):
    async def main(gate: asyncio.Event) -> None:
        task = asyncio.create_task(target(gate), name="native")
        await settle()
        found: list[str] = []

        def ask() -> None:
            found.extend(frame.task for frame in nearby([TARGET]))

        with monkeypatch.context() as patch:
            patch.setattr(tasks_module, "_LOOP_METHODS", frozenset())
            asker = threading.Thread(target=ask)
            asker.start()
            asker.join()
            assert found == ["native"]  # asyncio's runner
            patch.setattr(asyncio.runners, "Runner", None)
            assert [frame.task for frame in nearby([TARGET])] == ["native"]  # this thread
            patch.setattr(asyncio.events, "_get_running_loop", lambda: None)
            assert [(frame.task, frame.thread) for frame in nearby([TARGET])] == [("native", "")]  # a variable
        del task

    run(main)


# By themselves


def test_awaited_by():
    async def two() -> None:
        await outer(coroutine)

    coroutine = target(asyncio.Event())
    step = two()
    assert awaited_by(step) is None
    assert is_suspendable(step)
    assert not is_running(step)
    asyncio.run(_first_step(step))
    inner = awaited_by(step)
    assert inner is not None
    assert code_of(inner) is outer.__code__
    assert awaited_by(inner) is coroutine
    step.close()
    assert awaited_by(step) is None
    assert frame_of(coroutine) is None
    assert code_of(coroutine) is TARGET
    assert awaited_by(object()) is awaited_by(None) is awaited_by({}) is None


def _generator(asks: list[Callable[[], object]]) -> Iterator[object]:
    for _ in range(1_000):
        if asks[0]() is not None:
            yield "answered"
    yield None


async def _coroutine(asks: list[Callable[[], object]]) -> object:
    for _ in range(1_000):
        if asks[0]() is not None:
            return "answered"
    return None


async def _async_generator(asks: list[Callable[[], object]]) -> AsyncIterator[object]:
    for _ in range(1_000):
        if asks[0]() is not None:
            yield "answered"
    yield None


@pytest.mark.parametrize("function", [_generator, _coroutine, _async_generator])
def test_what_runs_awaits_nothing(function: Callable[[list[Callable[[], object]]], Any]):
    """CPython 3.11 and 3.12 can take a count beside a call for the end of an await; such an answer ends the process."""
    asks: list[Callable[[], object]] = []
    item = function(asks)
    # The call of a partial is never specialised, so the count beside it takes many values.
    asks.append(functools.partial(awaited_by, item))
    step = item.asend(None) if function is _async_generator else item
    try:
        seen = next(step) if function is _generator else step.send(None)
    except StopIteration as ended:
        seen = ended.value
    assert seen is None


async def _first_step(coroutine: Any) -> None:
    coroutine.send(None)


def test_a_long_chain():
    async def deep(gate: asyncio.Event, depth: int) -> None:
        await (deep(gate, depth - 1) if depth else target(gate))

    async def main(gate: asyncio.Event) -> None:
        task = asyncio.create_task(deep(gate, 300), name="deep")
        await settle()
        assert [frame.task for frame in both()] == ["deep"]
        assert len(nearby([deep.__code__])) == 301
        del task

    run(main)


def test_ended_tasks_are_in_no_answer():
    async def main(gate: asyncio.Event) -> None:
        gate.set()
        task = asyncio.create_task(target(gate))
        await task
        assert both() == []
        assert all(whose.owner.task is not task for whose in asyncio_tasks().values())

    run(main)


def test_nothing_stays_alive_for_having_been_asked():
    async def main(gate: asyncio.Event) -> None:
        task = asyncio.create_task(outer(target(gate)))
        await settle()
        count = sys.getrefcount(task)
        gc.collect()
        gc.disable()
        try:
            both()
            stuck([TARGET])
            assert sys.getrefcount(task) == count
            assert gc.collect() < 100
        finally:
            gc.enable()

    run(main)


def test_asyncio_is_not_imported_for_the_question():
    script = """
import sys
from livepatch.engine.frames import in_flight, nearby, stuck
def f(): return nearby([f.__code__]), in_flight([f.__code__]), stuck([f.__code__])
print(f()[0][0].holder, 'asyncio' in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "thread MainThread False\n", done.stderr
