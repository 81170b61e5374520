"""Fleets in a test: the code of a real rollout decides, on nodes that do what the test says."""

from __future__ import annotations

import pytest
from tests.fleet.plans import CONSENSUS, PLAN, inventory, rollout

from livepatch.errors import ExpectationError, PatchError, StateError
from livepatch.fleet.planning import plan
from livepatch.testing import MemoryStore, SimulatedNetwork

TEXT = PLAN.partition('[[gate]]\nmetric = "latency"')[0].replace("count = 10", "count = 3")
WHOLE = plan(rollout(TEXT.replace("max-unavailable = 2", "max-unavailable = 1")), inventory(40))
HOUR = 3600.0


def network(**options) -> SimulatedNetwork:
    made = SimulatedNetwork(WHOLE, every=60, **options)
    made.measure("errors", 0.001)
    made.say("start", "alice")
    return made


def promoted(fleet: SimulatedNetwork) -> bool:
    """Whether it has ended; a stage that waits for a promoter gets it."""
    if fleet.directive.passed and fleet.directive.phase == "running":
        fleet.say("promote", "alice")
    return fleet.directive.phase in ("complete", "reverted")


@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_a_rollout_gets_everywhere_though_messages_are_lost(loss):
    fleet = network(loss=loss)
    fleet.run(900, lambda: len(fleet.patched()) == 3)
    assert {node.id for node in fleet.of_stage("canary")} == fleet.patched()
    assert fleet.run(8 * HOUR, lambda: promoted(fleet)).phase == "complete"
    assert fleet.patched() == set(fleet.nodes)
    assert all(node.history == ["applied"] for node in fleet.nodes.values())


def test_a_canary_that_refuses_stops_it():
    fleet = network()
    fleet.of_stage("canary")[1].refuses = True
    assert fleet.run(HOUR, lambda: promoted(fleet)).phase == "reverted"
    assert fleet.directive.why == "1 node failed, 0 may"
    assert fleet.patched() == set()
    assert fleet.of_stage("canary")[0].history == ["applied", "original"]
    assert not any(node.history for node in fleet.of_stage("third"))


def test_a_patch_that_makes_nodes_worse_stops_it():
    fleet = network()
    fleet.measure("errors", lambda patched: 0.5 if patched else 0.001)
    assert fleet.run(HOUR, lambda: promoted(fleet)).phase == "reverted"
    assert fleet.directive.why == "errors is 0.5, at most 0.01 is allowed"


def test_a_node_that_is_away_catches_up():
    fleet = network()
    late = fleet.of_stage("canary")[0]
    late.away = True
    fleet.run(900, lambda: len(fleet.patched()) == 2)
    assert (late.condition, late.patched) == ("original", False)
    late.away = False
    fleet.run(900, lambda: late.patched)


def test_another_controller_takes_over():
    fleet = network()
    fleet.run(900, lambda: fleet.patched())
    fleet.take_over()
    assert fleet.run(8 * HOUR, lambda: promoted(fleet)).phase == "complete"


def test_what_a_test_gets_wrong_is_said():
    with pytest.raises(PatchError, match="lose"):
        SimulatedNetwork(WHOLE, loss=1.0)
    for call in (
        lambda: SimulatedNetwork(WHOLE, every=0),  # or it would never end
        lambda: network().measure("errors", 1.0, ["n0", "nobody"]),
        lambda: network().say("begin", "alice"),
    ):
        with pytest.raises(PatchError) as wrong:
            call()
        assert wrong.value.expected
    fleet = network()
    with pytest.raises(PatchError) as caught:
        fleet.of_stage("nowhere")
    assert "canary" in caught.value.expected
    with pytest.raises(ExpectationError) as missed:
        fleet.run(120, lambda: False)
    assert "3 patched" in missed.value.found
    fleet.nodes["n0"].away = True
    with pytest.raises(StateError, match="n0 does not reach"):
        fleet.reach(fleet.nodes["n0"])


def test_a_consensus_change_is_armed():
    made = SimulatedNetwork(plan(rollout(CONSENSUS), inventory(20, height=1000)))
    made.say("start", "alice")
    made.run(2 * HOUR, lambda: {node.condition for node in made.nodes.values()} == {"armed"})
    assert {tuple(node.history) for node in made.nodes.values()} == {("dormant", "armed")}


def test_nothing_of_a_store_in_memory_waits_for_real_time_but_its_changes():
    now = [0.0]
    store = MemoryStore(lambda: now[0])
    first = store.put("a", b"1", expected=None, ttl=5)
    now[0] = 6.0
    (gone,) = store.changes("", first, timeout=60)
    assert gone.value is None
    now[0] += 4000.0
    assert store.changes("", 0) == []
