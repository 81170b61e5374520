"""Who else holds it: copies of a function, aliases of a value, instances of a nested function, callers.

The first look goes through the namespaces of modules and classes, in steps between which other threads may run.  The
whole heap is walked only for code that has more holders than were found that way, because that walk stops every other
thread for its duration (65 ms on four million objects).
"""

from __future__ import annotations

import gc
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import CodeType, CoroutineType, FrameType, FunctionType, ModuleType
from typing import Any

from livepatch.engine.code import kind_of
from livepatch.engine.functions import is_own
from livepatch.engine.heap import instances_of
from livepatch.engine.namespaces import bindings, functions_behind, is_function
from livepatch.engine.stacks import visit_frames

__all__ = ["CallSite", "Swept", "instances_of", "sweep"]


@dataclass(frozen=True, slots=True)
class CallSite:
    """A live function whose code names a target.  `certain`: the name leads to that very object."""

    caller: FunctionType
    name: str
    certain: bool


@dataclass(slots=True)
class Swept:
    """What a sweep found, by the identity of the code or value asked for."""

    copies: dict[int, list[FunctionType]] = field(default_factory=dict)
    variants: dict[int, list[FunctionType]] = field(default_factory=dict)
    aliases: dict[int, list[tuple[ModuleType | type, str]]] = field(default_factory=dict)
    calls: dict[str, list[CallSite]] = field(default_factory=dict)
    walked: float | None = None
    thorough: bool = True


def sweep(
    modules: Mapping[str, ModuleType],
    functions: Iterable[FunctionType] = (),
    values: Iterable[object] = (),
    constants: list[CodeType] | None = None,
    callees: Mapping[str, object] | None = None,
    held: Mapping[int, int] | None = None,
    *,
    spaces: Iterable[dict[str, Any]] = (),
    passing: bool = False,
) -> Swept:
    """Look for copies of `functions`, other names for `values`, instances of nested code `constants`.

    `callees` maps names to the objects that they should lead to, to find callers.  `held` says how many references to a
    code object, by its id, are the caller's own; `spaces` are the globals of the makers of `constants`.

    For copies only a small heap is walked, because tracebacks and suspended generators hold code as copies do; for
    instances of nested code any is, unless the look is made in `passing`.  Changes nothing.
    """
    found = Swept()
    functions, values = list(functions), list(values)
    primary = {id(f.__code__): f for f in functions}
    by_name: dict[str, list[FunctionType]] = {}
    for function in primary.values():
        by_name.setdefault(function.__code__.co_qualname, []).append(function)
    wanted = {id(value) for value in values}
    if primary or wanted or callees:
        _look_through(modules, by_name, wanted, callees or {}, found)
    for function in functions:
        _add(found.copies, id(function.__code__), function)
    _look_at_all_functions(by_name, found)
    homes = [*spaces, *(function.__globals__ for function in functions)]
    _walk_if_needed(found, primary, constants or [], held or {}, homes, passing=passing)
    return found


def _look_through(
    modules: Mapping[str, ModuleType],
    by_name: Mapping[str, list[FunctionType]],
    wanted: set[int],
    callees: Mapping[str, object],
    found: Swept,
) -> None:
    names = frozenset(callees)
    seen: set[int] = set()
    for owner, name, value in bindings(modules, wanted):
        if id(value) in wanted:
            found.aliases.setdefault(id(value), []).append((owner, name))
        behind = (value,) if type(value) is FunctionType and not vars(value) else functions_behind(value)
        for function in behind:
            if id(function) in seen:
                continue
            seen.add(id(function))
            if function.__code__.co_qualname in by_name:
                _compare(function, by_name[function.__code__.co_qualname], found)
            if names and not names.isdisjoint(function.__code__.co_names):
                _calls(function, callees, found)


def _compare(function: FunctionType, primaries: list[FunctionType], found: Swept) -> None:
    code = function.__code__
    if is_own(function):
        return
    for primary in primaries:
        if code is primary.__code__ or (code == primary.__code__ and code.co_filename == primary.__code__.co_filename):
            _add(found.copies, id(primary.__code__), function)
        elif function.__globals__ is primary.__globals__:
            _add(found.variants, id(primary.__code__), function)


def _add(groups: dict[int, list[FunctionType]], key: int, function: FunctionType) -> None:
    group = groups.setdefault(key, [])
    if all(other is not function for other in group):
        group.append(function)


def _calls(function: FunctionType, callees: Mapping[str, object], found: Swept) -> None:
    for name in callees.keys() & set(function.__code__.co_names):
        callee = callees[name]
        held = function.__globals__.get(name)
        certain = held is not None and held is callee
        found.calls.setdefault(name, []).append(CallSite(function, name, certain))


# The heap

# With fewer allocated blocks than this a walk takes some 20 ms at most, and is made even if nothing asks for it: what
# an importlib.reload left behind has code of its own, and shows in no count.
_SMALL_HEAP = 2_000_000


