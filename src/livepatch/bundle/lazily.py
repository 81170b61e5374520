"""Attributes that a method of an object computes when they are first asked for, and keeps.

``if self._x is None: self._x = f()``, or with ``hasattr``, a local name, ``return`` where it is there already, or a
handler of ``AttributeError``: what decides is that a test reads the attribute, and what is kept is made without it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from livepatch.bundle.nodes import walk
from livepatch.bundle.normal import FunctionNode

__all__ = ["lazily_set"]


def lazily_set(node: FunctionNode) -> Iterator[tuple[str, ast.expr]]:
    """The attributes of its object that a method looks for before it sets them, each with what it sets."""
    first = [*node.args.posonlyargs, *node.args.args][:1]
    if not first:
        return
    own = first[0].arg
    stored = [
        (target.attr, one.value)
        for one in walk(node)
        if isinstance(one, (ast.Assign, ast.AnnAssign)) and one.value is not None
        for target in (one.targets if isinstance(one, ast.Assign) else [one.target])
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == own
    ]
    looked_for = _looked_for(node, own) if stored else set()
    for name, value in stored:
        if name in looked_for and name not in _read(value, own) and not _is_none(value):
            yield name, value


def _looked_for(node: FunctionNode, own: str) -> set[str]:
    """The attributes that a condition reads, or of which a handler says that they are not there."""
    aliases = {
        one.targets[0].id: _read(one.value, own)
        for one in walk(node)
        if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name)
    }
    found: set[str] = set()
    for one in walk(node):
        if isinstance(one, (ast.If, ast.IfExp, ast.While)):
            found |= _read(one.test, own)
            names = {n.id for n in walk(one.test) if isinstance(n, ast.Name)}
            found |= {attribute for name in names & aliases.keys() for attribute in aliases[name]}
        elif isinstance(one, ast.Try) and one.handlers:
            for statement in one.body:
                found |= _read(statement, own)
    return found


def _read(node: ast.AST, own: str) -> set[str]:
    """The attributes of its object that an expression reads, by name or by text."""
    found: set[str] = set()
    for one in walk(node):
        match one:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute, ctx=ast.Load()) if name == own:
                found.add(attribute)
            case ast.Call(
                func=ast.Name(id="hasattr" | "getattr"), args=[ast.Name(id=name), ast.Constant(value=str(said)), *_]
            ) if name == own:
                found.add(said)
    return found


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None
