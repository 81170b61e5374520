"""Tables in which each object keeps what one method has computed, and from which only that method takes it.

``found = self._t.get(key)``, ``if found: return found``, compute, ``self._t[key] = found``: such a table can be emptied
at any time, and is filled again.  It is one only if nothing else in the package so much as speaks of it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping

from livepatch.bundle.items import decoded
from livepatch.bundle.nodes import walk
from livepatch.bundle.normal import FunctionNode
from livepatch.bundle.world import Entity, World
from livepatch.contents.parsing import tree_of

__all__ = ["tables_of"]


def tables_of(
    world: World, values: Iterable[Entity], modules: Mapping[str, str], sources: Mapping[str, bytes]
) -> dict[str, list[str]]:
    """The tables of objects that may hold what was made of changed class attributes, by module: ``"C._t"``."""
    owners = {(module, name.rpartition(".")[0]) for module, name in values if "." in name}
    family = {one for owner in owners for one in (*world.mro(owner), *world.heirs({owner}))}
    found: dict[str, list[str]] = {}
    for entity in sorted(family):
        module = world.module(entity[0])
        for item in module.items if module else ():
            node = item.node
            if item.scope != entity[1] or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            for name in _computed_once(node):
                if _only_there(name, node, modules, sources):
                    found.setdefault(entity[0], []).append(f"{entity[1]}.{name}")
    return {module: sorted(set(names)) for module, names in found.items()}


def _computed_once(node: FunctionNode) -> Iterator[str]:
    """The attributes that a method looks a key up in, returns what it finds, and else fills."""
    first = [*node.args.posonlyargs, *node.args.args][:1]
    if not first:
        return
    itself = first[0].arg
    filled = {
        name
        for one in walk(node)
        if isinstance(one, ast.Assign)
        for target in one.targets
        if isinstance(target, ast.Subscript) and (name := _own(target.value, itself))
    }
    for name in sorted(filled):
        if any(_looked_up(statement, following, itself, name) for statement, following in _pairs(node.body)):
            yield name


def _pairs(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, ast.stmt | None]]:
    yield from zip(body, [*body[1:], None], strict=True)


def _looked_up(statement: ast.stmt, following: ast.stmt | None, itself: str, name: str) -> bool:
    match statement:
        case ast.Assign(targets=[ast.Name(id=variable)], value=ast.Call(func=ast.Attribute(value=table, attr="get"))):
            return _own(table, itself) == name and _returns(following, variable)
        case ast.If(
            test=ast.Compare(ops=[ast.In()], comparators=[table]), body=[ast.Return(value=ast.Subscript(value=same))]
        ):
            return _own(table, itself) == _own(same, itself) == name
        case ast.Try(body=[ast.Return(value=ast.Subscript(value=table))], handlers=[_]):
            return _own(table, itself) == name
    return False


def _returns(statement: ast.stmt | None, variable: str) -> bool:
    """``if variable: return variable``, or with ``is not None``."""
    match statement:
        case ast.If(test=ast.Name(id=tested), body=[ast.Return(value=ast.Name(id=given))], orelse=[]):
            return tested == given == variable
        case ast.If(
            test=ast.Compare(left=ast.Name(id=tested), ops=[ast.IsNot()]),
            body=[ast.Return(value=ast.Name(id=given))],
            orelse=[],
        ):
            return tested == given == variable
    return False


def _own(value: ast.expr, itself: str) -> str:
    match value:
        case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name == itself:
            return attribute
    return ""


def _only_there(name: str, method: FunctionNode, modules: Mapping[str, str], sources: Mapping[str, bytes]) -> bool:
    """Whether the package speaks of the attribute in that method alone, but where it is made empty."""
    word = re.compile(rb"\b" + name.encode() + rb"\b")
    inside = sum(_speaks(one, name) for one in walk(method))
    elsewhere = 0
    for path in modules.values():
        if word.search(sources[path]) is None:
            continue
        try:
            tree = tree_of(decoded(sources[path]))
        except (SyntaxError, ValueError):
            return False
        made = {id(target) for one in walk(tree) for target in _made_empty(one, name)}
        elsewhere += sum(_speaks(one, name) and id(one) not in made for one in walk(tree))
    return elsewhere == inside


def _speaks(node: ast.AST, name: str) -> bool:
    match node:
        case ast.Attribute(attr=said) | ast.Name(id=said) | ast.arg(arg=said) | ast.keyword(arg=said):
            return said == name
        case ast.Constant(value=str(said)):
            return said == name
    return False


def _made_empty(node: ast.AST, name: str) -> Iterator[ast.AST]:
    match node:
        case ast.Assign(targets=[ast.Attribute(attr=attribute) as target], value=value):
            pass
        case ast.AnnAssign(target=ast.Attribute(attr=attribute) as target, value=ast.expr() as value):
            pass
        case _:
            return
    match value:
        case ast.Dict(keys=[]) | ast.Call(func=ast.Name(id="dict"), args=[], keywords=[]) if attribute == name:
            yield target
