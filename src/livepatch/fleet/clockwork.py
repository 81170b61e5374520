"""Simulated time: what is to happen when, in one order that is the same every time.

Nothing in a simulated fleet waits for anything else, as processes in a factory do; all of it is "call this, then".  So
a heap of the standard library does, and nothing has to be installed.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any

__all__ = ["Clockwork"]


class Clockwork:
    """Calls in the order of their times; of one time, in the order in which they were asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        """Seconds since the beginning."""
        self.done = 0
        """How many calls were made."""
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = itertools.count()

    def after(self, seconds: float, call: Callable[..., None], *arguments: Any) -> None:
        """Call it so many seconds from now."""
        heapq.heappush(self._queue, (self.now + seconds, next(self._numbers), call, arguments))

    def run(self, until: float, ended: Callable[[], bool]) -> None:
        """Let time go by until that moment, or until it has ended or nothing is left to happen."""
        while self._queue and self._queue[0][0] <= until and not ended():
            self.now, _, call, arguments = heapq.heappop(self._queue)
            self.done += 1
            call(*arguments)
        if not ended():
            self.now = until
