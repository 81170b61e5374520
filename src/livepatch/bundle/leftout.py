"""Differences that a fix does not need: versions, metadata, tests, documentation."""

from __future__ import annotations

import ast
import re
import sys

from livepatch.bundle.changes import Difference
from livepatch.bundle.items import Import, Item, chain_of, full_name
from livepatch.bundle.nodes import walk

__all__ = [
    "ONLY_FOR_STARS",
    "ONLY_FOR_TYPES",
    "is_type",
    "reason_to_leave",
    "reason_to_leave_file",
]

ONLY_FOR_STARS = "what a star import gives; what changed is reached without it"
ONLY_FOR_TYPES = "a name for type checkers"

_FOLDERS = frozenset(["tests", "doc", "docs", "examples", "example", "samples", "benchmarks", "benchmark"])
_FILES = re.compile(r"(test_.*|.*_test|tests|conftest|setup|noxfile)\.py")
_VERSION_NAMES = re.compile(
    r"_*ver(_\w+)?|_*version(_(info|tuple|string|major|minor|micro|patch|extra))?_*"
    r"|__(build|date|revision|release|commit_id)__|(MAJOR|MINOR|MICRO|PATCH)_VERSION",
    re.IGNORECASE,
)
_VERSION_MODULES = frozenset(
    ["_version", "version", "__version__", "__about__", "about", "__meta__", "_meta", "__pkg_info__"]
)
_METADATA = frozenset(
    [
        "__all__",
        "__author__",
        "__authors__",
        "__author_email__",
        "__email__",
        "__copyright__",
        "__license__",
        "__url__",
        "__date__",
        "__status__",
        "__credits__",
        "__maintainer__",
        "__description__",
        "__title__",
        "__summary__",
        "__contact__",
        "__homepage__",
        "__docformat__",
        "__doc__",
        "__build__",
        "__revision__",
        "__uri__",
        "__cake__",
    ]
)


def reason_to_leave_file(path: str) -> str:
    """Why no difference in the file counts; empty if they do."""
    folders = path.split("/")[:-1]
    base = path.rpartition("/")[2]
    for folder in folders:
        if folder in _FOLDERS:
            return f"in the folder {folder}, which the package does not need at run time"
    if _FILES.fullmatch(base) and (
        base.startswith(("test_", "tests.", "conftest")) or "test" in folders or not folders
    ):
        return "a test, or for building the package"
    return ""


def reason_to_leave(one: Difference) -> str:
    """Why the fix does not need the difference; empty if it may."""
    name = one.qualname.rpartition(".")[2]
    items = [*one.before, *one.after]
    if one.form == "name" and "." not in one.qualname and all(i.kind == "assign" for i in items):
        if name == "__all__":
            return ONLY_FOR_STARS
        if name in _METADATA or (re.fullmatch(r"__\w+__", name) and all(_plain(i) for i in items)):
            return "describes the package"
        in_version_module = one.module.rpartition(".")[2] in _VERSION_MODULES
        if (in_version_module or _VERSION_NAMES.fullmatch(name)) and all(_plain(i) for i in items):
            return "the version of the package, which stays that of the installed release"
    if one.form == "effect" and all(isinstance(i.node, (ast.Raise, ast.Assert)) for i in items):
        return "a check that is made once, at import"
    if one.form == "effect" and all(_warns(i) for i in items):
        return "a warning that is given once, at import"
    if one.form in ("name", "field") and one.kind != "added" and all(is_type(i) for i in items):
        return ONLY_FOR_TYPES
    if one.form == "field":
        return ""
    if one.form == "effect" and all(_changes_all(i) for i in items):
        return ONLY_FOR_STARS
    if one.kind == "removed" and one.what == "import":
        return "an import that nothing uses any more does no harm"
    sources = [_stdlib_import(side, one.qualname) for side in (one.before, one.after) if side]
    if one.kind == "changed" and sources[0] is not None and sources[0] == sources[1]:
        return "both sides import it from the standard library, where that has it"
    return ""


def _stdlib_import(items: list[Item], qualname: str) -> Import | None:
    """What a name is imported as from the standard library, if whatever else binds it only stands in for that."""
    what = items[0].imports.get(qualname)
    if what is None or what.module.partition(".")[0] not in sys.stdlib_module_names:
        return None
    stand_ins = all(any(guard.startswith("except ") for guard in each.guards) for each in items[1:])
    alone = [guard for guard in items[0].guards if guard != "try:"]
    return what if stand_ins and not alone else None


_PLAIN = (
    *(ast.Constant, ast.Tuple, ast.List, ast.JoinedStr, ast.FormattedValue, ast.Name, ast.Attribute, ast.Subscript),
    *(ast.Call, ast.GeneratorExp, ast.comprehension, ast.Slice, ast.BinOp, ast.operator, ast.expr_context),
)


def _plain(item: Item) -> bool:
    """Whether the value is a literal, or literals put together."""
    value = getattr(item.node, "value", None)
    return value is not None and all(isinstance(node, _PLAIN) for node in walk(value))


def _warns(item: Item) -> bool:
    node = item.node
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
        return False
    return full_name(item, chain_of(node.value.func)) == "warnings.warn"


_TYPES = frozenset(
    [
        "Union",
        "Optional",
        "Callable",
        "Dict",
        "List",
        "Tuple",
        "Set",
        "FrozenSet",
        "Type",
        "Any",
        "Literal",
        "Iterable",
        "Iterator",
        "Sequence",
        "Mapping",
        "Generator",
        "MutableMapping",
        "Awaitable",
        "Coroutine",
        "AsyncIterator",
        "AsyncIterable",
        "AsyncGenerator",
        "Annotated",
        "ClassVar",
        "Final",
        "Collection",
        "MutableSequence",
        "DefaultDict",
        "Deque",
        "Counter",
        "OrderedDict",
        "ContextManager",
        "AsyncContextManager",
        "Pattern",
        "Match",
    ]
)
_TYPE_CALLS = frozenset({"TypeVar", "ParamSpec", "TypeVarTuple", "NewType"})


def is_type(item: Item) -> bool:
    """Whether the name stands for a type expression, which mostly annotations use."""
    value = getattr(item.node, "value", None)
    if isinstance(value, ast.Call):
        return (chain_of(value.func) or ("",))[-1] in _TYPE_CALLS
    if isinstance(value, ast.Subscript):
        chain = chain_of(value.value)
        return bool(chain) and chain[-1] in _TYPES and (len(chain) == 1 or chain[0] in ("typing", "t", "tp", "te"))
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.BitOr):
        return (
            item.kind == "assign"
            and isinstance(item.node, ast.AnnAssign)
            and "TypeAlias" in ast.unparse(item.node.annotation)
        )
    return False


def _changes_all(item: Item) -> bool:
    return bool(item.stores) and all(s.chain[0] == "__all__" for s in item.stores)
