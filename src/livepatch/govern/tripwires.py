"""Somebody tried the hole that a patch has closed: counted, told now and then, and recorded beside.

A tripwire lies in the way of an attacker, so it is cheap, waits for nothing, and raises nothing, however often and with
whatever it is called.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from livepatch.errors import shortened, spelled
from livepatch.events import emit

__all__ = ["send_to", "tripped", "tripwire"]

_SOONEST, _SELDOM = 1.0, 60.0  # seconds between two tellings of one patch: at first, and while it goes on and on
_MOST_WIRES = 1000  # ids; a patch has one
_MOST_PEERS = 16  # that are named in one telling
_LONGEST = 0.1  # seconds that a call waits for another thread's

Sink = Callable[[str, Mapping[str, Any]], object]


class _Pace:
    """When to tell again: soon at first, and the seldomer the longer it goes on."""

    def __init__(self) -> None:
        self.due = 0.0
        self._pause = _SOONEST

    def told(self, now: float) -> None:
        """It was told at this time."""
        quiet = now > self.due + 2 * self._pause
        self._pause = _SOONEST if quiet else min(self._pause * 2, _SELDOM)
        self.due = now + self._pause


class _Wire:
    """What happened at the tripwire of one patch."""

    def __init__(self) -> None:
        self.count = 0
        self.emitted, self.recorded = 0, 0
        """How many of them events, and the record, have told."""
        self.events, self.entries = _Pace(), _Pace()
        self.peers: dict[str, None] = {}
        """Since the record was told."""


_wires: dict[str, _Wire] = {}
_lock = threading.RLock()
_sink: Sink | None = None
_writer: threading.Thread | None = None
_ended = threading.Event()


def tripwire(id: str, *, peer: object = None) -> None:  # noqa: A002  # the patch's own word for it
    """Say, inside a fix, that somebody tried the hole: ``livepatch.tripwire("CVE-2026-1234", peer=peer.id)``.

    Each call counts (``status().tripped``).  An event ``livepatch.tripwire`` tells of the first at once, and while it
    goes on at most every second, and less and less often up to every minute; so does an entry in the record, if there
    is one, which a thread of livepatch's own writes.  `peer` is text or a number; of anything else only the type shows.

    Costs microseconds, waits for no disk, and raises nothing, whatever it is given.
    """
    try:
        _trip(_text(id, 128), peer)
    except Exception as error:  # noqa: BLE001  # a fix must not fail over its tripwire
        _untold(error)


def _untold(error: Exception) -> None:
    """Say so where nothing can be raised.  What the program's own hook raises is its own affair."""
    told = SimpleNamespace(
        exc_type=type(error),
        exc_value=error,
        exc_traceback=error.__traceback__,
        err_msg="livepatch could not tell of a tripwire",
        object=None,
    )
    with contextlib.suppress(Exception):
        sys.unraisablehook(told)


def _text(value: object, most: int) -> str:
    """What a peer chose may hold anything: nothing of it reaches a log that a terminal would obey."""
    text = shortened(value if type(value) is str else spelled(value), most)
    return text if text.isprintable() else ascii(text)[1:-1]


def _trip(name: str, peer: object) -> None:
    who = "" if peer is None else _text(peer, 100)
    now = time.monotonic()
    if not _lock.acquire(timeout=_LONGEST):
        return
    try:
        wire = _wires.get(name)
        if wire is None:
            if len(_wires) >= _MOST_WIRES:
                return
            wire = _wires.setdefault(name, _Wire())
        wire.count += 1
        if who and len(wire.peers) < _MOST_PEERS:
            wire.peers[who] = None
        tell = now >= wire.events.due
        count, since = wire.count, wire.count - wire.emitted
        if tell:
            wire.events.told(now)
            wire.emitted = count
        if _sink is not None:
            _see_to_a_writer()
    finally:
        _lock.release()
    if tell:
        emit("tripwire", level="warning", patch=name, peer=who, count=count, since_last=since)


def tripped(name: str) -> int:
    """How often the tripwire of a patch was called in this process."""
    wire = _wires.get(name)
    return wire.count if wire is not None else 0


# The record


def send_to(sink: Sink | None) -> None:
    """Hand entries to that function from now on: the id of a patch, and what happened.  ``None``: to nobody."""
    global _sink  # noqa: PLW0603  # there is one record in a process
    flush()
    with _lock:
        _sink = sink
        for wire in [*_wires.values()]:
            wire.recorded, wire.peers = wire.count, {}


def _see_to_a_writer() -> None:
    global _writer  # noqa: PLW0603  # one thread writes
    if _writer is not None:
        return
    thread = threading.Thread(target=_write, name="livepatch-tripwire", daemon=True)
    _writer = thread
    try:
        thread.start()
    except RuntimeError:  # no more threads, or the interpreter is going down; what is left is flushed at the end
        _writer = None


def _write() -> None:
    """Record what is due, until nothing is left; then the thread ends."""
    global _writer  # noqa: PLW0603  # one thread writes
    while True:
        now = time.monotonic()
        with _lock:
            waiting = [wire.entries.due for wire in [*_wires.values()] if wire.count > wire.recorded]
            if not waiting or _sink is None:
                _writer = None
                return
        try:
            flush(due=now)
        except Exception as error:  # noqa: BLE001  # the next one is told all the same
            _untold(error)
        _ended.wait(max(0.01, min(min(waiting) - now, _SELDOM)))
        if _ended.is_set():
            return


def flush(*, due: float = float("inf")) -> None:
    """Hand on what is due by then; without it, all that is left."""
    with _lock:
        sink = _sink
        # A call from a signal handler, or from __del__, may come in between and add one.
        ready = [(name, w) for name, w in [*_wires.items()] if w.count > w.recorded and w.entries.due <= due]
        told = []
        for name, wire in ready:
            told.append((name, {"count": wire.count, "since_last": wire.count - wire.recorded, "peers": [*wire.peers]}))
            wire.recorded, wire.peers = wire.count, {}
            wire.entries.told(time.monotonic())
    if sink is not None:
        for name, details in told:
            sink(name, details)


def _at_exit() -> None:
    _ended.set()
    flush()


def _after_fork() -> None:
    """In a child: the thread is not there, and what waits for it is the parent's to tell."""
    global _lock, _writer  # noqa: PLW0603  # whoever holds the old one did not come along
    _lock = threading.RLock()
    _writer = None
    for wire in _wires.values():
        wire.recorded, wire.peers = wire.count, {}


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
