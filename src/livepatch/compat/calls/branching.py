"""Instructions that iterate, jump, handle errors, enter contexts, and match patterns."""

from __future__ import annotations

from livepatch.compat.calls.calling import yield_from  # 3.15 has one instruction for both
from livepatch.compat.calls.machine import NULL, Machine, register
from livepatch.compat.calls.opcodes import CODES, VERSION
from livepatch.compat.calls.operating import display, truth

__all__: list[str] = []

# Iteration and jumps

_PAIRED = 1 if VERSION >= (3, 15) else 0
"""Slots that an iterator takes beside its own."""


def _get_iter(machine: Machine, argument: int) -> None:
    if _PAIRED and argument:
        yield_from(machine, argument)
    else:
        source = machine.pop()
        machine.program.iterated(machine.unit, machine.offset, source, machine.push_new(), "__iter__")
    if _PAIRED:
        machine.stack.append(NULL)


def _get_aiter(machine: Machine, argument: int) -> None:
    source = machine.pop()
    machine.program.iterated(machine.unit, machine.offset, source, machine.push_new(), "__aiter__")


def _for_iter(machine: Machine, argument: int) -> None:
    stack, silent = machine.stack, machine.program.silent
    target = machine.following + 2 * argument
    if VERSION < (3, 12):
        machine.jump(target, stack[:-1])
    else:
        machine.jump(target, [*stack, silent])
    source = machine.node(stack[-1 - _PAIRED]) if len(stack) > _PAIRED else silent
    machine.program.next_of(machine.unit, machine.offset, source, machine.push_new(), "__next__")


def _end_for(machine: Machine, argument: int) -> None:
    machine.pop_slots(2 if VERSION < (3, 13) else 1)


def _pop_iter(machine: Machine, argument: int) -> None:
    machine.pop_slots(1 + _PAIRED)


def _jump_forward(machine: Machine, argument: int) -> None:
    machine.jump(machine.following + 2 * argument)
    machine.ended = True


def _jump_backward(machine: Machine, argument: int) -> None:
    machine.jump(machine.following - 2 * argument)
    machine.ended = True


def _branch(sign: int, *, asks: bool) -> object:
    def handler(machine: Machine, argument: int) -> None:
        slot = machine.pop_slot()
        if asks:
            truth(machine, machine.node(slot))
        machine.jump(machine.following + 2 * sign * argument)

    return handler


def _branch_or_pop(machine: Machine, argument: int) -> None:
    if machine.stack:
        truth(machine, machine.node(machine.stack[-1]))
    machine.jump(machine.following + 2 * argument)
    machine.pop_slot()


# Errors, contexts and patterns


def _with(machine: Machine, enter: str, leave: str) -> None:
    context = machine.pop()
    program, unit, offset = machine.program, machine.unit, machine.offset
    program.special(unit, offset, context, leave, (program.silent,) * 3, how="context")
    machine.stack.append(program.silent)
    program.special(unit, offset, context, enter, (), machine.push_new(), how="context")


def _before_with(machine: Machine, argument: int) -> None:
    _with(machine, "__enter__", "__exit__")


def _before_async_with(machine: Machine, argument: int) -> None:
    _with(machine, "__aenter__", "__aexit__")


def _push_exception(machine: Machine, argument: int) -> None:
    error = machine.pop_slot()
    machine.stack += (machine.program.silent, error)


def _check_match(machine: Machine, argument: int) -> None:
    kind = machine.pop()
    if machine.stack:
        caught = machine.flow.node()
        machine.program.caught(kind, caught)
        machine.stack[-1] = caught
    machine.stack.append(machine.program.boolean)


def _leave_async_loop(machine: Machine, argument: int) -> None:
    machine.pop_slots(2)


def _with_except(machine: Machine, argument: int) -> None:
    machine.stack.append(machine.program.boolean)


def _match_flag(machine: Machine, argument: int) -> None:
    machine.stack.append(machine.program.boolean)


def _match_class(machine: Machine, argument: int) -> None:
    names = machine.constant_of(machine.pop_slot())
    machine.pop_slot()
    subject = machine.pop()
    found = [machine.attribute(subject, n) for n in (names if type(names) is tuple else ())]
    box = display(machine, "tuple", found)
    machine.program.unknown_rest(box)


_HANDLERS: dict[object, str] = {
    _get_iter: "GET_ITER",
    _get_aiter: "GET_AITER",
    _for_iter: "FOR_ITER",
    _end_for: "END_FOR",
    _pop_iter: "POP_ITER",
    _jump_forward: "JUMP_FORWARD",
    _jump_backward: "JUMP_BACKWARD JUMP_BACKWARD_NO_INTERRUPT",
    _branch(1, asks=True): "POP_JUMP_IF_FALSE POP_JUMP_IF_TRUE POP_JUMP_FORWARD_IF_FALSE POP_JUMP_FORWARD_IF_TRUE",
    _branch(-1, asks=True): "POP_JUMP_BACKWARD_IF_FALSE POP_JUMP_BACKWARD_IF_TRUE",
    _branch(1, asks=False): "POP_JUMP_IF_NONE POP_JUMP_IF_NOT_NONE POP_JUMP_FORWARD_IF_NONE "
    "POP_JUMP_FORWARD_IF_NOT_NONE",
    _branch(-1, asks=False): "POP_JUMP_BACKWARD_IF_NONE POP_JUMP_BACKWARD_IF_NOT_NONE",
    _branch_or_pop: "JUMP_IF_FALSE_OR_POP JUMP_IF_TRUE_OR_POP",
    _before_with: "BEFORE_WITH",
    _before_async_with: "BEFORE_ASYNC_WITH",
    _push_exception: "PUSH_EXC_INFO",
    _check_match: "CHECK_EXC_MATCH CHECK_EG_MATCH",
    _leave_async_loop: "END_ASYNC_FOR",
    _with_except: "WITH_EXCEPT_START",
    _match_flag: "MATCH_MAPPING MATCH_SEQUENCE MATCH_KEYS GET_LEN",
    _match_class: "MATCH_CLASS",
}

for _handler, _codes in _HANDLERS.items():
    for _code in _codes.split():
        if _code in CODES:
            register(CODES[_code], _handler)  # type: ignore[arg-type]  # they are handlers
