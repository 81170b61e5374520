"""Calls that a switch in one step has left on the other side."""

from __future__ import annotations

import collections
from types import CodeType

from livepatch.engine.code import nested_codes
from livepatch.engine.frames import InFlight, in_flight, is_referenced
from livepatch.engine.stack import Layer, Slot, Stack, settled

__all__ = ["on_the_other_side"]


def on_the_other_side(stack: Stack, layer: Layer) -> tuple[InFlight, ...]:
    """Calls that run code of this layer's functions, or of functions that those made, which no new call would get."""
    if layer.decides_by_call:
        return ()  # either side is the right one
    slots = [slot for slot in layer.values if slot.name == "__code__"]
    wanted = stack.wanted()
    held: collections.Counter[int] = collections.Counter()
    codes = _versions(stack, slots, held)
    for slot in slots:
        current = settled(wanted[slot], slot)
        for key in [id(current), *(id(nested) for nested in _nested(current))]:
            codes.pop(key, None)
    return in_flight([codes[key] for key in codes if is_referenced(codes, key, held[key])])


def _versions(stack: Stack, slots: list[Slot], held: collections.Counter[int]) -> dict[int, CodeType]:
    """Every code object that the slots may hold and those in it, by id; `held` counts who of us refers to each."""
    codes: dict[int, CodeType] = {}
    outer: dict[int, object] = {}
    for values in (stack.originals, *(other.values for other in stack.layers)):
        held.update(id(values[slot]) for slot in slots if slot in values)
        outer.update((id(values[slot]), values[slot]) for slot in slots if slot in values)
    for code in outer.values():
        held.update(id(nested) for nested in _nested(code))
        codes.update((id(each), each) for each in (code, *_nested(code)) if isinstance(each, CodeType))
    return codes


def _nested(code: object) -> list[CodeType]:
    return list(nested_codes(code)) if isinstance(code, CodeType) else []
