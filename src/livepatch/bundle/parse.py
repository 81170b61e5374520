"""Reading a module's items from its source."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from livepatch.bundle import normal
from livepatch.bundle.dynamic import module_named
from livepatch.bundle.items import (
    MUTATORS,
    Import,
    Item,
    Kind,
    Module,
    Store,
    chain_of,
    decoded,
    named_in_namespace,
    outside_functions,
)
from livepatch.bundle.nodes import children
from livepatch.contents.parsing import tree_of

__all__ = ["parse"]

_UNHASHABLE = "__hash__ = None"
_UNHASHABLE_IF_EQUAL = f"try: __eq__\nexcept NameError: pass\nelse: {_UNHASHABLE}"
_COMPOUND = (ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Match)


def parse(name: str, path: str, source: bytes) -> Module:
    """Read a module.  Raises :class:`SyntaxError` or :class:`ValueError`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = Module(name, path, source, tree_of(decoded(source), path))
    _Reader(module).read()
    module.index()
    return module


class _Reader:
    def __init__(self, module: Module) -> None:
        self.module = module
        self._tests: list[ast.expr] = []
        """The conditions of the ``if`` statements around."""

    def read(self) -> None:
        self._block(self.module.tree.body, "", None, ())

    def _block(
        self,
        statements: Sequence[ast.stmt],
        scope: str,
        unit: ast.stmt | None,
        guards: tuple[str, ...],
        fields: bool = False,
    ) -> None:
        for node in statements:
            self._statement(node, scope, unit or node, guards, fields)

    def _statement(  # noqa: C901, PLR0912  # one branch for each kind of statement
        self, node: ast.stmt, scope: str, unit: ast.stmt, guards: tuple[str, ...], fields: bool
    ) -> None:
        match node:
            case ast.Pass() | ast.Expr(value=ast.Constant()):
                return
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                if not normal.is_overload(node):
                    self._add("function", node, scope, unit, guards, [node.name])
            case ast.ClassDef():
                self._add("class", node, scope, unit, guards, [node.name])
                inner = f"{scope}.{node.name}" if scope else node.name
                before = len(self.module.items)
                self._block(node.body, inner, None, (), fields=bool(node.bases or node.decorator_list))
                self._hash(inner, self.module.items[before:])
            case ast.If():
                if normal.is_type_checking(node.test):
                    self._block(node.orelse, scope, unit if unit is not node else None, guards, fields)
                    return
                if _is_main(node.test):
                    self._block(node.orelse, scope, unit, guards, fields)
                    return
                if isinstance(node.test, ast.UnaryOp) and normal.is_type_checking(node.test.operand):
                    self._block(node.body, scope, unit, guards, fields)
                    return
                named, _ = _written([node])
                if named:  # (name := ...) in the condition itself
                    alone = ast.copy_location(ast.Expr(node.test), node.test)
                    self._add("assign", alone, scope, unit, guards, named)
                test = normal.normal(node.test)
                self._tests.append(node.test)
                self._block(node.body, scope, unit, (*guards, f"if {test}:"), fields)
                self._block(node.orelse, scope, unit, (*guards, f"if not {test}:"), fields)
                self._tests.pop()
            case ast.Try() | ast.TryStar():
                self._block(node.body, scope, unit, (*guards, "try:"), fields)
                for handler in node.handlers:
                    caught = normal.normal(handler.type) if handler.type else ""
                    self._block(handler.body, scope, unit, (*guards, f"except {caught}:"), fields)
                self._block(node.orelse, scope, unit, (*guards, "else:"), fields)
                self._block(node.finalbody, scope, unit, (*guards, "finally:"), fields)
            case ast.Import() | ast.ImportFrom():
                self._import(node, scope, unit, guards)
            case _ if isinstance(node, _COMPOUND):
                self._loop(node, scope, unit, guards)
            case ast.AnnAssign(value=None):
                if fields and isinstance(node.target, ast.Name):
                    self._add("field", node, scope, unit, guards, [node.target.id])
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if found := self._module_named(value):
                item = self._add("import", node, scope, unit, guards, [name])
                item.imports = {f"{scope}.{name}" if scope else name: Import(found)}
            case _:
                binds, stores = _written([node])
                self._add("assign" if binds else "effect", node, scope, unit, guards, binds, stores)

    def _hash(self, scope: str, members: Sequence[Item]) -> None:
        """Take in what a class statement does for a body that says what is equal, and not how to hash it."""
        equal = [item for item in members if f"{scope}.__eq__" in item.binds]
        if not equal or any(f"{scope}.__hash__" in item.binds for item in members):
            return
        always = any(item.unit is item.node for item in equal)
        node = tree_of(_UNHASHABLE if always else _UNHASHABLE_IF_EQUAL).body[0]
        ast.increment_lineno(node, equal[0].line - 1)
        self.module.implied.add(id(node))
        self._add("assign", node, scope, node, (), ["__hash__"])

    def _module_named(self, value: ast.expr) -> str:
        """The module that an expression gets by its name as a text."""
        names: dict[str, list[Item]] = {}
        for item in self.module.items if isinstance(value, ast.Call) else ():
            for bound in item.imports:
                names.setdefault(bound, []).append(item)
        name = self.module.name
        return module_named(value, names, name if self.module.is_package else name.rpartition(".")[0])

    def _loop(self, node: ast.stmt, scope: str, unit: ast.stmt, guards: tuple[str, ...]) -> None:
        inside = list(outside_functions([node]))
        binds, stores = _written([n for n in inside if isinstance(n, ast.stmt)])
        for one in inside:
            if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                binds.append(one.name)
        self._add("loop", node, scope, unit, guards, binds, stores)

    def _import(self, node: ast.Import | ast.ImportFrom, scope: str, unit: ast.stmt, guards: tuple[str, ...]) -> None:
        found: dict[str, Import] = {}
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    found[alias.asname] = Import(alias.name)
                else:
                    found[alias.name.partition(".")[0]] = Import(alias.name.partition(".")[0])
        else:
            origin = self.module.absolute(node)
            if origin == "__future__":
                return
            for alias in node.names:
                if alias.name == "*":
                    self.module.stars.append(origin)
                else:
                    found[alias.asname or alias.name] = Import(origin, alias.name)
        item = self._add("import", node, scope, unit, guards, list(found))
        if not found and isinstance(node, ast.ImportFrom):
            self.module.star_items.setdefault(self.module.absolute(node), []).append(item)
        item.imports = {f"{scope}.{name}" if scope else name: what for name, what in found.items()}

    def _add(
        self,
        kind: Kind,
        node: ast.stmt,
        scope: str,
        unit: ast.stmt,
        guards: tuple[str, ...],
        binds: list[str],
        stores: Sequence[Store] = (),
    ) -> Item:
        named = tuple(dict.fromkeys(f"{scope}.{name}" if scope else name for name in binds))
        stored, tests = tuple(dict.fromkeys(stores)), tuple(self._tests)
        item = Item(self.module, scope, kind, node, unit, guards, named, {}, stored, tests)
        self.module.items.append(item)
        return item


