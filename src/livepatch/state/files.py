"""The calls by which files are written, so that they outlive a power cut; a test puts others in their place."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["SYSTEM", "Files", "create", "put", "remove"]


class Files:
    """What is asked of the operating system.  Each raises :class:`OSError`."""

    def write(self, descriptor: int, data: bytes) -> None:
        """Write all of `data` at the end."""
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]

    def sync(self, descriptor: int) -> None:
        """Return once what was written outlives a power cut."""
        os.fsync(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """Give a file the name of another, whose place it takes in one step."""
        source.replace(target)

    def sync_directory(self, path: Path) -> None:
        """Return once the names in a directory outlive a power cut."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with contextlib.suppress(OSError):  # some file systems cannot; the file itself is safe
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut a file off."""
        os.ftruncate(descriptor, size)

    def remove(self, path: Path) -> None:
        """Remove a file."""
        path.unlink(missing_ok=True)


SYSTEM = Files()


def create(path: Path, data: bytes, files: Files = SYSTEM, mode: int = 0o600) -> int:
    """Make a file with that content, in the place of an old one; gives its descriptor.  Its name outlives a power cut.

    A link that somebody has put there is no way into another file.
    """
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, mode)
    try:
        files.write(descriptor, data)
        files.sync(descriptor)
        files.sync_directory(path.parent)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def put(path: Path, data: bytes, files: Files = SYSTEM, mode: int = 0o600) -> None:
    """Put `data` at `path`, whole or not at all, in the place of a file that is there.

    Raises :class:`OSError`; then what was at `path` is unchanged and nothing else is left.
    """
    # In the same directory, since a rename is one step only within a file system.
    beside = path.parent / f".livepatch-{os.urandom(8).hex()}.tmp"
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            files.write(descriptor, data)
            files.sync(descriptor)
        finally:
            os.close(descriptor)
        files.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    files.sync_directory(path.parent)


def remove(path: Path, files: Files = SYSTEM) -> None:
    """Remove a file that is of no use any more.  One that cannot be removed stays, and harms nobody."""
    with contextlib.suppress(OSError):
        files.remove(path)
