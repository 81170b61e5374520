"""``livepatch rollout plan``."""

from __future__ import annotations

import json

import pytest
from tests.fleet.plans import PLAN, as_json, inventory

from livepatch.cli.main import main


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plan.toml").write_text(PLAN)
    (tmp_path / "nodes.json").write_text(as_json(inventory()))
    return tmp_path


def call(capsys, *arguments):
    status = main(["rollout", "plan", "plan.toml", "--inventory", "nodes.json", *arguments])
    return status, capsys.readouterr()


def test_a_plan_is_told(files, capsys):
    status, printed = call(capsys)
    lines = printed.out.splitlines()
    assert status == 0
    assert lines[0] == "rollout r-1: patch CVE-2026-1234 for nodeclient <2.3,>=2.1, to 200 nodes of nodes.json"
    assert lines[1] == "  1. canary: 10 nodes more (5.0% of the weight), 10 in all; soak 30 min, then automatic"
    assert lines[2] == "       errors at most 0.01; else abort"
    assert lines[-1] == "it may start, by alice or bob"
    status, printed = call(capsys, "--json")
    told = json.loads(printed.out)
    assert told["may_start"]
    assert [stage["nodes"] for stage in told["stages"]] == [10, 50, 60, 50, 30]
    assert sorted(told["stage_of"].values()).count("canary") == 10


def test_a_plan_that_is_refused_has_status_1(files, capsys):
    status, printed = call(capsys, "--used", "CVE-2026-1234=r-0", "--nodes")
    assert status == 1
    assert "refused: a flag is for one rollout; found: flag CVE-2026-1234, which rollout r-0" in printed.out
    assert sum(line.endswith(": canary") for line in printed.out.splitlines()) == 10
    (files / "nodes.json").write_text(as_json(inventory(version="1.0")))
    status, printed = call(capsys, "--json")
    told = json.loads(printed.out)
    assert (status, told["stages"], told["may_start"]) == (1, [], False)
    assert told["problems"][0]["action"].startswith("update those nodes")


def test_a_file_that_cannot_be_read_has_status_2(files, capsys):
    (files / "plan.toml").write_text("x = 1")
    assert call(capsys)[0] == 2
    (files / "plan.toml").write_text(PLAN)
    (files / "nodes.json").unlink()
    status, printed = call(capsys)
    assert (status, printed.out) == (2, "")
    assert "a JSON file" in printed.err
