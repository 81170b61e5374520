"""Modules and names that code gets by their text: ``import_module("m")``, ``getattr(m, "N")``, ``vars(m)["N"]``."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

from livepatch.bundle.items import Item, chain_of

__all__ = ["LOOKING", "looked_at_whole", "may_look", "module_named", "spaces_in", "written_out"]

# Words begin at their boundaries: a source may hold a word of a hundred thousand digits.
# A pattern that begins with letters is searched many times as fast as one that begins with a choice.
_LOOKS = [re.compile(name + rb"\(\s*([\w.]+)\s*[,)]") for name in (b"vars", b"dir", b"getmembers", b"getattr")]
_LAST = re.compile(rb"\w+$")
_FIRST = re.compile(rb"\w+")
_MOST = 200
"""The bytes of a name at most: no more of a source than that is searched for where one begins."""

LOOKING = frozenset({"vars", "dir", "getmembers", "getattr", "__dict__"})
"""The words of which one is in a source that :func:`spaces_in` finds anything in."""


def spaces_in(source: bytes) -> frozenset[str]:
    """The last names of what a file looks at as a whole, or by texts that it computes; by their own names, too."""
    found = {name.rpartition(b".")[2] for look in _LOOKS for name in look.findall(source)}
    found.update(name for name, _ in _around(source, b".__dict__"))
    found -= {b"", b"self", b"cls"}
    if found:
        found |= {name for name, alias in _around(source.replace(b"\t", b" "), b" as ") if alias in found}
    return frozenset(name.decode() for name in found if name.isascii())


def _around(source: bytes, mark: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The words before and after each place that has a mark; the one after may be none."""
    parts = source.split(mark)
    for before, after in itertools.pairwise(parts):
        name = _LAST.search(before[-_MOST:].rstrip(b" "))
        other = _FIRST.match(after[:_MOST].lstrip(b" "))
        if name is not None:
            yield name[0], other[0] if other else b""


_LOOKERS = frozenset({"getattr", "vars", "dir", "getmembers", "get"})


_SPACES = frozenset({ast.Call, ast.Attribute})
"""What ``vars(owner)`` and ``owner.__dict__`` are."""


def may_look(node: ast.AST) -> bool:
    """Whether :func:`written_out` or :func:`looked_at_whole` may find anything in an expression."""
    kind = type(node)
    if kind is ast.Attribute:
        return bool(node.attr == "__dict__")  # type: ignore[attr-defined]
    if kind is ast.Call:
        func = node.func  # type: ignore[attr-defined]
        kind = type(func)
        return (func.id if kind is ast.Name else func.attr if kind is ast.Attribute else "") in _LOOKERS
    return kind is ast.Subscript and type(node.value) in _SPACES  # type: ignore[attr-defined]


def written_out(node: ast.AST) -> ast.Attribute | None:
    """The attribute that an expression reads by its name as a text, if the text is there."""
    owner: ast.expr | None
    match node:
        case ast.Call(func=ast.Name(id="getattr"), args=[ast.expr() as given, ast.Constant(value=str(name)), *_]):
            owner = given
        case ast.Subscript(value=space, slice=ast.Constant(value=str(name)), ctx=ast.Load()):
            owner = _space_of(space)
        case ast.Call(func=ast.Attribute(value=space, attr="get"), args=[ast.Constant(value=str(name)), *_]):
            owner = _space_of(space)
        case _:
            return None
    return ast.Attribute(owner, str(name), ast.Load()) if owner is not None and str(name).isidentifier() else None


def _space_of(node: ast.expr) -> ast.expr | None:
    match node:
        case ast.Call(func=ast.Name(id="vars"), args=[owner]) | ast.Attribute(value=owner, attr="__dict__"):
            return owner
    return None


def looked_at_whole(node: ast.AST) -> ast.expr | None:
    """The object of which an expression may read any attribute."""
    match node:
        case ast.Call(func=ast.Name(id="vars" | "dir"), args=[owner]) | ast.Attribute(value=owner, attr="__dict__"):
            return owner
        case ast.Call(func=ast.Name(id="getattr"), args=[owner, name, *_]) if not isinstance(name, ast.Constant):
            return owner
        case ast.Call(func=ast.Name(id="getmembers") | ast.Attribute(attr="getmembers"), args=[owner, *_]):
            return owner
    return None


def module_named(node: ast.AST, names: Mapping[str, Sequence[Item]], package: str) -> str:
    """The full name of the module that an expression gets by a text; empty if it does not.

    `names` are what the module binds, and `package` is what names that begin with a dot are relative to.
    """
    match node:
        case ast.Call(func=function, args=[ast.Constant(value=str(name)), *rest]):
            chain = chain_of(function)
            if chain == ("__import__",):
                whole = len(rest) > 2 or any(k.arg == "fromlist" for k in node.keywords)
                return name if whole else name.partition(".")[0]
            known = chain[-1:] == ("import_module",) or (len(chain) == 1 and _is_import_module(names, chain[0]))
            if not known:
                return ""
            within = [*rest, *(k.value for k in node.keywords if k.arg == "package")]
            return _absolute(name, within[0] if within else None, package)
        case ast.Subscript(value=ast.Attribute() as table, slice=ast.Constant(value=str(name)), ctx=ast.Load()):
            return name if chain_of(table) == ("sys", "modules") else ""
    return ""


def _is_import_module(names: Mapping[str, Sequence[Item]], name: str) -> bool:
    imported = [item.imports.get(name) for item in names.get(name, ())]
    return any(what is not None and (what.module, what.name) == ("importlib", "import_module") for what in imported)


def _absolute(name: str, within: ast.expr | None, package: str) -> str:
    bare = name.lstrip(".")
    level = len(name) - len(bare)
    if not level:
        return name
    base = within.value if isinstance(within, ast.Constant) and isinstance(within.value, str) else package
    parts = base.split(".")
    return ".".join([*parts[: len(parts) - level + 1], *([bare] if bare else [])])
