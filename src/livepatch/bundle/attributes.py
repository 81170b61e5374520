"""Instance attributes that new code reads and objects that exist already lack."""

from __future__ import annotations

import ast
import builtins
import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from livepatch.bundle.changes import Difference
from livepatch.bundle.items import Item, Module
from livepatch.bundle.makers import makings
from livepatch.bundle.nodes import walk
from livepatch.bundle.normal import FunctionNode, normal
from livepatch.bundle.world import Entity, World
from livepatch.contents.edits import AttributeDefault
from livepatch.contents.parsing import tree_of

__all__ = [
    "Setting",
    "assigned",
    "attribute_defaults",
    "candidates",
    "changes_later",
    "default_of",
    "defaults_of",
    "is_class",
    "is_guarded",
    "is_read",
    "is_shared",
    "made_by",
    "methods_of",
    "outside",
    "readers_of",
    "related",
    "settings_of",
]

_MAKERS = ("__new__", "__init__", "__post_init__", "__attrs_post_init__")
_PER_OBJECT = (
    ast.List,
    ast.Dict,
    ast.Set,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
    ast.Call,
    ast.Lambda,
)


@dataclass(frozen=True)
class Setting:
    """An assignment of an attribute in a method: its value, and whether it is made in every case."""

    method: Entity
    item: Item
    value: ast.expr | None
    always: bool


def attribute_defaults(
    old: World, new: World, taken: Iterable[Difference], whole: Iterable[str]
) -> dict[str, list[AttributeDefault]]:
    """The attributes of each module's classes that the new side sets and reads, and the old one knows nothing of."""
    taken = list(taken)
    readers = readers_of(new, taken, whole)
    found: dict[str, list[AttributeDefault]] = {}
    for entity, name in candidates(old, new, taken):
        settings = settings_of(new, entity, name)
        if not settings or not is_read(new, entity, name, readers, settings):
            continue
        found.setdefault(entity[0], []).append(default_of(old, new, entity, name, settings, readers))
    return found


def default_of(
    old: World, new: World, entity: Entity, name: str, settings: list[Setting], readers: list[Item]
) -> AttributeDefault:
    """What objects get for an attribute that they lack, if the source tells; else with the reason."""
    expression, shared, of, reason = _default(old, entity, name, settings)
    kept_by = ""
    if not expression:
        expression, of, kept_by = _of_its_keeper(old, new, entity, settings)
        shared, reason = not kept_by, "" if kept_by else reason
    return AttributeDefault(
        class_qualname=entity[1],
        name=name,
        expression=expression,
        shared=shared,
        of=of,
        kept_by=kept_by,
        reason=reason,
        fixed=bool(expression) and shared and not changes_later(new, entity, name, readers),
    )


def changes_later(new: World, entity: Entity, name: str, readers: list[Item]) -> bool:
    """Whether new code sets or deletes the attribute after an object is made, or may, because it knows it by a text."""
    made = {id(item) for method in made_by(new, entity) for item in new.items(method)}
    for item in readers:
        refs = new.refs(item)
        stored = any(r.store == "attr" and r.chain[-1:] == (name,) for r in [*refs.header, *refs.body])
        told = any(isinstance(node, ast.Constant) and node.value == name for node in walk(item.node))
        if told or (stored and id(item) not in made):
            return True
    return False


def candidates(old: World, new: World, taken: list[Difference]) -> list[tuple[Entity, str]]:
    """Each class on both sides, and each attribute that a taken method of it sets for the first time."""
    found: dict[tuple[Entity, str], None] = {}
    for one in taken:
        for item in one.after:
            if item.kind != "function" or not item.scope:
                continue
            owner = (one.module, item.scope)
            if not is_class(old, owner) or not is_class(new, owner):
                continue
            for ref in new.refs(item).body:
                if ref.base == "self" and ref.store == "attr" and len(ref.chain) == 1:
                    name = ref.chain[0]
                    if not _known(old, owner, name) and new.member(owner, name) is None:
                        found[owner, name] = None
    return sorted(found)


