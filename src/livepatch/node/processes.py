"""Which processes run with a store's patches, each as it says itself: a small file for each, for whoever asks.

The files are a help and no proof: each process of the node's user can write what it likes.  One of a process that is
gone does not count, and is removed by the next that writes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from livepatch.bundle import disk
from livepatch.bundle.jsontext import read_object, refusing
from livepatch.errors import StateError
from livepatch.govern import surroundings
from livepatch.node.entry import Standing
from livepatch.node.wanted import Wish
from livepatch.state.files import SYSTEM

__all__ = ["Process", "announce", "processes", "set_of"]

_NAME = re.compile(r"([0-9]{1,10})-([0-9]{1,20})\.json")
_LARGEST = 256 << 10
_MOST = 1000
_REFUSE = refusing(StateError, "what a process says of itself cannot be read", "end that process, or remove the file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process: its id, when it was started, which set it has brought in, and what became of each patch.

    `set` is empty for the process that has the store.  `lags`: what is wished for is another set by now.  `standings`
    are of the form ``{"CVE-2026-1234": "applied split(5%)"}``.
    """

    pid: int
    started: int
    """In ticks since the machine was."""
    set: str
    standings: dict[str, str]
    lags: bool


def set_of(wishes: Iterable[Wish]) -> str:
    """What a set is known by: its patches and modes, in order."""
    told = json.dumps([[each.file, each.mode] for each in wishes])
    return f"sha256:{hashlib.sha256(told.encode()).hexdigest()}"


def announce(store: Path, wishes: Iterable[Wish] | None, standings: Iterable[Standing]) -> None:
    """Say what this process runs; ``None`` for the one that has the store, and never lags.  Raises :class:`OSError`."""
    folder = store / "processes"
    own = surroundings.process()
    path = folder / f"{own['pid']}-{own['started']}.json"
    if not path.exists():
        folder.mkdir(mode=0o700, exist_ok=True)
        for other in folder.iterdir():
            if not _lives(other.name):
                other.unlink(missing_ok=True)
    told = {
        "set": "" if wishes is None else set_of(wishes),
        "standings": [{"id": each.id, "told": f"{each.state} {each.mode}"} for each in standings][:_MOST],
    }
    beside = folder / f"{path.name}.{os.urandom(4).hex()}.tmp"
    beside.write_bytes(json.dumps(told).encode() + b"\n")
    SYSTEM.replace(beside, path)  # not for long: what a power cut takes is of a process that is gone with it


def processes(store: Path, wishes: Iterable[Wish]) -> tuple[Process, ...]:
    """The processes that run with the patches of the store, by their ids.  What one cannot have written is left out."""
    current = set_of(wishes)
    found = []
    try:
        names = sorted(path.name for path in (store / "processes").iterdir())
    except FileNotFoundError:
        return ()
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None or not _lives(name):
            continue
        try:
            told, standings = _read(store / "processes" / name)
        except (OSError, StateError):
            continue  # it has ended just now, or is none of ours
        found.append(
            Process(
                pid=int(match[1]), started=int(match[2]), set=told, standings=standings, lags=told not in ("", current)
            )
        )
    return tuple(sorted(found, key=lambda each: (each.started, each.pid)))


def _read(path: Path) -> tuple[str, dict[str, str]]:
    data = disk.read_at_most(path, _LARGEST)
    fields = read_object(data or b"", most=_LARGEST, brackets=_MOST + 2, refuse=_REFUSE)
    told = fields.text("set", 71)
    standings = {}
    for each in fields.records("standings", _MOST):
        standings[each.text("id", 128)] = each.text("told", 1000)
        each.end()
    fields.end()
    return told, standings


def _lives(name: str) -> bool:
    """Whether the process that a file is named after is there.  Its id may be another one's by now."""
    match = _NAME.fullmatch(name.removesuffix(".tmp").rpartition(".")[0] if name.endswith(".tmp") else name)
    return match is not None and surroundings.started(int(match[1])) == int(match[2])
