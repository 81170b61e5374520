"""What a node does about a directive: its own small part of a rollout, decided by itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from livepatch.fleet.standing import Condition, Directive, Report

__all__ = ["Member", "Wanted", "wanted"]

Wanted = Literal["original", "applied", "dormant", "armed"]


def wanted(directive: Directive, stage: int, *, consensus: bool) -> Wanted:
    """How a node of that stage is to stand under a directive."""
    if directive.phase in ("planned", "aborting", "reverted") or stage >= directive.opened:
        return "original"
    if not consensus:
        return "applied"
    return "dormant" if directive.height is None else "armed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A node, as far as a rollout goes.  `sequence` and `order` are on its disk; `attempt` is when it has failed last.

    It does one thing at a time: while it is `doing` something it follows nothing, and reads the directive again then.
    """

    id: str
    stage: int
    consensus: bool = False
    sequence: int = 0
    order: int = -1
    attempt: int = -1
    condition: Condition = "original"
    doing: Wanted | None = None

    def follow(self, directive: Directive) -> tuple[Member, Wanted | None]:
        """Take note of a directive; and what is to be done now, if anything.

        One that is not newer than what it follows changes nothing.  A node that has failed stays as it is until it is
        told to try again.  A consensus change that is active is not taken back by a message.
        """
        if self.doing or directive.order <= self.order:
            return self, None
        noted = replace(self, order=directive.order)
        goal = wanted(directive, self.stage, consensus=self.consensus)
        if self.condition == "failed" and (goal == "original" or directive.attempt <= self.attempt):
            return noted, None
        if self.consensus and self.condition == "applied":
            return noted, None
        here = "original" if self.condition == "failed" else self.condition
        return (noted, None) if goal == here else (replace(noted, doing=goal), goal)

    def done(self, condition: Condition, *, attempt: int = 0) -> Member:
        """It stands so now; if it has ``failed``, in that attempt."""
        tried = attempt if condition == "failed" else self.attempt
        return replace(self, condition=condition, attempt=tried, doing=None)

    def report(self, *, why: str = "", height: int | None = None) -> tuple[Member, Report]:
        """Its next report."""
        noted = replace(self, sequence=self.sequence + 1)
        return noted, Report(
            node=self.id,
            sequence=noted.sequence,
            order=self.order,
            condition=self.condition,
            why=why,
            height=height,
        )
