"""The store of one machine: one SQLite file, which any number of its processes share."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from livepatch.errors import StateError, spelled
from livepatch.fleet.state import LARGEST_FILE, Entry, check_digest, check_file, check_key, check_value, lost

__all__ = ["OneFile"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    key TEXT PRIMARY KEY, value BLOB, revision INTEGER NOT NULL UNIQUE, expires REAL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS expiring ON entries (expires) WHERE expires IS NOT NULL;
CREATE TABLE IF NOT EXISTS store (one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL);
INSERT OR IGNORE INTO store VALUES (1, 0);
CREATE TABLE IF NOT EXISTS files (digest TEXT PRIMARY KEY, data BLOB NOT NULL);
"""
_BUSY = 10.0  # seconds to wait for another process's transaction
_EVERY, _SELDOM = 0.02, 0.2  # seconds between two looks at what has changed: at first, and after a while
_PERIOD = 3600.0  # seconds for which a key that is gone is told of; then it is forgotten


class OneFile:
    """A :class:`~livepatch.fleet.state.Store` in a file.  `clock` tells seconds of the epoch, for keys that expire.

    The file and those beside it belong to the user who makes them, and to nobody else.  Threads may share it.
    Raises :class:`StateError` if it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], *, clock: Callable[[], float] = time.time) -> None:
        self._path = Path(path)
        self._clock = clock
        self._lock = threading.Lock()
        with self._telling():
            # Only where there is none: to close a file lets go of all locks that this process has on it, and another
            # process would take itself for the last one and clear away what a store of this one has open.
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            self._database = sqlite3.connect(self._path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
            try:
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute("PRAGMA synchronous = FULL")
                self._database.executescript(_SCHEMA)
            except BaseException:
                self._database.close()
                raise

    def get(self, key: str) -> Entry | None:
        """See :class:`~livepatch.fleet.state.Store`."""
        check_key(key)
        with self._reading():
            return self._live(key)

    def put(self, key: str, value: bytes, *, expected: int | None, ttl: float | None = None) -> int | None:
        """See :class:`~livepatch.fleet.state.Store`."""
        check_key(key)
        check_value(value, ttl)
        with self._writing():
            there = self._live(key)
            if expected is not None and expected != (there.revision if there else 0):
                return None
            return self._write(key, value, None if ttl is None else self._clock() + ttl)

    def delete(self, key: str, *, expected: int | None) -> bool:
        """See :class:`~livepatch.fleet.state.Store`."""
        check_key(key)
        with self._writing():
            there = self._live(key)
            if there is None or expected not in (None, there.revision):
                return False
            self._write(key, None, self._clock() + _PERIOD)
            return True

    def entries(self, prefix: str) -> Sequence[Entry]:
        """See :class:`~livepatch.fleet.state.Store`."""
        check_key(prefix, prefix=True)
        with self._reading():
            return [entry for entry in self._select(prefix, 0, "key") if entry.value is not None]

    def changes(self, prefix: str, after: int, *, timeout: float = 0.0) -> Sequence[Entry]:
        """See :class:`~livepatch.fleet.state.Store`."""
        check_key(prefix, prefix=True)
        until, pause = time.monotonic() + timeout, _EVERY
        while True:
            with self._reading():
                found = self._select(prefix, after, "revision")
            left = until - time.monotonic()
            if found or left <= 0:
                return found
            time.sleep(min(pause, left))
            pause = min(pause * 1.2, _SELDOM)

    def keep(self, data: bytes) -> str:
        """See :class:`~livepatch.fleet.state.Store`."""
        digest = check_file(data)
        with self._writing():
            # What somebody has put in its place is mended.
            self._database.execute("INSERT OR REPLACE INTO files VALUES (?, ?)", (digest, data))
        return digest

    def fetch(self, digest: str) -> bytes | None:
        """See :class:`~livepatch.fleet.state.Store`."""
        check_digest(digest)
        with self._reading():
            size = self._database.execute("SELECT length(data) FROM files WHERE digest = ?", (digest,)).fetchone()
            if size is None:
                return None
            if size[0] > LARGEST_FILE:
                raise lost(digest, f"{size[0]} bytes")
            row = self._database.execute("SELECT data FROM files WHERE digest = ?", (digest,)).fetchone()
        if row is None or not isinstance(row[0], bytes) or check_file(row[0]) != digest:
            raise lost(digest, "other bytes")
        return row[0]

    def close(self) -> None:
        """See :class:`~livepatch.fleet.state.Store`."""
        with self._lock:
            self._database.close()

    def _live(self, key: str) -> Entry | None:
        row = self._database.execute("SELECT value, revision FROM entries WHERE key = ?", (key,)).fetchone()
        return Entry(key=key, value=row[0], revision=row[1]) if row and row[0] is not None else None

    def _select(self, prefix: str, after: int, order: str) -> list[Entry]:
        # Letters, digits and a few marks: "~" comes after all that a key may have.
        rows = self._database.execute(
            f"SELECT key, value, revision FROM entries WHERE key >= ? AND key < ? AND revision > ? ORDER BY {order}",  # noqa: S608  # one of two words of ours
            (prefix, f"{prefix}~", after),
        )
        return [Entry(key=key, value=value, revision=revision) for key, value, revision in rows]

    def _write(self, key: str, value: bytes | None, expires: float | None) -> int:
        self._database.execute("UPDATE store SET revision = revision + 1")
        (revision,) = self._database.execute("SELECT revision FROM store").fetchone()
        self._database.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)", (key, value, revision, expires))
        return int(revision)

    def _expire(self) -> None:
        """What is too old is gone, as a change of its own; what has been gone for long is forgotten."""
        now = self._clock()
        old = self._database.execute("SELECT key, value FROM entries WHERE expires <= ?", (now,)).fetchall()
        for key, value in old:
            if value is None:
                self._database.execute("DELETE FROM entries WHERE key = ?", (key,))
            else:
                self._write(key, None, now + _PERIOD)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Look at one moment of the file; writes only if something has become too old."""
        with self._lock, self._telling():
            overdue = "SELECT 1 FROM entries WHERE expires <= ? LIMIT 1"
            if self._database.execute(overdue, (self._clock(),)).fetchone():
                with self._whole():
                    self._expire()
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lock, self._telling(), self._whole():
            self._expire()
            yield

    @contextmanager
    def _whole(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StateError(
                "the store cannot be used; nothing is known to have changed",
                found=f"{spelled(str(self._path))}: {error}",
                expected="a file of livepatch's own on a local disk, that this user may write",
                action="correct the path, or let go of what keeps it busy",
            ) from error
