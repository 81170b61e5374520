"""The judge: pure, so no clock, no thread and no probe is needed."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livepatch.health.judge import Window, judge
from livepatch.health.rules import Rule
from livepatch.health.series import Point, Series


def series(values, *, name="x", first=1.0):
    return Series(name, "s", tuple(Point(first + i, value) for i, value in enumerate(values)))


def verdict(rule, before, after, *, now=None, name="x"):
    """The state of one rule, with those values before and after a patch, one a second."""
    shown = series([*before, *after], name=name)
    window = Window(len(before), 1.0, (0.0, len(before)) if before else None)
    return judge({name: shown}, [rule], window, now if now is not None else float(len(before) + len(after)))


@pytest.mark.parametrize(
    ("rule", "before", "after", "state"),
    [
        (Rule("x", above=5), [], [5, 5], "ok"),
        (Rule("x", above=5), [], [9, 5], "ok"),
        (Rule("x", above=5), [], [9], "unknown"),
        (Rule("x", above=5), [], [6, 6], "breach"),
        (Rule("x", above=5, in_a_row=1), [], [5, 6], "breach"),
        (Rule("x", below=-5), [], [-6, -6], "breach"),
        (Rule("x", below=5), [], [6, 5], "ok"),
        (Rule("x", times=2), [1, 1, 1], [2, 2], "ok"),
        (Rule("x", times=2), [1, 1, 1], [2.1, 2.1], "breach"),
        (Rule("x", times=2), [1, 1], [2, 2], "unknown"),
        (Rule("x", times=2), [], [1, 1], "unknown"),
        (Rule("x", times=2), [-1, -1, -1], [-0.5, -0.5], "ok"),
        (Rule("x", times=2), [-1, -1, -1], [0.1, 0.1], "breach"),
        (Rule("x", times=0.5), [4, 4, 4], [1.9, 1.9], "breach"),
        (Rule("x", times=0.5), [4, 4, 4], [2, 2], "ok"),
        (Rule("x", times=2, least=5), [1, 1, 1], [5, 6], "ok"),
        (Rule("x", times=2, least=5), [1, 1, 1], [6.1, 6.1], "breach"),
        (Rule("x", plus=3), [1, 2, 9], [5, 5.1], "ok"),
        (Rule("x", plus=3), [1, 2, 9], [5.1, 5.1], "breach"),
        (Rule("x", minus=3), [1, 2, 9], [-1.1, -1.1], "breach"),
        (Rule("x", shifts="up"), [1.0] * 29, [1.0] * 9, "unknown"),
        (Rule("x", shifts="up"), [1.0] * 30, [1.0] * 9, "ok"),
        (Rule("x", shifts="up"), [1.0] * 30, [2.0] * 5, "ok"),
        (Rule("x", shifts="up"), [1.0] * 30, [2.0] * 6, "breach"),
        (Rule("x", shifts="down"), [1.0] * 30, [2.0] * 9, "ok"),
        (Rule("x", shifts="down"), [1.0] * 30, [0.5] * 9, "breach"),
        (Rule("x", shifts="up", least=1.5), [1.0] * 30, [2.0] * 50, "ok"),
        (Rule("x", shifts="up"), [0.0] * 30, [0.0] * 9, "unknown"),
        (Rule("x", shifts="up", least=1), [0.0] * 30, [0.0] * 9, "ok"),
        (Rule("x", shifts="up", least=1), [0.0] * 30, [5.0] * 9, "breach"),
        (Rule("x", above=5), [], [1, None, None, None], "ok"),
        (Rule("x", above=5, in_a_row=1), [], [1, None, None, None, None], "unknown"),
        (Rule("x", above=5, in_a_row=1, within=9), [], [1, None, None, None, None], "ok"),
        (Rule("x", above=5, in_a_row=1), [], [6, None, None, None, None], "breach"),
        (Rule("x", above=5, in_a_row=1), [], [None, None], "unknown"),
        (Rule("y", above=5), [], [1, 1], "unknown"),
    ],
)
def test_each_rule(rule, before, after, state):
    if state == "ok" and after.count(None) and rule.in_a_row > 1:
        after = [1, *after]
    assert verdict(rule, before, after).state == state


def test_a_breach_outweighs_what_is_unknown_and_that_outweighs_ok():
    shown = {"good": series([1, 1], name="good"), "bad": series([9, 9], name="bad")}
    rules = [Rule("good", above=5), Rule("none", above=5), Rule("bad", above=5)]
    window = Window(0.0, 1.0)
    assert judge(shown, rules, window, 2.0).state == "breach"
    assert [each.probe for each in judge(shown, rules, window, 2.0).reasons] == ["bad"]
    assert judge(shown, rules[:2], window, 2.0).state == "unknown"
    assert judge(shown, rules[:1], window, 2.0).state == "ok"
    assert judge(shown, [], window, 2.0).state == "unknown"


def test_a_pattern_covers_every_probe_of_that_name():
    shown = {name: series(values, name=name) for name, values in {"a/t": [1, 1], "b/t": [9, 9], "b/u": [9, 9]}.items()}
    found = judge(shown, [Rule("*/t", above=5)], Window(0.0, 1.0), 2.0)
    assert [(each.probe, each.state) for each in found.judged] == [("a/t", "ok"), ("b/t", "breach")]
    assert "b/t: 9, 9 is above 5 [*/t above=5]" in str(found)
    assert found.to_dict()["judged"][1]["limit"] == 5


def test_what_was_before_the_patch_is_not_judged_and_what_comes_is_not_its_baseline():
    assert verdict(Rule("x", above=5), [9, 9, 9], [1, 1]).state == "ok"
    assert verdict(Rule("x", times=2), [1, 1, 1], [100] * 50).state == "breach"


values = st.lists(st.none() | st.floats(-1e6, 1e6), max_size=12)
rules = st.one_of(
    st.builds(lambda v, n: Rule("x", above=v, in_a_row=n), st.floats(-100, 100), st.integers(1, 3)),
    st.builds(lambda v, n: Rule("x", below=v, in_a_row=n), st.floats(-100, 100), st.integers(1, 3)),
    st.builds(lambda v: Rule("x", times=v), st.floats(0.1, 10)),
    st.builds(lambda v: Rule("x", plus=v), st.floats(0.1, 10)),
    st.builds(lambda v: Rule("x", shifts=v, least=1.0), st.sampled_from(["up", "down"])),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rules, values, values, st.floats(0, 20))
def test_unknown_never_passes_and_more_silence_makes_nothing_well(rule, before, after, later):
    """The same readings with a gap at their end are ok only if they were so without, and never from nothing."""
    now = float(len(before) + len(after))
    first = verdict(rule, before, after, now=now)
    second = verdict(rule, before, [*after, None], now=now + 1 + later)
    if second.state == "ok":
        assert first.state == "ok" or after[-1:] == [None]
        assert any(value is not None for value in after)
    if first.state == "breach":
        assert second.state == "breach"
    if not any(value is not None for value in after):
        assert first.state == "unknown"
    assert first == verdict(rule, before, after, now=now)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.floats(-100, 100), st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=9), st.integers(1, 3))
def test_an_absolute_rule_is_what_it_says(limit, after, row):
    state = verdict(Rule("x", above=limit, in_a_row=row), [], after).state
    last = after[-row:]
    expected = "unknown" if len(last) < row else "breach" if all(value > limit for value in last) else "ok"
    assert state == expected


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.floats(0.1, 100), min_size=3, max_size=9), st.lists(st.floats(0.1, 100), min_size=2, max_size=9))
def test_the_unit_of_a_probe_does_not_matter_to_what_compares(before, after):
    rule = Rule("x", times=1.5)
    assert (
        verdict(rule, before, after).state == verdict(rule, [b * 1024 for b in before], [a * 1024 for a in after]).state
    )


NOISES = {
    "even": lambda r: lambda: r.gauss(10, 1),
    "long tail": lambda r: lambda: r.lognormvariate(0, 0.5),
    "spikes": lambda r: lambda: r.gauss(10, 1) + (50 if r.random() < 0.02 else 0),
    "two-sided tail": lambda r: lambda: 10 + r.choice((-1, 1)) * r.expovariate(1),
}


def steps(rule, before, after):
    """After how many values the rule is broken; none: infinity."""
    for count in range(1, len(after) + 1):
        if verdict(rule, before, after[:count]).state == "breach":
            return count
    return math.inf


@pytest.mark.parametrize("noise", NOISES)
def test_of_200_clean_series_at_most_2_in_100_are_taken_for_a_breach(noise):
    draw = random.Random(f"clean {noise}")
    broken = 0
    for _ in range(200):
        value = NOISES[noise](draw)
        before = [value() for _ in range(30)]
        after = [value() for _ in range(60)]
        # The sum of the whole way is that of its highest point, so the last judgement tells of all before it.
        broken += verdict(Rule("x", shifts="up"), before, after).state == "breach"
    assert broken <= 4


@pytest.mark.parametrize("noise", ["even", "spikes"])
def test_a_series_that_doubles_is_found_at_once(noise):
    draw = random.Random(f"doubled {noise}")
    found, shifted = [], []
    for _ in range(50):
        value = NOISES[noise](draw)
        before, after = [value() for _ in range(30)], [2 * value() for _ in range(30)]
        found.append(steps(Rule("x", times=1.5), before, after))
        shifted.append(steps(Rule("x", shifts="up"), before, after))
    # Where three in thirty of the baseline are spikes, a spike is within its noise.
    assert sorted(shifted)[45] <= 8
    assert sorted(found)[45] == 2  # the noise itself reaches below one and a half times now and then


def test_a_rule_says_what_it_is():
    assert str(Rule("x", times=2, least=0.5)) == "x times=2 least=0.5"
    assert str(Rule("*/latency", shifts="up", within=60)) == "*/latency shifts='up' within=60"


def test_readings_that_come_late_are_not_missing_and_those_that_do_not_come_are():
    rule, window = Rule("x", above=5), Window(0.0, 0.1)
    assert judge({"x": series([1, 1, None])}, [rule], window, 3.0).state == "ok"
    assert judge({"x": series([1, 1])}, [rule], window, 2.4).state == "unknown"
    assert judge({"x": series([1, 1])}, [Rule("x", above=5, within=1)], window, 2.4).state == "ok"
