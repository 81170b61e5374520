"""Where scratch processes run: folders of their own, of which nothing is left when they, or this process, end."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from livepatch.errors import TransitionError

__all__ = ["is_over", "temporary_folder"]

_TRIES = 3  # to remove a folder


class _Folders:
    """The folders of scratch processes: each goes with its block, all with this process, and none with a fork of it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: set[Path] = set()
        self.over = False
        """This process ends: a thread that is still at work finds nothing any more."""

    def make(self) -> Path:
        with self._lock:
            self.must_go_on()
            folder = Path(tempfile.mkdtemp(prefix="livepatch-scratch-"))
            self._made.add(folder)
            return folder

    def must_go_on(self) -> None:
        if self.over:
            raise TransitionError(
                "scratch processes are of no use any more",
                found="an interpreter that goes down, and takes their folders along",
                expected="one that goes on",
                action="nothing: whoever asked ends, too",
            )

    def remove(self, folder: Path) -> None:
        if folder not in self._made:
            return  # in a child, which leaves the block as well
        for _ in range(_TRIES):  # another thread may be writing into it
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
        self._made.discard(folder)

    def at_exit(self) -> None:
        with self._lock:
            self.over = True
        for folder in tuple(self._made):
            self.remove(folder)

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._made = set()


_folders = _Folders()
atexit.register(_folders.at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_folders.after_fork)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for scratch processes.  Raises :class:`TransitionError` if this process ends, also meanwhile."""
    folder = _folders.make()
    try:
        yield folder
        _folders.must_go_on()
    finally:
        _folders.remove(folder)


def is_over() -> bool:
    """Whether this process ends, and takes its folders along."""
    return _folders.over
