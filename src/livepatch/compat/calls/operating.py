"""Instructions that stand for methods of types, and that build containers."""

from __future__ import annotations

from livepatch.compat.calls.containers import Container
from livepatch.compat.calls.machine import Machine, Slot, register
from livepatch.compat.calls.opcodes import CODES, OPERATORS, VERSION, swapped_of

__all__ = ["display", "truth"]

_COMPARISONS = ("__lt__", "__le__", "__eq__", "__ne__", "__gt__", "__ge__")
_COMPARE_SHIFT = 5 if VERSION >= (3, 13) else 4 if VERSION >= (3, 12) else 0


# Operators


def _binary(machine: Machine, argument: int) -> None:
    right_slot, left = machine.pop_slot(), machine.pop()
    own, method, reflected = OPERATORS[argument]
    if method == "__getitem__":
        _subscript(machine, left, right_slot)
        return
    machine.program.operation(
        machine.unit, machine.offset, left, machine.node(right_slot), machine.push_new(), (own, method, reflected)
    )


def _binary_subscript(machine: Machine, argument: int) -> None:
    key = machine.pop_slot()
    _subscript(machine, machine.pop(), key)


def _subscript(machine: Machine, box: int, key: Slot) -> None:
    machine.program.item(machine.unit, machine.offset, box, _key(machine, key), machine.node(key), machine.push_new())


def _key(machine: Machine, slot: Slot) -> object:
    """The value of a key that is known, else ``None``."""
    value = machine.constant_of(slot)
    if slot == machine.program.part or type(value) is slice:
        return slice
    if value is None and isinstance(slot, int):
        value = machine.program.number_of(slot)
    return value if type(value) in {str, int, bytes} else None


def _slice(machine: Machine, argument: int) -> None:
    machine.pop_slots(2)
    box = machine.pop()
    machine.program.item(machine.unit, machine.offset, box, slice, machine.program.silent, machine.push_new())


def _store_subscript(machine: Machine, argument: int) -> None:
    key, box, value = machine.pop_slot(), machine.pop(), machine.pop()
    shown = _key(machine, key)
    if box in machine.displays and shown is not None:
        machine.flow.copy(value, machine.displays[box].item(shown))
        return
    machine.program.store_item(machine.unit, machine.offset, box, shown, machine.node(key), value)


def _store_slice(machine: Machine, argument: int) -> None:
    machine.pop_slots(2)
    box, value = machine.pop(), machine.pop()
    machine.program.extend(machine.unit, machine.offset, box, value)


def _delete_subscript(machine: Machine, argument: int) -> None:
    key, box = machine.pop(), machine.pop()
    machine.program.special(machine.unit, machine.offset, box, "__delitem__", (key,))


def _delete_attribute(machine: Machine, argument: int) -> None:
    box = machine.pop()
    machine.program.delete_attribute(machine.unit, machine.offset, box, machine.names[argument])


def _compare(machine: Machine, argument: int) -> None:
    right, left = machine.pop(), machine.pop()
    name = _COMPARISONS[(argument >> _COMPARE_SHIFT) % 6]
    program, unit, offset = machine.program, machine.unit, machine.offset
    program.special(unit, offset, left, name, (right,))
    program.special(unit, offset, right, swapped_of(name), (left,))
    machine.stack.append(program.boolean)


def _contains(machine: Machine, argument: int) -> None:
    box, value = machine.pop(), machine.pop()
    machine.program.special(machine.unit, machine.offset, box, "__contains__", (value,))
    machine.stack.append(machine.program.boolean)


def _is(machine: Machine, argument: int) -> None:
    machine.pop_slots(2)
    machine.stack.append(machine.program.boolean)


def _unary(name: str) -> object:
    def handler(machine: Machine, argument: int) -> None:
        value = machine.pop()
        dest = machine.push_new()
        machine.program.special(machine.unit, machine.offset, value, name, (), dest)

    return handler


def truth(machine: Machine, value: int) -> None:
    """Note that a value is asked whether it is true."""
    machine.program.special(machine.unit, machine.offset, value, "__bool__", ())