def _is_main(test: ast.expr) -> bool:
    """Whether the block runs only in a module that is the program."""
    match test:
        case ast.Compare(left=ast.Name(id="__name__"), ops=[ast.Eq()], comparators=[ast.Constant(value="__main__")]):
            return True
    return False


def _written(statements: Sequence[ast.stmt]) -> tuple[list[str], list[Store]]:
    """The names that statements bind, and what they change in place, blocks inside them not included."""
    binds: list[str] = []
    stores: list[Store] = []
    for statement in statements:
        for target in _targets(statement):
            _target(target, binds, stores)
        binds += _executed(statement)
        for expression in _expressions(statement):
            for node in _walk_eager(expression):
                if isinstance(node, ast.NamedExpr) and isinstance(node.target, ast.Name):
                    binds.append(node.target.id)
                elif isinstance(node, ast.Call):
                    _mutating_call(node, stores)
    return binds, stores


def _executed(statement: ast.stmt) -> list[str]:
    """The names that the text of an ``exec("...")`` in this very namespace binds."""
    match statement:
        case ast.Expr(ast.Call(func=ast.Name("exec"), args=[ast.Constant(str(text))], keywords=[])):
            pass
        case _:
            return []
    try:
        inside = [node for node in outside_functions(tree_of(text).body) if isinstance(node, ast.stmt)]
    except (SyntaxError, ValueError):
        return []  # for another Python: it never runs
    binds, _ = _written(inside)
    binds += [n.name for n in inside if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))]
    imported = [alias for n in inside if isinstance(n, (ast.Import, ast.ImportFrom)) for alias in n.names]
    return [*binds, *((alias.asname or alias.name.partition(".")[0]) for alias in imported)]


def _targets(statement: ast.stmt) -> list[ast.expr]:
    match statement:
        case ast.Assign(targets=targets) | ast.Delete(targets=targets):
            return targets
        case ast.AugAssign(target=target) | ast.AnnAssign(target=target) | ast.For(target=target):
            return [target]
        case ast.AsyncFor(target=target):
            return [target]
        case ast.With(items=items) | ast.AsyncWith(items=items):
            return [i.optional_vars for i in items if i.optional_vars]
    if isinstance(statement, ast.TypeAlias if hasattr(ast, "TypeAlias") else ()):
        return [statement.name]
    return []


def _target(target: ast.expr, binds: list[str], stores: list[Store]) -> None:
    match target:
        case ast.Name(id=name):
            binds.append(name)
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            for element in elements:
                _target(element, binds, stores)
        case ast.Starred(value=value):
            _target(value, binds, stores)
        case ast.Attribute():
            chain = chain_of(target)
            if chain:
                stores.append(Store(chain, attribute=True))
        case ast.Subscript() if name := named_in_namespace(target):
            binds.append(name)
        case ast.Subscript(value=value):
            chain = chain_of(value)
            if chain:
                stores.append(Store(chain, attribute=False))


def _mutating_call(node: ast.Call, stores: list[Store]) -> None:
    match node.func:
        case ast.Attribute(value=value, attr=attr) if attr in MUTATORS:
            chain = chain_of(value)
            if chain:
                stores.append(Store(chain, attribute=False))
        case ast.Name(id="setattr" | "delattr") if node.args:
            chain = chain_of(node.args[0])
            named = node.args[1] if len(node.args) > 1 else None
            if chain and isinstance(named, ast.Constant) and isinstance(named.value, str):
                stores.append(Store((*chain, named.value), attribute=True))
            elif chain:
                stores.append(Store(chain, attribute=False))


def _expressions(statement: ast.stmt) -> list[ast.expr]:
    """The expressions of a statement that are evaluated when it runs, blocks inside it not included."""
    found: list[ast.expr] = []
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return found
    for name, value in ast.iter_fields(statement):
        if name == "annotation":
            continue
        values: list[Any] = value if isinstance(value, list) else [value]
        for one in values:
            if isinstance(one, ast.expr):
                found.append(one)
            elif isinstance(one, ast.withitem):
                found.append(one.context_expr)
    return found


def _walk_eager(node: ast.AST) -> Iterator[ast.AST]:
    left = [node]
    while left:
        one = left.pop()
        yield one
        left += [child for child in reversed(children(one)) if type(child) is not ast.Lambda]
