"""The special methods that syntax calls without naming them: ``D()[3]``, ``with D() as x``, ``str(D())``."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["TRUTH", "Operand", "implied_by"]

Operand = tuple[ast.expr, tuple[str, ...]]
"""An expression, and the methods of which its object is asked for one or several."""

_ITERATED = ("__iter__", "__next__", "__getitem__", "__len__", "__length_hint__")
_AWAITED = ("__await__",)
_DRAWN = ("__aiter__", "__anext__")
TRUTH = ("__bool__", "__len__")
"""What a condition asks."""
_SHOWN = ("__str__", "__repr__", "__format__", "__bytes__")
_COUNTED = ("__index__", "__int__", "__float__", "__complex__", "__trunc__", "__round__", "__abs__")
_COMPARED = ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__")
_FORMATTED = (*_SHOWN, *_ITERATED, "__index__", "__int__", "__float__")

_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.MatMult: "matmul", ast.Div: "truediv", ast.Mod: "mod",
    ast.FloorDiv: "floordiv", ast.Pow: "pow", ast.LShift: "lshift", ast.RShift: "rshift", ast.BitOr: "or",
    ast.BitXor: "xor", ast.BitAnd: "and",
}  # fmt: skip
_UNARY: dict[type[ast.unaryop], tuple[str, ...]] = {
    ast.USub: ("__neg__",), ast.UAdd: ("__pos__",), ast.Invert: ("__invert__",), ast.Not: TRUTH,
}  # fmt: skip

_BUILTINS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("list", "tuple", "set", "frozenset", "iter", "next", "enumerate", "zip", "sum"), _ITERATED),
    **dict.fromkeys(("all", "any", "map", "filter"), (*_ITERATED, *TRUTH)),
    **dict.fromkeys(("sorted", "min", "max"), (*_ITERATED, *_COMPARED)),
    **dict.fromkeys(("str", "repr", "format", "ascii", "print"), _SHOWN),
    **dict.fromkeys(("int", "float", "complex", "round", "abs", "hex", "oct", "bin", "range", "chr"), _COUNTED),
    "dict": (*_ITERATED, "keys"),
    "bytes": (*_SHOWN, *_ITERATED, "__index__"),
    "bytearray": (*_SHOWN, *_ITERATED, "__index__"),
    "len": ("__len__",),
    "bool": TRUTH,
    "hash": ("__hash__",),
    "reversed": ("__reversed__", "__len__", "__getitem__"),
    "divmod": ("__divmod__", "__rdivmod__"),
    "pow": ("__pow__", "__rpow__", "__index__"),
    "dir": ("__dir__",),
}
_METHODS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("join", "extend", "extendleft", "union", "intersection", "difference", "fromkeys"), _ITERATED),
    "update": (*_ITERATED, "keys"),
    "format": _FORMATTED,
    "format_map": ("__getitem__", "__missing__", *_SHOWN),
}


def implied_by(node: ast.AST) -> Iterator[Operand]:
    """What a node of the syntax asks its own operands for, not what is in them."""
    read = _BY_KIND.get(type(node))
    return read(node) if read is not None else iter(())


def _subscript(node: ast.Subscript) -> Iterator[Operand]:
    kind = type(node.ctx)
    if kind is ast.Load:
        yield node.value, ("__getitem__", "__missing__", "__class_getitem__")
    else:
        yield node.value, ("__setitem__",) if kind is ast.Store else ("__delitem__",)
    yield node.slice, ("__index__", "__hash__", "__eq__")


def _binary(node: ast.BinOp) -> Iterator[Operand]:
    name = _OPERATORS[type(node.op)]
    yield node.left, (f"__{name}__",)
    yield node.right, (f"__r{name}__",)
    if name == "mod":
        for each in node.right.elts if isinstance(node.right, ast.Tuple) else [node.right]:
            yield each, _FORMATTED


def _augmented(node: ast.AugAssign) -> Iterator[Operand]:
    name = _OPERATORS[type(node.op)]
    yield node.target, (f"__i{name}__", f"__{name}__")
    yield node.value, (f"__r{name}__", *_ITERATED)


def _unary(node: ast.UnaryOp) -> Iterator[Operand]:
    yield node.operand, _UNARY[type(node.op)]


def _compare(node: ast.Compare) -> Iterator[Operand]:
    left = node.left
    for op, right in zip(node.ops, node.comparators, strict=True):
        if isinstance(op, (ast.In, ast.NotIn)):
            yield right, ("__contains__", *_ITERATED)
            yield left, ("__eq__", "__hash__")
            elements = right.elts if isinstance(right, (ast.List, ast.Tuple, ast.Set)) else []
            yield from ((each, ("__eq__", "__hash__")) for each in elements)
        elif not isinstance(op, (ast.Is, ast.IsNot)):
            yield left, _COMPARED
            yield right, _COMPARED
        left = right


def _call(node: ast.Call) -> Iterator[Operand]:
    func = node.func
    if isinstance(func, ast.Call):
        yield func, ("__call__",)
    asked = _BUILTINS.get(func.id) if isinstance(func, ast.Name) else None
    if isinstance(func, ast.Attribute):
        asked = _METHODS.get(func.attr)
    if asked is not None:
        for each in node.args:
            yield each, asked
        for keyword in node.keywords:
            yield keyword.value, asked


def _drawn(node: ast.For | ast.AsyncFor | ast.comprehension) -> Iterator[Operand]:
    asynchronous = isinstance(node, ast.AsyncFor) or bool(getattr(node, "is_async", False))
    yield node.iter, _DRAWN if asynchronous else _ITERATED
    for test in getattr(node, "ifs", ()):
        yield test, TRUTH


def _unpacked(node: ast.Assign) -> Iterator[Operand]:
    if any(isinstance(target, (ast.Tuple, ast.List)) for target in node.targets):
        yield node.value, _ITERATED


def _starred(node: ast.Starred | ast.YieldFrom) -> Iterator[Operand]:
    yield node.value, _ITERATED


def _with(node: ast.With) -> Iterator[Operand]:
    for item in node.items:
        yield item.context_expr, ("__enter__", "__exit__")


def _async_with(node: ast.AsyncWith) -> Iterator[Operand]:
    for item in node.items:
        yield item.context_expr, ("__aenter__", "__aexit__")


def _await(node: ast.Await) -> Iterator[Operand]:
    yield node.value, _AWAITED


def _shown(node: ast.FormattedValue) -> Iterator[Operand]:
    yield node.value, _SHOWN


def _tested(node: ast.IfExp | ast.If | ast.While | ast.Assert) -> Iterator[Operand]:
    yield node.test, TRUTH


def _either(node: ast.BoolOp) -> Iterator[Operand]:
    for each in node.values:
        yield each, TRUTH


_BY_KIND: dict[type[ast.AST], Callable[[Any], Iterator[Operand]]] = {
    ast.Subscript: _subscript,
    ast.BinOp: _binary,
    ast.AugAssign: _augmented,
    ast.UnaryOp: _unary,
    ast.Compare: _compare,
    ast.Call: _call,
    **dict.fromkeys((ast.For, ast.AsyncFor, ast.comprehension), _drawn),
    ast.Assign: _unpacked,
    **dict.fromkeys((ast.Starred, ast.YieldFrom), _starred),
    ast.With: _with,
    ast.AsyncWith: _async_with,
    ast.Await: _await,
    ast.FormattedValue: _shown,
    **dict.fromkeys((ast.IfExp, ast.If, ast.While, ast.Assert), _tested),
    ast.BoolOp: _either,
}
