"""Files on disk: written whole or not at all, and read only as far as such a file can reach."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from livepatch.bundle.envelope import LARGEST_FILE
from livepatch.contents.files import read_at_most
from livepatch.errors import BundleError, TrustError, UntrustedFileError, spelled
from livepatch.state.files import put

__all__ = ["create", "is_there", "read", "read_at_most", "read_for_trust", "reason", "write", "write_new"]


def write(
    path: str | os.PathLike[str],
    data: bytes,
    what: str = "the patch file",
    *,
    mode: int = 0o644,
    beside: str | os.PathLike[str] | None = None,
) -> None:
    """Put `data` at `path`, in the place of a file that is there, for whom the `mode` says.

    Once it returns, it outlives a power cut.  It does not take the place of the file `beside` which it belongs.

    A link stays, and the file that it leads to is written.  Raises :class:`BundleError`, also for what is there and is
    no regular file, such as a pipe or a device; then what was at `path` is unchanged and nothing else is left.
    """
    where = _place(Path(path), what)
    if beside is not None and _is_same(where, beside):
        raise BundleError(
            f"{what} cannot be written",
            found=f"{spelled(str(where))}, from which it is made",
            expected="another path",
            action="choose another path",
        )
    try:
        put(where, data, mode=mode)
    except (OSError, ValueError) as error:
        raise BundleError(
            f"{what} cannot be written",
            found=f"{spelled(str(where))}: {reason(error)}",
            expected="a path in a directory that can be written to",
            action="choose another path",
        ) from error


def _is_same(where: Path, other: str | os.PathLike[str]) -> bool:
    try:
        return where.samefile(other)
    except (OSError, ValueError):
        return False  # nothing is there


def _place(path: Path, what: str) -> Path:
    """Where the file lies, or will lie, beyond any links."""
    where = path
    try:
        where = path.resolve()
        mode = where.lstat().st_mode
    except (OSError, ValueError, RuntimeError):
        return where  # nothing is there, or writing it will say what is wrong
    if not stat.S_ISREG(mode):
        raise BundleError(
            f"{what} cannot be written",
            found=f"{spelled(str(path))}, which is no regular file",
            expected="a path at which there is a regular file, or nothing",
            action="choose another path",
        )
    if _holds_a_key(where):
        raise BundleError(
            f"{what} cannot be written",
            found=f"{spelled(str(path))}, which holds a key",
            expected="a path at which there is a file of that kind, or nothing",
            action="choose another path",
        )
    return where


def _holds_a_key(path: Path) -> bool:
    try:
        return (read_at_most(path, 64) or b"").startswith(b"-----BEGIN ")
    except OSError:
        return False  # writing it will say what is wrong


def create(path: str | os.PathLike[str], data: bytes, what: str) -> None:
    """Put `data` into a file that is not there yet.  Raises :class:`BundleError`; then no file is new."""
    try:
        write_new(path, data, 0o644)
    except (OSError, ValueError) as error:
        raise BundleError(
            f"{what} cannot be written",
            found=f"{spelled(os.fsdecode(path))}: {reason(error)}",
            expected="a path at which there is nothing, in a directory that can be written to",
            action="choose another path, or remove what is there",
        ) from error


def write_new(path: str | os.PathLike[str], data: bytes, mode: int) -> None:
    """Put `data` into a file that is not there yet, for whom the `mode` says.

    Raises :class:`OSError`, or :class:`ValueError` for what is no path; then no file is new.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123  # it is the descriptor that is opened
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        Path(path).unlink(missing_ok=True)
        raise


def read(path: str | os.PathLike[str]) -> bytes:
    """The bytes of the patch file at `path`.

    Raises :class:`BundleError` if it cannot be read, is no regular file, or is larger than any patch file.
    """
    try:
        data = read_at_most(path, LARGEST_FILE)
    except (OSError, ValueError) as error:
        raise BundleError(
            "the patch file cannot be read",
            found=f"{spelled(os.fsdecode(path))}: {reason(error)}",
            expected="a file that was saved with Patch.save or livepatch build",
            action="correct the path",
        ) from error
    if data is None or len(data) > LARGEST_FILE:
        raise UntrustedFileError(
            "no patch file",
            found=f"{spelled(os.fsdecode(path))}, "
            + ("which is no regular file" if data is None else "which is too large"),
            expected=f"a regular file of {LARGEST_FILE} bytes or fewer",
            action="correct the path",
        )
    return data


def read_for_trust(path: str | os.PathLike[str], most: int, what: str) -> bytes:
    """The bytes of a file that says whom to trust: at most so many.  Raises :class:`TrustError`."""
    try:
        data = read_at_most(path, most)
    except (OSError, ValueError) as error:
        raise _unreadable(path, most, what, reason(error)) from error
    if data is None:
        raise _unreadable(path, most, what, "no regular file")
    if len(data) > most:
        raise _unreadable(path, most, what, f"more than {most} bytes")
    return data


def _unreadable(path: str | os.PathLike[str], most: int, what: str, wrong: str) -> TrustError:
    return TrustError(
        f"{what} cannot be read",
        found=f"{spelled(os.fsdecode(path))}: {wrong}",
        expected=f"a regular file of {most} bytes or fewer",
        action="correct the path",
    )


def is_there(path: str | os.PathLike[str]) -> bool:
    """Whether something lies there; nothing does where a path cannot lead, one that is too long for example."""
    return os.path.exists(path)  # noqa: PTH110  # before 3.14 a Path raises for what can be no path


def reason(error: Exception) -> str:
    """Why a file cannot be read or written, without its path: that may be anything, the text of a key too."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
