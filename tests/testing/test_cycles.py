"""A probe held against both sides, and the life of a patch held against the process: each way to fail is noticed."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from tests import cycles

import livepatch
from livepatch.process.live import live
from livepatch.testing import ExpectationError, FakeClock, Guard, assert_switches, cycle

NODE = """
    import functools

    TABLE = {"a": 1}

    def admit(x, most=10):
        return "old"

    async def fetch():
        return "old"

    @functools.lru_cache
    def price(n):
        return "old"

    def check(n):
        raise ValueError("old")
"""


@pytest.fixture
def node(write_module):
    return write_module(NODE)


@pytest.fixture
def fix(node, new_patch):
    fix = new_patch()
    fix.replace(f"{node.__name__}:admit")(lambda x, most=20: "new")
    return fix


def test_a_probe_tells_the_sides_apart(node, fix, write_fix):
    before = cycles.picture(node)
    switched = assert_switches(fix, lambda: node.admit(1))
    assert (switched.patch, switched.off, switched.on) == (fix.id, "'old'", "'new'")
    assert str(switched) == f"{fix.id}: 'old' without it, 'new' with it"
    awaited = write_fix(f"{node.__name__}:fetch", 'async def fetch():\n    return "new"')
    assert assert_switches(awaited, node.fetch).on == "'new'"
    raising = write_fix(f"{node.__name__}:check", 'def check(n):\n    raise ValueError("new")')
    assert assert_switches(raising, lambda: node.check(1)).off == "raised builtins.ValueError('old')"
    assert cycles.differences(before) == []


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        (lambda node: lambda: node.check, "does not notice"),
        (lambda node: itertools.count().__next__, "it answers the same code in two ways"),
        (lambda node: object, "it answers the same code in two ways"),
    ],
)
def test_a_probe_that_cannot_tell_is_refused(node, fix, probe, words):
    with pytest.raises(ExpectationError, match=words) as caught:
        assert_switches(fix, probe(node))
    assert caught.value.found
    assert caught.value.expected
    assert caught.value.action
    assert livepatch.status() == ()


def test_a_coroutine_cannot_ask_a_coroutine(node, fix):
    async def within():
        assert_switches(fix, node.fetch)

    with pytest.raises(livepatch.PatchError, match="cannot be asked from a coroutine"):
        asyncio.run(within())


def test_what_outlives_the_patch_is_noticed(node, fix):
    seen = []

    def probe():
        seen.append(node.admit(1))
        return node.admit(1) if "new" not in seen else "spoilt" if node.admit(1) == "old" else "new"

    with pytest.raises(ExpectationError, match=r"answers otherwise while .* is off; found: 'spoilt'; expected: 'old'"):
        assert_switches(fix, probe)
    assert node.admit(1) == "old"


def test_cycles_leave_everything_as_it_was(node, fix):
    before = cycles.picture(node)
    assert str(cycle(fix, 3, probe=lambda: node.price(1) + node.admit(1))) == f"{fix.id}: 3 cycles, each time as before"
    assert cycles.differences(before) == []


def test_a_cycle_notices_what_a_callback_leaves(node, fix):
    @fix.post_revert
    def leave():
        node.left = lambda: 1

    with pytest.raises(ExpectationError, match=f"{node.__name__} has a new left"):
        cycle(fix)
    del node.left

    fix_too = livepatch.Patch("OTHER", package="specimen", versions="==1.0")
    fix_too.replace(f"{node.__name__}:admit")(lambda x, most=20: "new")

    @fix_too.post_apply
    def change():
        node.check.__defaults__ = (1,)

    with pytest.raises(ExpectationError, match=f"{node.__name__}:check has another __defaults__"):
        cycle(fix_too)
    assert livepatch.status() == ()


@pytest.mark.parametrize("arguments", [{"n": 0}, {"n": -1}, {"mode": "off"}])
def test_a_cycle_that_is_none_is_refused(fix, arguments):
    with pytest.raises(livepatch.PatchError, match="cycle"):
        cycle(fix, **arguments)


@pytest.mark.parametrize("arguments", [{"n": True}, {"n": "1"}, {"probe": 1}])
def test_wrong_arguments_are_named(fix, arguments):
    with pytest.raises(TypeError, match=next(iter(arguments))):
        cycle(fix, **arguments)


def test_a_guard_takes_out_what_stands_on_what(node, fix, new_patch):
    over = new_patch()
    over.replace(f"{node.__name__}:admit")(lambda x, most=20: "over")
    before = cycles.picture(node)
    with Guard() as guard:
        guard.apply(fix)
        guard.apply(over)
        assert node.admit(1) == "over"
        livepatch.revert(fix.id)
    assert cycles.differences(before) == []


def test_a_guard_adds_to_an_error_what_was_left_besides(node, fix):
    def fail(guard):
        guard.apply(fix)
        node.check.__defaults__ = (1,)
        raise RuntimeError("first")

    with pytest.raises(RuntimeError, match="first") as caught, Guard() as guard:
        fail(guard)
    assert f"{node.__name__}:check has another __defaults__" in caught.value.__notes__[0]
    assert livepatch.status() == ()


def test_a_guard_over_a_patch_that_was_there_goes_back_to_it(node, fix, new_patch):
    livepatch.apply(fix)
    over = new_patch()
    over.replace(f"{node.__name__}:admit")(lambda x, most=20: "over")
    with Guard() as guard:
        guard.apply(over)
    assert node.admit(1) == "new"
    with pytest.raises(ExpectationError, match=f"patch {fix.id} was on before, and is off"), Guard():
        livepatch.flags[fix.flag] = "off"


def test_an_observer_that_raises_keeps_the_patch_out(node, fix):
    class Refuses:
        def before_apply(self, patch):
            raise RuntimeError(patch.id)

    observer = Refuses()
    before = cycles.picture(node)
    live.observers.add(observer)
    with pytest.raises(RuntimeError, match=fix.id):
        livepatch.apply(fix)
    assert cycles.differences(before) == []
    assert livepatch.status() == ()
    live.observers.discard(observer)
    livepatch.apply(fix)


def test_a_clock_goes_where_it_is_told():
    clock = FakeClock(5)
    assert (clock(), clock.advance(), clock.advance(3), clock()) == (5, 6, 9, 9)
    clock.set(2)
    assert clock() == 2
    with pytest.raises(livepatch.PatchError, match="backwards"):
        clock.advance(-1)
    with pytest.raises(TypeError, match="now"):
        clock.set(1.5)
    assert clock() == 2
