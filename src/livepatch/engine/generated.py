"""What ``dataclass`` and its like have made of a class attribute: the default of a parameter, and of a field.

A decorator that writes ``__init__`` for a class reads the defaults once.  A class attribute that gets another value
takes these along, in the class and in those that have it from there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from types import FunctionType

from livepatch.engine.default_values import plainly_same
from livepatch.engine.functions import defaults_of
from livepatch.engine.namespaces import is_function, namespace_of, with_subclasses
from livepatch.engine.places import slot_of
from livepatch.engine.refusal import Refusal
from livepatch.engine.stack import Slot

__all__ = ["Generated"]


class Generated:
    """The defaults that generated functions keep of class attributes that change, over all of a patch."""

    def __init__(self) -> None:
        self._wanted: dict[int, tuple[FunctionType, dict[str, object]]] = {}
        self._fields: dict[Slot, object] = {}
        self.classes: list[tuple[type, str]] = []
        """The classes of which objects take a default that changes, and its name."""

    def follow(self, cls: type, name: str, old: object, new: object) -> Refusal | None:
        """Let what was generated from an attribute of a class have the new value; or say what cannot.

        Nothing live is written to.
        """
        for each in with_subclasses(cls):
            if next((base for base in each.__mro__ if name in namespace_of(base)), None) is not cls:
                continue
            init = namespace_of(each).get("__init__")
            fields = namespace_of(each).get("__dataclass_fields__")
            field = fields.get(name) if type(fields) is dict else None
            if type(field) is dataclasses.Field:
                if not plainly_same(field.default, old):
                    return _another(f"the field {name} of {each.__module__}:{each.__qualname__}")
                self._fields[slot_of(field, "default", f"the field {name} of {each.__qualname__}")] = new
            generated = is_function(init) and init.__code__.co_filename.startswith("<")
            held = defaults_of(init) if is_function(init) and generated else {}
            if is_function(init) and name in held:
                if not plainly_same(held[name], old):
                    return _another(f"the parameter {name} of {each.__module__}:{each.__qualname__}.__init__")
                self._wanted.setdefault(id(init), (init, {}))[1][name] = new
                self.classes.append((each, name))
            elif generated and is_function(init) and name not in _parameters(init):
                continue  # a class variable
            elif type(field) is dataclasses.Field and field.init and _has_init(each):
                return _elsewhere(f"{each.__module__}:{each.__qualname__}", name)
        return None

    def writes(self) -> Iterator[tuple[Slot, object]]:
        """What is to be written."""
        yield from self._fields.items()
        for init, new in self._wanted.values():
            code, label = init.__code__, f"{init.__module__}:{init.__qualname__}"
            held = init.__defaults__ or ()
            names = code.co_varnames[code.co_argcount - len(held) : code.co_argcount]
            if not new.keys().isdisjoint(names):
                values = tuple(new.get(name, value) for name, value in zip(names, held, strict=True))
                yield slot_of(init, "__defaults__", f"{label}.__defaults__"), values
            by_keyword = init.__kwdefaults__ or {}
            if not new.keys().isdisjoint(by_keyword):
                both = {name: new.get(name, value) for name, value in by_keyword.items()}
                yield slot_of(init, "__kwdefaults__", f"{label}.__kwdefaults__"), both


def _parameters(init: FunctionType) -> tuple[str, ...]:
    code = init.__code__
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def _another(what: str) -> Refusal:
    return Refusal(
        "value-differs-from-before",
        f"{what} has another default than the class attribute",
        "a default that was made of the class attribute",
        "find out what has set it; leave it out with only=, or restart",
    )


def _has_init(cls: type) -> bool:
    """Whether the decorator was to write ``__init__``."""
    return bool(getattr(namespace_of(cls).get("__dataclass_params__"), "init", False))


def _elsewhere(cls: str, name: str) -> Refusal:
    return Refusal(
        "fields-changed",
        f"the field {name} of {cls} has another default, which its __init__ does not show",
        "a dataclass of the standard library, whose __init__ has the default of each field",
        "build with only= and without it, or restart",
    )
