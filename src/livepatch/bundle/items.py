"""A module's source as items: each definition and statement that runs when the module is imported."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from livepatch.bundle import normal
from livepatch.edits import Text

__all__ = ["MUTATORS", "Import", "Item", "Module", "Store", "absolute_name", "chain_of", "decoded", "full_name", "parse"]

Kind = Literal["function", "class", "import", "assign", "field", "effect", "loop"]

_COMPOUND = (ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Match)
MUTATORS = frozenset(
    "add append appendleft clear discard extend extendleft insert pop popitem popleft remove reverse rotate setdefault"
    " sort update intersection_update difference_update symmetric_difference_update __setitem__ __delitem__ register"
    " setattr move_to_end subtract".split()
)


@dataclass(frozen=True, slots=True)
class Import:
    """What an import binds to one name: a module, or (`name`) what a module calls so."""

    module: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Store:
    """A change in place: of what the chain of names leads to, or (`attribute`) of its last name alone."""

    chain: tuple[str, ...]
    attribute: bool


@dataclass(eq=False)
class Item:
    """One definition or statement.

    `scope` is the qualified name of the class in whose body it stands.  `unit` is the statement of that body, or of the
    module, that runs it: itself, or the outermost compound statement around it.  `guards` say on what conditions.
    """

    module: Module = field(repr=False)
    scope: str
    kind: Kind
    node: ast.stmt
    unit: ast.stmt
    guards: tuple[str, ...] = ()
    binds: tuple[str, ...] = ()
    imports: dict[str, Import] = field(default_factory=dict)
    stores: tuple[Store, ...] = ()

    @property
    def text(self) -> Text:
        """The source of the definition or statement alone."""
        return self.module.text(self.node)

    @property
    def line(self) -> int:
        """The line at which it begins, decorators included."""
        return _first_line(self.node)

    @cached_property
    def normal(self) -> str:
        """What counts of it, its conditions included."""
        return "".join([*self.guards, normal.normal(self.node)])

    @cached_property
    def raw(self) -> bytes:
        """The lines that it stands on; of a class, those of its head."""
        last = self.node.end_lineno or self.node.lineno
        if isinstance(self.node, ast.ClassDef):
            last = max(self.node.lineno, _first_line(self.node.body[0]) - 1)
        return b"".join(self.module.lines[self.line - 1 : last])

    @cached_property
    def words(self) -> frozenset[str]:
        """Every identifier on its lines."""
        return frozenset(re.findall(r"[^\W\d]\w*", self.raw.decode()))

    @property
    def accessor(self) -> Literal["", "fget", "fset", "fdel"]:
        """Which function of a property it is."""
        node = self.node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return ""
        for decorator in node.decorator_list:
            match decorator:
                case ast.Name(id="property" | "abstractproperty"):
                    return "fget"
                case ast.Attribute(attr="abstractproperty"):
                    return "fget"
                case ast.Attribute(value=ast.Name(id=name), attr="getter" | "setter" | "deleter" as which) if (
                    name == node.name
                ):
                    return {"getter": "fget", "setter": "fset", "deleter": "fdel"}[which]  # type: ignore[return-value]
        return ""


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(d.lineno for d in decorators)])


class Module:
    """A parsed module and its items, in source order."""

    def __init__(self, name: str, path: str, source: bytes, tree: ast.Module) -> None:
        self.name = name
        self.path = path
        self.source = source
        self.is_package = path.rpartition("/")[2] == "__init__.py"
        self.tree = tree
        self.items: list[Item] = []
        self.stars: list[str] = []
        _Reader(self).read()
        self._bind_class_attributes()
        self.by_name: dict[str, list[Item]] = {}
        for item in self.items:
            for bound in item.binds:
                self.by_name.setdefault(bound, []).append(item)

    @cached_property
    def class_names(self) -> list[str]:
        """The qualified names of its classes."""
        return [bound for item in self.items if item.kind == "class" for bound in item.binds]

    def _bind_class_attributes(self) -> None:
        """Take ``C.x = ...`` after a class of the module as what binds ``C.x``."""
        classes = {bound for item in self.items if item.kind == "class" for bound in item.binds}
        for item in self.items:
            if not item.scope:
                named = [".".join(s.chain) for s in item.stores if s.attribute and ".".join(s.chain[:-1]) in classes]
                if named:
                    item.binds = tuple(dict.fromkeys([*item.binds, *named]))
                    item.kind = "assign" if item.kind == "effect" else item.kind

    @cached_property
    def lines(self) -> list[bytes]:
        """The lines of the file in UTF-8, as the parser counts columns."""
        return decoded(self.source).encode().splitlines(keepends=True)

    @cached_property
    def words(self) -> frozenset[str]:
        """Every identifier in the file, in strings and comments too."""
        return frozenset(re.findall(r"[^\W\d]\w*", decoded(self.source)))

    def text(self, node: ast.stmt) -> Text:
        """The source of a statement, moved to the left margin."""
        first = _first_line(node)
        last = node.end_lineno or node.lineno
        lines = self.lines[first - 1 : last]
        lead = lines[0][: len(lines[0]) - len(lines[0].lstrip(b" \t\f"))]
        whole = lines[0].lstrip(b" \t\f").startswith(b"@") or not lines[0][: node.col_offset].strip()
        if lines:
            lines[-1] = lines[-1][: node.end_col_offset]
        if not whole:
            start = node.col_offset
            lines[0] = lines[0][start:]
            lead = b""
        if lead:
            kept = _inside_strings(node)
            lines = [
                line if number in kept else line.removeprefix(lead) if line.startswith(lead) else line.lstrip(b" \t\f")
                for number, line in enumerate(lines, first)
            ]
        return Text(source=b"".join(lines).decode() + "\n", line=first)

    @cached_property
    def import_lines(self) -> tuple[str, ...]:
        """All import statements outside functions, one a line."""
        found = [node for node in _outside_functions(self.tree.body) if isinstance(node, (ast.Import, ast.ImportFrom))]
        return tuple(ast.unparse(n) for n in found if not (isinstance(n, ast.ImportFrom) and n.module == "__future__"))

    @cached_property
    def futures(self) -> tuple[str, ...]:
        """The names of the features that the module turns on."""
        return tuple(
            alias.name
            for node in self.tree.body
            if isinstance(node, ast.ImportFrom) and node.module == "__future__" and not node.level
            for alias in node.names
        )

    def absolute(self, node: ast.ImportFrom) -> str:
        """The full name of the module that the statement imports from."""
        return absolute_name(node, self.name, self.is_package)


def absolute_name(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    """The full name of the module that a statement in `module` imports from."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    parts = parts[: len(parts) - node.level + (1 if is_package else 0)]
    return ".".join([*parts, *([node.module] if node.module else [])])


