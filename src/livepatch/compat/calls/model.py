"""What a call graph says: functions, edges, and calls that lead nobody knows where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Edge", "FunctionInfo", "Kind", "Shape", "Unknown", "Use"]

Use = Literal["awaited", "iterated", "async-iterated", "entered", "async-entered", "other"]
"""What happens at once to the value of a call."""

Kind = Literal["function", "generator", "coroutine", "async generator", "class body", "module", "outside"]


@dataclass(frozen=True, slots=True)
class Shape:
    """How a call passes arguments, without the bound ``self``."""

    positional: int
    keywords: tuple[str, ...] = ()
    star: bool = False
    """Whether ``*args`` is given."""
    double_star: bool = False
    """Whether ``**kwargs`` is given."""


@dataclass(frozen=True, slots=True)
class Edge:
    """One place from which a function may be called.

    `certain`: what is called there can only be that function.  `how` says by what kind of expression: ``call``,
    ``argument`` (handed to somebody who may call it), ``operator``, ``property``, ``decorator``, ``iteration``,
    ``context``, ``class``, ``import``, ``name`` (nothing but the attribute's name leads there).
    """

    caller: str
    callee: str
    certain: bool
    how: str
    file: str
    line: int
    shape: Shape | None = None
    """``None``: not a plain call."""
    awaited: Use | None = None
    """What happens at once to the call's value; ``None``: not a plain call."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A call that leads nobody knows where."""

    caller: str
    file: str
    line: int
    what: str


@dataclass(frozen=True, slots=True)
class FunctionInfo:
    """A node of the graph.  What lies outside of the graph has neither file nor line."""

    name: str
    kind: Kind
    file: str = ""
    line: int = 0
