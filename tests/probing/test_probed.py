"""What is wrong about what probes said: pure judgements."""

from __future__ import annotations

import json

import pytest

from livepatch.probing.calling import asked, asked_apart
from livepatch.probing.probed import Outcome, Probed, judge


def outcome(verdict, expected="closed", why="", probe="p", patch_id="A"):
    return Outcome(patch_id=patch_id, probe=probe, where="scratch", expected=expected, verdict=verdict, why=why)


@pytest.mark.parametrize(
    ("verdict", "expected", "told"),
    [
        ("vulnerable", "open", []),
        ("fixed", "open", [("error", "probe-blind")]),
        *(
            ("fixed", each, [])
            for each in ("closed", "not-yet", "partly", "switched-off", "taken-out", "other-release")
        ),
        *(
            ("vulnerable", each, [("error", "hole-open")])
            for each in ("closed", "switched-off", "taken-out", "other-release")
        ),
        *(("vulnerable", each, [("warning", "hole-open")]) for each in ("not-yet", "partly")),
        *(("unknown", each, [("error", "probe-inconclusive")]) for each in ("open", "closed", "partly", "taken-out")),
    ],
)
def test_what_each_answer_means(verdict, expected, told):
    outcomes = (outcome(verdict, expected, why="it raised builtins.ValueError" if verdict == "unknown" else ""),)
    findings = judge(outcomes)
    assert [(each.severity, each.code) for each in findings] == told
    probed = Probed(outcomes=outcomes, findings=findings, seconds=0.1)
    assert probed.ok == bool(probed) == (not [each for each in told if each[0] == "error"])
    assert (len(probed.open) == 1) == (told == [("error", "hole-open")])
    assert json.loads(probed.to_json())["ok"] == probed.ok
    assert "A/p" in str(probed)


def test_a_patch_without_a_probe_is_told_and_is_no_error():
    (found,) = judge([], ["A"])
    assert (found.severity, found.code, found.target) == ("warning", "probe-missing", "A")
    assert Probed(outcomes=(), findings=(found,), seconds=0.0).ok


# One probe in this process


def source(body: str, above: str = "") -> str:
    return f"{above}\ndef vulnerable():\n    {body}\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (source("return True"), ("vulnerable", "")),
        (source("return False"), ("fixed", "")),
        (source("return 1"), ("unknown", "it gave builtins.int, not True or False")),
        (source("return 'CANARY'"), ("unknown", "it gave builtins.str, not True or False")),
        (source("pass"), ("unknown", "it gave builtins.NoneType, not True or False")),
        (
            source("return CANARY()", "class CANARY: pass"),
            ("unknown", "it gave something of its own, not True or False"),
        ),
        (source("raise ValueError('CANARY')"), ("unknown", "it raised builtins.ValueError")),
        (source("raise SystemExit('CANARY')"), ("unknown", "it raised builtins.SystemExit")),
        (source("raise CANARY", "class CANARY(Exception): pass"), ("unknown", "it raised something of its own")),
        (source("return False", "import no_such_CANARY"), ("unknown", "it raised builtins.ModuleNotFoundError")),
        ("CANARY = 1\n", ("unknown", "it raised builtins.KeyError")),
        ("CANARY CANARY\n", ("unknown", "it raised builtins.SyntaxError")),
    ],
)
def test_what_a_probe_says_and_nothing_of_what_is_in_it(text, told):
    assert asked("p", text) == told
    assert "CANARY" not in told[1]


def test_a_probe_that_does_not_answer_is_not_waited_for():
    never = source("threading.Event().wait(60)", "import threading")
    assert asked_apart("p", never, 0.05) == ("unknown", "no answer within 0.05 s")
    assert asked_apart("p", source("return False"), 30.0) == ("fixed", "")
