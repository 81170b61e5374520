"""Calls in flight: frames that still run a given code, on threads' stacks or suspended."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from livepatch.engine import frozen
from livepatch.engine.endless import Waiting, is_readable
from livepatch.engine.heap import hidden_from_the_heap_walk, referrers
from livepatch.engine.pace import paced
from livepatch.engine.stacks import visit_frames
from livepatch.engine.tasks import (
    Awaited,
    Owner,
    Suspendable,
    asyncio_tasks,
    awaited_by,
    code_of,
    frame_of,
    is_running,
    is_suspendable,
    task_types,
    thread_names,
)

if TYPE_CHECKING:
    import asyncio

__all__ = ["InFlight", "Stuck", "in_flight", "is_nearby", "is_referenced", "nearby", "stuck"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """One frame: the function, where it stands, and what holds it (a thread, a task, the kind of suspended object).

    `thread` is the name of the thread on whose stack it is, or in whose event loop its asyncio task is; `task` is that
    task's name.  Each is empty if there is none.  An `endless` one ends by an exception only, such as a cancellation,
    for it or what it waits for is in a loop with no way out.  `since` says when the wait for it began.
    """

    function: str
    file: str
    line: int
    holder: str
    thread: str = ""
    task: str = ""
    endless: bool = False
    since: float | None = None

    def __str__(self) -> str:
        return f"{self.function} at {self.file}:{self.line} ({self.holder})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """A frame that never leaves by itself; its task, and the id of the thread that `where` names, if there is one."""

    where: InFlight
    task: asyncio.Task[Any] | None
    thread: int | None


def _references(codes: Mapping[int, CodeType], key: int) -> int:
    return sys.getrefcount(codes[key])


_ONLY_HERE = _references({0: compile("", "<livepatch>", "exec", dont_inherit=True)}, 0)


def is_referenced(codes: Mapping[int, CodeType], key: int, held: int) -> bool:
    """Whether anything else refers to ``codes[key]`` than `codes` itself and `held` references.  Constant time.

    A frame that runs the code does, so what is not referenced is not in flight.
    """
    return _references(codes, key) - _ONLY_HERE - held > 0


def in_flight(codes: Collection[CodeType]) -> tuple[InFlight, ...]:
    """All frames that run one of `codes`.  Looks through the stacks, the tasks, and once through the heap."""
    return tuple(seen.where for seen in _look(codes, heap=True))


def nearby(codes: Collection[CodeType]) -> tuple[InFlight, ...]:
    """Those of `in_flight` that are found without a walk through the heap: on the stacks, and through asyncio's tasks.

    What a task reaches is its await chain, and what the variables of the functions in that chain hold.
    """
    return tuple(seen.where for seen in _look(codes, heap=False))


def is_nearby(codes: Collection[CodeType]) -> bool:
    """Whether `nearby` has any: what each of them is, and whether it ends, is not asked."""
    return bool(_look(codes, heap=False, details=False))


def stuck(codes: Collection[CodeType]) -> list[Stuck]:
    """Those of `in_flight` that are endless: waiting for them is in vain, and their task or thread wants a restart."""
    return [seen for seen in _look(codes, heap=True) if seen.where.endless]


def _look(codes: Collection[CodeType], *, heap: bool, details: bool = True) -> list[Stuck]:
    """What is found, and without `details` no more than one of them.  Breathes: others work while it looks."""
    wanted = {id(code) for code in codes}
    if not wanted:
        return []
    # Whatever can be suspended is an object, and found first: what resumes meanwhile is met again on a stack, and what
    # is suspended meanwhile is still known.
    walked = list(_in_the_heap(codes, wanted)) if heap else []
    tasks = asyncio_tasks(item for item in walked if not is_suspendable(item))
    items = {id(item): item for item in walked if is_suspendable(item)}
    items.update((key, whose.item) for key, whose in paced(tasks.items()) if id(code_of(whose.item)) in wanted)
    del walked
    # The id of a frame stays its own as long as its generator, which is held here, has not ended.
    keys = {id(frame_of(item)): key for key, item in paced(items.items())}
    found = _on_the_stacks(wanted, keys, tasks)
    for place in found:
        items.pop(place.item, None)
    told = [place.told() for place in found]
    if told and not details:
        return told[:1]
    suspended = _suspended(items, tasks)
    return told + (list(suspended) if details else list(islice(suspended, 1)))


def _in_the_heap(codes: Collection[CodeType], wanted: Collection[int]) -> Iterator[object]:
    """What is suspendable and has one of `codes`; and tasks that only the heap knows."""
    types = {id(kind): kind for kind in task_types()}
    known = frozen.known()
    no_more = False
    # All objects are never listed: a tuple that another thread is still making must not get a second holder.
    targets: list[object] = [*codes, *types.values()]
    if known is not None:
        targets.append(known.sign)
    for item in referrers(targets):
        if is_suspendable(item):
            if id(code_of(item)) in wanted:
                yield item
        elif id(type(item)) in types:
            yield item
        elif known is not None and item is known.holder:
            no_more = True
    if hidden_from_the_heap_walk():
        if not no_more:
            frozen.find()
        known = frozen.known()
        assert known is not None
        for suspended in known.alive():
            if id(code_of(suspended)) in wanted:
                yield suspended


@dataclass(slots=True)
class _OnStack:
    """A frame on a thread's stack, in plain values; `item` is the id of its generator or coroutine, or 0."""

    function: str
    file: str
    line: int
    endless: bool
    item: int
    thread: str
    ident: int
    owner: Owner | None

    def told(self) -> Stuck:
        task = self.owner.name if self.owner else ""
        where = InFlight(
            function=self.function,
            file=self.file,
            line=self.line,
            holder=f"thread {self.thread}" + (f", task {task!r}" if self.owner else ""),
            thread=self.thread,
            task=task,
            endless=self.endless,
        )
        return Stuck(where=where, task=self.owner.task if self.owner else None, thread=self.ident)


