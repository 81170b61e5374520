"""Reading a file that somebody else may have put there: no pipe is waited for, and nothing without end is read."""

from __future__ import annotations

import os
import stat

__all__ = ["read_at_most"]


def read_at_most(path: str | os.PathLike[str], most: int) -> bytes | None:
    """At most one byte more than `most`; ``None`` for what is no regular file.

    Raises :class:`OSError`, or :class:`ValueError` for what is no path.
    """
    # A pipe would make the open wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(most + 1)
    finally:
        os.close(descriptor)
