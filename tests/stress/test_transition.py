"""A patch of 64 functions that call each other comes and goes under load: nobody ever sees both of its sides.

Whatever a chain of calls or a unit of work gets back names the side of each function that had a part in it, so one
answer tells whether it was mixed.  The same load finds mixed answers as soon as chains are not kept together.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Self

import pytest

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteModule
from tests.few_modules import FewModules

import livepatch

FAMILIES = 8
# How long calls and units stand still in their middle, in seconds: what is under way at a switch is what counts, and
# the more of the time it stands still, the more often it is under way.
PAUSE = 0.004
HEAD = """
import time
import types

@types.coroutine
def pause():
    yield
"""
# Eight functions; {j} and {k} are two other families, so that calls go from each family to every other.
FAMILY = """
def leaf{i}():
    return ["SIDE"]

def plain{i}():
    seen = ["SIDE", *leaf{i}(), *leaf{j}()]
    time.sleep(0)
    return [*seen, *leaf{k}()]

class Pool{i}:
    def outer(self):
        seen = ["SIDE", *plain{j}(), *self.inner()]
        time.sleep(0.0002)
        return [*seen, *Pool{j}().inner()]

    def inner(self):
        return ["SIDE", *leaf{k}()]

async def fetch{i}():
    seen = ["SIDE", *leaf{i}()]
    await pause()
    return [*seen, *leaf{j}(), *plain{k}()]

async def serve{i}():
    seen = ["SIDE", *await fetch{i}()]
    seen += [side async for sides in stream{j}() for side in sides]
    return [*seen, *Pool{k}().inner(), *await fetch{j}()]

def steps{i}():
    seen = ["SIDE", *leaf{i}()]
    yield seen
    yield from (["SIDE", *leaf{j}(), *leaf{k}()] for _ in range(2))
    yield [*plain{i}(), *Pool{j}().inner()]

async def stream{i}():
    yield ["SIDE", *leaf{i}()]
    await pause()
    yield ["SIDE", *plain{j}()]
