"""How the nodes stand, and how many stand how: what changes with one node costs as much in a fleet of any size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from livepatch.fleet.planning import Planned
from livepatch.fleet.standing import Condition
from livepatch.fleet.vector import Vector

__all__ = ["Book", "Seen", "Tally"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known of a node: its newest report, and whether it is gone since or retired."""

    sequence: int = 0
    order: int = -1
    condition: Condition = "original"
    gone: bool = False
    retired: bool = False


class Tally(NamedTuple):
    """How many nodes stand how; what is retired counts nowhere.

    `waiting` are those that are there and neither have the patch nor have failed, `back` those that have followed the
    order to take it back, `unheard` those that have not reported yet.  `weight` is that of all, `ready` of those that
    have a dormant change, `armed` of those that know its height.
    """

    size: int = 0
    applied: int = 0
    failed: int = 0
    waiting: int = 0
    gone: int = 0
    back: int = 0
    unheard: int = 0
    weight: float = 0.0
    ready: float = 0.0
    armed: float = 0.0

    def plus(self, other: Tally, sign: int = 1) -> Tally:
        """Both together, or the difference."""
        return Tally._make(mine + sign * its for mine, its in zip(self, other, strict=True))


def _counted(seen: Seen, weight: float, back: int | None) -> Tally:
    if seen.retired:
        return Tally()
    condition = seen.condition
    has_it = condition in ("applied", "dormant", "armed")
    return Tally(
        size=1,
        applied=condition == "applied",
        failed=condition == "failed",
        waiting=not seen.gone and condition == "original",
        gone=seen.gone,
        back=back is not None and seen.order >= back and not has_it,
        unheard=not seen.sequence,
        weight=weight,
        ready=weight if has_it else 0.0,
        armed=weight if condition in ("applied", "armed") else 0.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """Each node as it was seen last, and a tally for each stage.  `back` is the order to take the patch back."""

    seen: Vector[Seen]
    tallies: tuple[Tally, ...]
    back: int | None = None

    @classmethod
    def opened(cls, planned: Planned) -> Book:
        """No node has been heard of yet."""
        new, tallies = Seen(), [Tally() for _ in planned.cuts]
        for stage, node in zip(planned.stages, planned.nodes, strict=True):
            tallies[stage] = tallies[stage].plus(_counted(new, node.weight, None))
        return cls(seen=Vector.filled(len(planned.nodes), new), tallies=tuple(tallies))

    def noted(self, changes: Iterable[tuple[int, Seen]], planned: Planned) -> Book:
        """With some nodes seen anew."""
        vector, tallies = self.seen, list(self.tallies)
        for index, seen in changes:
            stage, weight = planned.stages[index], planned.nodes[index].weight
            before, after = (_counted(each, weight, self.back) for each in (vector[index], seen))
            tallies[stage] = tallies[stage].plus(before, -1).plus(after)
            vector = vector.replaced(index, seen)
        return replace(self, seen=vector, tallies=tuple(tallies))

    def taking_back(self, order: int) -> Book:
        """From now on it is counted who has followed that order, which is a new one, so that nobody has yet."""
        return replace(self, back=order, tallies=tuple(tally._replace(back=0) for tally in self.tallies))

    def over(self, stages: int) -> Tally:
        """The first stages together."""
        whole = Tally()
        for tally in self.tallies[:stages]:
            whole = whole.plus(tally)
        return whole
