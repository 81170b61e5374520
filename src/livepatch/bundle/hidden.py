"""Where functions keep answers out of sight: variables of closures, default values, attributes of functions."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator

from livepatch.bundle.items import Item, chain_of
from livepatch.bundle.nodes import walk
from livepatch.bundle.normal import FunctionNode
from livepatch.bundle.refs import Ref
from livepatch.bundle.world import World

__all__ = ["hidden_place"]

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_CONTAINERS = (ast.Dict, ast.List, ast.Set, ast.Call)


def hidden_place(world: World, item: Item, bound: Collection[str], target: ast.expr) -> tuple[str, str, str] | None:
    """Where that is to which a function stores: the module, the name of the place, and what the source puts there.

    The place is called ``f.<locals>.x`` if it is a variable of `f` that functions in it share, and ``f.x`` if it is the
    default of a parameter or an attribute of the function.  `bound` are the names that the function itself binds.
    """
    node = item.node
    assert isinstance(node, _FUNCTIONS)
    place, inside = target, False
    while isinstance(place, ast.Subscript):
        place, inside = place.value, True
    module, own = item.module.name, item.binds[0]
    if isinstance(place, ast.Name) and place.id in bound:
        default = _default_of(node, place.id) if inside else None
        if default is not None:
            return module, f"{own}.{place.id}", ast.unparse(default)
        if place.id in _shared(node, inside=inside):
            return module, f"{own}.<locals>.{place.id}", _first(node, place.id)
        return None
    chain = chain_of(place) if isinstance(place, ast.Attribute) else ()
    if not chain or chain[0] in bound or any(isinstance(n, ast.arg) and n.arg == chain[0] for n in walk(node)):
        return None  # a parameter of an inner function may hide a name of the module
    owner = world.follow(Ref(chain[:-1]), item)
    return (owner.end[0], f"{owner.end[1]}.{chain[-1]}", "") if owner.kind == "function" else None


def _default_of(node: FunctionNode, name: str) -> ast.expr | None:
    """The container that is the default of a parameter: every call that gives none has the same."""
    a = node.args
    positional = [*a.posonlyargs, *a.args]
    pairs = [*zip(positional[len(positional) - len(a.defaults) :], a.defaults, strict=True)]
    pairs += [(arg, value) for arg, value in zip(a.kwonlyargs, a.kw_defaults, strict=True) if value is not None]
    return next((value for arg, value in pairs if arg.arg == name and isinstance(value, _CONTAINERS)), None)


def _shared(node: FunctionNode, *, inside: bool) -> set[str]:
    """The variables of a function that functions inside it change: `inside` of them, or by binding them anew."""
    found: set[str] = set()
    for one in walk(node):
        if one is node or not isinstance(one, _FUNCTIONS):
            continue
        nodes = walk(one)
        stated = {name for n in nodes if isinstance(n, ast.Nonlocal) for name in n.names}
        names = {n.id for n in nodes if isinstance(n, ast.Name)}
        a = one.args
        own = {x.arg for x in (*a.posonlyargs, *a.args, *a.kwonlyargs, *(y for y in (a.vararg, a.kwarg) if y))}
        own |= {n.id for n in nodes if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
        found |= stated if not inside else (names - own) | stated
    return found


def _first(node: FunctionNode, name: str) -> str:
    """What a function first puts into a variable of its own, if that is a literal."""
    for value in _assigned(node, name):
        try:
            ast.literal_eval(value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return ""
        return ast.unparse(value)
    return ""


def _assigned(node: FunctionNode, name: str) -> Iterator[ast.expr]:
    for one in node.body:
        targets = one.targets if isinstance(one, ast.Assign) else [one.target] if isinstance(one, ast.AnnAssign) else []
        value = getattr(one, "value", None)
        if value is not None and any(isinstance(target, ast.Name) and target.id == name for target in targets):
            yield value
