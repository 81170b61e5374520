"""Whether the node is well: a verdict from series, rules and the clock.  Pure.

What is missing is unknown, and unknown is never ok: not a probe that fails, nor a baseline that is too short, nor a
rule that speaks of no probe.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from typing import Any, Final, Literal

from livepatch.health.rules import Rule
from livepatch.health.series import Point, Series, noise

__all__ = ["BASELINES", "Judged", "State", "Verdict", "Window", "judge", "lacking"]

State = Literal["ok", "breach", "unknown"]

_FRESH = 3  # readings that may be missing in a row, or intervals without any
BASELINES: Final = (3, 30)
"""So many values a baseline needs: for its median, and for its spread."""
# The cumulative sum.  A change of one spread is within the noise (the spread is itself an estimate), and no single
# value counts for more than three, so that it takes six of them, one after the other or nearly so.
_SLACK, _MOST, _LIMIT = 1.0, 3.0, 11.0


@dataclass(frozen=True, slots=True)
class Window:
    """The times that a judgement is about, in seconds of the series' clock.

    `baseline` is when the values were taken with which later ones are compared, and `None` if there are none; `begun`
    when those that are judged begin; `interval` what lies between two readings.
    """

    begun: float
    interval: float
    baseline: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What one rule says of one probe.

    `value` is the newest known value and `limit` what it must not pass, in `unit`; either may be unknown.
    """

    rule: str
    probe: str
    state: State
    why: str
    value: float | None = None
    limit: float | None = None
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.state}: {self.probe}: {self.why} [{self.rule}]"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``breach`` if any rule is broken, else ``unknown`` if any cannot tell, else ``ok``."""

    state: State
    judged: tuple[Judged, ...]

    @property
    def reasons(self) -> tuple[Judged, ...]:
        """The judgements that made it what it is."""
        return tuple(each for each in self.judged if each.state == self.state)

    def to_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        return {"state": self.state, "judged": [asdict(each) for each in self.judged]}

    def __str__(self) -> str:
        return "; ".join(map(str, self.reasons)) or self.state


def judge(series: Mapping[str, Series], rules: Sequence[Rule], window: Window, now: float) -> Verdict:
    """What `rules` say of the `series` in the `window`, at the time `now`.

    Without rules nothing is known.
    """
    judged: list[Judged] = []
    for rule in rules:
        covered = [each for name, each in series.items() if rule.covers(name)]
        judged += [_judged(rule, each, window, now) for each in covered]
        if not covered:
            judged.append(Judged(rule=str(rule), probe=rule.probe, state="unknown", why="there is no such probe"))
    states = {each.state for each in judged} or {"unknown"}
    state: State = "breach" if "breach" in states else "unknown" if "unknown" in states else "ok"
    return Verdict(state, tuple(judged))


def lacking(series: Mapping[str, Series], rules: Sequence[Rule], baseline: tuple[float, float]) -> str:
    """What a baseline lacks for the rules that compare with it; empty if it will do."""
    for rule in rules:
        if not rule.compares:
            continue
        covered = [each for name, each in series.items() if rule.covers(name)]
        for each in covered:
            if len(each.between(*baseline)) < BASELINES[rule.shifts is not None]:
                return f"{each.name} has {len(each.between(*baseline))} values of {BASELINES[rule.shifts is not None]}"
        if not covered:
            return f"there is nothing for {rule.probe}"
    return ""


