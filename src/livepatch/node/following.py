"""A process that does not have the store looks now and then whether another set is wished for, and follows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from livepatch.errors import LivepatchError
from livepatch.events import emit
from livepatch.node.stored import StoreView
from livepatch.node.wanted import Wish

__all__ = ["Follower"]

EVERY = 1.0
"""Seconds between two looks, each of which asks the system about one file."""
_SELDOM = 60.0


class Follower:
    """Calls `catch_up` with what is wished for whenever that has changed; again, and seldomer, if it gives false."""

    def __init__(self, store: Path, catch_up: Callable[[tuple[Wish, ...]], bool]) -> None:
        self._store, self._catch_up = store, catch_up
        self._seen: tuple[int, int, int] | None = None
        self._ended = threading.Event()

    def start(self) -> None:
        """Look in a thread of its own from now on: at once first."""
        threading.Thread(target=self._run, name="livepatch-following", daemon=True).start()

    def close(self) -> None:
        """Look no more."""
        self._ended.set()

    def _run(self) -> None:
        pause = EVERY
        while True:
            pause = EVERY if self.look() else min(pause * 2, _SELDOM)
            if self._ended.wait(pause):
                return

    def look(self) -> bool:
        """Look now.  Whether all is as it is wished for."""
        try:
            about = (self._store / "wanted").stat()
        except OSError:
            return True  # nothing was ever wished for, or the store is gone: nothing can be followed
        now = (about.st_ino, about.st_mtime_ns, about.st_size)
        if now == self._seen:
            return True
        try:
            if self._catch_up(StoreView(self._store).wanted.patches):
                self._seen = now
                return True
        except Exception as error:  # noqa: BLE001  # whatever it is, the thread looks again
            told = str(error) if isinstance(error, LivepatchError) else f"{type(error).__qualname__}: {error}"
            emit("not_followed", level="error", store=str(self._store), reason=told)
        return False
