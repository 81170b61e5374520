"""Objects that outlive the calls of the side that made them, and that the other side's code cannot use.

A call keeps to its side, but an object goes from call to call.  So where the sides do not agree on what an attribute
holds, it is not enough that calls end on the side that they began on.
"""

from __future__ import annotations

import gc
import itertools
import operator
import time
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from livepatch.engine.gauge import Busy
from livepatch.engine.heap import permit
from livepatch.engine.keepers import held_of, objects_by_class
from livepatch.engine.namespaces import with_subclasses
from livepatch.engine.pace import paced
from livepatch.engine.stack import ABSENT
from livepatch.errors import counted

__all__ = ["Absence", "Outliving", "Unlike", "told", "unlike_objects"]


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
    return _counts(_objects(unlike))


def told(counts: dict[Unlike, int]) -> tuple[str, ...]:
    """What was counted, in words."""
    return tuple(
        f"{counted(count, 'object')} with another {each.label} than the code reads: {each.why}"
        for each, count in counts.items()
    )


def _objects(unlike: Iterable[Unlike]) -> dict[Unlike, list[Any]]:
    owners = {each: owner for each in unlike if (owner := each.reference()) is not None}
    objects = objects_by_class(dict.fromkeys(owners.values())) if owners else {}
    return {each: objects[owner] for each, owner in owners.items()}


def _counts(objects: dict[Unlike, list[Any]]) -> dict[Unlike, int]:
    counts = {each: sum(map(each.has, paced(held))) for each, held in objects.items()}
    return {each: count for each, count in counts.items() if count}


_RARELY = 50  # a look stops other threads: at most a fiftieth of the time goes into looking,
_SELDOM = 2.0  # but there is one every so many seconds


class Absence:
    """Sees in the very step of a switch that there is no object of which the side that goes live can make no use.

    The walk through the heap is part of the step, so no other thread makes an object between the look and the switch.
    """

    def __init__(self, unlike: Iterable[Unlike]) -> None:
        self._unlike = tuple(unlike)
        self._fit: list[Any] = []
        self._next = 0.0
        self._missed = False
        self.counts: dict[Unlike, int] = {}
        """What the last look found in the way."""

    @property
    def may_look(self) -> bool:
        """Whether the last look is long enough ago."""
        return time.monotonic() >= self._next

    def checks(self) -> Iterator[object]:
        """An iterator in C that raises :class:`Busy` if there are other objects than those known to be of use.

        Run through to its end by C code, it is one step with what follows it there.  Making it raises
        :class:`~livepatch.engine.heap.PauseTooLongError` if such a walk is not permitted here.
        """
        owners = {owner for each in self._unlike if (owner := each.reference()) is not None}
        classes = tuple({id(cls): cls for owner in owners for cls in with_subclasses(owner)}.values())
        if not classes:
            return iter(())
        seconds = permit(len(classes))
        self._next = time.monotonic() + min(seconds * _RARELY, _SELDOM)
        self._missed = False
        kinds = frozenset(map(id, classes))
        referrers = itertools.chain.from_iterable(itertools.starmap(gc.get_referrers, [classes]))
        objects = map(kinds.__contains__, map(id, map(type, referrers)))
        # What is held here cannot go, so as many objects are these objects.
        return map(operator.getitem, [_Number({len(self._fit): None}, self)], map(sum, [objects]))

    def missed(self) -> None:
        """Another number of objects was there."""
        self._missed = True

    def look_again(self) -> None:
        """If objects were in the way of the last attempt, see which, and whether all of them are of use after all."""
        if not self._missed:
            return
        self._missed = False
        objects = _objects(self._unlike)
        self.counts = _counts(objects)
        self._fit = [] if self.counts else list({id(each): each for held in objects.values() for each in held}.values())
        if not self.counts:
            self._next = 0.0


class _Number(dict[int, None]):
    """The one number that is known; for any other it raises."""

    __slots__ = ("_absence",)

    def __init__(self, known: dict[int, None], absence: Absence) -> None:
        super().__init__(known)
        self._absence = absence

    def __missing__(self, _: int) -> None:
        self._absence.missed()
        raise Busy
