"""Which statements a side must run to compute the names that change."""

from __future__ import annotations

import ast
from collections.abc import Collection

from livepatch.bundle.arguments import factories_in
from livepatch.bundle.flow import Flow
from livepatch.bundle.hooks import entered_by, hooks_of
from livepatch.bundle.items import Item
from livepatch.bundle.refs import EVERYTHING, NEVER, Ref
from livepatch.bundle.world import Entity, Trace, World
from livepatch.contents.edits import Statement

__all__ = ["items_to_run", "statements_of"]


class _Programs:
    def __init__(self, world: World, flow: Flow, names: frozenset[Entity]) -> None:
        self.world = world
        self.flow = flow
        self.names = names
        self.items: dict[int, Item] = {}
        self.support: set[Entity] = set()
        self._affected = flow.values | {e for e, level in flow.calls.items() if level == 0}

    def add(self, item: Item) -> None:
        if id(item) in self.items:
            return
        self.items[id(item)] = item
        for other in item.module.items:
            if other.unit is item.unit and other.unit is not other.node:
                self._calls(other, whole=other.kind != "function")
        self._calls(item, whole=True)
        if item.kind == "class":
            self._hooks((item.module.name, item.binds[0]))

    def _hooks(self, entity: Entity) -> None:
        """Take in the classes whose hooks run with a class statement, where those change, or enter what changes."""
        for hook in hooks_of(self.world, entity):
            owner = (hook[0], hook[1].rpartition(".")[0])
            changes = hook in self._affected or not self.names.isdisjoint(entered_by(self.world, hook))
            if changes and owner not in self.support:
                self._support_class(owner)

    def defaults(self, item: Item) -> None:
        """Take in what the defaults of a definition call, which is itself edited in place."""
        for ref in [*self.world.refs(item).header, *self.world.asked(item, later=False)]:
            self._ref(ref, item)

    def _calls(self, item: Item, *, whole: bool) -> None:
        """Take in what the item calls when it runs, where that is changed, too."""
        refs = self.world.refs(item)
        asked = self.world.asked(item, later=False) if whole else []
        for ref in [*refs.decorators, *refs.header, *refs.tests, *asked] if whole else refs.decorators:
            self._ref(ref, item)
        value = getattr(item.node, "value", None)
        if isinstance(value, ast.Lambda) or factories_in(value):
            for ref in refs.body:  # another statement may call it
                self._ref(ref, item)
        if item.kind == "class":
            (bound,) = item.binds
            for inner in item.module.items:
                if inner.scope == bound or inner.scope.startswith(f"{bound}."):
                    self._calls(inner, whole=True)

    def _ref(self, ref: Ref, item: Item, more: int = 0) -> None:
        """Take in what a chain of names leads to; what it gives is called `more` times."""
        if ref.chain[-1:] == (EVERYTHING,) and len(ref.chain) > 1:
            owner = self.world.follow(ref._replace(chain=ref.chain[:-1]), item)
            if owner.kind == "class" and self.flow.reached(ref, item):
                self._support_class(owner.end)  # what reads any attribute of a class is to find all as they are
            return
        trace = self.world.follow(ref, item)
        calls = self.flow.calls_of(ref, trace, item)
        own = [*((item.module.name, bound) for bound in item.binds), *self._filled(item)]
        calls += more + max([self.flow.results.get(one, 0) for one in own], default=0)
        if calls:
            for one in (trace, *trace.before_it_was_bound_anew()):
                if one.kind in ("function", "class"):
                    self._support(one.end, calls)
                elif one.kind == "instance" and ref.call:
                    self._called_object(one)
        self._holder(trace)

    def _filled(self, item: Item) -> frozenset[Entity]:
        """The containers into which a statement enters something."""
        return self.world.effects(item) if item.kind in ("assign", "effect", "loop") else frozenset()

    def _called_object(self, trace: Trace) -> None:
        """Take in an object that is called, and the class that says what it does then, where that changes."""
        method = self.world.member(trace.end, "__call__")
        if method is not None and self.flow.calls.get(method, NEVER) < 1:
            self._support_class(trace.end)
            for entity in trace.passed:
                for item in self.world.items(entity):
                    if item.kind == "assign":
                        self.add(item)

    def _holder(self, trace: Trace) -> None:
        """Take in the object whose class gives another method or attribute: it is to be made of that class."""
        owners = [e for e in trace.passed[1:] if "." in e[1] and (e in self.support or e in self.names)]
        for one in trace.passed if owners else ():
            if one not in owners and (made := self.world.bound(*one) if self.world.items(one) else None):
                for item in self.world.items(one) if made.kind == "instance" else ():
                    self.add(item)
                    if item.scope:  # it is found on an object, whose class is to have the new one
                        self._support_class((item.module.name, item.scope))

    def _support(self, entity: Entity, calls: int) -> None:
        if entity in self.support:
            return
        items = self.world.items(entity)
        if not items:
            return
        if items[-1].kind == "class":
            changed = {(m, q.rpartition(".")[0]) for m, q in self.names if "." in q}
            others = self.flow.makes_other_objects(entity) or not changed.isdisjoint(self.world.mro(entity))
            if not others and entity not in self.names:
                return
        elif self.flow.calls.get(entity, NEVER) >= calls:
            return
        self.support.add(entity)
        module, qualname = entity
        owner = qualname.rpartition(".")[0]
        if owner and self.world.items((module, owner)):
            self._support_class((module, owner))
        for item in items:
            self.add(item)
            refs = self.world.refs(item)
            for ref in [*refs.body, *self.world.asked(item, later=True)]:
                if ref.level < calls:
                    given = bool(ref.chain) and ref.chain[-1] in self.world.syntax.left_behind(item)
                    self._ref(ref, item, calls - 1 - ref.level if given else 0)
            if item.kind == "class":
                self._support_class(entity)

    def _support_class(self, entity: Entity) -> None:
        self.support.add(entity)
        for module, qualname in self.world.mro(entity):
            one = (module, qualname)
            affected = any((module, f"{qualname}.{m}") in self._affected for m in self._members(one))
            if one == entity or affected:
                for item in self.world.items(one):
                    self.add(item)
                for name in self._members(one):
                    for item in self.world.items((module, f"{qualname}.{name}")):
                        if item.kind == "function":
                            for ref in [*self.world.refs(item).body, *self.world.asked(item, later=True)]:
                                self._ref(ref, item)

    def imports(self, fresh: Collection[str]) -> None:
        """Take in the imports through which what is run finds what is made anew in another module, or a `fresh` one."""
        for item in list(self.items.values()):
            refs = self.world.refs(item)
            asked = [*self.world.asked(item, later=False), *self.world.asked(item, later=True)]
            for ref in [*refs.decorators, *refs.header, *refs.body, *asked]:
                passed = self.world.follow(ref, item).passed
                if any(entity in self.support for entity in passed[1:]):
                    for one in (each for entity in passed for each in self.world.items(entity)):
                        if one.kind == "import":
                            self.add(one)
                if ref.chain and any(not name and module in fresh for module, name in passed[1:]):
                    for one in self.world.items((item.module.name, ref.chain[0])):
                        if one.kind == "import":  # `import a.b` binds `a`, which lacks `b` until then
                            self.add(one)

    def _members(self, entity: Entity) -> list[str]:
        module = self.world.module(entity[0])
        prefix = f"{entity[1]}."
        return [
            n.removeprefix(prefix)
            for n in (module.by_name if module else ())
            if n.startswith(prefix) and "." not in n.removeprefix(prefix)
        ]


