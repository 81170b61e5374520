"""Instructions that move values: between the stack, variables, attributes and namespaces."""

from __future__ import annotations

from livepatch.compat.calls.machine import NULL, Machine, Method, register, register_quick
from livepatch.compat.calls.opcodes import CODES, LOADS_NULL_FIRST, VERSION
from livepatch.compat.calls.uses import Store

__all__: list[str] = []


def _copy(machine: Machine, argument: int) -> None:
    stack = machine.stack
    slot = stack[-argument] if argument <= len(stack) else machine.program.silent
    stack.append(machine.node(slot) if isinstance(slot, Method) else slot)


def _swap(machine: Machine, argument: int) -> None:
    stack = machine.stack
    if argument <= len(stack):
        stack[-1], stack[-argument] = stack[-argument], stack[-1]


def _push_null(machine: Machine, argument: int) -> None:
    machine.stack.append(NULL)


def _silent(machine: Machine, argument: int) -> None:
    machine.stack.append(machine.program.silent)


# Constants and local variables


def _load_two(machine: Machine, argument: int) -> None:
    machine.stack += (machine.base + (argument >> 4), machine.base + (argument & 15))


def _store_fast(machine: Machine, argument: int) -> None:
    slot = machine.pop_slot()
    if isinstance(slot, int) and slot < 0 and machine.constant_of(slot) is None:
        return
    machine.flow.copy(machine.node(slot), machine.base + argument)


def _store_load(machine: Machine, argument: int) -> None:
    _store_fast(machine, argument >> 4)
    machine.stack.append(machine.base + (argument & 15))


def _store_two(machine: Machine, argument: int) -> None:
    _store_fast(machine, argument >> 4)
    _store_fast(machine, argument & 15)


def _load_small(machine: Machine, argument: int) -> None:
    machine.stack.append(machine.program.small(argument))


def _load_common(machine: Machine, argument: int) -> None:
    machine.stack.append(machine.program.common(argument))


# Names


def _load_global(machine: Machine, argument: int) -> None:
    node = machine.program.global_node(machine.unit.module, machine.names[argument >> 1])
    if not argument & 1:
        machine.stack.append(node)
    elif LOADS_NULL_FIRST:
        machine.stack += (NULL, node)
    else:
        machine.stack += (node, NULL)


def _load_name(machine: Machine, argument: int) -> None:
    machine.stack.append(machine.program.name_node(machine.unit, machine.names[argument]))


def _store_name(machine: Machine, argument: int) -> None:
    again = machine.in_loop()
    machine.program.bind_name(machine.unit, machine.names[argument], machine.pop(), again=again)


def _store_global(machine: Machine, argument: int) -> None:
    machine.program.store_global(machine.unit.module, machine.names[argument], machine.pop())


def _load_from_dict_or_global(machine: Machine, argument: int) -> None:
    machine.pop_slot()
    machine.stack.append(machine.program.enclosed_name(machine.unit, machine.names[argument]))


def _load_from_dict_or_cell(machine: Machine, argument: int) -> None:
    if VERSION > (3, 11):
        machine.pop_slot()
    node = machine.base + argument
    machine.stack.append(machine.program.class_name_or(machine.unit, machine.unit.locals[argument], node))


_IMPORT_SHIFT = 2 if VERSION >= (3, 15) else 0
"""Bits of the argument that say whether the import is lazy."""


def _import_name(machine: Machine, argument: int) -> None:
    wanted, level = machine.constant_of(machine.stack[-1]), machine.constant_of(machine.stack[-2])
    smaller = machine.program.number_of(machine.stack[-2]) if level is None else level
    machine.pop_slots(2)
    node = machine.program.imported(
        machine.unit,
        machine.offset,
        machine.names[argument >> _IMPORT_SHIFT],
        smaller if type(smaller) is int else 0,
        wanted if type(wanted) is tuple else (),
    )
    machine.stack.append(node)


def _import_from(machine: Machine, argument: int) -> None:
    source, name = machine.node(machine.stack[-1]), machine.names[argument]
    found = machine.program.imported_from(machine.unit, machine.offset, source, name)
    machine.stack.append(found if found >= 0 else machine.attribute(source, name))


def _import_star(machine: Machine, argument: int) -> None:
    machine.program.import_star(machine.unit, machine.pop())


# Attributes


