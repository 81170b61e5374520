"""What reading a shadow variable costs, beside an ordinary attribute that a class serves through ``__getattr__``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any

from application import installed
from measure import Bar, Column, Loop, Row, Table, call_loop, median_ratio, quiet_collector, take_turns

import livepatch

__all__ = ["tables"]

_MOST = 2.0

_CLASSES = """
class Set:
    def __init__(self):
        self.seen = 0

class Serving:
    def __init__(self):
        self.extra = {'seen': 0}
    def __getattr__(self, name):
        return self.extra[name]

class SlottedServing:
    __slots__ = ('extra',)
    def __init__(self):
        self.extra = {'seen': 0}
    def __getattr__(self, name):
        return self.extra[name]

class Plain:
    pass

class Slotted:
    __slots__ = ('__weakref__',)

class Bare:
    __slots__ = ('other',)
"""
_PATCH = """
import livepatch
fix = livepatch.Patch('{distribution}', package='{distribution}', versions='==1.0')
for name in ('Plain', 'Slotted', 'Bare'):
    fix.shadow('{classes}:' + name, seen=0)
"""

# Rows, in order of print.
SET = "set by __init__"
SERVED, SLOT_SERVED = "through __getattr__", "through __getattr__, __slots__"
SHADOW = "a shadow attribute"
SLOTTED, BARE = "a shadow attribute, __slots__", "the same, no weak references"
BY_NAME = "livepatch.shadow(o, 'named', default=list)"
_SHOWN = {
    SERVED: "Serving",
    SLOT_SERVED: "SlottedServing",
    SET: "Set",
    SHADOW: "Plain",
    SLOTTED: "Slotted",
    BARE: "Bare",
}


def _batch() -> Iterator[Mapping[str, Loop]]:
    with installed(classes=_CLASSES, patch=_PATCH) as (classes, patch):
        applied = livepatch.apply(patch.fix)
        try:
            objects = {name: getattr(classes, kind)() for name, kind in _SHOWN.items()}
            loops = {name: call_loop("o.seen", {"o": each}) for name, each in objects.items()}
            named: Any = call_loop("f(o, 'named', default=list)", {"o": objects[SLOTTED], "f": livepatch.shadow})
            assert isinstance(named, FunctionType)
            # The file name by which code of a patch is told.
            named.__code__ = named.__code__.replace(co_filename=f"<livepatch {applied.id} bench>")
            yield {**loops, BY_NAME: named}
        finally:
            applied.revert()


def _reads(batches: int, turns: int) -> Table:
    timed = take_turns((loops for _ in range(batches) for loops in _batch()), turns)
    served = f"to {SERVED}"
    rows = [
        Row(name, {"ns": timed.ns(name), served: timed.ratio(name, SERVED)}, Bar(served, _MOST) if barred else None)
        for name, barred in (
            (SERVED, False), (SLOT_SERVED, False), (SET, False), (SHADOW, True), (SLOTTED, True), (BARE, True),
            (BY_NAME, False),
        )
    ]  # fmt: skip
    return Table("Reading a shadow variable: o.seen", (Column("ns", "{:.1f}"), Column(served, "{:.2f}")), rows)


def _first_reads(turns: int, count: int) -> Table:
    samples: dict[str, list[float]] = {}
    with installed(classes=_CLASSES, patch=_PATCH) as (classes, patch):
        applied = livepatch.apply(patch.fix)
        for _ in range(turns):
            for name, kind in ((SET, classes.Set), (SHADOW, classes.Plain), (SLOTTED, classes.Slotted)):
                objects = [kind() for _ in range(count)]
                with quiet_collector():
                    begun = time.thread_time_ns()
                    for each in objects:
                        each.seen  # noqa: B018  # the first read makes the value
                    samples.setdefault(name, []).append((time.thread_time_ns() - begun) / count)
        objects = [classes.Plain() for _ in range(count)]
        for each in objects:
            each.seen  # noqa: B018
        begun = time.thread_time_ns()
        applied.revert()
        revert = (time.thread_time_ns() - begun) / count
    rows = [Row(f"first read, {name}", {"ns": sorted(each)[len(each) // 2]}) for name, each in samples.items()]
    rows.append(Row(f"revert, for each of {count:,} objects", {"ns": revert}))
    note = f"{median_ratio(samples[SHADOW], samples[SET]):.0f} times an attribute that is there, once for each object."
    return Table("Attaching and taking away", (Column("ns", "{:,.0f}"),), rows, note)


def tables(*, quick: bool) -> Iterator[Table]:
    """The reads, and what comes once for each object."""
    yield _reads(2 if quick else 10, 5 if quick else 40)
    yield _first_reads(2 if quick else 10, 1_000 if quick else 20_000)
