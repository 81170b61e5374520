"""Canary judgement: against published figures, against chance, and with too little data."""

from __future__ import annotations

import builtins
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fleet.plans import PLAN, rollout

from livepatch.errors import PolicyError
from livepatch.fleet.canary import compare, holm, spending
from livepatch.fleet.judging import Series, judge
from livepatch.fleet.standing import Judge

MORE = PLAN + '\n[[gate]]\nmetric = "peers"\nworse = "lower"\n'


def asked(look=4, opened=1, spent=0.0):
    return Judge(opened=opened, look=look, looks=4, spent=spent, since=0.0, until=look * 450.0)


def values(seed, number, mean=1.0, sigma=0.2):
    chance = random.Random(seed)
    return {f"{seed}-{n}": mean * math.exp(chance.gauss(0, sigma)) for n in range(number)}


def series(treated=1.0, untreated=1.0, errors=0.001, numbers=(10, 190), **more):
    with_it = {"errors": {"a": errors}, "latency": values("t", numbers[0], treated), **more}
    return Series(treated=with_it, untreated={"latency": values("u", numbers[1], untreated)})


def test_chances_are_spent_as_lan_and_demets_have_published():
    # One-sided 0.025 by the O'Brien-Fleming type function, at a fifth, two, three and four fifths of the information
    # (two-sided 0.05 in their table of 1983: 0.00000, 0.00079, 0.00762, 0.02442, 0.05).
    found = [2 * spending(0.025, share) for share in (0.2, 0.4, 0.6, 0.8, 1.0)]
    assert found == pytest.approx([0.00000, 0.00079, 0.00762, 0.02442, 0.05], abs=1e-5)
    assert spending(0.01, 0) == 0
    assert spending(0.01, 2) == 0.01


def test_holm_stops_at_the_first_that_could_be_chance():
    assert holm([0.01, 0.04, 0.03, 0.005], 0.05) == (True, False, False, True)
    assert holm([0.0, 0.0], 0.0) == (False, False)
    assert holm([], 0.05) == ()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=6), st.floats(0.001, 0.2))
def test_holm_says_no_more_than_a_test_of_each_and_no_less_than_bonferroni(chances, level):
    for chance, real in zip(chances, holm(chances, level), strict=True):
        assert not real or chance <= level
        assert real or chance > level / len(chances)


def test_a_difference_and_its_size():
    pytest.importorskip("scipy")
    low, high = [float(n) for n in range(10)], [float(n) for n in range(10, 30)]
    found = compare(high, low, "higher")
    assert (found.effect, found.p < 1e-4) == (1.0, True)
    found = compare(low, high, "higher")
    assert (found.effect, found.p > 0.99) == (-1.0, True)
    assert compare(low, high, "lower").effect == 1.0
    found = compare([1.0] * 10, [1.0] * 10, "higher")
    assert (found.effect, found.p >= 0.5) == (0.0, True)
    # A textbook case: ranks 1 to 7 without ties, U = 11 of 12, one of 35 ways and one more.
    found = compare([3.0, 5.0, 6.0, 7.0], [1.0, 2.0, 4.0], "higher")
    assert found.p == pytest.approx(2 / 35)
    assert found.effect == pytest.approx(2 * 11 / 12 - 1)


def test_a_sound_stage_is_fine_and_a_degraded_one_is_bad():
    pytest.importorskip("scipy")
    found = judge(rollout(), asked(), series())
    assert (found.verdict, found.spent) == ("fine", 1.0)
    assert found.observed().why == ""
    found = judge(rollout(), asked(opened=2), series(treated=1.4, numbers=(60, 140)))
    assert found.verdict == "bad"
    told = found.observed()
    assert (told.look, told.verdict, told.on_failure, told.spent) == (4, "bad", "abort", 1.0)
    assert told.why.startswith("latency higher: p = ")
    (answer,) = [answer for answer in found.answers if answer.verdict == "bad"]
    assert len(answer.treated) == 60  # a verdict shows its series
    assert len(answer.untreated) == 140
    assert answer.compared.effect > 0.5


def test_what_matters_little_is_fine_however_certain_it_is():
    pytest.importorskip("scipy")
    tight = Series(
        treated={"errors": {"a": 0.0}, "latency": values("t", 3000, 1.06, 0.5)},
        untreated={"latency": values("u", 3000, 1.0, 0.5)},
    )
    found = judge(rollout(), asked(), tight)
    (answer,) = [answer for answer in found.answers if answer.compared]
    assert answer.compared.p < answer.level
    assert 0 < answer.compared.effect < 0.147
    assert found.verdict == "fine"


