"""Whose task it is: what asyncio's tasks wait in, found without a look through the heap.

asyncio is never imported here.  A process that has not imported it has no tasks.
"""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeGuard

from livepatch.engine.pace import breathe, paced
from livepatch.engine.stacks import visit_frames

if TYPE_CHECKING:
    import asyncio

__all__ = [
    "Awaited",
    "Owner",
    "Suspendable",
    "asyncio_tasks",
    "awaited_by",
    "code_of",
    "delegate_of",
    "frame_of",
    "is_running",
    "is_suspendable",
    "task_types",
    "thread_names",
]

Suspendable: TypeAlias = "GeneratorType[Any, Any, Any] | CoroutineType[Any, Any, Any] | AsyncGeneratorType[Any, Any]"

# By the id of the type: comparing or hashing a type would ask its metaclass, which may be somebody's own.
_PREFIX = {id(GeneratorType): "gi", id(CoroutineType): "cr", id(AsyncGeneratorType): "ag"}
_CODE = {kind: f"{prefix}_code" for kind, prefix in _PREFIX.items()}
_FRAME = {kind: f"{prefix}_frame" for kind, prefix in _PREFIX.items()}
_RUNNING = {kind: f"{prefix}_running" for kind, prefix in _PREFIX.items()}


def is_suspendable(value: object) -> TypeGuard[Suspendable]:
    """Whether it is a generator, coroutine or async generator, and no proxy that says so."""
    return id(type(value)) in _PREFIX


def code_of(item: Suspendable) -> CodeType:
    """Its code, also once it has ended."""
    code: CodeType = getattr(item, _CODE[id(type(item))])
    return code


def frame_of(item: Suspendable) -> FrameType | None:
    """Its frame, or None once it has ended."""
    frame: FrameType | None = getattr(item, _FRAME[id(type(item))])
    return frame


def is_running(item: Suspendable) -> bool:
    """Whether it is on a thread's stack.  An async generator says so too while it is suspended in an ``await``."""
    return bool(getattr(item, _RUNNING[id(type(item))]))


def awaited_by(item: object) -> Suspendable | None:
    """The next one of an await chain: what a suspended `item` delegates to, and None at the chain's end.

    A future ends the chain, and so does a task that is awaited: its coroutine belongs to that task.
    """
    left: Any = delegate_of(item) if is_suspendable(item) else _inside(item)
    for _ in range(_MOST_BETWEEN):
        if left is None or id(type(left)) in _PREFIX:
            break
        left = _inside(left)
    else:
        return None
    following: Suspendable | None = left
    return following


def delegate_of(item: Suspendable) -> object:
    """What a suspended `item` delegates to, whatever that is; None if it delegates to nothing, or runs.

    One that runs must not be asked: CPython 3.11 and 3.12 then take a count in its bytecode for the instruction after
    an ``await``, and answer with an address inside the bytecode (``_PyGen_yf``, until gh-111354).  Between the two
    looks at `item` stands no call, so no other thread resumes it meanwhile.
    """
    if type(item) is CoroutineType:
        return item.cr_await if item.cr_suspended else None
    if type(item) is GeneratorType:
        return item.gi_yieldfrom if item.gi_suspended else None
    asynchronous: Any = item
    if sys.version_info >= (3, 12):
        return asynchronous.ag_await if asynchronous.ag_suspended else None
    frame = asynchronous.ag_frame  # which has a caller while it runs
    return asynchronous.ag_await if frame is not None and frame.f_back is None else None


# What the interpreter makes around an awaitable, which is the first thing that it refers to.
_BETWEEN = frozenset({"coroutine_wrapper", "async_generator_asend", "async_generator_athrow", "anext_awaitable"})
_MOST_BETWEEN = 10


def _inside(item: object) -> object:
    """What something between two of a chain drives: of an object of somebody's own class, the only such thing in it."""
    kind = type(item)
    if kind.__module__ == "builtins":
        return next(iter(gc.get_referents(item)), None) if kind.__name__ in _BETWEEN else None
    if kind.__module__ == "_asyncio":
        return None
    held = gc.get_referents(item)
    held += [value for namespace in held if type(namespace) is dict for value in namespace.values()]
    driven = [inner for inner in held if is_suspendable(inner) or type(inner).__name__ in _BETWEEN]
    return driven[0] if len(driven) == 1 else None


@dataclass(frozen=True, slots=True)
class Owner:
    """A task, its name, and the name and id of the thread in which its loop runs (empty and None if unknown)."""

    task: asyncio.Task[Any]
    name: str
    thread: str
    ident: int | None


class Awaited(NamedTuple):
    """Something suspendable that a task waits in."""

    item: Suspendable
    owner: Owner


