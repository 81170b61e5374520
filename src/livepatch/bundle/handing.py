"""What statements hand to functions of the tree that call it: ``A = twice(f)``."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Literal

from livepatch.bundle.items import Item
from livepatch.bundle.receivers import Handed, parameter_of
from livepatch.bundle.refs import Ref

if TYPE_CHECKING:
    from livepatch.bundle.world import Trace, World

__all__ = ["called_by_others", "place_of"]

_HANDED_ON = 4
"""From how many functions to the next a thing is followed that is handed on."""


def called_by_others(world: World, item: Item) -> list[Ref]:
    """What the functions call that a statement hands it to."""
    base: Literal["", "scope"] = "scope" if item.scope else ""
    return [
        Ref((*handed.given, *rest), call=1, base=base)
        for handed in world.syntax.handed_over(item)
        for rest in _calls_given(world, world.follow(Ref(handed.called, base=base), item), handed, 0)
    ]


def _calls_given(world: World, called: Trace, handed: Handed, depth: int) -> list[tuple[str, ...]]:
    """What of that which it is handed a function calls itself, as names behind it."""
    found: list[tuple[str, ...]] = []
    for function in world.items(called.end) if called.kind == "function" and depth < _HANDED_ON else ():
        parameter = parameter_of(function.node, place_of(function, handed))
        if not parameter:
            continue
        found += [chain[1:] for chain in world.syntax.calls_in(function) if chain[0] == parameter]
        for inner in world.syntax.handed_over(function):
            if inner.given[0] == parameter:
                trace = world.follow(Ref(inner.called), function)
                found += [(*inner.given[1:], *rest) for rest in _calls_given(world, trace, inner, depth + 1)]
    return found


def place_of(function: Item, handed: Handed) -> int | str:
    """Which parameter of a function takes what it is handed."""
    place = handed.place
    if function.scope and isinstance(place, int):
        place += not any("static" in ast.unparse(d) for d in getattr(function.node, "decorator_list", ()))
    return place
