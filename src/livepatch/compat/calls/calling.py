"""Instructions that call, make functions and classes, return, yield, and await."""

from __future__ import annotations

import inspect
from types import CodeType
from typing import TYPE_CHECKING

from livepatch.compat.calls.machine import NULL, Machine, Method, Slot, register
from livepatch.compat.calls.model import Use
from livepatch.compat.calls.opcodes import CODES, LOADS_NULL_FIRST, VERSION
from livepatch.compat.calls.uses import NONE, Arguments, Call, MethodCall, Special

if TYPE_CHECKING:
    from livepatch.compat.calls.objects import Function

__all__ = ["WAYS", "yield_from"]

WAYS: tuple[Use, ...] = ("other", "awaited", "iterated", "async-iterated", "entered", "async-entered")
"""What becomes of a call's value, by the number that a site keeps."""

_USES: dict[str, Use] = {
    "GET_AWAITABLE": "awaited",
    "GET_ITER": "iterated",
    "GET_YIELD_FROM_ITER": "iterated",
    "GET_AITER": "async-iterated",
    "BEFORE_WITH": "entered",
    "BEFORE_ASYNC_WITH": "async-entered",
}
_WAY_OF = [0] * 256
for _name, _use in _USES.items():
    if _name in CODES:
        _WAY_OF[CODES[_name]] = WAYS.index(_use)
_COPY, _LOAD_SPECIAL = CODES["COPY"], CODES.get("LOAD_SPECIAL", -1)
_IS_GENERATOR = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


def _way(machine: Machine) -> int:
    """What becomes of the value that the instruction gives."""
    raw, following = machine.raw, machine.following
    code = raw[following] if following < len(raw) else 0
    if code == _COPY and _LOAD_SPECIAL >= 0:
        after = following + 2
        if after + 1 < len(raw) and raw[after] == _LOAD_SPECIAL:
            return WAYS.index("entered" if raw[after + 1] < 2 else "async-entered")
    return _WAY_OF[code]


# Calls


def _call(machine: Machine, argument: int) -> None:
    keywords, machine.keywords = machine.keywords, ()
    lower, upper, *slots = machine.pop_slots(argument + 2)
    _place_call(machine, lower, upper, slots, keywords)


def _call_keywords(machine: Machine, argument: int) -> None:
    names = machine.constant_of(machine.pop_slot())
    machine.keywords = names if type(names) is tuple else ()
    _call(machine, argument)


def _keyword_names(machine: Machine, argument: int) -> None:
    names = machine.constants[argument]
    machine.keywords = names if type(names) is tuple else ()


def _place_call(machine: Machine, lower: Slot, upper: Slot, slots: list[Slot], keywords: tuple[str, ...]) -> None:
    decorates = False
    if isinstance(lower, Method):
        place_call(machine, lower, _arguments(machine, slots, keywords))
        return
    if lower == NULL:
        target = upper
    elif upper == NULL:
        target = lower
    else:
        target = lower
        decorates = not slots and lower not in machine.made
        slots = [upper, *slots]
    if target == machine.program.class_builder:
        machine.program.build_class(machine, slots, keywords)
        return
    if target == machine.program.silent:
        machine.stack.append(machine.program.silent)
        return
    place_call(machine, target, _arguments(machine, slots, keywords), "decorator" if decorates else "call")


def _arguments(machine: Machine, slots: list[Slot], keywords: tuple[str, ...]) -> Arguments:
    """What a call passes, the last ones under these names."""
    if not slots:
        return NONE
    nodes = machine.nodes(slots)
    if not keywords:
        return Arguments(tuple(nodes))
    count = len(nodes) - len(keywords)
    return Arguments(tuple(nodes[:count]), tuple(zip(keywords, nodes[count:], strict=True)))


def place_call(machine: Machine, target: Slot, args: Arguments, how: str = "call") -> None:
    """Note a call, and put its value on the stack."""
    dest = machine.push_new()
    program, unit = machine.program, machine.unit
    if isinstance(target, Method):
        receiver = target.receiver
        if receiver == program.silent:
            return
        if target.special:
            site: Call = Special(program, unit, machine.offset, dest, args, target.name, "context")
        else:
            site = MethodCall(program, unit, machine.offset, dest, args, target.name, "call", _way(machine))
        machine.flow.attach(receiver, site)
        program.asked.append(receiver)
        return
    node = machine.node(target)
    site = Call(program, unit, machine.offset, dest, args, "", how, _way(machine))
    machine.flow.attach(node, site)
    program.asked.append(node)


def _call_spread(machine: Machine, argument: int) -> None:
    double: Slot = NULL
    if VERSION >= (3, 14) or argument & 1:
        double = machine.pop_slot()
    star_slot = machine.pop_slot()
    star, written = machine.node(star_slot), machine.constant_of(star_slot)
    upper, lower = machine.pop_slot(), machine.pop_slot()
    target = upper if LOADS_NULL_FIRST else lower
    if target == NULL:
        target = lower if LOADS_NULL_FIRST else upper
    positional: tuple[int, ...] = ()
    box = machine.displays.get(star)
    if box is not None:
        positional = tuple(node for key, node in box.items.items() if type(key) is int)
    keywords: tuple[tuple[str, int], ...] = ()
    named = machine.displays.get(double) if isinstance(double, int) else None
    double_node = -1 if double == NULL else machine.node(double)
    spread = machine.program.spread_of(box, star)
    if type(written) is tuple:  # arguments that are constants, such as none at all
        positional, spread = tuple(map(machine.program.constant, written)), -1
    if named is not None:
        keywords = tuple((key, node) for key, node in named.items.items() if type(key) is str)
        double_node = machine.program.spread_of(named, double_node)
    place_call(machine, target, Arguments(positional, keywords, spread, double_node))