def _judged(rule: Rule, series: Series, window: Window, now: float) -> Judged:
    def told(state: State, why: str, value: float | None = None, limit: float | None = None) -> Judged:
        return Judged(
            rule=str(rule), probe=series.name, state=state, why=why, value=value, limit=limit, unit=series.unit
        )

    points = series.since(window.begun)
    known = [(p.at, p.value) for p in points if p.value is not None and p.at <= now]
    values = [value for _, value in known]
    base = series.between(*window.baseline) if rule.compares and window.baseline is not None else ()
    needed = BASELINES[rule.shifts is not None]
    if rule.compares and len(base) < needed:
        return told("unknown", f"the baseline has {len(base)} values of {needed}", values[-1] if values else None)
    if rule.shifts is not None:
        limit, broken, why = _shifted(rule, base, values)
    else:
        limit, broken, why = _beyond(rule, base, values)
    last = values[-1] if values else None
    if broken:  # what was found beyond a limit is not lost when the probe falls silent
        return told("breach", why, last, limit)
    if not known or _is_stale(rule, points, now - known[-1][0], now, window.interval):
        return told("unknown", _silence(points, known, now), last, limit)
    if limit is None:
        return told("unknown", why, last)
    if len(values) < rule.in_a_row:
        return told("unknown", f"{len(values)} of {rule.in_a_row} values", last, limit)
    return told("ok", why, last, limit)


def _is_stale(rule: Rule, points: tuple[Point, ...], age: float, now: float, interval: float) -> bool:
    """Whether the newest known value, so many seconds old, says nothing of now."""
    if rule.within is not None:
        return age > rule.within
    # By readings and not by the clock: on a busy machine these are further apart.
    missing = sum(1 for _ in takewhile(lambda point: point.value is None, reversed(points)))
    return missing > _FRESH or now - points[-1].at > _FRESH * interval


def _silence(points: tuple[Point, ...], known: list[tuple[float, float]], now: float) -> str:
    reason = f": {points[-1].why}" if points and points[-1].why else ""
    return f"nothing for {now - known[-1][0]:.3g} s{reason}" if known else f"nothing yet{reason}"


def _limit(rule: Rule, base: tuple[float, ...]) -> tuple[float, bool]:
    """What values must not pass, and whether upwards."""
    if rule.above is not None:
        return rule.above, True
    if rule.below is not None:
        return rule.below, False
    median = statistics.median(base)
    if rule.plus is not None:
        return median + rule.plus, True
    if rule.minus is not None:
        return median - rule.minus, False
    assert rule.times is not None
    least = rule.least or 0.0
    # A part of a negative value is above it: the way in which it must not go is the same.
    if rule.times >= 1:
        return max(median + abs(median) * (rule.times - 1), median + least), True
    return min(median - abs(median) * (1 - rule.times), median - least), False


def _beyond(rule: Rule, base: tuple[float, ...], values: list[float]) -> tuple[float, bool, str]:
    limit, up = _limit(rule, base)
    last = values[-rule.in_a_row :]
    broken = len(last) == rule.in_a_row and all(value > limit if up else value < limit for value in last)
    shown = ", ".join(f"{value:.6g}" for value in last[-3:]) or "nothing"
    why = f"{shown} {'is' if broken else 'is not'} {'above' if up else 'below'} {limit:.6g}"
    return limit, broken, f"{why}, as its baseline has it" if rule.compares else why


def _shifted(rule: Rule, base: tuple[float, ...], values: list[float]) -> tuple[float | None, bool, str]:
    up = 1 if rule.shifts == "up" else -1
    least = rule.least or 0.0
    median, spread = noise(base, up)
    # A spread that few values show may be too small by chance; and none at all says nothing of the noise to come.
    spread = max(spread * (1 + 4 / len(base)), abs(median) * 0.02, least / _MOST)
    if spread <= 0:
        return None, False, "the baseline is 0 throughout: say what is the least change that matters"
    limit = median + up * (least + _SLACK * spread)
    total = highest = 0.0
    for value in values:
        away = max(-_MOST, min(_MOST, (up * (value - median) - least) / spread))
        total = max(0.0, total + away - _SLACK)
        highest = max(highest, total)
    why = f"a cumulative sum of {highest:.3g} is {'' if highest > _LIMIT else 'not '}above {_LIMIT:g} spreads"
    return limit, highest > _LIMIT, f"{why}, from a median of {median:.6g} in the baseline"
