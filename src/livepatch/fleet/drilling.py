"""Drills on a fleet: a small cohort practises, as one node does by ``livepatch drill``, and says how long it took.

A drill is a key that expires, so that a node which was away for long does not practise what nobody waits for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from livepatch.bundle.jsontext import read_object, refusing
from livepatch.errors import StateError
from livepatch.fleet.cohorts import PLACES, cut_for, place_of
from livepatch.fleet.keys import drill_key, drilled_key, drilled_of
from livepatch.fleet.state import ABSENT, Store, names_in
from livepatch.fleet.wire import plain

__all__ = ["Drill", "Drilled", "ask", "drill_in", "drilled", "missed", "tell"]

_MOST = 4096  # bytes
_LONGEST = 1000  # characters of a reason
_HIGHEST = 2**53
_REFUSE = refusing(
    StateError,
    "what stands in the shared state about a drill cannot be read; nothing has changed",
    "see who can write to the store; livepatch takes nothing that it would not have written",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """A drill of that id, for the nodes whose place in it is below `below`."""

    id: str
    below: int

    @classmethod
    def of(cls, name: str, nodes: Iterable[str], count: int) -> Drill:
        """One for so many of these nodes: each drill takes others."""
        return cls(id=name, below=cut_for((place_of(name, node) for node in nodes), count))

    def takes(self, node: str) -> bool:
        """Whether a node is to practise."""
        return place_of(self.id, node) < self.below


@dataclass(frozen=True, slots=True, kw_only=True)
class Drilled:
    """What came of it at a node: whether it went well, and the seconds to notice the bad patch and to be back."""

    ok: bool
    detect: float | None = None
    restore: float | None = None
    why: str = ""


def ask(store: Store, drill: Drill, *, ttl: float) -> None:
    """Ask for a drill, which nodes take up within `ttl` seconds.  Raises :class:`StateError`."""
    data = {"type": "drill", "format": 1, "below": f"{drill.below:x}"}
    store.put(drill_key(drill.id), json.dumps(data).encode("ascii"), expected=ABSENT, ttl=ttl)


def drill_in(data: bytes, name: str) -> Drill:
    """The drill of that id in the value of a key.  Raises :class:`StateError`."""
    fields = read_object(data, most=_MOST, brackets=1, refuse=_REFUSE)
    fields.exactly("type", "drill")
    fields.exactly("format", 1)
    text = fields.text("below", 17)
    fields.end()
    try:
        below = int(text, 16)
    except ValueError:
        below = -1
    if not 0 <= below <= PLACES:
        raise _REFUSE(f"below: {text!r}", f"a hexadecimal number up to {PLACES:x}")
    return Drill(id=name, below=below)


def tell(store: Store, drill: str, node: str, what: Drilled) -> None:
    """Say what came of it at a node.  Raises :class:`StateError`."""
    data = {
        "type": "drilled",
        "format": 1,
        "ok": what.ok,
        "detect": _milliseconds(what.detect),
        "restore": _milliseconds(what.restore),
        "why": plain(what.why),
    }
    store.put(drilled_key(drill, node), json.dumps(data).encode("ascii"), expected=None)


def drilled(store: Store, drill: str) -> Mapping[str, Drilled]:
    """What came of it, by node.  What cannot be read did not go well.  Raises :class:`StateError`."""
    found = {}
    for entry in store.entries(drilled_of(drill)):
        try:
            found[names_in(entry.key)[2]] = _drilled(entry.value or b"")
        except StateError as error:
            found[names_in(entry.key)[2]] = Drilled(ok=False, why=error.found)
    return found


def missed(nodes: Iterable[str], found: Mapping[str, Drilled], target: float) -> dict[str, str]:
    """The nodes that have not been back within `target` seconds, or have not said anything, and why."""
    late = {}
    for node in nodes:
        its = found.get(node)
        if its is None:
            late[node] = "it has not answered"
        elif not its.ok:
            late[node] = its.why or "the drill did not go well"
        elif its.restore is None or its.detect is None or its.detect + its.restore > target:
            taken = "unknown" if its.restore is None or its.detect is None else f"{its.detect + its.restore:.3g} s"
            late[node] = f"{taken} to be back, {target:g} s is the target"
    return late


def _drilled(data: bytes) -> Drilled:
    fields = read_object(data, most=_MOST, brackets=1 + _LONGEST, refuse=_REFUSE)
    fields.exactly("type", "drilled")
    fields.exactly("format", 1)
    detect, restore = (fields.number(name, -1, _HIGHEST) for name in ("detect", "restore"))
    made = Drilled(
        ok=fields.truth("ok"),
        detect=None if detect < 0 else detect / 1000,
        restore=None if restore < 0 else restore / 1000,
        why=fields.text("why", _LONGEST),
    )
    fields.end()
    return made


def _milliseconds(seconds: float | None) -> int:
    return -1 if seconds is None else round(seconds * 1000)
