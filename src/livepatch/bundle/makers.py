"""What an object gets from the object that makes it: where every maker does so in one way, the source tells it.

A class may take, by a new parameter without a default, something of the object that makes it.  If each place that makes
one passes the same attribute of its own, and keeps what it made under one name, then an object that exists already
would have got what its keeper has under that attribute.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from livepatch.bundle.nodes import walk
from livepatch.bundle.normal import FunctionNode
from livepatch.bundle.world import Entity, World

__all__ = ["Making", "makings"]


@dataclass(frozen=True)
class Making:
    """One place that makes an object: in a method of `owner`, with `passed` of its own, kept as `kept`.

    `itself` is the method's name for its object.  `passed` and `kept` are empty where it is done in another way.
    """

    owner: Entity
    itself: str
    passed: str
    kept: str


def makings(world: World, entity: Entity, parameter: str) -> list[Making]:
    """Every place of the package that makes an object of a class, as far as names tell."""
    name = entity[1].rpartition(".")[2]
    init = world.member(entity, "__init__")
    found = []
    for module in world.parsed():
        for item in module.items:
            node = item.node
            if name not in item.words or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            owner = (item.module.name, item.scope)
            found += [_making(world, owner, node, call, parameter, init) for call in _calls(node, name)]
    return found


def _calls(node: ast.AST, name: str) -> Iterator[ast.Call]:
    for one in walk(node):
        if isinstance(one, ast.Call):
            called = one.func
            last = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
            if last == name:
                yield one


def _making(
    world: World, owner: Entity, node: FunctionNode, call: ast.Call, parameter: str, init: Entity | None
) -> Making:
    first = [*node.args.posonlyargs, *node.args.args][:1]
    itself = first[0].arg if first and owner[1] else ""
    given = next((each.value for each in call.keywords if each.arg == parameter), None)
    if given is None and init is not None:
        position = _position(world, init, parameter)
        given = call.args[position] if position is not None and position < len(call.args) else None
    return Making(owner, itself, _own(given, itself), _kept(node, call, itself))


def _position(world: World, init: Entity, parameter: str) -> int | None:
    for item in world.items(init):
        if isinstance(item.node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names = [a.arg for a in [*item.node.args.posonlyargs, *item.node.args.args]][1:]
            if parameter in names:
                return names.index(parameter)
    return None


def _own(value: ast.expr | None, itself: str) -> str:
    """The attribute of the method's object that an expression is."""
    match value:
        case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name == itself and itself:
            return attribute
    return ""


def _kept(node: FunctionNode, call: ast.Call, itself: str) -> str:
    """The attribute of the method's object under which it keeps what the call makes."""
    assigned = [one for one in walk(node) if isinstance(one, (ast.Assign, ast.AnnAssign))]
    variables: set[str] = set()
    for one in assigned:
        targets = one.targets if isinstance(one, ast.Assign) else [one.target]
        if one.value is call:
            for target in targets:
                if (own := _own(target, itself)) != "":
                    return own
            variables.update(target.id for target in targets if isinstance(target, ast.Name))
    for one in assigned:
        targets = one.targets if isinstance(one, ast.Assign) else [one.target]
        if isinstance(one.value, ast.Name) and one.value.id in variables:
            for target in targets:
                if (own := _own(target, itself)) != "":
                    return own
    return ""
