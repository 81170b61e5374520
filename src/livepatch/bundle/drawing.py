"""What is called under another name than its own: a variable of a loop, or what `operator` makes of a name's text."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence

from livepatch.bundle.items import Item, chain_of
from livepatch.bundle.nodes import of_kinds, walk, walk_all

__all__ = ["calls_of_drawn", "items_got", "said_of_getters"]

_GETTERS = frozenset({"methodcaller", "attrgetter", "itemgetter"})
_NAMED = frozenset({ast.Name, ast.Attribute, ast.Lambda, ast.Call})
_THROUGH = frozenset({"enumerate", "filter", "iter", "list", "reversed", "set", "sorted", "tuple", "zip"})
"""Builtins that give what they are given, one after the other."""


def calls_of_drawn(target: ast.expr, drawn: ast.expr, within: Iterable[ast.AST]) -> Iterator[ast.expr]:
    """What is called where a variable of a loop or comprehension is: what is drawn, each with the names behind it.

    Of ``[each() for each in (f, g)]`` that is ``f`` and ``g``, of ``[each.get() for each in (a, b)]``, ``a.get`` and
    ``b.get``.
    """
    given = list(_elements(drawn))
    names = {one.id for one in walk(target) if isinstance(one, ast.Name)} if given else set()
    if not names:
        return
    for call in of_kinds(walk_all(within), {ast.Call}):
        chain = chain_of(call.func)  # type: ignore[attr-defined]
        if chain and chain[0] in names:
            yield from (_behind(one, chain[1:]) for one in given)


def _elements(node: ast.expr) -> Iterator[ast.expr]:
    """The expressions that a loop over another one draws, as far as they are there."""
    if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        parts: Sequence[ast.expr | None] = node.elts
    elif isinstance(node, ast.Dict):
        parts = [*node.keys, *node.values]
    elif isinstance(node, ast.Call):
        called = chain_of(node.func)
        if called[1:] in (("items",), ("values",)) or (len(called) == 1 and called[0] in _THROUGH):
            for one in node.args:
                yield from _elements(one)
        elif isinstance(node.func, ast.Attribute) and node.func.attr in ("items", "values"):
            yield from _elements(node.func.value)
        return
    else:
        return
    for part in parts:
        if type(part) in _NAMED:
            yield part  # type: ignore[misc]
        elif part is not None:
            yield from _elements(part.value if isinstance(part, ast.Starred) else part)


def _behind(node: ast.expr, names: Iterable[str]) -> ast.expr:
    for name in names:
        node = ast.Attribute(node, name, ast.Load())
    return node


def said_of_getters(node: ast.Call, names: Mapping[str, Sequence[Item]]) -> Iterator[ast.expr]:
    """What a call of a ``methodcaller`` or ``attrgetter`` does, written out.

    ``methodcaller("get", 1)(a)`` is ``a.get(1)``, ``attrgetter("b.c")(a)`` is ``a.b.c``; so is the call of one of
    `names`, of the module, that stands for one, and ``map`` with one over what is there.
    """
    getter = _getter(node.func, names)
    if getter is not None:
        yield from (said for one in node.args[:1] for said in _got(getter, one))
    elif chain_of(node.func) in (("map",), ("filter",)) and len(node.args) > 1:
        getter = _getter(node.args[0], names)
        if getter is not None:
            yield from (said for one in _elements(node.args[1]) for said in _got(getter, one))


def items_got(node: ast.expr) -> ast.expr | None:
    """The container of which ``itemgetter("a")(container)`` gives an entry."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Call) or not node.args:
        return None
    return node.args[0] if chain_of(node.func.func)[-1:] == ("itemgetter",) else None


def _getter(node: ast.expr, names: Mapping[str, Sequence[Item]]) -> ast.Call | None:
    """The call that makes what is called, if it is one of `operator`."""
    if isinstance(node, ast.Name):
        bound = names.get(node.id, ())
        value = getattr(bound[0].node, "value", None) if len(bound) == 1 and bound[0].kind == "assign" else None
        node = value if isinstance(value, ast.Call) else node
    if isinstance(node, ast.Call) and chain_of(node.func)[-1:] and chain_of(node.func)[-1] in _GETTERS:
        return node
    return None


def _got(getter: ast.Call, given: ast.expr) -> Iterator[ast.expr]:
    """What a getter gives of what it is given."""
    kind = chain_of(getter.func)[-1]
    said = [one.value for one in getter.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    if kind == "methodcaller" and said:
        yield ast.Call(_behind(given, said[:1]), getter.args[1:], getter.keywords)
    elif kind == "attrgetter":
        yield from (_behind(given, name.split(".")) for name in said)