def items_to_run(world: World, flow: Flow, names: frozenset[Entity], fresh: Collection[str] = ()) -> list[Item]:
    """What binds or changes the names, and what that calls that is itself changed.

    `fresh` are the modules that the process gets with the patch.
    """
    work = _Programs(world, flow, names)
    wanted_in: dict[str, set[str]] = {}
    for owner, qualname in names:
        wanted_in.setdefault(owner, set()).add(qualname)
    for module in world.parsed():
        wanted = wanted_in.get(module.name, set())
        for item in module.items:
            if item.kind == "field":
                continue
            if (
                not wanted.isdisjoint(item.binds)
                or not names.isdisjoint(world.effects(item))
                or (item.kind == "class" and _enters(world, (module.name, item.binds[0]), names))
            ):
                work.add(item)
    for entity in sorted(names):
        for item in world.starred(entity):
            work.add(item)
    for entity in sorted(flow.defaults - names):
        for item in world.items(entity):
            if item.kind == "function":
                work.defaults(item)
    work.imports(fresh)
    return list(work.items.values())


def _enters(world: World, entity: Entity, names: frozenset[Entity]) -> bool:
    """Whether making a class changes one of the names in place."""
    return any(not names.isdisjoint(entered_by(world, hook)) for hook in hooks_of(world, entity))


def statements_of(items: list[Item]) -> dict[str, tuple[Statement, ...]]:
    """The statements of each module that run the items, in source order.

    A class that is run whole holds its own statements, and a compound statement all that is in it.
    """
    return {
        module: _statements([i for i in items if i.module.name == module])
        for module in sorted({i.module.name for i in items})
    }


def _statements(items: list[Item]) -> tuple[Statement, ...]:
    module = items[0].module
    wholes = {b for i in items if i.kind == "class" for b in i.binds}
    units: dict[int, tuple[str, ast.stmt]] = {}
    for item in items:
        scopes = item.scope.split(".")
        if wholes.isdisjoint(".".join(scopes[:end]) for end in range(1, len(scopes) + 1)):
            # A definition inside a compound statement goes with all of it.
            units[id(item.unit)] = (item.scope, item.unit)
    ordered = sorted(units.values(), key=lambda u: (u[1].lineno, u[1].col_offset))
    return tuple(Statement(scope=scope, text=module.text(unit)) for scope, unit in ordered)
