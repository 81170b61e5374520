"""What comes next, by a clock that the test sets."""

from __future__ import annotations

import pytest

from livepatch.health.judge import Verdict
from livepatch.health.stages import Course, next_step

COURSE = Course(before=60, during=600, unknown=30)


@pytest.mark.parametrize(
    ("stage", "now", "state", "known", "lacking", "step"),
    [
        ("baseline", 59, None, None, "", "wait"),
        ("baseline", 60, None, None, "", "go-live"),
        ("baseline", 60, None, None, "x", "wait"),
        ("baseline", 119, None, None, "x", "wait"),
        ("baseline", 120, None, None, "x", "roll-back"),
        ("live", 1, "ok", 1, "", "wait"),
        ("live", 1, "breach", 1, "", "roll-back"),
        ("live", 599, "ok", 599, "", "wait"),
        ("live", 600, "ok", 600, "", "pass"),
        ("live", 600, "unknown", 599, "", "roll-back"),
        ("live", 700, "breach", 700, "", "roll-back"),
        ("live", 30, "unknown", None, "", "wait"),
        ("live", 31, "unknown", None, "", "roll-back"),
        ("live", 90, "unknown", 60, "", "wait"),
        ("live", 91, "unknown", 60, "", "roll-back"),
        ("live", 5, None, None, "", "wait"),
        ("passed", 900, "breach", 900, "", "wait"),
        ("rolled-back", 900, "breach", 900, "", "wait"),
    ],
)
def test_each_step(stage, now, state, known, lacking, step):
    verdict = Verdict(state, ()) if state else None
    shift = 1000  # whatever the clock began with
    known = known + shift if known is not None else None
    given = {"verdict": verdict, "known": known, "lacking": lacking, "read": now}
    assert next_step(stage, COURSE, shift, now + shift, **given) == step


def test_a_baseline_gets_its_readings_however_long_they_take():
    assert next_step("baseline", COURSE, 0, 1000, lacking="x", read=119) == "wait"
    assert next_step("baseline", COURSE, 0, 1000, lacking="x", read=120) == "roll-back"
    assert next_step("live", COURSE, 0, 1000, verdict=Verdict("unknown", ()), known=1000, read=599) == "wait"
    assert next_step("live", COURSE, 0, 1000, verdict=Verdict("unknown", ()), known=1000, read=600) == "roll-back"


def test_a_watch_without_an_end_goes_on():
    course = Course(0, float("inf"))
    assert next_step("live", course, 0, 1e9, verdict=Verdict("ok", ()), known=1e9) == "wait"
    assert next_step("live", course, 0, 1e9, verdict=Verdict("unknown", ()), known=1) == "wait"
