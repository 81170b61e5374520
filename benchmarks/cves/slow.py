"""Tell a call that takes more than linear time by its own clock, and stop as soon as that is clear."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

__all__ = ["SIZES", "blows_up"]

_LONG = 0.1  # seconds of processor time; the fixed sides need less than a tenth of it

SIZES = tuple(round(1.4**n) for n in range(14, 34))
"""From 100 to 66,000: what is quadratic takes about twice as long each time."""


def blows_up(call: Callable[[int], object], sizes: Iterable[int]) -> bool:
    """Whether some call of growing size takes long.  The first that does is the last that is made."""
    for size in sizes:
        begun = time.process_time()
        call(size)
        if time.process_time() - begun > _LONG:
            return True
    return False
