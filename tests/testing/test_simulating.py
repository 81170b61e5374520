"""Callers on threads and in tasks: what they see of one switch after the other, and that a mixture does not pass."""

from __future__ import annotations

import time

import pytest
from tests import cycles
from tests.few_modules import FewModules

import livepatch
from livepatch.testing import ExpectationError, Simulated, simulate

NODE = """
    import asyncio

    def left():
        return "old"

    def right():
        return "old"

    async def both():
        first = left()
        await asyncio.sleep(0)
        return first, right()
"""


@pytest.fixture
def node(write_module):
    return write_module(NODE)


@pytest.fixture
def fix(node, new_patch, monkeypatch):
    monkeypatch.setattr("livepatch.process.live.sys", FewModules(node))
    fix = new_patch()
    fix.replace(f"{node.__name__}:left")(lambda: "new")
    fix.replace(f"{node.__name__}:right")(lambda: "new")
    return fix


def pair(node):
    first = node.left()
    time.sleep(0.001)
    return first, node.right()


def test_nobody_sees_both_sides_in_a_unit_of_work(node, fix):
    before = cycles.picture(node)
    seen = simulate(fix, callers={"pair": lambda: pair(node), "both": node.both}, threads=2, tasks=2, switches=5)
    assert seen.ok, str(seen)
    assert (seen.switches, seen.mixed, seen.raised, seen.odd) == (5, 0, 0, ())
    assert all(off and on for off, on in seen.calls.values())
    assert str(seen).startswith(f"{fix.id}: 5 switches, ")
    assert seen.to_dict()["calls"]["both"] == list(seen.calls["both"])
    assert cycles.differences(before) == []
    assert livepatch.status() == ()


def test_a_mixture_is_noticed(node, fix):
    for _ in range(20):
        seen = simulate(fix, callers=lambda: pair(node), threads=2, tasks=0, switches=8, units=False)
        if seen.mixed:
            break
    assert not seen
    assert {odd.answer for odd in seen.odd} <= {"('old', 'new')", "('new', 'old')"}
    assert "neither ('old', 'old') nor ('new', 'new')" in str(seen)


def test_what_a_caller_raises_on_neither_side_is_noticed(node, fix):
    asked = []

    def caller():
        asked.append(None)
        if len(asked) == 7:  # twice on each side in peace
            raise OSError("only under load")
        return node.left()

    seen = simulate(fix, callers=caller, threads=1, tasks=0, switches=2)
    assert not seen
    assert seen.raised == 1
    assert "raised builtins.OSError('only under load'), neither 'old' nor 'new'" in str(seen)


def test_a_caller_that_never_comes_back_is_told(node, fix):
    asked = []

    def caller():
        asked.append(None)
        if len(asked) > 4:
            time.sleep(1.5)
        return node.left()

    seen = simulate(fix, callers=caller, threads=1, tasks=0, switches=2, timeout=0.2)
    assert not seen
    assert len(seen.unmet) == 1


def test_who_cannot_tell_the_sides_apart_is_no_caller(fix):
    with pytest.raises(ExpectationError, match="does not notice"):
        simulate(fix, callers=lambda: 1)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"callers": ()}, livepatch.PatchError, "nobody calls"),
        ({"callers": 1}, TypeError, "callers"),
        ({"callers": [1]}, TypeError, "callers"),
        ({"callers": print, "threads": 0, "tasks": 0}, livepatch.PatchError, "without load"),
        ({"callers": print, "threads": -1}, livepatch.PatchError, "without load"),
        ({"callers": print, "switches": 1}, livepatch.PatchError, "without load"),
        ({"callers": print, "tasks": True}, TypeError, "tasks"),
        ({"callers": print, "timeout": "1"}, TypeError, "timeout"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_done(fix, arguments, error, words):
    with pytest.raises(error, match=words):
        simulate(fix, **arguments)


def test_a_coroutine_function_needs_tasks(node, fix):
    with pytest.raises(livepatch.PatchError, match="tasks for coroutine functions"):
        simulate(fix, callers=node.both, tasks=0)


def test_nothing_seen_is_not_well():
    nothing = {"mixed": 0, "raised": 0, "odd": (), "unmet": (), "troubles": (), "seconds": 0.0}
    assert not Simulated(patch="FIX", switches=0, calls={}, **nothing)
    assert Simulated(patch="FIX", switches=2, calls={"a": (1, 1)}, **nothing)
    for name, value in {"mixed": 1, "raised": 1, "unmet": ("a",), "troubles": ("x",)}.items():
        assert not Simulated(patch="FIX", switches=2, calls={"a": (1, 1)}, **{**nothing, name: value})
