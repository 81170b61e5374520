"""Objects that outlive the calls of the side that made them, and that the other side's code cannot use.

A call keeps to its side, but an object goes from call to call.  So where the sides do not agree on what an attribute
holds, it is not enough that calls end on the side that they began on.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field

from livepatch.engine.keepers import held_of, objects_by_class
from livepatch.engine.pace import paced
from livepatch.engine.stack import ABSENT
from livepatch.errors import counted

__all__ = ["Outliving", "Unlike", "told", "unlike_objects"]


@dataclass(frozen=True, slots=True)
class Unlike:
    """An attribute by which objects of a class, or of one derived from it, are of no use to the code of one side.

    Such an object lacks it.  Or, with `kinds`, it holds a thing of one of these types in it; with `but_for`, a thing of
    any other type than these.  `why` says it in words.
    """

    label: str
    reference: weakref.ref[type]
    name: str
    why: str
    kinds: frozenset[str] = frozenset()
    but_for: frozenset[str] = frozenset()

    def has(self, value: object) -> bool:
        """Whether an object is of no use.  No code of its class is run."""
        held = held_of(value, self.name)
        if held is ABSENT:
            return not self.kinds
        kind = "None" if held is None else type(held).__name__
        return kind in self.kinds if self.kinds else bool(self.but_for) and kind not in self.but_for


@dataclass(slots=True)
class Outliving:
    """What a patch means to objects that outlive a call."""

    old: list[Unlike] = field(default_factory=list)
    """By what objects of the old side are of no use to new code."""
    new: list[Unlike] = field(default_factory=list)
    """By what objects of the new side are of no use to old code."""
    changing: list[str] = field(default_factory=list)
    """The attributes in which new code leaves something for later calls, which old code does not do."""


def unlike_objects(unlike: Iterable[Unlike]) -> dict[Unlike, int]:
    """How many objects each says are of no use, without those that say it of none.  Walks the heap once.

    Raises :class:`~livepatch.engine.heap.PauseTooLongError` if that is not permitted here.
    """
    owners = {each: owner for each in unlike if (owner := each.reference()) is not None}
    objects = objects_by_class(dict.fromkeys(owners.values())) if owners else {}
    counts = {each: sum(map(each.has, paced(objects[owner]))) for each, owner in owners.items()}
    return {each: count for each, count in counts.items() if count}


def told(counts: dict[Unlike, int]) -> tuple[str, ...]:
    """What was counted, in words."""
    return tuple(
        f"{counted(count, 'object')} without {each.label} as it is used: {each.why}" for each, count in counts.items()
    )
