"""A patch's changes as single steps: class bodies and properties taken apart into the functions and names in them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FunctionType, MemberDescriptorType, ModuleType
from typing import Any

from livepatch.contents.changes import Addition, Assignment, Attachment, Change, Replacement, Target, Wrapping
from livepatch.contents.written import maker_of, told_default
from livepatch.engine.locate import mangled, resolve
from livepatch.engine.namespaces import (
    functions_behind,
    is_a,
    is_class,
    is_function,
    is_module,
    namespace_of,
    owner_name,
)
from livepatch.engine.refusal import Place, Refusal
from livepatch.engine.sides import NewSide
from livepatch.engine.stack import ABSENT
from livepatch.errors import spelled

__all__ = ["NewAttribute", "NewBody", "NewShadow", "Step", "ValueFor", "WrapperFor", "expand"]


@dataclass(frozen=True, slots=True)
class NewBody:
    """Another body for the function at `target`.  With a `side`, it is compiled already and its before side proved."""

    target: Target
    written: FunctionType
    expect: tuple[str, ...] = ()
    side: NewSide | None = None


@dataclass(frozen=True, slots=True)
class NewAttribute:
    """A name that `owner` lacks.  With `as_method`, its functions are compiled as methods of the class.

    One that `rebinds` is bound anew by the new code itself: what it is by then goes with the patch.
    """

    target: Target
    owner: ModuleType | type
    name: str
    value: object
    as_method: bool = False
    rebinds: bool = False


@dataclass(frozen=True, slots=True)
class NewShadow:
    """An attribute that objects of `owner` lack; `make` gives each its own, and `told` says in words what.

    A `fixed` one is never set but by what makes an object, so that no call relies on what another one left there.
    `of_class` is what the class itself shall answer with, if anything.
    """

    target: Target
    owner: type
    name: str
    make: Callable[[object], object]
    told: str
    fixed: bool = False
    of_class: object = ABSENT


@dataclass(frozen=True, slots=True)
class ValueFor:
    """Another value for an attribute that exists."""

    target: Target
    value: object


@dataclass(frozen=True, slots=True)
class WrapperFor:
    """A wrapper for a callable without Python code."""

    target: Target
    wrapper: Callable[..., Any]


Step = NewBody | NewAttribute | NewShadow | ValueFor | WrapperFor
Lacks = Callable[[type, str], bool]

# What every class body has, or the class machinery puts there, and no author means as a change.
_IGNORED = frozenset({
    "__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__firstlineno__", "__static_attributes__",
    "__classdictcell__", "__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__",
    "__conditional_annotations__", "__type_params__", "__parameters__", "__orig_bases__", "__abstractmethods__",
    "_abc_impl",
})  # fmt: skip


def expand(
    changes: tuple[Change, ...], modules: dict[str, ModuleType], lacks: Lacks
) -> Iterator[Step | tuple[Target, Refusal]]:
    """Each change as steps; one that cannot be made as its target and the reason.

    `lacks` says whether a class is without a name but for what patches brought.
    """
    for change in changes:
        if isinstance(change, Replacement):
            yield from _replacement(change, modules, lacks)
        elif isinstance(change, Addition):
            yield from _addition(change, modules)
        elif isinstance(change, Attachment):
            yield from _attachment(change, modules)
        elif isinstance(change, Assignment):
            yield ValueFor(change.target, change.value)
        elif isinstance(change, Wrapping):
            yield WrapperFor(change.target, change.wrapper)


def _replacement(
    change: Replacement, modules: dict[str, ModuleType], lacks: Lacks
) -> Iterator[Step | tuple[Target, Refusal]]:
    source = change.source
    if isinstance(source, type):
        yield from _class_body(change, source, modules, lacks)
        return
    place = resolve(change.target, modules)
    live = place.value if isinstance(place, Place) and place.owner is not None else ABSENT
    yield from _functions_of(change.target, source, live, change.expect)


_KINDS = (staticmethod, classmethod, property, functools.cached_property)


def _functions_of(
    target: Target, source: object, live: object, expect: tuple[str, ...]
) -> Iterator[Step | tuple[Target, Refusal]]:
    """The functions in a replacement, each for the like function in what is there."""
    if isinstance(source, FunctionType):
        yield NewBody(target, source, expect)
        return
    kind = next(kind for kind in _KINDS if isinstance(source, kind))
    if live is not ABSENT and not is_a(live, kind):
        yield (
            target,
            Refusal(
                "kind-changed",
                f"{target} is a {_kind_name(live)}, the replacement a {kind.__name__}",
                "the same kind of attribute",
                "keep the kind; its other face needs a restart",
            ),
        )
    elif isinstance(source, property):
        for accessor in ("fget", "fset", "fdel"):
            function = getattr(source, accessor)
            if isinstance(function, FunctionType):
                yield NewBody(Target(target.module, f"{target.qualname}.{accessor}"), function, expect)
    else:
        inner: Any = getattr(source, "func" if kind is functools.cached_property else "__func__")
        yield NewBody(target, inner, expect)


def _kind_name(value: object) -> str:
    return "plain method" if is_function(value) else type(value).__qualname__


def _class_body(
    change: Replacement, source: type, modules: dict[str, ModuleType], lacks: Lacks
) -> Iterator[Step | tuple[Target, Refusal]]:
    place = resolve(change.target, modules)
    if isinstance(place, Refusal):
        yield change.target, place
        return
    cls = place.value
    if place.owner is None or not is_class(cls):
        found = "nothing of that name" if place.owner is None else f"a {type(cls).__qualname__}"
        yield change.target, Refusal("not-a-class", found, "a class, because the replacement is one", "name the class")
        return
    strange = [base.__qualname__ for base in source.__bases__ if base is not object and base not in cls.__mro__]
    if strange:
        yield (
            change.target,
            Refusal(
                "bases-changed",
                f"the replacement derives from {', '.join(strange)}",
                f"no bases, or those of {cls.__qualname__}",
                "leave the bases out; another base needs a restart",
            ),
        )
    for name, value in vars(source).items():
        if name in _IGNORED or is_a(value, MemberDescriptorType):
            continue
        yield from _member(change, cls, source, name, value, modules, lacks)


def _member(
    change: Replacement, cls: type, source: type, name: str, value: object, modules: dict[str, ModuleType], lacks: Lacks
) -> Iterator[Step | tuple[Target, Refusal]]:
    prefix = mangled("__", source.__name__)
    plain = name[len(prefix) - 2 :] if name.startswith(prefix) and prefix != "__" else name
    attribute = mangled(plain, cls.__name__)
    target = Target(change.target.module, f"{change.target.qualname}.{plain}")
    live = ABSENT if lacks(cls, attribute) else namespace_of(cls).get(attribute, ABSENT)
    if name == "__slots__":
        if live != value:
            yield (
                target,
                Refusal("slots-changed", "other __slots__", "the slots that instances have", "needs a restart"),
            )
    elif name == "__hash__" and value is None and "__eq__" in namespace_of(cls):
        return  # comes along with an __eq__ in any class body; the class decides for itself
    elif _is_decorated(source, value):
        yield target, _DECORATED
    elif live is ABSENT:
        yield NewAttribute(target, cls, attribute, value, as_method=True)
    elif is_a(value, property) and is_a(live, property):
        lacking = [a for a in ("fget", "fset", "fdel") if getattr(value, a) and not getattr(live, a)]
        if lacking:
            yield (
                target,
                Refusal(
                    "no-such-accessor",
                    f"the property has no {', '.join(lacking)}",
                    "accessors that exist",
                    f"replace those that exist, or put a property with more in its place with set({str(target)!r}, …)",
                ),
            )
        else:
            yield from _functions_of(target, value, live, change.expect)
    elif is_class(value) and is_class(live):
        yield from _class_body(Replacement(target, value, change.expect), value, modules, lacks)
    elif is_a(value, FunctionType, *_KINDS):
        yield from _functions_of(target, value, live, change.expect)
    else:
        yield ValueFor(target, value)


_DECORATED = Refusal(
    "decorated",
    "a decorated function in the class body of the replacement",
    "plain functions, perhaps as staticmethod, classmethod, property or cached_property",
    "leave the decorator out: a target keeps its own; bring in what is new and decorated with add()",
)


def _is_decorated(source: type, value: object) -> bool:
    """Whether a member is a function of the class body under a decorator other than those that say its kind."""
    if is_function(value):
        return "__wrapped__" in vars(value)
    return not is_a(value, *_KINDS) and any(_written_in(source, f) for f in functions_behind(value))


def _written_in(source: type, function: FunctionType) -> bool:
    """Whether a function was defined in the class body itself."""
    return (
        function.__code__.co_qualname.startswith(f"{source.__qualname__}.") and function.__module__ == source.__module__
    )


def _addition(change: Addition, modules: dict[str, ModuleType]) -> Iterator[Step | tuple[Target, Refusal]]:
    place = resolve(change.owner, modules)
    if isinstance(place, Refusal):
        yield change.owner, place
        return
    owner = place.value
    if place.owner is None or not (is_module(owner) or is_class(owner)):
        found = "nothing of that name" if place.owner is None else f"a {type(owner).__qualname__}"
        yield change.owner, Refusal("not-a-class", found, "a module or a class", "name the module, or module:Class")
        return
    prefix = change.owner.qualname + "." if change.owner.qualname else ""
    for name, value in change.names.items():
        attribute = mangled(name, owner.__name__) if is_class(owner) else name
        yield NewAttribute(Target(change.owner.module, prefix + name), owner, attribute, value)


def _attachment(change: Attachment, modules: dict[str, ModuleType]) -> Iterator[Step | tuple[Target, Refusal]]:
    place = resolve(change.owner, modules)
    if isinstance(place, Refusal):
        yield change.owner, place
        return
    owner = place.value
    if place.owner is None or not is_class(owner):
        found = "nothing of that name" if place.owner is None else f"a {type(owner).__qualname__}"
        yield (
            change.owner,
            Refusal("not-a-class", found, "a class, of which objects lack an attribute", "name the class"),
        )
        return
    for name, default in change.names.items():
        target = Target(change.owner.module, f"{change.owner.qualname}.{name}")
        attribute = mangled(name, owner.__name__)
        base = next((base for base in owner.__mro__[1:] if attribute in namespace_of(base)), None)
        if base is not None:
            yield target, _hides(base, attribute)
        else:
            yield NewShadow(target, owner, attribute, maker_of(default), told_default(default))


def _hides(base: type, name: str) -> Refusal:
    return Refusal(
        "exists-already",
        f"{owner_name(base)} has {name}: {spelled(namespace_of(base).get(name))}",
        "an attribute that objects of the class lack",
        "use set() for the value that they share, or another name",
    )
