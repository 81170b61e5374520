"""What passes between those who run a rollout: what nodes are told and report, what is observed, what is to be done.

Values only, and none of them is trusted to come once, in time or in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "Action",
    "Command",
    "Condition",
    "Directive",
    "Gone",
    "Height",
    "Judge",
    "Judged",
    "Observation",
    "Phase",
    "Publish",
    "Report",
    "Retire",
    "Tell",
]

Phase = Literal["planned", "running", "finishing", "complete", "aborting", "reverted"]
Condition = Literal["original", "applied", "dormant", "armed", "failed"]
"""How a node stands: without the patch, with it, with it dormant, with it dormant until the height is reached; or
without it because it has refused it or taken it back by itself."""
Verdict = Literal["fine", "bad", "wait"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """How a rollout stands, as nodes and controllers read it: the one value that is changed by compare-and-set.

    `revision` rises with every change, `order` only with those that nodes have to follow.  `opened` is how many stages
    are open.  `since` is when all present nodes of the newest one had the patch (seconds of the epoch), `began` when it
    was opened.  `look` is how many looks at it have been answered, `spent` up to which share of the soak (0 to 1)
    comparisons have used up their chances to be wrong; `passed`, that the last look was fine.  `height` is where a
    dormant change begins, once that is decided.  `attempt` rises when failed nodes are to try again.
    """

    rollout: str
    revision: int = 0
    order: int = 0
    phase: Phase = "planned"
    paused: bool = False
    opened: int = 0
    attempt: int = 0
    began: float | None = None
    since: float | None = None
    look: int = 0
    spent: float = 0.0
    passed: bool = False
    height: int | None = None
    why: str = ""


# What is observed


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A node says how it stands.  `sequence` rises with each of its reports, over restarts; `order` is the newest that
    it has followed.  `why` is for people: what it has refused, or what was in its way.  `height` is that of its chain,
    if it has one.
    """

    node: str
    sequence: int
    order: int
    condition: Condition
    why: str = ""
    height: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """Nothing was heard of a node for as long as its last report, with that `sequence`, was to live."""

    node: str
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Retire:
    """Somebody says that a node does not exist any more."""

    node: str
    who: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Somebody wants something.  `order` is that of the directive which they saw; for ``abort`` it does not matter."""

    kind: Literal["start", "pause", "resume", "promote", "abort"]
    who: str
    order: int = -1
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The answer to :class:`Judge`.  `spent` is its share of the soak, if comparisons had enough data."""

    opened: int
    look: int
    verdict: Verdict
    spent: float = 0.0
    on_failure: Literal["abort", "pause"] = "abort"
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Height:
    """The chain has reached a height."""

    height: int


Observation = Report | Gone | Retire | Command | Judged | Height

# What is to be done


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """Put the directive in the place of the one before: its revision is higher by one or more."""

    directive: Directive


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Look at the nodes of the open stages between two moments, as look `look` of so many, and say what you see."""

    opened: int
    look: int
    looks: int
    spent: float
    since: float
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """Something that people should know."""

    what: str
    about: Mapping[str, object]


Action = Publish | Judge | Tell
