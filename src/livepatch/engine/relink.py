"""What the after side's statements made, fit for the live program: nothing of it refers to where it was made.

Functions and classes that the live program has are put in the place of those made anew; new ones get the live module's
namespace.  Objects that can be changed are mended where they are; others are made again.
"""

from __future__ import annotations

import functools
import gc
import re
import sys
import types
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from types import CellType, FunctionType, MethodType
from typing import Any

from livepatch.engine.anatomy import PLAIN, attributes_of, cell_content, is_native, members_of, native_base, parts_of
from livepatch.engine.counterparts import Sides
from livepatch.engine.functions import make_function
from livepatch.engine.graph import shown
from livepatch.engine.namespaces import is_a, is_class, is_function, is_module, namespace_of
from livepatch.engine.places import descriptor_of, dict_of, items_of
from livepatch.engine.refusal import Refusal
from livepatch.engine.stack import ABSENT

__all__ = ["REBUILT", "CannotFollow", "Relinker"]

_MOST = 200_000  # objects that are looked at before the search for a way back to the scratch side is given up


class CannotFollow(Exception):  # noqa: N818  # no error: an answer
    """A value cannot be carried over; `refusal` says why."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


def _not_transferable(path: str, found: str) -> CannotFollow:
    return CannotFollow(
        Refusal(
            "not-transferable",
            f"the new value of {path} holds {found}",
            "functions, classes, plain values and containers of them, which can be carried into the live module",
            "restart with the fix, or build with only= and without the value",
        )
    )


class Relinker:
    """Carries values of the after side over.  One for each patch: what two values share stays shared.

    `counterpart` gives the live object that stands for an object of the after side, or
    :data:`~livepatch.engine.stack.ABSENT`.
    """

    def __init__(self, sides: Sides, counterpart: Callable[[object], object]) -> None:
        self._sides = sides
        self._counterpart = counterpart
        self._made: dict[int, tuple[object, object]] = {}
        self._busy: set[int] = set()
        self._touching: set[int] = set()
        self._modules: set[int] = set()

    def know(self, scratch: object, live: object) -> None:
        """Let one object stand for another from now on."""
        self._made[id(scratch)] = (scratch, live)

    def __call__(self, value: object, path: str) -> object:
        """The value for the live program.  Raises :class:`CannotFollow`."""
        if type(value) in PLAIN:
            return value
        self._modules = {id(namespace_of(m)) for m in list(sys.modules.values()) if is_module(m)}
        outer, self._touching = self._touching, self._touching_scratch(value, path)
        try:
            made = self._relinked(value, path)
        except RecursionError as error:
            raise _not_transferable(path, "values nested too deeply") from error
        finally:
            self._touching = outer
        if self._touching_scratch(made, path):
            raise _not_transferable(path, "something that still refers to the namespace that it was computed in")
        return made

    # What refers to the scratch side

    def _made_ids(self) -> set[int]:
        return {id(live) for _, live in self._made.values()}

    def _is_made_anew(self, value: object) -> bool:
        keys = self._sides.keys(value)
        if not keys or self._is_live(value):
            return False
        return any(self._sides.after_at.get(k) is value or self._sides.before_at.get(k) is value for k in keys) and any(
            self._sides.live_at.get(k, value) is not value for k in keys
        )

    def _is_live(self, value: object) -> bool:
        return any(self._sides.live_at.get(key) is value for key in self._sides.keys(value))

    def _touching_scratch(self, root: object, path: str) -> set[int]:
        """The ids of all objects from which references lead to the scratch side, as far as they begin at `root`."""
        seen: dict[int, object] = {}
        holders: dict[int, list[int]] = {}
        ends: list[int] = []
        made = self._made_ids()
        left = [root]
        while left:
            value = left.pop()
            if id(value) in seen:
                continue
            seen[id(value)] = value
            if len(seen) > _MOST:
                raise _not_transferable(path, f"more than {_MOST} objects, not all of which can be looked at")
            known = self._made.get(id(value))
            if known is not None and known[1] is not value:
                ends.append(id(value))
            if id(value) in self._sides.scratch or (id(value) not in made and self._is_made_anew(value)):
                ends.append(id(value))
            if id(value) in self._sides.scratch or self._is_live(value):
                continue
            for inner in self._referents(value):
                if type(inner) not in PLAIN:
                    holders.setdefault(id(inner), []).append(id(value))
                    left.append(inner)
        touching: set[int] = set()
        while ends:
            end = ends.pop()
            if end not in touching:
                touching.add(end)
                ends += holders.get(end, ())
        return touching

    def _referents(self, value: object) -> list[object]:
        if is_module(value):
            return [namespace_of(value)] if id(namespace_of(value)) in self._sides.scratch else []
        if id(value) in self._modules:
            return []
        if is_function(value):
            space = [value.__globals__] if id(value.__globals__) in self._sides.scratch else []
            return [*space, value.__defaults__, value.__kwdefaults__, *(value.__closure__ or ()), dict_of(value)]
        if is_class(value):
            if is_native(value) or self._is_live_class(value):
                return []
            return [type(value), value.__bases__, *members_of(value).values()]
        if is_a(value, weakref.ref):
            return [weakref.ref.__call__(value), value.__callback__]
        if type(value) in (types.CodeType, types.FrameType):
            return []
        return [type(value), *gc.get_referents(value)]

    def _is_live_class(self, value: type) -> bool:
        module = sys.modules.get(value.__module__)
        if not is_module(module):
            return False
        found: object = module
        for part in value.__qualname__.split("."):
            if not (is_module(found) or is_class(found)):
                return False
            found = namespace_of(found).get(part)
        return found is value

    # Carrying over

    def _relinked(self, value: object, path: str) -> Any:
        known = self._made.get(id(value))
        if known is not None:
            return known[1]
        if id(value) not in self._touching:
            return value
        made = self._counterpart_of(value)
        if id(value) in self._made:
            return self._made[id(value)][1]
        if made is not ABSENT:
            self.know(value, made)
            return made
        if id(value) in self._busy:
            raise _not_transferable(path, f"{shown(value)}, which holds itself and cannot be changed")
        self._busy.add(id(value))
        try:
            made = self._carried(value, path)
        finally:
            self._busy.discard(id(value))
        self.know(value, made)
        return made

    def _counterpart_of(self, value: object) -> object:
        space = self._sides.scratch.get(id(value))
        if space is not None:
            return space.live
        if is_module(value):
            return sys.modules.get(value.__name__, ABSENT)
        return self._counterpart(value)

    def _carried(self, value: Any, path: str) -> object:
        if is_function(value):
            return self._function(value, path)
        if is_class(value):
            return self._class(value, path)
        rebuild = REBUILT.get(type(value))
        if rebuild is not None:
            parts = [self._relinked(part, f"{path}.{step}") for step, part in parts_of(value) or ()]
            made = rebuild(value, parts)
            own, new = dict_of(value), dict_of(made)
            if own and new is not None:
                new.update({k: self._relinked(v, f"{path}.{k}") for k, v in own.items() if k not in new})
            return made
        if type(value) in (tuple, frozenset):
            return type(value)([self._relinked(item, path) for item in value])
        return self._instance(value, path)

    def _function(self, function: FunctionType, path: str) -> FunctionType:
        space = self._sides.scratch.get(id(function.__globals__))
        made = function
        if space is not None:
            made = make_function(
                function.__code__,
                space.live,
                function.__closure__ or (),
                self._relinked(function.__defaults__, f"{path}.__defaults__"),
                function.__kwdefaults__ and dict(function.__kwdefaults__),
            )
            made.__name__, made.__qualname__ = function.__name__, function.__qualname__
            made.__module__, made.__doc__ = function.__module__, function.__doc__
            if function.__annotations__:
                made.__annotations__ = function.__annotations__
        elif function.__defaults__ is not None:
            defaults = self._relinked(function.__defaults__, f"{path}.__defaults__")
            if defaults is not function.__defaults__:
                function.__defaults__ = defaults
        self.know(function, made)
        for cell in function.__closure__ or ():
            self._relinked(cell, path)
        by_keyword: dict[str, Any] = made.__kwdefaults__ or {}
        for name, value in list(by_keyword.items()):
            new = self._relinked(value, f"{path}.__kwdefaults__[{name}]")
            if new is not value:
                by_keyword[name] = new
        for name, value in list((dict_of(function) or {}).items()):
            new = self._relinked(value, f"{path}.{name}")
            if new is not value or made is not function:
                made.__dict__[name] = new
        return made

    def _class(self, kind: type, path: str) -> type:
        self.know(kind, kind)
        for name, value in members_of(kind).items():
            made = self._relinked(value, f"{path}.{name}")
            if made is not value:
                type.__setattr__(kind, name, made)
        metaclass = self._relinked(type(kind), path)
        if metaclass is not type(kind):
            try:
                namespace_of(object)["__class__"].__set__(kind, metaclass)
            except TypeError as error:
                raise _not_transferable(path, f"{shown(kind)}, whose metaclass cannot be exchanged: {error}") from error
        bases = tuple(self._relinked(base, f"{path}.__bases__") for base in kind.__bases__)
        if any(made is not base for made, base in zip(bases, kind.__bases__, strict=True)):
            try:
                type.__setattr__(kind, "__bases__", bases)
            except TypeError as error:
                raise _not_transferable(path, f"{shown(kind)}, whose bases cannot be exchanged: {error}") from error
        return kind

    def _instance(self, value: Any, path: str) -> object:
        """Mend an object where it is; give another for one whose native value cannot be changed."""
        base = native_base(type(value))
        kind = self._relinked(type(value), path)
        made = value
        if base in (tuple, frozenset):
            made = base.__new__(kind, [self._relinked(item, path) for item in base.__iter__(value)])
        elif kind is not type(value):
            try:
                object.__setattr__(value, "__class__", kind)
            except TypeError as error:
                raise _not_transferable(path, f"{shown(value)}, whose class cannot be exchanged") from error
        self.know(value, made)
        self._container(made, path)
        for name, held in attributes_of(value).items():
            new = self._relinked(held, f"{path}.{name}")
            if new is not held or made is not value:
                descriptor = descriptor_of(made, name)
                if descriptor is not None:
                    descriptor.__set__(made, new)
                else:
                    own = dict_of(made)
                    assert own is not None
                    own[name] = new
        self._check_rest(value, made, path)
        return made

    def _container(self, value: Any, path: str) -> None:
        if type(value) is CellType:
            held = cell_content(value)
            if held is not ABSENT:
                new = self._relinked(held, path)
                if new is not held:
                    value.cell_contents = new
        elif is_a(value, property, staticmethod, classmethod):  # of a kind derived from these
            self._descriptor(value, path)
        elif is_a(value, dict):
            self._dict(value, path)
        elif is_a(value, list) or is_a(value, deque):
            self._sequence(value, list if is_a(value, list) else deque, path)
        elif is_a(value, set):
            pairs = [(item, self._relinked(item, path)) for item in set.__iter__(value)]
            if any(new is not item for item, new in pairs):
                set.clear(value)
                set.update(value, [new for _, new in pairs])

    def _descriptor(self, value: Any, path: str) -> None:
        kind = native_base(type(value))
        held = [value.fget, value.fset, value.fdel] if kind is property else [value.__func__]
        made = [self._relinked(each, path) for each in held]
        if any(new is not each for new, each in zip(made, held, strict=True)):
            namespace_of(kind)["__init__"](value, *made, *([value.__doc__] if kind is property else []))

    def _sequence(self, value: Any, kind: Any, path: str) -> None:
        for i, item in enumerate(list(kind.__iter__(value))):
            new = self._relinked(item, f"{path}[{i}]")
            if new is not item:
                kind.__setitem__(value, i, new)

    def _dict(self, value: dict[Any, Any], path: str) -> None:
        old = list(items_of(value))
        items = [(self._relinked(key, path), self._relinked(held, f"{path}[{shown(key)}]")) for key, held in old]
        if all(new is key for (new, _), (key, _) in zip(items, old, strict=True)):
            for (key, new), (_, held) in zip(items, old, strict=True):
                if new is not held:
                    dict.__setitem__(value, key, new)
            return
        kind = OrderedDict if is_a(value, OrderedDict) else dict
        kind.clear(value)
        kind.update(value, items)

    def _check_rest(self, value: object, made: object, path: str) -> None:
        """What only native code can change must lead nowhere but to what stays the object that it is."""
        if made is not value:
            return
        known = {id(kept) for kept in (*self._parts_mended(value), type(value), dict_of(value))}
        for inner in gc.get_referents(value):
            if id(inner) in known or id(inner) not in self._touching:
                continue
            if self._relinked(inner, path) is not inner:
                raise _not_transferable(path, f"{shown(value)}, which refers to {shown(inner)}")

    @staticmethod
    def _parts_mended(value: object) -> list[object]:
        return list(attributes_of(value).values())


def _cached(value: Any, parts: list[Any]) -> object:
    if len(parts) != 3:
        raise _not_transferable("a cache", f"{shown(value)}, which does not tell its size")
    return functools.lru_cache(maxsize=parts[1], typed=parts[2])(parts[0])


def _method(value: Any, parts: list[Any]) -> object:
    function, owner = parts
    stays = function is value.__func__ and owner is value.__self__
    return value if stays else MethodType(function, owner)


def _native_method(value: Any, parts: list[Any]) -> object:
    name, owner = parts
    if owner is value.__self__ and name == value.__name__:
        return value
    base = native_base(type(owner))
    return namespace_of(base)[name].__get__(owner, type(owner)) if name in namespace_of(base) else getattr(base, name)


def _property(value: Any, parts: list[Any]) -> object:
    getter, setter, deleter = parts
    return property(getter, setter, deleter, value.__doc__)


REBUILT: dict[type, Callable[[Any, list[Any]], object]] = {
    property: _property,
    staticmethod: lambda _, parts: staticmethod(parts[0]),
    classmethod: lambda _, parts: classmethod(parts[0]),
    functools.partial: lambda _, parts: functools.partial(parts[0], *parts[1], **parts[2]),
    MethodType: _method,
    types.BuiltinMethodType: _native_method,
    type(re.compile("").sub): _native_method,
    functools._lru_cache_wrapper: _cached,
    types.MappingProxyType: lambda _, parts: types.MappingProxyType(parts[0]),
    weakref.ref: lambda _, parts: weakref.ref(parts[0], parts[1]),
    slice: lambda _, parts: slice(*parts),
}
