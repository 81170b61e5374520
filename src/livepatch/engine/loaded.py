"""The modules that statements of a patch load into the process, and how they leave it again.

A statement's import is an import.  What it loads is taken out as soon as the patch does not need it: after a check, an
apply that failed, a revert.  Somebody else may have it by then, such as a thread that imported it meanwhile, or a
registry in which it has entered itself.  Two copies of one module in a process are worse than one too many, so what
anything holds stays; and so does an extension module, which cannot be loaded twice.
"""

from __future__ import annotations

import gc
import sys
import weakref
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from importlib.machinery import BuiltinImporter, ExtensionFileLoader
from types import (
    BuiltinMethodType,
    CellType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

from livepatch.engine.namespaces import is_class, is_function, is_module, namespace_of

__all__ = ["Loaded"]

_LARGEST = 50_000  # objects: whoever holds so many holds more than a module's own
_SMALL = (
    2_000_000  # blocks of memory, for the collector to be asked at once: a larger process would stand still too long
)
_LOOKED_INTO = frozenset(
    {dict, list, tuple, set, frozenset, deque, OrderedDict, defaultdict, MappingProxyType, CellType, MethodType}
    | {
        BuiltinMethodType,
        GetSetDescriptorType,
        MemberDescriptorType,
        property,
        staticmethod,
        classmethod,
        partial,
        type(cache(id)),
    }
)
_SHARED = {"builtins", "logging", "re", "types", "typing", "weakref"}
"""Modules of kinds that a library gives to everybody alike, as loggers: that others have one says nothing."""
_OURS = "livepatch.engine."


class Loaded:
    """The modules that came into the process while statements of one patch were run."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._apart: list[weakref.ref[Any]] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Remember the modules that are loaded within."""
        before = set(sys.modules)
        try:
            yield
        finally:
            came = sys.modules.keys() - before
            self.names.update(name for name in came if name.partition(".")[0] != "livepatch")

    def run_in(self, apart: Iterable[ModuleType | type]) -> None:
        """Know the modules and classes of the namespaces apart: that they refer to what was loaded means nothing."""
        self._apart += map(weakref.ref, apart)

    def take_out(self) -> None:
        """Take out of the process what was loaded and nothing else holds.  The rest stays among :attr:`names`.

        What garbage of ours still holds is found to be free only once it has been collected, by a later call.
        """
        modules = {name: sys.modules[name] for name in self.names if is_module(sys.modules.get(name))}
        held = _held(modules, self._apart)
        if held and sys.getallocatedblocks() <= _SMALL:
            gc.collect()  # what only garbage holds
            held = _held(modules, self._apart)
        going = {name: modules.pop(name) for name in modules.keys() - held}
        del modules
        places = {name: _take(name, going) for name in going}
        back = _held(going, self._apart)  # somebody may have come upon it until it was gone
        for name in back:
            for space, key in places[name]:
                space.setdefault(key, going[name])
        self.names = held | back
        self._apart = [each for each in self._apart if each() is not None] if self.names else []


def _take(name: str, going: Mapping[str, ModuleType]) -> list[tuple[dict[str, Any], str]]:
    """Take a module out; gives where it was, but for packages that go as well."""
    places = [(space, key) for space, key in _named(name, but=going) if space.get(key) is going[name]]
    for space, key in places:
        del space[key]
    return places


def _named(name: str, but: Collection[str]) -> Iterator[tuple[dict[str, Any], str]]:
    """Where the import system puts a module: its table, and the package around it if that is another than those."""
    parent, _, last = name.rpartition(".")
    package = sys.modules.get(parent)
    if is_module(package) and parent not in but:
        yield vars(package), last
    yield sys.modules, name


def _held(modules: Mapping[str, ModuleType], apart: Iterable[weakref.ref[Any]]) -> set[str]:
    """Which of the modules somebody holds who is neither one of them nor of the namespaces `apart`.

    As the garbage collector tells it: of all that they reach and that is theirs, the references from there are
    subtracted.  What has more left is held from elsewhere, and so is whatever that reaches.
    """
    if not modules:
        return set()
    own = _Own(modules, apart)
    if not own.collect():
        return set(modules)
    live = own.held_from_elsewhere()
    held: set[str] = set()
    while True:
        own.spread(live)
        came = {name for name in modules if name not in held and own.is_held(name, live)}
        came |= {name for name in modules if name not in held and any(each.startswith(f"{name}.") for each in held)}
        if not came:
            return held
        held |= came
        live |= {id(modules[name]) for name in came}


class _Own:
    """What some modules reach and nobody else has a right to."""

    def __init__(self, modules: Mapping[str, ModuleType], apart: Iterable[weakref.ref[Any]]) -> None:
        self._modules = modules
        self._seen: dict[int, Any] = {id(module): module for module in modules.values()}
        self._spaces: dict[int, Mapping[str, Any]] = {id(namespace_of(module)): {} for module in modules.values()}
        for thing in [each() for each in apart]:
            if thing is not None:
                self._seen[id(thing)] = thing
            if is_module(thing):
                self._spaces[id(namespace_of(thing))] = _live_names(thing)
        others, self._foreign = _held_by_others(modules)
        self._made = {name: {key for key in self._made_by(name) if key not in others} for name in modules}
        """The ids of the objects that each module has made."""
        self._all = {key for keys in self._made.values() for key in keys}
        self._inner: Counter[int] = Counter()

    def _made_by(self, name: str) -> Iterator[int]:
        """The functions, classes and other objects that a module's names lead to and that it has made."""
        for value in namespace_of(self._modules[name]).values():
            if not gc.is_tracked(value) or is_module(value):
                continue
            is_named = is_function(value) or is_class(value)
            is_own = value.__module__ == name if is_named else type(value).__module__ not in _SHARED
            if is_own and type(value) not in _LOOKED_INTO:
                yield id(value)

    def collect(self) -> bool:
        """Find it, and count the references within; whether it has an end."""
        left = list(self._seen.values())
        while left:
            for each in self._referents(left.pop()):
                if not gc.is_tracked(each):
                    continue
                self._inner[id(each)] += 1
                if id(each) not in self._seen and self._is_own(each):
                    self._seen[id(each)] = each
                    left.append(each)
            if len(self._seen) > _LARGEST:
                return False
        return True

    def _referents(self, thing: Any) -> list[Any]:
        live = self._spaces.get(id(thing))
        if live:  # what a namespace apart has from the live one is that one's
            return [value for name, value in thing.items() if live.get(name) is not value]
        return gc.get_referents(thing)

    def _is_own(self, thing: Any) -> bool:
        if id(thing) in self._foreign:
            return False
        if is_module(thing):
            return id(namespace_of(thing)) in self._spaces
        if is_function(thing):
            return id(thing.__globals__) in self._spaces
        if is_class(thing):
            return str(thing.__module__) in self._modules or id(thing) in self._seen
        if id(thing) in self._all:
            return True
        kind = type(thing)
        return kind in _LOOKED_INTO or kind.__module__ in self._modules or kind.__module__.startswith(_OURS)

    def held_from_elsewhere(self) -> set[int]:
        """The ids of what has more references than are known."""
        probe = {0: object()}
        base = sys.getrefcount(probe[0])  # those of the table, and of the call
        known = self._known()
        found = {
            key for key in list(self._seen) if sys.getrefcount(self._seen[key]) - base > self._inner[key] + known[key]
        }
        return found | {id(module) for module in self._modules.values() if _is_native(module)}

    def _known(self) -> Counter[int]:
        """The references to the modules that the caller's mapping and the import system have, by the modules' ids."""
        known = Counter({id(module): 1 for module in self._modules.values()})
        for name, module in self._modules.items():
            for space, key in _named(name, but=self._modules):
                if space.get(key) is module:
                    known[id(module)] += 1
        return known

    def spread(self, live: set[int]) -> None:
        """Add to what is held whatever it reaches."""
        left = [self._seen[key] for key in live if key in self._seen]
        while left:
            for each in self._referents(left.pop()):
                if id(each) in self._seen and id(each) not in live:
                    live.add(id(each))
                    left.append(each)

    def is_held(self, name: str, live: set[int]) -> bool:
        """Whether a module, its namespace, or an object that it has made is held."""
        module = self._modules[name]
        if id(module) in live or id(namespace_of(module)) in live:
            return True
        return not live.isdisjoint(self._made[name])


def _is_native(module: ModuleType) -> bool:
    loader = getattr(namespace_of(module).get("__spec__"), "loader", None)
    return loader is BuiltinImporter or isinstance(loader, ExtensionFileLoader)


def _held_by_others(modules: Mapping[str, ModuleType]) -> tuple[set[int], set[int]]:
    """The ids of what modules that were there before have, and those of their namespaces.

    Whoever else has such a thing has it from there.
    """
    others = [each for name, each in list(sys.modules.items()) if name not in modules and is_module(each)]
    values = {id(value) for other in others for value in list(namespace_of(other).values())}
    return values, {id(sys.modules), *(id(namespace_of(other)) for other in others)}


def _live_names(module: ModuleType) -> Mapping[str, Any]:
    """The names of the live module of which one apart is a copy."""
    live = sys.modules.get(module.__name__)
    return namespace_of(live) if is_module(live) and live is not module else {}
