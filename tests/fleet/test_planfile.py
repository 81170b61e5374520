"""Plan files and inventories are read strictly, and an error says where."""

from __future__ import annotations

import json

import pytest
from tests.fleet.plans import CONSENSUS, PLAN, as_json, inventory, rollout

from livepatch.errors import PolicyError
from livepatch.fleet.inventory import inventory_in
from livepatch.fleet.planfile import SMALL
from livepatch.fleet.rollout import Comparison, Judging, Objective, Threshold

WRONG = [
    ("[rollout]", "[roll]", "rollout", "nothing"),
    ('id = "r-1"', 'id = "r 1"', "rollout.id", "'r 1'"),
    ('promoters = ["alice", "bob"]', "promoters = []", "rollout.promoters", "an empty list"),
    ('promoters = ["alice", "bob"]', "", "rollout.promoters", "nothing"),
    ("detection-minutes = 5", "", "rollout.detection-minutes", "nothing"),
    ("detection-minutes = 5", "detection-minutes = -1", "rollout.detection-minutes", "-1"),
    ("detection-minutes = 5", "detection-minutes = nan", "rollout.detection-minutes", "nan"),
    ("detection-minutes = 5", 'detection-minutes = "5m"', "rollout.detection-minutes", "a text"),
    ("max-unavailable = 2", 'max-unavailable = "5%"', "rollout.max-unavailable", "a text"),
    ("max-unavailable = 2", "unavailable = 2", "rollout.unavailable", "an unknown key"),
    ("sha256:ab", "sha256:xb", "patch.digest", "'sha256:xb"),
    (">=2.1,<2.3", "2.1", "patch.versions", "no version specifier"),
    (">=2.1,<2.3", "", "patch.versions", "no version specifier"),
    ("count = 10", "", "stage[0]", "nothing that says which nodes"),
    ("count = 10", "count = 10\npercent = 5", "stage[0]", "several of"),
    ("count = 10", 'nodes = ["a", "a"]', "stage[0].nodes", "a node twice"),
    ("count = 10", "percent = 0", "stage[0].percent", "0"),
    ("count = 10", "percent = 101", "stage[0].percent", "101"),
    ("count = 10", "where = { colour = ['red'] }", "stage[0].where", "no condition"),
    ("count = 10", "where = { region = ['eu'], colour = ['red'] }", "stage[0].where.colour", "an unknown key"),
    ('name = "third"', 'name = "canary"', "stage[1].name", "'canary' twice"),
    ('"approved"', '"later"', "stage[2].promotion", "'later'"),
    ("most = 0.01", "", "gate[0]", "0 kinds"),
    ("most = 0.01", 'most = 0.01\nworse = "higher"', "gate[0]", "2 kinds"),
    ("most = 0.01", "most = 0.01\neffect = 0.5", "gate[0]", "1 kinds"),
    ("most = 0.01", "most = 0.01\nleast = 0.02", "gate[0].least", "0.02, above most"),
    ("most = 0.01", "objective = 1\nbudget-left = 0.5", "gate[0].objective", "one of"),
    ("most = 0.01", "objective = 0.999", "gate[0].objective", "one of"),
    ("most = 0.01", 'most = 0.01\nstages = ["nowhere"]', "gate[0].stages", "'nowhere'"),
    ("most = 0.01", 'most = 0.01\non-failure = "shrug"', "gate[0].on-failure", "'shrug'"),
    ('metric = "latency"\nworse = "higher"', 'metric = "errors"\nleast = 0', "gate[1].metric", "'errors' twice"),
    ("[[gate]]", "[judging]\nalpha = 0.5\n[[gate]]", "judging.alpha", "0.5"),
    ("[[gate]]", "[judging]\nnodes = 2\n[[gate]]", "judging.nodes", "2"),
]


@pytest.mark.parametrize(("old", "new", "where", "found"), WRONG)
def test_what_is_wrong_is_named_with_its_place(old, new, where, found):
    assert old in PLAN
    with pytest.raises(PolicyError) as caught:
        rollout(PLAN.replace(old, new, 1))
    assert f"plan.toml is no rollout plan: {where}" in str(caught.value)
    assert caught.value.found.startswith(found)
    assert caught.value.expected
    assert caught.value.action


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("height = 2000", "", "activation.height"),
        ("readiness = 0.9", "readiness = 0.6", "activation.readiness"),
        ("block-seconds = 10", "", "activation.block-seconds"),
    ],
)
def test_an_activation_is_complete(old, new, where):
    with pytest.raises(PolicyError, match=where):
        rollout(CONSENSUS.replace(old, new, 1))


def test_all_kinds_of_gates():
    more = '\n[[gate]]\nmetric = "good"\nobjective = 0.999\nbudget-left = 0.5\nstages = ["all"]\non-failure = "pause"\n'
    made = rollout(PLAN + more + "\n[judging]\nalpha = 0.05\nlooks = 2\nnodes = 5\n")
    assert made.gates == (
        Threshold(metric="errors", most=0.01),
        Comparison(metric="latency", worse="higher", effect=SMALL),
        Objective(metric="good", objective=0.999, budget_left=0.5, stages=("all",), on_failure="pause"),
    )
    assert len(made.gates_of(0)) == 2
    assert len(made.gates_of(4)) == 3
    assert made.judging == Judging(alpha=0.05, looks=2, nodes=5)
    assert made.stages[0].soak == 1800.0
    assert made.patch.flag == "CVE-2026-1234"
    assert made.patch.can_halt


def test_an_inventory_is_read_as_it_is_written():
    there = inventory(5, labels=("a", "b"), weight=2.5)
    assert inventory_in(as_json(there).encode(), "nodes.json") == there


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[]", "nodes"),
        ("{", "is no inventory"),
        ('{"nodes": []}', "nodes"),
        ('{"nodes": [], "nodes": []}', "key twice"),
        ('{"nodes": [1]}', r"nodes\[0\]"),
        ('{"nodes": [{"id": "a"}]}', r"nodes\[0\].version"),
        ('{"nodes": [{"id": "", "version": "1"}]}', r"nodes\[0\].id"),
        ('{"nodes": [{"id": "a\\nb", "version": "1"}]}', r"nodes\[0\].id"),
        ('{"nodes": [{"id": "a", "version": "1", "weight": -1}]}', r"nodes\[0\].weight"),
        ('{"nodes": [{"id": "a", "version": "1", "weight": 1e400}]}', r"nodes\[0\].weight"),
        ('{"nodes": [{"id": "a", "version": "1", "weight": NaN}]}', r"nodes\[0\].weight"),
        ('{"nodes": [{"id": "a", "version": "1", "wait": 1}]}', r"nodes\[0\].wait"),
        ('{"nodes": [{"id": "a", "version": "1", "labels": "x"}]}', r"nodes\[0\].labels"),
        ('{"nodes": [{"id": "a", "version": "1"}], "hight": 3}', "hight"),
        ('{"nodes": [{"id": "a", "version": "1"}], "height": true}', "height"),
    ],
)
def test_an_inventory_that_is_none(text, where):
    with pytest.raises(PolicyError, match=where) as caught:
        inventory_in(text.encode(), "nodes.json")
    assert caught.value.found
    assert caught.value.expected


def test_an_inventory_may_be_large():
    rows = [{"id": f"n{number}", "version": "2.1.0"} for number in range(5000)]
    assert len(inventory_in(json.dumps({"nodes": rows}).encode(), "nodes.json").nodes) == 5000
