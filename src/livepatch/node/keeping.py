"""Keeps what a node is wished to run in step with what is done to its patches behind the agent's back.

The program may revert a patch itself, a flag service may move its mode, and a watchdog takes back what makes the node
unwell.  A start must not bring back what was taken back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from livepatch.errors import TransitionError
from livepatch.events import emit
from livepatch.process.live import live

__all__ = ["Keeper"]

_AGAIN = 1.0  # seconds until it is tried again, where it could not be done


class Keeper:
    """Calls `keep` after each transaction of this process, on a thread of its own, until it is closed."""

    def __init__(self, keep: Callable[[], object]) -> None:
        self._keep = keep
        self._changed = threading.Event()
        self._closed = False
        live.listeners.append(self.heard)
        self._thread = threading.Thread(target=self._run, name="livepatch-keeping", daemon=True)
        self._thread.start()

    def heard(self, switched: bool) -> None:  # noqa: ARG002  # what failed may be wished for all the same
        """A transaction ends."""
        self.wake()

    def wake(self) -> None:
        """There may be something to keep.  Never waits."""
        self._changed.set()

    def _run(self) -> None:
        again: float | None = None
        while True:
            self._changed.wait(again)
            self._changed.clear()
            again = None if self._try() else _AGAIN
            if self._closed:
                return

    def _try(self) -> bool:
        try:
            self._keep()
        except TransitionError:
            return False  # something else is under way
        except Exception as error:  # noqa: BLE001  # whatever it is, the thread goes on and tries again
            emit("set_does_not_follow", level="error", error=type(error).__qualname__)
            return False
        return True

    def close(self, timeout: float = 5.0) -> None:
        """Keep once more what there is to keep, and end."""
        if self.heard in live.listeners:
            live.listeners.remove(self.heard)
        self._closed = True
        self._changed.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def after_fork(self) -> None:
        """In a child, where its thread is not."""
        if self.heard in live.listeners:
            live.listeners.remove(self.heard)