# Functions and classes


def _make_function(machine: Machine, argument: int) -> None:
    code = machine.constant_of(machine.pop_slot())
    parts: dict[int, Slot] = {}
    for flag in (8, 4, 2, 1):
        if VERSION < (3, 13) and argument & flag:
            parts[flag] = machine.pop_slot()
    node = machine.push_new()
    if not isinstance(code, CodeType):
        return
    function = machine.program.define(machine.unit, code, node)
    machine.made[node] = function
    for flag, part in parts.items():
        _equip(machine, function, flag, part)


def _set_function_attribute(machine: Machine, argument: int) -> None:
    slot = machine.pop_slot()
    part = machine.pop_slot()
    machine.stack.append(slot)
    function = machine.made.get(slot) if isinstance(slot, int) else None
    if function is not None:
        _equip(machine, function, argument, part)


def _equip(machine: Machine, function: Function, flag: int, slot: Slot) -> None:
    """Give a function its defaults or annotations."""
    texts = machine.constant_of(slot)
    if flag == 4 and type(texts) is tuple:
        for name, text in zip(texts[::2], texts[1::2], strict=False):
            machine.program.annotations.named(function, name, machine.program.constant(text))
        return
    part = machine.node(slot)
    box = machine.displays.get(part)
    if flag == 1 and box is not None:
        values = [node for key, node in box.items.items() if type(key) is int]
        first = function.code.co_argcount - len(values)
        for i, node in enumerate(values, first):
            machine.flow.copy(node, function.base + i)
    elif flag == 2 and box is not None:
        for name, node in box.items.items():
            target = function.parameter_named(str(name))
            if target >= 0:
                machine.flow.copy(node, target)
    elif flag == 4 and box is not None:
        items = list(box.items.values())
        for name_node, node in zip(items[::2], items[1::2], strict=False):
            machine.program.annotations.of_parameter(function, name_node, node)
    elif flag == 16 and part in machine.made:
        machine.program.annotations.later(function, machine.made[part])


# Ends


def _return(machine: Machine, argument: int) -> None:
    machine.ended = True
    slot = machine.pop_slot()
    if isinstance(slot, int) and slot < 0 and machine.constant_of(slot) is None:
        return
    node = machine.node(slot)
    machine.program.returns(machine.unit, node)


def _return_constant(machine: Machine, argument: int) -> None:
    machine.stack.append(-2 - argument)
    _return(machine, argument)


def _end(machine: Machine, argument: int) -> None:
    machine.ended = True


def _raise(machine: Machine, argument: int) -> None:
    nodes = machine.pop_many(argument)
    machine.ended = True
    if nodes:
        machine.program.raised(machine.unit, machine.offset, nodes[0])


# Generators and coroutines


def _yield(machine: Machine, argument: int) -> None:
    slot = machine.pop_slot()
    unit = machine.unit
    if unit.code.co_flags & _IS_GENERATOR and slot != machine.program.silent:
        machine.flow.copy(machine.node(slot), unit.yields)
    machine.stack.append(unit.program.sent(unit))


def _awaitable(machine: Machine, argument: int) -> None:
    source = machine.pop()
    machine.program.awaited(machine.unit, machine.offset, source, machine.push_new())


def yield_from(machine: Machine, argument: int) -> None:
    """``yield from`` what is on the stack."""
    source = machine.pop()
    machine.program.delegated(machine.unit, machine.offset, source, machine.push_new())


_FURTHER = 1 if VERSION >= (3, 15) else 0
"""Slots between a receiver of `SEND` and the value."""


def _send(machine: Machine, argument: int) -> None:
    machine.pop_slot()
    stack = machine.stack
    receiver = stack[-1 - _FURTHER] if len(stack) > _FURTHER else machine.program.silent
    there = list(stack)
    if VERSION < (3, 12) and there:
        there.pop()
    machine.jump(machine.following + 2 * argument, [*there, receiver])
    stack.append(machine.program.silent)


def _end_send(machine: Machine, argument: int) -> None:
    value = machine.pop_slot()
    machine.pop_slots(1 + _FURTHER)
    machine.stack.append(value)


def _get_anext(machine: Machine, argument: int) -> None:
    source = machine.node(machine.stack[-1]) if machine.stack else machine.program.silent
    machine.program.next_of(machine.unit, machine.offset, source, machine.push_new(), "__anext__")


_HANDLERS = {
    _call: "CALL",
    _call_keywords: "CALL_KW",
    _keyword_names: "KW_NAMES",
    _call_spread: "CALL_FUNCTION_EX",
    _make_function: "MAKE_FUNCTION",
    _set_function_attribute: "SET_FUNCTION_ATTRIBUTE",
    _return: "RETURN_VALUE",
    _return_constant: "RETURN_CONST",
    _end: "RERAISE INTERPRETER_EXIT",
    _raise: "RAISE_VARARGS",
    _yield: "YIELD_VALUE",
    _awaitable: "GET_AWAITABLE",
    yield_from: "GET_YIELD_FROM_ITER",
    _send: "SEND",
    _end_send: "END_SEND",
    _get_anext: "GET_ANEXT",
}

for _handler, _codes in _HANDLERS.items():
    for _code in _codes.split():
        if _code in CODES:
            register(CODES[_code], _handler)
