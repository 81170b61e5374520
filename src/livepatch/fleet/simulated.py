"""What came of simulated rollouts: what really happened on the nodes, which no controller can know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import quantiles
from typing import Any, NamedTuple

from livepatch.fleet.planning import Planned
from livepatch.fleet.scenario import Scenario
from livepatch.fleet.standing import Condition, Directive

__all__ = ["Moment", "Outcome", "Watch", "summary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One simulated rollout.  Times are in seconds since its start, or ``None`` if it did not come to that.

    `stopped_at` is the stage, from 1, at which it was aborted.  `harmed` counts the honest nodes that had the patch
    before it was aborted, or at all, if it does harm; `to_revert` is how long after the abort the last of them was
    without it.  `split` is the largest share of the weight (0 to 0.5) that disagreed with the rest, `halted` the
    largest that stood still.
    """

    phase: str
    why: str
    opened: int
    stopped_at: int | None
    to_complete: float | None
    to_revert: float | None
    harmed: int
    split: float
    halted: float
    seconds: float
    events: int


class Moment(NamedTuple):
    """How a simulated fleet stands from `at` on, in seconds since the start of the rollout.

    `opened` is the number of stages that are open, `applied` of honest nodes that have the patch; `split` and `halted`
    are shares of the weight, as of an :class:`Outcome`, but of this moment.
    """

    at: float
    opened: int
    applied: int
    split: float
    halted: float


class Watch:
    """Looks at everything while it happens, and puts it into `course`, if there is one."""

    def __init__(
        self, planned: Planned, *, honest: Sequence[bool], effect: Scenario, course: list[Moment] | None = None
    ) -> None:
        self._course = course
        self._opened = 0
        self._weights = [node.weight for node in planned.nodes]
        self._whole = sum(self._weights) or 1.0
        self._honest = honest
        self._effect = effect
        self._with_it: set[int] = set()
        self._had_it: set[int] = set()
        self._weight_with_it = 0.0
        self._weight_halted = 0.0
        self._split = 0.0
        self._at = 0.0
        self._halted = 0.0
        self._stopped_at: int | None = None
        self._aborted: float | None = None
        self._completed: float | None = None
        self._reverted: float | None = None
        self._harmed = 0

    def published(self, before: Directive, now: Directive, at: float) -> None:
        """The directive has changed."""
        if now.phase in ("aborting", "reverted") and before.phase not in ("aborting", "reverted"):
            self._stopped_at, self._aborted, self._reverted = now.opened, at, None if self._with_it else at
            self._harmed = len(self._had_it)
        if now.phase == "complete" and self._completed is None:
            self._completed = at
        self._opened = now.opened
        self._note(at)

    def became(self, index: int, condition: Condition, at: float) -> None:
        """An honest node stands otherwise now."""
        self._look(at)
        if condition == "applied" and index not in self._with_it:
            self._with_it.add(index)
            self._had_it.add(index)
            self._weight_with_it += self._weights[index]
        elif condition != "applied" and index in self._with_it:
            self._with_it.remove(index)
            self._weight_with_it -= self._weights[index]
        if self._aborted is not None:
            self._reverted = None if self._with_it else at
        self._note(at)

    def _look(self, at: float) -> None:
        """Who disagreed with whom until now: what happens at one moment happens at once."""
        if at > self._at:
            self._split = max(self._split, self._disagrees())
        self._at = at

    def _disagrees(self) -> float:
        share = self._weight_with_it / self._whole
        return max(0.0, min(share, 1 - share)) if self._effect.effect.consensus else 0.0

    def _note(self, at: float) -> None:
        """What happens at one moment is one entry of the course."""
        if self._course is None:
            return
        halted = max(0.0, self._weight_halted / self._whole)
        moment = Moment(at, self._opened, len(self._with_it), self._disagrees(), halted)
        if self._course and self._course[-1].at == at:
            self._course.pop()
        self._course.append(moment)

    def halted(self, index: int, at: float) -> None:
        """An honest node has stopped."""
        self._weight_halted += self._weights[index]
        self._halted = max(self._halted, self._weight_halted / self._whole)
        self._note(at)

    def started(self, index: int, at: float) -> None:
        """It runs again."""
        self._weight_halted -= self._weights[index]
        self._note(at)

    def outcome(self, directive: Directive, now: float, events: int) -> Outcome:
        """All in all."""
        self._look(now)
        self._note(now)
        reverted = None if self._aborted is None or self._reverted is None else self._reverted - self._aborted
        harmed = self._harmed if self._aborted is not None else len(self._had_it)
        return Outcome(
            phase="paused" if directive.paused else directive.phase,
            why=directive.why,
            opened=directive.opened,
            stopped_at=self._stopped_at,
            to_complete=self._completed,
            to_revert=reverted,
            harmed=harmed if self._effect.harmful else 0,
            split=self._split,
            halted=self._halted,
            seconds=now,
            events=events,
        )


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Many rollouts in a few figures, as plain values."""
    stopped = Counter(outcome.stopped_at for outcome in outcomes if outcome.stopped_at is not None)
    return {
        "rollouts": len(outcomes),
        "endings": dict(sorted(Counter(outcome.phase for outcome in outcomes).items())),
        "stopped_at": {str(stage): number for stage, number in sorted(stopped.items())},
        "seconds_to_complete": _spread([each.to_complete for each in outcomes]),
        "seconds_to_revert": _spread([each.to_revert for each in outcomes]),
        "nodes_harmed": _spread([float(each.harmed) for each in outcomes]),
        "chain_split": max(each.split for each in outcomes),
        "weight_halted": max(each.halted for each in outcomes),
        "events": sum(each.events for each in outcomes),
        "first": asdict(outcomes[0]),
    }


def _spread(values: Sequence[float | None]) -> dict[str, float] | None:
    """Least, middle, 99th percentile and most of those that there are."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    cuts = quantiles(known, n=100, method="inclusive") if len(known) > 1 else known * 99
    return {"least": known[0], "median": cuts[49], "p99": cuts[98], "most": known[-1]}
