"""What a checkpoint has saved, by object: in memory, or in one file of a directory."""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from livepatch.errors import StateError, spelled
from livepatch.state.checkpoint import Checkpoint
from livepatch.state.files import SYSTEM, Files, create, put, remove

__all__ = ["Saved", "SavedWhole", "saved_files"]

_MAGIC = b"livepatch checkpoint 1\n"
_HEAD = struct.Struct(">II")  # length and CRC-32 of what follows


class Saved:
    """What was saved of each object before it was changed, by the object's id.

    In a directory it is one file that has the ending ``.part`` until all are in it.  Whatever fails raises
    :class:`StateError`; then nothing of the object is changed yet.
    """

    def __init__(self, checkpoint: Checkpoint, name: str, files: Files = SYSTEM) -> None:
        self._checkpoint = checkpoint
        self._files = files
        self._size = 0
        self._memory: dict[int, bytes] = {}
        self._places: dict[int, tuple[int, int]] = {}
        self._path = checkpoint.place / f"{name}.checkpoint" if checkpoint.place is not None else None
        self._part = self._path.with_name(f"{self._path.name}.part") if self._path is not None else None
        self._descriptor: int | None = None

    def save(self, item: object) -> None:
        """Save what the checkpoint's function gives for an object."""
        data = self._checkpoint.encoded(self._checkpoint.save(item))
        size = self._size + len(data) + _HEAD.size
        too_large = self._checkpoint.too_large(size)
        if too_large is not None:
            raise too_large
        if self._path is None:
            self._memory[id(item)] = data
        else:
            try:
                self._places[id(item)] = self._append(data), len(data)
            except OSError as error:
                raise _unwritable(self._path, error) from error
        self._size = size

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

    def complete(self) -> None:
        """All is saved: the file gets its own name, and outlives a power cut."""
        if self._descriptor is None or self._path is None or self._part is None:
            return
        try:
            self._files.sync(self._descriptor)
            if self._part.exists():
                self._files.replace(self._part, self._path)
                self._files.sync_directory(self._path.parent)
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def restore(self, item: object) -> bool:
        """Put back what was saved of an object; whether anything was."""
        key = id(item)
        if key in self._memory:
            data = self._memory[key]
        elif key in self._places and self._descriptor is not None:
            place, length = self._places[key]
            data = _unframed(os.pread(self._descriptor, _HEAD.size + length, place), self._path)
        else:
            return False
        self._checkpoint.restore(item, self._checkpoint.decoded(data))
        return True

    def has(self, item: object) -> bool:
        """Whether something is saved of an object."""
        return id(item) in self._memory or id(item) in self._places

    def forget(self, item: object) -> None:
        """The object is back, and its entry is of no use any more."""
        data = self._memory.pop(id(item), None)
        self._size -= len(data) + _HEAD.size if data is not None else 0
        self._places.pop(id(item), None)

    def close(self) -> None:
        """Let go of the file, which is of no use any more."""
        if self._descriptor is not None and self._path is not None and self._part is not None:
            os.close(self._descriptor)
            self._descriptor = None
            for path in (self._path, self._part):
                remove(path, self._files)
        self._memory.clear()
        self._places.clear()
        self._size = 0


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
