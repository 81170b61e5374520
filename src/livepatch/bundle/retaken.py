"""Attributes that objects took when they were made, or when first asked, and that a new object would get otherwise.

Where one method sets an attribute, and to what the module and the class alone tell, both what an object has and what it
shall have can be computed: such an object gets the new value.  The others are counted and reported.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import replace

from livepatch.bundle.attributes import Setting, defaults_of, made_by, methods_of, outside, settings_of
from livepatch.bundle.changes import Difference
from livepatch.bundle.items import chain_of
from livepatch.bundle.lazily import lazily_set
from livepatch.bundle.nodes import walk
from livepatch.bundle.normal import normal
from livepatch.bundle.world import Entity, World
from livepatch.contents.edits import AttributeDefault, Captured
from livepatch.contents.parsing import copy_of, tree_of

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
        module: _each_once(made for each in by_name.values() for made in _with_expressions(old, new, module, each))
        for module, by_name in found.items()
    }


def _each_once(found: Iterable[Captured]) -> list[Captured]:
    """One for each class and name: that of a class which changes itself comes before that of its base."""
    by_name: dict[tuple[str, str], Captured] = {}
    for each in found:
        known = by_name.get((each.class_qualname, each.name))
        if known is None or not known.before:
            by_name[each.class_qualname, each.name] = each
    return list(by_name.values())


def _set_otherwise(old: World, new: World, taken: Iterable[Difference]) -> Iterable[tuple[Entity, str, str]]:
    """Each class, and each attribute of its objects, that a changed method sets to something else than it did."""
    for one in taken:
        entity = (one.module, one.qualname.rpartition(".")[0])
        method = (one.module, one.qualname)
        if one.form != "function" or one.kind != "changed" or not entity[1]:
            continue
        if any(method not in made_by(world, entity) for world in (old, new)):
            filled = [_lazily(world, method) for world in (old, new)]
            for name in sorted(filled[0].keys() & filled[1].keys()):
                if {normal(value) for value in filled[1][name]} - {normal(value) for value in filled[0][name]}:
                    yield entity, name, f"{one.module}:{one.qualname}"
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


def _lazily(world: World, method: Entity) -> dict[str, list[ast.expr]]:
    """What a method sets when it is first asked for, by the attribute."""
    found: dict[str, list[ast.expr]] = {}
    for item in world.items(method):
        if isinstance(item.node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for name, value in lazily_set(item.node):
                found.setdefault(name, []).append(value)
    return found


def _text(setting: Setting) -> str:
    """What an assignment gives, with the default where it is a parameter."""
    if setting.value is None:
        return ""
    given = defaults_of(setting.item.node).get(setting.value.id) if isinstance(setting.value, ast.Name) else None  # type: ignore[arg-type]
    return normal(setting.value) + (f" = {normal(given)}" if given is not None else "")


def _with_expressions(old: World, new: World, module: str, one: Captured) -> Iterable[Captured]:
    """The same with what each side gives, and one more of each derived class that has other values for it to read."""
    entity = (module, one.class_qualname)
    sides = _on_both(old, new, entity, entity, one.name)
    if not sides:
        yield one
        return
    heirs = old.heirs({entity}) | new.heirs({entity})
    read = {name for _, names in sides for name in names}
    others = set()
    for heir in sorted(heirs):
        places = [(_places(world, heir, one.name), _places(world, entity, one.name)) for world in (old, new)]
        if any(its - own for its, own in places) or not places[0][0]:
            others.add(heir)
        elif any(world.member(heir, name) != world.member(entity, name) for world in (old, new) for name in read):
            own = _on_both(old, new, entity, heir, one.name)
            if heir[0] == module and own:
                yield replace(one, class_qualname=heir[1], before=own[0][0], after=own[1][0])
            else:
                others.add(heir)
    but_for = tuple(sorted(f"{heir[0]}:{heir[1]}" for heir in others))
    yield replace(one, before=sides[0][0], after=sides[1][0], but_for=but_for)


def _on_both(old: World, new: World, entity: Entity, cls: Entity, name: str) -> list[tuple[str, frozenset[str]]]:
    """What `_expression` tells of either side; nothing if one does not tell."""
    told = [_expression(world, entity, cls, name) for world in (old, new)]
    known = [each for each in told if each is not None]
    return known if len(known) == len(told) else []


def _places(world: World, entity: Entity, name: str) -> set[int]:
    lazily = {id(s.item) for each in world.mro(entity) for s in _settings_later(world, each, name)}
    return lazily | {id(setting.item) for setting in settings_of(world, entity, name)}


def _settings_later(world: World, entity: Entity, name: str) -> list[Setting]:
    """Where a method of the class sets an attribute when it is first asked for."""
    found = []
    made = set(made_by(world, entity))
    for item in methods_of(world, entity):
        method = (item.module.name, item.binds[0])
        if method not in made:
            values = _lazily(world, method).get(name, ())
            found += [Setting(method, item, value, always=True) for value in values]
    return found


def _expression(world: World, entity: Entity, cls: Entity, name: str) -> tuple[str, frozenset[str]] | None:
    """What the objects of `cls` get for an attribute from the methods of the class `entity`, if the source tells.

    And which attributes of the class are read for it.
    """
    settings = [s for s in settings_of(world, entity, name) if not _is_nothing(s.value)]
    settings = settings or _settings_later(world, entity, name)
    if len(settings) != 1 or not settings[0].always:
        return None
    setting = settings[0]
    owner = (setting.method[0], setting.method[1].rpartition(".")[0])
    if owner != entity or setting.value is None or not _is_computed(setting.value):
        return None
    node = setting.item.node
    assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    work = _OfItsClass(world, entity, cls, [*node.args.posonlyargs, *node.args.args][0].arg)
    setting = replace(setting, value=work.visit(copy_of(setting.value)))
    value, _ = outside(world, setting, "")
    return (ast.unparse(ast.fix_missing_locations(value)), frozenset(work.read)) if value is not None else None


def _is_nothing(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


class _OfItsClass(ast.NodeTransformer):
    """Reads of the class what an object has from it alone: ``self.LIMIT``, which no method sets."""

    def __init__(self, world: World, entity: Entity, cls: Entity, own: str) -> None:
        self.world, self.cls, self.own = world, cls, own
        self.family = {entity, cls, *world.mro(entity), *world.mro(cls), *world.heirs({entity})}
        self.read: set[str] = set()

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        match node:
            case ast.Attribute(value=ast.Name(id=own), attr=name) if own == self.own and self._is_of_class(name):
                self.read.add(name)
                holder = self.world.member(self.cls, name) or self.cls
                return ast.copy_location(tree_of(holder[1], mode="eval").body, node)
        return self.generic_visit(node)

    def _is_of_class(self, name: str) -> bool:
        holder = self.world.member(self.cls, name)
        items = self.world.items(holder) if holder is not None and holder[0] == self.cls[0] else ()
        if not items or any(item.kind != "assign" for item in items) or name.startswith("__"):
            return False
        return not any(
            ref.base == "self" and ref.store == "attr" and ref.chain[:1] == (name,)
            for each in self.family
            for item in methods_of(self.world, each)
            for ref in self.world.refs(item).body
        )


def _is_computed(value: ast.expr) -> bool:
    """Whether the value can be computed without running code of the program, as far as its text tells."""
    for node in walk(value):
        if isinstance(node, ast.Call):
            if ".".join(chain_of(node.func)) not in _CALLS or node.keywords:
                return False
        elif not isinstance(node, _COMPUTED):
            return False
    return True
