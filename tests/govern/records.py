"""Records for tests: made fast, since what they are about is not the disk."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from livepatch.govern import files
from livepatch.govern.log import Log

ORIGIN = "node7.example.com/livepatch"
PATCH = {"digest": "sha256:" + "a" * 64, "id": "CVE-2026-1234", "package": "nodeclient", "versions": "==2.1.*"}


def entry(number: int, **fields: object) -> dict[str, object]:
    phase = ("intent", "done")[number % 2]
    return {"event": "applied", "who": "alice", "phase": phase, "patch": PATCH, "details": {"number": number}, **fields}


def not_through(descriptor: int, data: bytes, offset: int) -> None:
    os.pwrite(descriptor, data, offset)


def new_log(folder: Path, key: Ed25519PrivateKey | None = None, **options: int) -> Log:
    return Log(folder, key or Ed25519PrivateKey.generate(), ORIGIN, **options)


def fill(log: Log, entries: int) -> None:
    """Add entries without waiting for the disk."""
    through, files.write_through = files.write_through, not_through
    try:
        for number in range(entries):
            log.append(entry(number))
    finally:
        files.write_through = through


def data_of(path: Path) -> bytes:
    """What a file holds, without the room behind it."""
    return files.without_room(path.read_bytes())


def lines_of(folder: Path) -> list[bytes]:
    """All lines of all files."""
    return b"".join(map(data_of, sorted(folder.glob("record-*.jsonl")))).splitlines()


def only_file(folder: Path) -> Path:
    (path,) = folder.glob("record-*.jsonl")
    return path
