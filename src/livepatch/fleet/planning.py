"""The planner: a plan beside the nodes there are.  What could not be stopped in time is refused before it starts."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from livepatch.errors import RolloutError, counted, shortened
from livepatch.fleet.cohorts import PLACES, Cut, cut_for, place_of, stage_of
from livepatch.fleet.inventory import Inventory, Node
from livepatch.fleet.rollout import Activation, Comparison, Rollout, Stage

__all__ = ["Planned", "Problem", "examine", "plan"]

_A_THIRD = 1 / 3
_TOLERANCE = 1e-9  # of a share: sums of weights are floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One reason why a plan is refused."""

    what: str
    found: str
    expected: str
    action: str

    def __str__(self) -> str:
        return f"{self.what}; found: {self.found}; expected: {self.expected}; do: {self.action}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A rollout, and what it comes to on the nodes there are.

    `cuts` say who is in which stage; with them and its own name each node knows its stage.  `stages` has the stage of
    each node, and `index` where a node stands in both.
    """

    rollout: Rollout
    nodes: tuple[Node, ...]
    cuts: tuple[Cut, ...]
    stages: tuple[int, ...]
    index: Mapping[str, int]

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many nodes each stage adds."""
        found = [0] * len(self.cuts)
        for stage in self.stages:
            found[stage] += 1
        return tuple(found)

    @property
    def weights(self) -> tuple[float, ...]:
        """What share of the voting power each stage adds, 0 to 1."""
        found = [0.0] * len(self.cuts)
        for stage, node in zip(self.stages, self.nodes, strict=True):
            found[stage] += node.weight
        return tuple(weight / (sum(found) or 1.0) for weight in found)


def plan(rollout: Rollout, inventory: Inventory, *, used: Mapping[str, str] | None = None) -> Planned:
    """What the rollout comes to on these nodes.  `used` has the flags of earlier rollouts, with those rollouts' ids.

    Raises :class:`RolloutError` if it must not start; `problems` has all the reasons.  Nothing is changed anywhere.
    """
    planned, problems = examine(rollout, inventory, used=used)
    if problems:
        first, *others = problems
        raise RolloutError(
            f"rollout {rollout.id} must not start: {first.what}"
            + (f" (and {counted(len(others), 'other reason')})" if others else ""),
            problems=problems,
            found=first.found,
            expected=first.expected,
            action=first.action,
        )
    assert planned is not None
    return planned


def examine(
    rollout: Rollout, inventory: Inventory, *, used: Mapping[str, str] | None = None
) -> tuple[Planned | None, tuple[Problem, ...]]:
    """The same, with the reasons as a value.  There is no plan where nodes cannot be put into stages."""
    problems = [*_reused(rollout, used or {}), *_soaks(rollout)]
    wrong = [*_disagreeing(rollout, inventory)]
    if wrong:
        return None, (*problems, *wrong)
    cuts = tuple(_cut(rollout, stage, inventory.nodes) for stage in rollout.stages)
    stages = [stage_of(rollout.id, cuts, node.id, node.traits) for node in inventory.nodes]
    left = [node.id for node, stage in zip(inventory.nodes, stages, strict=True) if stage is None]
    if left:
        return None, (*problems, _uncovered(left))
    planned = Planned(
        rollout=rollout,
        nodes=inventory.nodes,
        cuts=cuts,
        stages=tuple(stage for stage in stages if stage is not None),
        index={node.id: index for index, node in enumerate(inventory.nodes)},
    )
    problems += _empty(planned)
    if rollout.patch.consensus:
        problems += _consensus(planned, inventory)
    else:
        problems += [*_gates(planned), *(_voting(planned) if rollout.patch.can_halt else ())]
        if rollout.activation is not None:
            problems.append(
                Problem(
                    what="an activation is for consensus changes",
                    found="[activation] in the plan of a patch with consensus = false",
                    expected="consensus = true, or no activation",
                    action="say what the patch is: without consensus = true nodes do not wait for the height",
                )
            )
    return planned, tuple(problems)


def _cut(rollout: Rollout, stage: Stage, nodes: Sequence[Node]) -> Cut:
    whole = Cut(below=PLACES, nodes=frozenset(stage.nodes), where=stage.where)
    if stage.percent is None and stage.count is None:
        return whole
    places = [place_of(rollout.id, node.id) for node in nodes if whole.suits(node.traits)]
    share = 0 if stage.percent is None else math.ceil(len(places) * stage.percent / 100 - _TOLERANCE)
    return Cut(below=cut_for(places, stage.count or share), where=stage.where)


