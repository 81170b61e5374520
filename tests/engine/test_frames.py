"""Calls in flight: which ones are named, and how to wait until they are gone."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

import livepatch
from livepatch.engine import frames, pace, tasks
from livepatch.engine.frames import InFlight, in_flight, is_referenced, nearby, stuck

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
    assert applied.wait(0)
    assert applied.wait(5)
    assert applied.wait()


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


def test_how_one_reads():
    frame = InFlight(function="f", file="a.py", line=3, holder="task 'gossip'")
    assert str(frame) == "f at a.py:3 (task 'gossip')"
    assert (frame.thread, frame.task, frame.endless, frame.since) == ("", "", False, None)


def test_an_async_generator_that_waits(m: ModuleType):
    async def waits() -> Any:
        await m.bare()
        yield 1

    items = waits()
    pulled = pull(items)
    pulled.send(None)
    assert items.ag_running
    assert [frame.holder for frame in in_flight([waits.__code__])] == ["suspended async_generator"]
    with pytest.raises(StopIteration):
        pulled.send(None)
    assert [frame.holder for frame in in_flight([waits.__code__])] == ["suspended async_generator"]
    drive(pull_to_the_end(items))
    assert in_flight([waits.__code__]) == ()


async def pull_to_the_end(items: Any) -> None:
    async for _ in items:
        pass


def test_what_has_ended_with_an_error_is_not_in_flight(m: ModuleType):
    def fails() -> None:
        raise RuntimeError

    def fails_later() -> Iterator[int]:
        yield 1
        raise RuntimeError

    async def awaits() -> None:
        await m.bare()
        raise RuntimeError

    codes = [fails.__code__, fails_later.__code__, awaits.__code__]
    kept: list[object] = []
    for begin in (fails, lambda: list(fails_later()), lambda: [c := awaits(), c.send(None), c.send(None)]):
        with pytest.raises(RuntimeError) as caught:
            begin()
        kept += [caught.value, caught.tb]
        frame = caught.tb
        while frame is not None:
            kept.append(frame.tb_frame)
            frame = frame.tb_next
    assert {id(f.f_code) for f in kept if type(f).__name__ == "frame"} >= {id(code) for code in codes}
    assert in_flight(codes) == nearby(codes) == ()
    assert stuck(codes) == []


def test_a_generator_that_resumes_while_it_is_looked_for(m: ModuleType, monkeypatch: pytest.MonkeyPatch):
    """Between the two looks it goes from the heap to a stack, and is still named; and the other way round."""
    from livepatch.engine import frames

    entered, leave = threading.Event(), threading.Event()

    def waits() -> Iterator[int]:
        yield 1
        entered.set()
        leave.wait(10)
        yield 2
        yield 3

    running = waits()
    next(running)
    worker = threading.Thread(target=next, args=(running,), name="resumer")
    tasks = frames.asyncio_tasks
    monkeypatch.setattr(frames, "asyncio_tasks", lambda more: [tasks(more), worker.start(), entered.wait(10)][0])
    assert [frame.holder for frame in in_flight([waits.__code__])] == ["thread resumer"]
    monkeypatch.setattr(frames, "asyncio_tasks", lambda more: [tasks(more), leave.set(), worker.join()][0])
    assert [frame.holder for frame in in_flight([waits.__code__])] == ["suspended generator"]
    monkeypatch.undo()
    running.close()
    assert in_flight([waits.__code__]) == ()


def test_what_was_frozen_is_found(m: ModuleType):
    m.kept = m.steps()
    next(m.kept)

    async def main() -> None:
        gate = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(m.wait(gate), name="frozen")
        await asyncio.sleep(0)
        gc.freeze()
        try:
            found = in_flight([m.steps.__code__, m.wait.__code__])
            assert sorted(frame.holder for frame in found) == ["suspended generator", "task 'frozen'"]
        finally:
            gc.unfreeze()
        gate.set_result(1)
        await task

    asyncio.run(main())
    m.kept.close()


def test_nearby_walks_no_heap(m: ModuleType, monkeypatch: pytest.MonkeyPatch):
    def walked(*_: object) -> None:
        raise AssertionError

    kept = m.steps()
    next(kept)
    monkeypatch.setattr(gc, "get_referrers", walked)
    monkeypatch.setattr(gc, "get_objects", walked)
    with blocked(m, "the-worker"):
        (frame,) = nearby([m.block.__code__, m.steps.__code__])
        assert (frame.function, frame.thread, frame.holder) == ("block", "the-worker", "thread the-worker")
    assert nearby([m.block.__code__]) == nearby([]) == ()


def test_one_walk_for_all_codes(m: ModuleType, monkeypatch: pytest.MonkeyPatch):
    walks: list[int] = []
    walk = gc.get_referrers
    monkeypatch.setattr(gc, "get_referrers", lambda *of: walks.append(len(of)) or walk(*of))
    in_flight([m.steps.__code__, m.block.__code__, m.wait.__code__])
    assert len(walks) == 1


def test_types_are_not_asked_whether_they_are_ours(m: ModuleType):
    class Touchy(type):
        def __eq__(cls, other: object) -> bool:
            raise AssertionError

        __hash__ = None  # type: ignore[assignment]

    class Holder(metaclass=Touchy):
        pass

    async def main() -> None:
        holder = Holder()
        holder.code = m.steps.__code__
        task = asyncio.create_task(m.wait(asyncio.get_running_loop().create_future()))
        await asyncio.sleep(0)
        assert len(in_flight([m.steps.__code__, m.wait.__code__])) == 1
        assert len(nearby([m.steps.__code__, m.wait.__code__])) == 1
        task.cancel()

    asyncio.run(main())


def test_looking_keeps_no_frame_alive(m: ModuleType):
    class Local:
        pass

    def looks() -> weakref.ref[Local]:
        local = Local()
        for look in (in_flight, nearby, stuck):
            look([looks.__code__, m.steps.__code__])
        return weakref.ref(local)

    gc.collect()
    gc.disable()
    try:
        assert looks()() is None
    finally:
        gc.enable()


# Endless ones


@pytest.fixture
def service(write_module: WriteModule) -> ModuleType:
    return write_module("""
        import asyncio
        def serve(entered, leave):
            while True:
                work(entered, leave)
        def work(entered, leave):
            entered.set()
            if leave.wait(10):
                raise SystemExit
        def main(entered, leave):
            serve(entered, leave)
        async def gossip():
            while True:
                await asyncio.sleep(100)
        async def starts():
            await gossip()
        async def once():
            await asyncio.sleep(100)
        def numbers():
            while True:
                yield 1
        def some():
            yield from numbers()
    """)


def test_stuck_tasks(service: ModuleType):
    async def main() -> None:
        names = ["gossip", "starts", "once"]
        tasks = {name: asyncio.create_task(getattr(service, name)(), name=name) for name in names}
        await asyncio.sleep(0)
        codes = [getattr(service, name).__code__ for name in names]
        found = {(s.where.function, s.where.task): s for s in stuck(codes)}
        assert set(found) == {("gossip", "gossip"), ("gossip", "starts"), ("starts", "starts")}
        for (_, name), one in found.items():
            assert one.task is tasks[name]
            assert one.thread == threading.get_ident()
            assert one.where in in_flight(codes)
            assert (one.where.endless, one.where.holder) == (True, f"task {name!r}")
        assert len(in_flight(codes)) == len(nearby(codes)) == 4
        for task in tasks.values():
            task.cancel()
        await asyncio.wait(tasks.values())
        assert stuck(codes) == []

    asyncio.run(main())


def test_stuck_threads(service: ModuleType):
    entered, leave = threading.Event(), threading.Event()

    def serve() -> None:
        with suppress(SystemExit):
            service.main(entered, leave)

    thread = threading.Thread(target=serve, name="server")
    thread.start()
    assert entered.wait(10)
    codes = [service.serve.__code__, service.work.__code__, service.main.__code__]
    endless = {frame.function: frame.endless for frame in nearby(codes)}
    assert endless == {"work": False, "serve": True, "main": True}
    assert [(s.where.function, s.task, s.thread) for s in stuck(codes)] == [
        ("serve", None, thread.ident),
        ("main", None, thread.ident),
    ]
    leave.set()
    thread.join()
    assert stuck(codes) == []


def test_stuck_generators(service: ModuleType):
    one, two, three = service.numbers(), service.some(), service.some()
    next(one), next(two)
    codes = [service.numbers.__code__, service.some.__code__]
    assert sorted((s.where.function, s.where.holder, s.task, s.thread) for s in stuck(codes)) == [
        ("numbers", "suspended generator", None, None),
        ("numbers", "suspended generator", None, None),
        ("some", "suspended generator", None, None),
    ]
    assert len(in_flight(codes)) == 4
    one.close(), two.close(), three.close()


def test_deep_recursion_is_looked_at_in_one_go(m: ModuleType):
    looked: list[int] = []

    def deep(left: int) -> None:
        if left:
            deep(left - 1)
        else:
            begun = time.perf_counter()
            assert len(nearby([deep.__code__])) == 501
            looked.append(time.perf_counter() - begun < 0.5)

    deep(500)
    assert looked == [True]


def test_whether_anybody_is_there_asks_nobody_for_more(m: ModuleType, monkeypatch: pytest.MonkeyPatch):
    asked: list[object] = []
    tell = frames._never_ends
    monkeypatch.setattr(
        frames, "_never_ends", lambda item, *rest, **more: asked.append(item) or tell(item, *rest, **more)
    )
    codes = [m.wait.__code__]
    assert not frames.is_nearby(codes)
    with blocked(m):
        assert frames.is_nearby([m.block.__code__, *codes])

    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        tasks = [asyncio.create_task(m.wait(future)) for _ in range(20)]
        await asyncio.sleep(0)
        assert frames.is_nearby(codes)
        assert len(asked) == 1
        assert len(nearby(codes)) == 20
        assert len(asked) == 21
        future.set_result(1)
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert not frames.is_nearby(codes)


def test_a_look_at_many_tasks_breathes_at_each(m: ModuleType, monkeypatch: pytest.MonkeyPatch):
    breaths: list[int] = []
    for module in (pace, tasks):
        monkeypatch.setattr(module, "breathe", lambda: breaths.append(1))

    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        waiting = [asyncio.create_task(m.wait(future)) for _ in range(100)]
        await asyncio.sleep(0)
        assert len(nearby([m.wait.__code__])) == 100
        future.set_result(1)
        await asyncio.gather(*waiting)

    asyncio.run(main())
    assert len(breaths) >= 600  # who they are, what they hold, their frames, whether they run, and whether they end
