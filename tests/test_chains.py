"""A chain of calls keeps the side on which it began, whatever it calls through; every other call gets the new one."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from tests.cycles import differences, picture
from tests.held import HOLDS, KINDS, fixing, fresh, held, is_plain_and_new, new_side, sent, soon

import livepatch

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteModule

Both = Callable[..., tuple[ModuleType, livepatch.Patch]]


@pytest.fixture
def both(write_module: WriteModule, new_patch: NewPatch) -> Both:
    """A module, and a patch that replaces the functions named by those of its text with old and new exchanged."""

    def write(source: str, *names: str, new: str = "") -> tuple[ModuleType, livepatch.Patch]:
        m = write_module(source)
        return m, fixing(new_patch(), m, write_module(new or new_side(source)), *names)

    return write


LEAF = "def leaf(*_): return 'old'\n"
ROUTES = {
    "direct": LEAF + "def route(): return [leaf(), leaf()]",
    "recursion": """
def leaf(n=3): return ['old'] if n == 0 else ['old', *leaf(n - 1)]
def route(): return leaf()""",
    "mutual recursion": """
def leaf(n=5): return ['old', *other(n - 1)] if n else ['old']
def other(n): return between(n - 1)
def between(n): return leaf(max(n, 0))
def route(): return leaf()""",
    "sorted": LEAF
    + """
def route():
    seen = []
    sorted([1, 2], key=lambda _: seen.append(leaf()) or 0)
    return seen""",
    "comparison in C": """
class leaf:
    pass
def compare(self, other): return 'old' == 'new'
leaf.__eq__ = compare
def route(): return ['new' if leaf() in [leaf()] else 'old'] """,
    "map, filter": LEAF + "def route(): return [*map(leaf, 'ab'), *filter(leaf, [leaf()])]",
    "reduce": LEAF + "import functools\ndef route(): return [functools.reduce(leaf, 'abc')]",
    "re.sub": LEAF + "import re\ndef route(): return [re.sub('a', leaf, 'a')]",
    "partial": LEAF + "import functools\ndef route(): return [functools.partial(leaf, 1)(2)]",
    "exception": """
def leaf(*_): raise ValueError('old')
def passing():
    try:
        leaf()
    finally:
        inside.append(other())
def other(): return 'old'
inside = []
def route():
    del inside[:]
    try:
        passing()
    except ValueError as error:
        return [str(error), *inside, other()]""",
    "__del__": LEAF
    + """
seen = []
class Dying:
    def __del__(self): seen.append(leaf())
def route():
    del seen[:]
    Dying()
    return seen""",
    "generator expression": LEAF + "def route(): return list(leaf() for _ in range(2))",
    "comprehensions": LEAF + "def route(): return [*[leaf() for _ in 'a'], *{leaf() for _ in 'a'}, *{leaf(): 0}]",
    "yield from": """
def leaf():
    yield 'old'
def other():
    yield from leaf()
    yield 'old'
def route(): return [*other(), *leaf()]""",
    "await": """
import types
async def leaf(): return 'old'
@types.coroutine
def other(): return (yield from leaf().__await__())
async def main(): return [await leaf(), await other()]
def route():
    try: main().send(None)
    except StopIteration as stop: return stop.value""",
    "async for": """
async def leaf():
    yield 'old'
    yield 'old'
async def main(): return [item async for item in leaf()]
def route():
    try: main().send(None)
    except StopIteration as stop: return stop.value""",
    "context manager": LEAF
    + """
import contextlib
@contextlib.contextmanager
def inside(): yield leaf()
def route():
    with inside() as side: return [side, leaf()]""",
    "attribute and call of class": LEAF
    + """
class C:
    def __init__(self): self.made = leaf()
    def __getattr__(self, name): return leaf()
    def __call__(self): return leaf()
def route(): return [C().made, C().other, C()()]""",
    "copied context": LEAF + "import contextvars\ndef route(): return [contextvars.copy_context().run(leaf)]",
    "eval and exec": LEAF + "def route(): return [eval('leaf()'), eval(compile('leaf()', '', 'eval'))]",
    "unit of work": LEAF
    + """
import livepatch
def route():
    with livepatch.unit_of_work(): return [leaf(), leaf()]""",
}
# What is replaced besides the calls that are held.
REPLACED = {name: ["leaf"] for name in ROUTES} | {
    "mutual recursion": ["leaf", "other"],
    "comparison in C": ["compare"],
    "exception": ["leaf", "other"],
    "yield from": ["leaf", "other"],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("route", ROUTES)
def test_what_is_called_beneath_a_held_call_is_on_its_side(route: str, kind: str, both: Both):
    names = [*REPLACED[route], *KINDS]
    # The comparison itself says old or new, so its two sides differ in what they compare.
    new = new_side(HOLDS + ROUTES[route]).replace("'new' == 'new'", "True")
    m, fix = both(HOLDS + ROUTES[route], *names, new=new)
    before = picture(m)
    with held(m, kind) as old:
        applied = livepatch.apply(fix)
        assert applied.status().state == "draining"
        for other in KINDS:
            if other != "as_thread" or kind != "as_thread":
                assert set(fresh(m, other)) == {"new"}
        if route != "comparison in C":
            assert set(m.route()) == {"new"}
        assert set(old.go_on()) == {"old"}
    assert applied.wait(5)
    assert applied.status().state == "settled"
    assert is_plain_and_new(m, *names)
    assert livepatch.verify()
    assert set(fresh(m, kind)) == {"new"}

    with held(m, kind) as call:
        assert applied.revert().state == "draining"
        assert set(m.route()) == {"old"}
        assert set(call.go_on()) == {"new"}
    assert applied.wait(5)
    assert applied.status().state == "reverted"
    assert differences(before) == []


# Which frame decides

NEAREST = """
def leaf(): return 'old'
def chain(inner):
    yield 'old'
    yield 'old', leaf(), next(inner), leaf()
