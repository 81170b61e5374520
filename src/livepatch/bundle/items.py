"""A module's source as items: each definition and statement that runs when the module is imported."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from livepatch.bundle import normal
from livepatch.bundle.nodes import walk
from livepatch.bundle.words import words_of
from livepatch.contents.edits import Text

__all__ = [
    "MUTATORS",
    "Import",
    "Item",
    "Module",
    "Store",
    "absolute_name",
    "chain_of",
    "decoded",
    "full_name",
    "named_in_namespace",
    "outside_functions",
]

Kind = Literal["function", "class", "import", "assign", "field", "effect", "loop"]

MUTATORS = frozenset(
    [
        "add",
        "append",
        "appendleft",
        "clear",
        "discard",
        "extend",
        "extendleft",
        "insert",
        "pop",
        "popitem",
        "popleft",
        "remove",
        "reverse",
        "rotate",
        "setdefault",
        "sort",
        "update",
        "intersection_update",
        "difference_update",
        "symmetric_difference_update",
        "__setitem__",
        "__delitem__",
        "register",
        "setattr",
        "move_to_end",
        "subtract",
    ]
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
    module, that runs it: itself, or the outermost compound statement around it.  `guards` say on what conditions;
    `tests` are those of the ``if`` statements among them.
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
    tests: tuple[ast.expr, ...] = ()

    @property
    def text(self) -> Text:
        """The source of the definition or statement alone."""
        return self.module.text(self.node)

    @cached_property
    def line(self) -> int:
        """The line at which it begins, decorators included."""
        return _first_line(self.node)

    @property
    def is_implied(self) -> bool:
        """Whether it is not in the file: the interpreter does what it says."""
        return id(self.node) in self.module.implied

    @cached_property
    def normal(self) -> str:
        """What counts of it, its conditions included."""
        return "".join([*self.guards, normal.normal(self.node)])

    @cached_property
    def raw(self) -> bytes:
        """The lines that it stands on; of a class, those of its head."""
        if self.is_implied:
            return ast.unparse(self.node).encode()
        last = self.node.end_lineno or self.node.lineno
        if isinstance(self.node, ast.ClassDef):
            last = max(self.node.lineno, _first_line(self.node.body[0]) - 1)
        return b"".join(self.module.lines[self.line - 1 : last])

    @cached_property
    def words(self) -> frozenset[str]:
        """Every identifier on its lines, and in the conditions on which it runs."""
        words = words_of(self.raw)
        return words.union(*(words_of(ast.unparse(test).encode()) for test in self.tests)) if self.tests else words

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
        self.star_items: dict[str, list[Item]] = {}
        """The statements that import all names of a module, by that module."""
        self.by_name: dict[str, list[Item]] = {}
        self.implied: set[int] = set()
        """The ids of statements that are not in the file: the interpreter does what they say."""

    def forget(self) -> None:
        """Let go of its items, which refer to it."""
        self.items.clear()
        for index in (self.by_name, self.star_items, self.by_scope):
            index.clear()

    def index(self) -> None:
        """Sort the items by the names that they bind, once all are there."""
        self._bind_class_attributes()
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
        return words_of(b"".join(self.lines))

    @cached_property
    def bound_by_functions(self) -> frozenset[str]:
        """The names that functions bind by ``global``."""
        stated = [one for one in walk(self.tree) if isinstance(one, ast.Global)] if "global" in self.words else []
        return frozenset(name for one in stated for name in one.names)

    def mentioning(self, words: AbstractSet[str], looking: AbstractSet[str]) -> list[Item]:
        """The items that have one of some words, in source order.

        What looks at a module as a whole need not name what it finds there: of what is no function, those also that
        have one of the words of `looking`.
        """
        named, whole = self.words & words, self.words & looking
        if not named and not whole:
            return []
        any_of = named | whole
        return [item for item in self.items if not item.words.isdisjoint(named if item.kind == "function" else any_of)]

    @cached_property
    def by_scope(self) -> dict[str, list[Item]]:
        """The items in the body of each class."""
        found: dict[str, list[Item]] = {}
        for item in self.items:
            found.setdefault(item.scope, []).append(item)
        return found

    def text(self, node: ast.stmt) -> Text:
        """The source of a statement, moved to the left margin."""
        first = _first_line(node)
        if id(node) in self.implied:
            return Text(source=ast.unparse(node) + "\n", line=first)
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
        found = [node for node in outside_functions(self.tree.body) if isinstance(node, (ast.Import, ast.ImportFrom))]
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


def outside_functions(statements: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """All statements, also those inside others, that are in no function."""
    for node in statements:
        yield node
        if isinstance(node, ast.stmt) and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for name in ("body", "orelse", "handlers", "finalbody", "cases"):
                yield from outside_functions(getattr(node, name, ()))
        elif isinstance(node, (ast.ExceptHandler, ast.match_case)):
            yield from outside_functions(node.body)


# A constant over several lines is a string.
_STRINGS = (ast.Constant, ast.JoinedStr, *([ast.TemplateStr] if hasattr(ast, "TemplateStr") else []))


def _inside_strings(node: ast.AST) -> set[int]:
    """The lines that begin within a string literal."""
    kept: set[int] = set()
    for one in walk(node):
        if isinstance(one, _STRINGS) and (one.end_lineno or 0) > one.lineno:
            kept.update(range(one.lineno + 1, (one.end_lineno or 0) + 1))
    return kept


# Names


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


def named_in_namespace(node: ast.AST) -> str:
    """The name that ``globals()["name"]`` and the like stand for in the namespace around them; else nothing."""
    match node:
        case ast.Subscript(
            value=ast.Call(func=ast.Name(id="globals" | "locals" | "vars"), args=[], keywords=[]),
            slice=ast.Constant(value=str(name)),
        ):
            return name
    return ""


def full_name(item: Item, chain: tuple[str, ...]) -> str:
    """What a chain of names is called where it comes from, as the imports of the module say."""
    if not chain:
        return ""
    for other in item.module.by_name.get(chain[0], []):
        what = other.imports.get(chain[0])
        if what is not None:
            return ".".join([what.module, *([what.name] if what.name else []), *chain[1:]])
    return ".".join(chain)
