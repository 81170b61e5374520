"""Transitions that drain leave nothing behind, however often they are made, turned round and cancelled."""

from __future__ import annotations

import gc
import itertools
import sys
import threading
import weakref
from collections.abc import Generator
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteModule
from tests.few_modules import FewModules

import livepatch
from livepatch.engine import functions, units

NODE = """
    LIMIT = 1

    def plain(x, y=0):
        return "old", x, y, LIMIT

    class Pool:
        def size(self):
            return "old", [each for each in (plain(i) for i in range(2))]

    def make(k):
        def inner(v):
            return "old", k, v
        return inner

    def steps():
        yield "old"
        yield plain(1)

    async def fetch():
        return "old", plain(2)

    made = make("k")
"""
FIX = NODE.replace("old", "new").replace("y=0", "y=2").replace("LIMIT\n", "LIMIT + 1\n")


class Scene:
    def __init__(self, write_module: WriteModule, new_patch: NewPatch) -> None:
        self.node, written = write_module(NODE), write_module(FIX)
        self.fix = new_patch()
        for name in ("plain", "Pool", "make", "steps", "fetch"):
            self.fix.replace(f"{self.node.__name__}:{name}")(getattr(written, name))
        self.fix.add(self.node.__name__, ADDED=[1])
        node: Any = self.node
        self.functions: list[FunctionType] = [node.plain, node.Pool.size, node.make, node.made, node.steps, node.fetch]
        self.codes: list[weakref.ref[CodeType]] = [weakref.ref(function.__code__) for function in self.functions]

    def old(self) -> Generator[Any, None, None]:
        """A call that is under way: the switch drains until it is dropped; one that is closed keeps its code."""
        item: Generator[Any, None, None] = self.node.steps()
        next(item)
        return item


@pytest.fixture
def scene(write_module: WriteModule, new_patch: NewPatch, monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = Scene(write_module, new_patch)
    monkeypatch.setattr("livepatch.process.live.sys", FewModules(made.node))
    return made


def drained(scene: Scene) -> None:
    item = scene.old()
    applied = livepatch.apply(scene.fix)
    assert applied.status().state == "draining"
    del item
    assert applied.wait(10)
    with livepatch.unit_of_work():
        applied.revert()
        assert applied.status().units == 1
    assert applied.wait(10)


def turned_round(scene: Scene) -> None:
    first = scene.old()
    applied = livepatch.apply(scene.fix)
    second = scene.old()
    applied.mode = "off"
    applied.mode = "on"
    del first
    del second
    assert applied.wait(10)
    applied.revert()
    assert applied.wait(10)


def cancelled(scene: Scene) -> None:
    first = scene.old()
    applied = livepatch.apply(scene.fix)
    second = scene.old()
    applied.cancel()
    del second
    assert applied.wait(10)
    del first


def decided_by_call(scene: Scene) -> None:
    applied = livepatch.apply(scene.fix, mode=livepatch.split(100))
    item = scene.old()
    applied.mode = "off"
    del item
    assert applied.wait(10)
    applied.revert()
    assert applied.wait(10)


def given_up(scene: Scene) -> None:
    item = scene.old()
    with pytest.raises(livepatch.TransitionError):
        livepatch.apply(scene.fix, consistency="quiescent", timeout=0)
    del item


def no_thread_waits() -> bool:
    for thread in threading.enumerate():
        if thread.name == "livepatch-settle":
            thread.join(10)
    return not any(thread.name == "livepatch-settle" for thread in threading.enumerate())


def measures(scene: Scene) -> dict[str, int]:
    assert no_thread_waits()
    for _ in range(3):
        gc.collect()
    codes = [code for reference in scene.codes if (code := reference()) is not None]
    return {
        "codes": len(codes),
        # The list that holds them is one referrer more each time.
        "holders": sum(len(gc.get_referrers(code)) for code in codes),
        "standing": len(functions._standing),
        "own": len(functions._own),
        "entering": len(units.entering),
        "units": len(units.now[0].units),
        "blocks": sys.getallocatedblocks(),
    }


ROUNDS = 4
WARM_UP = 16  # cycles in which the interpreter comes to keep more than it does later on
# One function, code object or stack of its own that each cycle kept would be more.
SLACK_PER_CYCLE = 6
CYCLES = [drained, turned_round, cancelled, decided_by_call, given_up]


@pytest.mark.parametrize(
    ("cycle", "times"),
    [
        (decided_by_call, 4),
        *(pytest.param(cycle, 20, marks=pytest.mark.slow) for cycle in CYCLES),
    ],
)
def test_nothing_grows_with_the_number_of_transitions(scene: Scene, cycle: Any, times: int) -> None:
    taken = []
    for _ in range(WARM_UP):
        cycle(scene)
    for round_ in range(ROUNDS + 2):
        for _ in range(times):
            cycle(scene)
        if round_ > 0:  # what is made once has been made
            taken.append(measures(scene))
    for name, first in taken[0].items():
        if name != "blocks":
            assert [each[name] for each in taken] == [first] * len(taken), name
    # The interpreter comes to keep a few blocks of its own, but not in every round: what each cycle loses, all do.
    grown = [after["blocks"] - before["blocks"] for before, after in itertools.pairwise(taken)]
    assert min(grown) < SLACK_PER_CYCLE * times, grown
    assert taken[-1]["entering"] == taken[-1]["units"] == 0
    assert all(f.__code__ is code() for f, code in zip(scene.functions, scene.codes, strict=True))
