"""Attributes that objects took when they were made, and that a new object would get otherwise.

Where ``__init__`` sets an attribute always, and to what the module alone tells, both what an object has and what it
shall have can be computed: such an object gets the new value.  The others are counted and reported.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import replace

from livepatch.bundle.attributes import Setting, defaults_of, made_by, outside, settings_of
from livepatch.bundle.changes import Difference
from livepatch.bundle.items import chain_of
from livepatch.bundle.nodes import walk
from livepatch.bundle.normal import normal
from livepatch.bundle.world import Entity, World
from livepatch.contents.edits import AttributeDefault, Captured

__all__ = ["captured_by_objects"]

# What runs nothing of the program, and gives another object to each that asks, or one that never changes.
_CALLS = frozenset(
    [
        *("list", "dict", "set", "tuple", "frozenset", "str", "bytes", "bytearray", "int", "float", "bool", "complex"),
        *("len", "min", "max", "sum", "abs", "round", "sorted", "range", "re.compile", "timedelta", "Decimal"),
        *("datetime.timedelta", "decimal.Decimal", "deque", "OrderedDict", "collections.deque"),
        *("collections.OrderedDict", "object"),
    ]
)
_COMPUTED = (
    *(ast.Constant, ast.Name, ast.Attribute, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.BinOp, ast.UnaryOp),
    *(ast.BoolOp, ast.Compare, ast.IfExp, ast.JoinedStr, ast.FormattedValue, ast.Subscript, ast.Slice, ast.Starred),
    *(ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context),
)


def captured_by_objects(
    old: World,
    new: World,
    captured: Mapping[str, Iterable[Captured]],
    taken: Iterable[Difference],
    attributes: Mapping[str, Iterable[AttributeDefault]],
) -> dict[str, list[Captured]]:
    """All that objects took of what changes, by module, and how each side computes it where the source tells.

    `captured` is what they took of values that change.  To it comes what changed methods set otherwise that run when an
    object is made, but for the `attributes` of which is told elsewhere.
    """
    found = {module: {(c.class_qualname, c.name): c for c in each} for module, each in captured.items()}
    told = {(module, a.class_qualname, a.name) for module, each in attributes.items() for a in each}
    for entity, name, of in _set_otherwise(old, new, taken):
        if (entity[0], entity[1], name) not in told:
            one = Captured(class_qualname=entity[1], name=name, of=of)
            found.setdefault(entity[0], {}).setdefault((entity[1], name), one)
    return {
        module: [_with_expressions(old, new, module, each) for each in by_name.values()]
        for module, by_name in found.items()
    }


def _set_otherwise(old: World, new: World, taken: Iterable[Difference]) -> Iterable[tuple[Entity, str, str]]:
    """Each class, and each attribute of its objects, that a changed method sets to something else than it did."""
    for one in taken:
        entity = (one.module, one.qualname.rpartition(".")[0])
        method = (one.module, one.qualname)
        if one.form != "function" or one.kind != "changed" or not entity[1]:
            continue
        if any(method not in made_by(world, entity) for world in (old, new)):
            continue
        names = {
            ref.chain[0]
            for item in one.after
            for ref in new.refs(item).body
            if ref.base == "self" and ref.store == "attr" and len(ref.chain) == 1
        }
        for name in sorted(names):
            sides = [[s for s in settings_of(w, entity, name) if s.method == method] for w in (old, new)]
            was, now = ({_text(setting) for setting in side} for side in sides)
            if was and now - was:
                yield entity, name, f"{one.module}:{one.qualname}"


def _text(setting: Setting) -> str:
    """What an assignment gives, with the default where it is a parameter."""
    if setting.value is None:
        return ""
    given = defaults_of(setting.item.node).get(setting.value.id) if isinstance(setting.value, ast.Name) else None  # type: ignore[arg-type]
    return normal(setting.value) + (f" = {normal(given)}" if given is not None else "")


def _with_expressions(old: World, new: World, module: str, one: Captured) -> Captured:
    entity = (module, one.class_qualname)
    sides = [_expression(world, entity, one.name) for world in (old, new)]
    if not all(sides):
        return one
    heirs = old.heirs({entity}) | new.heirs({entity})
    others = sorted(
        f"{heir[0]}:{heir[1]}"
        for heir in heirs
        if any(_places(world, heir, one.name) - _places(world, entity, one.name) for world in (old, new))
        or not _places(old, heir, one.name)
    )
    return replace(one, before=sides[0], after=sides[1], but_for=tuple(others))


def _places(world: World, entity: Entity, name: str) -> set[int]:
    return {id(setting.item) for setting in settings_of(world, entity, name)}


def _expression(world: World, entity: Entity, name: str) -> str:
    """What the objects of a class get for an attribute, in every case; empty if the source does not tell."""
    settings = settings_of(world, entity, name)
    if len(settings) != 1 or not settings[0].always:
        return ""
    setting = settings[0]
    owner = (setting.method[0], setting.method[1].rpartition(".")[0])
    if owner != entity or setting.value is None or not _is_computed(setting.value):
        return ""
    value, _ = outside(world, setting, "")
    return ast.unparse(ast.fix_missing_locations(value)) if value is not None else ""


def _is_computed(value: ast.expr) -> bool:
    """Whether the value can be computed without running code of the program, as far as its text tells."""
    for node in walk(value):
        if isinstance(node, ast.Call):
            if ".".join(chain_of(node.func)) not in _CALLS or node.keywords:
                return False
        elif not isinstance(node, _COMPUTED):
            return False
    return True
