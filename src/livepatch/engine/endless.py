"""Whether a frame can ever end by itself: by what its bytecode can reach from where it stands.

Only normal control flow counts.  ``while True: await step()`` is endless although a cancellation ends it, and so it is
with ``except CancelledError: return`` around it.  A ``raise`` that the function catches itself is a jump; one that it
does not catch is a failure, and no way out of a loop.  So a server loop that raises when its peer is gone is called
endless.  What is said here is advice (restart that task), and nothing that a switch may depend on.
"""

from __future__ import annotations

import dis
import sys
import threading
import weakref
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from itertools import pairwise
from types import CodeType
from typing import Any, NamedTuple

__all__ = ["Waiting", "is_endless", "is_readable"]


def is_endless(code: CodeType, lasti: int) -> bool:
    """Whether no normal control flow leads from the instruction at `lasti` (``f_lasti``, bytes) to the frame's end.

    A frame that has no loop before it ends, be it by a ``raise``.  An iterator in a ``for`` may run out, so that is a
    way out; so is one in an ``async for``.  False as well while the bytecode is not to be read.
    """
    return is_readable() and _is_endless(code, lasti)


def _is_endless(code: CodeType, lasti: int) -> bool:
    flow = _flow(code)
    at = bisect_right(flow.offsets, lasti) - 1
    return flow.offsets[max(at, 0)] in flow.endless


class Waiting:
    """Frames that wait for each other, from the innermost outwards: which of them never end.

    A function that never returns holds all that called it.  A coroutine or generator that never returns holds only who
    delegates to it, with ``await`` or ``yield from``; `passed_on` says that the innermost is beneath such a one.  None
    counts as endless where bytecode is not `readable`.
    """

    __slots__ = ("_held", "_readable", "passed_on")

    def __init__(self, *, passed_on: bool = False, readable: bool) -> None:
        self._held = False
        self._readable = readable
        self.passed_on = passed_on

    def outwards(self, code: CodeType, lasti: int) -> bool:
        """Go on to the next frame; whether it never ends."""
        endless = self._readable and _is_endless(code, lasti)
        blocked = self._held or (self.passed_on and _delegates(code, lasti))
        self._held = self._held or (endless and not code.co_flags & _RESUMABLE)
        # An endless async generator gives values to who awaits it; only while it waits itself does it hold that one.
        self.passed_on = blocked or (endless and not code.co_flags & CO_ASYNC_GENERATOR)
        return endless or blocked


_RESUMABLE = CO_COROUTINE | CO_GENERATOR | CO_ASYNC_GENERATOR


def is_readable() -> bool:
    """Whether bytecode may be read: no debugger, profiler or ``sys.monitoring`` tool is active.  To be asked once."""
    if sys.gettrace() or sys.getprofile() or threading.gettrace() or threading.getprofile():
        return False
    monitoring: Any = getattr(sys, "monitoring", None)  # CPython 3.12 and later
    return monitoring is None or all(monitoring.get_tool(tool) is None for tool in range(6))


@dataclass(frozen=True, slots=True)
class _Flow:
    """What was found out about one code object; `offsets` in bytes, in order, without inline caches."""

    offsets: list[int]
    endless: frozenset[int]
    delegating: frozenset[int]


# By the id of the code.  Only a weak reference, because it is by a code's reference count that a call's end is seen.
_KNOWN: dict[int, tuple[weakref.ref[CodeType], _Flow]] = {}
_MOST_KNOWN = 1_000


def _flow(code: CodeType) -> _Flow:
    known = _KNOWN.get(id(code))
    if known is not None and known[0]() is code:
        return known[1]
    flow = _read(code)
    if len(_KNOWN) >= _MOST_KNOWN:
        _KNOWN.clear()
    _KNOWN[id(code)] = (weakref.ref(code), flow)
    return flow


def _delegates(code: CodeType, lasti: int) -> bool:
    flow = _flow(code)
    return flow.offsets[max(bisect_right(flow.offsets, lasti) - 1, 0)] in flow.delegating


# A place in the flow: the offset of an instruction, and whether an exception that the function itself raised led there.
_Node = tuple[int, bool]

