"""The gates of a stage, answered from what nodes have measured.  Pure; a judgement shows what it stands on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Literal

from livepatch.fleet.canary import Compared, compare, holm, spending, usable
from livepatch.fleet.rollout import Comparison, Gate, Objective, Rollout, Threshold
from livepatch.fleet.standing import Judge, Judged

__all__ = ["Answer", "Judgement", "Series", "judge"]

Verdict = Literal["fine", "bad", "wait"]
_NOTHING: Mapping[str, float] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What was measured over the time of a look: metric -> node -> value, with the patch and without it."""

    treated: Mapping[str, Mapping[str, float]]
    untreated: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One gate, with the values that it was judged by, and for a comparison what it came to and at which level."""

    gate: Gate
    verdict: Verdict
    why: str
    treated: Mapping[str, float]
    untreated: Mapping[str, float] = field(default_factory=dict)
    compared: Compared | None = None
    level: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """All gates of a look."""

    asked: Judge
    answers: tuple[Answer, ...]
    spent: float

    @property
    def verdict(self) -> Verdict:
        """Bad if any gate says so; else it waits if any waits."""
        found = {answer.verdict for answer in self.answers}
        return "bad" if "bad" in found else "wait" if "wait" in found else "fine"

    def observed(self) -> Judged:
        """What the controller is told."""
        verdict = self.verdict
        telling = [answer for answer in self.answers if answer.verdict == verdict]
        stops = verdict == "bad" and all(answer.gate.on_failure == "pause" for answer in telling)
        return Judged(
            opened=self.asked.opened,
            look=self.asked.look,
            verdict=verdict,
            spent=self.spent,
            on_failure="pause" if stops else "abort",
            why="" if verdict == "fine" else "; ".join(answer.why for answer in telling),
        )


def judge(rollout: Rollout, asked: Judge, series: Series) -> Judgement:
    """Answer all gates of the stage that was asked about.

    A metric that too few nodes have measured waits.  As long as one comparison waits, none is tested, so that nothing
    is spent on half of them.  Raises :class:`PolicyError` if there are comparisons and scipy is not installed.
    """
    gates = rollout.gates_of(asked.opened - 1)
    last = asked.opened == len(rollout.stages)  # and then no node is left to compare with
    comparisons = () if last else tuple(gate for gate in gates if isinstance(gate, Comparison))
    answers = [
        _bounded(gate, series) if isinstance(gate, Threshold) else _budget(gate, series)
        for gate in gates
        if not isinstance(gate, Comparison)
    ]
    compared, spent = _compared(rollout, comparisons, asked, series)
    return Judgement(asked=asked, answers=(*answers, *compared), spent=spent)


def _bounded(gate: Threshold, series: Series) -> Answer:
    values = series.treated.get(gate.metric, _NOTHING)
    known = usable(values)
    if not known:
        return Answer(gate=gate, verdict="wait", why=f"{gate.metric}: no data", treated=values)
    middle = median(known)
    if gate.least is not None and middle < gate.least:
        why = f"{gate.metric} is {middle:g}, at least {gate.least:g} is allowed"
    elif gate.most is not None and middle > gate.most:
        why = f"{gate.metric} is {middle:g}, at most {gate.most:g} is allowed"
    else:
        return Answer(gate=gate, verdict="fine", why=f"{gate.metric} is {middle:g}", treated=values)
    return Answer(gate=gate, verdict="bad", why=why, treated=values)


def _budget(gate: Objective, series: Series) -> Answer:
    values = series.treated.get(gate.metric, _NOTHING)
    known = usable(values)
    if not known:
        return Answer(gate=gate, verdict="wait", why=f"{gate.metric}: no data", treated=values)
    left = 1 - (1 - fmean(known)) / (1 - gate.objective)
    return Answer(
        gate=gate,
        verdict="fine" if left >= gate.budget_left else "bad",
        why=f"{gate.metric}: {left:.0%} of the error budget left, {gate.budget_left:.0%} has to be",
        treated=values,
    )


def _compared(
    rollout: Rollout, gates: tuple[Comparison, ...], asked: Judge, series: Series
) -> tuple[tuple[Answer, ...], float]:
    """The comparisons, and the share of the soak up to which chances are spent then."""
    sides = {
        gate.metric: (series.treated.get(gate.metric, _NOTHING), series.untreated.get(gate.metric, _NOTHING))
        for gate in gates
    }
    known = {metric: (usable(treated), usable(untreated)) for metric, (treated, untreated) in sides.items()}
    least = rollout.judging.nodes
    lacking = {metric for metric, each in known.items() if min(map(len, each)) < least}
    if lacking:
        return tuple(_waiting(gate, sides, known, least) for gate in gates), asked.spent
    share = min(1.0, asked.look / asked.looks)
    alpha = rollout.judging.alpha / _stages_compared(rollout)
    level = max(0.0, spending(alpha, share) - spending(alpha, asked.spent))
    found = [compare(*known[gate.metric], gate.worse) for gate in gates]
    real = holm([each.p for each in found], level)
    answers = tuple(
        Answer(
            gate=gate,
            verdict="bad" if is_real and each.effect >= gate.effect else "fine",
            why=f"{gate.metric} {gate.worse}: p = {each.p:.2g} at level {level:.2g}, Cliff's delta {each.effect:.2f}",
            treated=sides[gate.metric][0],
            untreated=sides[gate.metric][1],
            compared=each,
            level=level,
        )
        for gate, each, is_real in zip(gates, found, real, strict=True)
    )
    return answers, max(asked.spent, share) if gates else asked.spent


def _waiting(
    gate: Comparison,
    sides: Mapping[str, tuple[Mapping[str, float], Mapping[str, float]]],
    known: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]],
    least: int,
) -> Answer:
    treated, untreated = (len(values) for values in known[gate.metric])
    return Answer(
        gate=gate,
        verdict="wait",
        why=f"{gate.metric}: data of {treated} nodes with the patch and {untreated} without, {least} are needed",
        treated=sides[gate.metric][0],
        untreated=sides[gate.metric][1],
    )


def _stages_compared(rollout: Rollout) -> int:
    """In how many stages there are comparisons: each gets its part of alpha."""
    numbers = range(len(rollout.stages) - 1)
    return sum(any(isinstance(gate, Comparison) for gate in rollout.gates_of(number)) for number in numbers) or 1
