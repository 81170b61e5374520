"""What calls enter into registries of the package, told apart from answers that a function keeps for itself."""

from __future__ import annotations

import ast

from livepatch.bundle.items import Item, chain_of
from livepatch.bundle.nodes import walk
from livepatch.bundle.normal import FunctionNode
from livepatch.bundle.refs import Ref
from livepatch.bundle.world import Entity, World

__all__ = ["registered"]


def registered(world: World, item: Item) -> set[Entity]:
    """The names whose values a statement changes by what it calls, but for the tables in which answers are kept."""
    found = set(world.effects(item))
    for ref in world.refs(item).header if found else ():
        if ref.call:
            trace = world.follow(ref, item)
            for one in world.items(trace.end) if trace.kind == "function" else ():
                if isinstance(one.node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    found -= _kept_answers(world, one, one.node)
    return found


def _kept_answers(world: World, item: Item, node: FunctionNode) -> set[Entity]:
    """The tables of which a function gives back an entry."""
    answers: dict[str, set[Entity]] = {}
    found: set[Entity] = set()
    inside = list(walk(node))
    for one in inside:
        if isinstance(one, ast.Assign):
            for target in one.targets:
                if isinstance(target, ast.Name):
                    answers.setdefault(target.id, set()).update(_looked_in(world, item, one.value))
    for one in inside:
        if isinstance(one, ast.Return) and one.value is not None:
            found |= _looked_in(world, item, one.value)
            if isinstance(one.value, ast.Name):
                found |= answers.get(one.value.id, set())
    return found


def _looked_in(world: World, item: Item, value: ast.expr) -> set[Entity]:
    found = set()
    for one in walk(value):
        match one:
            case ast.Subscript(value=table) | ast.Call(func=ast.Attribute(value=table, attr="get" | "setdefault")):
                chain = chain_of(table)
                holder = world.follow(Ref(chain), item).holder if chain else None
                if holder is not None:
                    found.add(holder)
    return found
