"""Attributes that can be written at all, and wrappers in the place of callables without Python code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType, ModuleType
from typing import Any, cast

from livepatch.contents.changes import Target
from livepatch.engine.aliases import came_from
from livepatch.engine.commit import slot_of, value_of
from livepatch.engine.heap import referrers
from livepatch.engine.locate import Found, find, resolve
from livepatch.engine.namespaces import is_a, is_class, is_function, owner_name
from livepatch.engine.refusal import Refusal
from livepatch.engine.sweep import sweep

__all__ = ["Wrapped", "unwritable", "wrapped"]

_IMMUTABLE = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE
_STRUCTURAL = frozenset(
    [
        "__class__",
        "__bases__",
        "__base__",
        "__mro__",
        "__dict__",
        "__slots__",
        "__name__",
        "__qualname__",
        "__weakref__",
    ]
)


def unwritable(owner: ModuleType | type | None, name: str) -> Refusal | None:
    """Why an attribute of a class or module cannot be stored in one C-level step, or ``None``."""
    if is_class(owner):
        metaclass = type(owner)
        if owner.__flags__ & _IMMUTABLE:
            return Refusal(
                "immutable-type",
                f"{owner.__qualname__} is implemented natively and cannot be changed",
                "a class defined in Python",
                "change the code that uses it",
            )
        if metaclass.__setattr__ is not type.__setattr__ or metaclass.__delattr__ is not type.__delattr__:
            return Refusal(
                "metaclass-hooks-stores",
                f"{metaclass.__qualname__}, the metaclass of {owner.__qualname__}, has its own __setattr__",
                "a class whose attributes are stored plainly, as other threads could see half of a hooked store",
                "change the functions that use the attribute",
            )
        if name in _STRUCTURAL:
            return Refusal(
                "structural", f"{name} shapes the class", "an ordinary attribute", "restart with the changed class"
            )
    elif owner is not None and hasattr(getattr(type(owner), name, None), "__set__"):
        return Refusal(
            "module-hooks-stores",
            f"{type(owner).__qualname__}, the class of module {owner.__name__}, answers for {name} itself",
            "an attribute that the module's namespace holds",
            "change what the property reads",
        )
    return None


@dataclass(frozen=True, slots=True)
class Wrapped:
    """The places that a wrapper takes, as (owner, name, wrapper, label), and the holders that it does not reach.

    `unproved` are attributes that hold the callable too; `others` are holders that are no attributes.
    """

    places: tuple[tuple[ModuleType | type, str, object, str], ...]
    unproved: tuple[str, ...]
    others: tuple[str, ...]


def wrapped(target: Target, wrapper: Callable[..., Any], modules: dict[str, ModuleType]) -> Wrapped | Refusal:
    """Put `wrapper` around the native callable at `target`, wherever modules and classes name it.  Writes nothing."""
    import wrapt

    place = resolve(target, modules)
    if isinstance(place, Refusal):
        return place
    if place.owner is None:
        return Refusal("no-such-name", f"there is no {target}", "a callable that exists", "correct the name")
    if isinstance(find(target, modules), Found):
        return Refusal(
            "has-python-code",
            f"{target} has Python code",
            "a callable without",
            f"use replace({str(target)!r}), which reaches every alias",
        )
    native = value_of(slot_of(place.owner, place.name))
    if is_class(native):
        return Refusal("is-a-class", f"{target} is a class", "a function or method", "wrap one of its methods")
    if not callable(native) and not hasattr(type(native), "__get__"):
        return Refusal(
            "not-callable", f"{target} is {type(native).__qualname__}", "a callable", "use set() for a value"
        )
    refusal = unwritable(place.owner, place.name)
    if refusal is not None:
        return refusal
    around: Any = wrapt.FunctionWrapper(cast("Any", native), wrapper)
    places: list[tuple[ModuleType | type, str, object, str]] = [(place.owner, place.name, around, str(target))]
    elsewhere = []
    for owner, name in sweep(modules, values=[native]).aliases.get(id(native), ()):
        if (owner, name) == (place.owner, place.name):
            continue
        label = f"{owner_name(owner)}.{name}" if is_class(owner) else f"{owner_name(owner)}:{name}"
        if came_from(place, native, owner, name) and unwritable(owner, name) is None:
            places.append((owner, name, around, label))
        else:
            elsewhere.append(label)
    return Wrapped(tuple(places), tuple(sorted(elsewhere)), tuple(_other_holders(native, around)))


def _other_holders(native: object, around: object) -> list[str]:
    """What refers to the callable and is no namespace: containers, instances, defaults.  Walks the heap."""
    holders = referrers([native])
    ours = {id(holders), id(around)}
    described = {
        _describe(holder)
        for holder in holders
        if id(holder) not in ours
        and not is_a(holder, FrameType)
        and not type(holder).__module__.startswith("livepatch.")
        and not (type(holder) is dict and ("__name__" in holder or "__qualname__" in holder))
    }
    return sorted(described)[:10]


def _describe(holder: object) -> str:
    if is_function(holder):
        return f"a default of {holder.__module__}:{holder.__qualname__}"
    if is_a(holder, dict):
        return f"a dict of {len(holder)} entries"
    return f"a {type(holder).__module__}.{type(holder).__qualname__}"
