"""Statements that change what is not the package's own, and objects that are only its own."""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterable, Iterator
from typing import Literal

from livepatch.bundle.items import MUTATORS, Item, chain_of, full_name, named_in_namespace, outside_functions
from livepatch.bundle.nodes import children, walk
from livepatch.bundle.refs import Ref
from livepatch.bundle.world import Entity, World
from livepatch.contents.edits import Obstacle
from livepatch.contents.parsing import tree_of

__all__ = ["effect_obstacles", "is_unaccounted"]


def effect_obstacles(item: Item, why: str) -> list[Obstacle]:
    """A statement whose effect outside of the package's names cannot be taken back or made again."""
    text = ast.unparse(item.node).splitlines()[0][:100]
    return [
        Obstacle(
            code="module-effect-changed",
            target=item.module.name,
            found=f"line {item.line} does something when the module is imported, and {why}: {text}",
            expected="statements whose effects are names of the package",
            action="do by hand what it does and build with only= what else changed, or restart with the new release",
        )
    ]


def is_unaccounted(world: World, item: Item) -> bool:
    """Whether a statement may have effects that the names of the package do not show."""
    if item.kind not in ("effect", "loop", "assign"):
        return False
    for node in _run(item.node):
        if isinstance(node, ast.For) and _sets_attributes(world, item, node):
            return True
        if isinstance(node, ast.Expr):
            if not isinstance(node.value, ast.Constant) and not _accounted_call(world, item, node.value):
                return True
            continue
        if isinstance(node, (ast.Assign, ast.AugAssign, ast.Delete)):
            targets = [node.target] if isinstance(node, ast.AugAssign) else node.targets
            for target in targets:
                if named_in_namespace(target):
                    continue
                if isinstance(target, (ast.Attribute, ast.Subscript)) and not _in_tree(world, item, target.value):
                    return True
        value = getattr(node, "value", None)
        if isinstance(value, ast.expr) and any(_calls_hidden(item, one) for one in _eager(value)):
            return True
        if isinstance(value, ast.expr) and any(_changes_others(world, item, one) for one in _eager(value)):
            return True
    return False


def _sets_attributes(world: World, item: Item, loop: ast.For) -> bool:
    """Whether a loop sets attributes of classes or functions that its variable stands for in turn."""
    names = {one.id for one in walk(loop.target) if isinstance(one, ast.Name)}
    inside = [one for statement in _run(loop) for one in outside_functions([statement])]
    targets = [each for one in inside if isinstance(one, ast.Assign) for each in one.targets]
    if not any(isinstance(one, ast.Attribute) and (chain_of(one) or ("",))[0] in names for one in targets):
        return False
    chains = [chain_of(one) for one in walk(loop.iter) if isinstance(one, (ast.Name, ast.Attribute))]
    base: Literal["", "scope"] = "scope" if item.scope else ""
    return any(world.follow(Ref(c, base=base), item).kind in ("class", "function") for c in chains if c)


def _run(node: ast.stmt) -> Iterable[ast.stmt]:
    yield node
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        for one in getattr(node, name, ()):
            if isinstance(one, (ast.ExceptHandler, ast.match_case)):
                for inner in one.body:
                    yield from _run(inner)
            elif isinstance(one, ast.stmt) and not isinstance(
                one, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
            ):
                yield from _run(one)


