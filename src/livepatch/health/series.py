"""What a probe has shown over time, as values.  Pure."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

__all__ = ["Point", "Series", "noise"]


@dataclass(frozen=True, slots=True)
class Point:
    """One reading: `at` in seconds of a clock that nobody sets; `value` in the probe's unit, or ``None``: unknown.

    `why` says, of an unknown one, what was in the way.
    """

    at: float
    value: float | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """The readings of one probe, oldest first, and their unit."""

    name: str
    unit: str = ""
    points: tuple[Point, ...] = field(default=(), repr=False)

    def since(self, at: float) -> tuple[Point, ...]:
        """The readings after a moment."""
        # From the end: what is asked for is the last few of many.
        late = list(takewhile(lambda point: point.at > at, reversed(self.points)))
        return tuple(reversed(late))

    def between(self, begin: float, end: float) -> tuple[float, ...]:
        """The known values after one moment, up to and with another."""
        return tuple(p.value for p in self.points if begin < p.at <= end and p.value is not None)

    def to_dict(self, most: int = 1000) -> dict[str, Any]:
        """The newest `most` readings for JSON."""
        points = self.points[-most:] if most else ()
        return {"name": self.name, "unit": self.unit, "at": [p.at for p in points], "values": [p.value for p in points]}

    def told(self, most: int = 20) -> str:
        """The name and the newest readings in one line."""
        shown = " ".join("?" if p.value is None else f"{p.value:.6g}" for p in self.points[-most:])
        return f"{self.name}: {shown or 'nothing'}{f' {self.unit}' if self.unit else ''}"


def noise(values: tuple[float, ...], up: int) -> tuple[float, float]:
    """The median, and the spread on one side of it, scaled to that of a standard deviation; `up` is 1 or -1.

    The greater of two estimates: the median of the distances (Hampel, 1974), and what one value in ten is beyond, for
    noise whose tail on that side is long.
    """
    median = statistics.median(values)
    distances = sorted(up * (value - median) for value in values)
    near = 1.4826 * statistics.median(abs(distance) for distance in distances)
    far = distances[len(distances) * 9 // 10] / 1.2816
    return median, max(near, far)
