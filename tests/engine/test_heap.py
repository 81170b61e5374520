"""A walk through the heap is estimated before it is made, held to a bound, and not made where nothing needs it."""

from __future__ import annotations

import gc
import importlib
import sys
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import pytest

import livepatch
from livepatch.engine import heap
from livepatch.engine.facts import Survey
from livepatch.engine.heap import PauseTooLongError, Walks, bounded, pause_of_a_walk, referrers
from livepatch.engine.places import slot_of
from livepatch.engine.remnants import remnants
from livepatch.engine.stack import Stack
from livepatch.engine.survey import survey
from livepatch.engine.sweep import sweep

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteFix, WriteModule


@pytest.fixture(autouse=True)
def no_walk_goes_unnoticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process whose heap is large."""
    monkeypatch.setattr(heap, "UNNOTICED", 0.0)
    monkeypatch.setattr(heap, "_pace", [heap._SECONDS_A_BLOCK])
    monkeypatch.setattr(heap, "_margin", [heap._MARGIN])
    monkeypatch.setattr(heap, "_learned_at", [])


def looked(fix: livepatch.Patch, **options: Any) -> Survey:
    return survey(fix.id, fix.changes, Stack(), sys.modules, **options)


def codes(found: Survey) -> list[str]:
    return [refusal.code for _, refusal in found.observations]


HIDDEN = "from types import FunctionType\ndef f(): return 'old'\nhidden = [FunctionType(f.__code__, globals())]\n"
CLOSURES = "def make():\n    def made(): return 'old'\n    return made\nheld = [make()]\n"
PLAIN = "def f(): return 'old'\n"


# The estimate


def test_the_estimate_grows_with_the_heap_and_with_what_is_looked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(heap.sys, "getallocatedblocks", lambda: 1_000_000)
    one = pause_of_a_walk()
    assert 0.001 < one < 0.1
    assert one < pause_of_a_walk(5) < 5 * one
    monkeypatch.setattr(heap.sys, "getallocatedblocks", lambda: 4_000_000)
    assert pause_of_a_walk() == pytest.approx(4 * one)


def test_every_walk_makes_the_next_estimate_better(monkeypatch: pytest.MonkeyPatch):
    times = iter([0.0, 0.010])
    monkeypatch.setattr(heap.time, "thread_time", lambda: next(times))
    before = pause_of_a_walk()
    referrers([object()])
    after = pause_of_a_walk()
    assert abs(after - 0.010) < abs(before - 0.010) or before == pytest.approx(0.010, rel=0.2)


# The bound


def test_a_walk_above_the_bound_is_not_made(monkeypatch: pytest.MonkeyPatch):
    def no_walk(*_: object) -> None:
        raise AssertionError("a walk was made")

    with monkeypatch.context() as patched, bounded(1e-9) as walks:
        patched.setattr(gc, "get_referrers", no_walk)
        with pytest.raises(PauseTooLongError) as error:
            referrers([object()])
    assert error.value.estimate == walks.estimate
    assert error.value.most == 1e-9
    assert walks.taken == 0


def test_bounds_nest_and_add_up():
    target = object()
    holder = [target]
    with bounded(60.0) as outer:
        with bounded(None) as inner:
            assert inner.most == 60.0
            assert any(item is holder for item in referrers([target]))
        with bounded(1e-9), pytest.raises(PauseTooLongError):
            referrers([target])
        assert outer.taken == inner.taken > 0
        assert outer.estimate is not None
    assert referrers([target])
    assert Walks() == Walks(None, None, 0.0, 0.0, 0)


def test_many_targets_are_as_many_walks_as_keep_each_within_the_bound(monkeypatch: pytest.MonkeyPatch):
    targets = [object() for _ in range(40)]
    holders = [[target] for target in targets]
    one = pause_of_a_walk()

    def walks(most: float | None) -> Walks:
        with monkeypatch.context() as patched, bounded(most) as made:
            patched.setattr(heap, "_learned", lambda known, seen: known)  # as long as estimated
            patched.setattr(heap, "_HALF", float("inf"))
            found = {id(each) for each in referrers(targets)}
        assert found >= set(map(id, holders))
        assert id(targets) not in found
        return made

    assert walks(None).number == 3
    assert walks(heap._MARGIN * one * 1.5).number == 20
    made = walks(heap._MARGIN * one * 1.1)
    assert made.number == 40
    assert made.taken / 40 < made.longest < made.taken
    with pytest.raises(PauseTooLongError):
        walks(one)


def test_a_walk_that_took_longer_than_estimated_counts_at_once_and_a_shorter_one_by_halves(
    monkeypatch: pytest.MonkeyPatch,
):
    def took(seconds: float, of_the_processor: float) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(heap.time, "perf_counter", iter([0.0, seconds]).__next__)
            patched.setattr(heap.time, "thread_time", iter([0.0, of_the_processor]).__next__)
            patched.setattr(heap, "breathe", lambda **_: None)
            heap._walk((object(),))

    monkeypatch.setattr(heap.sys, "getallocatedblocks", lambda: 1_000_000)
    took(0.06, 0.02)
    assert pause_of_a_walk() == pytest.approx(0.02)
    with bounded(0.059), pytest.raises(PauseTooLongError):  # others stood still for three times as long
        heap.permit()
    took(0.01, 0.01)
    assert pause_of_a_walk() == pytest.approx(0.015)
    with bounded(0.031):
        heap.permit()
    with bounded(0.016):
        with pytest.raises(PauseTooLongError):
            heap.permit()
        monkeypatch.setattr(heap, "_learned_at", [heap._learned_at[0] - 10 * heap._HALF])
        heap.permit()  # the machine was busy ten minutes ago


# The survey


@pytest.mark.parametrize("source", [HIDDEN, CLOSURES], ids=["a hidden copy", "live closures"])
def test_a_needed_walk_is_made_or_refused(source: str, write_module: WriteModule, write_fix: WriteFix):
    m = write_module(source)
    target = "f" if source is HIDDEN else "make"
    body = "def f(): return 'new'" if source is HIDDEN else "def make():\n    def made(): return 'new'\n    return made"
    fix = write_fix(f"{m.__name__}:{target}", body)
    found = looked(fix)
    assert "pause-too-long" not in codes(found)
    assert found.walks.estimate is not None
    assert found.walked is not None
    del found  # it holds the code, and holders are counted
    refused = looked(fix, max_pause=1e-9)
    ((_, refusal),) = [each for each in refused.observations if each[1].code == "pause-too-long"]
    assert "max_pause=1e-09" in refusal.expected
    assert refused.walks.estimate is not None
    assert refused.walked is None
    del refused
    assert "pause-too-long" not in codes(looked(fix, max_pause=60.0))


def test_a_name_that_is_held_elsewhere_is_looked_for_within_the_bound(write_module: WriteModule, write_fix: WriteFix):
    m = write_module("handlers = []\ndef keep(f): handlers.append(f)\n@keep\ndef f(): return 'old'\n")
    fix = write_fix(f"{m.__name__}:f", "def f(): return 'new'")
    assert codes(looked(fix)) == []
    assert codes(looked(fix, max_pause=1e-9)) == ["pause-too-long"]


def test_where_no_walk_is_needed_none_is_estimated(write_module: WriteModule, write_fix: WriteFix):
    m = write_module(PLAIN)
    found = looked(write_fix(f"{m.__name__}:f", "def f(): return 'new'"), max_pause=1e-9)
    assert codes(found) == []
    assert found.walks == Walks(most=1e-9)


def test_what_holds_a_native_callable_is_looked_for_within_the_bound(new_patch: NewPatch):
    fix = new_patch()
    fix.wrap("zlib:crc32")(lambda wrapped, instance, args, kwargs: wrapped(*args, **kwargs))
    assert codes(looked(fix, max_pause=1e-9)) == ["pause-too-long"]


CACHED = """
import functools
class Peer:
    @functools.cached_property
    def name(self): return 'old'