def _eager(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in children(node):
        if not isinstance(child, ast.Lambda):
            yield from _eager(child)


def _calls_hidden(item: Item, node: ast.AST) -> bool:
    """Whether a part of a value is a call of what only functions bind to its name."""
    chain = chain_of(node.func) if isinstance(node, ast.Call) else ()
    return bool(chain) and chain[0] in item.module.bound_by_functions and chain[0] not in item.module.by_name


def _changes_others(world: World, item: Item, node: ast.AST) -> bool:
    """Whether a part of a value is a call that changes, by its name, what comes from outside of the package."""
    match node:
        case ast.Call(func=ast.Attribute(value=receiver, attr=attr)) if attr in MUTATORS:
            pass
        case ast.Call(func=ast.Name(id="setattr" | "delattr"), args=[receiver, *_]):
            pass
        case _:
            return False
    chain = chain_of(receiver)
    if chain and not item.module.by_name.get(chain[0]) and not item.module.by_name.get(f"{item.scope}.{chain[0]}"):
        return False  # a variable of a comprehension, or a builtin
    return not (_in_tree(world, item, receiver) if chain else _is_fresh(world, item, receiver))


def _accounted_call(world: World, item: Item, value: ast.expr) -> bool:
    if not isinstance(value, ast.Call):
        return not any(isinstance(n, (ast.Call, ast.Await, ast.Yield)) for n in walk(value))
    chain = chain_of(value.func)
    if full_name(item, chain) in ("warnings.warn", "print"):
        return True
    if chain in (("exec",), ("eval",)) and value.args and isinstance(value.args[0], ast.Constant):
        return _only_defines(str(value.args[0].value))
    if chain in (("setattr",), ("delattr",)):
        owner, named = value.args[:1], value.args[1:2]
        if not owner or not _in_tree(world, item, owner[0]):
            return False
        if named and isinstance(named[0], ast.Constant):
            return True
        whose = chain_of(owner[0])
        trace = world.follow(Ref(whose, base="scope" if item.scope else ""), item) if whose else None
        return trace is not None and trace.kind not in ("class", "function", "module")
    if not chain:
        return isinstance(value.func, ast.Attribute) and _in_tree(world, item, value.func.value)
    trace = world.follow(Ref(chain, base="scope" if item.scope else ""), item)
    if all(one.kind == "function" for one in (trace, *trace.before_it_was_bound_anew())):
        return True  # what it does to names of the package is known
    if len(chain) > 1:
        return _in_tree(world, item, value.func)
    return False


def _only_defines(text: str) -> bool:
    """Whether a text that is executed does no more than bind names; one that is for another Python is never run."""
    try:
        statements = tree_of(text).body
    except (SyntaxError, ValueError):
        return True
    return all(
        isinstance(n, (ast.FunctionDef, ast.ClassDef, ast.Assign, ast.Import, ast.ImportFrom)) for n in statements
    )


def _in_tree(world: World, item: Item, node: ast.expr) -> bool:
    """Whether what is changed hangs on a name that the package itself binds to an object of its own."""
    while isinstance(node, (ast.Subscript, ast.Call)):
        node = node.value if isinstance(node, ast.Subscript) else node.func
    chain = chain_of(node)
    if not chain:
        return False
    trace = world.follow(Ref(chain, base="scope" if item.scope else ""), item)
    if trace.holder is not None:
        return not _is_foreign(world, trace.holder)
    return trace.kind in ("class", "module", "function") or any(
        world.items(e) for e in trace.passed if e[1] and "." in e[1]
    )


# Objects of the package's own


def _is_foreign(world: World, entity: Entity, depth: int = 0) -> bool:
    """Whether a name may stand for an object that others share, such as a logger or another package's registry."""
    for item in world.items(entity):
        if item.kind == "import":
            what = item.imports[entity[1]]
            if what.module not in world.names and f"{what.module}.{what.name}" not in world.names:
                return True
            continue
        name = entity[1].rpartition(".")[2]
        for node in outside_functions([item.node]):
            if isinstance(node, (ast.For, ast.AsyncFor)):
                if _names(node.target, name) and any(_is_from_outside(world, item, n) for n in walk(node.iter)):
                    return True
            elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if any(_names(t, name) for t in targets) and not _is_fresh(world, item, node.value, depth):
                    return True
    return False


def _names(target: ast.expr, name: str) -> bool:
    """Whether an assignment to the target binds the name, or an attribute of that name."""
    if isinstance(target, (ast.Tuple, ast.List)):
        return any(_names(one, name) for one in target.elts)
    return (isinstance(target, ast.Name) and target.id == name) or (
        isinstance(target, ast.Attribute) and target.attr == name
    )


def _is_from_outside(world: World, item: Item, node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and any(
        what.module not in world.names and f"{what.module}.{what.name}" not in world.names
        for other in item.module.by_name.get(node.id, ())
        if (what := other.imports.get(node.id)) is not None
    )


_FRESH = (
    *(ast.Constant, ast.JoinedStr, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.Lambda, ast.Compare),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.BinOp, ast.UnaryOp),
)
_FRESH_METHODS = frozenset({"copy", "deepcopy", "split", "splitlines", "keys", "values", "items", "union", "join"})
_MAKERS = frozenset(
    [
        *("collections", "weakref", "itertools", "functools", "operator", "copy", "datetime", "decimal", "fractions"),
        *("array", "struct", "string", "types", "math"),
    ]
)
_MADE = frozenset({"re.compile", "threading.local", "typing.cast"})


def _is_fresh(world: World, item: Item, value: ast.expr, depth: int = 0) -> bool:
    """Whether an expression gives an object that nobody outside of the package holds, as far as the source tells."""
    if isinstance(value, _FRESH):
        return True
    if isinstance(value, ast.IfExp):
        return all(_is_fresh(world, item, one, depth) for one in (value.body, value.orelse))
    if isinstance(value, ast.BoolOp):
        return all(_is_fresh(world, item, one, depth) for one in value.values)
    if isinstance(value, ast.NamedExpr):
        return _is_fresh(world, item, value.value, depth)
    if isinstance(value, ast.Subscript):
        return _is_fresh(world, item, value.value, depth)
    if isinstance(value, ast.Call):
        chain = chain_of(value.func)
        if not chain:
            func = value.func
            literal = isinstance(func, ast.Attribute) and isinstance(func.value, (ast.Constant, ast.JoinedStr))
            return literal or (isinstance(func, ast.Attribute) and func.attr in _FRESH_METHODS)
        if chain[-1] in _FRESH_METHODS or _makes_anew(item, chain):
            return True
    else:
        chain = chain_of(value)
    if not chain or depth > 20:
        return False
    trace = world.follow(Ref(chain, base="scope" if item.scope else ""), item)
    if trace.kind in ("class", "function", "module", "instance") and trace.holder is None:
        return True
    return trace.holder is not None and not _is_foreign(world, trace.holder, depth + 1)


def _makes_anew(item: Item, chain: tuple[str, ...]) -> bool:
    """Whether a call of that name gives an object of its own: a builtin, or a constructor of the standard library."""
    if chain[0] not in item.module.by_name and hasattr(builtins, chain[0]):
        return True
    name = full_name(item, chain)
    top = name.partition(".")[0]
    if name in _MADE or top in _MAKERS:
        return True
    return top in sys.stdlib_module_names and "." in name and name.rpartition(".")[2][:1].isupper()
