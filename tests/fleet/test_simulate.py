"""Simulated fleets: they stop where a real one should, and the same seed gives the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from tests.fleet.plans import CONSENSUS, PLAN, planned, rollout

from livepatch.errors import PolicyError
from livepatch.fleet.clockwork import Clockwork
from livepatch.fleet.planning import plan
from livepatch.fleet.scenario import (
    Effect,
    Metric,
    Network,
    Partition,
    Scenario,
    generated,
    metrics_for,
    scenario_in,
)
from livepatch.fleet.simulate import simulate
from livepatch.fleet.simulated import summary

ROOMY = PLAN.replace("max-unavailable = 2", "max-unavailable = 5")
BOUNDS = ROOMY.partition('[[gate]]\nmetric = "latency"')[0]  # nothing is compared, so scipy is not needed


def run(scenario=None, text=BOUNDS, seed=1, **options):
    scenario = scenario or Scenario()
    there = generated(scenario, rollout(text), seed)
    return simulate(plan(rollout(text), there), scenario, seed=seed, height=there.height or 0, **options)


def test_a_clockwork_calls_in_order():
    called, clock = [], Clockwork()

    def call(name):
        called.append((clock.now, name))
        if name == "b":
            clock.after(0, call, "again")

    for seconds, name in ((2, "c"), (1, "a"), (1, "b"), (9, "never")):
        clock.after(seconds, call, name)
    clock.run(5, lambda: False)
    assert called == [(1, "a"), (1, "b"), (1, "again"), (2, "c")]
    assert clock.now == 5
    clock.run(20, lambda: True)
    assert len(called) == 4


def test_a_harmless_patch_gets_everywhere():
    found = run()
    assert (found.phase, found.opened, found.stopped_at) == ("complete", 5, None)
    # 2 hours 30 of soaks and approval, and what it takes to get there.
    assert 3.1 * 3600 < found.to_complete < 3.5 * 3600
    assert (found.harmed, found.split, found.halted) == (0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("scenario", "why"),
    [
        (Scenario(metrics=(Metric(name="errors", usual=0.004, factor=5.0),)), "errors is "),
        (Scenario(effect=Effect(trips=2.0)), "failed, 0 may"),
        (Scenario(effect=Effect(refused=0.9)), "failed, 0 may"),
        (Scenario(effect=Effect(stops=20.0)), "6 nodes of the open stages unavailable"),
    ],
)
def test_a_harmful_one_is_stopped_at_the_canary_and_taken_back(scenario, why):
    found = run(scenario)
    assert (found.phase, found.stopped_at) == ("reverted", 1)
    assert why in found.why
    assert found.harmed <= 10
    assert found.to_revert is not None
    assert found.halted < 1 / 3


def test_the_network_delays_and_changes_no_ending():
    cut = Partition(begin=600, length=1200, share=0.02)
    for scenario in (
        Scenario(network=Network(loss=0.6)),
        Scenario(takeovers=500.0),
        Scenario(partitions=(cut,), away=1.0),
    ):
        assert run(scenario).phase == "complete"
        bad = run(replace(scenario, metrics=(Metric(name="errors", usual=0.004, factor=5.0),)))
        assert (bad.phase, bad.stopped_at) == ("reverted", 1)


def test_a_large_partition_stops_it_and_it_is_taken_back_when_they_are_back():
    found = run(Scenario(partitions=(Partition(begin=4000, length=7200, share=0.4),)))
    assert found.phase == "reverted"
    assert "unavailable" in found.why
    assert found.seconds > 4000 + 7200
    assert found.to_revert > 5000


def test_a_byzantine_minority_neither_hides_harm_nor_keeps_it_from_ending():
    liars = Scenario(byzantine=0.2)
    assert run(liars).phase == "complete"
    found = run(replace(liars, metrics=(Metric(name="errors", usual=0.004, factor=5.0),)))
    assert (found.phase, found.stopped_at) == ("reverted", 1)


def test_a_consensus_change_that_is_staged_by_mistake_splits_the_chain_and_a_dormant_one_does_not():
    assert run(Scenario(effect=Effect(consensus=True))).split > 0.3  # the plan says consensus = false
    found = run(Scenario(effect=Effect(consensus=True)), CONSENSUS)
    assert (found.phase, found.split) == ("complete", 0.0)


def test_nodes_that_could_not_be_armed_are_what_is_left_of_a_split():
    away = Partition(begin=1700, length=20000, share=0.04)
    text = CONSENSUS.replace("reach-minutes = 30", "reach-minutes = 30\nmax-unavailable = 10")
    found = run(Scenario(effect=Effect(consensus=True), partitions=(away,), away=0.0), text)
    assert found.phase == "complete"
    assert found.split == pytest.approx(0.04)
    many = run(Scenario(effect=Effect(consensus=True), partitions=(replace(away, share=0.2),)), text)
    assert (many.phase, many.split) == ("reverted", 0.0)


ELSEWHERE = """
from tests.fleet.plans import planned
from livepatch.fleet.scenario import Network, Scenario
from livepatch.fleet.simulate import simulate
scenario = Scenario(network=Network(loss=0.2), away=5.0, byzantine=0.1, takeovers=20.0)
print(simulate(planned(TEXT), scenario, seed=3))
"""


def test_the_same_seed_is_the_same_in_every_process_and_another_is_another():
    scenario = Scenario(network=Network(loss=0.2), away=5.0, byzantine=0.1, takeovers=20.0)
    first = simulate(planned(BOUNDS), scenario, seed=3)
    assert simulate(planned(BOUNDS), scenario, seed=3) == first
    assert simulate(planned(BOUNDS), scenario, seed=4) != first
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "17"}
    command = [sys.executable, "-c", f"TEXT = {BOUNDS!r}{ELSEWHERE}"]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert told == f"{first}\n"


def test_a_day_is_simulated_whole():
    found = run(hours=24, whole=True)
    assert (found.phase, found.seconds) == ("complete", 86400.0)


def test_nodes_are_made_up_for_the_plan():
    there = generated(Scenario(nodes=500, stake="pareto"), rollout(), 1)
    assert {node.version for node in there.nodes} == {"2.1"}
    assert {node.region for node in there.nodes} == {"eu", "us", "asia"}
    assert max(node.weight for node in there.nodes) > 5
    assert there == generated(Scenario(nodes=500, stake="pareto"), rollout(), 1)
    mixed = generated(Scenario(versions=("2.1.0", "2.2.0")), rollout(), 1)
    assert {node.version for node in mixed.nodes} == {"2.1.0", "2.2.0"}


def test_metrics_are_such_that_a_fleet_without_the_patch_is_fine():
    text = PLAN + '\n[[gate]]\nmetric = "good"\nobjective = 0.999\nbudget-left = 0.5\n'
    text += '\n[[gate]]\nmetric = "peers"\nleast = 8\n\n[[gate]]\nmetric = "power"\nleast = -5\nmost = -1\n'
    found = {metric.name: metric for metric in metrics_for(rollout(text), Scenario(degradation=0.25))}
    assert found["errors"].usual == 0.005
    assert 0.9995 < found["good"].usual < 1
    assert found["peers"].usual == 4.0 * 4  # twice the bound
    assert found["power"].usual == -3
    assert found["latency"].factor == 1.25
    assert found["errors"].factor == 1.0


SCENARIO = """\
nodes = 50
versions = ["2.1.0"]
stake = "pareto"
byzantine = 0.1
away-per-day = 3
away-minutes = 4
degradation = 0.25

