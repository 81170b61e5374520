"""The whole heap: what can be found in no other way.

A walk stops every other thread for its duration (65 ms on four million objects), so nobody walks without need, and
how long it will take is estimated first.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
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
    "UNNOTICED",
    "PauseTooLongError",
    "Walks",
    "bounded",
    "functions_of",
    "hidden_from_the_heap_walk",
    "instances_of",
    "is_granted",
    "is_permitted",
    "is_unnoticed",
    "locals_on_the_stacks",
    "objects_of",
    "pause_of_a_walk",
    "permit",
    "reachable",
    "referrers",
]


# The pause of a walk

# What a walk takes for each allocated block, and for each object looked for beside the first: the middle of what was
# measured on CPython 3.11 to 3.13 on heaps of lists, dicts, instances and strings (1 to 25 ns), and the most (4 to 20
# percent).  The first only serves until the first walk of the process has been timed.
_SECONDS_A_BLOCK = 10e-9
_MORE_FOR_EACH = 0.2
_pace = [_SECONDS_A_BLOCK]

# How many times as long as the estimate other threads may be held: at first because some heaps are slower than the
# middle, later because a busy machine interrupts a walk, which passes.
_MARGIN = 2.5
_margin = [_MARGIN]
_learned_at: list[float] = []
_HALF = 60.0  # seconds after which half of what was learned of a busy machine is forgotten

UNNOTICED = 0.0015
"""The seconds that a walk may take which nothing asks for."""


class PauseTooLongError(Exception):
    """A walk would hold other threads up for longer than permitted.  It was not made."""

    def __init__(self, estimate: float, most: float) -> None:
        super().__init__(f"a heap walk of about {estimate * 1e3:.1f} ms, of at most {most * 1e3:g} ms")
        self.estimate, self.most = estimate, most


@dataclass(slots=True)
class Walks:
    """The walks of one piece of work; in seconds, but for their number.  With `most`, no longer one is made.

    `estimate` is for the longest that was needed, before it was made or refused.
    """

    most: float | None = None
    estimate: float | None = None
    longest: float = 0.0
    taken: float = 0.0
    """All of them together."""
    number: int = 0

    def add(self, other: Walks) -> None:
        """Count those of a part of the work."""
        self.longest = max(self.longest, other.longest)
        self.taken += other.taken
        self.number += other.number
        if other.estimate is not None:
            self.estimate = max(self.estimate or 0.0, other.estimate)


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
            outer.add(inner)


def pause_of_a_walk(targets: int = 1) -> float:
    """The seconds for which a walk that looks for so many objects will stop every other thread, about."""
    return sys.getallocatedblocks() * _pace[0] * (1 + _MORE_FOR_EACH * (targets - 1))


def _longer() -> float:
    """How many times as long as the estimate a walk may hold other threads now."""
    if not _learned_at:
        return _margin[0]
    return 1.0 + float((_margin[0] - 1.0) * 0.5 ** ((time.monotonic() - _learned_at[0]) / _HALF))


def is_unnoticed(targets: int = 1) -> bool:
    """Whether a walk would be so short that it may be made even if nothing asks for it."""
    return pause_of_a_walk(targets) <= UNNOTICED and is_permitted(targets)


def is_permitted(targets: int = 1) -> bool:
    """Whether a walk that looks for so many objects may be made here."""
    walks = _walks.get()
    return walks is None or walks.most is None or pause_of_a_walk(targets) * _longer() <= walks.most


def is_granted(targets: int = 1) -> bool:
    """Whether the caller has said how long a walk may be, and one that looks for so many objects is no longer."""
    walks = _walks.get()
    return walks is not None and walks.most is not None and is_permitted(targets)


def permit(targets: int = 1) -> float:
    """Count in a walk that has to be made; give the seconds for which it may hold other threads, as estimated.

    Raises :class:`PauseTooLongError` if a walk that looks for so many objects is not permitted here.
    """
    estimate = pause_of_a_walk(targets) * _longer()
    walks = _walks.get()
    if walks is None:
        return estimate
    walks.estimate = max(walks.estimate or 0.0, estimate)
    if walks.most is not None and not is_permitted(targets):
        raise PauseTooLongError(estimate, walks.most)
    return estimate


_AT_ONCE = 16  # objects looked for in one walk


def referrers(targets: Sequence[object], *, needed: bool = True) -> list[Any]:
    """Everything but this sequence that refers to one of `targets`, each once: a walk through the whole heap, or more.

    A walk compares every reference with every target, so many targets are several walks, with a breath between: as
    many as keep each within the pause that is permitted.  Raises :class:`PauseTooLongError` if not even a walk for one
    is.
    """
    found: dict[int, Any] = {}
    at_once = _AT_ONCE
    while at_once > 1 and not is_permitted(min(at_once, len(targets))):
        at_once //= 2
    for first in range(0, len(targets), at_once):
        some = tuple(targets[first : first + at_once])
        if needed:
            permit(len(some))
        for holder in _walk(some):
            if holder is not targets and holder is not some and holder is not found:
                found[id(holder)] = holder
    return list(found.values())


def _walk(targets: tuple[object, ...]) -> list[Any]:
    estimate = pause_of_a_walk(len(targets))
    breathe(now=True)
    begun, worked = time.perf_counter(), time.thread_time()
    found = gc.get_referrers(*targets)
    taken, worked = time.perf_counter() - begun, time.thread_time() - worked
    breathe(now=True)
    walks = _walks.get()
    if walks is not None:
        walks.add(Walks(longest=taken, taken=taken, number=1))
    # Up at once, and down by halves: a bound is kept rather than met.  The estimate is of processor time, for a busy
    # machine makes no heap larger; for how much longer it holds others there is the margin.
    _pace[0] *= _learned(1.0, worked / estimate)
    _margin[0] = _learned(_longer(), max(taken / worked, 1.0) if worked else 1.0)
    _learned_at[:] = [time.monotonic()]
    return found


def _learned(known: float, seen: float) -> float:
    return max(min(seen, 4.0), (known + seen) / 2)


def objects_of(*classes: type) -> list[Any]:
    """All live objects that are instances of one of these very classes, but for frozen ones.  Walks the heap."""
    kinds = {id(each) for each in classes}
    return [item for item in paced(referrers(classes)) if id(type(item)) in kinds] if kinds else []


# Walks


def functions_of(module: ModuleType) -> Iterator[FunctionType]:
    """All live functions whose globals are the module's.  Looks through the whole heap; frozen objects by namespace."""
    namespace = vars(module)
    seen: set[int] = set()
    for referrer in referrers([namespace]):
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
    candidates = referrers(codes if len(codes) <= max(3, len(homes)) else homes)
    return [item for item in paced(candidates) if type(item) is FunctionType and id(item.__code__) in wanted]
