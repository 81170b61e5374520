"""The whole heap: what can be found in no other way.

A walk stops every other thread for its duration (65 ms on four million objects), so nobody walks without need, and
how long it will take is estimated first.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

from livepatch.engine.functions import is_own
from livepatch.engine.namespaces import is_function, is_module, namespace_of
from livepatch.engine.pace import breathe, paced
from livepatch.engine.stacks import visit_frames

__all__ = [
    "PauseTooLongError",
    "Walks",
    "bounded",
    "functions_of",
    "hidden_from_the_heap_walk",
    "instances_of",
    "is_unnoticed",
    "locals_on_the_stacks",
    "needed_walk",
    "pause_of_a_walk",
    "reachable",
    "referrers",
]


# The pause of a walk

# What a walk takes for each allocated block, and for each object looked for beside the first: the middle of what was
# measured on CPython 3.11 to 3.13 on heaps of lists, dicts, instances and strings (1 to 25 ns).  It only serves until
# the first walk of the process has been timed.
_SECONDS_A_BLOCK = 10e-9
_MORE_FOR_EACH = 0.1
_pace = [_SECONDS_A_BLOCK]

# The seconds that a walk may take which nothing asks for.
_UNNOTICED = 0.0015


class PauseTooLongError(Exception):
    """A walk would hold other threads up for longer than permitted.  It was not made."""

    def __init__(self, estimate: float, most: float) -> None:
        super().__init__(f"a heap walk of about {estimate * 1e3:.1f} ms, of at most {most * 1e3:g} ms")
        self.estimate, self.most = estimate, most


@dataclass(slots=True)
class Walks:
    """The walks of one piece of work: the longest that was needed, as estimated before it, and what all have taken.

    In seconds; with `most`, no longer one is made.
    """

    most: float | None = None
    estimate: float | None = None
    taken: float = 0.0


_walks: ContextVar[Walks | None] = ContextVar("_walks", default=None)


@contextmanager
def bounded(most: float | None) -> Iterator[Walks]:
    """Hold every walk inside to `most` seconds; a longer one raises :class:`PauseTooLongError`.  Count them all."""
    outer = _walks.get()
    inner = Walks(most if most is not None or outer is None else outer.most)
    token = _walks.set(inner)
    try:
        yield inner
    finally:
        _walks.reset(token)
        if outer is not None:
            outer.taken += inner.taken
            if inner.estimate is not None:
                outer.estimate = max(outer.estimate or 0.0, inner.estimate)


def pause_of_a_walk(targets: int = 1) -> float:
    """The seconds for which a walk that looks for so many objects will stop every other thread, about."""
    return sys.getallocatedblocks() * _pace[0] * (1 + _MORE_FOR_EACH * (targets - 1))


def is_unnoticed(targets: int = 1) -> bool:
    """Whether a walk would be so short that it may be made even if nothing asks for it."""
    walks = _walks.get()
    most = _UNNOTICED if walks is None or walks.most is None else min(_UNNOTICED, walks.most)
    return pause_of_a_walk(targets) <= most


def needed_walk(targets: int = 1) -> float:
    """Count in a walk that has to be made; give the seconds that it will take, as estimated.

    Raises :class:`PauseTooLongError` if a walk of that length is not permitted here.
    """
    estimate = pause_of_a_walk(targets)
    walks = _walks.get() or Walks()
    walks.estimate = max(walks.estimate or 0.0, estimate)
    if walks.most is not None and estimate > walks.most:
        raise PauseTooLongError(estimate, walks.most)
    return estimate


def referrers(*targets: object, needed: bool = True) -> list[Any]:
    """Everything that refers to one of `targets`: one walk through the whole heap.

    Raises :class:`PauseTooLongError` if a walk of that length is not permitted here.
    """
    estimate = needed_walk(len(targets)) if needed else pause_of_a_walk(len(targets))
    walks = _walks.get() or Walks()
    breathe(now=True)
    begun, worked = time.perf_counter(), time.thread_time()
    found = gc.get_referrers(*targets)
    taken, worked = time.perf_counter() - begun, time.thread_time() - worked
    breathe(now=True)
    walks.taken += taken
    # The average of what was known and what was seen, in processor time: a busy machine makes no heap larger.
    _pace[0] *= (1 + min(worked / estimate, 4.0)) / 2
    return [holder for holder in found if holder is not targets]


# Walks


def functions_of(module: ModuleType) -> Iterator[FunctionType]:
    """All live functions whose globals are the module's.  Looks through the whole heap; frozen objects by namespace."""
    namespace = vars(module)
    seen: set[int] = set()
    for referrer in referrers(namespace):
        if is_function(referrer) and referrer.__globals__ is namespace and not is_own(referrer):
            seen.add(id(referrer))
            yield referrer
    if hidden_from_the_heap_walk():
        for reached in paced(reachable(namespace, sys.modules)):
            if is_function(reached) and id(reached) not in seen and reached.__globals__ is namespace:
                yield reached


def hidden_from_the_heap_walk() -> bool:
    """Whether ``gc.freeze()`` has hidden objects.  CPython 3.12 freezes a few hundred of its own at start."""
    return gc.get_freeze_count() > (1_000 if sys.version_info[:2] == (3, 12) else 0)


def reachable(*roots: object) -> Iterator[object]:
    """Everything that references lead to from `roots`.  Finds what ``gc.freeze()`` hides from the heap walk."""
    seen: set[int] = set()
    stack: list[object] = list(roots)
    while stack:
        value = stack.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        # A native module's own traversal is not for us: that of CPython 3.12's _asyncio shows freed objects.
        inside = (namespace_of(value),) if is_module(value) else gc.get_referents(value)
        stack.extend(inner for inner in inside if gc.is_tracked(inner) and id(inner) not in seen)


def locals_on_the_stacks() -> list[object]:
    """What the variables of running functions hold, but for those that are just looking."""
    held: list[object] = []
    looking = visit_frames.__globals__

    def add(frame: FrameType, _: int) -> None:
        # The list must not come to hold itself, nor a frame: such a cycle keeps all the rest until a collection.
        if frame.f_globals is not globals() and frame.f_globals is not looking:
            held.extend(value for value in frame.f_locals.values() if type(value) is not FrameType)

    visit_frames(add)
    return held


def instances_of(codes: list[CodeType], spaces: Iterable[dict[str, Any]]) -> list[FunctionType]:
    """All live functions that have one of these code objects, but for frozen ones.  Walks the whole heap.

    The search compares every reference with every argument, so for many codes it looks for the functions whose globals
    are one of the few `spaces` instead.  Objects are never listed without an argument: a tuple that another thread is
    still making must not get a second holder.
    """
    wanted = {id(code) for code in codes}
    homes = list({id(space): space for space in spaces}.values())
    candidates = referrers(*codes) if len(codes) <= max(3, len(homes)) else referrers(*homes)
    return [item for item in paced(candidates) if type(item) is FunctionType and id(item.__code__) in wanted]