"""


def test_objects_that_keep_answers_are_looked_for_within_the_bound(write_module: WriteModule, write_fix: WriteFix):
    m = write_module(CACHED)
    fix = write_fix(f"{m.__name__}:Peer.name", "def name(self): return 'new'")
    peer = m.Peer()
    assert peer.name == "old"
    with pytest.raises(livepatch.IncompatibleError) as error:
        livepatch.apply(fix, max_pause=1e-9)
    assert [finding.code for finding in error.value.report.errors] == ["pause-too-long"]
    livepatch.apply(fix, max_pause=60.0)
    assert peer.name == "new"


def test_the_switch_keeps_to_the_bound_too(
    write_module: WriteModule, write_fix: WriteFix, monkeypatch: pytest.MonkeyPatch
):
    m = write_module(CACHED)
    fix = write_fix(f"{m.__name__}:Peer.name", "def name(self): return 'new'")
    monkeypatch.setattr("livepatch.engine.surveyor.permit", lambda: None)  # the heap grows after the survey
    with pytest.raises(livepatch.TransitionError, match="search of the whole heap"):
        livepatch.apply(fix, max_pause=1e-9)
    assert m.Peer().name == "old"
    assert livepatch.status() == ()


def test_who_holds_an_old_value_is_found_in_one_walk_where_only_its_own_place_does(write_module: WriteModule):
    m = write_module("class Peer:\n    RULES = (object(), 1)\n")
    slot = slot_of(m.Peer, "RULES", "m:Peer.RULES")
    originals, values = {slot: m.Peer.RULES}, {slot: (object(), 2)}
    with bounded(None) as walks:
        assert remnants(values, originals, {m.__name__: m}) == []
    assert walks.number == 1
    m.kept = m.Peer()
    m.kept.rules = m.Peer.RULES
    assert [each.holder for each in remnants(values, originals, {m.__name__: m})] == [f"an object of {m.__name__}:Peer"]


# What nothing asks for


def test_globals_that_something_unknown_holds_are_named(write_module: WriteModule, write_fix: WriteFix):
    m = write_module(PLAIN)
    fix = write_fix(f"{m.__name__}:f", "def f(): return 'new'")
    assert codes(looked(fix)) == []
    kept = [m.f]
    importlib.reload(m)
    ((_, refusal),) = looked(fix).observations
    assert refusal.code == "heap-not-walked"
    assert "the globals of its functions, and a search for it would hold other threads for about" in refusal.found
    kept.clear()
    assert codes(looked(fix)) == []


def test_a_walk_that_nobody_notices_is_made(
    write_module: WriteModule, write_fix: WriteFix, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(heap, "UNNOTICED", 60.0)
    m = write_module(PLAIN)
    kept = [m.f]
    importlib.reload(m)
    fix = write_fix(f"{m.__name__}:f", "def f(): return 'new'")
    found = looked(fix)
    assert codes(found) == []
    assert {slot.owner for slot in found.values if slot.name == "__code__"} == {m.f, kept[0]}
    assert found.walks.estimate is None
    del found  # it holds the code, and holders are counted
    assert codes(looked(fix, max_pause=1e-9)) == ["heap-not-walked"]


# The sweep by itself


def made_twice() -> tuple[FunctionType, list[FunctionType]]:
    space: dict[str, Any] = {}
    exec("def f(): pass", space)
    return space["f"], [FunctionType(space["f"].__code__, space)]


def test_a_sweep_says_that_its_walk_was_too_long():
    function, copies = made_twice()
    found = sweep({}, [function], max_pause=1e-9)
    assert found.too_long
    assert found.copies[id(function.__code__)] == [function]
    found = sweep({}, [function])
    assert not found.too_long
    assert {id(f) for f in found.copies[id(function.__code__)]} == {id(function), id(copies[0])}


def test_the_bound_of_somebody_further_out_is_not_passed_over_in_silence():
    function, copies = made_twice()
    with bounded(1e-9), pytest.raises(PauseTooLongError):
        sweep({}, [function])
    assert copies


def test_the_large_heap_of_others_is_no_reason_for_doubt(new_patch: NewPatch, monkeypatch: pytest.MonkeyPatch):
    """Where every holder is explained nothing can be left out, however large the heap is."""
    monkeypatch.setattr("livepatch.engine.sweep._SMALL_HEAP", 0)
    module = ModuleType("alone")
    exec("def f(): pass", vars(module))
    assert sweep({"alone": module}, [module.f]).thorough
    copy = FunctionType(module.f.__code__, {})
    found = sweep({"alone": module}, [module.f])
    assert (found.thorough, found.walked) == (False, None)
    assert "below 0 it is searched for" in found.unsearched[0]
    assert copy