def is_class(world: World, entity: Entity) -> bool:
    """Whether the name stands for nothing but classes."""
    items = world.items(entity)
    return bool(items) and all(i.kind == "class" for i in items)


def _known(world: World, entity: Entity, name: str) -> bool:
    """Whether objects of the class have the attribute, as far as the source tells."""
    if world.member(entity, name) is not None:
        return True
    for module, qualname in world.mro(entity):
        for item in methods_of(world, (module, qualname)):
            if any(r.base == "self" and r.store and r.chain == (name,) for r in world.refs(item).body):
                return True
    return False


def methods_of(world: World, entity: Entity) -> list[Item]:
    """The functions in the body of a class."""
    module = world.module(entity[0])
    return [i for i in module.items if i.scope == entity[1] and i.kind == "function"] if module else []


def made_by(world: World, entity: Entity) -> list[Entity]:
    """The methods that run when an object is made."""
    pending = [m for name in _MAKERS if (m := world.member(entity, name)) is not None]
    found: list[Entity] = []
    while pending:
        method = pending.pop()
        if method in found:
            continue
        found.append(method)
        for item in world.items(method):
            for ref in world.refs(item).body if item.kind == "function" else ():
                if ref.base in ("self", "super") and ref.call:
                    trace = world.trace(ref, item.module.name, item.scope, entity)
                    if trace.kind == "function":
                        pending.append(trace.end)
    return found


def settings_of(world: World, entity: Entity, name: str) -> list[Setting]:
    """Where the new side sets the attribute while an object is made."""
    found = []
    for method in made_by(world, entity):
        for item in world.items(method):
            node = item.node
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                own = [*node.args.posonlyargs, *node.args.args][:1]
                if own:
                    found += [
                        Setting(method, item, value, always)
                        for value, always in assigned(node.body, own[0].arg, name, always=True)
                    ]
    return found


def assigned(body: list[ast.stmt], own: str, name: str, *, always: bool) -> Iterator[tuple[ast.expr | None, bool]]:
    """What a body assigns to an attribute of its object (``None``: part of something), and whether in every case."""
    for statement in body:
        targets: list[ast.expr] = []
        value: ast.expr | None = None
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, (ast.AnnAssign, ast.AugAssign)) and statement.value is not None:
            targets = [statement.target]
            value = statement.value if isinstance(statement, ast.AnnAssign) else None
        for target in targets:
            if _is_attribute(target, own, name):
                yield value, always
            elif any(_is_attribute(t, own, name) for t in walk(target)):
                yield None, always
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        straight = isinstance(statement, (ast.With, ast.AsyncWith))
        for part in ("body", "orelse", "finalbody"):
            yield from assigned(getattr(statement, part, []), own, name, always=always and straight)
        for handler in getattr(statement, "handlers", []):
            yield from assigned(handler.body, own, name, always=False)


def _is_attribute(node: ast.AST, own: str, name: str) -> bool:
    match node:
        case ast.Attribute(value=ast.Name(id=one), attr=attr, ctx=ast.Store()):
            return one == own and attr == name
    return False


# Reading


def readers_of(new: World, taken: list[Difference], whole: Iterable[str]) -> list[Item]:
    """All that is new code."""
    found: dict[int, Item] = {}
    for one in taken:
        for item in one.after:
            found[id(item)] = item
            if item.kind == "class" and one.kind == "added":
                inner = [i for i in item.module.items if i.scope in item.binds]
                found.update((id(i), i) for i in inner)
    for name in whole:
        module = new.module(name)
        found.update((id(i), i) for i in (module.items if module else ()))
    return list(found.values())


