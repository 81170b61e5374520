"""Calls in flight: which ones are named, and how to wait until they are gone."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

import livepatch
from livepatch.engine.frames import in_flight, is_referenced

if TYPE_CHECKING:
    from tests.conftest import WriteFix, WriteModule


@pytest.fixture
def m(write_module: WriteModule) -> ModuleType:
    return write_module("""
        import types
        def block(entered, leave):
            entered.set()
            leave.wait(10)
            return 'old'
        def steps():
            yield 'old 1'
            yield 'old 2'
        async def wait(x):
            return 'old', await x
        async def items():
            yield 'old 1'
            yield 'old 2'
        def make():
            def made():
                yield 'old'
            return made
        @types.coroutine
        def bare():
            yield 'old'
    """)


@contextmanager
def blocked(m: ModuleType, name: str = "worker") -> Iterator[threading.Event]:
    """A thread that stands in ``block`` until the event is set."""
    entered, leave = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: m.block(entered, leave), name=name)
    thread.start()
    assert entered.wait(10)
    try:
        yield leave
    finally:
        leave.set()
        thread.join()


def settles(applied: livepatch.Applied) -> None:
    """Drained at once: no frame is left, and waiting does not wait."""
    assert applied.status().frames == ()
    assert (applied.status().state, applied.status().drained) == ("settled", True)
    begun = time.perf_counter()
    assert applied.wait(5)
    assert applied.wait()
    assert applied.wait(0)
    assert time.perf_counter() - begun < 2


def test_nothing_in_flight(m: ModuleType, write_fix: WriteFix):
    settles(livepatch.apply(write_fix(f"{m.__name__}:steps", "def steps(): yield 'new'")))


def test_a_thread_that_stands_in_the_old_side(m: ModuleType, write_fix: WriteFix):
    fix = write_fix(f"{m.__name__}:block", "def block(entered, leave): return 'new'")
    with blocked(m, "the-worker") as leave:
        applied = livepatch.apply(fix)
        status = applied.status()
        assert (status.state, status.drained) == ("draining", False)
        (frame,) = status.frames
        assert (frame.function, frame.file, frame.holder) == ("block", m.__file__, "thread the-worker")
        assert "leave.wait(10)" in Path(m.__file__).read_text().splitlines()[frame.line - 1]
        assert str(frame) in str(status)
        assert m.block(None, None) == "new"
        begun = time.perf_counter()
        assert applied.wait(0.05) is False
        assert 0.05 <= time.perf_counter() - begun < 5
        assert applied.wait(0) is False
        threading.Timer(0.05, leave.set).start()
        assert applied.wait(10) is True
    settles(applied)


def test_several_threads_each_named(m: ModuleType, write_fix: WriteFix):
    with blocked(m, "one"), blocked(m, "two"):
        applied = livepatch.apply(write_fix(f"{m.__name__}:block", "def block(entered, leave): return 'new'"))
        assert {frame.holder for frame in applied.status().frames} == {"thread one", "thread two"}
    settles(applied)


def test_the_other_side_is_the_one_that_no_new_call_gets(m: ModuleType, write_fix: WriteFix):
    fix = write_fix(f"{m.__name__}:steps", "def steps():\n    yield 'new 1'\n    yield 'new 2'")
    old = m.steps()
    next(old)
    applied = livepatch.apply(fix)
    new = m.steps()
    next(new)
    assert [(f.function, f.holder, f.line) for f in applied.status().frames] == [("steps", "suspended generator", 8)]
    applied.mode = "off"
    (frame,) = applied.status().frames
    assert (frame.file, frame.line) == (f"<livepatch {fix.id} {m.__name__}:steps>", 2)
    applied.mode = "on"
    assert applied.status().frames[0].line == 8
    old.close()
    settles(applied)
    assert next(new) == "new 2"


async def pull(items: Any) -> object:
    return await items.__anext__()


def drive(coroutine: Any) -> None:
    with pytest.raises(StopIteration):
        coroutine.send(None)


MADE = "def make():\n    def made():\n        yield 'new'\n    return made"
SUSPENDED = {
    "generator": ("steps", "def steps(): yield 'new'", lambda m: m.steps(), next),
    "coroutine": ("wait", "async def wait(x): return 'new'", lambda m: m.wait(m.bare()), lambda c: c.send(None)),
    "async_generator": ("items", "async def items(): yield 'new'", lambda m: m.items(), lambda a: drive(pull(a))),
    "nested": ("make", MADE, lambda m: m.make()(), next),
}


@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize(("name", "replacement", "make", "start"), SUSPENDED.values(), ids=SUSPENDED.keys())
def test_what_is_suspended(
    name: str,
    replacement: str,
    make: Any,
    start: Any,
    started: bool,
    m: ModuleType,
    write_fix: WriteFix,
):
    suspended = make(m)
    if started:
        start(suspended)
    applied = livepatch.apply(write_fix(f"{m.__name__}:{name}", replacement))
    (frame,) = applied.status().frames
    assert frame.function in (name, "make.<locals>.made")
    assert frame.holder == f"suspended {type(suspended).__name__}"
    assert applied.status().state == "draining"
    assert not applied.wait(0.01)
    if hasattr(suspended, "close"):
        suspended.close()
    del suspended
    gc.collect()
    settles(applied)


def test_a_running_generator_is_named_once_and_by_its_thread(write_module: WriteModule, write_fix: WriteFix):
    m = write_module("def steps(look):\n    yield look()\n    yield 'old'")
    applied: list[livepatch.Applied] = []
    fix = write_fix(f"{m.__name__}:steps", "def steps(look): yield 'new'")

    def look() -> list[str]:
        applied.append(livepatch.apply(fix))
        return [frame.holder for frame in applied[0].status().frames]

    running = m.steps(look)
    assert next(running) == ["thread MainThread"]
    assert [frame.holder for frame in applied[0].status().frames] == ["suspended generator"]
    assert next(running) == "old"
    running.close()
    settles(applied[0])


def test_a_thread_that_stands_in_a_closure_whose_maker_was_switched(write_module: WriteModule, write_fix: WriteFix):
    m = write_module(
        "def make():\n    def block(entered, leave):\n        entered.set(); leave.wait(10)\n    return block"
    )
    m.block = m.make()
    replacement = "def make():\n    def block(entered, leave):\n        return 'new'\n    return block"
    with blocked(m):
        applied = livepatch.apply(write_fix(f"{m.__name__}:make", replacement))
        assert m.block(None, None) == "new"
        assert [frame.function for frame in applied.status().frames] == ["make.<locals>.block"]
    settles(applied)


def test_recursion_is_named_frame_by_frame(write_module: WriteModule, write_fix: WriteFix):
    m = write_module("def f(n, look): return look() if n == 0 else f(n - 1, look)")
    fix = write_fix(f"{m.__name__}:f", "def f(n, look): return 'new'")
    assert len(m.f(4, lambda: livepatch.apply(fix).status().frames)) == 5
    assert livepatch.status()[0].state == "settled"


def test_what_is_held_elsewhere_is_not_in_flight(m: ModuleType, write_fix: WriteFix):
    held = [m.steps.__code__, m.steps.__code__]
    applied = livepatch.apply(write_fix(f"{m.__name__}:steps", "def steps(): yield 'new'"))
    settles(applied)
    assert held[0] is held[1]


def test_finished_generators_are_not_in_flight(m: ModuleType, write_fix: WriteFix):
    done = m.steps()
    list(done)
    applied = livepatch.apply(write_fix(f"{m.__name__}:steps", "def steps(): yield 'new'"))
    settles(applied)


def test_settled_in_asyncio(m: ModuleType, write_fix: WriteFix):
    fix = write_fix(f"{m.__name__}:wait", "async def wait(x): return 'new', await x")

    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(m.wait(future), name="waiter")
        await asyncio.sleep(0)
        applied = livepatch.apply(fix)
        (frame,) = applied.status().frames
        assert (frame.function, frame.holder) == ("wait", "task 'waiter'")
        waiting = asyncio.create_task(applied.settled())
        await asyncio.sleep(0.02)
        assert not waiting.done()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(applied.settled(), 0.01)
        future.set_result(1)
        await asyncio.wait_for(waiting, 10)
        assert (await task, await m.wait(future)) == (("old", 1), ("new", 1))
        await applied.settled()
        assert applied.status().state == "settled"

    asyncio.run(main())


def test_a_reverted_patch_is_reverted_and_waits_for_nothing(m: ModuleType, write_fix: WriteFix):
    applied = livepatch.apply(write_fix(f"{m.__name__}:steps", "def steps(): yield 'new'"))
    new = m.steps()
    next(new)
    applied.revert()
    assert (applied.status().state, applied.status().frames) == ("reverted", ())
    assert applied.wait(0)
    assert next(new, "done") == "done"


# By themselves


def test_in_flight_looks_for_those_codes_only(m: ModuleType):
    one, two = m.steps(), m.steps()
    next(one)
    frames = in_flight([m.steps.__code__, m.block.__code__])
    assert sorted(frame.line for frame in frames) == [7, 8]
    assert in_flight([m.block.__code__]) == in_flight([]) == ()
    two.close()
    assert [frame.line for frame in in_flight([m.steps.__code__])] == [8]
    assert next(one) == "old 2"


def test_references_beside_those_that_are_known():
    codes = {0: compile("", "<specimen>", "exec")}
    assert not is_referenced(codes, 0, 0)
    held = [codes[0]] * 3
    assert is_referenced(codes, 0, 0)
    assert is_referenced(codes, 0, 2)
    assert not is_referenced(codes, 0, 3)
    held.clear()
    assert not is_referenced(codes, 0, 0)
