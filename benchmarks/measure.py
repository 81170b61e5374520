"""How the benchmarks measure and print: interleaved samples, ratios of one run, plain tables.

The machine is shared and its clock speed wanders, so no figure here is compared with one of another run.  Contenders
take turns (A B C, B C A, …) in samples of about half a millisecond; a ratio is formed within each turn and the median
is taken over all turns.  Everything is made anew several times, because where an object happens to lie in memory can
move a 20 ns call by a few percent.
"""

from __future__ import annotations

import gc
import itertools
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Bar", "Column", "Row", "Table", "Timed", "call_loop", "median_ratio", "quiet_collector", "take_turns"]

# Calls written out in one pass of a loop, so that the loop itself weighs little.
UNROLLED = 20
_SAMPLE_NS = 500_000

Loop = Callable[[int], int]
"""Runs so many passes and gives the nanoseconds that they took."""


@dataclass(frozen=True, slots=True)
class Bar:
    """The most that one figure of a row may be."""

    figure: str
    most: float

    def __str__(self) -> str:
        return f"{self.figure} ≤ {self.most:g}"


@dataclass(frozen=True, slots=True)
class Column:
    """A figure of every row that has it: its name, which is also its heading, and how it is written."""

    figure: str
    style: str


@dataclass(frozen=True, slots=True)
class Row:
    """One contender and its figures, by column."""

    name: str
    figures: Mapping[str, float]
    bar: Bar | None = None

    @property
    def passed(self) -> bool | None:
        """Whether the bar is held; ``None`` without one."""
        return None if self.bar is None else self.figures[self.bar.figure] <= self.bar.most


@dataclass(frozen=True, slots=True)
class Table:
    """Figures of one run, to be read beside each other."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    note: str = ""
    curve: str = ""
    """The figure of each row by which the others grow; it stands in the rows' names."""

    def __str__(self) -> str:
        barred = any(row.bar for row in self.rows)
        lines = [["", *(column.figure for column in self.columns), *(["bar", ""] if barred else [])]]
        for row in self.rows:
            cells = [row.name]
            for column in self.columns:
                figure = row.figures.get(column.figure)
                cells.append("" if figure is None else column.style.format(figure))
            if barred:
                cells += [str(row.bar or ""), {True: "pass", False: "MISS", None: ""}[row.passed]]
            lines.append(cells)
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        numbers = range(1, 1 + len(self.columns))
        written = [
            "  ".join(
                cell.rjust(width) if i in numbers else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        written.insert(1, "  ".join("-" * width for width in widths if width))
        return "\n".join([self.title, "", *written, *(["", self.note] if self.note else [])])

    def plain(self) -> dict[str, Any]:
        """As plain values, fit for JSON."""
        return {
            "title": self.title,
            "note": self.note,
            "rows": [{**asdict(row), "figures": dict(row.figures), "passed": row.passed} for row in self.rows],
        }


_CALLS = """\
def loop(passes):
    {setup}
    counter = repeat(None, passes)
    begun = clock()
    for _ in counter:
        {calls}
    return clock() - begun
"""


def call_loop(statement: str, names: Mapping[str, Any], *, coroutine: bool = False) -> Loop:
    """A loop of its own call sites around `statement`, whose `names` are local variables there."""
    text = _CALLS.format(
        setup="; ".join(f"{name} = _{name}" for name in names), calls="; ".join([statement] * UNROLLED)
    )
    space: dict[str, Any] = {"repeat": itertools.repeat, "clock": time.perf_counter_ns}
    space.update((f"_{name}", value) for name, value in names.items())
    exec(f"async {text}" if coroutine else text, space)
    loop: Callable[[int], Any] = space["loop"]
    return _driven(loop) if coroutine else loop


def _driven(loop: Callable[[int], Any]) -> Loop:
    def run(passes: int) -> int:
        try:
            loop(passes).send(None)
        except StopIteration as end:
            return int(end.value)
        raise AssertionError("nothing in a benchmark may wait")

    return run


@dataclass(frozen=True, slots=True)
class Timed:
    """Nanoseconds per call, one figure a turn; all contenders of one turn were timed side by side."""

    samples: Mapping[str, list[float]]

    def ns(self, name: str) -> float:
        """The median time of a call of one contender."""
        return statistics.median(self.samples[name])

    def ratio(self, name: str, to: str) -> float:
        """The median of its ratios to another contender."""
        return median_ratio(self.samples[name], self.samples[to])


def median_ratio(some: Iterable[float], others: Iterable[float]) -> float:
    """The median of the ratios of figures that were taken side by side."""
    return statistics.median(a / b for a, b in zip(some, others, strict=True))


def take_turns(batches: Iterable[Mapping[str, Loop]], turns: int) -> Timed:
    """Time the contenders of each batch in turns.  Each batch names the same contenders, made anew."""
    samples: dict[str, list[float]] = {}
    for loops in batches:
        passes = {name: _passes_for_a_sample(loop) for name, loop in loops.items()}
        order = list(loops)
        with quiet_collector():
            for _ in range(turns):
                order.append(order.pop(0))
                for name in order:
                    taken = loops[name](passes[name])
                    samples.setdefault(name, []).append(taken / passes[name] / UNROLLED)
    return Timed(samples)


def _passes_for_a_sample(loop: Loop) -> int:
    """Warm the loop up until the interpreter has specialised it, and say how many passes make a sample."""
    passes = 1
    while (taken := loop(passes)) < _SAMPLE_NS:
        passes *= 2
    for _ in range(3):
        taken = min(taken, loop(passes))
    return max(1, round(passes * _SAMPLE_NS / taken))


@contextmanager
def quiet_collector() -> Iterator[None]:
    """No cyclic collection inside."""
    was = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
