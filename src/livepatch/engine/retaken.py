"""Objects that took a value when they were made, and get the one that new objects get.  Nothing live is written to.

An object that still holds what the before side gives is written to; one that holds anything else keeps it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from livepatch.engine.counterparts import Sides
from livepatch.engine.graph import Comparison
from livepatch.engine.keepers import held_of
from livepatch.engine.locate import mangled
from livepatch.engine.namespaces import namespace_of
from livepatch.engine.pace import paced
from livepatch.engine.places import refuses_stores, slot_of
from livepatch.engine.stack import ABSENT, Slot

__all__ = ["Retaken"]


class Retaken:
    """The objects of a class that shall get another value of an attribute, and those that keep theirs.

    `but_for` are names of classes (``"module:Class"``) whose objects have it from elsewhere, `tops` the packages of
    which the source was read: a class of another that has its own ``__init__`` may set it, too.
    """

    def __init__(self, cls: type, name: str, but_for: Iterable[str], tops: Iterable[str]) -> None:
        self._cls, self._name = cls, mangled(name, cls.__name__)
        self._but_for, self._tops = frozenset(but_for), frozenset(tops)
        self._kinds: dict[type, bool] = {}
        self.left = 0
        """How many objects keep what they have."""

    def writes(
        self, objects: Iterable[object], old: object, sides: Sides, make: Callable[[], object], label: str
    ) -> list[tuple[Slot, object]]:
        """What is to be written, where `make` gives a value for each object; counts those that are left out."""
        found: list[tuple[Slot, object]] = []
        comparison = Comparison(sides, live=True, more=False)
        for each in paced(list(objects)):
            held = held_of(each, self._name)
            if held is ABSENT or (held is None and old is not None):
                self.left += self._is_elsewhere(each, held)
                continue
            slot = replace(slot_of(each, self._name, label), yields=True)
            if self._is_left(type(each)) or refuses_stores(slot) is not None or not comparison.holds(held, old):
                self.left += 1
            else:
                found.append((slot, make()))
        return found

    def holding(self, objects: Iterable[object]) -> int:
        """How many objects hold anything, and not what stands for nothing yet."""
        held = ((each, held_of(each, self._name)) for each in paced(list(objects)))
        return sum(self._is_elsewhere(each, value) if value is ABSENT else value is not None for each, value in held)

    def _is_elsewhere(self, each: object, held: object) -> bool:
        """Whether a descriptor may keep what the object itself lacks."""
        if held is not ABSENT:
            return False
        values = (namespace_of(base).get(self._name, ABSENT) for base in type(each).__mro__)
        found = next((value for value in values if value is not ABSENT), ABSENT)
        return found is not ABSENT and hasattr(type(found), "__get__")

    def _is_left(self, kind: type) -> bool:
        known = self._kinds.get(kind)
        if known is None:
            above = kind.__mro__[: kind.__mro__.index(self._cls)]
            known = self._kinds[kind] = any(
                f"{one.__module__}:{one.__qualname__}" in self._but_for
                or (str(one.__module__).partition(".")[0] not in self._tops and "__init__" in namespace_of(one))
                or self._name in namespace_of(one)
                for one in above
            )
        return known
