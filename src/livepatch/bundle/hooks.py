"""What a class statement runs of the tree beside its body: hooks of its bases, of its metaclass and of its members."""

from __future__ import annotations

from livepatch.bundle.refs import Ref
from livepatch.bundle.world import Entity, World

__all__ = ["entered_by", "hooks_of", "told_its_name"]

_METACLASS = ("__new__", "__init__", "__call__", "__prepare__")


def hooks_of(world: World, entity: Entity) -> list[Entity]:
    """The methods that are called when a class is made, as far as names tell."""
    known = world.hooks.get(entity)
    if known is None:
        known = world.hooks[entity] = _hooks(world, entity)
    return known


def _hooks(world: World, entity: Entity) -> list[Entity]:
    hook = world.member(entity, "__init_subclass__")
    found = [hook] if hook and hook != (entity[0], f"{entity[1]}.__init_subclass__") else []
    for metaclass in world.metaclasses(entity):
        if metaclass != entity:
            found += [m for name in _METACLASS if (m := world.member(metaclass, name)) is not None]
    module = world.module(entity[0])
    for item in module.by_scope.get(entity[1], ()) if module else ():
        found += [m for b in item.binds if (m := told_its_name(world, (entity[0], b))) is not None]
    return list(dict.fromkeys(found))


def told_its_name(world: World, entity: Entity) -> Entity | None:
    """The ``__set_name__`` of the tree that a class statement calls on what its body binds to a name."""
    if all(item.kind != "assign" for item in world.items(entity)):
        return None
    trace = world.bound(*entity)
    return world.member(trace.end, "__set_name__") if trace.kind == "instance" else None


def entered_by(world: World, hook: Entity) -> frozenset[Entity]:
    """The names whose values a hook changes in place, those that it finds on the class among them."""
    found = set(world.effects_of_call(hook, 1))
    for item in world.items(hook):
        for ref in world.refs(item).body:
            if ref.base == "self" and ref.store == "item" and not ref.level:
                holder = world.follow(Ref(ref.chain, base="self"), item).holder
                if holder is not None:
                    found.add(holder)
    return frozenset(found)