def is_read(new: World, entity: Entity, name: str, readers: list[Item], settings: list[Setting]) -> bool:
    """Whether a reader relies on the attribute, apart from what makes the objects."""
    makers = {s.method for s in settings if s.method[1].rpartition(".")[2] in _MAKERS}
    for item in readers:
        refs = new.refs(item)
        own = (item.module.name, item.binds[0]) if item.binds else ("", "")
        for ref in [*refs.header, *refs.body]:
            if name not in ref.chain:
                continue
            if ref.base in ("", "scope", "abs") and ref.chain[0] == name and ref.chain.count(name) == 1:
                continue
            if ref.store == "attr" and ref.chain[-1] == name and ref.chain.count(name) == 1:
                continue
            by_self = ref.base in ("self", "super") and ref.chain[0] == name
            if by_self and (own in makers or not related(new, entity, (item.module.name, item.scope))):
                continue
            if not is_guarded(item.node, name):
                return True
    return False


def related(world: World, entity: Entity, other: Entity) -> bool:
    """Whether one class derives from the other."""
    return entity in world.mro(other) or other in world.mro(entity)


def is_guarded(node: ast.AST, name: str) -> bool:
    """Whether the code first looks whether the attribute is there."""
    for one in walk(node):
        match one:
            case ast.Call(func=ast.Name(id="hasattr"), args=[_, ast.Constant(value=str(asked))]) if asked == name:
                return True
    return False


# The value


def _default(old: World, entity: Entity, name: str, settings: list[Setting]) -> tuple[str, bool, str, str]:
    """The expression, whether one value serves all, the name under which it reads the object, and else the reason."""
    texts = {normal(s.value) if s.value is not None else "" for s in settings}
    if len(texts) > 1 or "" in texts:
        where = " and ".join(sorted({s.method[1] for s in settings}))
        return "", True, "", f"{where} sets {name} to one of several values"
    setting = settings[0]
    assert setting.value is not None
    if len(settings) == 1 and not setting.always and not isinstance(setting.value, ast.Constant):
        return "", True, "", f"{setting.method[1]} sets {name} only on a condition"
    of = _read_of_itself(old, entity, setting)
    value, reason = outside(old, setting, of)
    if value is None:
        return "", True, "", reason
    try:
        text = ast.unparse(ast.fix_missing_locations(value))
    except (ValueError, RecursionError):
        return "", True, "", f"{setting.method[1]} sets {name} to something that cannot be written down"
    return text, not of and is_shared(value), of, ""


