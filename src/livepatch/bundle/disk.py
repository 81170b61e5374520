"""Patch files on disk: written whole or not at all, and read only as far as a patch file can reach."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from pathlib import Path

from livepatch.bundle.reading import LIMITS
from livepatch.errors import BundleError, spelled

__all__ = ["read", "write"]


def write(path: str | os.PathLike[str], data: bytes) -> None:
    """Put `data` at `path`, in the place of a file that is there.  Once it returns, it outlives a power cut.

    A link stays, and the file that it leads to is written.  Raises :class:`BundleError`, also for what is there and is
    no regular file, such as a pipe or a device; then what was at `path` is unchanged and nothing else is left.
    """
    where = _place(Path(path))
    # In the same directory, since a rename is one step only within a file system.
    beside = where.parent / f".livepatch-{os.urandom(8).hex()}.tmp"
    try:
        try:
            _write_new(beside, data)
            beside.replace(where)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            raise
        _sync_directory(where.parent)
    except (OSError, ValueError) as error:
        raise BundleError(
            "the patch file cannot be written",
            found=f"{spelled(str(where))}: {_reason(error)}",
            expected="a path in a directory that can be written to",
            action="choose another path",
        ) from error


def _place(path: Path) -> Path:
    """Where the file lies, or will lie, beyond any links."""
    where = path
    try:
        where = path.resolve()
        mode = where.lstat().st_mode
    except (OSError, ValueError, RuntimeError):
        return where  # nothing is there, or writing it will say what is wrong
    if not stat.S_ISREG(mode):
        raise BundleError(
            "the patch file cannot be written",
            found=f"{spelled(str(path))}, which is no regular file",
            expected="a path at which there is a regular file, or nothing",
            action="choose another path",
        )
    return where


def _write_new(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with open(descriptor, "wb") as file:  # noqa: PTH123  # it is the descriptor that is opened
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # some file systems cannot; the file itself is safe
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: str | os.PathLike[str]) -> bytes:
    """The bytes of the file at `path`.

    Raises :class:`BundleError` if it cannot be read, is no regular file, or is larger than any patch file.
    """
    try:
        # A pipe would make the open wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            with open(descriptor, "rb", closefd=False) if regular else io.BytesIO() as file:
                data = file.read(LIMITS.file + 1)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise BundleError(
            "the patch file cannot be read",
            found=f"{spelled(os.fsdecode(path))}: {_reason(error)}",
            expected="a file that was saved with Patch.save or livepatch build",
            action="correct the path",
        ) from error
    if not regular or len(data) > LIMITS.file:
        raise BundleError(
            "no patch file",
            found=f"{spelled(os.fsdecode(path))}, " + ("which is too large" if regular else "which is no regular file"),
            expected=f"a regular file of {LIMITS.file} bytes or fewer",
            action="correct the path",
        )
    return data


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
