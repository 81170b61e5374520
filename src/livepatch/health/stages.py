"""What comes next for a patch that is being watched: a pure function of where it stands, the verdict and the clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from livepatch.health.judge import Verdict

__all__ = ["Course", "Next", "Stage", "next_step"]

Stage = Literal["baseline", "live", "passed", "rolled-back", "failed"]
Next = Literal["wait", "go-live", "pass", "roll-back"]


@dataclass(frozen=True, slots=True)
class Course:
    """How long each stage lasts, in seconds.

    `before`: the baseline.  `during`: the observation of the live patch, perhaps for ever (infinity).  `unknown`: for
    how long the verdict may be unknown before the end.
    """

    before: float
    during: float
    unknown: float = float("inf")


def next_step(
    stage: Stage,
    course: Course,
    began: float,
    now: float,
    *,
    verdict: Verdict | None = None,
    known: float | None = None,
    lacking: str = "",
    read: float = 0.0,
) -> Next:
    """What is to be done at `now`, in a stage that `began` then.

    `known` is when the verdict was last not unknown, and `lacking` what the baseline still lacks: it gets as many
    readings again, and then the patch does not go live.  `read` is how many seconds the readings of the stage stand
    for: on a busy machine they are fewer than by the clock, and no stage ends with less than belong to it.  At the end
    only a verdict of ok lets the patch stay.
    """
    if stage == "baseline":
        if now - began < course.before:
            return "wait"
        if not lacking:
            return "go-live"
        return "wait" if read < 2 * course.before else "roll-back"
    if stage != "live" or verdict is None:
        return "wait"
    if verdict.state == "breach":
        return "roll-back"
    if min(now - began, read) >= course.during:
        return "pass" if verdict.state == "ok" else "roll-back"
    if verdict.state == "unknown" and now - (known if known is not None else began) > course.unknown:
        return "roll-back"
    return "wait"
