"""How many calls hold on to something, by its reference count, in constant time.

A frame refers to its code and to its function, from its first instruction until it has ended, and so does a suspended
coroutine or generator.  So what has no more references than are known is in no call.  The other way round proves
nothing: a stored traceback refers to code as well.
"""

from __future__ import annotations

import itertools
import operator
import sys
from collections.abc import Callable, Iterator

from livepatch.engine.units import Epoch

__all__ = ["Busy", "Gauge"]


def _counts(objects: list[object]) -> list[int]:
    # The same way of counting wherever counts are compared: what the counting itself refers to is in all of them.
    return list(map(sys.getrefcount, objects))


_ONLY_LISTED = _counts([object()])[0]


class Busy(Exception):  # noqa: N818  # no error: an answer
    """Something has more references than are known, so that a call may be under way."""


class _Known(dict[int, None]):
    """The count that is known; any other raises :class:`Busy`."""

    __slots__ = ()

    def __missing__(self, count: int) -> None:
        raise Busy


class Gauge:
    """Things to which calls refer, and how many references they have while no call does."""

    __slots__ = ("_holders", "_idle", "_places", "epochs", "objects")

    def __init__(self) -> None:
        self.objects: list[object] = []
        self._idle: list[int] = []
        self._places: dict[int, int] = {}
        self._holders: set[tuple[int, int]] = set()
        self.epochs: list[Epoch] = []
        """Those whose units of work are watched as well."""

    def add(self, thing: object, known: int, holder: object = None) -> None:
        """Watch something to which there are `known` references, apart from this gauge's and any call's.

        With a `holder`, those are its own: other holders of the same thing are added to it.
        """
        key = id(thing), id(holder)
        if key in self._holders:
            return
        self._holders.add(key)
        place = self._places.setdefault(id(thing), len(self.objects))
        if place < len(self.objects):
            self._idle[place] += known
            return
        self.objects.append(thing)
        self._idle.append(known + _ONLY_LISTED)

    def read(self) -> list[int]:
        """How many references each has."""
        return _counts(self.objects)

    def allow(self, counts: list[int]) -> None:
        """Take `counts` for the references that are known, because a look has found no call under way."""
        self._idle = counts

    @property
    def units(self) -> int:
        """How many units of work are under way."""
        return sum(len(epoch.units) for epoch in self.epochs)

    @property
    def busy(self) -> bool:
        """Whether anything has more references than are known, or a unit of work is under way."""
        return self.units > 0 or any(map(operator.gt, _counts(self.objects), self._idle))

    @property
    def excess(self) -> list[tuple[object, int]]:
        """What has more references than are known, and how many more."""
        counts = _counts(self.objects)
        return [
            (thing, count - idle)
            for thing, count, idle in zip(self.objects, counts, self._idle, strict=True)
            if count > idle
        ]

    def checks(self) -> Iterator[object]:
        """An iterator in C that raises :class:`Busy` if a unit is under way or there are other references than known.

        Run through to its end by C code, it is one step with what follows it there.
        """
        tables: list[dict[int, None]] = [_Known({idle: None}) for idle in self._idle]
        counts: Iterator[int] = map(sys.getrefcount, self.objects)
        lookup: Callable[[dict[int, None], int], None] = operator.getitem
        units: Iterator[int] = map(len, [epoch.units for epoch in self.epochs])
        return itertools.chain(map(lookup, itertools.repeat(_Known({0: None})), units), map(lookup, tables, counts))
