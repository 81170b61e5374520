"""Call graphs made by hand: ``graph("a:f -> b:g", "a:f ?-> c:h", "a:f n-> C.send")``, the last by its name only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Edge:
    caller: str
    callee: str
    certain: bool
    how: str = "call"
    file: str = "made.py"
    line: int = 1


class HandMade:
    """Each edge stands in a line of its own, unless ``@7`` at its end says in which."""

    def __init__(self, *edges: str) -> None:
        self._callees: dict[str, list[Edge]] = {}
        names: dict[str, None] = {}
        for number, text in enumerate(edges, 100):
            call, _, line = text.partition("@")
            caller, arrow, callee = call.split()
            names.update(dict.fromkeys((caller, callee)))
            edge = Edge(caller, callee, arrow == "->", "name" if arrow == "n->" else "call", line=int(line or number))
            self._callees.setdefault(caller, []).append(edge)
        self.functions = tuple(names)

    def callees(self, name: str, *, most: int | None = None) -> tuple[Edge, ...]:
        return tuple(self._callees.get(name, ()))


def graph(*edges: str) -> HandMade:
    return HandMade(*edges)
