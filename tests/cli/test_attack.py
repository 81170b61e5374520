"""``livepatch attack``: its status says whether an attack has succeeded, and its evidence is of the very file."""

from __future__ import annotations

import json

import pytest
from tests.built import Running
from tests.few_modules import FewModules

import livepatch
from livepatch.bundle.keyfiles import make_key
from livepatch.cli.main import main

MOST = [f"--skip={name}" for name in ("cycles", "malformed", "concurrency", "faults", "stack", "memory")]


@pytest.fixture
def running(tmp_path, monkeypatch):
    """The package of a patch file, and the modules that it has beside."""
    old = {
        "m.py": "def f(x: int): return x\n",
        "probes.py": "from PKG.m import f\ndef good(): return f(1)\ndef bad(): return 1\n",
    }
    running = Running(tmp_path, monkeypatch, old, {"m.py": "def f(x: int): return [x]\n"})
    monkeypatch.setattr("livepatch.process.live.sys", FewModules(*running.modules.values()))
    running.build(id="FIX").save(tmp_path / "fix.lpatch")
    make_key(tmp_path / "key")
    monkeypatch.chdir(tmp_path)
    return running


@pytest.fixture
def name(running):
    """The name of a module with probes."""
    return f"{running.name}.probes"


def attack(*arguments: str) -> int:
    return main(["attack", "fix.lpatch", *arguments])


def test_attacks_that_fail_to_break_it_are_signed(name, capsys):
    assert attack("--unsigned", "--probe", f"{name}:good", *MOST, "--suite", "red-team", "--key", "key", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["ok"], facts["result"], facts["evidence"]) == (True, "WARNED", "fix.lpatch.red-team.evidence")
    assert facts["results"][0] == {"name": "exploit", "verdict": "passed", "said": "1 before, [1] after"}
    assert livepatch.status() == ()


def test_by_default_the_probes_in_the_file_are_asked(running, capsys):
    assert attack("--unsigned", *MOST) == 2  # it carries none
    assert "a patch that carries none" in capsys.readouterr().err
    source = f"from {running.name}.m import f\ndef vulnerable(): return f(1) == 1\n"
    running.build(id="FIX", probes=[livepatch.Probe(name="wrapped", source=source)]).save("fix.lpatch")
    capsys.readouterr()
    assert attack("--unsigned", *MOST, "--json") == 0
    told = json.loads(capsys.readouterr().out)["results"][0]
    assert told == {"name": "exploit wrapped", "verdict": "passed", "said": "'vulnerable' before, 'fixed' after"}


def test_what_the_code_under_attack_prints_is_not_in_the_answer(name, capsys, tmp_path):
    (tmp_path / "loud.py").write_text(
        f"from {name} import good\nprint('imported')\ndef loud():\n    print('called')\n    return good()\n"
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(tmp_path))
        assert attack("--unsigned", "--probe", "loud:loud", *MOST, "--json") == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["ok"]
    assert "imported\ncalled\n" in told.err


def test_one_that_breaks_it_is_a_refusal(name, capsys):
    assert attack("--unsigned", "--probe", f"{name}:bad", *MOST, "--color", "never") == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "FIX: 8 attacks, 1 failed, 6 skipped"
    assert printed[1].startswith("  failed  exploit: the probe does not notice FIX")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ([], 1, "trust"),
        (["--unsigned", "--skip", "exploits"], 2, "no such attack"),
        (["--unsigned", "--caller", "nowhere:f"], 2, "nowhere:f cannot be imported"),
        (["--unsigned", "--caller", "json:nothing"], 2, "json:nothing leads nowhere"),
        (["--unsigned", "--refusal", "json"], 2, "no colon"),
        (["--unsigned", "--instance", "A"], 2, "CLASS=NAME"),
        (["--unsigned", "--key", "key"], 2, "--suite"),
        (["--unsigned", "--suite", "s"], 2, "it is not said how to sign"),
    ],
)
def test_wrong_usage_attacks_nothing(name, capsys, monkeypatch, arguments, status, words):
    monkeypatch.setattr("livepatch.testing.attacking._MADE", {})
    assert attack("--probe", f"{name}:good", *arguments) == status
    assert words in capsys.readouterr().err


def test_a_patch_in_code_has_no_evidence(name, capsys, write_module):
    written = write_module("import livepatch\nfix = livepatch.Patch('CODE', package='specimen', versions='==1.0')\n")
    file = f"{written.__name__}:fix"
    assert main(["attack", file, "--probe", f"{name}:good", "--suite", "s", "--key", "key"]) == 2
    assert "evidence is of a patch file" in capsys.readouterr().err
    assert main(["attack", f"{name}:bad", "--probe", f"{name}:good"]) == 2
    assert "is no patch" in capsys.readouterr().err
