"""Caches that keep answers of the old side: found on the way to a function, emptied when its side changes."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from livepatch.engine.locate import Found

__all__ = ["Cache", "caches_of", "clearers"]


@dataclass(frozen=True, slots=True)
class Cache:
    """A wrapper with a ``cache_clear``, or a ``cached_property`` whose answers lie in its instances."""

    label: str
    holder: Any
    owner: type | None = None


def caches_of(found: Found) -> list[Cache]:
    """The caches between a target's name and its function."""
    caches: dict[int, Cache] = {}
    for layer in (found.place.value, *found.via):
        kind = type(layer)
        if isinstance(layer, functools.cached_property):
            owner = found.owner_class
            caches[id(layer)] = Cache("functools.cached_property", layer, owner)
        elif not isinstance(layer, type) and callable(getattr(layer, "cache_clear", None)):
            caches[id(layer)] = Cache(f"{kind.__module__}.{kind.__qualname__}", layer)
    return list(caches.values())


def clearers(caches: list[Cache]) -> tuple[list[Callable[[], object]], list[Callable[[], object]]]:
    """What empties them: builtin callables, fit for the one step of the flip, and others for right after it."""
    inside: list[Callable[[], object]] = []
    after: list[Callable[[], object]] = []
    for cache in caches:
        if cache.owner is not None:
            name = cache.holder.attrname
            inside += [functools.partial(namespace.pop, name, None) for namespace in _holding(cache.owner, name)]
        elif isinstance(cache.holder, functools._lru_cache_wrapper):
            inside.append(cache.holder.cache_clear)
        else:
            after.append(cache.holder.cache_clear)
    return inside, after


def _holding(owner: type, name: str) -> list[dict[str, Any]]:
    """The namespaces of live instances of `owner` that keep an answer under `name`.  Walks the heap."""
    classes: list[type[Any]] = [owner]
    for cls in classes:
        classes += [sub for sub in type.__subclasses__(cls) if sub not in classes]
    return [
        vars(instance)
        for instance in gc.get_referrers(*classes)
        if isinstance(instance, owner) and name in getattr(instance, "__dict__", ())
    ]