def other(inner):
    yield 'old', *next(inner)
"""


def test_the_nearest_frame_decides(both: Both):
    m, fix = both(NEAREST + "async def ag(inner):\n yield 'old'\n yield leaf(), next(inner)\n", "leaf", "chain", "ag")

    def plain():
        while True:
            yield m.leaf()

    old_inner, old_ag = m.chain(iter([0])), m.ag(plain())
    old = m.chain(plain())
    assert [next(old_inner), next(old), sent(old_ag.asend(None))] == ["old"] * 3
    applied = livepatch.apply(fix)
    new = m.chain(old_inner)
    assert next(new) == "new"
    assert next(new) == ("new", "new", ("old", "old", 0, "old"), "new"), "an old generator beneath a new one stays old"
    assert next(old) == ("old", "old", "old", "old"), "a plain generator beneath an old one is in its chain"
    assert sent(old_ag.asend(None)) == ("old", "old")
    generator = plain()
    assert next(generator) == "new"
    late = m.chain(generator)
    assert [next(late), next(late)] == ["new", ("new", "new", "new", "new")]
    for each in (old_inner, old, new, late):
        each.close()
    sent(old_ag.aclose())
    assert applied.wait(5)


def test_a_new_generator_that_an_old_one_resumes_stays_new(both: Both):
    m, fix = both(NEAREST, "leaf", "chain")
    slot: list[Any] = []
    old = m.chain(next(slot[0]) for _ in "a")
    next(old)
    applied = livepatch.apply(fix)
    slot.append(m.chain(m.leaf() for _ in "a"))
    next(slot[0])
    assert next(old) == ("old", "old", ("new", "new", "new", "new"), "old")
    old.close()
    slot[0].close()
    assert applied.wait(5)


def test_a_generator_made_beneath_an_old_call_is_old_wherever_it_is_resumed(both: Both):
    source = "def leaf(): return 'old'\ndef hold():\n yield 'old'\n yield (leaf() for _ in 'ab'), pair()\n"
    m, fix = both(source + "def pair():\n yield leaf()\n yield leaf()\n", "leaf", "hold", "pair")
    old = m.hold()
    next(old)
    applied = livepatch.apply(fix)
    expression, generator = next(old)
    old.close()
    seen: list[str] = []
    thread = threading.Thread(target=lambda: seen.extend((next(expression), next(generator))))
    thread.start()
    thread.join(5)
    assert seen == ["old", "old"]
    assert not applied.status().drained, "both are calls of the old side"
    assert [*expression, *generator] == ["old", "old"]
    assert applied.wait(5)
    assert [*m.pair()] == ["new", "new"]


# What the status says, and what ends the wait


def test_the_status_names_who_is_still_inside(both: Both):
    m, fix = both(HOLDS + ROUTES["direct"], "leaf", *KINDS)
    began = time.time()
    with held(m, "as_thread"), held(m) as generator, held(m, "as_coroutine"), held(m, "as_async_generator"):
        applied = livepatch.apply(fix)
        status = applied.status()
        assert (status.state, status.drained, status.units, status.endless) == ("draining", False, 0, ())
        assert began - 1 < (status.since or 0) < time.time() + 1
        frames = {frame.function: frame for frame in status.frames}
        assert set(frames) <= set(KINDS)
        assert "as_thread" in frames
        assert (frames["as_thread"].thread, frames["as_thread"].task) == ("held-thread", "")
        assert {frame.file for frame in status.frames} == {m.__file__}
        assert frames["as_thread"].line == HOLDS.split("\n").index("    gate.wait(10)") + 1
        assert "held-thread" in str(status)
        assert status.to_dict()["state"] == "draining"
        m.gate.set()
        assert soon(lambda: "as_thread" not in {frame.function for frame in applied.status().frames})
        frames = {frame.function: frame.holder for frame in applied.status().frames}
        assert frames == {
            "as_generator": "suspended generator",
            "as_coroutine": "suspended coroutine",
            "as_async_generator": "suspended async_generator",
        }
        assert generator.go_on() == ("old", "old", "old")
        assert not applied.wait(0.05)
    assert applied.wait(5)
    assert (applied.status().state, applied.status().frames) == ("settled", ())


def test_units_of_work_keep_their_side_and_are_counted(both: Both):
    m, fix = both("def one(): return 'old'\ndef two(): return 'old'\n", "one", "two")
    with livepatch.unit_of_work():
        applied = livepatch.apply(fix)
        status = applied.status()
        assert (status.state, status.units, status.frames) == ("draining", 1, ())
        assert [m.one(), m.two()] == ["old", "old"]
        seen: list[str] = []
        thread = threading.Thread(target=lambda: seen.extend((m.one(), m.two())))
        thread.start()
        thread.join(5)
        assert seen == ["new", "new"]
    assert applied.wait(5)
    assert applied.status().units == 0
    assert [m.one(), m.two()] == ["new", "new"]


def test_added_names_stay_while_new_calls_drain(both: Both):
    source = "def leaf(): return 'old'\ndef hold():\n yield 'old'\n yield [leaf()]\n"
    new = "def leaf(): return ADDED\ndef hold():\n yield 'new'\n yield [leaf(), ADDED]\n"
    m, fix = both(source, "leaf", "hold", new=new)
    fix.add(m.__name__, ADDED="new")
    order = list(vars(m))
    applied = livepatch.apply(fix)
    with held(m, "hold") as new_call:
        assert applied.revert().state == "draining"
        assert m.leaf() == "old"
        assert new_call.go_on() == ["new", "new"]
        assert m.ADDED == "new"
    assert applied.wait(5)
    assert not hasattr(m, "ADDED")
    assert list(vars(m)) == order


def test_names_and_values_that_come_along_while_old_calls_drain(both: Both):
    source = "LIMIT = 'old'\ndef leaf(): return 'old'\ndef hold():\n yield 'old'\n yield [leaf(), LIMIT]\n"
    new = "LIMIT = 'new'\ndef leaf(): return ADDED\ndef hold():\n yield 'new'\n yield [leaf(), LIMIT]\n"
    m, fix = both(source, "leaf", "hold", new=new)
    fix.add(m.__name__, ADDED="new")
    fix.set(f"{m.__name__}:LIMIT", "new")
    with held(m, "hold") as old_call:
        applied = livepatch.apply(fix)
        assert applied.status().state == "draining"
        assert m.leaf() == "new"  # which needs the name that was added
        assert m.LIMIT == "new"  # a value has no side: new calls get it at once, and what is under way sees it, too
        assert old_call.go_on() == ["old", "new"]
    assert applied.wait(5)
    with held(m, "hold") as new_call:
        assert applied.revert().state == "draining"
        assert new_call.go_on() == ["new", "old"]
    assert applied.wait(5)
    assert (m.leaf(), m.LIMIT, hasattr(m, "ADDED")) == ("old", "old", False)


def test_a_stored_traceback_is_seen_through(both: Both):
    m, fix = both("def leaf(): raise ValueError('old')\ndef hold():\n leaf()\n", "leaf", "hold")
    stored: list[BaseException] = []
    try:
        m.hold()
    except ValueError as error:
        stored.append(error)
    entered, gate = threading.Event(), threading.Event()

    def inside() -> None:
        try:
            m.hold()
        except ValueError as error:
            stored.append(error)
            entered.set()
            gate.wait(5)

    thread = threading.Thread(target=inside)
    thread.start()
    entered.wait(5)
    applied = livepatch.apply(fix)
    gate.set()
    thread.join(5)
    assert applied.wait(20)
    assert is_plain_and_new(m, "leaf", "hold")
    with pytest.raises(ValueError, match="new"):
        m.hold()
    assert all("old" in str(error) for error in stored)


def test_a_traceback_stored_while_it_drains_does_not_hold_it(both: Both):
    m, fix = both(HOLDS + "def leaf(): raise ValueError('old')\ndef route(): leaf()\n", "leaf", *KINDS)
    with held(m) as old:
        applied = livepatch.apply(fix)
        with pytest.raises(ValueError, match="old") as caught:
            old.go_on()
        assert applied.wait(3), str(applied.status())
        assert caught.value.__traceback__ is not None
    assert is_plain_and_new(m, "leaf", *KINDS)


def test_a_held_call_that_is_dropped_ends_the_wait(both: Both):
    m, fix = both(HOLDS + ROUTES["direct"], "leaf", *KINDS)
    abandoned = [m.as_generator()]
    next(abandoned[0])
    abandoned.append(abandoned)  # a cycle, which only the collector frees
    applied = livepatch.apply(fix)
    del abandoned
    gc.collect()
    assert applied.wait(5)


def test_one_store_needs_no_chain(both: Both):
    m, fix = both(HOLDS + ROUTES["recursion"], "leaf")
    with held(m) as old:
        applied = livepatch.apply(fix)
        assert set(old.go_on()[1:]) == {"new"}, "a patch of one body is immediate by itself"
        assert applied.status().state == "settled"


def test_stack_levels_are_not_changed_once_settled(both: Both):
    source = "import sys\ndef leaf(): return 'old', sys._getframe(1).f_code.co_name\ndef hold():\n yield 'old'\n"
    m, fix = both(source, "leaf", "hold")
    with held(m, "hold"):
        applied = livepatch.apply(fix)
    assert applied.wait(5)
    assert m.leaf() == ("new", sys._getframe().f_code.co_name)
