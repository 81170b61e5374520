"""What a metaclass, a base with ``__init_subclass__`` or a class decorator reads of the classes that it makes."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from livepatch.bundle.items import MUTATORS, Item, chain_of
from livepatch.bundle.nodes import children, walk
from livepatch.bundle.normal import FunctionNode
from livepatch.bundle.refs import Ref
from livepatch.bundle.shapes import is_data
from livepatch.bundle.world import Entity, Trace, World

__all__ = ["has_written_methods", "is_special", "makers_of", "read_by_decorator", "read_when_made"]

_HARMLESS = frozenset({"isinstance", "issubclass", "super", "type", "id", "repr", "callable"})
_BY_KEY = frozenset({"get", "pop", "setdefault"})


class _Everything(Exception):  # noqa: N818  # a way out of the search, never seen outside
    """It may read any member."""


def read_when_made(world: World, entity: Entity) -> frozenset[str] | None:
    """The members that are looked at when the class is made, by code of the tree; ``None`` if any may be."""
    found: set[str] = set()
    try:
        for metaclass in world.metaclasses(entity):
            if metaclass == entity:
                continue
            if world.member(metaclass, "__prepare__"):
                return None
            for name, parameters in (("__new__", (3,)), ("__init__", (0, 3))):
                method = world.member(metaclass, name)
                for item in world.items(method) if method else ():
                    for position in parameters:
                        found |= _read_of(world, item, position, 0)
        hook = world.member(entity, "__init_subclass__")
        if hook and hook != (entity[0], f"{entity[1]}.__init_subclass__"):
            for item in world.items(hook):
                found |= _read_of(world, item, 0, 0)
    except _Everything:
        return None
    for item, decorator in makers_of(world, entity):
        read = read_by_decorator(world, item, decorator)
        if read is None:
            return None
        found |= read
    return frozenset(found)


def makers_of(world: World, entity: Entity) -> list[tuple[Item, ast.expr]]:
    """The decorators on a class that are of the tree, with the class statement that has them."""
    return [
        (item, decorator)
        for item in world.items(entity)
        if isinstance(item.node, ast.ClassDef)
        for decorator in item.node.decorator_list
        if _decorator(world, item, decorator).kind in ("function", "class")
    ]


def has_written_methods(world: World, entity: Entity) -> bool:
    """Whether a decorator from elsewhere writes methods for a class: ``total_ordering``, ``dataclass`` or its like."""
    return any(
        is_data(decorator) or (chain_of(decorator) or ("",))[-1] == "total_ordering"
        for item in world.items(entity)
        if isinstance(item.node, ast.ClassDef)
        for decorator in item.node.decorator_list
    )


def is_special(qualname: str) -> bool:
    """Whether the interpreter itself, and what writes methods for a class, look for a name."""
    name = qualname.rpartition(".")[2]
    return name.startswith("__") and name.endswith("__")


def _decorator(world: World, item: Item, decorator: ast.expr) -> Trace:
    chain = chain_of(decorator.func if isinstance(decorator, ast.Call) else decorator)
    return world.follow(Ref(chain, base="scope" if item.scope else ""), item) if chain else Trace()


def read_by_decorator(world: World, item: Item, decorator: ast.expr) -> frozenset[str] | None:
    """The members that a decorator of the tree reads or sets of a class; ``None`` if any may be."""
    trace = _decorator(world, item, decorator)
    if trace.kind != "function":
        return None
    found: set[str] = set()
    try:
        for one in world.items(trace.end):
            first = 1 if one.scope else 0
            if not isinstance(decorator, ast.Call):
                found |= _read_of(world, one, first, 0)
                continue
            inner = _inner_functions(one)
            if not inner:
                return None
            for node in inner:
                found |= _read_of(world, one, 0, 0, node)
    except _Everything:
        return None
    return frozenset(found)


def _inner_functions(item: Item) -> list[FunctionNode]:
    """The functions inside one, if it gives back nothing else."""
    body = getattr(item.node, "body", ())
    inner = {n.name: n for n in body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))}
    returned = [n.value for one in body for n in _outside(one) if isinstance(n, ast.Return)]
    names = [value.id for value in returned if isinstance(value, ast.Name)]
    return [inner[n] for n in names] if len(names) == len(returned) and set(names) <= inner.keys() else []


def _outside(node: ast.AST) -> Iterator[ast.AST]:
    """A node and what is in it, but for what functions inside it hold."""
    yield node
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
        for child in children(node):
            yield from _outside(child)


def _read_of(world: World, item: Item, position: int, depth: int, inner: FunctionNode | None = None) -> set[str]:
    """What a function, or one inside it, reads of its parameter at a position, as a namespace or as a class."""
    node = inner or item.node
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or depth > 3:
        raise _Everything
    parameters = [a.arg for a in [*node.args.posonlyargs, *node.args.args]]
    if position >= len(parameters):
        raise _Everything
    names = {parameters[position]}
    if position == 3:
        names |= _made_in(node)
    found: set[str] = set()
    parents = {id(child): one for one in walk(node) for child in children(one)}
    for one in walk(node):
        if isinstance(one, ast.Name) and one.id in names and isinstance(one.ctx, ast.Load):
            found |= _use(world, item, one, parents, depth)
    return found


def _made_in(node: FunctionNode) -> set[str]:
    """The variables that hold the class which ``super().__new__`` gave."""
    return {
        target.id
        for one in walk(node)
        if isinstance(one, ast.Assign) and isinstance(one.value, ast.Call)
        for target in one.targets
        if isinstance(target, ast.Name) and _called_name(one.value.func) == "__new__"
    }


def _called_name(node: ast.expr) -> str:
    """The last name of what is called."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _use(world: World, item: Item, name: ast.Name, parents: dict[int, ast.AST], depth: int) -> set[str]:
    parent = parents[id(name)]
    match parent:
        case ast.Attribute(attr=attr):
            return _attribute(parent, attr, parents)
        case ast.Subscript(value=value, slice=ast.Constant(value=str(key))) if value is name:
            return {key}
        case ast.Compare(left=ast.Constant(value=str(key)), ops=[ast.In() | ast.NotIn()]):
            return {key}
        case ast.Compare(ops=[ast.Is() | ast.IsNot()]) | ast.Return():
            return set()
        case ast.Assign(value=value) if value is name and all(isinstance(t, ast.Subscript) for t in parent.targets):
            return set()  # it is kept in a table
        case ast.Call():
            return _argument(world, item, name, parent, depth)
    raise _Everything


