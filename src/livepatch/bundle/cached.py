"""What keeps answers in which a changed function has a part: caches around others, and tables that code fills."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from livepatch.bundle.arguments import FACTORIES, factories_in
from livepatch.bundle.items import Item, chain_of
from livepatch.bundle.memos import CACHES, Kept, Search, cache_names
from livepatch.bundle.refs import Ref
from livepatch.bundle.world import Entity, World

__all__ = ["caches_of_callers", "tables_filled"]


def caches_of_callers(
    world: World, calling: Iterable[Entity], changed: set[Entity], names: frozenset[Entity]
) -> dict[str, list[str]]:
    """The caches of functions that call ones that change, or are put around one by a name: by module, as in `Kept`.

    `calling` are the functions that do something else when they are called, `changed` those of them whose own text
    differs, and `names` is all that is computed anew.
    """
    search = Search(world, frozenset(), set(), names)
    items = [i for e in sorted(calling) for i in world.items(e) if i.kind == "function"]
    cached = [i for i in items if (i.module.name, i.binds[0]) not in changed and cache_names(i)]
    if any("cached_property" in cache_names(i) for i in cached):
        search.giving.update((e, e) for e in changed)
        search.find_giving(items)
    for item in cached:
        search.cache(item)
    callers = set(calling)
    for module in world.parsed():
        for item in module.items:
            if item.kind == "assign" and not item.words.isdisjoint(CACHES) and _wraps(world, item, callers):
                for bound in item.binds:
                    search.out.caches.setdefault(module.name, []).append(bound)
    return search.out.caches


def tables_filled(
    world: World,
    calling: Iterable[Entity],
    changed: set[Entity],
    names: frozenset[Entity],
    later: Iterable[Entity] = (),
) -> Kept:
    """The tables of modules and classes, and attributes of objects, in which functions keep what changed ones gave.

    The arguments are those of :func:`caches_of_callers`; of `later` only what they give does something else.  A changed
    function that keeps its own answers looks them up in the table as well; one that only puts something there keeps a
    list of what it was given.
    """
    search = Search(world, frozenset(), set(), names)
    items = [i for e in sorted(calling) for i in world.items(e) if i.kind == "function"]
    staying = changed - names
    search.giving.update((e, e) for e in staying)
    search.find_giving(items)
    for item in items:
        entity = (item.module.name, item.binds[0])
        search.memos(item, own=entity if entity in staying else None)
        search.of_decorated(item, entity)
        if item.scope:
            search.of_objects(item)
    for item in [i for e in sorted(later) for i in world.items(e) if i.kind == "function"]:
        search.memos(item, hidden_only=True)
    _find_factories(world, search, set(calling))
    return search.out


def _find_factories(world: World, search: Search, callers: set[Entity]) -> None:
    """Take in what is made by one of the functions: ``defaultdict(f)``, and fields that are filled for each object."""
    for module in world.parsed():
        for item in module.items if not module.words.isdisjoint(FACTORIES) else ():
            if item.kind == "assign" and item.scope and factories_in(getattr(item.node, "value", None)):
                for ref in (one for one in world.refs(item).body if one.level == 1 and one.call):
                    end = world.follow(ref, item).end
                    for bound in item.binds if end in callers else ():
                        search.capture((module.name, item.scope), bound.rpartition(".")[2], end)
        for item in module.items if "defaultdict" in module.words else ():
            value = getattr(item.node, "value", None) if item.kind == "assign" else None
            if not isinstance(value, ast.Call) or chain_of(value.func)[-1:] != ("defaultdict",):
                continue
            given = chain_of(value.args[0]) if value.args else ()
            end = world.follow(Ref(given, base="scope" if item.scope else ""), item).end if given else ("", "")
            if end in callers:
                for bound in item.binds:
                    search.keep((module.name, bound), end, ast.unparse(value))


def _wraps(world: World, item: Item, callers: set[Entity]) -> bool:
    """Whether an assignment puts a cache around one of the functions: ``lru_cache(f)``, ``lru_cache(maxsize=9)(f)``."""
    value = getattr(item.node, "value", None)
    if not isinstance(value, ast.Call) or len(value.args) != 1:
        return False
    chain = chain_of(value.func.func if isinstance(value.func, ast.Call) else value.func)
    given = chain_of(value.args[0])
    if chain[-1:] == () or chain[-1] not in CACHES or not given:
        return False
    return world.follow(Ref(given, base="scope" if item.scope else ""), item).end in callers
