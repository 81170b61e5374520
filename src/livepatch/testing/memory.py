"""The store of a fleet in the memory of a test: nothing is on a disk or a network, and time is the test's own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from livepatch.fleet.state import ABSENT, Entry, check_digest, check_file, check_key, check_value, lost

__all__ = ["MemoryStore"]

_PERIOD = 3600.0  # seconds for which a key that is gone is told of; then it is forgotten


@dataclass(frozen=True, slots=True)
class _Kept:
    entry: Entry
    expires: float | None


class MemoryStore:
    """A :class:`livepatch.fleet.state.Store`.  `clock` gives seconds, by which keys grow old; by default the real time.

    Threads may share it.  It raises what any store raises for a wrong key, value or file.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._revision = ABSENT
        self._keys: dict[str, _Kept] = {}
        self._files: dict[str, bytes] = {}

    def get(self, key: str) -> Entry | None:
        """See :class:`livepatch.fleet.state.Store`."""
        check_key(key)
        with self._changed:
            return self._live(key)

    def put(self, key: str, value: bytes, *, expected: int | None, ttl: float | None = None) -> int | None:
        """See :class:`livepatch.fleet.state.Store`."""
        check_key(key)
        check_value(value, ttl)
        with self._changed:
            there = self._live(key)
            if expected is not None and expected != (there.revision if there else ABSENT):
                return None
            return self._write(key, value, None if ttl is None else self._clock() + ttl)

    def delete(self, key: str, *, expected: int | None) -> bool:
        """See :class:`livepatch.fleet.state.Store`."""
        check_key(key)
        with self._changed:
            there = self._live(key)
            if there is None or expected not in (None, there.revision):
                return False
            self._write(key, None, self._clock() + _PERIOD)
            return True

    def entries(self, prefix: str) -> Sequence[Entry]:
        """See :class:`livepatch.fleet.state.Store`."""
        check_key(prefix, prefix=True)
        with self._changed:
            return [entry for key in sorted(self._keys) if key.startswith(prefix) and (entry := self._live(key))]

    def changes(self, prefix: str, after: int, *, timeout: float = 0.0) -> Sequence[Entry]:
        """See :class:`livepatch.fleet.state.Store`.  `timeout` is of real seconds, whatever the clock says."""
        check_key(prefix, prefix=True)
        with self._changed:
            self._changed.wait_for(lambda: self._after(prefix, after), timeout)
            return self._after(prefix, after)

    def keep(self, data: bytes) -> str:
        """See :class:`livepatch.fleet.state.Store`."""
        digest = check_file(data)
        with self._changed:
            self._files[digest] = data
        return digest

    def fetch(self, digest: str) -> bytes | None:
        """See :class:`livepatch.fleet.state.Store`."""
        check_digest(digest)
        with self._changed:
            data = self._files.get(digest)
        if data is not None and check_file(data) != digest:
            raise lost(digest, "other bytes")
        return data

    def close(self) -> None:
        """See :class:`livepatch.fleet.state.Store`.  Nothing is let go of: others may hold it still."""

    def _after(self, prefix: str, after: int) -> list[Entry]:
        self._expire()
        found = [kept.entry for key, kept in self._keys.items() if key.startswith(prefix)]
        return sorted((entry for entry in found if entry.revision > after), key=lambda entry: entry.revision)

    def _live(self, key: str) -> Entry | None:
        self._expire()
        kept = self._keys.get(key)
        return kept.entry if kept is not None and kept.entry.value is not None else None

    def _expire(self) -> None:
        """What is too old is gone, as a change of its own; what has been gone for long is forgotten."""
        now = self._clock()
        for key, kept in [(key, kept) for key, kept in self._keys.items() if kept.expires is not None]:
            if kept.expires is not None and kept.expires <= now:
                if kept.entry.value is None:
                    del self._keys[key]
                else:
                    self._write(key, None, now + _PERIOD)

    def _write(self, key: str, value: bytes | None, expires: float | None) -> int:
        self._revision += 1
        self._keys[key] = _Kept(Entry(key=key, value=value, revision=self._revision), expires)
        self._changed.notify_all()
        return self._revision