def _to_bool(machine: Machine, argument: int) -> None:
    truth(machine, machine.pop())
    machine.stack.append(machine.program.boolean)


def _format(machine: Machine, argument: int) -> None:
    if argument & 4:
        machine.pop_slot()
    value = machine.pop()
    if value not in machine.program.plain:
        way = {1: "__str__", 2: "__repr__", 3: "__repr__"}.get(argument & 3, "__format__")
        machine.program.special(machine.unit, machine.offset, value, way, ())
    machine.stack.append(machine.program.text)


def _format_simple(machine: Machine, argument: int) -> None:
    _format(machine, 0)


def _format_with(machine: Machine, argument: int) -> None:
    _format(machine, 4)


def _convert(machine: Machine, argument: int) -> None:
    _format(machine, argument & 3)


def _build_text(machine: Machine, argument: int) -> None:
    slots = machine.pop_slots(argument)
    first = machine.constant_of(slots[0]) if slots else None
    machine.stack.append(machine.program.prefixed(first) if type(first) is str else machine.program.text)


# Containers

_TYPES: dict[str, type] = {"tuple": tuple, "list": list, "dict": dict, "set": set}


def display(machine: Machine, kind: str, nodes: list[int]) -> Container:
    """Put a new container on the stack, with what is in it."""
    box = Container(machine.program, kind)
    box.native = _TYPES[kind]
    node = machine.push_new()
    machine.flow.add(node, box)
    machine.displays[node] = box
    for i, item in enumerate(nodes):
        box.items[i] = item
    return box


def _build_tuple(machine: Machine, argument: int) -> None:
    display(machine, "tuple", machine.pop_many(argument))


def _build_list(machine: Machine, argument: int) -> None:
    display(machine, "list", machine.pop_many(argument))


def _build_set(machine: Machine, argument: int) -> None:
    display(machine, "set", machine.pop_many(argument))


def _build_map(machine: Machine, argument: int) -> None:
    slots = machine.pop_slots(2 * argument)
    box = display(machine, "dict", [])
    for key, value in zip(slots[::2], slots[1::2], strict=True):
        _put(machine, box, key, machine.node(value))


def _put(machine: Machine, box: Container, key: Slot, value: int) -> None:
    known = _key(machine, key)
    if known is None:
        machine.flow.copy(value, box.rest())
        machine.flow.copy(machine.node(key), box.keys_node())
    else:
        machine.flow.copy(value, box.item(known))


def _build_constant_map(machine: Machine, argument: int) -> None:
    keys = machine.constant_of(machine.pop_slot())
    nodes = machine.pop_many(argument)
    box = display(machine, "dict", [])
    for key, node in zip(keys if type(keys) is tuple else (), nodes, strict=False):
        machine.flow.copy(node, box.item(key))


def _build_slice(machine: Machine, argument: int) -> None:
    machine.pop_slots(argument)
    machine.stack.append(machine.program.part)


def _at(machine: Machine, depth: int) -> int:
    stack = machine.stack
    return machine.node(stack[-depth]) if depth <= len(stack) else machine.program.silent


def _append(machine: Machine, argument: int) -> None:
    value = machine.pop()
    box = machine.displays.get(_at(machine, argument))
    if box is not None:
        machine.flow.copy(value, box.rest())


def _extend(machine: Machine, argument: int) -> None:
    value = machine.pop()
    target = _at(machine, argument)
    given, box = machine.displays.get(value), machine.displays.get(target)
    if given is not None and box is not None and box.kind == "list" and not box.items:
        box.items.update(given.items)
        machine.flow.copy(given.rest(), box.rest())
    elif box is not None:
        machine.program.extend(machine.unit, machine.offset, target, value)
        machine.program.spreads.setdefault(box, []).append(value)


def _map_add(machine: Machine, argument: int) -> None:
    value = machine.pop()
    key = machine.pop_slot()
    box = machine.displays.get(_at(machine, argument))
    if box is not None:
        _put(machine, box, key, value)


