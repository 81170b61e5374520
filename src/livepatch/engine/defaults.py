"""What objects that exist already have for an attribute that only a new ``__init__`` sets."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

__all__ = ["InitialValue", "attribute_default"]


class InitialValue:
    """A class attribute that gives each object without the attribute one of its own, once, when it is first read.

    It has no ``__set__``, so what an object holds itself is read past it.  Two threads that read at the same time get
    the same value.  An object that cannot hold it (no ``__dict__``) is without the attribute, as it was.
    """

    __slots__ = ("_make", "_name")

    def __init__(self, name: str, make: Callable[[object], object]) -> None:
        self._name, self._make = name, make

    def __get__(self, instance: object, owner: type | None = None) -> object:
        try:
            if instance is None:
                raise AttributeError
            names: dict[str, object] = object.__getattribute__(instance, "__dict__")
        except AttributeError:
            where = f"{type(instance).__name__!r} object" if instance is not None else f"type object {owner!r}"
            raise AttributeError(f"{where} has no attribute {self._name!r}") from None
        if self._name in names:
            return names[self._name]
        return names.setdefault(self._name, self._make(instance))


def attribute_default(name: str, value: object, make: FunctionType | None) -> object:
    """What a class holds under `name` for its instances.

    `make` gives a value for each object, which it is called with; ``None``: one value serves all.
    """
    if make is None and not hasattr(type(value), "__get__"):
        return value
    given: Any = make if make is not None else lambda _: value
    return InitialValue(name, given)
