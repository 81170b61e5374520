"""The whole heap: what can be found in no other way.

A walk stops every other thread for its duration (65 ms on four million objects), so nobody walks without need.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from livepatch.engine.functions import is_own
from livepatch.engine.namespaces import is_function, is_module, namespace_of
from livepatch.engine.stacks import visit_frames

__all__ = ["functions_of", "hidden_from_the_heap_walk", "instances_of", "locals_on_the_stacks", "reachable"]


def functions_of(module: ModuleType) -> Iterator[FunctionType]:
    """All live functions whose globals are the module's.  Looks through the whole heap; frozen objects by namespace."""
    namespace = vars(module)
    seen: set[int] = set()
    for referrer in gc.get_referrers(namespace):
        if is_function(referrer) and referrer.__globals__ is namespace and not is_own(referrer):
            seen.add(id(referrer))
            yield referrer
    if hidden_from_the_heap_walk():
        for reached in reachable(namespace, sys.modules):
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
    """What the variables of running functions hold."""
    held: list[object] = []
    visit_frames(lambda frame, _: held.extend(frame.f_locals.values()))
    return held


def instances_of(codes: list[CodeType], spaces: Iterable[dict[str, Any]], *, frozen: bool = True) -> list[FunctionType]:
    """All live functions that have one of these code objects.  Walks the whole heap.

    The search compares every reference with every argument, so for many codes it looks for the functions whose globals
    are one of the few `spaces` instead.  Objects are never listed without an argument: a tuple that another thread is
    still making must not get a second holder.  With `frozen`, what ``gc.freeze()`` hides is looked for too.
    """
    wanted = {id(code) for code in codes}
    homes = list({id(space): space for space in spaces}.values())
    candidates = gc.get_referrers(*codes) if len(codes) <= max(3, len(homes)) else gc.get_referrers(*homes)
    found = [item for item in candidates if type(item) is FunctionType and id(item.__code__) in wanted]
    if frozen and hidden_from_the_heap_walk():
        seen = {id(function) for function in found}
        roots = [sys.modules, *locals_on_the_stacks()]
        found += [
            item
            for item in reachable(*roots)
            if is_function(item) and id(item.__code__) in wanted and id(item) not in seen
        ]
    return found