def _merge(machine: Machine, argument: int) -> None:
    value = machine.pop()
    target = _at(machine, argument)
    box = machine.displays.get(target)
    if box is not None:
        machine.program.extend(machine.unit, machine.offset, target, value)
        machine.program.spreads.setdefault(box, []).append(value)


def _list_to_tuple(machine: Machine, argument: int) -> None:
    value = machine.pop()
    box = machine.displays.get(value)
    made = display(machine, "tuple", [])
    if box is not None:
        made.items = box.items
        machine.flow.copy(box.rest(), made.rest())
        machine.program.spreads[made] = machine.program.spreads.get(box, [])


def _unpack(machine: Machine, argument: int) -> None:
    source = machine.pop()
    nodes = [machine.flow.node() for _ in range(argument)]
    machine.stack += reversed(nodes)
    machine.program.unpack(machine.unit, machine.offset, source, nodes, -1)


def _unpack_rest(machine: Machine, argument: int) -> None:
    before, after = argument & 255, argument >> 8
    source = machine.pop()
    nodes = [machine.flow.node() for _ in range(before + 1 + after)]
    machine.stack += reversed(nodes)
    machine.program.unpack(machine.unit, machine.offset, source, nodes, before)


def _intrinsic(machine: Machine, argument: int) -> None:
    if argument == 2:
        machine.program.import_star(machine.unit, machine.pop())
        machine.stack.append(machine.program.silent)
    elif argument == 6:
        _list_to_tuple(machine, 0)
    elif argument == 5:
        value = machine.pop()
        machine.program.special(machine.unit, machine.offset, value, "__pos__", (), machine.push_new())
    elif argument in {3, 4}:  # as it was: an error, or what an async generator yields
        pass
    else:
        machine.pop_slot()
        machine.stack.append(machine.program.silent)


def _intrinsic_two(machine: Machine, argument: int) -> None:
    upper, lower = machine.pop_slot(), machine.pop_slot()
    machine.stack.append(lower if argument in {4, 5} else upper)


_HANDLERS: dict[object, str] = {
    _binary: "BINARY_OP",
    _binary_subscript: "BINARY_SUBSCR",
    _slice: "BINARY_SLICE",
    _store_subscript: "STORE_SUBSCR",
    _store_slice: "STORE_SLICE",
    _delete_subscript: "DELETE_SUBSCR",
    _delete_attribute: "DELETE_ATTR",
    _compare: "COMPARE_OP",
    _contains: "CONTAINS_OP",
    _is: "IS_OP",
    _unary("__neg__"): "UNARY_NEGATIVE",
    _unary("__pos__"): "UNARY_POSITIVE",
    _unary("__invert__"): "UNARY_INVERT",
    _to_bool: "UNARY_NOT TO_BOOL",
    _format: "FORMAT_VALUE",
    _format_simple: "FORMAT_SIMPLE",
    _format_with: "FORMAT_WITH_SPEC",
    _convert: "CONVERT_VALUE",
    _build_text: "BUILD_STRING",
    _build_tuple: "BUILD_TUPLE",
    _build_list: "BUILD_LIST",
    _build_set: "BUILD_SET",
    _build_map: "BUILD_MAP",
    _build_constant_map: "BUILD_CONST_KEY_MAP",
    _build_slice: "BUILD_SLICE",
    _append: "LIST_APPEND SET_ADD",
    _extend: "LIST_EXTEND SET_UPDATE",
    _map_add: "MAP_ADD",
    _merge: "DICT_MERGE DICT_UPDATE",
    _list_to_tuple: "LIST_TO_TUPLE",
    _unpack: "UNPACK_SEQUENCE",
    _unpack_rest: "UNPACK_EX",
    _intrinsic: "CALL_INTRINSIC_1",
    _intrinsic_two: "CALL_INTRINSIC_2",
}

for _handler, _codes in _HANDLERS.items():
    for _code in _codes.split():
        if _code in CODES:
            register(CODES[_code], _handler)  # type: ignore[arg-type]  # they are handlers