def _of_its_keeper(old: World, new: World, entity: Entity, settings: list[Setting]) -> tuple[str, str, str]:
    """What every place that makes such an object passes of its own, and where it keeps what it made."""
    setting = settings[0]
    node, value = setting.item.node, setting.value
    if len(settings) > 1 or not setting.always or not isinstance(value, ast.Name):
        return "", "", ""
    assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    stored = {n.id for n in walk(node) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    if value.id not in _parameters(node) or value.id in stored:
        return "", "", ""
    places = {(m.owner, m.passed, m.kept) for m in makings(new, entity, value.id)}
    if len(places) != 1:
        return "", "", ""
    owner, passed, kept = places.pop()
    if not passed or not kept or not any(each.always for each in settings_of(old, owner, passed)):
        return "", "", ""
    return f"self.{passed}", "self", f"{owner[0]}:{owner[1]}.{kept}"


def _read_of_itself(old: World, entity: Entity, setting: Setting) -> str:
    """The name of the object in its own method, if the value reads it: only attributes that every old object has."""
    node = setting.item.node
    assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    assert setting.value is not None
    first = [*node.args.posonlyargs, *node.args.args][:1]
    name = first[0].arg if first else ""
    uses = sum(isinstance(n, ast.Name) and n.id == name for n in walk(setting.value))
    read = [
        n.attr
        for n in walk(setting.value)
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == name
    ]
    if not uses or uses != len(read):
        return ""
    had = all(any(each.always for each in settings_of(old, entity, attribute)) for attribute in read)
    return name if had else ""


def outside(old: World, setting: Setting, of: str) -> tuple[ast.expr | None, str]:
    """The value as an expression of the module, with the defaults of new parameters in their places.

    With `of`, it may read the object itself under that name.
    """
    assert setting.value is not None
    steps = (ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr)
    if any(isinstance(n, steps) for n in walk(setting.value)):
        return None, f"{setting.method[1]} computes it in steps"
    work = _Outside(old, setting, of)
    value = work.visit(copy.deepcopy(setting.value))
    for one in walk(value):
        # The default of a parameter may itself be a name.
        if isinstance(one, ast.Name) and one.id != of and not work.is_outside(one.id):
            work.reason = work.reason or f"it comes from {one.id}, which the module does not define"
    return (None, work.reason) if work.reason else (value, "")


class _Outside(ast.NodeTransformer):
    """Puts the defaults of new parameters in their places; `reason` tells of names that have no such meaning."""

    def __init__(self, old: World, setting: Setting, of: str) -> None:
        node = setting.item.node
        assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        assert setting.value is not None
        self.reason = ""
        self.of = of
        self.where = setting.method[1]
        self.module = setting.item.module
        self.first = next(a.arg for a in [*node.args.posonlyargs, *node.args.args])
        self.parameters = _parameters(node)
        self.defaults = defaults_of(node)
        self.before = {
            p for i in old.items(setting.method) if isinstance(i.node, ast.FunctionDef) for p in _parameters(i.node)
        }
        self.bound = {n.id for n in walk(node) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
        inner = [*walk(setting.value)]
        self.own = {n.id for n in inner if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
        self.own |= {a.arg for a in inner if isinstance(a, ast.arg)}

    def is_outside(self, name: str) -> bool:
        """Whether the name means something where the class stands."""
        return name in self.own or name in self.module.by_name or hasattr(builtins, name)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        name = node.id
        if name in self.own or name == self.of:
            return node
        if name == self.first:
            self._refuse("it is computed from other attributes of the object")
        elif name in self.parameters:
            if name in self.before or not self.where.endswith(".__init__"):
                self._refuse(f"it comes from the parameter {name} of {self.where}")
            elif name not in self.defaults:
                self._refuse(f"it comes from the parameter {name} of {self.where}, which has no default")
            elif name in self.bound:
                self._refuse(f"{self.where} changes its parameter {name}")
            else:
                default = copy.deepcopy(self.defaults[name])
                made: ast.AST = _OfTheClass(self.module, self.where.rpartition(".")[0]).visit(default)
                return made
        elif name in self.bound or not self.is_outside(name):
            self._refuse(f"it comes from the variable {name} of {self.where}")
        return node

    def _refuse(self, reason: str) -> None:
        self.reason = self.reason or reason


class _OfTheClass(ast.NodeTransformer):
    """Reads what the body of a class binds, as its methods' defaults do, where the class itself is named."""

    def __init__(self, module: Module, scope: str) -> None:
        self.module, self.scope = module, scope

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if f"{self.scope}.{node.id}" not in self.module.by_name:
            return node
        return ast.copy_location(tree_of(f"{self.scope}.{node.id}", mode="eval").body, node)


def _parameters(node: FunctionNode) -> set[str]:
    a = node.args
    return {x.arg for x in [*a.posonlyargs, *a.args, *a.kwonlyargs, *(y for y in (a.vararg, a.kwarg) if y)]}


def defaults_of(node: FunctionNode) -> dict[str, ast.expr]:
    """The default of each parameter that has one."""
    a = node.args
    positional = [*a.posonlyargs, *a.args]
    found = dict(zip([x.arg for x in positional[len(positional) - len(a.defaults) :]], a.defaults, strict=True))
    found.update({x.arg: d for x, d in zip(a.kwonlyargs, a.kw_defaults, strict=True) if d is not None})
    return found


def is_shared(value: ast.expr) -> bool:
    """Whether one object can serve all: it never changes in place, or is shared in the source, too."""
    match value:
        case ast.Call(func=ast.Name(id="frozenset" | "tuple"), args=[], keywords=[]):
            return True
        case ast.Subscript(value=inner):
            return is_shared(inner)
    return not any(isinstance(n, _PER_OBJECT) for n in walk(value))
