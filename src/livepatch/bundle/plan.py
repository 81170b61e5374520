"""Which differences between two trees a patch takes, and what they reach."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from functools import cached_property

from livepatch.bundle import normal
from livepatch.bundle.changes import Difference, compare
from livepatch.bundle.datafiles import data_files
from livepatch.bundle.flow import Flow
from livepatch.bundle.hooks import entered_by, hooks_of, told_its_name
from livepatch.bundle.items import Item, Module
from livepatch.bundle.lacking import Lacking, lacking
from livepatch.bundle.leftout import reason_to_leave_file
from livepatch.bundle.library import Library
from livepatch.bundle.making import has_written_methods, is_special, makers_of, read_when_made
from livepatch.bundle.nodes import walk
from livepatch.bundle.obstacles import native_obstacles, obstacles_of
from livepatch.bundle.only import check_only
from livepatch.bundle.outside import effect_obstacles, is_unaccounted
from livepatch.bundle.outward import outward_obstacles
from livepatch.bundle.passing import is_passing
from livepatch.bundle.program import items_to_run
from livepatch.bundle.readers import Readers
from livepatch.bundle.registries import registered
from livepatch.bundle.selection import Selection
from livepatch.bundle.shapes import is_named_tuple
from livepatch.bundle.trees import Tree
from livepatch.bundle.world import Entity, World
from livepatch.contents.edits import Obstacle, PlanEntry
from livepatch.errors import BundleError

__all__ = ["Plan"]


class Plan:
    """The differences between two trees, those that are taken, and what they reach."""

    def __init__(self, before: Tree, after: Tree, only: tuple[str, ...] | None = None) -> None:
        self.before, self.after, self.only = before, after, only
        self.library = Library()
        self.old = self.library.world(before)
        self.new = self.library.world(after)
        self.notes: list[PlanEntry] = []
        self.unparsed: dict[str, str] = {}
        self.found: list[Difference] = []
        self.noise: list[Difference] = []
        self.fresh: list[str] = []
        self._passing: set[Entity] = set()
        self._split: dict[int, tuple[list[Item], list[Item]]] = {}
        self._compare()
        if only is not None:
            noticed = {e.target for e in self.notes} | {d.target for d in self.noise} | self.unparsed.keys()
            check_only(only, self.found, {*self.fresh, *noticed}, self.old, self.new)
        self._readers = Readers(self.new, self._mentioning[1])
        self.selection = Selection(self.old, self.new, self.found, self.fresh, only, self._readers.read)
        self._follow()

    def _compare(self) -> None:
        for path in sorted({*self.before.sources, *self.after.sources}):
            old, new = self.before.sources.get(path), self.after.sources.get(path)
            why = reason_to_leave_file(path)
            if why and old != new:
                self.notes.append(PlanEntry(target=path, what="file", verdict="left-out", why=why))
        for name in sorted({*self.before.modules, *self.after.modules}):
            self._compare_module(name)
        if not any(isinstance(self.library.parsed(self.after, name), Module) for name in self.after.modules):
            raise BundleError(
                "no file of the new tree parses",
                found="syntax errors",
                expected="source for this version of Python",
                action="build with the version of Python that the processes run",
            )

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
        old, new = sides = [self.library.parsed(tree, name) for tree in (self.before, self.after)]
        if not isinstance(old, Module) or not isinstance(new, Module):
            error = next(s for s in sides if not isinstance(s, Module))
            self.unparsed[name] = f"{new_path}: {error}"
            return
        try:
            found, noise = compare(old, new)
        except RecursionError:
            self.unparsed[name] = f"{new_path}: its expressions are nested too deeply to be compared"
            return
        self.old.module(name)
        self.new.module(name)
        self.found += found
        self.noise += noise
        if not found and not noise:
            what = "comments, docstrings and layout only"
            self.notes.append(PlanEntry(target=name, what="module", verdict="left-out", why=what))

    @cached_property
    def _mentioning(self) -> tuple[Callable[[set[Entity]], list[str]], Callable[[set[Entity]], list[str]]]:
        """What finds the modules of either tree that may use some names of other modules."""
        return self.library.mentioning(self.before), self.library.mentioning(self.after)

    @cached_property
    def lacking(self) -> Lacking:
        """What objects lack that is a field, or set by what is left out."""
        sources = self.before.sources.values()
        return lacking(
            self.old,
            self.new,
            self.found,
            self.selection.taken(),
            self.selection.whole,
            lambda name: any(name in self.library.words(source) for source in sources),
        )

    # What is reached

    def _follow(self) -> None:
        self.flows = []
        for world, mentioning in zip((self.old, self.new), self._mentioning, strict=True):
            self.flows.append(Flow(world, mentioning, self._readers.exposed))
        entered = [self._seed(flow) for flow in self.flows]
        for flow in self.flows:
            # What one side enters somewhere, the other has to compute as well.
            flow.values.update(e for e in entered[0] | entered[1] if flow.world.items(e))
            flow.run()

    def _seed(self, flow: Flow) -> set[Entity]:
        """Begin with what is taken; give the names whose values that changes in place."""
        entered: set[Entity] = set()
        for one in self.selection.taken():
            entity = (one.module, one.qualname)
            if entity in self.lacking.fields:
                continue
            items = one.before if flow.world is self.old else one.after
            if one.form == "function" and one.kind == "changed":
                for a, b, _, _ in one.pairs:
                    if a is not None and b is not None:
                        flow.seed_function(entity, _level(a, b), defaults=_defaults(a) != _defaults(b))
            elif one.what == "class statement" and not _replaced(one):
                flow.defaults.add(entity)
            elif one.form in ("name", "function"):
                flow.values.add(entity)
            for item in items:
                entered |= _entered(flow.world, one, item)
        return entered

    @cached_property
    def names(self) -> frozenset[Entity]:
        """Every name whose value may differ, on either side."""
        found = {e for flow in self.flows for e in flow.values}
        found |= {(d.module, d.qualname) for d in self.selection.taken() if d.form == "name"}
        for world, flow in zip((self.old, self.new), self.flows, strict=True):
            found |= {e for e in flow.defaults if any(i.kind == "class" for i in world.items(e))}
        found -= self.lacking.fields
        edited = {(d.module, d.qualname) for d in self.selection.taken() if d.form == "function"}
        edited -= {e for flow in self.flows for e in flow.decorated}
        edited -= {e for flow in self.flows for e in self._told_of(flow)}
        edited |= self.left
        worlds = (self.old, self.new)
        for module, qualname in sorted(found - edited):
            owner = (module, qualname.rpartition(".")[0])
            # What its metaclass or base read when it was made may have gone anywhere: all of it is computed.
            if any(w.items(owner) and _is_made_by_hand(w, owner) and _looked_at(w, owner, qualname) for w in worlds):
                found.add(owner)
            # So it is with a value that is told its name by the class statement, and a default of a named tuple.
            if any(told_its_name(w, (module, qualname)) or is_named_tuple(w, owner) for w in worlds):
                found.add(owner)
        for one in self._wrapped():
            # What the decorator of the class makes of it is all of it, computed with the class.
            found |= {(one.module, one.qualname), (one.module, one.qualname.rpartition(".")[0])}
            edited.discard((one.module, one.qualname))
        self._passing = {e for e in found if all(is_passing(w, e) for w in worlds if w.items(e))}
        self._passing -= {e for e in found if any(w.starred(e) for w in worlds)}
        found -= self._passing
        return frozenset(e for e in found if e not in edited and e[0] in self.old.names and not self.inside_new(e))

    def _told_of(self, flow: Flow) -> set[Entity]:
        """What statements that are taken change in place, such as a function of which they set an attribute."""
        effects = [one for one in self.selection.taken() if one.form == "effect"]
        sides = [(one.before if flow.world is self.old else one.after) for one in effects]
        return {e for items in sides for item in items for e in flow.world.effects(item)}

    @cached_property
    def staying(self) -> list[Difference]:
        """The names that are taken and only go: nothing is done to them, because calls may still use them."""
        wrapped = {id(one) for one in self._wrapped()}
        return [
            one
            for one in self.selection.taken()
            if one.kind == "removed" and one.form in ("function", "name") and id(one) not in wrapped
            if not self._may_hide(one)
        ]

    def _may_hide(self, one: Difference) -> bool:
        """Whether it is of a class, and a base may have it too, or the interpreter looks for it, or it is abstract."""
        owner, _, name = one.qualname.rpartition(".")
        if not owner:
            return False
        written = [ast.unparse(d) for item in one.before for d in getattr(item.node, "decorator_list", ())]
        if is_special(name) or any("abstract" in decorator for decorator in written):
            return True
        statements = [item.node for world in (self.old, self.new) for item in world.items((one.module, owner))]
        return not all(isinstance(node, ast.ClassDef) and _is_plain(node) for node in statements)

    def _wrapped(self) -> list[Difference]:
        """The methods that come or go in classes whose decorators look at them."""
        return [
            one
            for one in self.selection.taken()
            if "." in one.qualname and (one.form == "name" or (one.form == "function" and one.kind != "changed"))
            for owner in [(one.module, one.qualname.rpartition(".")[0])]
            if any(
                (one.form == "function" and makers_of(w, owner) and _looked_at(w, owner, one.qualname))
                or (is_special(one.qualname) and has_written_methods(w, owner))
                for w in (self.old, self.new)
            )
        ]

    @cached_property
    def runs(self) -> tuple[list[Item], list[Item]]:
        """What each side runs to compute the names."""
        old, new = (self._runs(side)[0] for side in (0, 1))
        return old, new

    def _runs(self, side: int) -> tuple[list[Item], list[Item]]:
        """What a side would run, without what changes things that are not the package's own; and that."""
        if side not in self._split:
            world, flow = (self.old, self.new)[side], self.flows[side]
            names = self.names
            # What is computed from a name that is deleted later needs it.
            gone = {e for e in self._passing if any(isinstance(i.node, ast.Delete) for i in world.items(e))}
            found = items_to_run(world, flow, names | {e for e in gone if e[0] in self.old.names}, self.selection.whole)
            strange = []
            units = {id(item.unit) for item in found}
            for module in {id(item.module): item.module for item in found}.values():
                strange += [i for i in module.items if id(i.unit) in units and is_unaccounted(world, i)]
            kept = {id(item.unit) for item in strange}
            self._split[side] = [i for i in found if id(i.unit) not in kept], strange
        return self._split[side]

    @cached_property
    def left(self) -> set[Entity]:
        """The names that differ and stay as they are."""
        taken = set(map(id, self.selection.taken()))
        return {(d.module, d.qualname) for d in self.found if id(d) not in taken and d.form != "effect"}

    def inside_new(self, entity: Entity) -> bool:
        """Whether the name is of a class that is itself new, gone, or another thing on one side."""
        module, qualname = entity
        owner = qualname.rpartition(".")[0]
        while owner:
            sides = [world.items((module, owner)) for world in (self.old, self.new)]
            # Beside the class there may be what stands in for it, such as what an import gives where it can.
            kinds = [[i.kind for i in items] for items in sides]
            if "class" not in kinds[0] or kinds[0] != kinds[1]:
                return True
            owner = owner.rpartition(".")[0]
        return not any(world.items(entity) or world.starred(entity) for world in (self.old, self.new))

    @cached_property
    def _data(self) -> tuple[list[Obstacle], list[PlanEntry]]:
        return data_files(self.before, self.after, self.selection.taken(), picked=self.only is not None)

    def _changes_names(self, one: Difference) -> bool:
        return any(self.old.effects(item) for item in one.before) or any(self.new.effects(item) for item in one.after)

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
        found += self._data[0]
        for one in self.selection.taken():
            if (one.module, one.qualname) not in self.lacking.fields:
                found += obstacles_of(one, self.old, self.new)
        found += self.lacking.obstacles
        return tuple(dict.fromkeys([*found, *self._effects()]))

    def _effects(self) -> list[Obstacle]:
        """The statements that act outside of the package: each once, with the first reason why that is in the way."""
        found: dict[int, list[Obstacle]] = {}
        for one in self.selection.taken():
            if one.form == "effect":
                world = self.old if one.kind == "removed" else self.new
                for item in [*one.before, *one.after]:
                    if is_unaccounted(world, item) or self._changes_what_nothing_binds(world, item):
                        found.setdefault(id(item.unit), effect_obstacles(item, f"it is {one.kind}"))
        for flow in self.flows:
            for item in flow.effects.values():
                if is_unaccounted(flow.world, item):
                    found.setdefault(id(item.unit), effect_obstacles(item, "what it uses changes"))
        for world, (runs, strange) in zip((self.old, self.new), map(self._runs, (0, 1)), strict=True):
            for item in strange:
                found.setdefault(id(item.unit), effect_obstacles(item, "it would have to run again"))
            for item in runs:
                outward = outward_obstacles(world, item)
                if outward:
                    found.setdefault(id(item.unit), outward)
        return [each for group in found.values() for each in group]

    def _changes_what_nothing_binds(self, world: World, item: Item) -> bool:
        """Whether it sets an attribute of a class or module of another file that says nothing of it."""
        return any(not world.items(e) and not world.starred(e) for e in world.effects(item) if e[1])

    def entries(self, more: Iterable[PlanEntry] = ()) -> tuple[PlanEntry, ...]:
        """What became of each difference, and `more` that the patch does."""
        blocked: dict[str, Obstacle] = {}
        for obstacle in self.obstacles():
            blocked.setdefault(obstacle.target, obstacle)
        staying = set(map(id, self.staying))
        found = [*self.notes, *self._data[1], *more]
        for one in self.found:
            verdict, why = self.selection.verdict(one)
            what = f"{one.what} {one.kind}" if one.kind != "changed" else one.what
            if verdict in ("taken", "needed") and one.target in blocked:
                verdict, why = "cannot", blocked[one.target].found
            elif verdict in ("taken", "needed") and one.form == "effect" and not self._changes_names(one):
                verdict, why = "left-out", "it changes no name of the package, as far as the source tells"
            elif id(one) in staying:
                verdict, why = "left-out", _STAYS
            elif verdict == "taken" and one.kind == "removed" and one.form in ("function", "name"):
                why = why or "goes where it hides what a base has, or the interpreter looks for it; else it stays"
            found.append(PlanEntry(target=one.target, what=what, verdict=verdict, why=why))
        for one in self.noise:
            why = "differs in docstrings, annotations or layout only"
            found.append(PlanEntry(target=one.target, what=one.what, verdict="left-out", why=why))
        for name in self.fresh:
            verdict, why = self.selection.module_verdict(name)
            found.append(PlanEntry(target=name, what="module added", verdict=verdict, why=why))
        for name, error in self.unparsed.items():
            found.append(PlanEntry(target=name, what="module", verdict="cannot", why=error))
        shown = {(d.module, d.qualname) for d in self.found}
        why = "computed from what changes"
        found += [
            PlanEntry(target=f"{module}:{name}", what="derived value", verdict="needed", why=why)
            for module, name in sorted(self.names - shown)
        ]
        return tuple(sorted(dict.fromkeys(found), key=lambda e: (e.target, e.what, e.verdict, e.why)))


