"""A node for the benchmark of reverts: a module to be patched, an agent, and a line for each thing that it hears.

``python fleet_node.py FOLDER NAME STORE TRUST`` runs until its standard input ends.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import minichain.mempool  # noqa: F401  # what is patched
import structlog

import livepatch
from livepatch.fleet.opening import Where

_writing = threading.Lock()


def say(*words: object) -> None:
    with _writing:
        sys.stdout.write(" ".join(map(str, words)) + "\n")
        sys.stdout.flush()


def hear_beats(where: Where) -> None:
    """What the engine itself takes to tell everybody of a key, at the same moment and by the same way."""
    store, seen = where.opened(only="told"), 0
    while True:
        for entry in store.changes("told/beat/", seen, timeout=5.0):
            seen = entry.revision
            if entry.value is not None:
                say("heard", entry.value.decode(), repr(time.time()))


def main() -> None:
    folder, name, store, trust = sys.argv[1:]
    structlog.configure(processors=[_told], wrapper_class=structlog.make_filtering_bound_logger(20))
    fleet = livepatch.Fleet(store, node=name, poll=2.0, ttl=60.0)
    place = Path(folder) / name
    root = livepatch.TrustRoot.load(trust, state=place.with_suffix(".state"))
    threading.Thread(target=hear_beats, args=(fleet.where,), daemon=True).start()
    with livepatch.Agent(place, trust=root, fleet=fleet, name=name):
        say("ready")
        sys.stdin.read()


def _told(_: object, __: str, event: dict[str, object]) -> dict[str, object]:
    if event["event"] in ("livepatch.applied", "livepatch.reverted"):
        say(str(event["event"]).partition(".")[2], event["patch"], repr(time.time()))
    elif event.get("level") == "error":
        say("error", event)
    raise structlog.DropEvent


if __name__ == "__main__":
    main()
