"""Objects that one side made and that the other side's code cannot use, because of what they hold in an attribute.

A patch meets those of the old side when it goes in, and those of the new side when it goes out again.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from livepatch.bundle.attributes import (
    assigned,
    attribute_defaults,
    candidates,
    is_class,
    is_guarded,
    is_read,
    made_by,
    methods_of,
    readers_of,
    related,
    settings_of,
)
from livepatch.bundle.changes import Difference
from livepatch.bundle.items import Item
from livepatch.bundle.kinds import held_otherwise, kind_of_value
from livepatch.bundle.world import Entity, World
from livepatch.contents.edits import AttributeDefault, Unfit

__all__ = ["attributes_of_objects", "unfit_for_the_old"]


def attributes_of_objects(
    old: World, new: World, taken: list[Difference], whole: Iterable[str]
) -> dict[str, list[AttributeDefault]]:
    """By module, the attributes that objects of the old side lack or hold as new code cannot use them."""
    whole = list(whole)
    found = attribute_defaults(old, new, taken, whole)
    readers = readers_of(new, taken, whole)
    others: list[tuple[Entity, str, str, tuple[str, ...]]] = [
        (*each, ()) for each in _set_later(old, new, taken, readers)
    ]
    for each in _of_another_kind(old, new, taken, readers):
        held = " or ".join(_one_of(kind) for kind in each.unusable)
        reason = f"objects that exist have {held} in it, new ones {' or '.join(each.made)}"
        others.append((each.owner, each.name, reason, each.usable))
    for entity, name, reason, kinds in others:
        known = found.setdefault(entity[0], [])
        if all((each.class_qualname, each.name) != (entity[1], name) for each in known):
            known.append(
                AttributeDefault(class_qualname=entity[1], name=name, expression="", reason=reason, kinds=kinds)
            )
    return found


def unfit_for_the_old(old: World, new: World, taken: Iterable[Difference]) -> dict[str, list[Unfit]]:
    """By module, the attributes by which objects that the taken new code makes are of no use to the old code.

    It is the same question with the sides exchanged.
    """
    back = [replace(one, before=one.after, after=one.before) for one in taken]
    readers = readers_of(old, back, ())
    found: dict[tuple[str, str, str], Unfit] = {}

    def add(owner: Entity, name: str, reason: str, kinds: tuple[str, ...] = ()) -> None:
        each = Unfit(class_qualname=owner[1], name=name, reason=reason, kinds=kinds)
        found.setdefault((*owner, name), each)

    for entity, name in candidates(new, old, back):
        settings = settings_of(old, entity, name)
        if settings and is_read(old, entity, name, readers, settings):
            add(entity, name, "they lack it")
    for entity, name, _ in _set_later(new, old, back, readers):
        add(entity, name, "they lack it")
    changed = {id(item) for one in back for item in one.before}
    for each in _of_another_kind(new, old, back, readers):
        makers = (item for method in made_by(new, each.owner) for item in new.items(method))
        if any(id(item) in changed for item in makers):
            held = " or ".join(map(_one_of, each.unusable))
            add(each.owner, each.name, f"they hold {held} in it, old ones {' or '.join(each.made)}", each.unusable)
    modules: dict[str, list[Unfit]] = {}
    for (module, _, _), unfit in sorted(found.items()):
        modules.setdefault(module, []).append(unfit)
    return modules


def _one_of(kind: str) -> str:
    article = "an" if kind[0] in "aeiou" else "a"
    return "nothing" if kind == "None" else f"{article} {kind}"


def _set_later(
    old: World, new: World, taken: list[Difference], readers: list[Item]
) -> Iterator[tuple[Entity, str, str]]:
    """Attributes that no constructor sets, but another method for the methods that come after it."""
    for entity, name in candidates(old, new, taken):
        if settings_of(new, entity, name):
            continue
        setters = [
            item
            for item in methods_of(new, entity)
            if any(r.base == "self" and r.store == "attr" and r.chain == (name,) for r in new.refs(item).body)
        ]
        own = [i for i in readers if (i.module.name, i.scope) == entity and i not in setters]
        if setters and any(_reads(new, i, name) and not _comes_after(new, entity, i, setters) for i in own):
            yield entity, name, f"only {setters[0].binds[0]} sets it, which may have run already"


def _reads(new: World, item: Item, name: str) -> bool:
    own = [r for r in new.refs(item).body if r.base == "self" and r.chain[:1] == (name,)]
    return any(not r.store or len(r.chain) > 1 or r.store == "item" for r in own) and not is_guarded(item.node, name)


def _comes_after(new: World, entity: Entity, reader: Item, setters: list[Item]) -> bool:
    """Whether a method only runs when the attribute is set: it calls a setter, or nobody but setters calls it."""
    names = {item.binds[0].rpartition(".")[2] for item in setters}
    if any(r.base == "self" and r.call and r.chain[0] in names for r in new.refs(reader).body):
        return True
    own = reader.binds[0].rpartition(".")[2]
    callers = [
        item
        for item in methods_of(new, entity)
        if any(r.call and r.chain[-1:] == (own,) for r in new.refs(item).body) and item is not reader
    ]
    return own.startswith("_") and not own.endswith("__") and bool(callers) and all(item in setters for item in callers)


@dataclass(frozen=True)
class _AnotherKind:
    """An attribute that both sides set: the kinds that objects hold and new code cannot use, and those that it can."""

    owner: Entity
    name: str
    unusable: tuple[str, ...]
    made: tuple[str, ...]
    usable: tuple[str, ...]


def _of_another_kind(old: World, new: World, taken: list[Difference], readers: list[Item]) -> Iterator[_AnotherKind]:
    """Attributes that both constructors set, to things that one code cannot both use."""
    owners = {(d.module, i.scope) for d in taken for i in d.after if i.kind == "function" and i.scope}
    for entity in sorted(owners):
        if not is_class(old, entity) or not is_class(new, entity):
            continue
        was, now = _kinds(old, entity), _kinds(new, entity)
        for name in sorted(was.keys() & now.keys()):
            if was[name] == now[name] or old.member(entity, name) or new.member(entity, name):
                continue
            own = [
                item
                for item in readers
                if item.scope and related(new, entity, (item.module.name, item.scope)) and _reads(new, item, name)
            ]
            also = {kind_of_value(v) for i in methods_of(new, entity) for v in _values(i, name)} - {""}
            unusable = held_otherwise(name, was[name], now[name], also, own) if own else []
            if unusable:
                made, usable = tuple(sorted(now[name])), tuple(sorted(now[name] | also))
                yield _AnotherKind(entity, name, tuple(unusable), made, usable)


def _kinds(world: World, entity: Entity) -> dict[str, set[str]]:
    """The kinds of what each attribute is set to while an object is made; an empty one for what is not plain."""
    found: dict[str, set[str]] = {}
    for method in made_by(world, entity):
        for item in world.items(method):
            for name in {
                r.chain[0]
                for r in world.refs(item).body
                if r.base == "self" and r.store == "attr" and len(r.chain) == 1
            }:
                found.setdefault(name, set()).update(kind_of_value(v) for v in _values(item, name))
    return {name: kinds for name, kinds in found.items() if kinds and "" not in kinds}


def _values(item: Item, name: str) -> list[ast.expr | None]:
    node = item.node
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return []
    own = [*node.args.posonlyargs, *node.args.args][:1]
    return [value for value, _ in assigned(node.body, own[0].arg, name, always=True)] if own else []