[network]
delay-seconds = 0.5
loss = 0.05

[[partition]]
from-minutes = 20
minutes = 5
share = 0.2

[[metric]]
name = "latency"
usual = 20

[effect]
stops-per-hour = 1
consensus = true
"""


def test_a_scenario_file():
    made = scenario_in(SCENARIO.encode(), "s.toml")
    assert made == Scenario(
        nodes=50, versions=("2.1.0",), stake="pareto", byzantine=0.1, away=3.0, absence=240.0, degradation=0.25,
        network=Network(delay=0.5, loss=0.05), partitions=(Partition(begin=1200.0, length=300.0, share=0.2),),
        metrics=(Metric(name="latency", usual=20.0),), effect=Effect(stops=1.0, consensus=True),
    )  # fmt: skip
    assert made.harmful
    assert not Scenario().harmful


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ('"pareto"', '"rich"', "stake"),
        ("byzantine = 0.1", "byzantine = 0.6", "byzantine"),
        ("loss = 0.05", "loss = 1", "network.loss"),
        ("share = 0.2", "share = 2", r"partition\[0\].share"),
        ('name = "latency"', "", r"metric\[0\].name"),
        ("consensus = true", "consensus = 1", "effect.consensus"),
        ("nodes = 50", "node = 50", "node"),
        ("[effect]", '[[metric]]\nname = "latency"\n[effect]', r"metric\[1\].name"),
    ],
)
def test_a_scenario_file_that_is_none(old, new, where):
    with pytest.raises(PolicyError, match=f"s.toml is no scenario: {where}") as caught:
        scenario_in(SCENARIO.replace(old, new, 1).encode(), "s.toml")
    assert caught.value.found


# How good it is


def many(number, text=ROOMY, **scenario):
    pytest.importorskip("scipy")
    return summary([run(Scenario(**scenario), text, seed=seed) for seed in range(number)])


def stopped_early(found):
    return sum(number for stage, number in found["stopped_at"].items() if int(stage) <= 2)


def test_a_degradation_by_a_quarter_is_stopped_and_its_absence_is_not():
    bad = many(3, degradation=0.25)
    assert stopped_early(bad) == 3
    assert bad["endings"] == {"reverted": 3}
    good = many(3)
    assert good["endings"] == {"complete": 3}
    assert json.dumps(good)


@pytest.mark.slow
def test_a_thousand_degraded_rollouts_are_stopped_and_a_thousand_harmless_ones_are_not():
    bad = many(1000, degradation=0.25)
    assert stopped_early(bad) >= 980
    assert set(bad["endings"]) == {"reverted"}
    good = many(1000)
    assert sum(good["stopped_at"].values()) <= 20
    assert set(good["endings"]) <= {"complete", "reverted"}
