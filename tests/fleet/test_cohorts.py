"""A node's place: the same everywhere, and never out again once in."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fleet.plans import nodes, planned, rollout

from livepatch.fleet.cohorts import PLACES, Cut, cut_for, place_of, stage_of

QUICK = settings(max_examples=30, deadline=None)
NAMES = st.text("ab/. é", min_size=1, max_size=6)


def test_a_place_is_the_same_in_every_process_and_for_ever():
    assert place_of("r-1", "n1") == 0x5ECBE069600DE05D  # as it has been since the first release
    script = "from livepatch.fleet.cohorts import place_of; print(place_of('r-1', 'n1'))"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert int(told) == place_of("r-1", "n1")


@QUICK
@given(NAMES, NAMES, NAMES, NAMES)
def test_a_place_is_that_of_one_pair_of_names(rollout, node, other, another):
    assert 0 <= place_of(rollout, node) < PLACES
    if (rollout, node) != (other, another):
        assert place_of(rollout, node) != place_of(other, another)


def test_the_border_between_the_two_names_counts():
    assert place_of("ab", "c") != place_of("a", "bc")


@QUICK
@given(st.sets(st.integers(0, PLACES - 1), max_size=50), st.integers(0, 60))
def test_a_cut_takes_exactly_as_many_as_are_asked_for(places, count):
    below = cut_for(places, count)
    assert sum(place < below for place in places) == min(count, len(places))


@QUICK
@given(st.lists(st.integers(0, PLACES), min_size=1, max_size=6), st.integers(0, PLACES - 1), NAMES)
def test_who_is_in_a_stage_is_in_every_larger_one(belows, place, node):
    cuts = [Cut(below=below, where={}) for below in sorted(belows)]
    taken = [cut.takes(node, place, {}) for cut in cuts]
    assert taken == sorted(taken)


def test_what_a_node_computes_by_itself_is_what_the_planner_says():
    whole = planned()
    assert [stage_of("r-1", whole.cuts, node.id, node.traits) for node in whole.nodes] == list(whole.stages)
    # A node that nobody knew when it was planned has a place, too.
    assert stage_of("r-1", whole.cuts, "new", {"version": ("2.1.0",)}) is not None


def test_each_rollout_begins_with_other_nodes():
    first = {node.id for node in sorted(nodes(1000), key=lambda node: place_of("r-1", node.id))[:100]}
    second = {node.id for node in sorted(nodes(1000), key=lambda node: place_of("r-2", node.id))[:100]}
    assert len(first & second) < 30  # 10 are to be expected


def test_named_cohorts_and_shares_of_them():
    cut = Cut(below=PLACES // 2, where={"region": ("eu",), "label": ("canary", "test")})
    traits = {"region": ("eu",), "label": ("x", "test")}
    assert cut.takes("n", PLACES // 2 - 1, traits)
    assert not cut.takes("n", PLACES // 2, traits)
    assert not cut.takes("n", 0, {"region": ("eu",), "label": ()})
    assert not cut.takes("n", 0, {"region": ("us",), "label": ("test",)})
    named = Cut(below=0, nodes=frozenset({"n"}), where={})
    assert named.takes("n", PLACES - 1, {})
    assert not named.takes("m", 0, {})


def test_the_example_plan_has_the_sizes_that_it_says():
    assert planned().sizes == (10, 50, 60, 50, 30)
    assert rollout().stages[2].promotion == "approved"