"""
PATHS = ("leaf{}", "plain{}", "Pool{}.outer", "Pool{}.inner", "fetch{}", "serve{}", "steps{}", "stream{}")
Work = Callable[[], Iterator[tuple[str, list[str]]]]


def module_of(side: str, head: str) -> str:
    families = (FAMILY.format(i=i, j=(i + 1) % FAMILIES, k=(i + 3) % FAMILIES) for i in range(FAMILIES))
    return "".join([head, *families]).replace("SIDE", side)


def reached(module: ModuleType, path: str) -> FunctionType:
    found: Any = module
    for name in path.split("."):
        found = getattr(found, name)
    assert isinstance(found, FunctionType)
    return found


class Scene:
    """The patch, and what it found."""

    def __init__(self, write_module: WriteModule, new_patch: NewPatch) -> None:
        self.node = write_module(module_of("old", HEAD))
        self.written = write_module(module_of("new", f"import time\nfrom {self.node.__name__} import pause\n"))
        self.fix = new_patch()
        paths = [path.format(i) for path in PATHS for i in range(FAMILIES)]
        self.functions = [reached(self.node, path) for path in paths]
        for name in dict.fromkeys(path.partition(".")[0] for path in paths):
            self.fix.replace(f"{self.node.__name__}:{name}")(getattr(self.written, name))
        # A strong reference would look like a call in flight.
        self.codes: list[weakref.ref[CodeType]] = [weakref.ref(function.__code__) for function in self.functions]

    def any(self, kind: str) -> Any:
        return getattr(self.node, f"{kind}{random.randrange(FAMILIES)}")

    def is_as_it_was(self) -> bool:
        return all(function.__code__ is code() for function, code in zip(self.functions, self.codes, strict=True))


@pytest.fixture
def scene(write_module: WriteModule, new_patch: NewPatch, monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = Scene(write_module, new_patch)
    assert len(made.functions) == 64
    monkeypatch.setattr("livepatch.process.live.sys", FewModules(made.node, made.written))
    return made


class Answers:
    """What came back, by what asked for it: how many on each side, and those that were on both."""

    def __init__(self) -> None:
        self.seen: Counter[tuple[str, str]] = Counter()
        self.mixed: list[tuple[str, list[str]]] = []
        self.of: set[str] = set()

    def note(self, asker: str, answer: list[str]) -> None:
        self.of.add(asker)
        if len(set(answer)) == 1:
            self.seen[asker, answer[0]] += 1
        else:
            self.mixed.append((asker, answer))

    def complete(self) -> bool:
        """Whether each asker has met both sides."""
        return all(self.seen[asker, side] for asker in self.of for side in ("old", "new"))

    def mixed_of(self, what: str) -> int:
        return sum(what in asker for asker, _ in self.mixed)

    def __str__(self) -> str:
        return f"{sum(self.seen.values())} answers, {len(self.mixed)} mixed, {dict(self.seen)}"


class Load:
    """Eight threads that call the functions all the time, by chains and by units of work."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.answers = scene, Answers()
        self.met: list[BaseException] = []
        self._stop = threading.Event()
        bodies: list[Callable[[], None]] = [self._chains, self._chains, self._items, self._units, self._units]
        bodies += [lambda run=run: asyncio.run(run()) for run in (self._tasks, self._unit_tasks, self._streams)]
        self._threads = [threading.Thread(target=self._guarded, args=(body,), daemon=True) for body in bodies]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in self._threads)
        assert self.met == []

    def _guarded(self, body: Callable[[], None]) -> None:
        try:
            body()
        except BaseException as error:
            self.met.append(error)

    def _chains(self) -> None:
        while not self._stop.is_set():
            self.answers.note("chain, plain", self.scene.any("plain")())
            self.answers.note("chain, method", self.scene.any("Pool")().outer())

    def _items(self) -> None:
        while not self._stop.is_set():
            answer: list[str] = []
            for sides in self.scene.any("steps")():
                answer += sides
                time.sleep(PAUSE)
            self.answers.note("chain, generator", answer)

    def _units(self) -> None:
        while not self._stop.is_set():
            with livepatch.unit_of_work():
                answer = self.scene.any("leaf")()
                time.sleep(PAUSE)
                answer += self.scene.any("Pool")().outer()
                for sides in self.scene.any("steps")():
                    answer += sides
                answer += self.scene.any("leaf")()
            self.answers.note("unit", answer)

    async def _tasks(self) -> None:
        async def chains() -> None:
            while not self._stop.is_set():
                self.answers.note("chain, coroutine", await self.scene.any("serve")())
                await asyncio.sleep(PAUSE)

        await asyncio.gather(*(chains() for _ in range(20)))

    async def _unit_tasks(self) -> None:
        async def units() -> None:
            while not self._stop.is_set():
                async with livepatch.unit_of_work():
                    answer = await self.scene.any("fetch")()
                    await asyncio.sleep(PAUSE)
                    async with asyncio.TaskGroup() as group:
                        tasks = [group.create_task(self.scene.any("serve")()) for _ in range(2)]
                    answer += [side for task in tasks for side in task.result()]
                    answer += await asyncio.to_thread(self.scene.any("plain"))
                self.answers.note("unit, asyncio", answer)

        await asyncio.gather(*(units() for _ in range(10)))

    async def _streams(self) -> None:
        async def chains() -> None:
            while not self._stop.is_set():
                answer: list[str] = []
                async for sides in self.scene.any("stream")():
                    answer += sides
                    await asyncio.sleep(PAUSE)
                self.answers.note("chain, async generator", answer)

        await asyncio.gather(*(chains() for _ in range(10)))


class Suspended:
    """A generator, coroutine or async generator that waits for whoever advances it, and all that it has answered."""

    def __init__(self, scene: Scene, kind: str, answers: Answers) -> None:
        self.kind, self.answer, self._answers = kind, [], answers
        self._item: Any = scene.any(kind)()
        self._step: Coroutine[Any, Any, Any] | None = None

    def advance(self) -> bool:
        """Go on to where it waits next; whether it does."""
        item = self._item
        try:
            if isinstance(item, Generator):
                self.answer += next(item)
            elif isinstance(item, AsyncGenerator):
                self._advance_stream(item)
            else:
                item.send(None)
        except (StopIteration, StopAsyncIteration) as end:
            self.answer += (end.value if isinstance(end, StopIteration) else None) or []
            self._answers.note(f"suspended {self.kind}", self.answer)
            self._item = None
            return False
        return True

    def _advance_stream(self, item: AsyncGenerator[list[str], None]) -> None:
        step: Any = self._step if self._step is not None else item.asend(None)
        self._step = step
        try:
            step.send(None)
        except StopIteration as end:
            self._step = None
            self.answer += end.value
        except StopAsyncIteration:
            self._step = None
            raise


def suspend(scene: Scene, count: int, answers: Answers) -> list[Suspended]:
    """So many, of which one in eight has not begun yet."""
    made = [Suspended(scene, ("steps", "serve", "stream")[i % 3], answers) for i in range(count)]
    for i, each in enumerate(made):
        for _ in range(i % 8 % 3 + bool(i % 8)):
            each.advance()
    return [each for each in made if each._item is not None]


