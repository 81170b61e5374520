"""An abstract machine: one pass over the instructions of a code object, with nodes on the stack in place of values.

The machine only notes what may happen.  It follows each branch once, in the order of the code; where branches meet with
different values on the stack, both may be there.  An instruction that it does not know takes off the stack and puts on
it what `dis.stack_effect` says, with unknown values.
"""

from __future__ import annotations

import dis
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from livepatch.compat.calls.opcodes import LOADS_NULL_FIRST, REACH, loops, protected
from livepatch.compat.calls.world import UNKNOWN

if TYPE_CHECKING:
    from livepatch.compat.calls.containers import Container
    from livepatch.compat.calls.objects import Function
    from livepatch.compat.calls.program import Program

__all__ = ["NULL", "Handler", "Machine", "Method", "Slot", "register", "register_quick"]

NULL = -1
"""What lies in the empty slot of a call."""


class Method:
    """An attribute that is about to be called."""

    __slots__ = ("name", "receiver", "special")

    def __init__(self, receiver: int, name: str, *, special: bool = False) -> None:
        self.receiver = receiver
        self.name = name
        self.special = special


Slot = int | Method
"""What lies on the stack: a node, a constant of the code as ``-2 - index``, `NULL`, or a method."""

Handler = Callable[["Machine", int], None]
_handlers: list[Handler | None] = [None] * 256

_PUSHES_LOCAL, _PUSHES_CONSTANT, _DOES_NOTHING, _DROPS, _PUSHES_GLOBAL, _STORES_LOCAL = range(1, 7)
_QUICK = [0] * 256


def register(code: int, handler: Handler) -> None:
    """Let the handler see to an instruction."""
    _handlers[code] = handler


Quick = Literal["local", "constant", "nothing", "drop", "global", "store"]
_WAYS: dict[Quick, int] = {
    "local": _PUSHES_LOCAL,
    "constant": _PUSHES_CONSTANT,
    "nothing": _DOES_NOTHING,
    "drop": _DROPS,
    "global": _PUSHES_GLOBAL,
    "store": _STORES_LOCAL,
}


def register_quick(code: int, way: Quick) -> None:
    """Let the instruction put a local variable, a constant or a global on the stack, take one off, or do nothing.

    Those that put a global there or store a local variable need a handler, too, for what is seldom.
    """
    _QUICK[code] = _WAYS[way]


_NONE: dict[str, int] = {}


