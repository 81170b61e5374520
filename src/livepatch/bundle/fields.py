"""Fields that only the new side of a dataclass has.

The class that runs was made without them: its ``__init__`` does not take them, and what ``dataclass`` wrote besides
does not know them.  Where nothing of the fix relies on that, and the source tells what a field starts as, objects get
it as an attribute that they lack.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable

from livepatch.bundle.attributes import changes_later, is_shared
from livepatch.bundle.changes import Difference
from livepatch.bundle.items import Item, chain_of
from livepatch.bundle.shapes import field_names
from livepatch.bundle.world import Entity, World
from livepatch.contents.edits import AttributeDefault
from livepatch.contents.parsing import tree_of

__all__ = ["field_default", "is_field"]

_SAID = (
    "a field in the fixed release, which the class that runs was made without: its __init__ does not take it, and its "
    "repr and comparisons, fields() and asdict() do not know it"
)
_DATACLASSES = frozenset({"dataclasses"})
_TYPING = frozenset({"typing", "typing_extensions"})
_KEYWORDS = frozenset({"init", "repr", "eq", "match_args", "kw_only"})
_OF_A_FIELD = frozenset({"default", "default_factory", "init", "repr", "hash", "compare", "metadata", "kw_only", "doc"})


def is_field(one: Difference, old: World, new: World) -> bool:
    """Whether it is a field that only the new side of a class has, which on both sides nothing but dataclass makes."""
    owner = (one.module, one.qualname.rpartition(".")[0])
    return (
        one.kind == "added"
        and bool(owner[1])
        and len(one.after) == 1
        and isinstance(one.after[0].node, ast.AnnAssign)
        and _is_dataclass(old, owner)
        and _is_dataclass(new, owner)
    )


def field_default(
    one: Difference, old: World, new: World, added: Iterable[Difference], readers: list[Item]
) -> AttributeDefault | str:
    """What objects get for a field; or why they cannot, in words.

    `added` are all fields that only the new side has, and `readers` all new code.
    """
    module, owner, name = one.module, *one.qualname.rpartition(".")[::2]
    entity = (module, owner)
    fresh = {each.qualname.rpartition(".")[2] for each in added if _entity(each) == entity}
    names = [text for text, _ in field_names(new, entity)]
    if field_names(old, entity) != [each for each in field_names(new, entity) if _last(each[0]) not in fresh]:
        return "other fields of the class differ, too"
    item = one.after[0]
    assert isinstance(item.node, ast.AnnAssign)
    text, reason = _start(item.node, item, old, entity)
    if not text:
        return reason
    place = [_last(each) for each in names].index(name)
    user = next((each for each in readers if _passes(each, new, entity, name, place)), None)
    if user is not None:
        return f"{user.binds[0] if user.binds else user.module.name} may pass {name} to its __init__"
    value = tree_of(text, mode="eval").body
    shared = is_shared(value)
    return AttributeDefault(
        class_qualname=owner,
        name=name,
        expression=text,
        shared=shared,
        reason=_SAID,
        fixed=shared and not changes_later(new, entity, name, readers),
    )


def _entity(one: Difference) -> Entity:
    return one.module, one.qualname.rpartition(".")[0]


def _last(qualname: str) -> str:
    return qualname.rpartition(".")[2]


def _is_dataclass(world: World, entity: Entity) -> bool:
    """Whether a class is made by ``dataclass`` of the standard library, and nothing else looks at its fields."""
    items = world.items(entity)
    if len(items) != 1 or not isinstance(items[0].node, ast.ClassDef):
        return False
    node = items[0].node
    made = [each for each in node.decorator_list if not _is_of(each, items[0], _TYPING, "final")]
    if len(made) != 1 or node.keywords or world.is_made_by_hand(entity):
        return False
    decorator = made[0]
    keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
    # A slot, an order and a hash are made of the fields: the class would have to be made anew.
    if any(each.arg not in _KEYWORDS for each in keywords):
        return False
    # A base from elsewhere may look at the fields of what derives from it.
    known = len(world.bases(entity)) == sum(not _is_harmless(base) for base in node.bases)
    return known and _is_of(decorator, items[0], _DATACLASSES, "dataclass")


def _is_harmless(base: ast.expr) -> bool:
    chain = chain_of(base.value if isinstance(base, ast.Subscript) else base)
    return bool(chain) and chain[-1] in ("object", "Generic", "Protocol", "ABC")


def _is_of(node: ast.expr, item: Item, origins: frozenset[str], name: str) -> bool:
    """Whether an expression is, or calls, a name that was imported from one of some modules, or through it."""
    chain = chain_of(node.func if isinstance(node, ast.Call) else node)
    if not chain:
        return False
    imported = next((i.imports[chain[0]] for i in item.module.by_name.get(chain[0], []) if chain[0] in i.imports), None)
    if imported is None or imported.module not in origins:
        return False
    return (imported.name, *chain[1:]) == (name,) if imported.name else chain[1:] == (name,)


def _start(node: ast.AnnAssign, item: Item, old: World, entity: Entity) -> tuple[str, str]:
    """The expression for what a field starts as among the names of the module; or nothing, and why."""
    text = ast.unparse(node.annotation)
    if node.value is None:
        return "", "it has no default"
    if any(word in text for word in ("ClassVar", "InitVar", "KW_ONLY")):
        return "", f"it is declared as {text}"
    value, reason = _value(node.value, item)
    if value is None:
        return "", reason
    steps = (ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr)
    if any(isinstance(each, steps) for each in ast.walk(value)):
        return "", "its default is computed in steps"
    inner = {each.arg for each in ast.walk(value) if isinstance(each, ast.arg)}
    inner |= {each.id for each in ast.walk(value) if isinstance(each, ast.Name) and not isinstance(each.ctx, ast.Load)}
    module = old.module(entity[0])
    for each in ast.walk(value):
        if isinstance(each, ast.Name) and each.id not in inner:
            if item.module.by_name.get(f"{entity[1]}.{each.id}"):
                return "", f"its default comes from {each.id} of the class body"
            there = item.module.by_name.get(each.id) and (module is not None and module.by_name.get(each.id))
            if not there and not hasattr(builtins, each.id):
                return "", f"its default comes from {each.id}, which is not on both sides"
    return ast.unparse(ast.fix_missing_locations(value)), ""


def _value(value: ast.expr, item: Item) -> tuple[ast.expr | None, str]:
    """What each object gets, if the field says so plainly; else why not."""
    if not _is_of(value, item, _DATACLASSES, "field"):
        return value, ""
    assert isinstance(value, ast.Call)
    given = {each.arg: each.value for each in value.keywords}
    if value.args or not given.keys() <= _OF_A_FIELD:
        return None, "its field() is given more than is known"
    if "default" in given:
        return given["default"], ""
    factory = given.get("default_factory")
    if factory is None:
        return None, "it has no default"
    if isinstance(factory, ast.Lambda) and not ast.unparse(factory.args):
        return factory.body, ""
    return (ast.Call(factory, [], []), "") if chain_of(factory) else (None, "its factory is computed")


def _passes(item: Item, new: World, entity: Entity, name: str, place: int) -> bool:
    """Whether new code may give a field to the ``__init__`` that does not take it."""
    makers = {"cls", "__class__", "__init__", "type", *_families(new, entity)}
    for node in ast.walk(item.node):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.func if isinstance(node.func, ast.Call) else node.func
        last = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
        if any(each.arg == name for each in node.keywords):
            return True
        if last in {*makers, "replace"} and any(each.arg is None for each in node.keywords):
            return True
        many = len(node.args) > place or any(isinstance(each, ast.Starred) for each in node.args)
        if last in makers and many and not (last == "type" and called is node.func):
            return True
    return False


def _families(new: World, entity: Entity) -> set[str]:
    """The names of a class and of those that derive from it, as far as they were read."""
    name = _last(entity[1])
    return {
        name,
        *(
            _last(item.binds[0])
            for module in new.parsed()
            for item in module.items
            if item.kind == "class" and name in item.words and entity in new.mro((module.name, item.binds[0]))
        ),
    }