def _load_method(machine: Machine, argument: int) -> None:
    receiver = machine.pop()
    machine.stack += (Method(receiver, machine.names[argument]), receiver)


def _load_attribute(machine: Machine, argument: int) -> None:
    if VERSION > (3, 11):
        if argument & 1:
            _load_method(machine, argument >> 1)
            return
        argument >>= 1
    name = machine.names[argument]
    receiver = machine.pop()
    machine.stack.append(machine.attribute(receiver, name))


def _store_attribute(machine: Machine, argument: int) -> None:
    receiver, value = machine.pop(), machine.pop()
    name = machine.names[argument]
    program = machine.program
    program.stored_names.add(name)
    machine.flow.attach(receiver, Store((program, machine.unit, machine.offset), name, value))


def _load_super(machine: Machine, argument: int) -> None:
    receiver, kind, called = machine.pop(), machine.pop(), machine.pop()
    name = machine.names[argument >> 2]
    found = machine.program.super_node(machine.unit, machine.offset, called, kind, receiver)
    if argument & 1:
        machine.stack += (Method(found, name), found)
    else:
        machine.stack.append(machine.attribute(found, name))


def _load_special(machine: Machine, argument: int) -> None:
    receiver = machine.pop()
    name = ("__enter__", "__exit__", "__aenter__", "__aexit__")[argument & 3]
    machine.stack += (Method(receiver, name, special=True), receiver)


def _build_class(machine: Machine, argument: int) -> None:
    machine.stack.append(machine.program.class_builder)


_NOTHING = (
    "NOP RESUME CACHE MAKE_CELL COPY_FREE_VARS PRECALL SETUP_ANNOTATIONS DELETE_FAST DELETE_DEREF "
    "DELETE_GLOBAL DELETE_NAME NOT_TAKEN ASYNC_GEN_WRAP EXIT_INIT_CHECK RESERVED"
)
_LOCALS = "LOAD_FAST LOAD_FAST_BORROW LOAD_FAST_CHECK LOAD_FAST_AND_CLEAR LOAD_DEREF LOAD_CLOSURE"
for _code in _NOTHING.split():
    if _code in CODES:
        register_quick(CODES[_code], "nothing")
for _code in _LOCALS.split():
    if _code in CODES:
        register_quick(CODES[_code], "local")
register_quick(CODES["LOAD_CONST"], "constant")
register_quick(CODES["LOAD_GLOBAL"], "global")
for _code in ("STORE_FAST", "STORE_DEREF"):
    register_quick(CODES[_code], "store")
for _code in ("POP_TOP", "POP_EXCEPT", "PRINT_EXPR"):
    if _code in CODES:
        register_quick(CODES[_code], "drop")

_HANDLERS = {
    _copy: "COPY",
    _swap: "SWAP",
    _push_null: "PUSH_NULL",
    _silent: "LOAD_ASSERTION_ERROR LOAD_LOCALS RETURN_GENERATOR",
    _load_two: "LOAD_FAST_LOAD_FAST LOAD_FAST_BORROW_LOAD_FAST_BORROW",
    _store_fast: "STORE_FAST STORE_DEREF",
    _store_load: "STORE_FAST_LOAD_FAST",
    _store_two: "STORE_FAST_STORE_FAST",
    _load_small: "LOAD_SMALL_INT",
    _load_common: "LOAD_COMMON_CONSTANT",
    _load_global: "LOAD_GLOBAL",
    _load_name: "LOAD_NAME",
    _store_name: "STORE_NAME",
    _store_global: "STORE_GLOBAL",
    _load_from_dict_or_global: "LOAD_FROM_DICT_OR_GLOBALS",
    _load_from_dict_or_cell: "LOAD_CLASSDEREF LOAD_FROM_DICT_OR_DEREF",
    _import_name: "IMPORT_NAME",
    _import_from: "IMPORT_FROM",
    _import_star: "IMPORT_STAR",
    _load_method: "LOAD_METHOD",
    _load_attribute: "LOAD_ATTR",
    _store_attribute: "STORE_ATTR",
    _load_super: "LOAD_SUPER_ATTR",
    _load_special: "LOAD_SPECIAL",
    _build_class: "LOAD_BUILD_CLASS",
}

for _handler, _codes in _HANDLERS.items():
    for _code in _codes.split():
        if _code in CODES:
            register(CODES[_code], _handler)
