"""Which differences between two trees a patch takes, and the edits that carry them."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from functools import cached_property

from livepatch.bundle import normal
from livepatch.bundle.attributes import attribute_defaults
from livepatch.bundle.changes import Difference, compare
from livepatch.bundle.flow import Flow
from livepatch.bundle.items import Item, Module, decoded, parse
from livepatch.bundle.leftout import reason_to_leave, reason_to_leave_file
from livepatch.bundle.obstacles import effect_obstacles, is_unaccounted, native_obstacles, obstacles_of
from livepatch.bundle.program import programs
from livepatch.bundle.refs import NEVER
from livepatch.bundle.selection import Selection
from livepatch.bundle.trees import Tree
from livepatch.bundle.world import Entity, World
from livepatch.edits import FunctionEdit, ModuleEdit, NameEdit, Obstacle, PlanEntry, Side, Statement
from livepatch.errors import BundleError

__all__ = ["Plan"]


_DOTS = re.compile(rb"from[ \t]+\.+[ \t]+import")


class _Library:
    """Parsed modules of both trees; a file that is the same in both is parsed once."""

    def __init__(self) -> None:
        self._parsed: dict[tuple[str, str, bytes], Module | SyntaxError | ValueError] = {}
        self._words: dict[bytes, frozenset[str]] = {}

    def load(self, name: str, path: str, source: bytes) -> Module | SyntaxError | ValueError:
        key = (name, path, source)
        found = self._parsed.get(key)
        if found is None:
            try:
                found = parse(name, path, source)
            except (SyntaxError, ValueError, RecursionError) as error:
                found = error if isinstance(error, (SyntaxError, ValueError)) else ValueError(str(error))
            self._parsed[key] = found
        return found

    def words(self, source: bytes) -> frozenset[str]:
        """Every ASCII identifier of a file, and all words of one that has others."""
        found = self._words.get(source)
        if found is None:
            if source.isascii():
                found = frozenset(w.decode() for w in set(re.findall(rb"[A-Za-z_][A-Za-z0-9_]*", source)))
            else:
                try:
                    found = frozenset(re.findall(r"[^\W\d]\w*", decoded(source)))
                except (SyntaxError, ValueError):
                    found = frozenset()
            self._words[source] = found
        return found


class Plan:
    """The differences between two trees, those that are taken, and what they reach."""

    def __init__(self, before: Tree, after: Tree, only: tuple[str, ...] | None = None) -> None:
        self.before, self.after, self.only = before, after, only
        self.library = _Library()
        self.old = self._world(before)
        self.new = self._world(after)
        self.notes: list[PlanEntry] = []
        self.unparsed: dict[str, str] = {}
        self.found: list[Difference] = []
        self.noise: list[Difference] = []
        self.fresh: list[str] = []
        self._compare()
        self.selection = Selection(self.old, self.new, self.found, self.fresh, only)
        self._follow()

    def _world(self, tree: Tree) -> World:
        def load(name: str) -> Module | None:
            path = tree.modules[name]
            found = self.library.load(name, path, tree.sources[path])
            return found if isinstance(found, Module) else None

        return World(frozenset(tree.modules), load)

    def _compare(self) -> None:
        for path in sorted({*self.before.sources, *self.after.sources}):
            old, new = self.before.sources.get(path), self.after.sources.get(path)
            why = reason_to_leave_file(path)
            if why and old != new:
                self.notes.append(PlanEntry(target=path, what="file", verdict="left-out", why=why))
        for name in sorted({*self.before.modules, *self.after.modules}):
            self._compare_module(name)
        if not any(self._parses(name, tree) for tree in (self.after,) for name in tree.modules):
            raise BundleError(
                "no file of the new tree parses",
                found="syntax errors",
                expected="source for this version of Python",
                action="build with the version of Python that the processes run",
            )

    def _parses(self, name: str, tree: Tree) -> bool:
        path = tree.modules[name]
        return isinstance(self.library.load(name, path, tree.sources[path]), Module)

    def _compare_module(self, name: str) -> None:
        old_path, new_path = self.before.modules.get(name), self.after.modules.get(name)
        if reason_to_leave_file(new_path or old_path or ""):
            return
        if new_path is None:
            assert old_path is not None
            why = "a module that is gone stays as it is in a process that has it"
            self.notes.append(PlanEntry(target=name, what="module", verdict="left-out", why=why))
            return
        source = self.after.sources[new_path]
        if old_path is None:
            self.fresh.append(name)
            return
        if self.before.sources[old_path] == source:
            return
        sides = [
            self.library.load(name, path, tree.sources[path])
            for path, tree in ((old_path, self.before), (new_path, self.after))
        ]
        old, new = sides
        if not isinstance(old, Module) or not isinstance(new, Module):
            error = next(s for s in sides if not isinstance(s, Module))
            self.unparsed[name] = f"{new_path}: {error}"
            return
        found, noise = compare(old, new)
        self.old.module(name)
        self.new.module(name)
        self.found += found
        self.noise += noise
        if not found and not noise:
            what = "comments, docstrings and layout only"
            self.notes.append(PlanEntry(target=name, what="module", verdict="left-out", why=what))

    # What is reached

    def _follow(self) -> None:
        self.flows = []
        for world, tree in ((self.old, self.before), (self.new, self.after)):
            flow = Flow(world, self._mentioning(tree))
            flow.seed(*self._seeds(world))
            flow.run()
            self.flows.append(flow)

    def _mentioning(self, tree: Tree) -> Callable[[set[Entity]], list[str]]:
        """What finds the modules of a tree that may use one of some names of other modules."""
        names = {n: path for n, path in tree.modules.items() if not reason_to_leave_file(path)}

        def find(entities: set[Entity]) -> list[str]:
            wanted: dict[str, set[str]] = {}
            for module, name in entities:
                wanted.setdefault(module.rpartition(".")[2], set()).add(name)
            everything = {name for _, name in entities}
            found = []
            for module, path in names.items():
                source = tree.sources[path]
                words = self.library.words(source)
                if words.isdisjoint(everything):
                    continue
                # Who imports from a module names it, apart from `from . import name`.
                if _DOTS.search(source) or any(not words.isdisjoint(wanted[w]) for w in words & wanted.keys()):
                    found.append(module)
            return found

        return find

    def _seeds(self, world: World) -> tuple[set[Entity], dict[Entity, int], set[Entity]]:
        values: set[Entity] = set()
        calls: dict[Entity, int] = {}
        defaults: set[Entity] = set()
        for one in self.selection.taken():
            entity = (one.module, one.qualname)
            items = one.before if world is self.old else one.after
            if one.form == "name" and one.what == "class statement" and not _replaced(one):
                defaults.add(entity)
            elif one.form == "name":
                values.add(entity)
            elif one.form == "function":
                if one.kind != "changed":
                    values.add(entity)
                for a, b, _, _ in one.pairs:
                    if a is not None and b is not None:
                        if _defaults(a) != _defaults(b):
                            defaults.add(entity)
                        calls[entity] = min(_level(a, b), calls.get(entity, NEVER))
            elif one.form == "effect":
                for item in items:
                    values |= world.effects(item)
        return values, calls, defaults

    # Edits

    @cached_property
    def names(self) -> frozenset[Entity]:
        """Every name whose value may differ, on either side."""
        found = {e for flow in self.flows for e in flow.values}
        found |= {(d.module, d.qualname) for d in self.selection.taken() if d.form == "name"}
        for world, flow in zip((self.old, self.new), self.flows, strict=True):
            found |= {e for e in flow.defaults if any(i.kind == "class" for i in world.items(e))}
        edited = {(d.module, d.qualname) for d in self.selection.taken() if d.form == "function"}
        edited |= self._left
        for module, qualname in sorted(found - edited):
            owner = (module, qualname.rpartition(".")[0])
            # What its metaclass or base read when it was made may have gone anywhere: all of it is computed.
            if any(w.items(owner) and w.is_made_by_hand(owner) for w in (self.old, self.new)):
                found.add(owner)
        return frozenset(e for e in found if e not in edited and e[0] in self.old.names and not self._inside_new(e))

    @cached_property
    def _left(self) -> set[Entity]:
        """The names that differ and stay as they are."""
        taken = set(map(id, self.selection.taken()))
        return {(d.module, d.qualname) for d in self.found if id(d) not in taken and d.form != "effect"}

    def _inside_new(self, entity: Entity) -> bool:
        """Whether the name is of a class that is itself new, gone, or another thing on one side."""
        module, qualname = entity
        owner = qualname.rpartition(".")[0]
        while owner:
            sides = [world.items((module, owner)) for world in (self.old, self.new)]
            if not all(items and all(i.kind == "class" for i in items) for items in sides):
                return True
            owner = owner.rpartition(".")[0]
        return not any(world.items(entity) for world in (self.old, self.new))

    def edits(self) -> tuple[ModuleEdit, ...]:
        """What changes in each module, in the order in which the modules are to be computed."""
        names = self.names
        runs = [
            programs(world, flow, names, self._effects(side))
            for side, (world, flow) in enumerate(zip((self.old, self.new), self.flows, strict=True))
        ]
        edits: dict[str, ModuleEdit] = {}
        functions = self._functions()
        attributes = attribute_defaults(self.old, self.new, self.selection.taken(), self.selection.whole)
        modules = {m for m, _ in names} | set(functions) | set(runs[0]) | set(runs[1]) | set(attributes)
        for name in sorted(modules):
            if name not in self.old.names or name not in self.new.names:
                continue
            old, new = self.old.module(name), self.new.module(name)
            if old is None or new is None:
                continue
            edits[name] = ModuleEdit(
                module=name,
                path=self.before.modules[name],
                before=_side(old, runs[0].get(name, ())),
                after=_side(new, runs[1].get(name, ())),
                functions=tuple(functions.get(name, ())),
                names=tuple(self._name_edit(e) for e in sorted(names, key=self._place) if e[0] == name),
                attributes=tuple(attributes.get(name, ())),
            )
        for name in self.selection.whole:
            path = self.after.modules[name]
            edits[name] = ModuleEdit(module=name, path=path, whole=decoded(self.after.sources[path]))
        return tuple(edits[name] for name in self._ordered(edits))

    def _place(self, entity: Entity) -> tuple[int, int, str]:
        for world in (self.new, self.old):
            items = world.items(entity)
            if items:
                return (0, items[0].line, entity[1])
        return (1, 0, entity[1])

    def _name_edit(self, entity: Entity) -> NameEdit:
        old, new = self.old.items(entity), self.new.items(entity)
        if not old or not new:
            return NameEdit(qualname=entity[1], kind="added" if new else "removed")
        changed = any(
            (d.module, d.qualname) == entity and d.form == "name" for d in self.selection.taken()
        )
        return NameEdit(qualname=entity[1], kind="changed" if changed else "derived")

    def _effects(self, side: int) -> list[Item]:
        return []

    def _functions(self) -> dict[str, list[FunctionEdit]]:
        found: dict[str, list[tuple[int, FunctionEdit]]] = {}
        shown = set()
        for one in self.selection.taken():
            if one.form != "function":
                continue
            entity = (one.module, one.qualname)
            if entity in self.names:
                continue
            shown.add(entity)
            for old, new, index, count in one.pairs:
                found.setdefault(one.module, []).append(self._function(one.qualname, old, new, index, count, entity))
        left = self._left
        for entity in sorted({e for flow in self.flows for e in flow.defaults}):
            if entity in shown or entity in self.names or entity in left or self._inside_new(entity):
                continue
            olds, news = self.old.items(entity), self.new.items(entity)
            if len(olds) != len(news) or not all(i.kind == "function" for i in [*olds, *news]):
                continue
            for index, (old, new) in enumerate(zip(olds, news, strict=True)):
                if _defaults(old) or _defaults(new):
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
        )

    def _ordered(self, edits: dict[str, ModuleEdit]) -> list[str]:
        order: list[str] = []
        visiting: set[str] = set()

        def visit(name: str) -> None:
            if name in visiting:
                return
            visiting.add(name)
            module = self.new.module(name)
            for other in imported_modules(module, self.new) if module else ():
                if other in edits:
                    visit(other)
            order.append(name)

        for name in sorted(edits):
            visit(name)
        return order

    # Report

    def obstacles(self) -> tuple[Obstacle, ...]:
        """What cannot be done live."""
        found: list[Obstacle] = []
        for name, error in sorted(self.unparsed.items()):
            found.append(
                Obstacle(
                    code="unparsable",
                    target=name,
                    found=error,
                    expected="source that this version of Python compiles",
                    action="build with the version of Python that the processes run",
                )
            )
        if self.only is None:
            found += native_obstacles(self.before, self.after)
        for one in self.selection.taken():
            found += obstacles_of(one, self.old, self.new)
            if one.form == "effect":
                world = self.old if one.kind == "removed" else self.new
                for item in [*one.before, *one.after]:
                    if is_unaccounted(world, item):
                        found += effect_obstacles(item, f"it is {one.kind}")
        for flow in self.flows:
            for item in flow.effects.values():
                if is_unaccounted(flow.world, item):
                    found += effect_obstacles(item, "what it uses changes")
        return tuple(dict.fromkeys(found))

    def entries(self) -> tuple[PlanEntry, ...]:
        """What became of each difference."""
        blocked: dict[str, Obstacle] = {}
        for obstacle in self.obstacles():
            blocked.setdefault(obstacle.target, obstacle)
        found = list(self.notes)
        for one in self.found:
            verdict, why = self.selection.verdict(one)
            what = f"{one.what} {one.kind}" if one.kind != "changed" else one.what
            if verdict in ("taken", "needed") and one.target in blocked:
                verdict, why = "cannot", blocked[one.target].found
            found.append(PlanEntry(target=one.target, what=what, verdict=verdict, why=why))
        for one in self.noise:
            why = "differs in docstrings, annotations or layout only"
            found.append(PlanEntry(target=one.target, what=one.what, verdict="left-out", why=why))
        for name in self.fresh:
            verdict, why = self.selection.module_verdict(name)
            found.append(PlanEntry(target=name, what="module added", verdict=verdict, why=why))
        for name, error in self.unparsed.items():
            found.append(PlanEntry(target=name, what="module", verdict="cannot", why=error))
        taken = {(d.module, d.qualname) for d in self.found}
        for entity in sorted(self.names - taken):
            found.append(
                PlanEntry(
                    target=f"{entity[0]}:{entity[1]}", what="derived value", verdict="needed", why="computed from what changes"
                )
            )
        return tuple(sorted(dict.fromkeys(found), key=lambda e: (e.target, e.what, e.verdict, e.why)))


def imported_modules(module: Module, world: World) -> list[str]:
    """The modules of the tree that a module imports when it is imported, in order."""
    found: list[str] = []
    for item in module.items:
        if item.kind != "import":
            continue
        for what in item.imports.values():
            inner = f"{what.module}.{what.name}" if what.name else what.module
            found += [name for name in (inner, what.module) if name in world.names and name != module.name]
    found += [s for s in module.stars if s in world.names]
    return list(dict.fromkeys(found))


def _side(module: Module, program: tuple[Statement, ...]) -> Side:
    return Side(futures=module.futures, imports=module.import_lines, program=program)


def _defaults(item: Item) -> str:
    return normal.defaults_of(item.node)  # type: ignore[arg-type]


def _replaced(one: Difference) -> bool:
    """Whether a class statement that differs makes another object: one with other bases alone can be changed in place."""
    return [normal.decorators_of(i.node) for i in one.before] != [normal.decorators_of(i.node) for i in one.after]  # type: ignore[arg-type]


def _level(old: Item, new: Item) -> int:
    """How many calls of what the function gives it takes to run what differs."""
    if isinstance(new.node, ast.AsyncFunctionDef) and isinstance(old.node, ast.AsyncFunctionDef):
        return NEVER
    for level in (0, 1):
        if normal.outer_of(old.node, level) != normal.outer_of(new.node, level):  # type: ignore[arg-type]
            return level
    return 2
