"""Shadow variables that code reads in the plain way, as attributes: what a class holds for them.

Measured on CPython 3.11 to 3.13: reading what a first read has put into the object's own ``__dict__`` takes 25 to 50
ns, a ``__getattr__`` of the class 120 to 990 ns, so the class gets a descriptor.  It has no ``__set__``, so what an
object holds itself is read past it, and a class's own ``__getattr__`` and ``__getattribute__`` stay as they are.
Where objects have no ``__dict__`` to assign to, it is a property, the descriptor that the interpreter calls fastest.
"""

from __future__ import annotations

import ast
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from livepatch.contents.parsing import tree_of
from livepatch.engine.attached import Attached, has_weak_references
from livepatch.engine.expand import NewShadow
from livepatch.engine.heap import is_granted, is_unnoticed, pause_of_a_walk
from livepatch.engine.keepers import objects_by_class
from livepatch.engine.namespaces import with_subclasses
from livepatch.engine.refusal import Refusal
from livepatch.engine.stack import ABSENT, Slot, Stack
from livepatch.errors import counted

__all__ = [
    "Declared",
    "ShadowAttribute",
    "attached_by_name",
    "attribute_for",
    "declared",
    "names_attached",
    "what_is_attached",
]


@dataclass(frozen=True, slots=True)
class Declared:
    """A variable that is an attribute of a class.  `told` says in words what each object gets."""

    cls: weakref.ref[type]
    name: str
    label: str
    attached: Attached
    make: Callable[[object], object]
    told: str


class ShadowAttribute:
    """A class attribute that gives each object without the attribute a value of its own, once, when it is first read.

    `make` gives the value, and is called with the object.  The class itself has `of_class`, or is without it.
    """

    __slots__ = ("_make", "_name", "_of_class", "attached")

    def __init__(
        self, name: str, attached: Attached, make: Callable[[object], object], of_class: object = ABSENT
    ) -> None:
        self._name, self.attached, self._make, self._of_class = name, attached, make, of_class

    def __get__(self, instance: object, owner: type | None = None) -> object:
        if instance is None:
            if self._of_class is not ABSENT:
                return self._of_class
            raise AttributeError(f"type object {_name_of(owner)!r} has no attribute {self._name!r}")
        return self.attached.get_or_make(instance, self._make)


def _name_of(owner: type | None) -> str:
    return owner.__qualname__ if owner is not None else ""


def attribute_for(step: NewShadow, attached: Attached) -> object:
    """What the class shall hold so that its objects, and those of derived classes, have the attribute."""
    if step.owner.__dictoffset__ != 0 or issubclass(step.owner, type):
        return ShadowAttribute(step.name, attached, step.make, step.of_class)
    return _property(step.owner, step.name, attached, step.make)


def _property(cls: type, name: str, attached: Attached, make: Callable[[object], object]) -> property:
    """An attribute of objects that have no ``__dict__``."""
    entries, identity = attached.entries, id

    def get(self: Any) -> object:
        try:
            entry = entries[identity(self)]
            if entry() is self:
                return entry.value
        except KeyError:
            pass
        return attached.get_or_make(self, make)

    def get_held(self: Any) -> object:
        try:
            entry: Any = entries[identity(self)]
            if entry.held is self:
                return entry.value
        except (KeyError, AttributeError):  # the second of an object of a derived class, which is not held
            pass
        return attached.get_or_make(self, make)

    def put(self: Any, value: object) -> None:
        attached.put(self, value)

    def free(self: Any) -> None:
        if not attached.free(self):
            raise AttributeError(name)

    getter = get if has_weak_references(cls) else get_held
    getter.attached = attached  # type: ignore[attr-defined]  # how it is found again
    return property(getter, put, free)


def _attached_by(value: object) -> Attached | None:
    """What a class attribute attaches, if it is one of these."""
    found = value.attached if type(value) is ShadowAttribute else None
    if type(value) is property:
        found = getattr(value.fget, "attached", None)
    return found if type(found) is Attached else None


def declared(step: NewShadow, stack: Stack) -> tuple[Declared, object]:
    """A variable that a patch declares, and what the class shall hold for it.

    If a layer of the stack has one there already, and so is to be replaced, it goes on with what that has attached.
    """
    held = [value for layer in stack.layers for slot, value in layer.values.items() if _is_of(slot, step)]
    found = [attached for value in held if (attached := _attached_by(value)) is not None]
    attached = found[-1] if found else Attached(str(step.target), step.name)
    variable = Declared(weakref.ref(step.owner), step.name, str(step.target), attached, step.make, step.told)
    return variable, attribute_for(step, attached)


def _is_of(slot: Slot, step: NewShadow) -> bool:
    return slot.name == step.name and slot.owner is step.owner


def names_attached(text: str) -> tuple[str, ...]:
    """The names under which new code attaches values to objects by :data:`livepatch.shadow`, as far as it says them."""
    if "shadow" not in text:
        return ()
    try:
        tree = tree_of(text)
    except (SyntaxError, RecursionError):
        return ()  # a text that stands in brackets of its own, or deeper than can be followed
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Name(id="shadow")
                | ast.Attribute(value=ast.Name(id="livepatch"), attr="shadow")
                | ast.Attribute(value=ast.Attribute(value=ast.Name(id="livepatch"), attr="shadow"), attr="put"),
                args=[_, ast.Constant(value=str(name)), *_],
            ):
                found[name] = None
    return tuple(found)


def attached_by_name(names: Iterable[str]) -> Refusal:
    """What is told of a function that attaches values by name."""
    return Refusal(
        "shadow-variable",
        f"its code attaches by name, to whatever object it has at hand: {', '.join(names)}",
        "objects of any kind",
        "nothing: a revert takes it away again",
    )


def what_is_attached(variables: Iterable[Declared], *, count: bool) -> Iterator[tuple[str, Refusal]]:
    """What the variables will attach, in words; with `count`, to how many objects, if that can be known cheaply."""
    variables = list(variables)
    owners = [owner for each in variables if (owner := each.cls()) is not None]
    classes = len({id(each) for owner in owners for each in with_subclasses(owner)})
    cheap = count and bool(owners) and (is_unnoticed(classes) or is_granted(classes))
    objects = objects_by_class(dict.fromkeys(owners)) if cheap else {}
    for each in variables:
        owner = each.cls()
        if owner is None:
            continue
        many = ""
        if owner in objects:
            many = f"; there {'is' if len(objects[owner]) == 1 else 'are'} {counted(len(objects[owner]), 'object')} now"
        elif count:
            many = f"; not counted, as that takes a walk of about {pause_of_a_walk(classes) * 1e3:.0f} ms"
        yield (
            each.label,
            Refusal(
                "shadow-variable",
                f"each object gets {each.name} when it is first read: {each.told}{many}",
                "objects that lack the attribute",
                "nothing: a revert takes it away again",
            ),
        )
