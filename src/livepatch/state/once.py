"""Something is done for an object by one thread, while others that come with the same object wait for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Once"]


class Once:
    """Which objects are being worked on, and by whom.  Different objects wait for nothing."""

    def __init__(self) -> None:
        self._busy: dict[int, tuple[int, threading.Event]] = {}

    @contextmanager
    def of(self, item: object) -> Iterator[bool | None]:
        """Whether the work inside is this thread's.

        False: this thread is at it already, further out.  ``None``: another thread was, and has ended.
        """
        me, done = threading.get_ident(), threading.Event()
        owner, ended = self._busy.setdefault(id(item), (me, done))  # one step of the interpreter
        if ended is not done:
            if owner != me:
                ended.wait()
            yield False if owner == me else None
            return
        try:
            yield True
        finally:
            del self._busy[id(item)]
            done.set()