def _some(names: Sequence[str]) -> str:
    return shortened(", ".join(names[:5]), 200) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _reused(rollout: Rollout, used: Mapping[str, str]) -> Iterator[Problem]:
    flag = rollout.patch.flag
    if flag in used:
        yield Problem(
            what="a flag is for one rollout",
            found=f"flag {flag}, which rollout {used[flag]} has used",
            expected="a flag that no rollout has used: a late message of the other would switch this one",
            action="build the patch with another --flag, and give this rollout a new id",
        )
    elif rollout.id in used.values():
        yield Problem(
            what="an id is for one rollout",
            found=f"{rollout.id}, which has been used",
            expected="an id that no rollout has had: it decides which nodes come first",
            action="give this rollout a new id",
        )


def _soaks(rollout: Rollout) -> Iterator[Problem]:
    least = rollout.detection + rollout.retraction
    for stage in rollout.stages:
        if stage.soak < least or stage.soak == 0:
            yield Problem(
                what=f"the soak of stage {stage.name} is too short",
                found=f"{stage.soak / 60:g} minutes",
                expected=f"{least / 60:g} minutes or more: detection and retraction together, and not 0",
                action="make the soak longer, or detection or retraction quicker, and measure them (drills)",
            )


def _disagreeing(rollout: Rollout, inventory: Inventory) -> Iterator[Problem]:
    known = Counter(node.id for node in inventory.nodes)
    twice = [name for name, number in known.items() if number > 1]
    if twice:
        yield Problem(
            what="the inventory has a node twice",
            found=_some(twice),
            expected="each id once",
            action=f"correct {inventory.source}",
        )
    named = [name for stage in rollout.stages for name in stage.nodes]
    unknown = [name for name in dict.fromkeys(named) if name not in known]
    if unknown:
        yield Problem(
            what="the plan names nodes that the inventory does not have",
            found=_some(unknown),
            expected=f"nodes of {inventory.source}",
            action="correct the names in the plan, or bring the inventory up to date",
        )
    others = list(_of_other_versions(rollout.patch.versions, inventory.nodes))
    if others:
        yield Problem(
            what="the patch is not for the versions that nodes run",
            found=_some(others),
            expected=f"{rollout.patch.package} {rollout.patch.versions} on every node",
            action="update those nodes, build a patch for them, or take them out of the inventory of this rollout",
        )


def _of_other_versions(versions: str, nodes: Iterable[Node]) -> Iterator[str]:
    specifier = SpecifierSet(versions)
    fits: dict[str, bool] = {}
    for node in nodes:
        if node.version not in fits:
            try:
                fits[node.version] = specifier.contains(Version(node.version), prereleases=True)
            except InvalidVersion:
                fits[node.version] = False
        if not fits[node.version]:
            yield f"{node.id} ({shortened(node.version, 40)})"


def _uncovered(left: Sequence[str]) -> Problem:
    return Problem(
        what="some nodes are in no stage",
        found=_some(left),
        expected="every node of the inventory in a stage, so that the rollout can end everywhere",
        action="end the plan with a stage of percent = 100, or take them out of the inventory of this rollout",
    )


def _empty(planned: Planned) -> Iterator[Problem]:
    for stage, size in zip(planned.rollout.stages, planned.sizes, strict=True):
        if not size:
            yield Problem(
                what=f"stage {stage.name} adds no node",
                found="0 nodes that are in no stage before it",
                expected="one node or more",
                action="leave it out, or make it larger: percent and count are counted from the beginning"
                + (f"; or correct its where: {_told(stage.where)}" if stage.where else ""),
            )


def _told(where: Mapping[str, tuple[str, ...]]) -> str:
    return ", ".join(f"{name} {' or '.join(values)}" for name, values in where.items())


