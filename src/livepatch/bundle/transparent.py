"""Decorators that give back what they decorate: they register it, or write to it."""

from __future__ import annotations

import ast

from livepatch.bundle.items import MUTATORS, Item, chain_of
from livepatch.bundle.nodes import children, walk
from livepatch.bundle.normal import FunctionNode
from livepatch.bundle.refs import Ref
from livepatch.bundle.world import Entity, World

__all__ = ["gives_its_argument", "writes_to_its_argument"]


def gives_its_argument(world: World, item: Item, decorator: ast.expr) -> bool:
    """Whether the decorator on a definition leaves the very object in its place, as far as its source tells."""
    factory = isinstance(decorator, ast.Call)
    chain = chain_of(decorator.func if isinstance(decorator, ast.Call) else decorator)
    if not chain:
        return False
    trace = world.follow(Ref(chain), item)
    if trace.others:
        return False  # another object had the name before
    if trace.kind == "function":
        functions = _functions(world, trace.end)
        skip = _bound(trace.end, world)
        if not factory:
            return bool(functions) and all(_returns_first(f, skip) for f in functions)
        return bool(functions) and all(_returns_transparent(f) for f in functions)
    if trace.kind == "class" and factory:
        method = world.member(trace.end, "__call__")
        functions = _functions(world, method) if method else []
        return bool(functions) and all(_returns_first(f, 1) for f in functions)
    return False


def writes_to_its_argument(world: World, item: Item, decorator: ast.expr) -> bool:
    """Whether a decorator that gives back what it decorates sets an attribute of it, or changes what lies in one."""
    chain = chain_of(decorator.func if isinstance(decorator, ast.Call) else decorator)
    trace = world.follow(Ref(chain), item)
    if trace.kind == "class":
        method = world.member(trace.end, "__call__")
        return any(_writes_to(f, 1) for f in _functions(world, method)) if method else False
    functions = _functions(world, trace.end)
    if isinstance(decorator, ast.Call):
        return any(_writes_to(n, 0) for f in functions for n in f.body if isinstance(n, ast.FunctionDef))
    return any(_writes_to(f, _bound(trace.end, world)) for f in functions)


def _writes_to(node: FunctionNode, skip: int) -> bool:
    name = next((a.arg for a in [*node.args.posonlyargs, *node.args.args][skip:]), "")
    for one in walk(node):
        match one:
            case ast.Attribute(ctx=ast.Store()) | ast.Subscript(ctx=ast.Store()):
                target: ast.expr = one.value
            case ast.Call(func=ast.Name(id="setattr" | "vars"), args=[target, *_]):
                pass
            case ast.Call(func=ast.Attribute(value=target, attr=attr)) if attr in MUTATORS:
                pass
            case _:
                continue
        while isinstance(target, (ast.Attribute, ast.Subscript)):
            target = target.value
        if isinstance(target, ast.Name) and target.id == name:
            return True
    return False


def _functions(world: World, entity: Entity) -> list[FunctionNode]:
    return [i.node for i in world.items(entity) if isinstance(i.node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def _bound(entity: Entity, world: World) -> int:
    """How many parameters are taken before the call: that of a method."""
    return 1 if any(i.scope for i in world.items(entity)) else 0


def _own_returns(node: FunctionNode) -> list[ast.expr | None]:
    found: list[ast.expr | None] = []
    pending: list[ast.AST] = list(node.body)
    while pending:
        one = pending.pop()
        if isinstance(one, ast.Return):
            found.append(one.value)
        elif not isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            pending.extend(children(one))
    return found


def _returns_first(node: FunctionNode, skip: int = 0) -> bool:
    names = [a.arg for a in [*node.args.posonlyargs, *node.args.args]][skip : skip + 1]
    returns = _own_returns(node)
    return bool(names and returns) and all(isinstance(r, ast.Name) and r.id == names[0] for r in returns)


def _returns_transparent(node: FunctionNode) -> bool:
    """Whether all that it returns are inner functions that give back their first argument."""
    inner = {n.name: n for n in node.body if isinstance(n, ast.FunctionDef)}
    returns = _own_returns(node)
    return bool(returns) and all(
        isinstance(r, ast.Name) and r.id in inner and _returns_first(inner[r.id]) for r in returns
    )
