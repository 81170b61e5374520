"""What a statement does something to by calls: whose methods it calls, and what it hands to functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

from livepatch.bundle.arguments import by_keyword, in_order
from livepatch.bundle.items import MUTATORS, chain_of
from livepatch.bundle.nodes import children, walk

__all__ = ["changes_parameter", "handed_over", "receivers"]

Chain = tuple[str, ...]
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_LATER = frozenset({*_FUNCTIONS, ast.Lambda})
"""What runs when somebody calls it."""

_DOES = ("add_", "append_", "connect", "include", "insert_", "put_", "push_", "register", "set_", "subscribe")
"""How the names of methods begin that do something to their object, also where they give something back."""

_READS = frozenset(
    [
        *("all", "any", "bool", "dict", "enumerate", "filter", "frozenset", "getattr", "hasattr", "hash", "id", "int"),
        *("isinstance", "issubclass", "iter", "len", "list", "map", "max", "min", "print", "range", "repr", "reversed"),
        *("set", "sorted", "str", "sum", "tuple", "type", "vars", "zip", "callable", "dir", "float", "bytes"),
    ]
)
"""Builtins that leave alone what they are given."""


def receivers(node: ast.stmt) -> Iterator[tuple[Chain, Chain]]:
    """For each call of a method whose result goes, or that is named like an order: the method's names, the object's.

    The method's are empty where it is asked of something that is itself the result of a call, or an entry.
    """
    for one in _statements(node):
        if isinstance(one, ast.Expr):
            yield from _of_call(one.value)
        elif isinstance(one, (ast.Assign, ast.AugAssign, ast.Delete)):
            for target in [one.target] if isinstance(one, ast.AugAssign) else one.targets:
                if isinstance(target, (ast.Attribute, ast.Subscript)) and not chain_of(target.value):
                    yield from _at_the_root(target.value)
        value = getattr(one, "value", None)
        if isinstance(one, (ast.Assign, ast.AnnAssign)) and isinstance(value, ast.Call):
            func = value.func
            if isinstance(func, ast.Attribute) and func.attr.startswith(_DOES):
                yield from _of_call(value)


class Handed(NamedTuple):
    """What a call is given: its names, the position or keyword, and what.  `dropped` says that its result is."""

    called: Chain
    place: int | str
    given: Chain
    dropped: bool


def handed_over(node: ast.stmt, *, everywhere: bool = False) -> Iterator[Handed]:
    """What the calls that are statements, or the values of assignments, are given; `everywhere`, all calls."""
    calls: list[tuple[ast.expr | None, bool]] = [
        (one.value, isinstance(one, ast.Expr))
        for one in _statements(node)
        if isinstance(one, (ast.Expr, ast.Assign, ast.AnnAssign))
    ]
    if everywhere:
        calls = [(call, False) for call in _calls(node)]
    for value, dropped in calls:
        called = chain_of(value.func) if isinstance(value, ast.Call) else ()
        if not isinstance(value, ast.Call) or not called:
            continue
        places: list[tuple[int | str, ast.expr]] = [*enumerate(in_order(value)), *by_keyword(value)]
        for place, argument in places:
            chain = _through_calls(argument) if everywhere else chain_of(argument)
            if chain:
                yield Handed(called, place, chain, dropped)


def calls_in(node: ast.stmt) -> Iterator[Chain]:
    """The names of what a statement, or a call of a function, calls when it runs.

    Of ``C().method()`` it is ``C.method``.
    """
    for call in _calls(node):
        chain = _through_calls(call.func)
        if chain:
            yield chain


def _through_calls(node: ast.expr) -> Chain:
    """The names of an expression of calls and attributes, as if a class were called wherever something is."""
    names: list[str] = []
    while isinstance(node, (ast.Call, ast.Attribute)):
        if isinstance(node, ast.Attribute):
            names.append(node.attr)
        node = node.value if isinstance(node, ast.Attribute) else node.func
    return (node.id, *reversed(names)) if isinstance(node, ast.Name) else ()


def _calls(node: ast.stmt) -> Iterator[ast.Call]:
    left: list[ast.AST] = list(node.body) if isinstance(node, _FUNCTIONS) else [node]
    while left:
        one = left.pop()
        kind = type(one)
        if kind not in _LATER:
            if kind is ast.Call:
                yield one  # type: ignore[misc]
            left += children(one)


def parameter_of(node: ast.stmt, place: int | str) -> str:
    """The parameter of a function that is given by position or keyword; empty if it goes elsewhere."""
    if not isinstance(node, _FUNCTIONS):
        return ""
    names = [a.arg for a in [*node.args.posonlyargs, *node.args.args]]
    name = place if isinstance(place, str) else names[place] if place < len(names) else ""
    return name if name in {*names, *(a.arg for a in node.args.kwonlyargs)} else ""


def changes_parameter(node: ast.stmt, place: int | str, *, perhaps: bool) -> bool:
    """Whether a function does something to what it is given, by position or keyword, beside reading it.

    With `perhaps`, it counts that it calls any method of it, or hands it on.
    """
    if not isinstance(node, _FUNCTIONS):
        return False
    name = parameter_of(node, place)
    if not name:
        return perhaps  # it goes into *args or **kwargs
    for one in walk(node):
        match one:
            case ast.Attribute(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del()):
                if _root(one) == name:
                    return True
            case ast.Call(func=ast.Attribute(value=receiver, attr=attr)) if _root(receiver) == name:
                if perhaps or attr in MUTATORS or attr.startswith(_DOES):
                    return True
            case ast.Call(func=func) if perhaps and not (isinstance(func, ast.Name) and func.id in _READS):
                given = [*one.args, *(k.value for k in one.keywords)]
                if any(isinstance(n, ast.Name) and n.id == name for value in given for n in walk(value)):
                    return True
    return False


def _statements(node: ast.AST) -> Iterator[ast.stmt]:
    """A statement and those in it that run with it; of a function, those that a call of it runs."""
    if isinstance(node, ast.stmt):
        yield node
    for name in ("body", "orelse", "handlers", "finalbody", "cases"):
        for one in getattr(node, name, ()):
            if not isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                yield from _statements(one)


def _of_call(value: ast.expr) -> Iterator[tuple[Chain, Chain]]:
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        chain = chain_of(value.func)
        if chain:
            yield chain, chain[:-1]
        else:
            yield from _at_the_root(value.func.value)


def _at_the_root(node: ast.expr) -> Iterator[tuple[Chain, Chain]]:
    """What an expression of calls, attributes and entries begins with; what a function gives is its own."""
    if not (isinstance(_last(node), ast.Call) or (root := _root(node)) == ""):
        yield (), (root,)


def _last(node: ast.expr) -> ast.expr:
    """The part of an expression of calls, attributes and entries that is next to the name that it begins with."""
    while isinstance(node, (ast.Call, ast.Attribute, ast.Subscript)):
        inner = node.func if isinstance(node, ast.Call) else node.value
        if isinstance(inner, ast.Name):
            break
        node = inner
    return node


def _root(node: ast.expr) -> str:
    """The name with which an expression of calls, attributes and entries begins."""
    while isinstance(node, (ast.Call, ast.Attribute, ast.Subscript)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""
