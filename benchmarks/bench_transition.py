"""What consistency costs: a call while a transition is open, by depth of the stack, and entering a unit of work."""

from __future__ import annotations

import contextlib
import contextvars
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from application import installed
from measure import Bar, Column, Loop, Row, Table, call_loop, take_turns

import livepatch
from livepatch.engine.choosing import nearest

__all__ = ["tables"]

_DEPTHS = (10, 50, 200)
_BARRED_DEPTH, _MOST_US = 50, 10.0
_NULL, _SET = "nullcontext()", "ContextVar.set() and reset()"
_UNITS = (
    _NULL,
    _SET,
    "the same in a context manager",
    "with unit_of_work()",
    "the same object again",
    "one inside another",
    "a call of a function",
    "a call of a decorated function",
)

_APPLICATION = """
def function(x):
    return x + 1

def other(x):
    return x + 1

def steps():
    yield 1
    yield function(1)
"""
_PATCH = """
import livepatch
fix = livepatch.Patch('{distribution}', package='{distribution}', versions='==1.0')

@fix.replace('{open}:function')
def function(x):
    return x + 2

@fix.replace('{open}:steps')
def steps():
    yield 2
    yield function(1)
"""
NEVER, OPEN, IN_UNIT, BY_HAND = "never patched", "transition open", "the same, in a unit of work", "the walk, by hand"


def _deep(loop: Loop, depth: int) -> Loop:
    """The same loop, `depth` frames further from the stack's end than where it is called."""

    def run(passes: int) -> int:
        return descend(depth - 1, passes)

    def descend(left: int, passes: int) -> int:
        return loop(passes) if left <= 0 else descend(left - 1, passes)

    return run


def _in_unit(loop: Loop) -> Loop:
    def run(passes: int) -> int:
        with livepatch.unit_of_work():
            return loop(passes)

    return run


def _batch(depth: int) -> Iterator[Mapping[str, Loop]]:
    with installed(open=_APPLICATION, never=_APPLICATION, patch=_PATCH) as (patched, never, patch):
        # The frame of the walk itself is that of what asks.
        walk: Callable[[int], object] = lambda _: nearest(sys._getframe(1), {})  # noqa: E731
        loops = {
            NEVER: call_loop("f(1)", {"f": never.function}),
            OPEN: call_loop("f(1)", {"f": patched.function}),
            IN_UNIT: _in_unit(call_loop("f(1)", {"f": patched.function})),
            BY_HAND: call_loop("f(1)", {"f": walk}),
        }
        for loop in loops.values():
            loop(50)
        held = patched.steps()
        next(held)
        applied = livepatch.apply(patch.fix, consistency="chain")
        assert applied.status().state == "draining"
        # From a context and a stack of its own: how deep the benchmark itself runs is no matter.
        yield {name: _deep(loop, depth) for name, loop in loops.items()}
        assert applied.status().state == "draining"
        held.close()
        del held
        applied.wait(10)
        applied.revert()


def _calls(batches: int, turns: int) -> Table:
    rows = []
    base = _depth_here()
    for depth in _DEPTHS:
        timed = take_turns((loops for _ in range(batches) for loops in _batch(max(1, depth - base))), turns)
        for name in (NEVER, OPEN, IN_UNIT, BY_HAND):
            figures = {"µs": timed.ns(name) / 1e3, "to walk": timed.ratio(name, BY_HAND)}
            barred = name in (OPEN, IN_UNIT) and depth == _BARRED_DEPTH
            rows.append(Row(f"{name}, {max(depth, base)} deep", figures, Bar("µs", _MOST_US) if barred else None))
    return Table(
        "A call of a patched function while a transition is open, by the depth of the stack",
        (Column("µs", "{:.2f}"), Column("to walk", "{:.2f}")),
        rows,
        "A chain is told by a walk of its callers, so it costs by depth; once settled it costs nothing.",
    )


def _depth_here() -> int:
    frame, depth = sys._getframe(1), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1  # type: ignore[assignment]  # until there is none
    return depth + 4  # what takes turns, and the loop itself


_variable: contextvars.ContextVar[object] = contextvars.ContextVar("bench", default=None)


class _SetAndReset:
    """The least that a unit can be: a context variable that is set and reset."""

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token = _variable.set(self)

    def __exit__(self, *_: object) -> None:
        _variable.reset(self._token)


def _plain() -> None:
    pass


def _unit_batch() -> Iterator[Mapping[str, Loop]]:
    names: dict[str, Any] = {"unit": livepatch.unit_of_work, "null": contextlib.nullcontext, "least": _SetAndReset}
    shared = livepatch.unit_of_work()
    enter, leave = "{}.__enter__()", "{}.__exit__(None, None, None)"

    def entering(made: str, given: dict[str, Any]) -> Loop:
        return call_loop(f"c = {made}; {enter.format('c')}; {leave.format('c')}", given)

    inner = entering("unit()", {"unit": names["unit"]})
    loops = (
        entering("null()", {"null": names["null"]}),
        call_loop("v.reset(v.set(None))", {"v": _variable}),
        entering("least()", {"least": names["least"]}),
        entering("unit()", {"unit": names["unit"]}),
        entering("shared", {"shared": shared}),
        _in_unit(inner),
        call_loop("f()", {"f": _plain}),
        call_loop("f()", {"f": livepatch.unit_of_work(_plain)}),
    )
    yield dict(zip(_UNITS, loops, strict=True))


def _units(batches: int, turns: int) -> Table:
    timed = take_turns((loops for _ in range(batches) for loops in _unit_batch()), turns)
    rows = [
        Row(
            name,
            {
                "ns": timed.ns(name),
                "to nullcontext": timed.ratio(name, _NULL),
                "to set and reset": timed.ratio(name, _SET),
            },
        )
        for name in _UNITS
    ]
    return Table(
        "Entering and leaving a unit of work",
        (Column("ns", "{:.0f}"), Column("to nullcontext", "{:.2f}"), Column("to set and reset", "{:.2f}")),
        rows,
    )


def _drains(rounds: int) -> Table:
    """How long it takes from the end of the last old call to plain code."""
    taken: dict[str, list[float]] = {"apply(), with one old call": [], "its end to settled": []}
    with installed(open=_APPLICATION, patch=_PATCH) as (patched, patch):
        livepatch.apply(patch.fix).revert()
        for _ in range(rounds):
            held = patched.steps()
            next(held)
            begun = time.perf_counter()
            applied = livepatch.apply(patch.fix, consistency="chain")
            taken["apply(), with one old call"].append(time.perf_counter() - begun)
            held.close()
            del held
            begun = time.perf_counter()
            applied.wait(10)
            taken["its end to settled"].append(time.perf_counter() - begun)
            applied.revert()
            applied.wait(10)
    return Table(
        "A switch with a call in flight",
        (Column("ms, median", "{:.2f}"), Column("ms, longest", "{:.2f}")),
        [
            Row(name, {"ms, median": statistics.median(each) * 1e3, "ms, longest": max(each) * 1e3})
            for name, each in taken.items()
        ],
    )


def tables(*, quick: bool = False) -> Iterator[Table]:
    batches, turns = (1, 5) if quick else (5, 21)
    yield _calls(batches, turns)
    yield _units(batches, turns)
    yield _drains(10 if quick else 50)
