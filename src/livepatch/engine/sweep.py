"""Who else holds it: copies of a function, aliases of a value, instances of a nested function, callers.

The first look goes through the namespaces of modules and classes, in steps between which other threads may run.  The
whole heap is walked only for code that has more holders than were found that way, because that walk stops every other
thread for its duration (65 ms on four million objects); unless it is so small that nobody would notice.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from types import CodeType, CoroutineType, FrameType, FunctionType, ModuleType
from typing import Any

from livepatch.engine import frozen
from livepatch.engine.code import kind_of
from livepatch.engine.functions import code_of, is_own
from livepatch.engine.heap import (
    UNNOTICED,
    PauseTooLongError,
    Walks,
    bounded,
    hidden_from_the_heap_walk,
    instances_of,
    is_unnoticed,
    pause_of_a_walk,
    referrers,
)
from livepatch.engine.namespaces import Piece, functions_behind, is_function, namespace_of, pieces
from livepatch.engine.pace import breathe, paced
from livepatch.engine.stacks import visit_frames
from livepatch.engine.tasks import delegate_of

__all__ = ["CallSite", "Swept", "sweep"]


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
    unsearched: list[str] = field(default_factory=list)
    """What the heap was not searched for, and why, in words.  Empty: no copy can be there that is not named here."""
    too_long: PauseTooLongError | None = None
    """Why a walk that was needed was not made."""

    @property
    def thorough(self) -> bool:
        """Whether nothing was left out."""
        return not self.unsearched


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
    max_pause: float | None = None,
) -> Swept:
    """Look for copies of `functions`, other names for `values`, instances of nested code `constants`.

    `callees` maps names to the objects that they should lead to, to find callers.  `held` says how many references to a
    code object, by its id, are the caller's own; `spaces` are the globals of the makers of `constants`.

    For copies only a small heap is walked, because tracebacks and suspended generators hold code as copies do; for
    instances of nested code any is, unless the look is made in `passing`.  A walk that would take longer than
    `max_pause` seconds is not made, and the answer says so.  Changes nothing.
    """
    found = Swept()
    functions, values = list(functions), list(values)
    primary = {id(code_of(f)): f for f in functions}
    by_name: dict[str, list[FunctionType]] = {}
    for function in primary.values():
        by_name.setdefault(function.__code__.co_qualname, []).append(function)
    wanted = {id(value) for value in values}
    known: dict[int, set[int]] = {}
    for function in functions:
        known.setdefault(id(function.__globals__), set()).add(id(function))
    if primary or wanted or callees:
        _look_through(modules, by_name, wanted, callees or {}, known, found)
    for function in functions:
        _add(found.copies, id(code_of(function)), function)
    walks = Walks()
    try:
        with bounded(max_pause) as walks:
            _look_for_what_a_reload_left(by_name, known, found)
            homes = [*spaces, *(function.__globals__ for function in functions)]
            _walk_if_needed(found, primary, constants or [], held or {}, homes, passing=passing)
    except PauseTooLongError as error:
        if max_pause is None:
            raise  # the bound of somebody further out, who does not look at what we return
        found.too_long = error
    found.walked = walks.taken or None
    return found


def _look_through(
    modules: Mapping[str, ModuleType],
    by_name: Mapping[str, list[FunctionType]],
    wanted: set[int],
    callees: Mapping[str, object],
    known: dict[int, set[int]],
    found: Swept,
) -> None:
    """Go through the namespaces.  `known` gets the ids of the functions whose globals are among its keys."""
    names = frozenset(callees)
    seen: set[int] = set()
    named: set[int] = set()
    for piece in pieces(modules):
        if not wanted.isdisjoint(map(id, piece.values)):
            _aliases(piece, wanted, named, found)
        if not (by_name or names):
            continue
        for function in _candidates(piece, by_name, names, known):
            if id(function) in seen:
                continue
            seen.add(id(function))
            if id(function.__globals__) in known:
                known[id(function.__globals__)].add(id(function))
            if function.__code__.co_qualname in by_name:
                breathe()
                _compare(function, by_name[function.__code__.co_qualname], found)
            if names and not names.isdisjoint(function.__code__.co_names):
                _calls(function, callees, found)


_dict_of, _globals_of = attrgetter("__dict__"), attrgetter("__globals__")
_qualname_of = attrgetter("__code__.co_qualname")


def _candidates(
    piece: Piece, by_name: Mapping[str, list[FunctionType]], names: frozenset[str], known: Mapping[int, set[int]]
) -> Iterator[FunctionType]:
    """The functions of a piece, if there can be one among them that is looked for."""
    functions = piece.functions
    for value in piece.holders:
        functions += functions_behind(value)
    if any(map(_dict_of, functions)):
        for function in [function for function in functions if vars(function)]:
            functions += functions_behind(function)
    if not (
        by_name.keys().isdisjoint(map(_qualname_of, functions))
        and known.keys().isdisjoint(map(id, map(_globals_of, functions)))
    ):
        yield from functions
    elif names:
        for function in functions:
            if not names.isdisjoint(function.__code__.co_names):
                yield function


def _aliases(piece: Piece, wanted: set[int], named: set[int], found: Swept) -> None:
    for owner in piece.owners:
        if id(owner) in named:
            continue  # a large namespace is in several pieces
        named.add(id(owner))
        for name, value in list(namespace_of(owner).items()):
            if id(value) in wanted:
                found.aliases.setdefault(id(value), []).append((owner, name))


def _compare(function: FunctionType, primaries: list[FunctionType], found: Swept) -> None:
    code = code_of(function)
    if is_own(function):
        return
    for primary in primaries:
        own = code_of(primary)
        if code is own or (code == own and code.co_filename == own.co_filename):
            _add(found.copies, id(own), function)
        elif function.__globals__ is primary.__globals__:
            _add(found.variants, id(own), function)


def _add(groups: dict[int, list[FunctionType]], key: int, function: FunctionType) -> None:
    group = groups.setdefault(key, [])
    if all(other is not function for other in group):
        group.append(function)


def _calls(function: FunctionType, callees: Mapping[str, object], found: Swept) -> None:
    for name in callees.keys() & set(function.__code__.co_names):
        callee = callees[name]
        held = function.__globals__.get(name)
        certain = held is not None and held is callee
        # livepatch calls nothing of a client's by a name that is only the same.
        if not certain and str(function.__globals__.get("__name__")).partition(".")[0] == "livepatch":
            continue
        found.calls.setdefault(name, []).append(CallSite(function, name, certain))


# The heap

# In more allocated blocks than these, copies of functions are not looked for: tracebacks and suspended generators hold
# code as copies do, and a walk for each of them would be too much.
_SMALL_HEAP = 2_000_000


def _holders(spaces: Mapping[int, dict[str, Any]], key: int) -> int:
    return sys.getrefcount(spaces[key])


def _holders_of_globals() -> int:
    """What is counted for the namespace of a module without functions."""
    module = ModuleType("module")
    return _holders({0: vars(module)}, 0)


_HOLDERS_OF_GLOBALS = _holders_of_globals()


def _look_for_what_a_reload_left(
    by_name: Mapping[str, list[FunctionType]], known: Mapping[int, set[int]], found: Swept
) -> None:
    """Functions of a former import have code of their own, and show in no count of it; but each holds its globals."""
    spaces = {id(f.__globals__): f.__globals__ for functions in by_name.values() for f in functions}
    for key in list(spaces):
        if _holders(spaces, key) <= _HOLDERS_OF_GLOBALS + len(known[key]):
            del spaces[key]
    if not spaces:
        return
    if not is_unnoticed(len(spaces)):
        found.unsearched.append(
            f"the globals of its functions, and a search for it would hold other threads for about "
            f"{pause_of_a_walk(len(spaces)) * 1e3:.1f} ms (up to {UNNOTICED * 1e3:g} ms it is made unasked)"
        )
        return
    for referrer in paced(referrers(list(spaces.values()), needed=False)):
        if is_function(referrer) and referrer.__code__.co_qualname in by_name and id(referrer.__globals__) in spaces:
            _compare(referrer, by_name[referrer.__code__.co_qualname], found)


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
_COUNTS = 5


def _walk_if_needed(
    found: Swept,
    primary: dict[int, FunctionType],
    constants: list[CodeType],
    held: Mapping[int, int],
    homes: list[dict[str, Any]],
    *,
    passing: bool,
) -> None:
    blocks = sys.getallocatedblocks()
    small = blocks < _SMALL_HEAP
    too_large = f"code of its functions, in a heap of {blocks:,} blocks (below {_SMALL_HEAP:,} it is searched for)"
    functions = list(primary.values())
    places = list(range(len(constants))) if small or not passing else []
    if len(places) < len(constants):
        found.unsearched.append(too_large)
    for count in range(_COUNTS):
        if not functions and not places:
            return
        # Only where more is to be explained are the tasks looked at, of which there may be thousands.
        codes = [f.__code__ for f in functions] + [constants[i] for i in places] if count else []
        tasks = any(kind_of(code) == "coroutine" for code in codes)
        codes.clear()
        explained = _Explained(held, tasks=tasks)
        functions = [f for f in functions if explained.leaves_function(f, found)]
        places = [i for i in places if explained.leaves_constant(constants, i)]
    if functions and not small:
        functions = []
        found.unsearched.append(too_large)
    if not functions and not places:
        return
    unexplained = [*(f.__code__ for f in functions), *(constants[i] for i in places)]
    instances = instances_of(unexplained, homes)
    if not passing and hidden_from_the_heap_walk():
        instances += frozen.find(unexplained)
    for function in instances:
        if not is_own(function):
            _add(found.copies, id(code_of(function)), function)


class _Explained:
    """The references to code objects that are explained at this moment.

    Whoever asks must hold no reference of their own: not even a variable.
    """

    def __init__(self, held: Mapping[int, int], *, tasks: bool) -> None:
        breathe(now=True)  # what follows should not be interrupted
        self._held = held
        self._suspended = _suspended_frames() if tasks else Counter[int]()
        self._running = _running_frames()

    def _at(self, key: int) -> int:
        return self._held.get(key, 0) + self._running[key] + self._suspended[key]

    def leaves_function(self, function: FunctionType, found: Swept) -> bool:
        key = id(code_of(function))
        same = sum(1 for copy in found.copies[key] if copy.__code__ is function.__code__)
        return _references(function) - _ONE_HOLDER + 1 - same > self._at(key)

    def leaves_constant(self, constants: list[CodeType], i: int) -> bool:
        return _references_at(constants, i) - _CONSTANT_HOLDERS > self._at(id(constants[i]))


# CPython 3.11 counts the code of a generator or coroutine twice: by the object and by its frame.
_PER_GENERATOR = 2 if sys.version_info < (3, 12) else 1


def _running_frames() -> Counter[int]:
    """How many references the frames on the threads' stacks hold to each code object, by its id."""
    count: Counter[int] = Counter()

    def add(frame: FrameType, _: int) -> None:
        count[id(frame.f_code)] += 1 if kind_of(frame.f_code) == "function" else _PER_GENERATOR

    visit_frames(add)
    return count


# Tasks looked at between two looks at the clock: few breaths, because what is counted comes and goes meanwhile.
_TASKS = 500


def _suspended_frames() -> Counter[int]:
    """How many references the waiting coroutines of asyncio tasks hold to each code object, by its id."""
    count: Counter[int] = Counter()
    asyncio: Any = sys.modules.get("asyncio")
    if asyncio is None:
        return count
    for loop in _event_loops(asyncio.base_events.BaseEventLoop.run_forever.__code__):
        for i, task in enumerate(asyncio.all_tasks(loop)):
            if not i % _TASKS:
                breathe()
            awaited: object = task.get_coro()
            while type(awaited) is CoroutineType:
                if not awaited.cr_running:
                    count[id(awaited.cr_code)] += _PER_GENERATOR
                awaited = delegate_of(awaited)
    return count


def _event_loops(run_forever: CodeType) -> list[object]:
    """The event loops that run in any thread, as their own frames know them."""
    loops: list[object] = []

    def add(frame: FrameType, _: int) -> None:
        if frame.f_code is run_forever:
            loops.append(frame.f_locals["self"])

    visit_frames(add)
    return loops
