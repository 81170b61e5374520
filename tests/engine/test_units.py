"""Units of work: whatever begins inside one sees one side, across tasks, threads and contexts, until it ends."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteModule
from tests.few_modules import FewModules

import livepatch
from livepatch.engine import units

SOURCE = """
def one():
    return "SIDE"

def two():
    return "SIDE"

def calls(function):
    return "SIDE", function()

def steps():
    yield "SIDE"
    yield one()

async def waits():
    return "SIDE"
"""
NAMES = ("one", "two", "calls", "steps", "waits")


class Scene:
    """Functions that answer with their side, and a patch to put in and to take out."""

    def __init__(self, node: Any, fix: livepatch.Patch) -> None:
        self.node, self.fix = node, fix

    def sides(self) -> str:
        """The side that two siblings have, none of which is on the stack at a flip."""
        one, two = self.node.one(), self.node.two()
        assert one == two
        return str(one)

    def fresh(self) -> str:
        """The side of a call that is in no unit and no chain."""
        return contextvars.Context().run(self.sides)

    def flip(self) -> livepatch.Applied:
        applied = livepatch.apply(self.fix)
        assert self.fresh() == "new"
        return applied


@pytest.fixture
def scene(write_module: WriteModule, new_patch: NewPatch, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    node, written = (write_module(SOURCE.replace("SIDE", side)) for side in ("old", "new"))
    monkeypatch.setattr("livepatch.process.live.sys", FewModules(node, written))
    fix = new_patch()
    for name in NAMES:
        fix.replace(f"{node.__name__}:{name}")(getattr(written, name))
    yield Scene(node, fix)
    assert units.current() is None
    assert [epoch for epoch in units.epochs_at_work() if epoch.units] == []


# Shapes


def test_as_a_context_manager(scene: Scene) -> None:
    with livepatch.unit_of_work() as given:
        assert given is None
        assert scene.sides() == "old"
        applied = scene.flip()
        assert scene.sides() == "old"
    assert scene.sides() == "new"
    assert applied.wait(10)


def test_as_an_asynchronous_context_manager(scene: Scene) -> None:
    async def main() -> None:
        async with livepatch.unit_of_work() as given:
            assert given is None
            applied = scene.flip()
            assert (scene.sides(), await scene.node.waits()) == ("old", "old")
        assert (scene.sides(), await scene.node.waits()) == ("new", "new")
        await asyncio.wait_for(applied.settled(), 10)

    asyncio.run(main())


DECORATORS = [
    pytest.param(livepatch.unit_of_work, id="without parentheses"),
    pytest.param(lambda function: livepatch.unit_of_work()(function), id="with parentheses"),
]


@pytest.mark.parametrize("decorator", DECORATORS)
def test_as_a_decorator_of_a_function(scene: Scene, decorator: Callable[[Any], Any]) -> None:
    def handle(x: int, *more: int, key: str = "k") -> tuple[object, ...]:
        "the words"
        before = scene.sides()
        if not livepatch.status():
            scene.flip()
        return before, scene.sides(), x, more, key

    decorated = decorator(handle)
    assert (decorated.__name__, decorated.__doc__, decorated.__wrapped__) == ("handle", "the words", handle)
    assert inspect.signature(decorated) == inspect.signature(handle)
    assert not inspect.iscoroutinefunction(decorated)
    assert decorated(1, 2, key="z") == ("old", "old", 1, (2,), "z")
    assert decorated(1) == ("new", "new", 1, (), "k")


@pytest.mark.parametrize("decorator", DECORATORS)
def test_as_a_decorator_of_a_coroutine_function(scene: Scene, decorator: Callable[[Any], Any]) -> None:
    async def handle(x: int) -> tuple[object, ...]:
        "the words"
        before = await scene.node.waits()
        if not livepatch.status():
            scene.flip()
        await asyncio.sleep(0)
        return before, scene.sides(), await scene.node.waits(), x

    decorated = decorator(handle)
    assert (decorated.__name__, decorated.__doc__, decorated.__wrapped__) == ("handle", "the words", handle)
    assert inspect.iscoroutinefunction(decorated)
    assert asyncio.run(decorated(1)) == ("old", "old", "old", 1)
    assert asyncio.run(decorated(2)) == ("new", "new", "new", 2)


@pytest.mark.parametrize("decorator", DECORATORS)
def test_generator_functions_are_refused(decorator: Callable[[Any], Any]) -> None:
    def steps() -> Iterator[int]:
        yield 1

    async def stream() -> Any:
        yield 1

    for function in (steps, stream):
        with pytest.raises(TypeError, match="generator function"):
            decorator(function)
    with pytest.raises(TypeError, match="int"):
        decorator(1)


def test_one_inside_another_is_part_of_it(scene: Scene) -> None:
    with livepatch.unit_of_work():
        applied = scene.flip()
        with livepatch.unit_of_work():
            context = contextvars.copy_context()
        # What has outlived the inner one is still in the outer.
        assert (scene.sides(), context.run(scene.sides)) == ("old", "old")
        assert applied.status().units == 1
    assert scene.sides() == "new"


def test_one_object_entered_by_many_tasks_at_once_and_again(scene: Scene) -> None:
    shared = livepatch.unit_of_work()

    async def work(begun: list[str], before: asyncio.Event, flipped: asyncio.Event) -> str:
        async with shared:
            begun.append(scene.sides())
            if len(begun) == 50:
                before.set()
            await flipped.wait()
            with shared:
                return scene.sides()

    async def main() -> None:
        begun: list[str] = []
        before, flipped = asyncio.Event(), asyncio.Event()
        tasks = [asyncio.create_task(work(begun, before, flipped)) for _ in range(50)]
        await before.wait()
        applied = scene.flip()
        assert applied.status().units == 50
        late = asyncio.create_task(work(begun, before, flipped))
        flipped.set()
        assert await asyncio.gather(*tasks) == ["old"] * 50
        assert await late == "new"
        assert begun == ["old"] * 50 + ["new"]
        await asyncio.wait_for(applied.settled(), 10)

    asyncio.run(main())
    assert shared._begun == {}


def test_an_exception_ends_it_and_goes_on(scene: Scene) -> None:
    @livepatch.unit_of_work
    def flips_and_fails() -> None:
        applied.append(scene.flip())
        assert scene.sides() == "old"
        raise KeyError("mine")

    def fails_in_its_block() -> None:
        with livepatch.unit_of_work():
            raise KeyError("mine")

    applied: list[livepatch.Applied] = []
    with pytest.raises(KeyError, match="mine"):
        flips_and_fails()
    with pytest.raises(KeyError, match="mine"):
        fails_in_its_block()
    assert scene.sides() == "new"

    @livepatch.unit_of_work
    async def fails() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        asyncio.run(fails())
    assert applied[0].wait(10)


# Which side


def test_each_unit_has_the_side_that_was_live_when_it_began(scene: Scene) -> None:
    before, after = contextvars.copy_context(), contextvars.copy_context()
    old, new, again = (livepatch.unit_of_work() for _ in range(3))
    before.run(old.__enter__)
    applied = scene.flip()
    after.run(new.__enter__)
    last = contextvars.copy_context()
    applied.mode = "off"
    last.run(again.__enter__)
    for _ in range(3):
        assert [context.run(scene.sides) for context in (before, after, last)] == ["old", "new", "old"]
    assert applied.status().units == 1
    after.run(new.__exit__, None, None, None)
    assert applied.wait(10)
    assert [context.run(scene.sides) for context in (before, last)] == ["old", "old"]
    applied.mode = "on"
    assert applied.status().units == 2
    assert [context.run(scene.sides) for context in (before, last)] == ["old", "old"]
    before.run(old.__exit__, None, None, None)
    last.run(again.__exit__, None, None, None)
    assert applied.wait(10)


def test_one_that_begins_beneath_an_old_call_after_the_flip_is_on_the_old_side(scene: Scene) -> None:
    def inside() -> list[str]:
        applied.append(livepatch.apply(scene.fix))
        with livepatch.unit_of_work():
            seen = [scene.sides()]
            # The unit holds beyond the chain: this thread has no old call on its stack.
            with ThreadPoolExecutor(1) as pool:
                seen.append(pool.submit(contextvars.copy_context().run, scene.sides).result(10))
            assert applied[0].status().units == 1
        return seen

    applied: list[livepatch.Applied] = []
    assert scene.node.calls(inside) == ("old", ["old", "old"])
    assert applied[0].wait(10)
    assert scene.sides() == "new"


def test_one_that_begins_beneath_a_new_call_is_on_the_new_side(scene: Scene) -> None:
    def inside() -> str:
        with livepatch.unit_of_work():
            return scene.sides()

    item = scene.node.steps()
    assert next(item) == "old"
    scene.flip()
    assert scene.node.calls(inside) == ("new", "new")
    assert list(item) == ["old"]


def test_the_call_that_is_under_way_counts_more_than_the_unit_it_runs_in(scene: Scene) -> None:
    item = scene.node.steps()
    assert next(item) == "old"
    applied = scene.flip()
    with livepatch.unit_of_work():
        assert scene.sides() == "new"
        assert list(item) == ["old"]
    del item
    assert applied.wait(10)


# What carries a unit


def test_tasks_and_task_groups(scene: Scene) -> None:
    async def side(flipped: asyncio.Event) -> str:
        await flipped.wait()
        return scene.sides()

    async def main() -> None:
        flipped = asyncio.Event()
        outside = asyncio.create_task(side(flipped))
        async with livepatch.unit_of_work():
            early = asyncio.create_task(side(flipped))
            scene.flip()
            async with asyncio.TaskGroup() as group:
                late = [group.create_task(side(flipped)) for _ in range(3)]
                flipped.set()
            assert [await early, *(task.result() for task in late)] == ["old"] * 4
            assert await asyncio.gather(side(flipped), side(flipped)) == ["old", "old"]
        assert await outside == "new"

    asyncio.run(main())


def test_to_thread_and_executors(scene: Scene) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with livepatch.unit_of_work():
            scene.flip()
            assert await asyncio.to_thread(scene.sides) == "old"
            assert await loop.run_in_executor(None, contextvars.copy_context().run, scene.sides) == "old"
            # Neither of these hands the context on, so what they run is in no unit.
            assert await loop.run_in_executor(None, scene.sides) == "new"
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(scene.sides).result(10) == "new"
                assert pool.submit(contextvars.copy_context().run, scene.sides).result(10) == "old"

    asyncio.run(main())


def test_a_bare_thread_is_in_no_unit_unless_the_interpreter_hands_the_context_on(scene: Scene) -> None:
    seen: list[str] = []
    with livepatch.unit_of_work():
        scene.flip()
        given = threading.Thread(target=contextvars.copy_context().run, args=(lambda: seen.append(scene.sides()),))
        bare = threading.Thread(target=contextvars.Context().run, args=(lambda: seen.append(scene.sides()),))
        for thread in (given, bare):
            thread.start()
            thread.join(10)
    assert seen == ["old", "new"]


def test_trio_nurseries(scene: Scene) -> None:
    trio = pytest.importorskip("trio")
    seen: list[str] = []

    async def side() -> None:
        await trio.lowlevel.checkpoint()
        seen.append(scene.sides())

    async def main() -> None:
        async with livepatch.unit_of_work():
            scene.flip()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(side)
                nursery.start_soon(side)
            seen.append(await trio.to_thread.run_sync(scene.sides))
        seen.append(scene.sides())

    trio.run(main)
    assert seen == ["old", "old", "old", "new"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_anyio_task_groups(scene: Scene, backend: str) -> None:
    anyio = pytest.importorskip("anyio")
    if backend == "trio":
        pytest.importorskip("trio")
    seen: list[str] = []

    async def side() -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(scene.sides())

    async def main() -> None:
        async with livepatch.unit_of_work():
            scene.flip()
            async with anyio.create_task_group() as group:
                group.start_soon(side)
                group.start_soon(side)
            seen.append(await anyio.to_thread.run_sync(scene.sides))
        seen.append(scene.sides())

    anyio.run(main, backend=backend)
    assert seen == ["old", "old", "old", "new"]


def test_a_task_that_outlives_its_unit_is_in_none_any_more(scene: Scene) -> None:
    async def lasts(ended: asyncio.Event, seen: list[str]) -> None:
        seen.append(scene.sides())
        await ended.wait()
        seen.append(scene.sides())
        with livepatch.unit_of_work():
            seen.append(scene.sides())

    async def main() -> None:
        ended, seen = asyncio.Event(), list[str]()
        async with livepatch.unit_of_work():
            task = asyncio.create_task(lasts(ended, seen))
            await asyncio.sleep(0)
            applied = scene.flip()
            assert not await asyncio.to_thread(applied.wait, 0)
        await asyncio.wait_for(applied.settled(), 10)  # the task keeps nothing open
        ended.set()
        await task
        assert seen == ["old", "new", "new"]

    asyncio.run(main())


def test_one_that_ends_in_another_context_than_it_began_in(scene: Scene) -> None:
    unit, context = livepatch.unit_of_work(), contextvars.copy_context()
    context.run(unit.__enter__)
    applied = scene.flip()
    assert context.run(scene.sides) == "old"
    assert scene.sides() == "new"
    contextvars.copy_context().run(unit.__exit__, None, None, None)
    assert applied.wait(10)
    assert context.run(scene.sides) == "new"


def test_one_around_a_yield_of_a_fixture_like_generator(scene: Scene) -> None:
    def request() -> Iterator[str]:
        with livepatch.unit_of_work():
            yield scene.sides()

    item = request()
    first = contextvars.copy_context()
    assert first.run(next, item) == "old"
    applied = scene.flip()
    assert applied.status().units == 1
    contextvars.copy_context().run(item.close)
    assert applied.wait(10)


def test_the_status_counts_units_and_says_so(scene: Scene) -> None:
    contexts = [contextvars.copy_context() for _ in range(3)]
    began = [livepatch.unit_of_work() for _ in contexts]
    for context, unit in zip(contexts, began, strict=True):
        context.run(unit.__enter__)
    applied = scene.flip()
    for left in (3, 2, 1):
        status = livepatch.status()[0]
        assert (status.state, status.units, status.frames) == ("draining", left, ())
        assert f"{left} unit" in str(status)
        assert not applied.wait(0)
        contexts.pop().run(began.pop().__exit__, None, None, None)
    assert applied.wait(10)
    assert livepatch.status()[0].units == 0