def _attribute(node: ast.Attribute, attr: str, parents: dict[int, ast.AST]) -> set[str]:
    if attr in ("__name__", "__qualname__", "__module__", "__bases__", "__mro__"):
        return set()
    if attr == "__dict__":
        raise _Everything
    call = parents[id(node)]
    if isinstance(call, ast.Call) and call.func is node:
        if attr in _BY_KEY and call.args and isinstance(call.args[0], ast.Constant):
            return {str(call.args[0].value)}
        raise _Everything  # a method may read anything
    return {attr}


def _argument(world: World, item: Item, name: ast.Name, call: ast.Call, depth: int) -> set[str]:
    called = _called_name(call.func)
    if called in ("__new__", "__init__", "__init_subclass__") or called in MUTATORS or called in _HARMLESS:
        return set()
    if called in ("getattr", "hasattr", "setattr", "delattr") and len(call.args) > 1:
        key = call.args[1]
        if isinstance(key, ast.Constant):
            return {str(key.value)}
        raise _Everything
    chain = chain_of(call.func)
    trace = world.follow(Ref(chain), item) if chain else None
    if trace is None or trace.kind != "function" or name not in call.args:
        raise _Everything
    found: set[str] = set()
    for one in world.items(trace.end):
        found |= _read_of(world, one, call.args.index(name), depth + 1)
    return found
