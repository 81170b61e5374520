"""The files of a record: segments of lines in one folder, a lock beside them, and some room in reserve."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from livepatch.errors import AuditError, spelled

__all__ = ["Segment", "open_lock", "segments", "try_lock", "unlock", "unwritable"]

_NAME = re.compile(r"record-([0-9]{12})\.jsonl")
RESERVE = 256 * 1024  # bytes
PAD = b"\t"
"""What fills room that is set aside for lines to come: blank in JSON and text to every tool, and nowhere in a line."""
ROOM = 64 * 1024
"""Bytes of it: an entry that lies within what the file has already costs the disk no change of the file's size."""
LARGEST = 256 * 1024 * 1024
"""Bytes of the largest file that is read: far more than one is ever written with."""
_NEW = os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW  # no file elsewhere is written through a link
FULL = (errno.ENOSPC, errno.EDQUOT)


def reason(error: OSError | ValueError) -> str:
    """What is wrong with a file, or with a path that is none."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def unwritable(folder: Path, error: OSError | ValueError) -> AuditError:
    """What is raised when the record cannot be written."""
    return AuditError(
        f"the record in {spelled(str(folder))} cannot be written",
        found=reason(error),
        expected="a folder that can be written, with room",
        action="make room or mend the folder; to act without a record all the same, call record_to(None) first",
    )


class Segment:
    """One file of a record: its path, and how many lines the record had before it."""

    def __init__(self, path: Path, start: int) -> None:
        self.path = path
        self.start = start

    def read(self) -> bytes:
        """All of it, without the room at its end.  Raises :class:`AuditError`."""
        with self._opened() as (file, _):
            return without_room(file.read(LARGEST))

    def read_end(self, most: int) -> bytes:
        """What of its last `most` bytes are whole lines, and what follows the last one.  Raises :class:`AuditError`."""
        with self._opened() as (file, size):
            until = size
            while True:
                start = max(until - most, 0)
                file.seek(start)
                end = without_room(file.read(until - start))
                if not start or len(end) > most // 2:
                    return end if not start else end.partition(b"\n")[2]
                until = start + len(end)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[BinaryIO, int]]:
        """The file, and its size."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, "rb") as file:  # noqa: PTH123  # it is the descriptor that is opened
                facts = os.fstat(descriptor)
                if not stat.S_ISREG(facts.st_mode):
                    raise OSError(errno.EINVAL, "no regular file")
                # One that seems to have terabytes, all of them a hole, would take all memory.
                if facts.st_size > LARGEST:
                    raise OSError(errno.EFBIG, f"{facts.st_size} bytes")
                yield file, facts.st_size
        except (OSError, ValueError) as error:
            raise AuditError(
                f"the record cannot be read at {spelled(str(self.path))}",
                found=reason(error),
                expected=f"a file of a record, of {LARGEST} bytes or fewer",
                action="see who may read it",
            ) from error


_BLANK = PAD * 4096


def without_room(data: bytes) -> bytes:
    """The end of a file without what was set aside for lines to come."""
    end = len(data)
    while data.endswith(_BLANK, 0, end):
        end -= len(_BLANK)
    return data[:end].rstrip(PAD)


def path_of(folder: Path, start: int) -> Path:
    """Where the segment lies that begins after so many lines."""
    return folder / f"record-{start:012d}.jsonl"


def segments(folder: Path) -> list[Segment]:
    """The files of the record in that folder, the oldest first.  Raises :class:`AuditError` if it cannot be read."""
    try:
        names = [path.name for path in folder.iterdir()]
    except (OSError, ValueError) as error:
        raise AuditError(
            f"there is no record at {spelled(str(folder))}",
            found=reason(error),
            expected="the folder that was given to livepatch.record_to",
            action="correct the path",
        ) from error
    found = [(int(match[1]), name) for name in names if (match := _NAME.fullmatch(name))]
    return [Segment(folder / name, start) for start, name in sorted(found)]


def lock_path(folder: Path) -> str:
    """Where the file lies that is locked while somebody writes."""
    return str(folder / "lock")


def open_lock(path: str) -> int:
    """Open the file that is locked while somebody writes."""
    return os.open(path, _NEW | os.O_RDWR, 0o600)


def lies_at(path: str, made: os.stat_result) -> bool:
    """Whether that file still lies where others look for it: somebody may have taken it away, or made it anew."""
    try:
        there = os.lstat(path)
    except OSError:
        return False
    return os.path.samestat(there, made)


