"""The edits that carry what a plan takes."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from livepatch.bundle.cached import caches_of_callers, tables_filled
from livepatch.bundle.changes import Difference
from livepatch.bundle.items import Item, Module, decoded
from livepatch.bundle.memos import kept_from
from livepatch.bundle.normal import defaults_of
from livepatch.bundle.plan import Plan
from livepatch.bundle.program import statements_of
from livepatch.bundle.refs import NEVER
from livepatch.bundle.retaken import captured_by_objects
from livepatch.bundle.tables import tables_of
from livepatch.bundle.unfit import attributes_of_objects, unfit_for_the_old
from livepatch.bundle.world import Entity, World
from livepatch.contents.edits import ClassHead, FunctionEdit, ModuleEdit, NameEdit, PlanEntry, Side, Statement

__all__ = ["attached_by", "edits_of"]


def edits_of(plan: Plan) -> tuple[ModuleEdit, ...]:
    """What changes in each module, in the order in which the modules are to be computed."""
    return _Edits(plan).all()


def attached_by(edits: Iterable[ModuleEdit]) -> Iterator[PlanEntry]:
    """What the edits give to objects that exist, for the plan."""
    for edit in edits:
        for each in edit.attributes:
            if each.expression:
                own = "" if each.shared else ", each its own"
                start = f"what {each.kept_by} has as {each.expression}" if each.kept_by else f"{each.expression}{own}"
                yield PlanEntry(
                    target=f"{edit.module}:{each.class_qualname}.{each.name}",
                    what="shadow variable",
                    verdict="needed",
                    why=f"objects that exist lack it; they get {start}",
                )


class _Edits:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.old, self.new, self.flows = plan.old, plan.new, plan.flows
        self.taken = plan.selection.taken()
        self.names = plan.names

    def all(self) -> tuple[ModuleEdit, ...]:
        """What changes in each module, in the order in which the modules are to be computed."""
        names = self.names
        runs = [statements_of(items) for items in self.plan.runs]
        edits: dict[str, ModuleEdit] = {}
        functions = self._functions()
        staying = {(one.module, one.qualname) for one in self.plan.staying}
        changed = {(module, each.qualname) for module, group in functions.items() for each in group}
        if not self.plan.selection.whole and staying.issuperset((*names, *changed, *map(_entity, self.taken))):
            return ()  # nothing is done to any of them
        attributes = attributes_of_objects(self.old, self.new, self.taken, self.plan.selection.whole)
        for name, more in self.plan.lacking.attributes.items():
            attributes.setdefault(name, []).extend(more)
        unfit = unfit_for_the_old(self.old, self.new, self.taken)
        kept = kept_from(self.old, names, self.flows[0].defaults, names)
        calling = self._calling()
        for name, caches in caches_of_callers(self.old, *calling, names).items():
            kept.caches[name] = list(dict.fromkeys([*kept.caches.get(name, ()), *caches]))
        later = [e for e, level in self.flows[0].calls.items() if 0 < level < NEVER]
        filled = tables_filled(self.old, *calling, names, later)
        for name, memos in filled.memos.items():
            known = {memo.target for memo in kept.memos.get(name, ())}
            kept.memos.setdefault(name, []).extend(memo for memo in memos if memo.target not in known)
        for name, captured in filled.captured.items():
            taken = {(each.class_qualname, each.name) for each in kept.captured.get(name, ())}
            others = (each for each in captured if (each.class_qualname, each.name) not in taken)
            kept.captured.setdefault(name, []).extend(others)
        tables = tables_of(self.old, names, self.plan.before.modules, self.plan.before.sources)
        taken_by = captured_by_objects(self.old, self.new, kept.captured, self.taken, attributes)
        modules = {m for m, _ in names} | set(tables) | set(kept.memos) | set(taken_by) | set(kept.caches)
        modules |= set(functions) | set(runs[0]) | set(runs[1]) | set(attributes) | set(unfit)
        for name in sorted(modules):
            if name not in self.old.names or name not in self.new.names:
                continue
            old, new = self.old.module(name), self.new.module(name)
            if old is None or new is None:
                continue
            edits[name] = ModuleEdit(
                module=name,
                path=self.plan.before.modules[name],
                before=_side(old, runs[0].get(name, ())),
                after=_side(new, runs[1].get(name, ())),
                functions=tuple(functions.get(name, ())),
                names=tuple(self._name_edit(e) for e in sorted(names, key=self._place) if e[0] == name),
                attributes=tuple(attributes.get(name, ())),
                unfit=tuple(unfit.get(name, ())),
                memos=tuple(kept.memos.get(name, ())),
                captured=tuple(taken_by.get(name, ())),
                caches=tuple(kept.caches.get(name, ())),
                classes=tuple(_class_heads(old, functions.get(name, ()))),
                tables=tuple(tables.get(name, ())),
            )
        for name in self.plan.selection.whole:
            path = self.plan.after.modules[name]
            edits[name] = ModuleEdit(module=name, path=path, whole=decoded(self.plan.after.sources[path]))
        return tuple(edits[name] for name in self._ordered(edits))

    def _calling(self) -> tuple[list[Entity], set[Entity]]:
        """The functions that do something else when they are called, and those of them that differ themselves."""
        changed = {(d.module, d.qualname) for d in self.taken if d.form == "function"}
        return [e for e, level in self.flows[0].calls.items() if level == 0], changed

    def _place(self, entity: Entity) -> tuple[int, int, str]:
        for world in (self.new, self.old):
            items = world.items(entity) or world.starred(entity)
            if items:
                return (0, items[0].line, entity[1])
        return (1, 0, entity[1])

    def _name_edit(self, entity: Entity) -> NameEdit:
        old, new = (world.items(entity) or world.starred(entity) for world in (self.old, self.new))
        if not old or not new:
            return NameEdit(qualname=entity[1], kind="added" if new else "removed")
        changed = any((d.module, d.qualname) == entity and d.form == "name" for d in self.taken)
        return NameEdit(qualname=entity[1], kind="changed" if changed else "derived")

    def _functions(self) -> dict[str, list[FunctionEdit]]:
        found: dict[str, list[tuple[int, FunctionEdit]]] = {}
        shown: dict[Entity, set[int]] = {}
        for one in self.taken:
            if one.form != "function":
                continue
            entity = (one.module, one.qualname)
            if entity in self.names:
                continue
            shown[entity] = {index for _, _, index, _ in one.pairs}
            for old, new, index, count in one.pairs:
                found.setdefault(one.module, []).append(self._function(one.qualname, old, new, index, count, entity))
        left = self.plan.left
        for entity in sorted({e for flow in self.flows for e in flow.defaults}):
            if entity in self.names or entity in left or self.plan.inside_new(entity):
                continue
            olds, news = self.old.items(entity), self.new.items(entity)
            if len(olds) != len(news) or not all(i.kind == "function" for i in [*olds, *news]):
                continue
            for index, (old, new) in enumerate(zip(olds, news, strict=True)):
                # Of several definitions of a name, one may differ, and another get other defaults.
                if index not in shown.get(entity, ()) and (_defaults(old) or _defaults(new)):
                    found.setdefault(entity[0], []).append(
                        self._function(entity[1], old, new, index, len(olds), entity)
                    )
        return {m: [e for _, e in sorted(pairs, key=lambda p: p[0])] for m, pairs in found.items()}

    def _function(
        self, qualname: str, old: Item | None, new: Item | None, index: int, count: int, entity: Entity
    ) -> tuple[int, FunctionEdit]:
        one = new or old
        assert one is not None
        accessor = one.accessor
        if accessor:
            index, count = 0, 1
        if old is None or new is None:
            defaults = new is not None and bool(_defaults(new))
        else:
            defaults = _defaults(old) != _defaults(new) or any(entity in flow.defaults for flow in self.flows)
        return one.line, FunctionEdit(
            qualname=qualname,
            before=old.text if old else None,
            after=new.text if new else None,
            defaults=defaults,
            accessor=accessor,
            index=index,
            count=count,
            rebound=old is not None and any(i.kind != "function" for i in old.module.by_name.get(qualname, ())),
        )

    def _ordered(self, edits: dict[str, ModuleEdit]) -> list[str]:
        order: list[str] = []
        visited: set[str] = set()
        for name in sorted(edits):
            self._visit(name, edits, visited, order)
        return order

    def _visit(self, name: str, edits: dict[str, ModuleEdit], visited: set[str], order: list[str]) -> None:
        if name in visited:
            return
        visited.add(name)
        module = self.new.module(name)
        for other in _imported_modules(module, self.new) if module else ():
            if other in edits:
                self._visit(other, edits, visited, order)
        order.append(name)


def _entity(one: Difference) -> Entity:
    return one.module, one.qualname


def _imported_modules(module: Module, world: World) -> list[str]:
    """The modules of the tree that a module imports when it is imported, in order."""
    found: list[str] = []
    for item in module.items:
        if item.kind != "import":
            continue
        if isinstance(item.node, ast.Import):  # `import a.b` binds `a` alone
            found += [alias.name for alias in item.node.names if alias.name in world.names]
        for what in item.imports.values():
            inner = f"{what.module}.{what.name}" if what.name else what.module
            found += [name for name in (inner, what.module) if name in world.names and name != module.name]
    found += [s for s in module.stars if s in world.names]
    return list(dict.fromkeys(found))


def _class_heads(module: Module, functions: Iterable[FunctionEdit]) -> Iterator[ClassHead]:
    """The classes of which methods change, as the module states them; not those with parameters, or stated twice."""
    owners = {each.qualname.rpartition(".")[0] for each in functions if each.before is not None}
    for qualname in sorted(owners - {""}):
        stated = [item.node for item in module.by_name.get(qualname, ())]
        if len(stated) != 1 or not isinstance(stated[0], ast.ClassDef) or getattr(stated[0], "type_params", None):
            continue
        yield ClassHead(qualname=qualname, bases=tuple(ast.unparse(base) for base in stated[0].bases))


def _side(module: Module, program: tuple[Statement, ...]) -> Side:
    return Side(futures=module.futures, imports=module.import_lines, program=program)


def _defaults(item: Item) -> str:
    return defaults_of(item.node)  # type: ignore[arg-type]
