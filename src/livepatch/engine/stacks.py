"""The frames on the threads' stacks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

__all__ = ["visit_frames"]


def visit_frames(visit: Callable[[FrameType, int], object]) -> None:
    """Call ``visit(frame, thread ident)`` for every frame of every thread, innermost first.

    A frame that a variable of its own refers to is a cycle, and keeps all that its callers hold until a collection; so
    frames are handed out one at a time, and kept by nobody.
    """
    tops = sys._current_frames()
    while tops:
        ident, frame = tops.popitem()
        step: FrameType | None = frame
        del frame
        while step is not None:
            visit(step, ident)
            step = step.f_back