class Machine:
    """Reads one code object."""

    def __init__(self, program: Program, unit: Function) -> None:
        self.program = program
        self.flow = program.flow
        self.unit = unit
        self.code = unit.code
        self.names = self.code.co_names
        self.constants = self.code.co_consts
        self.raw = list(self.code.co_code)  # each look at the attribute makes new bytes; a list is quicker to index
        self.base = unit.base
        self.stack: list[Slot] = []
        self.offset = 0
        self.following = 0
        """The offset of the next instruction."""
        self.ended = False
        """Whether the instruction goes nowhere but where it jumps."""
        self.keywords: tuple[str, ...] = ()
        self.displays: dict[int, Container] = {}
        """The containers that were built here, by their nodes."""
        self.made: dict[int, Function] = {}
        """The functions that were made here, by their nodes."""
        self.caught = -1
        """The node of the error that is handled."""
        self._attributes: dict[tuple[int, str], int] = {}
        """The nodes of attributes that were read here, by the nodes that have them."""
        self._entry: dict[int, list[Slot]] = {}
        self._read = bytearray(len(self.raw))
        """What has been read: not zero where that is so."""
        self._begun = len(self.raw)
        """What lies from there to `offset` is being read."""
        self._left: list[int] = []
        self._protected: dict[int, list[tuple[int, int, bool]]] = {}
        self._marks: set[int] = set()
        self._loops: list[tuple[int, int]] | None = None

    # The stack

    def node(self, slot: Slot) -> int:
        """The node of what lies on the stack."""
        if isinstance(slot, Method):
            return self.method_node(slot)
        if slot >= 0:
            return slot
        if slot == NULL:
            return self.program.silent
        return self.program.constant(self.constants[-2 - slot])

    def method_node(self, method: Method) -> int:
        """An attribute that is not called after all."""
        return self.attribute(method.receiver, method.name)

    def attribute(self, receiver: int, name: str) -> int:
        """The node of an attribute; the same at each place of the code."""
        dest = self._attributes.get((receiver, name), -1)
        if dest < 0:
            dest = self._attributes[receiver, name] = self.program.read_attribute(
                self.unit, self.offset, receiver, name
            )
        return dest

    def pop(self) -> int:
        """Take the topmost value off."""
        if not self.stack:
            return self.program.silent
        slot = self.stack.pop()
        return slot if type(slot) is int and slot >= 0 else self.node(slot)

    def pop_slot(self) -> Slot:
        """Take the topmost slot off as it is."""
        return self.stack.pop() if self.stack else self.program.silent

    def nodes(self, slots: list[Slot]) -> list[int]:
        """The nodes of what lies on the stack."""
        return [slot if type(slot) is int and slot >= 0 else self.node(slot) for slot in slots]

    def pop_many(self, count: int) -> list[int]:
        """Take so many values off; the topmost last."""
        return self.nodes(self.pop_slots(count))

    def pop_slots(self, count: int) -> list[Slot]:
        """Take so many slots off as they are; the topmost last."""
        if not count:
            return []
        taken = self.stack[-count:]
        del self.stack[-count:]
        missing = count - len(taken)
        return [*([self.program.silent] * missing), *taken] if missing else taken

    def push_new(self) -> int:
        """Put a new node on."""
        made = self.flow.node()
        self.stack.append(made)
        return made

    def constant_of(self, slot: Slot) -> object:
        """The value of a slot that holds a constant, else ``None``."""
        if isinstance(slot, int) and slot < NULL:
            return self.constants[-2 - slot]
        return None

    # Where the code goes

    def jump(self, target: int, stack: list[Slot] | None = None) -> None:
        """Note that the code may go on there, with that stack."""
        stack = self.stack if stack is None else stack
        if self._read[target] or self._begun <= target <= self.offset:
            return
        there = self._entry.get(target)
        if there is None:
            self._entry[target] = list(stack)
            self._left.append(target)
            self._marks.add(target)
        elif there != stack:
            self._entry[target] = self._merged(there, stack)

    def _merged(self, one: list[Slot], other: list[Slot]) -> list[Slot]:
        merged: list[Slot] = []
        for a, b in zip(one, other, strict=False):
            if a == b or isinstance(a, Method) or isinstance(b, Method) or NULL in {a, b}:
                merged.append(a)
                continue
            both = self.flow.node()
            self.flow.copy(self.node(a), both)
            self.flow.copy(self.node(b), both)
            merged.append(both)
        return merged

    def run(self) -> None:
        """Read it all."""
        if self.code.co_exceptiontable:
            for start, target, depth, place in protected(self.code):
                self._protected.setdefault(start, []).append((target, depth, place))
                self._marks.add(start)
        if "setattr" in self.names:
            self.program.stored_names.update(text for text in self.constants if type(text) is str)
        self.jump(0)
        while self._left:
            self._left.sort(reverse=True)
            start = self._left.pop()
            if not self._read[start]:
                self.stack = self._entry.pop(start)
                end = self._straight_on(start)
                self._read[start:end] = b"\1" * (end - start)

    def _straight_on(self, offset: int) -> int:  # noqa: C901, PLR0912  # all instructions pass here: calls would tell
        """Read on until the code ends, or has been read.  The offset to which that is."""
        raw, marks, extended = self.raw, self._marks, 0
        size = len(raw)
        base, names, copy = self.base, self.names, self.flow.copy
        known = self.program.globals.get(self.unit.module, _NONE)
        stack = self.stack
        self.ended = False
        self._begun = offset
        while offset < size:
            if offset in marks:
                self.offset = offset
                if not self._arrive(offset):
                    break
                stack = self.stack
            op = raw[offset]
            argument = extended | raw[offset + 1]
            quick = _QUICK[op]  # four fifths of all instructions
            if quick:
                if quick == _PUSHES_LOCAL:
                    stack.append(base + argument)
                elif quick == _PUSHES_CONSTANT:
                    stack.append(-2 - argument)
                elif quick == _DROPS:
                    if stack:
                        stack.pop()
                elif quick == _PUSHES_GLOBAL:
                    node = known.get(names[argument >> 1], -1)
                    if node < 0:
                        quick = 0
                    elif not argument & 1:
                        stack.append(node)
                    elif LOADS_NULL_FIRST:
                        stack += (NULL, node)
                    else:
                        stack += (node, NULL)
                elif quick == _STORES_LOCAL:
                    slot = stack[-1] if stack else NULL
                    if type(slot) is int and slot >= 0:
                        copy(slot, base + argument)
                        stack.pop()
                    else:
                        quick = 0
            if quick:
                offset += REACH[op]
                extended = 0
                continue
            following = offset + REACH[op]
            handler = _handlers[op]
            extended = 0
            if handler is None:
                if dis.opname[op] == "EXTENDED_ARG":
                    extended = argument << 8
                else:
                    self._unknown(op, argument)
            else:
                self.offset, self.following = offset, following
                handler(self, argument)
                if self.ended:
                    return following
            offset = following
        return offset

    def _arrive(self, offset: int) -> bool:
        """Come to where branches meet or a protected part begins.  Whether to read on."""
        if self._read[offset]:
            return False
        there = self._entry.pop(offset, None)
        if there is not None and there != self.stack:
            self.stack = self._merged(there, self.stack)
        for target, depth, place in self._protected.get(offset, ()):
            program = self.program
            self.jump(target, [*self.stack[:depth], *([program.silent] if place else []), program.unknown])
        return True

    def _unknown(self, op: int, argument: int) -> None:
        effect = dis.stack_effect(op, argument if op >= dis.HAVE_ARGUMENT else None, jump=False)
        for _ in range(-effect):
            self.pop_slot()
        for _ in range(effect):
            self.stack.append(self.flow.holding(UNKNOWN))

    def in_loop(self) -> bool:
        """Whether the code may come to the instruction more than once."""
        if self._loops is None:
            self._loops = loops(self.code)
        return bool(self._loops) and any(begin <= self.offset <= end for begin, end in self._loops)
