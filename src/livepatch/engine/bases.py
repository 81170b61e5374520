"""Whether a class can get other bases while it lives, found out without touching it."""

from __future__ import annotations

import gc
from collections.abc import Iterator

from livepatch.engine.anatomy import is_native
from livepatch.engine.namespaces import is_function, namespace_of, with_subclasses
from livepatch.engine.refusal import Refusal

__all__ = ["linear", "refuses_bases"]


def refuses_bases(kind: type, bases: tuple[type, ...]) -> Refusal | None:
    """Why the interpreter would not give a class those bases, or must not be asked to; ``None`` if it can."""
    hooked = next((each for base in (*kind.__bases__, *bases) for each in base.__mro__ if _hooks(each)), None)
    if hooked is not None:
        return _refusal(kind, f"{hooked.__qualname__} is told of its subclasses, so none can be made to try it")
    try:
        # The layout of the bases decides, not that of the class itself.
        trial = type.__new__(type(kind), kind.__name__, kind.__bases__, {"__slots__": ()})
        try:
            type.__setattr__(trial, "__bases__", bases)
        finally:
            del trial
            gc.collect(0)
    except TypeError as error:
        return _refusal(kind, str(error))
    if type(kind).mro is not type.mro:
        return _refusal(kind, f"{type(kind).__qualname__} orders its bases by its own rule")
    orders: dict[type, tuple[type, ...]] = {}
    for each in (kind, *_subclasses(kind)):
        parents = bases if each is kind else each.__bases__
        order = linear([list(orders.get(parent, parent.__mro__)) for parent in parents] + [list(parents)])
        if order is None:
            return _refusal(kind, f"the bases of {each.__qualname__} could not be put in order")
        orders[each] = (each, *order)
    return None


def _refusal(kind: type, found: str) -> Refusal:
    return Refusal(
        "bases-cannot-change",
        f"{kind.__module__}:{kind.__qualname__} cannot get other bases while it lives: {found}",
        "bases with the same layout of their objects",
        "restart with the fix",
    )


def _hooks(kind: type) -> bool:
    found = namespace_of(kind).get("__init_subclass__")
    if is_native(kind) or kind.__module__ == "typing":  # there it only looks at the subclass itself
        return False
    return is_function(found) or is_function(getattr(found, "__func__", None))


def _subclasses(kind: type) -> Iterator[type]:
    """All classes that derive from one, each after those that it derives from."""
    return iter(sorted(with_subclasses(kind)[1:], key=lambda each: len(each.__mro__)))


def linear(orders: list[list[type]]) -> list[type] | None:
    """The C3 linearization: bases merged so that each keeps its own order; ``None`` if there is none."""
    result: list[type] = []
    while orders := [order for order in orders if order]:
        heads = (order[0] for order in orders)
        head = next((h for h in heads if not any(h in order[1:] for order in orders)), None)
        if head is None:
            return None
        result.append(head)
        for order in orders:
            if order[0] is head:
                del order[0]
    return result
