"""What a checkpoint has saved, by object: in memory, or in one file of a directory."""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from livepatch.errors import StateError, spelled
from livepatch.state.checkpoint import Checkpoint
from livepatch.state.files import SYSTEM, Files, create, put, remove
from livepatch.state.migration import reference_to

__all__ = ["Saved", "SavedWhole", "saved_files"]

_MAGIC = b"livepatch checkpoint 1\n"
_HEAD = struct.Struct(">II")  # length and CRC-32 of what follows
_SWEPT = 1024  # entries from which on those of objects that are gone are looked for, each time that they have doubled


class Saved:
    """What was saved of each object before it was changed, for as long as the object lives.

    In a directory it is one file that has the ending ``.part`` until all are in it.  Whatever fails raises
    :class:`StateError`; then nothing of the object is changed yet.  Threads may save and restore at the same time.
    """

    def __init__(self, checkpoint: Checkpoint, name: str, files: Files = SYSTEM) -> None:
        self._checkpoint = checkpoint
        self._files = files
        self._lock = threading.Lock()
        self._size = 0  # bytes that are kept, of objects that are gone as well
        self._entries: dict[int, _Entry] = {}
        self._swept = _SWEPT
        self._path = checkpoint.place / f"{name}.checkpoint" if checkpoint.place is not None else None
        self._part = self._path.with_name(f"{self._path.name}.part") if self._path is not None else None
        self._descriptor: int | None = None
        self._whole = False

    def save(self, item: object) -> None:
        """Save what the checkpoint's function gives for an object."""
        data = self._checkpoint.encoded(self._checkpoint.save(item))
        size = len(data) + _HEAD.size
        reference = reference_to(item)
        with self._lock:
            if len(self._entries) >= self._swept or self._checkpoint.too_large(self._size + size) is not None:
                self._sweep()
            too_large = self._checkpoint.too_large(self._size + size)
            if too_large is not None:
                raise too_large
            if self._path is None:
                self._let_go(self._entries.pop(id(item), None))
                self._entries[id(item)] = _Entry(reference, data, size)
            else:
                try:
                    self._entries[id(item)] = _Entry(reference, self._append(data), size)
                except OSError as error:
                    raise _unwritable(self._path, error) from error
            self._size += size

    def _append(self, data: bytes) -> int:
        if self._descriptor is None:
            assert self._part is not None
            self._part.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = create(self._part, _MAGIC, self._files)
            self._end = len(_MAGIC)
        place = self._end
        self._files.write(self._descriptor, _framed(data))
        self._end = place + _HEAD.size + len(data)
        return place

    def _sweep(self) -> None:
        """Forget what was saved of objects that are gone: a node makes and drops connections for months."""
        for key, entry in list(self._entries.items()):
            if entry.reference() is None:
                self._let_go(self._entries.pop(key))
        self._swept = max(_SWEPT, 2 * len(self._entries))
        alive = sum(entry.size for entry in self._entries.values())
        if self._descriptor is None or self._path is None or self._size - alive <= self._size // 2:
            return
        try:
            self._rewrite()
        except OSError as error:
            raise _unwritable(self._path, error) from error
        self._size = alive

    def _rewrite(self) -> None:
        """Write what is still of use into a file of its own, which takes the place of the other."""
        assert self._descriptor is not None
        assert self._path is not None
        assert self._part is not None
        beside = self._path.with_name(f"{self._path.name}.new")
        descriptor = create(beside, _MAGIC, self._files)
        try:
            end, moved = len(_MAGIC), {}
            for key, entry in self._entries.items():
                self._files.write(descriptor, os.pread(self._descriptor, entry.size, entry.place))
                moved[key] = _Entry(entry.reference, end, entry.size)
                end += entry.size
            self._files.sync(descriptor)
            self._files.replace(beside, self._path if self._whole else self._part)
        except BaseException:
            os.close(descriptor)
            remove(beside, self._files)
            raise
        os.close(self._descriptor)
        self._descriptor, self._end, self._entries = descriptor, end, moved
        self._files.sync_directory(self._path.parent)

    def complete(self) -> None:
        """All is saved: the file gets its own name, and outlives a power cut."""
        with self._lock:
            if self._descriptor is None or self._path is None or self._part is None:
                return
            try:
                self._files.sync(self._descriptor)
                if self._part.exists():
                    self._files.replace(self._part, self._path)
                    self._files.sync_directory(self._path.parent)
                    self._whole = True
            except OSError as error:
                raise _unwritable(self._path, error) from error

    def restore(self, item: object) -> bool:
        """Put back what was saved of an object; whether anything was."""
        with self._lock:
            entry = self._entry(item)
            if entry is None:
                return False
            if isinstance(entry.kept, bytes):
                data = entry.kept
            else:
                assert self._descriptor is not None
                data = _unframed(os.pread(self._descriptor, entry.size, entry.place), self._path)
        self._checkpoint.restore(item, self._checkpoint.decoded(data))
        return True

    def has(self, item: object) -> bool:
        """Whether something is saved of an object."""
        return self._entry(item) is not None

    def _entry(self, item: object) -> _Entry | None:
        entry = self._entries.get(id(item))
        # Another object may have come to the address of one that is gone.
        return entry if entry is not None and entry.reference() is item else None

    def forget(self, item: object) -> None:
        """The object is back, and its entry is of no use any more."""
        with self._lock:
            if self._entry(item) is not None:
                self._let_go(self._entries.pop(id(item)))

    def _let_go(self, entry: _Entry | None) -> None:
        if entry is not None and isinstance(entry.kept, bytes):
            self._size -= entry.size  # what is in a file is there until that is written anew

    def close(self) -> None:
        """Let go of the file, which is of no use any more."""
        with self._lock:
            if self._descriptor is not None and self._path is not None and self._part is not None:
                os.close(self._descriptor)
                self._descriptor = None
                for path in (self._path, self._part):
                    remove(path, self._files)
            self._entries.clear()
            self._size = 0
            self._whole = False


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is kept of one object: the bytes, or their place in the file; `size` with their head."""

    reference: Callable[[], object]
    kept: bytes | int
    size: int

    @property
    def place(self) -> int:
        assert isinstance(self.kept, int)
        return self.kept


class SavedWhole:
    """What was saved of all the data at once: in memory, or in a file that is there whole or not at all."""

    def __init__(self, checkpoint: Checkpoint, path: Path | None, files: Files = SYSTEM) -> None:
        self._checkpoint = checkpoint
        self._path = path
        self._files = files
        self._data: bytes | None = None

    def save(self, _: object) -> None:
        """Save it.  Raises :class:`StateError` if that cannot be; then nothing has changed."""
        data = self._checkpoint.encoded(self._checkpoint.save())
        too_large = self._checkpoint.too_large(len(data))
        if too_large is not None:
            raise too_large
        if self._path is None:
            self._data = data
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._aside is not None:
                remove(self._aside, self._files)
            put(self._path, _MAGIC + _framed(data), self._files)
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def restore(self, _: object) -> bool:
        """Put back what was saved; whether anything was.  Raises :class:`StateError` for a file that is damaged."""
        data = self._data if self._path is None else _whole(self._path)
        if data is None:
            return False
        self._checkpoint.restore(self._checkpoint.decoded(data))
        return True

    @property
    def is_aside(self) -> bool:
        """Whether the data was brought back, and that could not be written down."""
        return self._aside is not None and self._aside.exists()

    @property
    def _aside(self) -> Path | None:
        return self._path.with_suffix(".undone") if self._path is not None else None

    def set_aside(self) -> None:
        """Let the next start know that the data is back, where no record can be written: a new name needs no room."""
        if self._path is not None and self._aside is not None and self._path.exists():
            with contextlib.suppress(OSError):  # then that start brings back once more what was saved
                self._files.replace(self._path, self._aside)
                self._files.sync_directory(self._path.parent)

    def complete(self) -> None:
        """It is complete as soon as it is saved."""

    def has(self, _: object) -> bool:
        """Whether it is saved."""
        return self._data is not None or (self._path is not None and self._path.exists())

    def forget(self, _: object) -> None:
        """It is kept until it is closed."""

    def close(self) -> None:
        """It is of no use any more."""
        self._data = None
        if self._path is not None:
            for path in (self._path, self._path.with_suffix(".undone")):
                remove(path, self._files)


def _whole(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StateError(
            "the checkpoint cannot be read",
            found=f"{path}: {error.strerror or error}",
            expected="the file that was written before the migration began",
            action="bring the file back, or the data from a copy of your own",
        ) from error
    if not data.startswith(_MAGIC):
        raise _damaged(path)
    return _unframed(data[len(_MAGIC) :], path)


def _framed(data: bytes) -> bytes:
    return _HEAD.pack(len(data), zlib.crc32(data)) + data


def _unframed(data: bytes, path: Path | None) -> bytes:
    if len(data) >= _HEAD.size:
        length, checksum = _HEAD.unpack_from(data)
        content = data[_HEAD.size :]
        if len(content) == length and zlib.crc32(content) == checksum:
            return content
    raise _damaged(path)


def _damaged(path: Path | None) -> StateError:
    return StateError(
        "the checkpoint is damaged",
        found=f"{path}: another checksum than was written",
        expected="the bytes that were saved before the migration began",
        action="bring the data back from a copy of your own",
    )


def _unwritable(path: Path, error: OSError) -> StateError:
    return StateError(
        "the checkpoint cannot be written",
        found=f"{spelled(str(path))}: {error.strerror or error}",
        expected="a directory with room for it",
        action="choose another directory=, or make room",
    )


def saved_files(directory: Path) -> Iterator[Path]:
    """The files of checkpoints that lie in a directory, unfinished ones as well."""
    for pattern in ("*.checkpoint", "*.checkpoint.part"):
        yield from sorted(directory.glob(pattern))
