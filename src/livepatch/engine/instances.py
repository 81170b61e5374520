"""Live instances of nested functions that need more than other code: other parameters, fewer variables, other defaults.

The others follow their maker by themselves (:mod:`livepatch.engine.closures`).  These can be mended one by one where
the source tells what each of them lacks: which nested function became which, and the values of new defaults.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CellType, CodeType, FunctionType

from livepatch.engine.closures import same_shape
from livepatch.engine.code import FunctionNode, nested_codes, same_code
from livepatch.engine.functions import code_of, defaults_of
from livepatch.engine.refusal import Refusal
from livepatch.engine.sides import NewSide, side_of
from livepatch.engine.sweep import sweep

__all__ = ["Maker", "defaults_of_the_maker", "mended"]

_AT_ONCE = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>", "<lambda>"})


@dataclass(frozen=True, slots=True)
class Maker:
    """A function that makes others: its code on both sides, and the definitions that it has on either.

    `evaluate` gives the value of an expression among the names of the module, or raises.
    """

    function: FunctionType
    before: CodeType
    after: CodeType
    definitions: tuple[FunctionNode, FunctionNode]
    evaluate: Callable[[str], object]


def mended(maker: Maker) -> Iterator[tuple[FunctionType, dict[str, object] | None]]:
    """Each live instance that needs more than another code, with the attributes that it shall have.

    Those of which that cannot be told are left out; they come with ``None`` where only their defaults would be others,
    and so follow their maker without these.  Walks the heap if there may be any.
    """
    pairs = list(_pairs(maker))
    if not pairs:
        return
    constants = [before for before, _, _, _ in pairs]
    swept = sweep({}, constants=constants, spaces=[maker.function.__globals__])
    for before, after, old, new in pairs:
        if not set(after.co_freevars) <= set(before.co_freevars):
            continue
        for instance in swept.copies.get(id(before), ()):
            if code_of(instance) is not before:
                continue
            values = _side(instance, after, old, new, maker.evaluate)
            if values is not None or same_shape(before, after):
                yield instance, values


def defaults_of_the_maker(name: str) -> Refusal:
    """What is said of instances that follow their maker but for their defaults."""
    return Refusal(
        "defaults-of-the-maker",
        f"live instances of {name}, of which a default is computed from variables of the call that made them",
        "defaults that the names of the module give",
        "have the objects that hold them made anew; until then they keep the defaults they have",
    )


Pair = tuple[CodeType, CodeType, FunctionNode, FunctionNode]


def _pairs(maker: Maker) -> Iterator[Pair]:
    """What became of the nested functions of the old code that do not follow by themselves.

    Of several that have one name, each became the one that stands in its place.
    """
    old, new = _by_name(maker.before), _by_name(maker.after)
    if not old or not new:
        return
    old_nodes, new_nodes = (_nodes(node) for node in maker.definitions)
    for name, codes in old.items():
        others = new.get(name, [])
        mine, its = old_nodes.get(name, []), new_nodes.get(name, [])
        if not len(codes) == len(others) == len(mine) == len(its):
            continue
        for before, after, one, other in zip(codes, others, mine, its, strict=True):
            alone = len(codes) == 1 and same_shape(before, after)
            follows = alone or same_code(before, after)
            if not follows or (alone and _given(one) != _given(other)):
                yield before, after, one, other


def _by_name(code: CodeType) -> dict[str, list[CodeType]]:
    prefix = len(code.co_qualname)
    named: dict[str, list[CodeType]] = {}
    for nested in nested_codes(code):
        if nested.co_name not in _AT_ONCE:
            named.setdefault(nested.co_qualname[prefix:], []).append(nested)
    return named


def _nodes(node: ast.AST, prefix: str = ".<locals>.") -> dict[str, list[FunctionNode]]:
    """The definitions inside one, in source order, under their qualified names behind its own."""
    found: dict[str, list[FunctionNode]] = {}

    def visit(parent: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(parent):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                found.setdefault(prefix + child.name, []).append(child)
                visit(child, f"{prefix}{child.name}.<locals>.")
            elif isinstance(child, ast.ClassDef):
                visit(child, f"{prefix}{child.name}.")
            else:
                visit(child, prefix)

    visit(node, prefix)
    return found


def _side(
    instance: FunctionType,
    after: CodeType,
    old: FunctionNode,
    new: FunctionNode,
    evaluate: Callable[[str], object],
) -> dict[str, object] | None:
    """The attributes of an instance under the new code; ``None`` if the source does not tell a default."""
    held = defaults_of(instance)
    was = _given(old)
    values: dict[str, object] = {}
    for name, expression in _given(new).items():
        if name in held and was.get(name) == expression:
            values[name] = held[name]
            continue
        try:
            values[name] = evaluate(expression)
        except Exception:  # noqa: BLE001  # it names variables of the maker's, whose frame is gone
            return None
    positional = after.co_varnames[: after.co_argcount]
    keyword = after.co_varnames[after.co_argcount : after.co_argcount + after.co_kwonlyargcount]
    defaults = tuple(values[name] for name in positional if name in values) or None
    kwdefaults = {name: values[name] for name in keyword if name in values} or None
    written = FunctionType(after, instance.__globals__, argdefs=defaults, closure=_cells(instance, after.co_freevars))
    written.__kwdefaults__ = kwdefaults
    side = side_of(instance, NewSide(written, after), None)
    return side if isinstance(side, dict) else None


def _cells(instance: FunctionType, names: tuple[str, ...]) -> tuple[CellType, ...]:
    own = dict(zip(instance.__code__.co_freevars, instance.__closure__ or (), strict=True))
    return tuple(own[name] for name in names)


def _given(node: FunctionNode) -> dict[str, str]:
    """The text of each parameter's default."""
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    pairs = [
        *zip(positional[len(positional) - len(arguments.defaults) :], arguments.defaults, strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    return {argument.arg: ast.unparse(value) for argument, value in pairs if value is not None}
