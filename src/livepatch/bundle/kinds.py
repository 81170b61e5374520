"""Instance attributes that keep their names and hold things of another kind."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from livepatch.bundle.items import MUTATORS, Item
from livepatch.bundle.nodes import walk

__all__ = ["held_otherwise", "kind_of_value"]

_DISPLAYS: dict[type[ast.expr], str] = {
    ast.List: "list",
    ast.ListComp: "list",
    ast.Dict: "dict",
    ast.DictComp: "dict",
    ast.Set: "set",
    ast.SetComp: "set",
    ast.Tuple: "tuple",
    ast.JoinedStr: "str",
}
_CONSTRUCTORS = frozenset(
    ["bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "set", "str", "tuple"]
)
_ALIKE = (frozenset({"bool", "int", "float", "complex"}), frozenset({"set", "frozenset"}), frozenset({"list", "tuple"}))
_IN_PLACE = frozenset({"list", "dict", "set", "bytearray"})


def kind_of_value(value: ast.expr | None) -> str:
    """The type of a plain literal, display or call of a builtin type; ``"None"``; empty for anything else."""
    if isinstance(value, ast.UnaryOp):
        return kind_of_value(value.operand)
    if isinstance(value, ast.Constant):
        return "None" if value.value is None else type(value.value).__name__
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in _CONSTRUCTORS:
        return value.func.id
    return _DISPLAYS.get(type(value), "") if value is not None else ""


def held_otherwise(name: str, old: set[str], new: set[str], also: set[str], readers: Iterable[Item]) -> list[str]:
    """The kinds that objects hold in an attribute and new code cannot use, sorted.

    `old` and `new` are the kinds with which either side makes its objects, `also` those that the new side sets later.
    """
    fit = (new | also) - {"None"}
    if not old or not new or "" in old | new or not fit:
        return []
    readers = list(readers)
    found = []
    for kind in sorted(old - new - also):
        if kind == "None":
            if any(_uses(reader.node, name) and not _asks(reader.node, name) for reader in readers):
                found.append(kind)
            continue
        alike = any(kind in kinds and kinds & fit for kinds in _ALIKE)
        written = bool(fit & _IN_PLACE) and kind not in _IN_PLACE
        if not alike or (written and any(_changes(reader.node, name) for reader in readers)):
            found.append(kind)
    return found


def _is_it(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == name


def _used(node: ast.AST) -> Iterator[ast.AST]:
    """What each expression takes to be more than nothing."""
    for one in walk(node):
        match one:
            case (
                ast.For(iter=value)
                | ast.AsyncFor(iter=value)
                | ast.comprehension(iter=value)
                | ast.Subscript(value=value)
                | ast.Starred(value=value)
            ):
                yield value
            case ast.Attribute(value=value) | ast.AugAssign(target=value) | ast.YieldFrom(value=value):
                yield value
            case ast.BinOp(left=left, right=right):
                yield from (left, right)
            case ast.Compare(left=left, ops=ops, comparators=others):
                ordered = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
                for op, a, b in zip(ops, [left, *others], others, strict=False):
                    yield from (
                        (a, b) if isinstance(op, ordered) else (b,) if isinstance(op, (ast.In, ast.NotIn)) else ()
                    )
            case ast.Call(
                func=ast.Name(id="len" | "iter" | "list" | "dict" | "sorted" | "sum" | "max" | "min"), args=args
            ):
                yield from args


def _uses(node: ast.AST, name: str) -> bool:
    return any(_is_it(one, name) for one in _used(node))


def _asks(node: ast.AST, name: str) -> bool:
    """Whether the code looks whether there is anything in the attribute."""
    for one in walk(node):
        tests: list[ast.expr] = []
        match one:
            case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) | ast.Assert(test=test):
                tests = [test]
            case ast.comprehension(ifs=ifs):
                tests = ifs
            case ast.BoolOp(values=values):
                tests = values
            case ast.Compare(ops=[ast.Is() | ast.IsNot()]):
                tests = [one]
        for test in (each.operand if isinstance(each, ast.UnaryOp) else each for each in tests):
            if _is_it(test, name) or (isinstance(test, ast.Compare) and _is_it(test.left, name)):
                return True
    return False


def _changes(node: ast.AST, name: str) -> bool:
    for one in walk(node):
        match one:
            case ast.Call(func=ast.Attribute(value=value, attr=attr)) if attr in MUTATORS and _is_it(value, name):
                return True
            case ast.Subscript(value=value, ctx=ast.Store() | ast.Del()) if _is_it(value, name):
                return True
    return False
