"""The keys of a bucket as they were last heard of: what is asked of them takes no longer for the keys beside them."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator

from livepatch.fleet.state import ABSENT, Entry

__all__ = ["Mirror"]

_Kept = tuple[bytes | None, float, int]
"""A value, until when it is there in seconds of the epoch, and the revision; no value if it is gone."""
_PARTS = 2
"""Keys that begin with so many equal parts are kept together: what is asked for begins so, or with one of them."""


class Mirror:
    """Keys with their values, until when they are there, and the revision of their last change."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        """In the order of revisions."""
        self._groups: dict[str, dict[str, set[str]]] = {}
        self._expiring: list[tuple[float, str, int]] = []
        self.reached = ABSENT
        """The highest revision that was taken in."""

    def take(self, key: str, value: bytes | None, until: float, revision: int) -> None:
        """Take in a change, unless a later one of the same key is known."""
        known = self._kept.get(key)
        if known is None:
            first, group = _place(key)
            self._groups.setdefault(first, {}).setdefault(group, set()).add(key)
        elif known[2] >= revision:
            return
        else:
            del self._kept[key]
        self._kept[key] = value, until, revision
        if revision < self.reached:  # no server tells them so
            self._kept = dict(sorted(self._kept.items(), key=lambda kept: kept[1][2]))
        if value is not None and until < math.inf:
            heapq.heappush(self._expiring, (until, key, revision))
        self.reached = max(self.reached, revision)

    def get(self, key: str) -> tuple[Entry | None, int]:
        """The key, and the revision of its last change, be it that it is gone."""
        value, _, revision = self._kept.get(key, (None, math.inf, ABSENT))
        return (None if value is None else Entry(key=key, value=value, revision=revision)), revision

    def below(self, prefix: str) -> list[Entry]:
        """What is there and begins so, in the order of keys."""
        found = (self.get(key)[0] for key in sorted(self._keys(prefix)))
        return [entry for entry in found if entry is not None]

    def since(self, prefix: str, after: int) -> list[Entry]:
        """What begins so and has changed after a revision, in the order of revisions; what is gone without a value."""
        found = []
        for key in reversed(self._kept):
            value, _, revision = self._kept[key]
            if revision <= after:
                break
            if key.startswith(prefix):
                found.append(Entry(key=key, value=value, revision=revision))
        return found[::-1]

    def expired(self, now: float) -> list[tuple[str, int]]:
        """What is too old and still there, with its revision; each time until it is taken in that it is gone."""
        found = {}
        while self._expiring and self._expiring[0][0] <= now:
            until, key, revision = heapq.heappop(self._expiring)
            value, _, last = self._kept[key]
            if value is not None and last == revision:
                found[key, revision] = until
        for (key, revision), until in found.items():
            heapq.heappush(self._expiring, (until, key, revision))
        return list(found)

    def _keys(self, prefix: str) -> Iterator[str]:
        first, group = _place(prefix)
        if "/" not in prefix:
            groups = [each for name, its in self._groups.items() if name.startswith(first) for each in its.values()]
        elif prefix.count("/") < _PARTS:
            groups = [each for name, each in self._groups.get(first, {}).items() if name.startswith(group)]
        else:
            groups = [self._groups.get(first, {}).get(group, set())]
        return (key for each in groups for key in each if key.startswith(prefix))


def _place(key: str) -> tuple[str, str]:
    """The first part of a key, and the next one."""
    first, _, rest = key.partition("/")
    return first, rest.partition("/")[0]
