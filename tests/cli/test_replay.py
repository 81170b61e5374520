"""``livepatch replay``: its status says whether the sides differ where that is declared, and nowhere else."""

from __future__ import annotations

import json

import pytest
from tests.built import Running

from livepatch.cli.main import main


@pytest.fixture
def case(tmp_path, monkeypatch):
    running = Running(tmp_path, monkeypatch, {"m.py": "def f(x): return x\n"}, {"m.py": "def f(x): return x + 1\n"})
    running.build(id="FIX").save(tmp_path / "fix.lpatch")
    (tmp_path / "inputs.jsonl").write_text(json.dumps({"target": f"{running.name}.m:f", "args": [1], "height": 7}))
    monkeypatch.chdir(tmp_path)
    return f"{running.name}.m:f"


def replay(*arguments: str) -> int:
    return main(["replay", "fix.lpatch", "inputs.jsonl", *arguments])


def test_what_is_not_declared_is_a_refusal(case, capsys):
    assert replay("--unsigned", "--json") == 1
    facts = json.loads(capsys.readouterr().out)
    assert (facts["patch_id"], facts["ok"], facts["undeclared"], facts["file"]) == ("FIX", False, 1, "fix.lpatch")
    assert facts["differences"][0]["target"] == case


@pytest.mark.slow
def test_what_is_declared_is_not(case, capsys):
    assert replay("--unsigned", "--declared", case, "--activation", "7", "--timeout", "60") == 0
    assert capsys.readouterr().out.splitlines()[0] == "replay of FIX: 1 input, as declared"
    assert replay("--unsigned", "--activation", "8") == 0
    assert capsys.readouterr().out.splitlines()[0] == "replay of FIX: 1 input, both sides alike"


def test_nothing_is_run_of_a_file_for_which_nobody_answers(case, capsys, monkeypatch):
    monkeypatch.setattr("livepatch.replaying.replay.Scratch", None)
    assert replay() == 1
    assert "trust" in capsys.readouterr().err
    assert replay("--unsigned", "--declared", "f") == 2
    assert "declared names nothing" in capsys.readouterr().err
    assert main(["replay", "fix.lpatch", "nowhere", "--unsigned"]) == 2
    assert "the inputs cannot be read" in capsys.readouterr().err
