"""Measured calls: counted and timed on the side that answers, with the very answers of that side."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time

import pytest
from tests.held import fixing, new_side

import livepatch

SOURCE = """
import asyncio
def f(x, *, y=1):
    if x < 0:
        raise ValueError(x)
    return 'old', x, y
async def c(x):
    await asyncio.sleep(0)
    if x < 0:
        raise ValueError(x)
    return 'old', x
def g(n):
    for i in range(n):
        yield 'old', i
async def a(n):
    for i in range(n):
        yield 'old', i
"""
NAMES = ("f", "c", "g", "a")


@pytest.fixture
def both(write_module, new_patch):
    def write(source=SOURCE, names=NAMES):
        m = write_module(source)
        return m, fixing(new_patch(), m, write_module(new_side(source)), *names)

    return write


def counts(applied):
    return {each.target.rpartition(":")[2]: (each.calls, each.ended, each.errors) for each in applied.measured}


async def listed(iterator):
    return [each async for each in iterator]


def test_either_side_is_measured_and_each_kind_answers_as_ever(both):
    m, fix = both()
    originals = [getattr(m, name).__code__ for name in NAMES]
    applied = livepatch.apply(fix, mode=livepatch.Measured("off"))
    for side in ("old", "new"):
        assert m.f(1) == (side, 1, 1)
        with pytest.raises(ValueError, match="-1"):
            m.f(-1)
        assert asyncio.run(m.c(1)) == (side, 1)
        with pytest.raises(ValueError, match="-1"):
            asyncio.run(m.c(-1))
        assert list(m.g(2)) == [(side, 0), (side, 1)]
        assert asyncio.run(listed(m.a(1))) == [(side, 0)]
        assert counts(applied) == {"f": (2, 2, 1), "c": (2, 2, 1), "g": (1, 0, 0), "a": (1, 0, 0)}
        assert all(each.seconds > 0 for each in applied.measured if each.ended)
        assert applied.status().measured == applied.measured
        assert "6 calls measured, 2 errors" in str(applied.status())
        assert inspect.iscoroutinefunction(m.c)
        assert inspect.isasyncgenfunction(m.a)
        assert inspect.isgeneratorfunction(m.g)
        assert livepatch.verify().ok
        applied.mode = livepatch.Measured("on")
    applied.mode = "on"
    assert applied.measured == ()
    assert m.f(1) == ("new", 1, 1)
    applied.revert()
    assert all(getattr(m, name).__code__ is was for name, was in zip(NAMES, originals, strict=True))


def test_the_exception_is_the_very_one_and_what_is_cancelled_is_no_error(both):
    source = (
        "import asyncio\nerror = KeyError('old')\nasync def c(x):\n    if x: raise error\n    await asyncio.sleep(60)\n"
    )
    m, fix = both(source, ("c",))
    applied = livepatch.apply(fix, mode=livepatch.Measured("on"))

    async def scenario():
        with pytest.raises(KeyError) as caught:
            await m.c(1)
        assert caught.value is m.error
        task = asyncio.create_task(m.c(0))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert counts(applied) == {"c": (2, 2, 1)}


def test_values_change_with_the_side_that_is_measured(write_module, write_fix):
    m = write_module("LIMIT = 1\ndef f(): return LIMIT\n")
    fix = write_fix(f"{m.__name__}:f", "def f(): return -LIMIT")
    fix.set(f"{m.__name__}:LIMIT", 2)
    applied = livepatch.apply(fix, mode=livepatch.Measured("off"))
    assert (m.f(), m.LIMIT) == (1, 1)
    applied.mode = livepatch.Measured("on")
    assert (m.f(), m.LIMIT) == (-2, 2)
    applied.mode = livepatch.Measured("off")
    assert (m.f(), m.LIMIT) == (1, 1)
    applied.revert()
    assert (m.f(), m.LIMIT) == (1, 1)


def test_a_live_closure_follows_while_its_maker_is_measured(both):
    m, fix = both("def make():\n    def inner(): return 'old'\n    return inner\nearly = make()\n", ("make",))
    applied = livepatch.apply(fix, mode=livepatch.Measured("off"))
    assert m.early() == "old"
    between = m.make()
    applied.mode = livepatch.Measured("on")
    late = m.make()
    assert (m.early(), between(), late()) == ("new", "new", "new")
    applied.mode = "on"
    assert (m.early(), between(), late()) == ("new", "new", "new")
    applied.revert()
    assert (m.early(), between(), late()) == ("old", "old", "old")


def test_patches_of_one_function_each_count_and_a_share_goes_elsewhere(write_module, write_fix):
    m = write_module("def f(x): return 'old'\n")
    first = livepatch.apply(write_fix(f"{m.__name__}:f", "def f(x): return 'first'"), mode=livepatch.Measured("on"))
    second = livepatch.apply(write_fix(f"{m.__name__}:f", "def f(x): return 'second'"), mode=livepatch.Measured("off"))
    assert [m.f(i) for i in range(10)] == ["first"] * 10
    assert counts(first) == counts(second) == {"f": (10, 10, 0)}
    second.mode = livepatch.split(50, key="x")
    answers = [m.f(i) for i in range(100)]
    assert set(answers) == {"first", "second"}
    assert counts(first)["f"][0] == 10 + answers.count("first")
    second.revert()
    assert m.f(1) == "first"


def test_parameters_that_the_new_side_adds_are_taken(write_module, write_fix):
    m = write_module("def f(x): return x\n")
    applied = livepatch.apply(
        write_fix(f"{m.__name__}:f", "def f(x, more=2): return x, more"), mode=livepatch.Measured("off")
    )
    assert m.f(1) == 1
    applied.mode = livepatch.Measured("on")
    assert m.f(1) == (1, 2)
    assert m.f(1, more=3) == (1, 3)
    applied.mode = "on"
    assert m.f(1) == (1, 2)


def test_no_chain_sees_both_sides_while_it_goes_from_one_measured_side_to_the_other(both):
    m, fix = both("def leaf(): return 'old'\ndef a(): return leaf(), 'old', leaf()\n", ("leaf", "a"))
    applied = livepatch.apply(fix, mode=livepatch.Measured("off"))
    stop, seen = threading.Event(), set()

    def work():
        while not stop.is_set():
            seen.add(m.a())
            time.sleep(0.0005)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for mode in (livepatch.Measured("on"), livepatch.Measured("off")) * 2:
            applied.mode = mode
            assert applied.wait(5), applied.status()
        applied.mode = "on"
        assert applied.wait(5), applied.status()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert seen <= {("old",) * 3, ("new",) * 3}


def test_calls_in_flight_hold_the_drain_open_until_they_end(both):
    m, fix = both("import asyncio\nasync def c(gate):\n    await gate.wait()\n    return 'old'\n", ("c",))

    async def scenario():
        applied = livepatch.apply(fix, mode=livepatch.Measured("off"), consistency="chain")
        gate = asyncio.Event()
        task = asyncio.create_task(m.c(gate))
        await asyncio.sleep(0)
        applied.mode = livepatch.Measured("on")
        assert applied.status().state == "draining"
        gate.set()
        assert await task == "old"
        assert await asyncio.to_thread(applied.wait, 5)
        assert await m.c(gate) == "new"

    asyncio.run(scenario())


@pytest.mark.parametrize("side", [None, 1, "shadow"])
def test_another_side_is_refused(side):
    with pytest.raises((TypeError, livepatch.PatchError)):
        livepatch.Measured(side)
