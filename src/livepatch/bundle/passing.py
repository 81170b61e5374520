"""Names that are only there while a module is imported."""

from __future__ import annotations

import ast

from livepatch.bundle.items import Item
from livepatch.bundle.nodes import walk
from livepatch.bundle.world import Entity, World

__all__ = ["is_passing"]


def is_passing(world: World, entity: Entity) -> bool:
    """Whether a name is deleted, or is a block's own, which uses it and nothing else in the tree reads.

    What a block binds and does not use itself is there for others, perhaps outside of the package.
    """
    items = world.items(entity)
    if isinstance(items[-1].node, ast.Delete):
        return True
    name = entity[1].rpartition(".")[2]
    return (
        all(i.kind == "loop" and _is_own(i.node, name) for i in items)
        and not any(name in other.words for other in items[0].module.items if other not in items)
        and not any(_reads(world, other, entity) for other in _elsewhere(world, entity[0], name))
    )


def _is_own(node: ast.stmt, name: str) -> bool:
    """Whether a block binds the name by its head, or uses it."""
    for one in walk(node):
        if isinstance(one, ast.Name) and one.id == name and isinstance(one.ctx, ast.Load):
            return True
        if isinstance(one, (ast.For, ast.AsyncFor)):
            heads: list[ast.expr] = [one.target]
        elif isinstance(one, ast.withitem) and one.optional_vars is not None:
            heads = [one.optional_vars]
        else:
            continue
        if any(isinstance(n, ast.Name) and n.id == name for head in heads for n in walk(head)):
            return True
    return False


def _elsewhere(world: World, module: str, name: str) -> list[Item]:
    return [i for m in world.parsed() if m.name != module and name in m.words for i in m.items if name in i.words]


def _reads(world: World, item: Item, entity: Entity) -> bool:
    own = item.module.name
    if any(entity in world.bound(own, bound).passed for bound in item.imports):
        return True
    refs = world.refs(item)
    used = [*refs.decorators, *refs.header, *refs.body]
    name = entity[1].rpartition(".")[2]
    if "." in entity[1]:
        return any(name in ref.chain for ref in used)  # it may be read from any object
    return any(entity in world.follow(ref, item).passed for ref in used)
