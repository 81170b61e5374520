"""What some functions can come to call: the shortest way to each, by certain calls and by possible ones that count.

A possible call is one whose object may be several things, down to ``peer.send(…)`` on a peer that nobody knows, which
may be any ``send``.  Where a line can lead to a few functions, each counts.  Where it can lead to many, that says
nothing: taken for calls, such lines (an ``==``, a common name, a callback) would connect everything with everything.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakKeyDictionary

from livepatch.engine.pace import paced

__all__ = ["FEW", "Call", "Graph", "Reach", "reach", "spelled_way"]

FEW = 3
"""A possible call counts if its line can lead, by expressions of its kind, to so many functions at most."""

_KEPT = 16  # answers of one graph: as many rules as a node has, and then some
_BODY = ":<module>"  # the end of a module's own name: it has run, and what it called then it does not call again


class Call(Protocol):
    """One edge of a call graph."""

    @property
    def caller(self) -> str:
        """Who calls."""

    @property
    def callee(self) -> str:
        """Who is called."""

    @property
    def certain(self) -> bool:
        """Whether it is known that the call leads there."""

    @property
    def how(self) -> str:
        """By what the call is known."""

    @property
    def file(self) -> str:
        """The file in which the call stands."""

    @property
    def line(self) -> int:
        """The line in which the call stands."""


class Graph(Protocol):
    """Who calls whom.  Functions are known by ``"module:qualified.name"``."""

    @property
    def functions(self) -> Collection[str]:
        """The names of all functions."""

    def callees(self, name: str, *, most: int | None = None) -> Sequence[Call]:
        """What a function calls.

        With `most`, possible calls may be missing of which a line has, by expressions of their kind, more than so many.
        """


@dataclass(frozen=True, slots=True)
class Reach:
    """The last call of the shortest way to each function that is reached; ``None`` for those where the ways begin."""

    by_certain: Mapping[str, Call | None]
    by_any: Mapping[str, Call | None]

    def way(self, name: str) -> tuple[Call, ...] | None:
        """The shortest way to a function, the shortest certain one if there is any; ``None``: it is not reached."""
        if name in self.by_certain:
            return _back(self.by_certain, name)
        return _back(self.by_any, name) if name in self.by_any else None


_known: WeakKeyDictionary[Graph, dict[tuple[str, ...], Reach]] = WeakKeyDictionary()


def reach(graph: Graph, starts: Iterable[str]) -> Reach:
    """Follow the calls of `starts`, and of what they call.

    A graph is a value, so the answers to its last questions are kept for as long as it lives.
    """
    first = tuple(sorted(name for name in set(starts) if not name.endswith(_BODY)))
    known = _known.setdefault(graph, {})
    found = known.pop(first, None)
    if found is None:
        found = Reach(_spread(graph, first, certain=True), _spread(graph, first, certain=False))
    while len(known) >= _KEPT:
        known.pop(next(iter(known)))
    known[first] = found
    return found


def _spread(graph: Graph, starts: Iterable[str], *, certain: bool) -> dict[str, Call | None]:
    came: dict[str, Call | None] = dict.fromkeys(starts)
    left = deque(came)
    while left:
        calls = [call for call in paced(graph.callees(left.popleft(), most=FEW)) if not call.callee.endswith(_BODY)]
        # Twice the same function is one of the few.
        others = Counter(place for place, _ in {(_place(call), call.callee) for call in calls if not call.certain})
        for call in paced(calls):
            if call.callee in came or (certain and not call.certain):
                continue
            if call.certain or others[_place(call)] <= FEW:
                came[call.callee] = call
                left.append(call.callee)
    return came


def _place(call: Call) -> tuple[str, int, str]:
    return call.file, call.line, call.how


def _back(came: Mapping[str, Call | None], name: str) -> tuple[Call, ...]:
    way: list[Call] = []
    call = came[name]
    while call is not None:
        way.append(call)
        call = came[call.caller]
    return tuple(reversed(way))


def spelled_way(way: Sequence[Call]) -> str:
    """``a:f -> b:g ?-> c:h``: with a question mark where a call is possible only."""
    return "".join([way[0].caller, *(f" {'' if call.certain else '?'}-> {call.callee}" for call in way)])
