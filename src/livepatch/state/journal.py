"""A file of records that outlives the process: each is on the disk before the step that it speaks of is taken.

A record is a mark, the length and CRC-32 of its content, and the content: a msgpack map with a running number.  What a
crash leaves of the last record is no record, and is cut off when the file is opened.  Damage before the last one is no
crash's doing, and is refused: nobody knows what stood there.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack

from livepatch.errors import StateError, spelled
from livepatch.state.files import SYSTEM, Files, put

__all__ = ["Journal", "Reading", "read_records"]

_MAGIC = b"livepatch journal 1\n"
_HEAD = struct.Struct(">4sII")  # mark, length, CRC-32
_MARK = b"\xabLPj"
_LONGEST = 2**20
_COMPACT = 256 * 1024  # bytes from which on ended runs are left out when the file is opened

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a journal holds: its records, how many bytes of it are whole, and whether a torn record follows."""

    records: tuple[Record, ...]
    length: int
    torn: bool


def read_records(data: bytes, where: str = "the journal") -> Reading:
    """The records in the bytes of a journal.  Raises :class:`StateError` for what is none, or is damaged."""
    if not data.startswith(_MAGIC):
        raise _damaged(where, "another beginning than that of a journal")
    records: list[Record] = []
    place = len(_MAGIC)
    while place < len(data):
        found = _record_at(data, place)
        if found is None:
            if _one_follows(data, place + 1):
                raise _damaged(where, f"no whole record at byte {place}, and records after it")
            return Reading(tuple(records), place, torn=True)
        record, end = found
        if record.get("number") != len(records):
            # A crash leaves part of a record, and never a whole one that belongs elsewhere.
            raise _damaged(
                where, f"record {spelled(record.get('number'))} at byte {place}, where {len(records)} belongs"
            )
        place = end
        records.append(record)
    return Reading(tuple(records), place, torn=False)


def _record_at(data: bytes, place: int) -> tuple[Record, int] | None:
    if len(data) - place < _HEAD.size:
        return None
    mark, length, checksum = _HEAD.unpack_from(data, place)
    end = place + _HEAD.size + length
    content = data[place + _HEAD.size : end]
    if mark != _MARK or not 0 < length <= _LONGEST or len(content) != length or zlib.crc32(content) != checksum:
        return None
    try:
        record = msgpack.unpackb(content, raw=False)
    except ValueError:
        return None
    return (record, end) if isinstance(record, dict) else None


def _one_follows(data: bytes, place: int) -> bool:
    while (place := data.find(_MARK, place)) >= 0:
        if _record_at(data, place) is not None:
            return True
        place += 1
    return False


class Journal:
    """An open journal, to which records are added."""

    def __init__(self, path: Path, files: Files = SYSTEM) -> None:
        """Open the one at `path`, or make it.  Raises :class:`StateError`; then the file is as it was."""
        self._path = path
        self._files = files
        self._broken = ""
        try:
            if not path.exists():
                put(path, _MAGIC, files)
            reading = read_records(path.read_bytes(), str(path))
            self.torn = reading.torn
            """Whether a crash had left part of a record."""
            self.records = list(reading.records)
            self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            self._length = reading.length
            if reading.torn:
                files.truncate(self._descriptor, reading.length)
                files.sync(self._descriptor)
        except OSError as error:
            raise _unwritable(path, error) from error

    @property
    def is_large(self) -> bool:
        """Whether it is worth while to leave out what has ended."""
        return self._length > _COMPACT

    def add(self, record: Record) -> None:
        """Add a record.  Once it returns, that outlives a power cut.

        Raises :class:`StateError` if it cannot be written; then the journal is as it was, or takes no more records.
        """
        if self._broken:
            raise self._no_more()
        numbered = {**record, "number": len(self.records)}
        data = _encoded(numbered)
        self._check_there()
        try:
            self._files.write(self._descriptor, data)
            self._files.sync(self._descriptor)
        except OSError as error:
            # What was synchronised may be there or not, and must not be followed by another record.
            try:
                self._files.truncate(self._descriptor, self._length)
                self._files.sync(self._descriptor)
            except OSError as again:
                self._broken = str(again.strerror or again)
            raise _unwritable(self._path, error) from error
        self._length += len(data)
        self.records.append(numbered)

    def _check_there(self) -> None:
        """Raise :class:`StateError` if the file is not at its place any more: no start would look into this one."""
        try:
            there = os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except OSError:
            there = False
        if not there:
            raise StateError(
                "the journal of the state directory is not where it was",
                found=f"{self._path}, which is gone, or another file than this process has open",
                expected="a directory that nobody else writes to while the process runs",
                action="put the file back, or restart; what was recorded until now may be in a copy",
            )

    def rewrite(self, records: list[Record]) -> None:
        """Put other records in the place of all.  Raises :class:`StateError`; then the journal is as it was."""
        numbered = [{**record, "number": number} for number, record in enumerate(records)]
        data = _MAGIC + b"".join(map(_encoded, numbered))
        try:
            put(self._path, data, self._files)
            descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except OSError as error:
            raise _unwritable(self._path, error) from error
        os.close(self._descriptor)
        self._descriptor, self._length, self.records = descriptor, len(data), list(numbered)

    def close(self) -> None:
        """Let go of the file; nothing can be added any more."""
        if not self._broken:
            self._broken = "it is closed"
            os.close(self._descriptor)

    def _no_more(self) -> StateError:
        return StateError(
            "the journal of the state directory takes no more records",
            found=f"{self._path}: {self._broken}",
            expected="a file that can be written to",
            action="make room, or mend the disk, and restart",
        )


def _encoded(record: Record) -> bytes:
    content: bytes = msgpack.packb(dict(record))
    return _HEAD.pack(_MARK, len(content), zlib.crc32(content)) + content


def _damaged(where: str, found: str) -> StateError:
    return StateError(
        "the journal of the state directory is damaged",
        found=f"{where}: {found}",
        expected="records that are whole, but for the last",
        action="bring the directory back from a copy; without one, find out at which version the data is, and begin "
        "with an empty directory",
    )


def _unwritable(path: Path, error: OSError) -> StateError:
    return StateError(
        "the journal of the state directory cannot be written",
        found=f"{path}: {error.strerror or error}",
        expected="a directory that this process may write to, with room in it",
        action="make room, or choose another directory",
    )
