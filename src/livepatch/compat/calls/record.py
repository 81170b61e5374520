"""What is kept of an analysis: who calls whom, in little room.

A call of which only a name is known refers to the fan of that name, which has its callees once for all callers.
"""

from __future__ import annotations

import inspect
from bisect import bisect_right
from types import CodeType
from typing import NamedTuple

from livepatch.compat.calls.fans import Fan
from livepatch.compat.calls.model import FunctionInfo, Kind, Shape
from livepatch.compat.calls.models import MODELS
from livepatch.compat.calls.objects import Function, Outside
from livepatch.compat.calls.program import Program
from livepatch.compat.calls.uses import Call, Lookup, Site, Special
from livepatch.engine.pace import breathe

__all__ = ["Lines", "Place", "Record", "record"]

_HIDDEN = frozenset({"__annotate__", "<nowhere>"})
_PLAIN = frozenset({"call", "decorator"})


class Place(NamedTuple):
    """A site: its function, where in which code, how it calls, and whom."""

    caller: int
    code: CodeType
    offset: int
    how: str
    certain: bool
    callees: tuple[tuple[int, int], ...]
    """Whom it calls, and with how many arguments more than `shape` says."""
    fan: int
    """The fan of the name, or -1."""
    shape: Shape | None
    way: int
    open: str
    """What it calls that nobody knows, or nothing."""


class Record(NamedTuple):
    """All of it.  Functions and fans are numbers."""

    infos: list[FunctionInfo]
    places: list[Place]
    fans: list[tuple[int, ...]]


def record(program: Program) -> Record:
    """Take down what an analysis has found."""
    numbers = _Numbers(program)
    fans: dict[Fan, int] = {}
    fan_rows: list[tuple[int, ...]] = []
    places: list[Place] = []
    shapes: dict[tuple[object, ...], Shape] = {}

    for i, site in enumerate(program.sites):
        if not i % 512:
            breathe()
        if not (site.targets or site.open or site.fan is not None):
            continue
        caller = numbers.functions.get(site.unit.home, -1)
        if caller < 0:
            continue
        callees = numbers.callees(site) if site.targets else ()
        fan = -1
        if isinstance(site.fan, Fan):
            fan = fans.get(site.fan, -1)
            if fan < 0:
                fan = fans[site.fan] = len(fan_rows)
                fan_rows.append(tuple(dict.fromkeys(number for number, _ in numbers.callees(site.fan))))
            if not fan_rows[fan]:
                fan = -1
        what = _what(site) if fan < 0 and site.open else ""
        if callees or fan >= 0 or what:
            shape = _shape(site, shapes) if isinstance(site, Call) and site.how in _PLAIN else None
            way = site.used if isinstance(site, Call) else 0
            certain = _is_certain(site)
            places.append(Place(caller, site.unit.code, site.offset, site.how, certain, callees, fan, shape, way, what))
    return Record(numbers.infos, places, fan_rows)


class _Numbers:
    """The functions of the graph by number, and what lies outside as it is met."""

    def __init__(self, program: Program) -> None:
        self.functions, self.infos = _numbered(program)
        self._outsides: dict[str, int] = {}

    def callees(self, site: Site) -> tuple[tuple[int, int], ...]:
        """Whom a site calls, and with how many arguments more than it shows."""
        found = []
        for target in site.targets:
            if isinstance(target, Function):
                number = self.functions.get(target, -1)
            elif isinstance(target, Outside) and not target.hidden:
                number = self._outside(target.name)
            else:
                continue
            if number >= 0:
                found.append((number, site.more.get(target, 0) if site.more else 0))
        return tuple(found)

    def _outside(self, name: str) -> int:
        number = self._outsides.get(name, -1)
        if number < 0:
            number = self._outsides[name] = len(self.infos)
            self.infos.append(FunctionInfo(name, "outside"))
        return number


def _is_certain(site: Site) -> bool:
    parent = site.parent
    return not site.doubt and len(site.targets) == 1 and (parent is None or not parent.doubt)


def _what(site: Site) -> str:
    if isinstance(site, (Lookup, Special)) or not isinstance(site, Call) or site.how == "argument":
        return ""
    if site.name:
        return f".{site.name}()"
    known = next((t.name for t in site.targets if isinstance(t, Outside) and t.name in MODELS), "")
    return f"{known.partition(':')[2]}()" if known else "a value that is called"


def _shape(site: Call, known: dict[tuple[object, ...], Shape]) -> Shape:
    args = site.args
    names = tuple([name for name, _ in args.keywords]) if args.keywords else ()
    key = len(args.positional), names, args.star >= 0, args.double >= 0
    shape = known.get(key)
    if shape is None:
        shape = known[key] = Shape(*key)
    return shape


def _numbered(program: Program) -> tuple[dict[Function, int], list[FunctionInfo]]:
    """Give each function of the graph a name of its own."""
    by_name: dict[str, list[Function]] = {}
    for function in program.functions.values():
        code = function.code
        if function.home is not function or code.co_name in _HIDDEN:
            continue
        by_name.setdefault(function.name or f"{function.module}:{code.co_qualname}", []).append(function)
    numbers: dict[Function, int] = {}
    infos: list[FunctionInfo] = []
    for name, functions in by_name.items():
        functions.sort(key=lambda function: (function in program.named, function.code.co_firstlineno))
        taken: dict[str, int] = {}
        bare = None if "<lambda>" in name and len(functions) > 1 else functions[-1]
        for function in functions:
            line = function.code.co_firstlineno
            own = name if function is bare else f"{name}#{line}"
            taken[own] = taken.get(own, 0) + 1
            if taken[own] > 1:
                own = f"{own}.{taken[own]}"
            numbers[function] = len(infos)
            infos.append(FunctionInfo(own, _kind(function), function.code.co_filename, line))
    return numbers, infos


def _kind(function: Function) -> Kind:
    flags = function.code.co_flags
    if function.code.co_name == "<module>":
        return "module"
    if function.scope is not None:
        return "class body"
    if flags & inspect.CO_ASYNC_GENERATOR:
        return "async generator"
    if flags & inspect.CO_COROUTINE:
        return "coroutine"
    return "generator" if flags & inspect.CO_GENERATOR else "function"


class Lines:
    """The lines of instructions, worked out for a code object when it is first asked for."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[list[int], list[int]]] = {}

    def of(self, code: CodeType, offset: int) -> int:
        """The line of an instruction.  The code must stay alive as long as this."""
        known = self._known.get(id(code))
        if known is None:
            starts, lines = [], []
            for start, _, line in code.co_lines():
                starts.append(start)
                lines.append(line or code.co_firstlineno)
            known = self._known[id(code)] = starts, lines
        starts, lines = known
        at = bisect_right(starts, offset) - 1
        return lines[at] if at >= 0 else code.co_firstlineno
