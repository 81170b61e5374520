"""A rollout as a value: which nodes get a patch in which order, what has to hold meanwhile, and who may go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "Activation",
    "Comparison",
    "Gate",
    "Judging",
    "Objective",
    "OnFailure",
    "Rollout",
    "RolloutPatch",
    "Stage",
    "Threshold",
]

OnFailure = Literal["abort", "pause"]
Worse = Literal["higher", "lower"]
Promotion = Literal["automatic", "approved"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPatch:
    """The patch, as the plan speaks of it.

    `can_halt`: a fault in it could stop a node.  `consensus`: nodes with it and nodes without it could disagree about
    what is valid.
    """

    id: str
    digest: str
    flag: str
    package: str
    versions: str
    can_halt: bool = True
    consensus: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The nodes that get the patch together, and how long it is watched before the next ones do.

    `where` narrows it to nodes of these regions, versions and labels.  Of those, `percent` or `count` take a share,
    counted from the rollout's beginning: 5 percent are the 1 percent of before and 4 more.  With neither, all of them.
    `nodes` names them one by one instead.  `soak` is in seconds.
    """

    name: str
    soak: float
    percent: float | None = None
    count: int | None = None
    nodes: tuple[str, ...] = ()
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    promotion: Promotion = "automatic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A metric of the nodes with the patch, at the middle one of them, has to be within bounds."""

    metric: str
    least: float | None = None
    most: float | None = None
    stages: tuple[str, ...] = ()
    on_failure: OnFailure = "abort"


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A service-level objective: at least `budget_left` (0 to 1) of its error budget has to be left.

    The metric is the share of good events (0 to 1) in the objective's own window.
    """

    metric: str
    objective: float
    budget_left: float
    stages: tuple[str, ...] = ()
    on_failure: OnFailure = "abort"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A metric must not be worse on the nodes with the patch than on those without it, over the same time.

    `effect` is the least Cliff's delta (0 to 1) that matters: how much likelier a node with the patch is to be worse
    than one without it, than to be better.
    """

    metric: str
    worse: Worse
    effect: float
    stages: tuple[str, ...] = ()
    on_failure: OnFailure = "abort"


Gate = Threshold | Objective | Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """How comparisons are judged.

    `alpha` is the chance to stop a harmless rollout, over all its stages, looks and metrics.  `looks` is how often each
    soak is looked at.  `nodes` is how many are needed on either side; with fewer a look waits.
    """

    alpha: float = 0.01
    looks: int = 4
    nodes: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """When a consensus change begins: at a height, if nodes with enough weight have it ready before.

    `readiness` (above 2/3, to 1) is the share of the weight that has to be ready, `margin` how many blocks before the
    height that is decided.
    """

    height: int
    readiness: float
    margin: int
    block_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """All that a plan says.  Durations are in seconds.

    `detection` is how long a fault may take to be noticed, `retraction` how long the patch takes to be off everywhere
    again, `reach` how long a stage's nodes may take to get it.  `max_unavailable` nodes at most may be away, and
    `max_failed` may refuse the patch or take it back by themselves.
    """

    id: str
    patch: RolloutPatch
    stages: tuple[Stage, ...]
    gates: tuple[Gate, ...]
    promoters: tuple[str, ...]
    detection: float
    retraction: float
    reach: float
    max_unavailable: int
    max_failed: int
    judging: Judging
    activation: Activation | None = None

    def gates_of(self, stage: int) -> tuple[Gate, ...]:
        """The gates of a stage, by its number from 0."""
        name = self.stages[stage].name
        return tuple(gate for gate in self.gates if not gate.stages or name in gate.stages)