def _look_at_all_functions(by_name: Mapping[str, list[FunctionType]], found: Swept) -> None:
    if not by_name or sys.getallocatedblocks() >= _SMALL_HEAP:
        return
    begun = time.perf_counter()
    spaces = {id(f.__globals__): f.__globals__ for functions in by_name.values() for f in functions}
    for referrer in gc.get_referrers(*spaces.values()):
        if is_function(referrer) and referrer.__code__.co_qualname in by_name and id(referrer.__globals__) in spaces:
            _compare(referrer, by_name[referrer.__code__.co_qualname], found)
    found.walked = time.perf_counter() - begun


def _references(function: FunctionType) -> int:
    return sys.getrefcount(function.__code__)


def _single() -> FunctionType:
    namespace: dict[str, FunctionType] = {}
    exec("def single(): pass", namespace)  # nothing but the function holds this code
    return namespace["single"]


_ONE_HOLDER = _references(_single())


def _references_at(constants: list[CodeType], i: int) -> int:
    return sys.getrefcount(constants[i])


def _constant_holders() -> int:
    """What is counted for a constant of one code object that stands in one list."""
    outer = compile("def single(): pass", "<livepatch>", "exec", dont_inherit=True)
    return _references_at([c for c in outer.co_consts if isinstance(c, CodeType)], 0)


_CONSTANT_HOLDERS = _constant_holders()


# Calls begin and end while holders are counted; only what stays unexplained is worth a walk.
_COUNTS = 4


def _walk_if_needed(
    found: Swept,
    primary: dict[int, FunctionType],
    constants: list[CodeType],
    held: Mapping[int, int],
    homes: list[dict[str, Any]],
    *,
    passing: bool,
) -> None:
    small = found.thorough = sys.getallocatedblocks() < _SMALL_HEAP
    functions = list(primary.values()) if small else []
    places = list(range(len(constants))) if small or not passing else []
    for _ in range(_COUNTS):
        running = _running_frames()
        functions = [f for f in functions if _unexplained_function(f, found, held, running)]
        places = [i for i in places if _unexplained_constant(constants, i, held, running)]
        if not functions and not places:
            return
        time.sleep(0)
    begun = time.perf_counter()
    unexplained = [*(f.__code__ for f in functions), *(constants[i] for i in places)]
    for function in instances_of(unexplained, homes, frozen=not passing):
        if not is_own(function):
            _add(found.copies, id(function.__code__), function)
    found.walked = (found.walked or 0.0) + time.perf_counter() - begun


def _unexplained_function(
    function: FunctionType, found: Swept, held: Mapping[int, int], running: Mapping[int, int]
) -> bool:
    key = id(function.__code__)
    same = sum(1 for copy in found.copies[key] if copy.__code__ is function.__code__)
    extra = _references(function) - _ONE_HOLDER + 1 - same - held.get(key, 0) - running.get(key, 0)
    return extra > 0 and extra > _suspended(function.__code__)


def _unexplained_constant(
    constants: list[CodeType], i: int, held: Mapping[int, int], running: Mapping[int, int]
) -> bool:
    key = id(constants[i])
    extra = _references_at(constants, i) - _CONSTANT_HOLDERS - held.get(key, 0) - running.get(key, 0)
    return extra > 0 and extra > _suspended(constants[i])


# CPython 3.11 counts the code of a generator or coroutine twice: by the object and by its frame.
_PER_GENERATOR = 2 if sys.version_info < (3, 12) else 1


def _running_frames() -> dict[int, int]:
    """How many references the frames on the threads' stacks hold to each code object, by its id."""
    count: Counter[int] = Counter()

    def add(frame: FrameType, _: int) -> None:
        count[id(frame.f_code)] += 1 if kind_of(frame.f_code) == "function" else _PER_GENERATOR

    visit_frames(add)
    return count


def _suspended(code: CodeType) -> int:
    """How many references the waiting coroutines of asyncio tasks hold to `code`: found through the event loops."""
    if kind_of(code) != "coroutine":
        return 0
    asyncio: Any = sys.modules.get("asyncio")
    if asyncio is None:
        return 0
    count = 0
    for loop in _event_loops(asyncio.base_events.BaseEventLoop.run_forever.__code__):
        for task in asyncio.all_tasks(loop):
            awaited: object = task.get_coro()
            while type(awaited) is CoroutineType:
                if awaited.cr_code is code and not awaited.cr_running:
                    count += _PER_GENERATOR
                awaited = awaited.cr_await
    return count


def _event_loops(run_forever: CodeType) -> list[object]:
    """The event loops that run in any thread, as their own frames know them."""
    loops: list[object] = []

    def add(frame: FrameType, _: int) -> None:
        if frame.f_code is run_forever:
            loops.append(frame.f_locals["self"])

    visit_frames(add)
    return loops