def decoded(source: bytes) -> str:
    """Text of a source file, by its own declaration (PEP 263)."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
    return io.TextIOWrapper(io.BytesIO(source), encoding, newline=None).read()


def parse(name: str, path: str, source: bytes) -> Module:
    """Read a module.  Raises :class:`SyntaxError` or :class:`ValueError`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Module(name, path, source, ast.parse(decoded(source), path))


def _outside_functions(statements: Sequence[ast.AST]) -> Iterator[ast.AST]:
    for node in statements:
        yield node
        if isinstance(node, ast.stmt) and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for name in ("body", "orelse", "handlers", "finalbody", "cases"):
                yield from _outside_functions(getattr(node, name, ()))
        elif isinstance(node, (ast.ExceptHandler, ast.match_case)):
            yield from _outside_functions(node.body)


def _inside_strings(node: ast.AST) -> set[int]:
    """The lines that begin within a string literal."""
    kept: set[int] = set()
    for one in ast.walk(node):
        if isinstance(one, (ast.Constant, ast.JoinedStr)) and (one.end_lineno or 0) > one.lineno:
            if isinstance(one, ast.JoinedStr) or isinstance(one.value, (str, bytes)):
                kept.update(range(one.lineno + 1, (one.end_lineno or 0) + 1))
    return kept


# Reading


class _Reader:
    def __init__(self, module: Module) -> None:
        self.module = module

    def read(self) -> None:
        self._block(self.module.tree.body, "", None, ())

    def _block(
        self, statements: Sequence[ast.stmt], scope: str, unit: ast.stmt | None, guards: tuple[str, ...], fields: bool = False
    ) -> None:
        for node in statements:
            self._statement(node, scope, unit or node, guards, fields)

    def _statement(self, node: ast.stmt, scope: str, unit: ast.stmt, guards: tuple[str, ...], fields: bool) -> None:
        match node:
            case ast.Pass() | ast.Expr(value=ast.Constant()):
                return
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                if not normal.is_overload(node):
                    self._add("function", node, scope, unit, guards, [node.name])
            case ast.ClassDef():
                self._add("class", node, scope, unit, guards, [node.name])
                inner = f"{scope}.{node.name}" if scope else node.name
                self._block(node.body, inner, None, (), fields=bool(node.bases or node.decorator_list))
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
                test = normal.normal(node.test)
                self._block(node.body, scope, unit, (*guards, f"if {test}:"), fields)
                self._block(node.orelse, scope, unit, (*guards, f"if not {test}:"), fields)
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
            case _:
                binds, stores = _written([node])
                self._add("assign" if binds else "effect", node, scope, unit, guards, binds, stores)

    def _loop(self, node: ast.stmt, scope: str, unit: ast.stmt, guards: tuple[str, ...]) -> None:
        inside = list(_outside_functions([node]))
        binds, stores = _written([n for n in inside if isinstance(n, ast.stmt)])
        for one in inside:
            if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                binds.append(one.name)
        self._add("loop", node, scope, unit, guards, binds, stores)

    def _import(
        self, node: ast.Import | ast.ImportFrom, scope: str, unit: ast.stmt, guards: tuple[str, ...]
    ) -> None:
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
        item = Item(self.module, scope, kind, node, unit, guards, named, {}, tuple(dict.fromkeys(stores)))
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
        for expression in _expressions(statement):
            for node in _walk_eager(expression):
                if isinstance(node, ast.NamedExpr) and isinstance(node.target, ast.Name):
                    binds.append(node.target.id)
                elif isinstance(node, ast.Call):
                    _mutating_call(node, stores)
    return binds, stores


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


def chain_of(node: ast.AST) -> tuple[str, ...]:
    """``a.b.c`` as its names; empty if it is anything else."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        # globals()["x"] and the like
        return ()
    return (node.id, *reversed(names))


def full_name(item: Item, chain: tuple[str, ...]) -> str:
    """What a chain of names is called where it comes from, as the imports of the module say."""
    if not chain:
        return ""
    for other in item.module.by_name.get(chain[0], []):
        what = other.imports.get(chain[0])
        if what is not None:
            return ".".join([what.module, *([what.name] if what.name else []), *chain[1:]])
    return ".".join(chain)


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
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.Lambda):
            yield from _walk_eager(child)