def asyncio_tasks(more: Iterable[object] = ()) -> dict[int, Awaited]:
    """What all tasks that are not done wait in, by the id of the coroutine, generator or async generator.

    That is each task's await chain from its own coroutine inwards, and then what the variables of those hold: a
    generator that a coroutine goes through is in no chain.  Of a chain that just runs, only the outermost is known, for
    the rest is on a thread's stack.  `more` are tasks found elsewhere.  From CPython 3.14 on, tasks are found through
    the running loops; until 3.13 through one registry, so also those of loops that stand still.

    The ids are those of living objects, as long as the answer is kept.  May be called from any thread.
    """
    loops = _running_loops()
    threads = {id(loop): ident for loop, ident in loops}
    names = thread_names()
    methods: dict[int, Callable[[Any, str], Any]] = {}
    found: dict[int, Awaited] = {}
    for task in _tasks([loop for loop, _ in loops], more):
        ask = methods.get(id(type(task))) or methods.setdefault(id(type(task)), _asking(type(task)))
        try:
            if ask(task, "done"):
                continue
            name, left = str(ask(task, "get_name")), ask(task, "get_coro")
            ident = threads.get(id(ask(task, "get_loop")))
        except Exception:  # noqa: BLE001, S112  # somebody's own kind of task may not know how to answer
            continue
        breathe()
        owner = Owner(task, name, "" if ident is None else names.get(ident, str(ident)), ident)
        step = left if is_suspendable(left) else awaited_by(left)
        while step is not None and id(step) not in found:
            found[id(step)] = Awaited(step, owner)
            step = awaited_by(step)
    for item, owner in paced(list(found.values())):
        _add_held(item, owner, found)
    return found


def _add_held(item: Suspendable, owner: Owner, found: dict[int, Awaited]) -> None:
    left: list[object] = [item]
    while left:
        for inner in gc.get_referents(left.pop()):
            if id(type(inner)) in _PREFIX and id(inner) not in found:
                found[id(inner)] = Awaited(inner, owner)
                left.append(inner)


def thread_names() -> dict[int, str]:
    """The names of the threads that `threading` knows, by their ids."""
    return {thread.ident: thread.name for thread in threading.enumerate() if thread.ident is not None}


# The tasks


def task_types() -> list[type]:
    """The types of tasks to look for in the heap, because no registry has those whose loop is not known."""
    tasks = sys.modules.get("asyncio.tasks")
    left: list[type] = [tasks.Task] if tasks is not None and sys.version_info >= (3, 14) else []
    found: dict[int, type] = {}
    while left:
        kind = left.pop()
        if id(kind) not in found:
            found[id(kind)] = kind
            left += type.__subclasses__(kind)
    return list(found.values())


def _tasks(loops: list[Any], more: Iterable[object]) -> Iterator[Any]:
    tasks = sys.modules.get("asyncio.tasks")
    if tasks is None:
        return
    found: dict[int, object] = {id(task): task for task in more}
    # An eager task that goes over to the others meanwhile must not be missed, so the eager ones come first.
    for registry in ("_eager_tasks", "_scheduled_tasks", "_all_tasks"):
        found.update((id(task), task) for task in _members(getattr(tasks, registry, ())))
    if sys.version_info >= (3, 14):
        for loop in loops:
            found.update((id(task), task) for task in tasks.all_tasks(loop))
    yield from found.values()


def _members(registry: Any) -> Iterator[object]:
    # A set is copied in one step, which going through a weak one is not: other threads add to it meanwhile.
    for entry in list(getattr(registry, "data", registry)):
        member = entry() if isinstance(entry, weakref.ref) else entry
        if member is not None:
            yield member


def _asking(kind: type) -> Callable[[Any, str], Any]:
    """How to ask a task of this type: by asyncio's own methods, also if a class of somebody's own has others."""
    tasks: Any = sys.modules["asyncio.tasks"]
    for known in (tasks.Task, getattr(tasks, "_PyTask", tasks.Task)):
        if issubclass(kind, known):
            own = known
            return lambda task, method: getattr(own, method)(task)
    return lambda task, method: getattr(task, method)()


# The loops

_LOOP_METHODS = frozenset({"run_forever", "run_until_complete"})


def _running_loops() -> list[tuple[Any, int | None]]:
    """The event loops that run, as the frames of asyncio know them, each with its thread's id.

    A loop that is not written in Python has no frames.  It is found if asyncio's runner runs it or if this thread asks;
    and from CPython 3.14 on, where a look changes nothing in a frame, if a variable of a running function holds it,
    which says nothing of its thread.
    """
    events: Any = sys.modules.get("asyncio.events")
    abstract = getattr(events, "AbstractEventLoop", None)
    if abstract is None:
        return []
    runner = getattr(sys.modules.get("asyncio.runners"), "Runner", None)
    run = None if runner is None else runner.run.__code__
    everywhere = sys.version_info >= (3, 14) and any(
        kind.__module__ != "asyncio.base_events" for kind in type.__subclasses__(abstract)
    )
    loops: dict[int, tuple[Any, int | None]] = {}

    def note(loop: object, ident: int | None) -> None:
        if issubclass(type(loop), abstract) and (ident is not None or id(loop) not in loops):
            loops[id(loop)] = (loop, ident)

    def look(frame: FrameType, ident: int) -> None:
        code = frame.f_code
        if code is run:
            note(getattr(frame.f_locals.get("self"), "_loop", None), ident)
        elif code.co_name in _LOOP_METHODS:
            note(frame.f_locals.get("self"), ident)
        elif everywhere:
            for value in list(frame.f_locals.values()):
                note(value, None)

    note(events._get_running_loop(), threading.get_ident())
    visit_frames(look)
    return list(loops.values())