_OUT = frozenset({"RETURN_VALUE", "RETURN_CONST", "INTERPRETER_EXIT"})
_ALWAYS = frozenset({"JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT", "JUMP_ABSOLUTE"})
_ITERATING = frozenset({"FOR_ITER", "SEND"})
_JUMPS = frozenset({*dis.hasjrel, *dis.hasjabs})


class _Next(NamedTuple):
    """Where a place leads.  When `iterating` the last of `targets` is what follows when the iterator has run out."""

    targets: list[_Node]
    leaves: bool = False
    iterating: bool = False


def _read(code: CodeType) -> _Flow:
    bytecode: Any = dis.Bytecode(code)  # its table of handlers is not in the type stubs
    handlers = [(entry.start, entry.end, entry.target) for entry in bytecode.exception_entries]
    instructions = {instruction.offset: instruction for instruction in bytecode}
    offsets = list(instructions)
    after = dict(pairwise(offsets))
    async_for = {o for o, instruction in instructions.items() if instruction.opname == "END_ASYNC_FOR"}

    def handler(offset: int) -> int | None:
        return next((target for start, end, target in handlers if start <= offset < end), None)

    def next_of(node: _Node) -> _Next:
        offset, raised = node
        instruction = instructions[offset]
        name = instruction.opname
        if name in _OUT:
            return _Next([], leaves=True)
        if name == "RERAISE" or (name == "RAISE_VARARGS" and not instruction.arg):
            caught = handler(offset)
            # What is raised again is on its way out already, unless it began with a `raise` further up this path.
            return _Next([], leaves=not raised) if caught is None else _Next([(caught, raised)])
        if name == "RAISE_VARARGS":
            caught = handler(offset)
            return _Next([] if caught is None else [(caught, True)])
        if name == "WITH_EXCEPT_START" and raised:
            return _Next([])  # few context managers swallow an exception
        targets = []
        if name not in _ALWAYS and offset in after:
            targets.append(after[offset])
        if instruction.opcode in _JUMPS and offset not in async_for:
            targets.append(instruction.argval)
        iterating = name in _ITERATING
        caught = handler(offset) if async_for else None
        if caught in async_for:
            iterating = True
            targets.append(caught)
        return _Next([(target, raised) for target in targets], iterating=iterating)

    endless = _never_out([(offset, False) for offset in offsets], next_of)
    sends = [o for o, i in instructions.items() if i.opname == "SEND"]
    # A suspended frame stands on the yield between SEND and the jump back to it; from CPython 3.13 on, just behind it.
    delegating = {o for send in sends for o in (send, after[send], after[after[send]])}
    return _Flow(offsets, frozenset(offset for offset, raised in endless if not raised), frozenset(delegating))


def _never_out(roots: list[_Node], next_of: Callable[[_Node], _Next]) -> set[_Node]:
    """The places from which an endless path leads on, and no path out."""
    before: dict[_Node, list[_Node]] = {}
    lasting: dict[_Node, list[_Node]] = {}  # the same, with every iterator run out
    ways: dict[_Node, int] = {}
    out: list[_Node] = []
    left = list(roots)
    while left:
        node = left.pop()
        if node in ways:
            continue
        following = next_of(node)
        if following.leaves:
            out.append(node)
        for target in following.targets:
            before.setdefault(target, []).append(node)
            left.append(target)
        stays = following.targets[-1:] if following.iterating else following.targets
        for target in stays:
            lasting.setdefault(target, []).append(node)
        ways[node] = len(stays)
    leaving = _all_before(out, before)
    # What leads nowhere is peeled off until only what can go round for ever remains.
    ending = deque(node for node, count in ways.items() if not count)
    while ending:
        for previous in lasting.get(ending.popleft(), ()):
            ways[previous] -= 1
            if not ways[previous]:
                ending.append(previous)
    return {node for node, count in ways.items() if count and node not in leaving}


def _all_before(nodes: Iterable[_Node], before: dict[_Node, list[_Node]]) -> set[_Node]:
    reached = set(nodes)
    left = list(reached)
    while left:
        for previous in before.get(left.pop(), ()):
            if previous not in reached:
                reached.add(previous)
                left.append(previous)
    return reached
