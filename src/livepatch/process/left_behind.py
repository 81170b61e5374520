"""Calls, and objects, that a switch has left on the other side."""

from __future__ import annotations

import collections
from types import CodeType

from livepatch.engine.code import nested_codes
from livepatch.engine.frames import InFlight, in_flight, is_referenced
from livepatch.engine.heap import bounded
from livepatch.engine.outliving import Outliving, told, unlike_objects
from livepatch.engine.stack import Layer, Slot, Stack, settled

__all__ = ["objects_left", "on_the_other_side"]


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


def objects_left(outliving: Outliving, max_pause: float | None) -> tuple[str, ...]:
    """The objects that the new side made and the old one cannot use, counted.  Walks the heap if there may be any.

    Nothing that fails here stands in the way of a revert: then it is told that they were not counted.
    """
    if not outliving.new:
        return ()
    try:
        with bounded(max_pause):
            return told(unlike_objects(outliving.new))
    except Exception as error:  # noqa: BLE001  # objects of any kind are looked at
        names = ", ".join(each.label for each in outliving.new)
        return (f"objects with another {names} than the code reads, not counted: {error}",)


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