def _defaults(item: Item) -> str:
    return normal.defaults_of(item.node)  # type: ignore[arg-type]


_STAYS = "stays in the process, for calls in flight and whatever else still uses it"


def _is_plain(node: ast.ClassDef) -> bool:
    return not (node.decorator_list or node.keywords or [b for b in node.bases if ast.unparse(b) != "object"])


def _is_made_by_hand(world: World, owner: Entity) -> bool:
    return world.is_made_by_hand(owner) or bool(makers_of(world, owner))


def _looked_at(world: World, owner: Entity, qualname: str) -> bool:
    read = read_when_made(world, owner)
    return read is None or qualname.rpartition(".")[2] in read


def _entered(world: World, one: Difference, item: Item) -> set[Entity]:
    """The names whose values a definition or statement that is taken changes in place."""
    found: set[Entity] = set()
    if one.form == "effect" or (one.form == "name" and item.kind in ("function", "class")):
        found |= world.effects(item)  # what its decorators, or the statement itself, fill
    elif one.form == "name" and item.kind in ("assign", "loop"):
        found |= registered(world, item)
    if one.kind != "changed" and one.form == "name" and item.kind == "class":
        for hook in hooks_of(world, (one.module, one.qualname)):
            found |= entered_by(world, hook)
    return found


def _replaced(one: Difference) -> bool:
    """Whether a class statement that differs makes another object; one with other bases can be changed in place."""
    sides = [[i.node for i in items if isinstance(i.node, ast.ClassDef)] for items in (one.before, one.after)]
    return [normal.decorators_of(node) for node in sides[0]] != [normal.decorators_of(node) for node in sides[1]]


_INNER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def _level(old: Item, new: Item) -> int:
    """How many calls of what the function gives it takes to run what differs."""
    if not any(isinstance(n, _INNER) and n is not i.node for i in (old, new) for n in walk(i.node)):
        return 0
    for level in (0, 1):
        if normal.outer_of(old.node, level) != normal.outer_of(new.node, level):  # type: ignore[arg-type]
            return level
    return 2
