"""The planner: what it says of a sound plan, and what it refuses."""

from __future__ import annotations

import dataclasses

import pytest
from tests.fleet.plans import CONSENSUS, PLAN, inventory, nodes, planned, rollout

from livepatch.errors import RolloutError
from livepatch.fleet.inventory import Inventory
from livepatch.fleet.planning import examine, plan


def problems(text=PLAN, there=None, **options):
    found = examine(rollout(text), there or inventory(), **options)[1]
    assert all(each.found and each.expected and each.action for each in found)
    return [each.what for each in found]


def changed(text, old, new):
    assert old in text
    return text.replace(old, new, 1)


def test_a_sound_plan_is_told_as_it_will_be():
    whole = planned()
    assert whole.sizes == (10, 50, 60, 50, 30)
    assert whole.weights == (0.05, 0.25, 0.3, 0.25, 0.15)
    assert [whole.stages[whole.index[node.id]] for node in whole.nodes] == list(whole.stages)


def test_an_error_has_all_the_reasons_and_the_first_in_three_parts():
    text = changed(PLAN, "soak-minutes = 30", "soak-minutes = 1").replace(
        "most = 0.01", "most = 0.01\nstages = ['all']"
    )
    with pytest.raises(RolloutError) as caught:
        plan(rollout(text), inventory(), used={"CVE-2026-1234": "r-0"})
    assert len(caught.value.problems) > 1
    assert "CVE-2026-1234, which rollout r-0 has used" in caught.value.found
    assert "other reason" in str(caught.value)


@pytest.mark.parametrize(("minutes", "fine"), [("6", True), ("5.99", False), ("0", False)])
def test_a_soak_is_as_long_as_detection_and_retraction(minutes, fine):
    text = changed(PLAN, "soak-minutes = 30", f"soak-minutes = {minutes}")
    assert problems(text) == ([] if fine else ["the soak of stage canary is too short"])


def test_no_soak_at_all_is_too_short_even_if_nothing_takes_time():
    text = changed(changed(PLAN, "detection-minutes = 5", "detection-minutes = 0"), "retraction-minutes = 1",
                   "retraction-minutes = 0")  # fmt: skip
    assert problems(changed(text, "soak-minutes = 30", "soak-minutes = 0")) == ["the soak of stage canary is too short"]


def test_a_flag_and_an_id_are_for_one_rollout():
    assert problems(used={"other": "r-0"}) == []
    assert problems(used={"CVE-2026-1234": "r-0"}) == ["a flag is for one rollout"]
    assert problems(used={"other": "r-1"}) == ["an id is for one rollout"]


def test_a_third_of_the_voting_power_at_once():
    # Stage two-thirds adds 60 of 200 nodes, and 2 may be unavailable: 62 of 200.
    assert problems(changed(PLAN, "max-unavailable = 2", "max-unavailable = 6")) == []  # 66
    assert problems(changed(PLAN, "max-unavailable = 2", "max-unavailable = 7")) == [
        "stage two-thirds could stop the chain before its gate"
    ]
    harmless = changed(PLAN, 'versions = ">=2.1,<2.3"', 'versions = ">=2.1,<2.3"\ncan-halt = false')
    assert problems(changed(harmless, "max-unavailable = 2", "max-unavailable = 7")) == []


def test_weight_counts_and_not_the_number_of_nodes():
    there = list(nodes())
    canary = planned().stages.index(0)
    there[canary] = dataclasses.replace(there[canary], weight=100.0)
    found = problems(there=Inventory(source="nodes.json", nodes=tuple(there)))
    assert "stage canary could stop the chain before its gate" in found
    # Elsewhere it is not in the stage, but may be unavailable beside it.
    assert len(found) == 5


def test_an_inventory_in_which_nobody_has_weight_says_nothing_of_a_third():
    there = Inventory(source="nodes.json", nodes=nodes(weight=0.0))
    assert problems(there=there) == ["nobody has voting power"]
    harmless = changed(PLAN, 'versions = ">=2.1,<2.3"', 'versions = ">=2.1,<2.3"\ncan-halt = false')
    assert problems(harmless, there=there) == []


