"""What nodes have measured: averages over short windows of time, which nodes publish and controllers put together.

A node knows nothing of looks and stages, and a controller that takes over finds what was measured before it came.
Windows are by the clocks of the nodes, which have to agree with the controllers' as far as a window is long.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from livepatch.bundle.jsontext import Fields, read_object, refusing
from livepatch.errors import StateError
from livepatch.fleet.judging import Series
from livepatch.fleet.state import LARGEST

__all__ = ["Windows", "averages", "series_of"]

_KEPT = 64  # windows; beyond that, old ones are put together
_HIGHEST = 2**53
_HUGE = 1e30
_REFUSE = refusing(
    StateError,
    "what a node has measured cannot be read; it is not used",
    "see who can write to the store; livepatch takes nothing that it would not have written",
)


@dataclass(frozen=True, slots=True)
class _Window:
    begin: int  # milliseconds of the epoch, as `end`
    end: int
    sums: Mapping[str, tuple[float, int]]  # of each metric, and of how many readings

    def with_next(self, other: _Window) -> _Window:
        both = dict(self.sums)
        for name, (total, count) in other.sums.items():
            before = both.get(name, (0.0, 0))
            both[name] = (before[0] + total, before[1] + count)
        return _Window(self.begin, other.end, both)


@dataclass(slots=True)
class Windows:
    """What one node has measured, in windows of `every` seconds that begin where the clock divides by that.

    The newest are kept as they are; older ones become longer, so that there are never more than a few.
    """

    every: float
    closed: list[_Window] = field(default_factory=list)
    _open: dict[str, tuple[float, int]] = field(default_factory=dict)
    _number: int = -1
    _news: bool = False

    def add(self, metric: str, at: float, value: float) -> None:
        """A reading, at a moment in seconds of the epoch.  One that is older than the newest counts as that."""
        if not math.isfinite(value) or abs(value) > _HUGE:
            return
        self._reach(at)
        total, count = self._open.get(metric, (0.0, 0))
        self._open[metric] = (total + value, count + 1)

    def is_news(self, now: float) -> bool:
        """Close the window that is over by now.  Whether there is more in the closed ones than when last asked."""
        self._reach(now)
        news, self._news = self._news, False
        return news

    def _reach(self, now: float) -> None:
        number = math.floor(now / self.every)
        if number <= self._number:
            return
        had, self._open, before, self._number = self._open, {}, self._number, number
        if not had:
            return
        self._news = True
        begin = round(before * self.every * 1000)
        self.closed.append(_Window(begin, round((before + 1) * self.every * 1000), had))
        if len(self.closed) > _KEPT:
            half = _KEPT // 2
            old = [one.with_next(other) for one, other in zip(self.closed[:half:2], self.closed[1:half:2], strict=True)]
            self.closed[:half] = old

    def encoded(self) -> bytes:
        """The closed ones, as they stand in a store."""
        windows = [
            {
                "begin": each.begin,
                "end": each.end,
                "values": [f"{name} {total!r} {count}" for name, (total, count) in sorted(each.sums.items())],
            }
            for each in self.closed
        ]
        return json.dumps({"type": "measured", "format": 1, "windows": windows}, separators=(",", ":")).encode("ascii")


def averages(data: bytes, since: float, until: float) -> dict[str, float]:
    """The average of each metric over the windows that lie between two moments.  Raises :class:`StateError`."""
    fields = read_object(data, most=LARGEST, brackets=3 + 3 * (_KEPT + 1), refuse=_REFUSE)
    fields.exactly("type", "measured")
    fields.exactly("format", 1)
    sums: dict[str, tuple[float, int]] = {}
    for window in fields.records("windows", _KEPT + 1):
        begin, end = window.number("begin", 0, _HIGHEST), window.number("end", 0, _HIGHEST)
        values = [_value(each, window) for each in window.texts("values", 1000, 300)]
        window.end()
        if begin >= since * 1000 - 0.5 and end <= until * 1000 + 0.5:
            for name, total, count in values:
                before = sums.get(name, (0.0, 0))
                sums[name] = (before[0] + total, before[1] + count)
    fields.end()
    return {name: total / count for name, (total, count) in sums.items()}


def _value(text: str, fields: Fields) -> tuple[str, float, int]:
    try:
        name, total, count = text.split(" ")
        found = name, float(total), int(count)
    except ValueError:
        found = "", math.nan, 0
    if not math.isfinite(found[1]) or not 0 < found[2] <= _HIGHEST:
        raise fields.error("values", "no value", "a name, a sum and how many it is the sum of")
    return found


def series_of(
    treated: Iterable[tuple[str, Mapping[str, float]]], untreated: Iterable[tuple[str, Mapping[str, float]]]
) -> Series:
    """The averages of nodes with the patch and of nodes without it, by metric."""
    sides: list[dict[str, dict[str, float]]] = []
    for nodes in (treated, untreated):
        side: dict[str, dict[str, float]] = {}
        for node, found in nodes:
            for metric, value in found.items():
                side.setdefault(metric, {})[node] = value
        sides.append(side)
    return Series(treated=sides[0], untreated=sides[1])