def _on_the_stacks(wanted: Collection[int], keys: Mapping[int, int], tasks: Mapping[int, Awaited]) -> list[_OnStack]:
    """The wanted frames that run.  `keys` leads from the id of a generator's frame to that of the generator."""
    names = thread_names()
    running: dict[int, list[Awaited]] = {}
    for whose in paced(tasks.values()):
        if is_running(whose.item):
            running.setdefault(id(code_of(whose.item)), []).append(whose)
    found: list[_OnStack] = []
    thread: int | None = None
    callees: list[tuple[CodeType, int]] = []  # of this thread, and not yet asked
    taskless: list[_OnStack] = []
    readable = is_readable()
    waiting = Waiting(readable=readable)

    def visit(frame: FrameType, ident: int) -> None:
        nonlocal thread, waiting
        if ident != thread:
            thread, waiting = ident, Waiting(readable=readable)
            callees.clear()
            taskless.clear()
        code = frame.f_code
        if id(code) in wanted:
            for callee in callees:
                waiting.outwards(*callee)
            callees.clear()
            key = keys.get(id(frame), 0)
            place = _OnStack(
                function=code.co_qualname,
                file=code.co_filename,
                line=frame.f_lineno or 0,
                endless=waiting.outwards(code, frame.f_lasti),
                item=key,
                thread=names.get(ident, str(ident)),
                ident=ident,
                owner=tasks[key].owner if key in tasks else None,
            )
            found.append(place)
            taskless.append(place)
            owner = place.owner
        else:
            callees.append((code, frame.f_lasti))
            owner = None
        owner = owner or next((own for item, own in running.get(id(code), ()) if frame_of(item) is frame), None)
        if owner is not None:
            # A task's own coroutine runs here, so what it has called, and nothing else has claimed, is the task's.
            for place in taskless:
                place.owner = place.owner or owner
            taskless.clear()

    visit_frames(visit)
    return found


def _suspended(items: Mapping[int, Suspendable], tasks: Mapping[int, Awaited]) -> Iterator[Stuck]:
    """Those of the items that have not ended, which are on no stack."""
    known: dict[int, _Asked] = {}
    readable = is_readable()
    for key, item in paced(items.items()):
        endless = _never_ends(item, known, readable=readable)
        frame = frame_of(item)
        if frame is None:
            continue
        owner = tasks[key].owner if key in tasks else None
        where = InFlight(
            function=frame.f_code.co_qualname,
            file=frame.f_code.co_filename,
            line=frame.f_lineno or 0,
            holder=f"task {owner.name!r}" if owner else f"suspended {type(item).__name__}",
            thread=owner.thread if owner else "",
            task=owner.name if owner else "",
            endless=endless,
        )
        yield Stuck(where=where, task=owner.task if owner else None, thread=owner.ident if owner else None)


class _Asked(NamedTuple):
    item: Suspendable
    endless: bool
    passed_on: bool


def _never_ends(item: Suspendable, known: dict[int, _Asked], *, readable: bool) -> bool:
    """Whether `item` or what it awaits is endless.  `known` keeps the answers, for many may await the same."""
    chain: dict[int, Suspendable] = {}
    step: Suspendable | None = item
    while step is not None and id(step) not in known and id(step) not in chain:
        chain[id(step)] = step
        step = awaited_by(step)
    passed_on = step is not None and id(step) in known and known[id(step)].passed_on
    waiting = Waiting(passed_on=passed_on, readable=readable)
    for key in reversed(chain):
        frame = frame_of(chain[key])
        endless = frame is not None and waiting.outwards(frame.f_code, frame.f_lasti)
        del frame
        known[key] = _Asked(chain[key], endless, waiting.passed_on)
    return known[id(item)].endless
