"""Where shadow runs take place: one at a time, in a thread that comes and goes, for a share of the wall clock."""

from __future__ import annotations

import math
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from livepatch.engine.modes import Shadow

__all__ = ["Lane"]

_IDLE: Final = 5.0  # seconds after which a thread that has nothing to do ends
_BURST: Final = 10.0  # seconds of the wall clock whose share may be used up at once

_forks = 0


class Lane:
    """Where shadow runs take place, one at a time: who has entered may make one, and then leaves.

    `task` is that of a run in an event loop, `deadline` that of the run under way, in the time of ``time.monotonic``.
    """

    def __init__(self) -> None:
        self.forks = _forks
        self.slot = threading.Lock()
        self.jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.thread: threading.Thread | None = None
        self.task: Any = None  # a loop alone does not keep its tasks alive
        self.deadline = math.inf
        self._tokens, self._filled = math.inf, 0.0  # a full bucket

    def enter(self, mode: Shadow) -> bool:
        """Take the slot, unless another run has it, the share of the wall clock is used up, or the process ends."""
        # Whoever starts a thread while CPython 3.11 ends waits for ever.
        if sys.is_finalizing() or not self.slot.acquire(blocking=False):
            return False
        now = time.monotonic()
        most = max(mode.share * _BURST, mode.limit)
        self._tokens, self._filled = min(most, self._tokens + (now - self._filled) * mode.share), now
        if self._tokens > 0:
            return True
        self.slot.release()
        return False

    def leave(self, seconds: float) -> None:
        """Give the slot back; the run took that long."""
        self._tokens -= seconds
        self.deadline, self.task = math.inf, None
        self.slot.release()

    def overdue(self) -> float:
        """How many seconds the run that is under way is over its limit."""
        return max(0.0, time.monotonic() - self.deadline)

    def is_lost(self) -> bool:
        """Whether it can make no run: this is a child after fork, or the loop that a run needs was closed."""
        task = self.task
        return self.forks != _forks or (task is not None and bool(task.get_loop().is_closed()))

    def hand_over(self, run: Callable[[], None]) -> None:
        """Let the thread call `run`, which never raises and leaves.  Raises what starting a thread raises."""
        if self.thread is None or not self.thread.is_alive():
            thread = threading.Thread(target=self._serve, name="livepatch-shadow", daemon=True)
            thread.start()
            self.thread = thread
        self.jobs.put(run)

    def _serve(self) -> None:
        while True:
            try:
                run = self.jobs.get(timeout=_IDLE)
            except queue.Empty:
                if self.slot.acquire(blocking=False):  # so nobody is about to hand a run over
                    self.thread = None  # before the slot is free: nobody shall take it for alive while it ends
                    self.slot.release()
                    return
                continue
            run()
            del run  # or it would live on until the next one


def _after_fork() -> None:
    global _forks  # noqa: PLW0603  # the thread of each lane stayed behind, perhaps within a run
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
