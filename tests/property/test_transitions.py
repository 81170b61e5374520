"""Any order of applies, switches, reverts and cancels over calls in flight and units, beside a model of a few lines.

The model keeps the mode of each patch, and those on both sides of the transition that is open.  A fresh call gets the
topmost patch that is on; a call in flight, and what it calls, stays with what it began with; so does a unit.
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import itertools
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.few_modules import FewModules

import livepatch
from livepatch.process import live

_NODE = """
import threading

def leaf():
    return ["original leaf"]

def pair(wait=None):
    seen = ["original pair", *leaf()]
    if wait is not None:
        wait()
    return [*seen, *leaf(), *list(steps(1))[0]]

def steps(n):
    for _ in range(n):
        yield ["original steps", *leaf()]

async def fetch(gate=None):
    seen = ["original fetch", *leaf()]
    if gate is not None:
        await gate
    return [*seen, *leaf()]
"""
_FIX = """
import livepatch

def describe(node):
    fix = livepatch.Patch({name!r}, package="pytest", versions=">=1")
    for function in ({functions},):
        fix.replace(f"{{node}}:{{function.__name__}}")(function)
    return fix

def leaf():
    return ["{name} leaf"]

def pair(wait=None):
    seen = ["{name} pair", *leaf()]
    if wait is not None:
        wait()
    return [*seen, *leaf(), *list(steps(1))[0]]

def steps(n):
    for _ in range(n):
        yield ["{name} steps", *leaf()]

async def fetch(gate=None):
    seen = ["{name} fetch", *leaf()]
    if gate is not None:
        await gate
    return [*seen, *leaf()]
