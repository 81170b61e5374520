"""What of ours refers to code: so many references are no calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from types import CodeType, FunctionType

from livepatch.engine.choosing import Chosen
from livepatch.engine.functions import standing
from livepatch.engine.gauge import Gauge
from livepatch.engine.pace import breathe
from livepatch.engine.plan import Plan, State
from livepatch.engine.stack import SIDE, Choice, Stack, Write
from livepatch.engine.standins import watch_code
from livepatch.engine.units import epochs_at_work

__all__ = ["is_swapped", "quiet_gauge", "references_of"]


def quiet_gauge(state: State, planned: Plan) -> Gauge:
    """What shows whether a call of a function that `planned` changes, or a unit of work, is under way."""
    gauge = Gauge()
    known = references_of(
        (state.stack, planned.stack), planned.writes, (*state.choices.items(), *planned.choices.items())
    )
    breathe()
    functions = {write.slot.owner_id: write.slot for write in planned.writes if is_swapped(write, planned)}
    known.update(id(slot.owner.__code__) for slot in functions.values() if isinstance(slot.owner, FunctionType))
    for slot in functions.values():
        function = slot.owner
        if isinstance(function, FunctionType):
            watch_code(gauge, function.__code__, known[id(function.__code__)])
    gauge.epochs += epochs_at_work()
    return gauge


def is_swapped(write: Write, planned: Plan) -> bool:
    """Whether it is part of a side that a body can stand for: not if others have put code of their own there."""
    slot = write.slot
    ours = slot.kind == "function" and slot.name in SIDE
    return ours and not any(foreign.slot == slot.beside(SIDE[0])[0] for foreign in planned.foreign)


def references_of(
    stacks: Iterable[Stack],
    writes: Iterable[Write],
    choices: Iterable[tuple[tuple[object, Choice], Chosen]],
) -> Counter[int]:
    """How many references of ours there are to each value, by its id, for as long as all of these are held.

    Code refers to the code of the functions that it makes as well.
    """
    mappings = {id(m): m for stack in stacks for m in (stack.originals, *(layer.values for layer in stack.layers))}
    known = Counter(id(value) for mapping in mappings.values() for value in mapping.values())
    known.update(id(value) for write in writes for value in (write.before, write.after))
    known.update(map(id, standing()))
    for choice, made in {id(made): (key[1], made) for key, made in choices}.values():
        known[id(made.dispatch.code)] += 1
        for side in {id(side): side for side in (choice.otherwise, *(b.side for b in choice.branches))}.values():
            known.update(map(id, side))
    codes = [value for mapping in mappings.values() for value in mapping.values() if isinstance(value, CodeType)]
    constants: dict[int, tuple[object, ...]] = {}
    while codes:
        inside = codes.pop().co_consts
        if id(inside) not in constants:
            constants[id(inside)] = inside
            codes += [constant for constant in inside if isinstance(constant, CodeType)]
    for inside in constants.values():
        known.update(id(constant) for constant in inside if isinstance(constant, CodeType))
    return known
