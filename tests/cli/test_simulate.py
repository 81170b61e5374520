"""``livepatch simulate``."""

from __future__ import annotations

import json

import pytest
from tests.fleet.plans import CONSENSUS, as_json, inventory
from tests.fleet.test_simulate import BOUNDS

from livepatch.cli.main import main

HARM = '[[metric]]\nname = "errors"\nusual = 0.004\nfactor = 5\n'


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plan.toml").write_text(BOUNDS)
    (tmp_path / "harm.toml").write_text(HARM)
    (tmp_path / "nodes.json").write_text(as_json(inventory()))
    return tmp_path


def call(capsys, *arguments):
    status = main(["simulate", "plan.toml", *arguments])
    return status, capsys.readouterr()


def test_a_rollout_is_simulated(files, capsys):
    status, printed = call(capsys, "--inventory", "nodes.json", "--rollouts", "2")
    assert status == 0
    assert printed.out.startswith("rollout r-1, 2 times from seed 1: 2 complete\n  until all nodes had it: 11")
    status, printed = call(capsys, "--scenario", "harm.toml", "--json")
    told = json.loads(printed.out)
    assert (status, told["endings"], told["stopped_at"]) == (1, {"reverted": 1}, {"1": 1})
    assert told["first"]["phase"] == "reverted"
    assert told["nodes_harmed"]["most"] == 10
    status, printed = call(capsys, "--scenario", "harm.toml")
    assert "  stopped at stage 1 (canary): 1\n" in printed.out
    assert "  because: errors is 0.0" in printed.out


def test_the_same_seed_prints_the_same(files, capsys):
    first = call(capsys, "--seed", "7", "--json")[1].out
    assert call(capsys, "--seed", "7", "--json")[1].out == first
    assert call(capsys, "--seed", "8", "--json")[1].out != first


def test_a_plan_that_is_refused_is_not_simulated(files, capsys):
    status, printed = call(capsys, "--nodes", "12")
    assert (status, printed.out) == (1, "")
    assert "rollout r-1 must not start" in printed.err
    assert call(capsys, "--rollouts", "0")[0] == 2
    assert call(capsys, "--degradation", "-1")[0] == 2
    assert call(capsys, "--scenario", "nowhere.toml")[0] == 2


def test_a_consensus_change_is_simulated_from_the_inventory_s_height(files, capsys):
    (files / "plan.toml").write_text(CONSENSUS)
    status, printed = call(capsys, "--inventory", "nodes.json", "--json")
    told = json.loads(printed.out)
    assert status == 0
    assert 10_000 <= told["seconds_to_complete"]["median"] < 10_100  # 1,000 blocks of 10 seconds


def test_a_page_is_written(files, capsys):
    (files / "page.html").write_text("old")
    plain = call(capsys, "--rollouts", "2")[1].out
    assert call(capsys, "--rollouts", "2", "--page", "page.html")[1].out == plain
    first = (files / "page.html").read_text()
    assert first.startswith("<!doctype html>")
    assert "r-1, simulated 2 times from seed 1" in first
    call(capsys, "--rollouts", "2", "--page", "page.html")
    assert (files / "page.html").read_text() == first
    for path in ("plan.toml", "nowhere/page.html", "."):
        status, printed = call(capsys, "--page", path)
        assert status == 2, path
        assert "the page cannot be written" in printed.err
    assert (files / "plan.toml").read_text() == BOUNDS
    before = (files / "nodes.json").read_text()
    status, printed = call(capsys, "--inventory", "nodes.json", "--page", "nodes.json")
    assert (status, (files / "nodes.json").read_text()) == (2, before)
    assert "1 complete" in printed.out  # what was worked out is not lost
