"""Statements rewritten before they are run apart from the live modules, so that they find what their side has."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from livepatch.engine.namespaces import is_class, is_module, namespace_of
from livepatch.engine.stack import ABSENT

__all__ = ["BodyNames", "Members", "Stars", "full_name", "mangled_in"]


@dataclass(frozen=True, slots=True)
class BodyNames:
    """The namespace of a class body that is run again in part, and the class that it stands for."""

    live: type
    names: dict[str, Any]

    def bound_below(self, name: str) -> dict[str, Any]:
        """What the live class got only after `name`: a default of that definition could not see it."""
        held = namespace_of(self.live)
        order = list(held)
        later = order[order.index(name) + 1 :] if name in held else []
        return {each: held[each] for each in later if self.names.get(each) is held[each]}


class Stars(ast.NodeTransformer):
    """Lets ``from module import *`` bind just the names that are to be computed; the others are there already."""

    def __init__(self, namespace: Mapping[str, object], modules: Mapping[str, ModuleType], wanted: set[str]) -> None:
        self._namespace, self._modules, self._wanted = namespace, modules, wanted

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        """Name what a star import binds."""
        if node.names[0].name != "*":
            return node
        origin = self._modules.get(full_name(node.module or "", self._namespace, node.level))
        given = namespace_of(origin) if origin is not None else {}
        every = given.get("__all__", [name for name in given if not name.startswith("_")])
        names = sorted({name for name in every if name in self._wanted and name in given})
        if not names:
            return ast.copy_location(ast.Pass(), node)
        explicit = ast.ImportFrom(node.module, [ast.alias(name) for name in names], node.level)
        return ast.fix_missing_locations(ast.copy_location(explicit, node))


class Members(ast.NodeTransformer):
    """Lets what is evaluated read `Class.name` as the statements of this side have left it, and find its modules.

    What it stores there goes to the names of this side, which `names_of` gives, and not to the live class.  The bodies
    of functions keep their text: they run later, on the live class.
    """

    def __init__(
        self,
        namespace: Mapping[str, object],
        classes: Iterable[BodyNames],
        others: Mapping[int, object],
        names_of: Callable[[type], BodyNames | None],
    ) -> None:
        self._namespace = namespace
        self._others = others
        self._classes = {id(each.live): each for each in classes}
        self._names_of = names_of
        self.values: dict[str, object] = {}

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Put what stands in for a value in its place."""
        return self._other(node) or node

    def _other(self, node: ast.Name | ast.Attribute) -> ast.AST | None:
        meant = self._meant(node) if isinstance(node.ctx, ast.Load) else None
        if meant is None or id(meant) not in self._others:
            return None
        return self._stand_in(node, self._others[id(meant)])

    def _stand_in(self, node: ast.AST, value: object) -> ast.Name:
        name = f"__livepatch_member_{len(self.values)}__"
        self.values[name] = value
        return ast.copy_location(ast.Name(name, ast.Load()), node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """Read what this side holds."""
        other = self._other(node)
        if other is not None:
            return other
        if not isinstance(node.ctx, ast.Load):
            held = self._stored_to(node.value)
            if held is None:
                self.generic_visit(node)
                return node
            key = ast.Constant(mangled_in(node.attr, held.live.__name__))
            stored = ast.Subscript(self._stand_in(node, held.names), key, node.ctx)
            return ast.fix_missing_locations(ast.copy_location(stored, node))
        known = self._classes.get(id(self._meant(node.value)))
        name = mangled_in(node.attr, known.live.__name__) if known else ""
        if known is None or known.names.get(name, ABSENT) is namespace_of(known.live).get(name, ABSENT):
            self.generic_visit(node)
            return node
        return self._stand_in(node, known.names[name])

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Read an attribute whose name is a text."""
        match node:
            case ast.Call(func=ast.Name(id="getattr"), args=[owner, ast.Constant(value=str(name)), *_]):
                read = self.visit_Attribute(ast.copy_location(ast.Attribute(owner, name, ast.Load()), node))
                if isinstance(read, ast.Name):
                    return read
            case ast.Call(func=ast.Name(id="setattr" | "delattr" as called), args=[owner, *_], keywords=[]):
                held = self._stored_to(owner)
                if held is not None:
                    way = "__setitem__" if called == "setattr" else "__delitem__"
                    node.func = ast.copy_location(
                        ast.Attribute(self._stand_in(node, held.names), way, ast.Load()), node
                    )
                    node.args = [self.visit(each) for each in node.args[1:]]
                    return ast.fix_missing_locations(node)
        self.generic_visit(node)
        return node

    def _stored_to(self, node: ast.expr) -> BodyNames | None:
        """The names of this side of the live class for which an expression stands, if it does."""
        meant = self._meant(node)
        return self._names_of(meant) if is_class(meant) else None

    def _meant(self, node: ast.expr) -> object:
        """The module or class for which a chain of names stands; ``None`` if it is anything else."""
        if isinstance(node, ast.Name):
            return self._namespace.get(node.id)
        owner = self._meant(node.value) if isinstance(node, ast.Attribute) else None
        if not isinstance(node, ast.Attribute) or not (is_module(owner) or is_class(owner)):
            return None
        return namespace_of(owner).get(mangled_in(node.attr, owner.__name__) if is_class(owner) else node.attr)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Leave the body."""
        return self._around(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        """Leave the body."""
        return self._around(node)

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        """Leave the body."""
        node.args = self.visit(node.args)
        return node

    def _around(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        node.decorator_list = [self.visit(each) for each in node.decorator_list]
        node.args = self.visit(node.args)
        return node


def full_name(name: str, namespace: Mapping[str, object], level: int) -> str:
    """The full name of a module that an import in a namespace names."""
    if not level:
        return name
    package = str(namespace.get("__package__") or "").split(".")
    return ".".join([*package[: len(package) - level + 1], *([name] if name else [])])


def mangled_in(name: str, scope: str) -> str:
    """The name under which the class of a qualified name keeps a name of its body."""
    stripped = scope.rpartition(".")[2].lstrip("_")
    if name.startswith("__") and not name.endswith("__") and stripped:
        return f"_{stripped}{name}"
    return name
