"""Caches that keep answers of the old side: found on the way to a function, emptied when its side changes."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from livepatch.engine.heap import hidden_from_the_heap_walk, locals_on_the_stacks, objects_of, reachable
from livepatch.engine.locate import Found
from livepatch.engine.namespaces import is_function, namespace_of, with_subclasses

__all__ = ["Cache", "caches_of", "clearers", "keeps_in_instances", "tables"]


@dataclass(frozen=True, slots=True)
class Cache:
    """A wrapper with a ``cache_clear``; or, with an `owner`, a descriptor whose answers lie in that class's instances.

    Then `name` is the attribute under which they lie there.  Without a `holder`, it is a dict that each object of the
    class fills for itself.
    """

    label: str
    holder: Any
    owner: type | None = None
    name: str = ""


def caches_of(found: Found) -> list[Cache]:
    """The caches between a target's name and its function."""
    caches: dict[int, Cache] = {}
    for layer in (found.place.value, *found.via):
        kind = type(layer)
        label = f"{kind.__module__}.{kind.__qualname__}"
        if hasattr(kind, "cache_clear") or (is_function(layer) and callable(vars(layer).get("cache_clear"))):
            caches[id(layer)] = Cache(label, layer)
        elif layer is found.place.value and found.owner_class is not None and keeps_in_instances(kind):
            caches[id(layer)] = Cache(label, layer, found.owner_class, found.place.name)
    return list(caches.values())


# Descriptors that keep their answers in a dict of the instance called `_cache`: those of aiohttp, yarl and propcache.
_UNDER = frozenset({"under_cached_property", "reify"})


def keeps_in_instances(kind: type) -> bool:
    """Whether a descriptor of that type stands behind what instances hold under its name, so that this is its cache."""
    if kind.__name__.endswith("cached_property") or kind.__name__ in _UNDER:
        return True
    plain = kind in (FunctionType, staticmethod, classmethod)
    return not plain and hasattr(kind, "__get__") and not hasattr(kind, "__set__")


def clearers(caches: list[Cache]) -> tuple[list[Callable[[], object]], list[Callable[[], object]]]:
    """What empties them: builtin callables, fit for the one step of the flip, and others for right after it."""
    inside: list[Callable[[], object]] = [table.clear for table in tables(caches)]
    after: list[Callable[[], object]] = []
    in_objects: list[tuple[Cache, type]] = []
    for cache in caches:
        if cache.owner is not None:
            if cache.holder is not None:
                in_objects.append((cache, cache.owner))
        elif type(cache.holder) is functools._lru_cache_wrapper:
            inside.append(cache.holder.cache_clear)
        else:
            after.append(cache.holder.cache_clear)
    inside += [functools.partial(kept.pop, cache.name, None) for cache, kept in _answers(in_objects)]
    return inside, after


def tables(caches: Iterable[Cache]) -> list[dict[Any, Any]]:
    """The dicts that objects fill for themselves, of all those caches that are such.  Walks the heap once for them."""
    families = [
        ({id(each) for each in classes}, cache.name, classes)
        for cache in caches
        if cache.owner is not None and cache.holder is None
        for classes in [with_subclasses(cache.owner)]
    ]
    found: list[dict[Any, Any]] = []
    for each in objects_of(*_each_once(classes for _, _, classes in families)):
        for kinds, name, _ in families:
            if id(type(each)) in kinds:
                with contextlib.suppress(AttributeError):
                    held = object.__getattribute__(each, "__dict__").get(name)
                    if type(held) is dict:
                        found.append(held)
    return found


def _answers(caches: list[tuple[Cache, type]]) -> list[tuple[Cache, dict[str, Any]]]:
    """The namespaces of live instances that keep an answer, each with its cache.  Walks the heap once.

    Instances of a subclass that has something else under that name keep what is their own.
    """
    sharing: dict[int, list[Cache]] = {}
    classes: list[list[type]] = []
    for cache, owner in caches:
        classes.append([cls for cls in with_subclasses(owner) if _static(cls, cache.name) is cache.holder])
        for cls in classes[-1]:
            sharing.setdefault(id(cls), []).append(cache)
    if not sharing:
        return []
    walked = objects_of(*_each_once(classes))
    if hidden_from_the_heap_walk():
        walked += [item for item in reachable(sys.modules, *locals_on_the_stacks()) if id(type(item)) in sharing]
    found: dict[tuple[int, str], tuple[Cache, dict[str, Any]]] = {}
    for instance in walked:
        for cache in sharing[id(type(instance))]:
            for attribute in ("__dict__", *(["_cache"] if type(cache.holder).__name__ in _UNDER else [])):
                with contextlib.suppress(AttributeError):
                    namespace = object.__getattribute__(instance, attribute)
                    if type(namespace) is dict and cache.name in namespace:
                        found[id(namespace), cache.name] = cache, namespace
    return list(found.values())


def _each_once(families: Iterable[list[type]]) -> list[type]:
    return list({id(cls): cls for family in families for cls in family}.values())


def _static(cls: type, name: str) -> object:
    return next((namespace_of(base)[name] for base in cls.__mro__ if name in namespace_of(base)), None)
