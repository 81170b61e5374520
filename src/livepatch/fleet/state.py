"""What controllers and nodes share: a small store of keys, on whatever engine there is.

Everything that is written is compared first, so that two who write at once cannot both succeed.  The store is not
trusted: patches are verified at the node, whatever it says.  It can delay, and it can lose; it cannot make a node run
what nobody has signed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from livepatch.errors import StateError, spelled

__all__ = [
    "ABSENT",
    "LARGEST",
    "LARGEST_FILE",
    "LONGEST",
    "Entry",
    "Lease",
    "Store",
    "check_digest",
    "check_file",
    "check_key",
    "check_value",
    "key_of",
    "lost",
    "names_in",
]

ABSENT = 0
"""The revision of a key that is not there."""
LARGEST = 512 << 10
"""Bytes of a value."""
LARGEST_FILE = 64 << 20
"""Bytes of a file."""
LONGEST = 250
"""Characters of a key."""
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
_USUAL = _PLAIN | set("=/")
_SPELLED = re.compile(r"(?:=[0-9a-f]{2})+")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A key as it was at a revision of the store; its value is ``None`` once it is deleted, or too old."""

    key: str
    value: bytes | None
    revision: int


class Store(Protocol):
    """Keys with values, each change with a revision that rises over the whole store.

    Keys are 1 to 250 letters, digits and ``- _ =``, in parts that ``/`` divides.  What cannot be done for want of the
    engine is a :class:`StateError`, and then nothing is known to have changed; a wrong key or value is one too.

    Beside the keys there are files, which are known by the digest of their bytes and never change.
    """

    def get(self, key: str) -> Entry | None:
        """The key as it is, or ``None``."""

    def put(self, key: str, value: bytes, *, expected: int | None, ttl: float | None = None) -> int | None:
        """Set the key if its revision is the one `expected` (:data:`ABSENT`: it is not there; ``None``: any).

        Returns the new revision, or ``None`` if it is another one; then nothing has changed.  After `ttl` seconds
        without another ``put`` the key is gone.
        """

    def delete(self, key: str, *, expected: int | None) -> bool:
        """Delete the key if its revision is the one expected (``None``: any).  Whether it was there and is gone."""

    def entries(self, prefix: str) -> Sequence[Entry]:
        """All keys that begin so, in their order."""

    def changes(self, prefix: str, after: int, *, timeout: float = 0.0) -> Sequence[Entry]:
        """What has changed after a revision, the newest of each key, in the order of revisions.

        Keys that are deleted, or too old, are among them without a value, for an hour or longer.  Waits up to `timeout`
        seconds for a first one.  With the highest revision that was seen as `after`, nothing is missed within that
        hour, and nothing comes twice; who was away for longer compares with :meth:`entries`.
        """

    def keep(self, data: bytes) -> str:
        """Keep a file, and give its digest, ``sha256:`` and 64 hexadecimal digits.  One that is there stays."""

    def fetch(self, digest: str) -> bytes | None:
        """The bytes of that digest, which are compared with it; ``None`` if there are none.

        Raises :class:`StateError` if the store has other bytes in their place.
        """

    def close(self) -> None:
        """Let go of the engine."""


def key_of(*names: str) -> str:
    """A key of names, whatever characters they have: no two lists of names have one.  Raises as `check_key`."""
    parts = [
        "".join(chr(byte) if chr(byte) in _PLAIN else f"={byte:02x}" for byte in name.encode("utf-8", "surrogatepass"))
        for name in names
    ]
    return check_key("/".join(parts))


def names_in(key: str) -> tuple[str, ...]:
    """The names of which `key_of` has made a key; of another key, whatever it comes to."""
    return tuple(
        _SPELLED.sub(lambda found: bytes.fromhex(found[0].replace("=", "")).decode("utf-8", "replace"), part)
        for part in key.split("/")
    )


def check_key(key: str, *, prefix: bool = False) -> str:
    """A key, or what keys begin with, perhaps nothing.  Raises :class:`StateError`, or :class:`TypeError`."""
    if not isinstance(key, str):
        raise TypeError(f"a key must be a text, not {spelled(key)}")
    parts = key.split("/")
    if prefix and not parts[-1]:
        parts.pop()
    if len(key) > LONGEST or not _USUAL.issuperset(key) or not all(parts):
        raise StateError(
            "this is no key of a store; nothing has changed",
            found=spelled(key),
            expected=f"1 to {LONGEST} letters, digits and - _ =, in parts that / divides",
            action="write names with key_of",
        )
    return key


def check_value(value: bytes, ttl: float | None) -> bytes:
    """A value, and how long it lives.  Raises :class:`StateError`, or :class:`TypeError`."""
    if not isinstance(value, bytes):
        raise TypeError(f"a value must be bytes, not {spelled(value)}")
    if ttl is not None and not 0 < ttl < float("inf"):
        raise StateError(
            "a value cannot live for so long; nothing has changed",
            found=f"{spelled(ttl)} seconds",
            expected="more than 0 seconds, or None",
            action="give another ttl",
        )
    if len(value) > LARGEST:
        raise StateError(
            "this value is too large for a store; nothing has changed",
            found=f"{len(value)} bytes",
            expected=f"{LARGEST} bytes or fewer",
            action="keep patch files by their digest, outside of the keys",
        )
    return value


def check_file(data: bytes) -> str:
    """The digest of a file that can be kept.  Raises :class:`StateError`, or :class:`TypeError`."""
    if not isinstance(data, bytes):
        raise TypeError(f"a file must be bytes, not {spelled(data)}")
    if len(data) > LARGEST_FILE:
        raise StateError(
            "this file is too large for a store; nothing has changed",
            found=f"{len(data)} bytes",
            expected=f"{LARGEST_FILE} bytes or fewer",
            action="give a smaller one",
        )
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def check_digest(digest: str) -> str:
    """The digest of a file.  Raises :class:`StateError` for what is none."""
    if not _DIGEST.fullmatch(digest):
        raise StateError(
            "this is no digest",
            found=spelled(digest),
            expected="sha256: and 64 hexadecimal digits in small letters",
            action="give the digest as it was told",
        )
    return digest


def lost(digest: str, found: str) -> StateError:
    """What is raised where a store has something else in the place of a file."""
    return StateError(
        "a file of the store is not the one that was put there; it is not used",
        found=f"{found}, in the place of {digest}",
        expected="the bytes of that digest",
        action="see who can write to the store, and put the file there again",
    )


class Lease:
    """Who of several may act: a key that one of them holds, and loses if it does not renew it in time.

    Renew it well before `ttl` seconds are over.  Holding it does not make writes safe, comparing does: somebody who was
    stopped for longer than that may still believe to hold it.
    """

    def __init__(self, store: Store, key: str, holder: str, *, ttl: float) -> None:
        self._store = store
        self._key = check_key(key)
        self._holder = holder.encode()
        self._ttl = ttl
        self._revision: int | None = None

    def acquire(self) -> bool:
        """Take it, or renew it.  Whether it is held now."""
        if self._revision is not None:
            self._revision = self._store.put(self._key, self._holder, expected=self._revision, ttl=self._ttl)
        if self._revision is None:
            self._revision = self._store.put(self._key, self._holder, expected=ABSENT, ttl=self._ttl)
        return self._revision is not None

    def release(self) -> None:
        """Let another have it now, if it is held still."""
        if self._revision is not None:
            self._store.delete(self._key, expected=self._revision)
            self._revision = None
