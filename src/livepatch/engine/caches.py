"""Caches that keep answers of the old side: found on the way to a function, emptied when its side changes."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from livepatch.engine.locate import Found
from livepatch.engine.namespaces import is_function

__all__ = ["Cache", "caches_of", "clearers"]


@dataclass(frozen=True, slots=True)
class Cache:
    """A wrapper with a ``cache_clear``; or, with an `owner`, a descriptor whose answers lie in that class's instances.

    Then `holder` is the name under which they lie there.
    """

    label: str
    holder: Any
    owner: type | None = None


def caches_of(found: Found) -> list[Cache]:
    """The caches between a target's name and its function."""
    caches: dict[int, Cache] = {}
    for layer in (found.place.value, *found.via):
        kind = type(layer)
        label = f"{kind.__module__}.{kind.__qualname__}"
        if layer is found.place.value and found.owner_class is not None and _keeps_in_instances(kind):
            caches[id(layer)] = Cache(label, found.place.name, found.owner_class)
        elif hasattr(kind, "cache_clear") or (is_function(layer) and callable(vars(layer).get("cache_clear"))):
            caches[id(layer)] = Cache(label, layer)
    return list(caches.values())


def _keeps_in_instances(kind: type) -> bool:
    """Whether a descriptor of that type stands behind what instances hold under its name, so that this is its cache."""
    if kind.__name__.endswith("cached_property"):
        return True
    plain = kind in (FunctionType, staticmethod, classmethod)
    return not plain and hasattr(kind, "__get__") and not hasattr(kind, "__set__")


def clearers(caches: list[Cache]) -> tuple[list[Callable[[], object]], list[Callable[[], object]]]:
    """What empties them: builtin callables, fit for the one step of the flip, and others for right after it."""
    inside: list[Callable[[], object]] = []
    after: list[Callable[[], object]] = []
    for cache in caches:
        if cache.owner is not None:
            name = cache.holder
            inside += [functools.partial(namespace.pop, name, None) for namespace in _holding(cache.owner, name)]
        elif type(cache.holder) is functools._lru_cache_wrapper:
            inside.append(cache.holder.cache_clear)
        else:
            after.append(cache.holder.cache_clear)
    return inside, after


def _holding(owner: type, name: str) -> list[dict[str, Any]]:
    """The namespaces of live instances of `owner` that keep an answer under `name`.  Walks the heap."""
    classes: list[type[Any]] = [owner]
    for cls in classes:
        classes += [sub for sub in type.__subclasses__(cls) if sub not in classes]
    found = []
    for instance in gc.get_referrers(*classes):
        if owner in type(instance).__mro__:
            try:
                namespace = object.__getattribute__(instance, "__dict__")
            except AttributeError:
                continue
            if type(namespace) is dict and name in namespace:
                found.append(namespace)
    return found
