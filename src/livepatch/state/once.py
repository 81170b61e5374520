"""Work on an object that is done once, by whichever thread comes first, while others wait for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Once"]

_guard = threading.RLock()  # a signal handler may come while it is held
_waiting: dict[int, tuple[int, threading.Event]] = {}
"""For whom each thread waits, and until when; of all work together, since a circle may go through several kinds."""


class Once:
    """Which objects are being worked on, and by whom.  Different objects wait for nothing."""

    def __init__(self) -> None:
        self._busy: dict[int, tuple[int, threading.Event]] = {}

    @contextmanager
    def of(self, item: object) -> Iterator[bool | None]:
        """Whether the work inside is this thread's.

        False: this thread is at it already, further out, or whoever is waits for this thread.  ``None``: another thread
        was, and has ended.
        """
        me, done = threading.get_ident(), threading.Event()
        owner, ended = self._busy.setdefault(id(item), (me, done))  # one step of the interpreter
        if ended is not done:
            yield None if owner != me and _waited(me, owner, ended) else False
            return
        try:
            yield True
        finally:
            del self._busy[id(item)]
            done.set()


def _waited(me: int, owner: int, ended: threading.Event) -> bool:
    """Wait for the work of another thread; whether it has ended.  Not if that waits for this thread: none would go on.

    Imports go round in the same way: what is needed in a circle is met half-way.
    """
    with _guard:
        other = owner
        while (known := _waiting.get(other)) is not None and not known[1].is_set():
            other = known[0]
            if other == me:
                return False
        _waiting[me] = owner, ended
    try:
        ended.wait()
    finally:
        with _guard:
            _waiting.pop(me, None)  # a signal handler may have waited meanwhile
    return True
