"""The pace of preparation: small steps, and between them the interpreter belongs to the other threads.

A thread that computes gives way only after the interpreter's switch interval (5 ms), and every other thread stands
still until then.  So whatever takes longer than a step breathes on its way.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

__all__ = ["breathe", "paced"]

T = TypeVar("T")

STEP = 0.0004
"""Seconds of work between two breaths.  One step more may begin before the next look at the clock."""

# Long enough that the waiting thread has the lock before this one asks for it again; a sleep of 0 may be over by then.
_NAP = 1e-6

_clock = time.perf_counter
_last = [0.0]


def breathe(*, now: bool = False) -> None:
    """Let other threads run, if the last breath was a step ago; otherwise cheap enough for every turn of a loop.

    `now` is for before and after what cannot be done in small steps.  One clock serves all threads: a thread can only
    have had the interpreter since the last breath of any.
    """
    if now or _clock() - _last[0] >= STEP:
        time.sleep(_NAP)
        _last[0] = _clock()


def paced(items: Iterable[T]) -> Iterator[T]:
    """The items, with a breath before each of them that is due."""
    for item in items:
        breathe()
        yield item