def finish(*groups: list[Suspended]) -> None:
    """Let them all end, a step of each at a time and in no order."""
    left = [each for group in groups for each in group]
    random.shuffle(left)
    while left:
        left = [each for each in left if each.advance()]


def settle(applied: livepatch.Applied) -> None:
    assert applied.wait(30), applied.status()


class Held:
    """Suspends what is to be in flight: at a switch, so many as the test says, and `some` beside those."""

    def __init__(self, scene: Scene, count: int, answers: Answers) -> None:
        self._scene, self._count, self._answers = scene, count, answers

    def __call__(self) -> list[Suspended]:
        return suspend(self._scene, self._count, self._answers)

    def some(self) -> list[Suspended]:
        return suspend(self._scene, max(24, self._count // 20), self._answers)


Cycle = Callable[[Scene, Held], None]


def there_and_back(scene: Scene, held: Held) -> None:
    before = held()
    applied = livepatch.apply(scene.fix)
    assert applied.status().state == "draining"
    after = held.some()
    finish(before, after)
    settle(applied)
    before = held.some()
    applied.revert()
    finish(before)
    settle(applied)


def to_and_fro_while_it_drains(scene: Scene, held: Held) -> None:
    old = held()
    applied = livepatch.apply(scene.fix)
    new = held.some()
    applied.mode = "off"
    old_again = held.some()
    applied.mode = "on"
    finish(held.some(), old, new, old_again)
    settle(applied)
    applied.mode = "off"
    applied.revert()
    settle(applied)


def cancelled_while_it_drains(scene: Scene, held: Held) -> None:
    old = held()
    applied = livepatch.apply(scene.fix)
    new = held.some()
    applied.cancel()
    assert livepatch.status() == ()
    finish(new, held.some())
    settle(applied)
    finish(old)


def reverted_while_it_drains(scene: Scene, held: Held) -> None:
    old = held()
    applied = livepatch.apply(scene.fix)
    new = held.some()
    assert applied.revert().state == "draining"
    finish(old, held.some(), new)
    settle(applied)


def one_after_the_other(scene: Scene, held: Held) -> None:
    """Each switch waits for the one before: nothing but the load is in its way."""
    finish(held.some())
    applied = livepatch.apply(scene.fix, mode="off")
    applied.mode = "on"
    finish(held.some())
    applied.revert()
    applied = livepatch.apply(scene.fix)
    applied.revert()
    settle(applied)


CYCLES: tuple[Cycle, ...] = (
    there_and_back,
    to_and_fro_while_it_drains,
    cancelled_while_it_drains,
    reverted_while_it_drains,
    one_after_the_other,
)
# How many cycles, how much is suspended each time, and how often the threads take turns, in seconds.
LENGTHS = [
    pytest.param(10, 200, 5e-4, id="short"),
    pytest.param(1_000, 1_000, 1e-4, id="long", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("cycles", "suspended", "turn"), LENGTHS)
def test_no_chain_and_no_unit_ever_sees_both_sides(scene: Scene, cycles: int, suspended: int, turn: float) -> None:
    sys.setswitchinterval(turn)
    with Load(scene) as load:
        for made, cycle in enumerate(itertools.cycle(CYCLES)):
            # On a busy machine somebody may not have asked yet on either side.
            if made >= cycles and (made >= cycles + 50 or (load.answers.complete() and len(load.answers.of) == 10)):
                break
            cycle(scene, Held(scene, suspended, load.answers))
            assert livepatch.verify()
            assert load.answers.mixed == [], cycle
            assert load.met == []
    print(f"{made} cycles: {load.answers}")  # noqa: T201  # the figures that a long run is made for
    assert load.answers.mixed == []
    assert load.answers.complete(), load.answers
    assert len(load.answers.of) == 10, load.answers
    assert livepatch.status() == ()
    assert scene.is_as_it_was()


def test_the_same_load_sees_both_sides_where_chains_are_not_kept_together(scene: Scene) -> None:
    until = time.monotonic() + 60
    with Load(scene) as load:
        while time.monotonic() < until and not (load.answers.mixed_of("unit") and load.answers.mixed_of("chain")):
            held = suspend(scene, 30, load.answers)
            applied = livepatch.apply(scene.fix, consistency="immediate")
            finish(held)
            applied.revert()
    assert load.answers.mixed_of("suspended") > 0, load.answers
    assert load.answers.mixed_of("unit") > 0, load.answers
    assert load.answers.mixed_of("chain") > 0, load.answers
    assert scene.is_as_it_was()
