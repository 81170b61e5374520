"""Tells those who have asked that their requests are worked on: one thread for all, which ends where there is none."""

from __future__ import annotations

import threading
import time
from typing import Protocol

__all__ = ["Asker", "Pulse"]

_LINGER = 0.5  # seconds after the last request: the next one is often near, and to start a thread takes its time


class Asker(Protocol):
    """Who has asked."""

    def tell_of_work(self) -> None:
        """Tell that it is worked on.  Must not wait."""


class Pulse:
    """Every so many `seconds`, while a request of theirs is under way, those who asked are told."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._changed = threading.Condition()
        self._due: dict[Asker, float] = {}
        self._ended = False
        self._thread: threading.Thread | None = None

    def begin(self, asker: Asker) -> None:
        """A request of theirs is under way."""
        with self._changed:
            self._due[asker] = time.monotonic() + self._seconds
            if self._thread is None and not self._ended:
                thread = threading.Thread(target=self._run, name="livepatch-control-pulse", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no room for a thread: nobody is told, and all else goes on
                    return
                self._thread = thread

    def end(self, asker: Asker) -> None:
        """It is answered."""
        with self._changed:
            self._due.pop(asker, None)
            if not self._due:
                self._changed.notify_all()

    def close(self, timeout: float) -> None:
        """Tell nobody any more, and wait so many seconds for the thread.  Twice is harmless."""
        with self._changed:
            self._ended = True
            thread = self._thread
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(timeout, 0))

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._changed.wait_for(self._has_more, _LINGER) or self._ended:
                    self._thread = None
                    return
                now = time.monotonic()
                late = [asker for asker, due in self._due.items() if due <= now]
                for asker in late:
                    self._due[asker] = now + self._seconds
                if not late:
                    self._changed.wait(min(min(self._due.values()) - now, self._seconds))
            for asker in late:
                asker.tell_of_work()

    def _has_more(self) -> bool:
        return bool(self._due) or self._ended