def _gates(planned: Planned) -> Iterator[Problem]:
    """Each stage is judged by something that can come to an answer."""
    rollout, needed, treated = planned.rollout, planned.rollout.judging.nodes, 0
    for number, (stage, size) in enumerate(zip(rollout.stages, planned.sizes, strict=True)):
        treated += size
        untreated = len(planned.nodes) - treated
        gates = rollout.gates_of(number)
        compared = [gate.metric for gate in gates if isinstance(gate, Comparison)]
        if not gates or (not untreated and len(compared) == len(gates)):
            yield Problem(
                what=f"nothing judges stage {stage.name}",
                found="no gate" if not gates else "only comparisons with nodes without the patch, and there are none",
                expected="a gate that can be answered",
                action="add a [[gate]] with least or most, or with objective and budget-left",
            )
        elif compared and untreated and min(treated, untreated) < needed:
            yield Problem(
                what=f"the comparisons of stage {stage.name} would wait for ever",
                found=f"{counted(treated, 'node')} with the patch, {untreated} without",
                expected=f"{needed} or more of both (judging.nodes)",
                action="make the stage larger, or name other stages in the comparisons' stages",
            )


def _heaviest(nodes: Iterable[Node], count: int) -> float:
    return sum(heapq.nlargest(count, (node.weight for node in nodes)))


def _voting(planned: Planned) -> Iterator[Problem]:
    """No step may be able to stop the chain: a third of the voting power that is missing does."""
    whole = sum(node.weight for node in planned.nodes)
    if not whole:
        yield Problem(
            what="nobody has voting power",
            found="weight = 0 for every node",
            expected="the weight of each node, as its vote counts",
            action="correct the inventory, or say can-halt = false if no fault in the patch could stop a node",
        )
        return
    away = planned.rollout.max_unavailable
    for number, stage in enumerate(planned.rollout.stages):
        own = sum(node.weight for node, its in zip(planned.nodes, planned.stages, strict=True) if its == number)
        others = (node for node, its in zip(planned.nodes, planned.stages, strict=True) if its != number)
        missing = own + _heaviest(others, away)
        if missing / whole >= _A_THIRD - _TOLERANCE:
            yield Problem(
                what=f"stage {stage.name} could stop the chain before its gate",
                found=f"{missing / whole:.1%} of the voting power: its nodes"
                + (f", and the heaviest {away} that may be unavailable" if away else ""),
                expected="less than a third",
                action="divide the stage, or say can-halt = false if no fault in the patch could stop a node",
            )


def _consensus(planned: Planned, inventory: Inventory) -> Iterator[Problem]:
    rollout = planned.rollout
    only = rollout.stages[0]
    if len(rollout.stages) > 1 or only.percent != 100 or only.where:
        yield Problem(
            what="a consensus change is not staged",
            found=f"{counted(len(rollout.stages), 'stage')}, the first with "
            + (f"{only.percent:g} percent" if only.percent is not None else "a choice of nodes"),
            expected="one stage of percent = 100: dormant on all nodes, then active on all at one height",
            action="leave one stage; nodes with the change and nodes without it would split the chain",
        )
    if rollout.activation is None:
        yield Problem(
            what="a consensus change begins at a height",
            found="no [activation]",
            expected="[activation] with height, readiness, margin-blocks and block-seconds",
            action="add it",
        )
        return
    yield from _height(rollout, rollout.activation, inventory)


def _height(rollout: Rollout, activation: Activation, inventory: Inventory) -> Iterator[Problem]:
    whole = sum(node.weight for node in inventory.nodes)
    away = _heaviest(inventory.nodes, rollout.max_unavailable)
    ready = (whole - away) / whole if whole else 0.0
    if ready < activation.readiness - _TOLERANCE:
        yield Problem(
            what="the readiness asked for may never be reached",
            found=f"{ready:.1%} of the weight, if the heaviest {rollout.max_unavailable} nodes are unavailable",
            expected=f"{activation.readiness:.1%}",
            action="lower readiness or max-unavailable",
        )
    if inventory.height is None:
        yield Problem(
            what="nobody says how high the chain is",
            found=f"no height in {inventory.source}",
            expected="the chain's height when the inventory was made",
            action='add "height" to the inventory',
        )
        return
    seconds = rollout.reach + rollout.stages[0].soak
    earliest = inventory.height + math.ceil(seconds / activation.block_seconds) + activation.margin
    if activation.height < earliest:
        yield Problem(
            what="the activation height cannot be met",
            found=f"height {activation.height}",
            expected=f"{earliest} or more: {inventory.height} now, {math.ceil(seconds / activation.block_seconds)} "
            f"blocks to reach all nodes and to soak, a margin of {activation.margin}",
            action="choose a later height",
        )