"""
# Each has `leaf`, so that a mixed answer shows; A and B cover each other in part, and C covers all.
_PATCHES = {
    "TRANSIT-A": ("leaf", "pair", "steps"),
    "TRANSIT-B": ("leaf", "fetch", "steps"),
    "TRANSIT-C": ("leaf", "pair", "steps", "fetch"),
}
_numbers = itertools.count(1)


def _height() -> int:
    return 5


T = TypeVar("T")
Modes = dict[str, tuple[int, str]]
"""By patch, lowest first: which of its applies it was, and the word for its mode."""
_MODES = {
    "on": lambda: "on",
    "off": lambda: "off",
    "all": lambda: livepatch.split(100),
    "none": lambda: livepatch.split(0),
    "reached": lambda: livepatch.at(0, source=_height),
    "ahead": lambda: livepatch.at(10, source=_height),
}
_FUNCTIONS = ("leaf", "pair", "steps", "fetch")
_IS_ON = frozenset(["on", "all", "reached"])


def side_of(function: str, modes: Modes) -> str:
    """Whose version of a function answers under those modes."""
    sides = [name for name, (_, mode) in modes.items() if mode in _IS_ON and function in _PATCHES[name]]
    return f"{sides[-1] if sides else 'original'} {function}"


def held_by(function: str, modes: Modes) -> tuple[Any, ...]:
    """What the function holds under those modes: while that is the same, nothing is switched there."""
    held: list[Any] = []
    for name, (number, mode) in reversed(modes.items()):
        if function in _PATCHES[name] and mode != "off":
            held.append((name, number, mode))
            if mode == "on":
                break
    return tuple(held)


def swapped(one: Modes, other: Modes) -> set[str]:
    return {name for name in _FUNCTIONS if held_by(name, one) != held_by(name, other)}


def answer_of(function: str, modes: Modes) -> list[str]:
    leaf, steps = side_of("leaf", modes), side_of("steps", modes)
    return {
        "leaf": [leaf],
        "pair": [side_of("pair", modes), leaf, leaf, steps, leaf],
        "steps": [steps, leaf],
        "fetch": [side_of("fetch", modes), leaf, leaf],
    }[function]


@dataclass(eq=False)
class Call:
    """A call in flight: what it is, and the modes that it began with."""

    function: str
    modes: Modes
    generator: Generator[list[str], None, None] | None = None
    thread: threading.Thread | None = None
    task: asyncio.Task[list[str]] | None = None
    gate: asyncio.Future[None] | None = None
    release: threading.Event = field(default_factory=threading.Event)
    answer: list[str] = field(default_factory=list)


@dataclass(eq=False)
class Work:
    """A unit of work in a context of its own: the modes that it began with, and its side of the open transition."""

    modes: Modes
    side: bool
    context: contextvars.Context
    unit: Any


@dataclass(eq=False)
class Open:
    """The transition that is open: the modes on each side, which is live, and what the last flip took away."""

    sides: tuple[Modes, Modes]
    undo: Modes
    live: bool = True
    renamed: bool = False  # by a switch that turned it: what a cancel gives then is not modelled


def _write(folder: Path, source: str) -> Any:
    name = f"transit_{next(_numbers)}"
    (folder / f"{name}.py").write_text(source, encoding="utf-8")
    importlib.invalidate_caches()
    return importlib.import_module(name)


def pick(data: Any, things: list[T]) -> T:
    """One of them; drawn by its place, for what is drawn is kept for the report, and a call would not end."""
    return things[data.draw(st.integers(0, len(things) - 1))]


class Transitions(RuleBasedStateMachine):
    """Three patches over four functions; some calls in flight, threads and tasks among them; and two units."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name)
        sys.path.insert(0, self.folder.name)
        self.node = _write(path, _NODE)
        self.written = [
            _write(path, _FIX.format(name=name, functions=", ".join(functions))) for name, functions in _PATCHES.items()
        ]
        self.fixes = {name: w.describe(self.node.__name__) for name, w in zip(_PATCHES, self.written, strict=True)}
        # Strong references to the code would look like calls in flight.
        self.codes = {name: weakref.ref(getattr(self.node, name).__code__) for name in _FUNCTIONS}
        live.sys = FewModules(self.node, *self.written)  # type: ignore[attr-defined]  # all that the survey needs
        self.modes: Modes = {}
        self.consistencies: dict[str, str | None] = {}
        self.open: Open | None = None
        self.calls: list[Call] = []
        self.units: list[Work] = []
        self.loop = asyncio.new_event_loop()

    # The model

    def side(self, call: Call) -> bool | None:
        """On which side of the open transition a call is; ``None``: its function is on neither."""
        if self.open is None or call.function not in swapped(*self.open.sides):
            return None
        return held_by(call.function, call.modes) == held_by(call.function, self.open.sides[True])

    def beneath(self, call: Call) -> Modes:  # the modes for what it calls now
        side = self.side(call)
        return self.modes if side is None or self.open is None else self.open.sides[side]

    def settle(self) -> None:
        """The transition is over when no call and no unit is left on the other side."""
        if self.open is not None:
            other = not self.open.live
            if not any(w.side is other for w in self.units) and not any(self.side(c) is other for c in self.calls):
                self.open = None

    def outcome(self, new: Modes, consistency: str | None) -> str:
        """What a switch to those modes does: it turns the open one, waits in vain, opens one, or is done at once."""
        if self.open is not None:
            return "waits" if swapped(self.open.sides[not self.open.live], new) else "turns"
        changed = swapped(self.modes, new)
        busy = bool(changed) and (bool(self.units) or any(call.function in changed for call in self.calls))
        return ("waits" if consistency == "quiescent" else "opens") if busy else "done"

    def go(self, new: Modes, consistency: str | None, switch: Callable[[float], object], *, turns: bool = True) -> bool:
        """Make a switch that is given its timeout, in the process and in the model; whether it was made."""
        outcome = self.outcome(new, consistency) if turns or self.open is None else "waits"
        if outcome == "waits":
            with pytest.raises(livepatch.TransitionError):
                switch(0.05)
            return False
        switch(20)
        if outcome == "opens":
            self.open = Open((self.modes, new), self.modes)
            for work in self.units:
                work.side = False
        elif outcome == "turns" and self.open is not None:
            self.open.live, self.open.undo = not self.open.live, self.modes
            self.open.renamed |= new != self.open.sides[self.open.live]
        self.modes = new
        self.settle()
        return True

    def consistency(self, drawn: str | None) -> Any:  # with "immediate", nothing can be said of what is in flight
        return "chain" if drawn == "immediate" and (self.calls or self.units) else drawn

    # Switches

    @rule(
        name=st.sampled_from([*_PATCHES]),
        mode=st.sampled_from([*_MODES]),
        drawn=st.sampled_from([None, "chain", "chain", "quiescent", "immediate"]),
        data=st.data(),
    )
    def apply(self, name: str, mode: str, drawn: str | None, data: Any) -> None:
        if name in self.modes:
            return
        replaced = data.draw(st.lists(st.sampled_from([*self.modes]), unique=True)) if self.modes else []
        new = {k: v for k, v in self.modes.items() if k not in replaced} | {name: (next(_numbers), mode)}
        how = self.consistency(drawn)
        went = self.go(
            new,
            how,
            lambda timeout: livepatch.apply(
                self.fixes[name], mode=_MODES[mode](), consistency=how, timeout=timeout, replaces=replaced
            ),
            turns=False,  # it looks at what is live, and that is not known before
        )
        if went:  # else a cancel may yet bring back the one that was there, and its own
            self.consistencies[name] = how

    @precondition(lambda self: self.modes)
    @rule(data=st.data(), mode=st.sampled_from([*_MODES]))
    def switch(self, data: Any, mode: str) -> None:
        name = data.draw(st.sampled_from([*self.modes]))
        new = {**self.modes, name: (self.modes[name][0], mode)}
        how = self.consistencies[name]
        # It has no timeout of its own, and would wait long.
        if new != self.modes and how == self.consistency(how) and self.outcome(new, how) != "waits":
            self.go(new, how, lambda _: livepatch.flags.__setitem__(name, _MODES[mode]()))

    @precondition(lambda self: self.modes)
    @rule(data=st.data(), drawn=st.sampled_from(["chain", "chain", "quiescent", "immediate"]))
    def revert(self, data: Any, drawn: str) -> None:
        name = data.draw(st.sampled_from([*self.modes]))
        how = self.consistency(drawn)
        self.go(
            {k: v for k, v in self.modes.items() if k != name},
            how,
            lambda timeout: livepatch.revert(name, consistency=how, timeout=timeout),
        )

    @precondition(lambda self: self.open is not None and not self.open.renamed)
    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        assert self.open is not None
        one, other = self.open.sides
        about = [name for name in {**one, **other} if one.get(name) != other.get(name)]
        livepatch.cancel(data.draw(st.sampled_from(about)))
        self.open.live = not self.open.live
        self.modes, self.open.undo = self.open.undo, self.modes
        self.settle()

    # Calls in flight, and units

    @precondition(lambda self: len(self.calls) < 4)
    @rule()
    def begin_to_iterate(self) -> None:
        call = Call("steps", self.modes, self.node.steps(3))
        self.calls.append(call)
        self.advance(call)

    def advance(self, call: Call) -> bool:
        assert call.generator is not None
        sides = next(call.generator, None)
        if sides is not None:
            assert sides == [side_of("steps", call.modes), side_of("leaf", self.beneath(call))]
        return sides is not None

    @precondition(lambda self: any(call.generator for call in self.calls))
    @rule(data=st.data(), how=st.sampled_from(["a step", "to the end", "no more"]))
    def go_on_iterating(self, data: Any, how: str) -> None:
        call = pick(data, [call for call in self.calls if call.generator])
        more = how != "no more" and self.advance(call)
        while more and how == "to the end":
            more = self.advance(call)
        if not more:
            call.generator = None
            self.calls.remove(call)
            self.settle()

    @precondition(lambda self: sum(call.thread is not None for call in self.calls) < 2)
    @rule()
    def call_in_a_thread(self) -> None:
        call, arrived = Call("pair", self.modes), threading.Event()

        def wait() -> None:
            arrived.set()
            assert call.release.wait(60)

        call.thread = threading.Thread(target=lambda: call.answer.extend(self.node.pair(wait)), daemon=True)
        call.thread.start()
        assert arrived.wait(60)
        self.calls.append(call)

    @precondition(lambda self: any(call.thread for call in self.calls))
    @rule(data=st.data())
    def let_a_thread_go_on(self, data: Any) -> None:
        call = pick(data, [call for call in self.calls if call.thread])
        self.end(call)
        beneath = self.beneath(call)
        leaf = side_of("leaf", beneath)
        first = [side_of("pair", call.modes), side_of("leaf", call.modes)]
        assert call.answer == [*first, leaf, side_of("steps", beneath), leaf]
        self.calls.remove(call)
        self.settle()

    @precondition(lambda self: sum(call.task is not None for call in self.calls) < 2)
    @rule()
    def begin_a_task(self) -> None:
        call = Call("fetch", self.modes, gate=self.loop.create_future())
        call.task = self.loop.create_task(self.node.fetch(call.gate))
        self.loop.run_until_complete(asyncio.sleep(0))
        self.calls.append(call)

    @precondition(lambda self: any(call.task for call in self.calls))
    @rule(data=st.data())
    def let_a_task_go_on(self, data: Any) -> None:
        call = pick(data, [call for call in self.calls if call.task])
        first = [side_of("fetch", call.modes), side_of("leaf", call.modes)]
        expected = [*first, side_of("leaf", self.beneath(call))]
        self.end(call)
        assert call.answer == expected
        self.calls.remove(call)
        self.settle()

    def end(self, call: Call) -> None:
        call.generator = None
        if call.task is not None and call.gate is not None:
            call.gate.set_result(None)
            call.answer = self.loop.run_until_complete(call.task)
            call.task = None
        if call.thread is not None:
            call.release.set()
            call.thread.join(60)
            assert not call.thread.is_alive()

    @precondition(lambda self: len(self.units) < 2)
    @rule()
    def begin_a_unit(self) -> None:
        unit, context = livepatch.unit_of_work(), contextvars.copy_context()
        context.run(unit.__enter__)
        self.units.append(Work(self.modes, self.open is not None and self.open.live, context, unit))

    @precondition(lambda self: self.units)
    @rule(data=st.data())
    def end_a_unit(self, data: Any) -> None:
        work = pick(data, self.units)
        work.context.run(work.unit.__exit__, None, None, None)
        self.units.remove(work)
        self.settle()

    # What must hold at any time

    def answer(self, function: str) -> list[str]:
        if function == "steps":
            return [side for sides in self.node.steps(1) for side in sides]
        if function == "fetch":
            try:
                self.node.fetch().send(None)
            except StopIteration as end:
                return list(end.value)
        return list(getattr(self.node, function)())

    @invariant()
    def every_fresh_call_gets_the_topmost_patch_that_is_on(self) -> None:
        for function in _FUNCTIONS:
            assert self.answer(function) == answer_of(function, self.modes)

    @invariant()
    def every_unit_stays_where_it_began(self) -> None:
        for work in self.units:
            for function in _FUNCTIONS:
                assert work.context.run(self.answer, function) == answer_of(function, work.modes)

    @invariant()
    def what_is_told_is_so(self) -> None:
        told = {status.id: status for status in livepatch.status()}
        assert [*told] == [*self.modes]
        assert {**livepatch.flags} == {name: _MODES[mode]() for name, (_, mode) in self.modes.items()}
        assert livepatch.verify()
        assert all(not status.foreign for status in told.values())

    @invariant()
    def it_drains_as_long_as_something_is_left(self) -> None:
        if self.open is not None:
            assert live.live.state.open is not None

    def teardown(self) -> None:
        for work in self.units:
            work.context.run(work.unit.__exit__, None, None, None)
        for call in self.calls:
            self.end(call)
        self.units, self.calls = [], []
        self.loop.close()
        for name in self.modes:
            livepatch.revert(name, timeout=20)
        end = time.monotonic() + 20
        while live.live.state.open is not None and time.monotonic() < end:
            time.sleep(0.001)
        assert livepatch.status() == ()
        assert livepatch.verify()
        for name, code in self.codes.items():
            assert getattr(self.node, name).__code__ is code(), name
        live.sys = sys  # type: ignore[attr-defined]
        sys.path.remove(self.folder.name)
        for module in (self.node, *self.written):
            del sys.modules[module.__name__]
        self.folder.cleanup()


TestTransitions = Transitions.TestCase
TestTransitions.settings = settings(
    max_examples=15,
    stateful_step_count=20,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
TestLongTransitions = pytest.mark.slow(type("TestLongTransitions", (Transitions.TestCase,), {}))
TestLongTransitions.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