def size_at(path: str, descriptor: int, made: os.stat_result) -> int | None:
    """How many bytes that open file has; ``None`` if it is not the one that lies there, or is open no more."""
    try:
        facts, there = os.fstat(descriptor), os.lstat(path)
    except OSError:
        return None
    return facts.st_size if os.path.samestat(facts, made) and os.path.samestat(there, made) else None


Names = tuple[int, int, int]
"""Which folder it is, by device and inode, and when a name in it was last made, removed or given to another file."""


def names_in(folder: str) -> Names | None:
    """The state of the names in a folder: while it is the same one, they are names of the same files."""
    try:
        facts = os.stat(folder)  # noqa: PTH116  # asked before each entry
    except OSError:
        return None
    return facts.st_dev, facts.st_ino, facts.st_ctime_ns


def will_differ(names: Names | None) -> bool:
    """Whether the next change of a name must give another state: the time of the last one is not the present one.

    A change gets the time of the clock's last tick, 10 ms at most before; of whole seconds on an old filesystem.
    """
    if names is None:
        return False
    grain = 50_000_000 if names[2] % 1_000_000_000 else 3_000_000_000
    return time.time_ns() - names[2] > grain


def ends_as_known(descriptor: int, *, end: bytes, offset: int, room: int) -> bool:
    """Whether that open file has `end` before `offset`, and behind it no more than room, up to `room`.

    It is not asked for its times, as by `stat`: Linux (from 6.13 on) would give the next write a time of its own for
    that, and write it to the disk as well, which takes a third longer.
    """
    try:
        found = os.pread(descriptor, len(end) + 1, offset - len(end))
        return os.lseek(descriptor, 0, os.SEEK_END) <= max(room, offset) and found in (end + PAD, end)
    except OSError:
        return False


def is_still(descriptor: int, made: os.stat_result) -> bool:
    """Whether it is still that file that is open: the program may have closed it, and opened another one since."""
    try:
        return os.path.samestat(os.fstat(descriptor), made)
    except OSError:
        return False


def let_go(descriptor: int, made: os.stat_result) -> None:
    """Close that file, and no other one that the program has opened in its place."""
    if is_still(descriptor, made):
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Keep other processes from writing, unless one of them writes."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(descriptor: int) -> None:
    """Let other processes write."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def pauses(folder: Path, patience: float) -> Iterator[float]:
    """How long to wait, in seconds, each time that another process writes.

    Raises :class:`AuditError` if none has ended within `patience` seconds.
    """
    until = time.monotonic() + patience
    pause = 0.0002
    while time.monotonic() < until:
        yield pause
        pause = min(pause * 2, 0.02)
    raise AuditError(
        f"the record in {spelled(str(folder))} is held by another process",
        found=f"its lock taken for {patience:g} s",
        expected="writers that end within milliseconds",
        action="find the process that holds the file 'lock' there (lslocks), and end it",
    )


def sync_folder(folder: Path) -> None:
    """Make the names of new files last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_through(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of it to the disk itself.  Raises :class:`OSError`; some of it may be there then."""
    _write_all(descriptor, data, offset)
    os.fdatasync(descriptor)


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    done = os.pwrite(descriptor, data, offset)
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], offset + done)


def set_aside(descriptor: int, offset: int, size: int) -> int:
    """Fill so many bytes from there on with room for lines to come, and give where that ends; none if none is left."""
    try:
        _write_all(descriptor, PAD * size, offset)
    except OSError:
        os.ftruncate(descriptor, offset)  # what is to be written needs less, and says what is wrong
        return offset
    return offset + size


def keep_reserve(folder: Path) -> bool:
    """Set room aside for the way back on a full disk, if there is none yet; whether it can be, in that folder.

    Raises :class:`OSError` if the disk is too full for that.
    """
    path = f"{folder}/reserve"
    try:
        if os.stat(path, follow_symlinks=False).st_size == RESERVE:  # noqa: PTH116  # asked before each entry
            return True
    except OSError:
        pass  # making it says what is wrong
    try:
        descriptor = os.open(path, _NEW | os.O_RDWR, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, RESERVE)
        except OSError:
            give_reserve(folder)  # a part of it is of no use
            raise
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in FULL:
            raise
        return False
    return True


def give_reserve(folder: Path) -> bool:
    """Free the room that was set aside; whether there was some."""
    try:
        (folder / "reserve").unlink()
    except OSError:
        return False
    return True
