"""Definitions that this process has never run: they stand under a condition, or in a handler, of their module.

``try: from fast import f`` and its ``except ImportError: def f(): …`` define one of two.  Where the process has the
other, nothing of the definition runs, and a patch has nothing to change.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import ModuleType

from livepatch.contents.edits import ModuleEdit, Side
from livepatch.engine.heap import functions_of
from livepatch.engine.locate import mangled
from livepatch.engine.namespaces import is_class, is_module, namespace_of, with_subclasses
from livepatch.engine.pace import breathe
from livepatch.engine.refusal import Refusal
from livepatch.engine.source import lines_of
from livepatch.engine.syntax import syntax_of

__all__ = ["never_defined", "nothing_defines", "unmade_classes", "without_classes"]

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def never_defined(module: ModuleType, qualname: str) -> bool:
    """Whether a module defines a name only under a condition, by its file, and nothing live is what it defines.

    The name of a member counts as defined where its class is.  Parses the file and walks the heap: ask where nothing
    else tells.
    """
    prefix = f"{qualname}."
    for function in functions_of(module):
        name = function.__code__.co_qualname
        if name == qualname or name.startswith(prefix):
            return False
    for cls in with_subclasses(object):
        if (cls.__module__, cls.__qualname__) == (module.__name__, qualname):
            return False
    filename = str(getattr(module, "__file__", None) or "")
    lines = lines_of(filename, {}) if filename.endswith(".py") else []
    try:
        tree = syntax_of("".join(lines))
    except (SyntaxError, ValueError, RecursionError):
        return False
    breathe()
    return _all_conditional(tree.body, qualname.split("."))


def unmade_classes(edit: ModuleEdit, module: ModuleType) -> set[str]:
    """The classes that an edit changes and that the process has never made."""
    statements = [*edit.before.program, *edit.after.program]
    scopes = {each.scope for each in statements}
    scopes |= {each.qualname.rpartition(".")[0] for each in edit.functions}
    scopes |= {each.qualname.rpartition(".")[0] for each in edit.names}
    return {scope for scope in sorted(scopes - {""}) if not _is_there(module, scope) and never_defined(module, scope)}


def without_classes(edit: ModuleEdit, scopes: set[str]) -> ModuleEdit:
    """An edit without what it changes in some classes."""

    def stays(qualname: str) -> bool:
        return qualname not in scopes and not any(qualname.startswith(f"{scope}.") for scope in scopes)

    def side(one: Side) -> Side:
        return replace(one, program=tuple(each for each in one.program if stays(each.scope)))

    return replace(
        edit,
        before=side(edit.before),
        after=side(edit.after),
        functions=tuple(each for each in edit.functions if stays(each.qualname)),
        names=tuple(each for each in edit.names if stays(each.qualname)),
        attributes=tuple(each for each in edit.attributes if stays(each.class_qualname)),
    )


def _is_there(module: ModuleType, scope: str) -> bool:
    """Whether a path of names leads to the class that the source states there."""
    value: object = module
    for name in scope.split("."):
        if not is_module(value) and not is_class(value):
            return False
        value = namespace_of(value).get(mangled(name, value.__name__) if is_class(value) else name)
    return is_class(value) and (value.__module__, value.__qualname__) == (module.__name__, scope)


def nothing_defines(target: object) -> Refusal:
    """What is said of a change that has nothing to change here."""
    return Refusal(
        "not-in-process",
        f"{target} stands under a condition that did not hold when its module was imported, so nothing of it runs",
        "a definition that the process has made",
        "nothing",
    )


def _all_conditional(body: Iterable[ast.stmt], names: list[str]) -> bool:
    """Whether there are definitions of a path of names, and all of them stand under a condition."""
    found = list(_defined(body, names[0], conditional=False))
    if not found:
        return False
    return all(
        conditional or (len(names) > 1 and isinstance(node, ast.ClassDef) and _all_conditional(node.body, names[1:]))
        for node, conditional in found
    )


def _defined(body: Iterable[ast.stmt], name: str, *, conditional: bool) -> Iterator[tuple[ast.stmt, bool]]:
    for node in body:
        if isinstance(node, _DEFINITIONS):
            if node.name == name:
                yield node, conditional
            continue
        for inner in ("body", "orelse", "finalbody"):
            yield from _defined(getattr(node, inner, ()), name, conditional=True)
        for one in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            yield from _defined(one.body, name, conditional=True)
