"""What is computed, when the package is imported, from something that changes."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from livepatch.bundle.hooks import entered_by, hooks_of, told_its_name
from livepatch.bundle.items import Item, Module
from livepatch.bundle.making import makers_of, read_by_decorator
from livepatch.bundle.refs import EVERYTHING, NEVER, Ref, Refs, is_partial
from livepatch.bundle.transparent import gives_its_argument, writes_to_its_argument
from livepatch.bundle.world import Entity, Trace, World

__all__ = ["Flow"]

_MADE_BY = ("__new__", "__init__", "__post_init__", "__attrs_post_init__")
_NAMESPACES = frozenset({"locals", "globals", "vars", "eval", "exec"})
_LOOKING = frozenset({"getattr", "dir", "__dict__", "getmembers"})


@dataclass
class Flow:
    """What the changes of one side reach.

    `values` are the names whose value may differ, `defaults` the functions whose default values may, and `calls` the
    functions that may do something else when they are called at import time, each with the number of calls after the
    first that it takes.  `decorated` are the definitions whose decorators may give something else, and
    `effects` the statements that run otherwise.
    """

    world: World
    mentioning: Callable[[set[Entity]], list[str]]
    exposed: Mapping[str, Collection[str]] = field(default_factory=dict)
    """By module, the names that only the new side of its ``__all__`` gives to a star import."""
    values: set[Entity] = field(default_factory=set)
    calls: dict[Entity, int] = field(default_factory=dict)
    defaults: set[Entity] = field(default_factory=set)
    decorated: set[Entity] = field(default_factory=set)
    effects: dict[tuple[str, int], Item] = field(default_factory=dict)
    results: dict[Entity, int] = field(default_factory=dict)
    """Functions that calls gave and that are called themselves when the package is imported; so many times."""
    _changed_calls: dict[Entity, int] = field(default_factory=dict)
    _made: set[Entity] = field(default_factory=set)
    _not_made: set[Entity] = field(default_factory=set)
    _carriers: set[Entity] = field(default_factory=set)
    """Names of functions that calls of changed functions gave: what calls them is to be looked at."""
    _holding: set[Entity] = field(default_factory=set)
    """Names of containers that hold functions which do something else."""
    _held: set[str] = field(default_factory=set)
    """The words of which whatever calls what they hold has one."""
    _takers: dict[Entity, set[Entity]] = field(default_factory=dict)
    """Functions that call what such containers hold."""
    _inside: bool = False
    """Whether it is looked into the body of a function."""
    _entries: set[Entity] = field(default_factory=set)
    _asked: set[Entity] = field(default_factory=set)
    _asking: set[Entity] = field(default_factory=set)
    """Names about which it is being found out whether they give something else when they are called."""
    _wanted: set[str] = field(default_factory=set)
    """The words of which whatever is reached newly names one."""
    _owners: set[Entity] = field(default_factory=set)
    """Classes of which a member changes."""

    def seed_function(self, entity: Entity, level: int, *, defaults: bool) -> None:
        """Begin with a function that changes: at which call of what it gives, and whether its defaults do."""
        if defaults:
            self.defaults.add(entity)
            level = 0
        self._changed_calls[entity] = self.calls[entity] = min(level, self.calls.get(entity, NEVER))

    def run(self) -> None:
        """Follow the changes until nothing new is reached."""
        size: object = None
        seen: frozenset[tuple[Entity, int]] = frozenset()
        heirs: set[Entity] = set()
        parsed = -1
        looked: set[str] = set()
        while size != (size := self._size()):
            self._not_made.clear()
            # What is known of a name in one way is new where it becomes known in another.
            ways = ((self.values, -1), (self._carriers, -2), (self._holding, -3))
            all_of_it = frozenset([*((e, way) for found, way in ways for e in found), *self.calls.items()])
            now, new = {e for e, _ in all_of_it}, {e for e, _ in all_of_it - seen}
            seen = all_of_it
            self._held = {q.rpartition(".")[2] for _, q in self._holding | self._carriers} if self._holding else set()
            self._owners = {(m, q.rpartition(".")[0]) for m, q in now if "." in q}
            known, heirs_of_new = heirs, self.world.heirs({(m, q.rpartition(".")[0]) for m, q in new if "." in q})
            if parsed == (parsed := len(self.world.parsed())):
                heirs = known | heirs_of_new
            else:
                heirs = self.world.heirs(self._owners)
            interesting = self._words(now, heirs)
            # Only what mentions something new can be reached newly, but for modules that nobody has looked at.
            fresh = self._words(new, heirs_of_new) | {q.rpartition(".")[2] for _, q in heirs - known}
            self._entries.update(
                (m, q.partition(".")[0])
                for m, q in [*self.values, *self.calls, *self._carriers, *self._holding, *heirs]
            )
            for name in self.mentioning(self._entries - self._asked):
                self.world.module(name)
            self._asked |= self._entries
            for module in self.world.parsed():
                wanted = fresh if module.name in looked else interesting
                looked.add(module.name)
                self._stars(module)
                self._wanted = wanted | {EVERYTHING}
                for item in module.mentioning(wanted, _LOOKING):
                    self._look(item)
                    if item.kind in ("assign", "function") and self._carries(item):
                        self._carriers.update((module.name, b) for b in item.binds)

    @staticmethod
    def _words(entities: Iterable[Entity], heirs: set[Entity]) -> set[str]:
        """The words of which one is in whatever uses one of the entities."""
        found = {q.rpartition(".")[2] for _, q in heirs} | _NAMESPACES
        for _, name in entities:
            found.update(name.split(".")[-2:])
        return found

    def _size(self) -> object:
        return (
            len(self._entries),
            len(self.values),
            len(self._carriers),
            len(self._holding),
            len(self.defaults),
            len(self._made),
            sum(NEVER + 1 - n for n in self.calls.values()),
        )

    def _look(self, item: Item) -> None:
        own = item.module.name
        refs = self.world.refs(item)
        if item.kind == "import":
            self._import(item)
        elif item.kind == "function":
            for bound in item.binds:
                self._function((own, bound), item, refs)
        elif item.kind == "class":
            if self._any_reached(refs.decorators, item):
                self._decorated(item)
                if any(read_by_decorator(self.world, item, d) != frozenset() for _, d in self._makers(item)):
                    self.defaults.update((own, b) for b in item.binds)
            if self._any_reached(refs.header, item):
                # Its bases can be replaced in place: it stays the object that it is.
                self.defaults.update((own, b) for b in item.binds)
            for bound in item.binds:
                self._made_class((own, bound))
        on_condition = bool(item.tests) and self._any_reached([*refs.tests, *self._implied(item)], item)
        if item.kind in ("import", "function", "class"):
            if on_condition:
                self.values.update((own, b) for b in item.binds)
            return
        self._statement(item, refs, on_condition=on_condition)

    def _statement(self, item: Item, refs: Refs, *, on_condition: bool) -> None:
        """Take in what a statement binds and changes, where it does something else or on another condition."""
        self._run_again(item)
        own = item.module.name
        if any(self._is_held(r, item) for r in refs.header if not r.store):
            self._holding.update((own, b) for b in item.binds if self.world.is_value(own, b))
            self._holding |= self.world.effects(item)
        reached = self._any_reached(
            [*(r for r in refs.header if r.store != "item" or r.call), *self._implied(item)], item
        )
        taken = self._containers_called(item) | self._taken_by_calls(refs.header, item)
        self.results.update(dict.fromkeys(taken - self.results.keys(), 1))
        self.values |= taken  # they are made again, of functions that are
        if taken or reached or on_condition:
            self.effects[own, item.line] = item
            self.values.update((own, b) for b in item.binds)
            self.values.update(self.world.effects(item))

    def _implied(self, item: Item) -> list[Ref]:
        """What an item calls by its syntax alone when it runs, of what may do something else."""
        return self.world.asked(item, later=False, words=self._wanted)

    def _is_held(self, ref: Ref, item: Item) -> bool:
        """Whether a name, or the call of it, gives a function that does something else, or what holds one."""
        trace = self.world.follow(ref, item)
        return any(
            (one.holder in self._holding and not ref.call)
            or (one.kind == "function" and ref.call <= self.calls.get(one.end, NEVER) < max(1, 2 * ref.call))
            for one in (trace, *trace.before_it_was_bound_anew())
        )

    def _containers_called(self, item: Item) -> set[Entity]:
        """The containers of which a statement, or a call of a function, calls what they hold."""
        base: Literal["", "scope"] = "scope" if item.scope and item.kind != "function" else ""
        chains = () if item.words.isdisjoint(self._held) else self.world.syntax.entries_called(item)
        holders = {self.world.follow(Ref(chain, base=base), item).holder for chain in chains}
        return {holder for holder in holders if holder in self._holding}

    def _taken_by_calls(self, refs: Iterable[Ref], item: Item) -> set[Entity]:
        """The containers of which functions that a statement calls, at once or by others, call what they hold."""
        found: set[Entity] = set()
        seen: set[Entity] = set()
        pending = [(ref, item) for ref in refs if ref.call] if self._takers else []
        while pending:
            ref, within = pending.pop()
            trace = self.world.follow(ref, within)
            called = [trace.end] if trace.kind == "function" else []
            if trace.kind == "class":
                called = [m for name in _MADE_BY if (m := self.world.member(trace.end, name)) is not None]
            for entity in called:
                if entity in seen or self.calls.get(entity, NEVER) > 0:
                    continue
                seen.add(entity)
                found |= self._takers.get(entity, set())
                for each in self.world.items(entity):
                    if each.kind == "function":
                        pending += [(inner, each) for inner in self.world.refs(each).body if inner.call]
        return found

    def _run_again(self, item: Item) -> None:
        """Take in what a statement does beside binding names, where those change: not to what is there already."""
        own = item.module.name
        if item.scope:
            self._made_class((own, item.scope))
        if any((own, b) in self.values for b in item.binds):
            self.values.update(self.world.told(item))
            for setter in (told_its_name(self.world, (own, b)) for b in item.binds if item.scope):
                self.values |= entered_by(self.world, setter) if setter is not None else frozenset()

    def _import(self, item: Item) -> None:
        own = item.module.name
        for bound in item.imports:
            passed = self.world.bound(own, bound).passed
            if any(e in self.values for e in passed):
                self.values.add((own, bound))
            if not self._entries.isdisjoint(passed):
                self._entries.add((own, bound))
                if bound.rpartition(".")[2] not in {q.rpartition(".")[2] for _, q in passed[1:]}:
                    self._carriers.add((own, bound))  # another name for it

    def _stars(self, module: Module) -> None:
        """Take in the names that come from other modules with all that these have."""
        for star in module.stars:
            if (star, "__all__") in self.values:
                self.values.update((module.name, name) for name in self.exposed.get(star, ()))
            for found in (self.values, self._entries, self._carriers):
                for name in [q for m, q in found if m == star and "." not in q and (module.name, q) not in found]:
                    if self.world.starred((module.name, name)):
                        found.add((module.name, name))

    def _carries(self, item: Item) -> bool:
        """Whether a name stands for what has another name, or gives something else when it is called or looked into."""
        refs = self.world.refs(item)
        value = getattr(item.node, "value", None)
        for ref in refs.decorators if item.kind == "function" else refs.header:
            trace = self.world.follow(ref, item)
            if (
                trace.kind == "function"
                and self.calls.get(trace.end, NEVER) < NEVER
                and self.calls_of(ref, trace, item)
            ):
                return True
        if isinstance(value, (ast.Name, ast.Attribute)):
            return any(
                not self._entries.isdisjoint(self.world.bound(item.module.name, b).passed[1:]) for b in item.binds
            )
        if isinstance(value, ast.Call) and item.binds:
            made = self.world.bound(item.module.name, item.binds[0])
            return made.kind == "instance" and not self._owners.isdisjoint(self.world.mro(made.end))
        return isinstance(value, ast.Lambda) and any(self.reached(ref, item) for ref in refs.body)

    def _function(self, entity: Entity, item: Item, refs: Refs) -> None:
        if refs.decorators and self._any_reached(refs.decorators, item):
            self._decorated(item)
        computed = [*refs.header, *self._implied(item)] if refs.header else []
        if computed and entity not in self.defaults and self._any_reached(computed, item):
            self.defaults.add(entity)
            self.calls[entity] = 0
        level, wanted = self.calls.get(entity, NEVER), self._wanted
        self._inside = True
        for ref in [*refs.led, *self.world.asked(item, later=True, words=wanted)]:
            if wanted.isdisjoint(ref.chain):
                continue
            if ref.level < level and self.reached(ref, item):
                level = ref.level
            elif level > 1 and ref.level < level - 1:
                level = self._given_level(ref, item, level)
        self._inside = False
        if level < NEVER:
            self.calls[entity] = level
        taken = self._containers_called(item)
        if self._holding:
            taken |= self.world.values_called(item) & self._holding
        if taken:
            self._takers.setdefault(entity, set()).update(taken)
            level = self.calls[entity] = 0
        if level < 1 and refs.decorators:
            self._holding |= self.world.effects(item)

    def _given_level(self, ref: Ref, item: Item, level: int) -> int:
        """At which call of what a function gives something differs, where it gives what the call of a name gives."""
        trace = self.world.follow(ref, item)
        if trace.kind == "function" and ref.chain[-1] in self.world.syntax.left_behind(item):
            takes = self.calls.get(trace.end, NEVER)
            if ref.call <= takes < NEVER:
                return min(level, ref.level + takes - ref.call + 1)
        return level

    def _decorated(self, item: Item) -> None:
        """Take in what becomes of a definition whose decorators do something else."""
        own = item.module.name
        self.values.update(self.world.effects(item))
        decorators: list[ast.expr] = getattr(item.node, "decorator_list", [])
        stays = all(gives_its_argument(self.world, item, d) for d in decorators)
        if not stays or (
            item.kind == "function" and any(writes_to_its_argument(self.world, item, d) for d in decorators)
        ):
            self.decorated.update((own, b) for b in item.binds)
            self.values |= self.decorated

    def _makers(self, item: Item) -> list[tuple[Item, ast.expr]]:
        return [pair for bound in item.binds for pair in makers_of(self.world, (item.module.name, bound))]

    def _made_class(self, entity: Entity) -> None:
        """Take in a class that is put together in another way, by its metaclass, a base or what it holds."""
        for hook in hooks_of(self.world, entity):
            # What a metaclass does when its classes are called is not done when they are made.
            calls = self._changed_calls if hook[1].endswith(".__call__") else self.calls
            if calls.get(hook, NEVER) == 0 or hook in self.defaults:
                self.values.add(entity)
                self.values |= entered_by(self.world, hook)

    # Judging

    def _any_reached(self, refs: Iterable[Ref], item: Item) -> bool:
        """Whether one of them is reached; all are looked at, because each notes what has to be made again."""
        found = [self.reached(ref, item) for ref in refs]
        return any(found)

    def reached(self, ref: Ref, item: Item) -> bool:
        """Whether what a chain of names gives, or does when it is called, may differ."""
        chain, call, base, _, _ = ref
        if base == "object":
            return False
        if chain[-1:] == (EVERYTHING,):
            if len(chain) == 1:
                return self._any_above(item, item.scope if base else "")
            return self._any_of(self.world.follow(ref._replace(chain=chain[:-1]), item), call)
        trace = self.world.follow(ref, item)
        # Each way is looked at, even where another is enough: it notes what has to be made again.
        found = self._call_reached(trace, call)
        if trace.others:
            found = self._was_reached(trace, call, item.module.name) or found
        return found or not self.values.isdisjoint(trace.passed)

    def _any_of(self, trace: Trace, calls: int) -> bool:
        """Whether a name of a module or class may have another value, or a function of it do something else."""
        if trace.kind not in ("module", "class"):
            return False
        module, owner = trace.end
        found = [*self.values, *(e for e, level in self.calls.items() if level < calls)]
        return any(m == module and q.rpartition(".")[0] == owner for m, q in found)

    def _any_above(self, item: Item, scope: str) -> bool:
        """Whether a name of the module, or of a class, that is bound above an item may have another value."""
        return any(
            module == item.module.name
            and qualname.rpartition(".")[0] == scope
            and any(other.line < item.line for other in self.world.items((module, qualname)))
            for module, qualname in self.values
        )

    def _call_reached(self, trace: Trace, calls: int) -> bool:
        if trace.kind == "function":
            count = calls or int(trace.read or self._is_property(trace.end))
            if self.calls.get(trace.end, NEVER) < count:
                return True
            return calls > 0 and self._wrapper_reached(trace.end, calls)
        if trace.kind == "value" and calls and trace.holder == trace.end:
            return self._result_reached(trace.end, calls, beyond=trace.beyond)
        if not trace.kind and calls and trace.passed and trace.passed[-1] in self._holding:
            return True  # a name that a function binds
        if trace.kind == "class" and calls:
            if self.makes_other_objects(trace.end):
                return True
            method = self.world.member(trace.end, "__call__") if calls > 1 else None
            return method is not None and self.calls.get(method, NEVER) < calls - 1
        if trace.kind == "instance" and calls:
            method = self.world.member(trace.end, "__call__")
            return method is not None and self.calls.get(method, NEVER) < calls
        return False

    def _wrapper_reached(self, entity: Entity, calls: int) -> bool:
        """Whether what a decorator has put around a function does something else when it is called."""
        for item in self.world.items(entity):
            decorated = bool(getattr(item.node, "decorator_list", ()))
            for ref in self.world.refs(item).decorators if decorated else ():
                trace = self.world.follow(ref, item)
                if ref.call and trace.kind == "function" and self.calls.get(trace.end, NEVER) < ref.call + calls:
                    self.results[entity] = max(calls, self.results.get(entity, 0))
                    self.decorated.add(entity)
                    self.values.add(entity)
                    return True
        return False

    def _was_reached(self, trace: Trace, calls: int, module: str) -> bool:
        """Whether a chain led to what does something else, before a name of the module was bound anew.

        What the name gives in its turn is then made again, in the order of the source.
        """
        found = False
        for entity, other in trace.others:
            if entity[0] != module:
                continue  # that module was complete by then
            if self._call_reached(other, calls) or self._was_reached(other, calls, module):
                self.values.add(entity)
                found = True
        return found

    def _result_reached(self, holder: Entity, calls: int, *, beyond: bool) -> bool:
        """Whether a function that a call gave, or a lambda, does something else when it is called in its turn.

        It can be changed in place, but what it has given cannot: for that, it is made again.
        """
        if holder in self._asking:
            return False  # it is made of itself: what else it is made of decides
        self._asking.add(holder)
        try:
            return self._gives_another(holder, calls, beyond=beyond)
        finally:
            self._asking.discard(holder)

    def _gives_another(self, holder: Entity, calls: int, *, beyond: bool) -> bool:
        for item in self.world.items(holder):
            value = getattr(item.node, "value", None)
            lambdas = isinstance(value, ast.Lambda)
            inner = [*self.world.refs(item).body, *self.world.asked(item, later=True)] if lambdas else []
            makers = [ref for ref in self.world.refs(item).header if ref.call] if isinstance(value, ast.Call) else []
            given = any(self._call_reached(self.world.follow(ref, item), ref.call + calls) for ref in makers)
            if isinstance(value, ast.Call) and is_partial(value):
                given = given or any(
                    self._call_reached(self.world.follow(ref, item), calls) for ref in self.world.refs(item).header
                )
            if given or any(ref.level <= calls and self.reached(ref, item) for ref in inner):
                self.results[holder] = max(calls, self.results.get(holder, 0))
                self.values.add(holder)
                return True
        if holder not in self._holding or beyond:
            return False
        # It is, or has in it, what does something else when it is called.
        if not self._inside:  # else it need not be made again, unless somebody calls that function
            self.results[holder] = max(calls, self.results.get(holder, 0))
            self.values.add(holder)
        return True

    def calls_of(self, ref: Ref, trace: Trace, item: Item) -> int:
        """How many calls an item makes of what a chain of names gives, or has made when it is called itself."""
        value = getattr(item.node, "value", None)
        later = isinstance(value, ast.Call) and is_partial(value)
        return ref.call or int(trace.kind == "function" and (later or trace.read or self._is_property(trace.end)))

    def _is_property(self, entity: Entity) -> bool:
        return any(
            "property" in ast.unparse(d)
            for item in self.world.items(entity)
            for d in getattr(item.node, "decorator_list", ())
        )

    def makes_other_objects(self, entity: Entity) -> bool:
        """Whether the objects of a class are made, or filled, in another way."""
        if entity in self._made or entity in self._not_made:
            return entity in self._made
        # Until it is shown that they are, they are not: a class may make itself.
        self._not_made.add(entity)
        if self._makes_others(entity):
            self._made.add(entity)
            return True
        return False

    def _makes_others(self, entity: Entity) -> bool:
        if any(one in self.defaults or one in self.values for one in self.world.mro(entity)):
            return True  # a class with other bases
        if any(self.reached(ref, item) for ref, item in self.world.factory_calls(entity)):
            return True
        seen: set[Entity] = set()
        pending = [m for name in _MADE_BY if (m := self.world.member(entity, name)) is not None]
        while pending:
            method = pending.pop()
            if method in seen:
                continue
            seen.add(method)
            if method in self.defaults or method in self.values or self._changed_calls.get(method, NEVER) == 0:
                return True
            for item in self.world.items(method):
                if item.kind == "function" and self._method_reached(item, entity, pending):
                    return True
        return False

    def _method_reached(self, item: Item, entity: Entity, pending: list[Entity]) -> bool:
        """Whether a method that runs on a new object of a class uses what changes; `pending` are those it calls."""
        for ref in [*self.world.refs(item).body, *self.world.asked(item, later=True)]:
            if ref.level or ref.store == "attr":
                continue
            if ref.base not in ("self", "super"):
                if self.reached(ref, item):
                    return True
                continue
            trace = self.world.trace(ref, item.module.name, item.scope, entity)
            if any(e in self.values for e in trace.passed):
                return True
            if trace.kind == "function" and (ref.call or self._is_property(trace.end)):
                pending.append(trace.end)
            elif self._call_reached(trace, ref.call):
                return True
        return False
