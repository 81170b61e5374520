"""Questions to a call graph."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

from livepatch.compat.calls.calling import WAYS
from livepatch.compat.calls.model import Edge, FunctionInfo, Unknown
from livepatch.compat.calls.record import Lines, Place, Record

__all__ = ["CallGraph", "Reached", "Sites"]


class Reached(NamedTuple):
    """How a function is reached: whether by certain edges alone, and over how many."""

    certain: bool
    distance: int


class Sites(NamedTuple):
    """Places that call, counted."""

    certain: int
    possible: int
    unknown: int


class CallGraph:
    """Who calls whom.  A value: it does not change when the process does.

    Names that the graph does not have raise :class:`KeyError`.
    """

    def __init__(self, record: Record) -> None:
        self._infos, self._places, self._fans = record
        self._lines = Lines()
        self.left_out: tuple[str, ...] = ()
        """Source files that do not compile, and so are not in the graph."""
        self._numbers = {info.name: number for number, info in enumerate(self._infos)}
        self._bodies = {number for name, number in self._numbers.items() if name.endswith(":<module>")}
        self._from: list[list[int]] = [[] for _ in self._infos]
        self._to: list[list[int]] = [[] for _ in self._infos]
        self._through: list[list[int]] = [[] for _ in self._fans]
        self._fans_to: dict[int, list[int]] = {}
        for i, place in enumerate(self._places):
            self._from[place.caller].append(i)
            for callee, _ in place.callees:
                self._to[callee].append(i)
            if place.fan >= 0:
                self._through[place.fan].append(i)
        for fan, row in enumerate(self._fans):
            for callee in row:
                self._fans_to.setdefault(callee, []).append(fan)
        self.functions: Mapping[str, FunctionInfo] = MappingProxyType({info.name: info for info in self._infos})
        """All nodes, by name."""

    def __repr__(self) -> str:
        return f"<CallGraph of {len(self._infos):,} functions, {len(self._places):,} call sites>"

    def variants(self, name: str) -> tuple[str, ...]:
        """The functions of that name: itself, and others that share it and so have their line behind it."""
        return tuple(sorted(one for one in self._numbers if one == name or one.startswith(f"{name}#")))

    # Edges

    def callers(self, name: str) -> tuple[Edge, ...]:
        """The places from which it may be called, the certain ones first."""
        number = self._numbers[name]
        found = [self._edge(self._places[i], number, more) for i, more in self._calls_of(number)]
        for fan in self._fans_to.get(number, ()):
            found += [self._edge(self._places[i], number, 0, by_name=True) for i in self._through[fan]]
        return _sorted(found)

    def _calls_of(self, number: int) -> Iterator[tuple[int, int]]:
        for i in self._to[number]:
            for callee, more in self._places[i].callees:
                if callee == number:
                    yield i, more

    def callees(self, name: str, *, most: int | None = None) -> tuple[Edge, ...]:
        """What it may call, the certain ones first.

        With `most`, possible calls may be missing of which a line has, by expressions of their kind, more than so many.
        In a large program those are nearly all that there are.
        """
        places = [self._places[i] for i in self._from[self._numbers[name]]]
        found = [self._edge(place, callee, more) for place in places for callee, more in place.callees]
        enough = None if most is None else most + sum(edge.certain for edge in found)  # certain ones stand for possible
        crowded: set[tuple[str, int, str]] = set()
        for place in places:
            if place.fan < 0:
                continue
            row = self._fans[place.fan]
            if enough is not None and row and sum(number not in self._bodies for number in row) > enough:
                edge = self._edge(place, row[0], 0, by_name=True)
                crowded.add((edge.file, edge.line, edge.how))
            else:
                found += [self._edge(place, callee, 0, by_name=True) for callee in row]
        return _sorted([edge for edge in found if edge.certain or (edge.file, edge.line, edge.how) not in crowded])

    def unknown(self, name: str) -> tuple[Unknown, ...]:
        """The calls in it that lead nobody knows where."""
        found = []
        for i in self._from[self._numbers[name]]:
            place = self._places[i]
            if place.open:
                line = self._lines.of(place.code, place.offset)
                found.append(Unknown(name, place.code.co_filename, line, place.open))
        return tuple(sorted(dict.fromkeys(found), key=lambda one: (one.line, one.what)))

    def edges(self) -> Iterator[Edge]:
        """All edges, those by a name alone included."""
        for info in self._infos:
            yield from self.callees(info.name)

    def sites(self) -> Sites:
        """How many calls are certain, only possible, and lead nobody knows where."""
        certain = sum(place.certain for place in self._places)
        possible = sum(bool(place.callees or place.fan >= 0) and not place.certain for place in self._places)
        return Sites(certain, possible, sum(bool(place.open) for place in self._places))

    def _edge(self, place: Place, callee: int, more: int, *, by_name: bool = False) -> Edge:
        shape = place.shape
        if shape is not None and more:
            shape = replace(shape, positional=max(0, shape.positional + more))
        return Edge(
            caller=self._infos[place.caller].name,
            callee=self._infos[callee].name,
            certain=place.certain and not by_name,
            how="name" if by_name and place.how == "call" else place.how,
            file=place.code.co_filename,
            line=self._lines.of(place.code, place.offset),
            shape=shape,
            awaited=WAYS[place.way] if shape is not None else None,
        )

    # Paths

    def path(self, starts: Iterable[str], goals: Iterable[str], *, certain: bool = False) -> tuple[Edge, ...] | None:
        """A shortest path from one of `starts` to one of `goals`, or ``None``.

        A path of certain edges is preferred to a shorter one that has others; with `certain` no other is taken.
        """
        begin = [self._numbers[name] for name in starts]
        ends = {self._numbers[name] for name in goals}
        steps = self._walk(begin, ends, certain=True)
        if steps is None and not certain:
            steps = self._walk(begin, ends, certain=False)
        return steps

    def _walk(self, begin: list[int], ends: set[int], *, certain: bool) -> tuple[Edge, ...] | None:
        came: dict[int, tuple[int, Place | None, int, bool]] = dict.fromkeys(begin, (-1, None, 0, False))
        left = deque(begin)
        fans: set[int] = set()
        for number in begin:
            if number in ends:
                return ()
        while left:
            number = left.popleft()
            for place, callee, more, by_name in self._steps(number, fans, certain=certain):
                if callee not in came:
                    came[callee] = number, place, more, by_name
                    if callee in ends:
                        return self._traced(came, callee)
                    left.append(callee)
        return None

    def _steps(self, number: int, fans: set[int], *, certain: bool) -> Iterator[tuple[Place, int, int, bool]]:
        """The calls from a function, the certain ones first; what a fan leads to only once."""
        places = [self._places[i] for i in self._from[number]]
        for wanted in (True,) if certain else (True, False):
            for place in places:
                if place.certain is wanted:
                    for callee, more in place.callees:
                        yield place, callee, more, False
        if certain:
            return
        for place in places:
            if place.fan >= 0 and place.fan not in fans:
                fans.add(place.fan)
                for callee in self._fans[place.fan]:
                    yield place, callee, 0, True

    def _traced(self, came: dict[int, tuple[int, Place | None, int, bool]], at: int) -> tuple[Edge, ...]:
        steps: list[Edge] = []
        while True:
            before, place, more, by_name = came[at]
            if place is None:
                return tuple(reversed(steps))
            steps.append(self._edge(place, at, more, by_name=by_name))
            at = before

    def reachable(self, starts: Iterable[str], *, certain: bool = False) -> dict[str, Reached]:
        """What may be called from these, directly or not; themselves at distance 0.

        ``certain`` of each says whether edges that are certain lead there; with `certain` no other is told.
        """
        begin = [self._numbers[name] for name in starts]
        surely = self._distances(begin, certain=True)
        perhaps = {} if certain else self._distances(begin, certain=False)
        found = {
            self._infos[number].name: Reached(number in surely, surely.get(number, distance))
            for number, distance in (perhaps or surely).items()
        }
        return dict(sorted(found.items(), key=lambda item: (item[1].distance, item[0])))

    def _distances(self, begin: list[int], *, certain: bool) -> dict[int, int]:
        distance = dict.fromkeys(begin, 0)
        left = deque(begin)
        fans: set[int] = set()
        while left:
            number = left.popleft()
            for _, callee, _, _ in self._steps(number, fans, certain=certain):
                if callee not in distance:
                    distance[callee] = distance[number] + 1
                    left.append(callee)
        return distance

    # For people and programs

    def to_text(self, name: str, *, callers: bool = False, depth: int = 3, certain: bool = False) -> str:
        """A tree of what a function calls, or of its callers."""
        from livepatch.compat.calls.render import text_tree

        return text_tree(self, name, callers=callers, depth=depth, certain=certain)

    def to_dot(self, names: Iterable[str] | None = None, *, certain: bool = False) -> str:
        """A graph for Graphviz: of these functions and the edges between them, or of all."""
        from livepatch.compat.calls.render import dot

        return dot(self, names, certain=certain)

    def to_dict(self, names: Iterable[str] | None = None, *, certain: bool = False) -> dict[str, Any]:
        """Functions, edges and unknown calls as plain values, fit for JSON: of these functions, or of all."""
        from livepatch.compat.calls.render import plain

        return plain(self, names, certain=certain)


def _sorted(edges: list[Edge]) -> tuple[Edge, ...]:
    unique: dict[tuple[object, ...], Edge] = {}
    for edge in edges:
        key = (edge.caller, edge.callee, edge.how, edge.line, edge.shape, edge.awaited)
        known = unique.get(key)
        if known is None or (edge.certain and not known.certain):
            unique[key] = edge
    return tuple(
        sorted(unique.values(), key=lambda e: (not e.certain, e.caller, e.line, e.callee, e.how, repr(e.shape)))
    )