def test_too_little_data_waits_and_spends_nothing():
    found = judge(rollout(), asked(), series(numbers=(7, 190)))
    assert (found.verdict, found.spent) == ("wait", 0.0)
    assert "data of 7 nodes with the patch and 190 without, 8 are needed" in found.observed().why
    found = judge(rollout(MORE), asked(), series(treated=9.0))
    assert (found.verdict, found.spent) == ("wait", 0.0)  # nobody has measured peers: latency is not tested alone
    holes = {f"n{n}": math.nan for n in range(50)}
    found = judge(rollout(), asked(), Series(treated={"errors": {"a": 0.0}, "latency": holes}, untreated={}))
    assert found.verdict == "wait"
    assert judge(rollout(), asked(opened=5), Series(treated={})).verdict == "wait"


def test_a_bound_is_judged_even_where_comparisons_wait():
    found = judge(rollout(), asked(), series(errors=0.02, numbers=(3, 190)))
    assert found.verdict == "bad"
    assert found.observed().why == "errors is 0.02, at most 0.01 is allowed"


def test_a_bound_is_about_the_middle_node_and_infinity_counts():
    spread = {"a": 0.0, "b": 0.005, "c": math.inf}
    assert judge(rollout(), asked(opened=5), Series(treated={"errors": spread})).verdict == "fine"
    worse = {**spread, "d": math.inf, "e": math.inf, "f": math.nan}
    assert judge(rollout(), asked(opened=5), Series(treated={"errors": worse})).verdict == "bad"


def test_the_last_stage_has_nobody_to_compare_with():
    assert judge(rollout(), asked(opened=5), Series(treated={"errors": {"a": 0.0}})).verdict == "fine"


def test_an_error_budget():
    text = PLAN.replace("most = 0.01", "objective = 0.99\nbudget-left = 0.5\non-failure = 'pause'")
    for good, verdict in ((0.9951, "fine"), (0.9949, "bad"), (0.9, "bad")):
        found = judge(rollout(text), asked(opened=5), Series(treated={"errors": {"a": good, "b": good}}))
        assert found.verdict == verdict
        assert found.observed().on_failure == ("abort" if verdict == "fine" else "pause")


def test_early_looks_need_more_than_late_ones_and_nothing_is_spent_twice():
    pytest.importorskip("scipy")
    levels = [
        next(a.level for a in judge(rollout(), asked(look=look, spent=(look - 1) / 4), series()).answers if a.compared)
        for look in (1, 2, 3, 4)
    ]
    assert levels == sorted(levels)
    assert sum(levels) == pytest.approx(0.01 / 4)  # four stages have somebody to compare with
    again = judge(rollout(), asked(look=5, spent=1.0), series(treated=9.0))
    assert again.verdict == "fine"  # the soak's chances are used up; its last look has said so already
    late = judge(rollout(), asked(look=5, spent=0.75), series(treated=9.0))
    assert late.verdict == "bad"


def test_without_scipy_it_is_said_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("scipy"):
            raise ImportError("No module named 'scipy'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(PolicyError, match=r"livepatch\[canary\]"):
        judge(rollout(), asked(), series())


@pytest.mark.slow
def test_a_harmless_stage_is_stopped_no_more_often_than_alpha():
    pytest.importorskip("scipy")
    text = MORE.replace("alpha", "") + "\n[judging]\nalpha = 0.2\n"
    chance, stopped, runs = random.Random(7), 0, 1500
    for _ in range(runs):
        spent, sums = 0.0, {}
        for look in (1, 2, 3, 4):
            for node in range(60):
                for metric in ("latency", "peers"):
                    sums[metric, node] = sums.get((metric, node), 0.0) + chance.gauss(0, 1)
            sides = [
                {metric: {str(n): sums[metric, n] / look for n in range(*nodes)} for metric in ("latency", "peers")}
                for nodes in ((0, 20), (20, 60))
            ]
            sides[0]["errors"] = {"0": 0.0}
            found = judge(rollout(text), asked(look=look, spent=spent), Series(treated=sides[0], untreated=sides[1]))
            spent = found.spent
            if found.verdict == "bad":
                stopped += 1
                break
    # A fourth of alpha is this stage's: 0.05.  Three standard deviations above would be 0.067.
    assert 0.01 < stopped / runs < 0.067
