"""The frames on the threads' stacks."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from types import FrameType

__all__ = ["visit_frames"]

# On CPython 3.11 a collection may run inside an allocation, and with it finalizers, and other threads.  The object for
# a frame is allocated when it is asked for: inside `f_back` of another thread's frame that thread would go on, and
# return from the frame that the object is made for. What is read of it then is freed memory.
_COLLECTS_INSIDE = sys.version_info < (3, 12)
_walks: dict[object, None] = {}
"""The walks that have met the collector switched on, or off for another walk."""


def visit_frames(visit: Callable[[FrameType, int], object]) -> None:
    """Call ``visit(frame, thread ident)`` for every frame of every thread, innermost first.

    A frame that a variable of its own refers to is a cycle, and keeps all that its callers hold until a collection; so
    frames are handed out one at a time, and kept by nobody.  On CPython 3.11 nothing is collected meanwhile.
    """
    if not (_COLLECTS_INSIDE and (gc.isenabled() or _walks)):
        _visit(visit)
        return
    mine = object()
    try:
        _walks[mine] = None
        gc.disable()
        _visit(visit)
    finally:
        _walks.pop(mine, None)
        if not _walks:
            gc.enable()


def _after_fork() -> None:
    """In a child: the threads that were walking are not there, and would leave the collector off for ever."""
    if _walks:
        _walks.clear()
        gc.enable()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _visit(visit: Callable[[FrameType, int], object]) -> None:
    tops = sys._current_frames()
    while tops:
        ident, frame = tops.popitem()
        step: FrameType | None = frame
        del frame
        while step is not None:
            visit(step, ident)
            step = step.f_back