def test_exactly_a_third_is_too_much():
    text = changed(PLAN, "max-unavailable = 2", "max-unavailable = 0")
    third = text.replace("percent = 30", "percent = 31").replace("percent = 60", "percent = 64.3333333333")
    there = inventory(300)
    whole, found = examine(rollout(third), there)
    assert whole.sizes[2] == 100
    assert [each.what for each in found] == ["stage two-thirds could stop the chain before its gate"]


def test_an_inventory_that_disagrees():
    assert problems(there=Inventory(source="i", nodes=(*nodes(), *nodes(2)))) == ["the inventory has a node twice"]
    named = changed(PLAN, "count = 10", 'nodes = ["n1", "gone"]')
    assert problems(named) == ["the plan names nodes that the inventory does not have"]
    old = (*nodes(199), *nodes(1, id="old", version="2.0.9"))
    assert problems(there=Inventory(source="i", nodes=old)) == ["the patch is not for the versions that nodes run"]
    odd = (*nodes(199), *nodes(1, id="odd", version="newest"))
    assert problems(there=Inventory(source="i", nodes=odd)) == ["the patch is not for the versions that nodes run"]
    inside = (*nodes(199), *nodes(1, id="pre", version="2.2rc1"))
    assert problems(there=Inventory(source="i", nodes=inside)) == []


def test_every_node_is_in_a_stage_and_every_stage_has_one():
    assert problems(changed(PLAN, "percent = 100", "percent = 99")) == ["some nodes are in no stage"]
    assert "stage third adds no node" in problems(changed(PLAN, "percent = 30", "percent = 5"))


def test_a_stage_for_nodes_that_nobody_has_tells_its_where():
    text = changed(PLAN, "count = 10", 'where = { region = ["mars", "moon"] }')
    whole, found = examine(rollout(text), inventory())
    assert whole.sizes[0] == 0
    (empty,) = [each for each in found if each.what == "stage canary adds no node"]
    assert empty.action.endswith("correct its where: region mars or moon")


def test_something_has_to_judge_each_stage():
    only_comparing = changed(PLAN, "most = 0.01", 'most = 0.01\nstages = ["canary"]')
    assert problems(only_comparing) == ["nothing judges stage all"]
    assert problems(changed(PLAN, "count = 10", "count = 7")) == ["the comparisons of stage canary would wait for ever"]


def test_named_cohorts():
    text = changed(PLAN, "count = 10", 'where = { region = ["eu"], version = ["2.1.0"] }\npercent = 20')
    whole, found = examine(rollout(text), inventory())
    assert found == ()
    assert {node.region for node, stage in zip(whole.nodes, whole.stages, strict=True) if stage == 0} == {"eu"}
    assert whole.sizes[0] == 14  # 20 percent of 67, rounded up


def test_a_consensus_change_is_not_staged():
    assert problems(CONSENSUS) == []
    staged = changed(CONSENSUS, "[[stage]]", '[[stage]]\nname = "canary"\ncount = 5\nsoak-minutes = 30\n\n[[stage]]')
    assert problems(staged) == ["a consensus change is not staged"]
    some = changed(CONSENSUS, "percent = 100", 'where = { region = ["eu", "us", "asia"] }')
    assert problems(some) == ["a consensus change is not staged"]
    without = CONSENSUS.partition("[activation]")[0]
    assert problems(without) == ["a consensus change begins at a height"]
    assert problems(changed(CONSENSUS, "consensus = true", "can-halt = false")) == [
        "nothing judges stage all",
        "an activation is for consensus changes",
    ]


def test_a_height_that_cannot_be_met():
    # 60 minutes to reach all and to soak are 360 blocks; 100 of margin.
    assert problems(changed(CONSENSUS, "height = 2000", "height = 1460")) == []
    assert problems(changed(CONSENSUS, "height = 2000", "height = 1459")) == ["the activation height cannot be met"]
    assert problems(CONSENSUS, inventory(height=None)) == ["nobody says how high the chain is"]


def test_readiness_is_by_weight():
    away = changed(CONSENSUS, "reach-minutes = 30", "reach-minutes = 30\nmax-unavailable = 1")
    assert problems(away) == []
    heavy = (*nodes(199), *nodes(1, id="whale", weight=50.0))
    there = Inventory(source="i", nodes=heavy, height=1000)
    assert problems(away, there) == ["the readiness asked for may never be reached"]
