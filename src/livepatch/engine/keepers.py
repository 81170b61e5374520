"""Objects that are kept by another object, which has what they lack."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

from livepatch.engine.heap import objects_of
from livepatch.engine.namespaces import namespace_of, with_subclasses
from livepatch.engine.pace import paced
from livepatch.engine.stack import ABSENT

__all__ = ["from_keeper", "held_of", "kept_objects", "objects_by_class"]


def objects_by_class(classes: Iterable[type]) -> dict[type, list[Any]]:
    """The live objects of each class and of those derived from it.  Walks the heap once."""
    families = {cls: with_subclasses(cls) for cls in classes}
    found: dict[int, list[Any]] = {id(each): [] for family in families.values() for each in family}
    for item in objects_of(*{id(each): each for family in families.values() for each in family}.values()):
        found[id(type(item))].append(item)
    return {cls: [item for each in family for item in found[id(each)]] for cls, family in families.items()}


def _objects(cls: type) -> list[Any]:
    return objects_by_class([cls])[cls]


def held_of(value: object, name: str) -> object:
    """What an object itself holds under a name, or ``ABSENT``; no code of its class is run."""
    if not any(name in namespace_of(base) for base in type(value).__mro__):
        # To ask for the dict has the interpreter make one, which from then on costs memory, and hides from the garbage
        # collector, and so from every search, what it holds.
        try:
            return cast("object", object.__getattribute__(value, name))
        except AttributeError:
            return ABSENT
    try:
        names: dict[str, object] = object.__getattribute__(value, "__dict__")
        if name in names:
            return names[name]
    except AttributeError:
        names = {}
    for base in type(value).__mro__:
        slot = namespace_of(base).get(name)
        if type(slot).__name__ == "member_descriptor":
            try:
                held: object = slot.__get__(value)  # type: ignore[union-attr]  # a slot's descriptor
            except AttributeError:
                return ABSENT
            return held
    return ABSENT


def kept_objects(cls: type, keeper: type, attribute: str) -> tuple[list[tuple[Any, Any]], int]:
    """The live objects of a class, each with the object of `keeper` that holds it as `attribute`.

    And how many there are that none holds.  Walks the heap once.
    """
    found = objects_by_class([cls, keeper])
    objects = found[cls]
    by_kept: dict[int, Any] = {}
    for each in paced(found[keeper]):
        held = held_of(each, attribute)
        if held is not ABSENT and held is not None:
            by_kept[id(held)] = each
    pairs = [(each, by_kept[id(each)]) for each in objects if id(each) in by_kept]
    return pairs, len(objects) - len(pairs)


def from_keeper(
    keeper: type, attribute: str, name: str, read: Callable[[object], object]
) -> Callable[[object], object]:
    """What gives an object that has come since what its keeper has.  Walks the heap, once for each such object."""

    def make(instance: object) -> object:
        for each in _objects(keeper):
            if held_of(each, attribute) is instance:
                return read(each)
        raise AttributeError(f"{type(instance).__name__!r} object has no attribute {name!r}")

    return make
