"""One side's tree as a whole: which module there is, and what a name in one of them leads to."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Literal

from livepatch.bundle.arguments import factories_in
from livepatch.bundle.handing import called_by_others, place_of
from livepatch.bundle.items import Import, Item, Module, chain_of
from livepatch.bundle.nodes import walk
from livepatch.bundle.receivers import Handed, changes_parameter, handed_over, receivers
from livepatch.bundle.refs import Ref, Refs
from livepatch.bundle.syntax import Syntax

__all__ = ["Entity", "Trace", "World"]

Entity = tuple[str, str]
"""A module, and a qualified name in it; with an empty name, the module itself."""

_DEPTH = 40
_METACLASSES = frozenset({"ABCMeta", "EnumMeta", "EnumType", "type"})


@dataclass(slots=True)
class Trace:
    """Every entity that a chain of names passes, and where it ends.

    `kind` of the end: a module, a class, a function, the object of a class (`instance`), any other value, or nothing
    that the tree defines.  `holder` is the last name on the way that holds an object of its own, and not a module, a
    class or a function.  `others` are where the chain led before a name on the way was bound anew, with that name.
    With `read`, the function at the end is called wherever the chain is read: a ``property`` has been made of it.
    `beyond` tells that the chain goes on behind the holder, to something of which nothing is known.
    """

    passed: list[Entity] = field(default_factory=list)
    kind: str = ""
    end: Entity = ("", "")
    holder: Entity | None = None
    others: list[tuple[Entity, Trace]] = field(default_factory=list)
    read: bool = False
    beyond: bool = False

    def before_it_was_bound_anew(self) -> Iterator[Trace]:
        """Where the chain led before names on the way were bound anew."""
        for _, other in self.others:
            yield other
            yield from other.before_it_was_bound_anew()


class World:
    """The modules of a tree.  `load` gives one by name, parsed, or ``None``; `syntax` may be that of another tree."""

    def __init__(
        self, names: frozenset[str], load: Callable[[str], Module | None], syntax: Syntax | None = None
    ) -> None:
        self.names = names
        self._load = load
        self._modules: dict[str, Module | None] = {}
        self._parsed: list[Module] = []
        self._count = 0
        self._own_refs: dict[int, Refs] = {}
        self.syntax = Syntax() if syntax is None else syntax
        self._asked: dict[tuple[int, bool], list[Ref]] = {}
        self._effects: dict[int, frozenset[Entity]] = {}
        self._call_effects: dict[tuple[Entity, int], frozenset[Entity]] = {}
        self._self_changes: dict[tuple[Entity, int], bool] = {}
        self._values_called: dict[int, frozenset[Entity]] = {}
        self._mros: dict[Entity, list[Entity]] = {}
        self.hooks: dict[Entity, list[Entity]] = {}
        """What :mod:`livepatch.bundle.hooks` has found."""
        self._ancestors: dict[Entity, frozenset[Entity]] = {}
        self._above_any: dict[str, frozenset[Entity]] = {}
        """The bases of all classes of a module."""
        self._traces: dict[tuple[str, str, str, tuple[str, ...], int], Trace] = {}

    def module(self, name: str) -> Module | None:
        """A module of the tree, parsed."""
        if name not in self._modules:
            self._modules[name] = self._load(name) if name in self.names else None
        return self._modules[name]

    def parsed(self) -> list[Module]:
        """The modules that were asked for until now, by name."""
        if len(self._modules) != self._count:
            self._count = len(self._modules)
            self._parsed = [m for _, m in sorted(self._modules.items()) if m is not None]
        return self._parsed

    def refs(self, item: Item) -> Refs:
        """What an item uses."""
        found = self._own_refs.get(id(item))
        if found is None:
            found = self._own_refs[id(item)] = self.syntax.refs(item)
            if item.kind in ("assign", "effect", "loop"):
                called = called_by_others(self, item)
                if called:
                    found = self._own_refs[id(item)] = replace(found, header=[*found.header, *called])
        return found

    def asked(self, item: Item, *, later: bool, words: AbstractSet[str] | None = None) -> list[Ref]:
        """The special methods of the tree that an item calls by its syntax alone when it runs, or `later`.

        Of those, the ones of which a name leads to the object that is one of `words`.
        """
        key = (id(item), later)
        if words is None and key in self._asked:
            return self._asked[key]
        refs = self.refs(item)
        found: list[Ref] = []
        for ref, methods in refs.asked_later if later else refs.asked:
            if words is None or not ref.chain or not words.isdisjoint(ref.chain):
                found += self._asked_of(ref, item, methods)
        for ref in refs.led if later else [*refs.header, *refs.tests]:
            if len(ref.chain) > 1 and (words is None or not words.isdisjoint(ref.chain)):
                found += self._asked_by_attribute(ref, item)
        if words is None:
            self._asked[key] = found
        return found

    def _asked_of(self, ref: Ref, item: Item, methods: tuple[str, ...]) -> Iterator[Ref]:
        trace = self.follow(ref, item)
        for one in (trace, *trace.before_it_was_bound_anew()):
            if (one.kind, ref.call) in (("instance", 0), ("class", 1), ("class", 0)):
                for name in methods:
                    of_class = name == "__class_getitem__"
                    if of_class == ((one.kind, ref.call) == ("class", 0)) and self.member(one.end, name) is not None:
                        yield ref._replace(chain=(*ref.chain, name), call=1)

    def _asked_by_attribute(self, ref: Ref, item: Item) -> Iterator[Ref]:
        """What a descriptor, or a class without such an attribute, is asked for one."""
        plain = ref._replace(call=0, store="")
        stored = ref.store == "attr"
        trace = self.follow(plain, item)
        if trace.kind == "instance" and trace.holder is not None and "." in trace.holder[1]:
            yield from self._asked_of(plain, item, ("__set__", "__delete__") if stored else ("__get__",))
        last = ref.chain[-1]
        if not trace.kind and ref.base != "self" and not (last.startswith("__") and last.endswith("__")):
            inner = self.follow(plain._replace(chain=ref.chain[:-1]), item)
            names = ("__setattr__", "__delattr__") if stored else ("__getattr__", "__getattribute__")
            for name in names if inner.kind in ("instance", "class") else ():
                if self.member(inner.end, name) is not None:
                    yield plain._replace(chain=(*ref.chain[:-1], name), call=1)

    def items(self, entity: Entity) -> list[Item]:
        """The definitions of a name."""
        name, qualname = entity
        module = self._modules[name] if name in self._modules else self.module(name)
        return module.by_name.get(qualname, []) if module is not None else []

    # Names

    def follow(self, ref: Ref, item: Item) -> Trace:
        """Where a chain of names in an item leads."""
        line = item.line if ref.base == "scope" else 0
        key = (item.module.name, item.scope, ref.base, ref.chain, line)
        found = self._traces.get(key)
        if found is None:
            found = self._traces[key] = self.trace(ref, item.module.name, item.scope, line=line)
        return found

    def trace(self, ref: Ref, module: str, scope: str, self_class: Entity | None = None, line: int = 0) -> Trace:
        """Where a chain of names leads that stands in a class (`scope`) or at the top of a module.

        `self_class` is the class of the object on which a method is called, where it is known better.  Of the names in
        the body of a class, those count that are bound above `line`.
        """
        trace = Trace()
        if ref.base in ("self", "super"):
            if not scope:
                return trace
            trace.kind, trace.end = "instance", self_class or (module, scope)
            if ref.base == "super":
                self._member(trace, ref.chain[0] if ref.chain else "", above=(module, scope))
                return self._walk(trace, ref.chain[1:])
            return self._walk(trace, ref.chain)
        if ref.base == "abs":
            trace.kind, trace.end = "module", (ref.chain[0], "")
            trace.passed.append(trace.end)
            return self._walk(trace, ref.chain[1:])
        if ref.base == "object":
            return trace
        first = ref.chain[0]
        own = self.module(module)
        if own is None:
            return trace
        inner = own.by_name.get(f"{scope}.{first}", []) if ref.base == "scope" else []
        if any(item.line < line for item in inner):
            self._bound(trace, module, f"{scope}.{first}")
        else:
            self._global(trace, module, first)
        return self._walk(trace, ref.chain[1:])

    def _walk(self, trace: Trace, names: tuple[str, ...]) -> Trace:
        for name in names:
            self._step(trace, name)
        return trace

    def _step(self, trace: Trace, name: str) -> None:
        for _, other in trace.others:
            self._step(other, name)
        if trace.kind == "module":
            self._global(trace, trace.end[0], name)
        elif trace.kind in ("class", "instance"):
            self._member(trace, name)
        else:
            trace.kind, trace.beyond = "value" if trace.kind else "", True

    def _global(self, trace: Trace, module: str, name: str, depth: int = 0) -> None:
        """Go on to what a module calls `name`."""
        own = self.module(module)
        if own is not None and depth < _DEPTH:
            if name in own.by_name:
                self._bound(trace, module, name, depth)
                return
            for star in own.stars:
                if star in self.names and star != module and (not name.startswith("_")):
                    attempt = Trace()
                    self._global(attempt, star, name, depth + 1)
                    if attempt.kind:
                        trace.passed += [(module, name), *attempt.passed]
                        trace.kind, trace.end, trace.holder = attempt.kind, attempt.end, attempt.holder
                        trace.others += attempt.others
                        return
        if f"{module}.{name}" in self.names:
            trace.kind, trace.end = "module", (f"{module}.{name}", "")
            trace.passed.append(trace.end)
            return
        trace.kind = ""
        if own is not None:
            trace.passed.append((module, name))

    def _bound(self, trace: Trace, module: str, qualname: str, depth: int = 0) -> None:
        entity = (module, qualname)
        trace.passed.append(entity)
        *others, item = self.items(entity)
        for other in others:
            if qualname in other.imports and other.imports[qualname] == item.imports.get(qualname):
                continue  # such as `import a.b`, then `import a.c`
            # It may be what another definition gives: of `try: from fast import f` and its `except`, either.
            if depth < _DEPTH and (other.kind not in ("function", "class") or other.kind != item.kind):
                attempt = Trace()
                self._given_by(attempt, other, entity, depth)
                if qualname in other.imports:
                    trace.passed += attempt.passed
                trace.others.append((entity, attempt))
        self._given_by(trace, item, entity, depth)

    def _given_by(self, trace: Trace, item: Item, entity: Entity, depth: int) -> None:
        """Go on to what one definition of a name gives."""
        qualname = entity[1]
        trace.end = entity
        if qualname in item.imports and depth < _DEPTH:
            self._imported(trace, item.imports[qualname], depth + 1)
        elif item.kind in ("class", "function"):
            trace.kind = item.kind
        else:
            trace.kind, trace.holder = "value", entity
            meant = self._meant_by(item, depth)
            if meant is not None and meant.kind in ("function", "class", "module", "instance"):
                trace.passed += meant.passed
                trace.kind, trace.end, trace.holder, trace.read = meant.kind, meant.end, meant.holder, meant.read
                return
            made = self._called_by(item, depth)
            if made is not None and made.kind == "class":
                trace.kind, trace.end = "instance", made.end

    def _imported(self, trace: Trace, what: Import, depth: int) -> None:
        if what.name:
            self._global(trace, what.module, what.name, depth)
        elif what.module in self.names:
            trace.kind, trace.end = "module", (what.module, "")
            trace.passed.append(trace.end)
        else:
            trace.kind = ""

    def _called_by(self, item: Item, depth: int) -> Trace | None:
        """Where that leads whose call is the value of an assignment."""
        node = item.node
        if depth > _DEPTH or not isinstance(node, (ast.Assign, ast.AnnAssign)) or not isinstance(node.value, ast.Call):
            return None
        return self._led_to(item, chain_of(node.value.func), depth)

    def _meant_by(self, item: Item, depth: int) -> Trace | None:
        """Where that leads for which an assignment is another name."""
        node = item.node
        single = isinstance(node, (ast.Assign, ast.AnnAssign)) and len(item.binds) == 1
        if depth > _DEPTH or not single or len(self.items((item.module.name, item.binds[0]))) > 1:
            return None
        value = node.value  # type: ignore[attr-defined]
        if isinstance(value, ast.Call) and chain_of(value.func) == ("property",) and value.args:
            getter = self._led_to(item, chain_of(value.args[0]), depth)
            if getter is not None:
                getter.read = True
            return getter
        return self._led_to(item, chain_of(value), depth) if isinstance(value, (ast.Name, ast.Attribute)) else None

    def _led_to(self, item: Item, chain: tuple[str, ...], depth: int) -> Trace | None:
        """Where a chain of names in an assignment leads."""
        if not chain or chain[0] in item.binds:
            return None
        inner = Trace()
        own = item.module.name
        if item.scope and f"{item.scope}.{chain[0]}" in item.module.by_name:
            self._bound(inner, own, f"{item.scope}.{chain[0]}", depth + 1)
        else:
            self._global(inner, own, chain[0], depth + 1)
        self._walk(inner, chain[1:])
        return inner

    def bound(self, module: str, qualname: str) -> Trace:
        """Where a name of a module leads."""
        trace = Trace()
        self._bound(trace, module, qualname)
        return trace

    def is_value(self, module: str, qualname: str) -> bool:
        """Whether a name stands, at some time, for what is no definition and no other name of one."""
        trace = self.bound(module, qualname)
        return any(one.kind == "value" for one in (trace, *trace.before_it_was_bound_anew()))

    def starred(self, entity: Entity) -> list[Item]:
        """The statements that may give a name to a module which does not bind it itself: ``from … import *``."""
        module = self.module(entity[0])
        if module is None or not module.stars or "." in entity[1] or entity[1] in module.by_name:
            return []
        given = Trace()
        self._global(given, *entity)
        return [
            item
            for star, items in module.star_items.items()
            if given.kind and any(passed == (star, entity[1]) for passed in given.passed[1:])
            for item in items
        ]

    # Classes

    def bases(self, entity: Entity) -> list[Entity]:
        """The bases of a class that the tree defines."""
        found = []
        for item in self.items(entity):
            if item.kind == "class":
                for ref in self.refs(item).header:
                    trace = self.follow(ref, item)
                    if trace.kind == "class" and trace.end != entity and trace.end not in found:
                        found.append(trace.end)
        return found

    def mro(self, entity: Entity) -> list[Entity]:
        """A class and all its bases in the tree, nearest first (metaclasses in keywords included)."""
        known = self._mros.get(entity)
        if known is not None:
            return known
        order: list[Entity] = []
        left = [
            entity
        ]  # a function that calls itself would hold the world in a circle, and a collection look at it all
        while left and len(order) < 200:
            one = left.pop()
            if one not in order:
                order.append(one)
                left += reversed(self.bases(one))
        self._mros[entity] = order
        return order

    def member(self, entity: Entity, name: str) -> Entity | None:
        """Where a class or the nearest base of it in the tree defines a name."""
        for module, qualname in self.mro(entity):
            if self.items((module, f"{qualname}.{name}")):
                return module, f"{qualname}.{name}"
        return None

    def _member(self, trace: Trace, name: str, above: Entity | None = None) -> None:
        order = self.mro(trace.end)
        if above is not None and above in order:
            order = order[order.index(above) + 1 :]
        for module, qualname in order:
            inner = f"{qualname}.{name}"
            if self.items((module, inner)):
                self._bound(trace, module, inner)
                return
            trace.passed.append((module, inner))
        trace.kind = ""

    def metaclasses(self, entity: Entity) -> list[Entity]:
        """The classes of the tree that make a class: its metaclass, and those of its bases."""
        found = []
        for one in self.mro(entity):
            for item in self.items(one):
                node = item.node
                if not isinstance(node, ast.ClassDef):
                    continue
                named = [chain_of(keyword.value) for keyword in node.keywords if keyword.arg == "metaclass"]
                # with_metaclass(Meta, Base), and what else makes a base of one
                given = [chain_of(each) for base in node.bases if isinstance(base, ast.Call) for each in base.args]
                for chain in filter(None, [*named, *given]):
                    trace = self.follow(Ref(chain), item)
                    if trace.kind == "class" and (chain in named or self.makes_classes(trace.end)):
                        found.append(trace.end)
        return found

    def makes_classes(self, entity: Entity) -> bool:
        """Whether a class is a metaclass, as far as names tell."""
        pending, seen = [entity], set[Entity]()
        while pending:
            one = pending.pop()
            for item in self.items(one) if one not in seen else ():
                for chain in map(chain_of, getattr(item.node, "bases", ())):
                    if chain and chain[-1] in _METACLASSES:
                        return True
                    trace = self.follow(Ref(chain), item) if chain else None
                    if trace is not None and trace.kind == "class":
                        pending.append(trace.end)
            seen.add(one)
        return False

    def is_made_by_hand(self, entity: Entity) -> bool:
        """Whether a metaclass or base of the tree looks at the class when it is made."""
        hook = self.member(entity, "__init_subclass__")
        own = (entity[0], f"{entity[1]}.__init_subclass__")
        return bool(hook and hook != own) or any(m != entity for m in self.metaclasses(entity))

    # Effects

    def values_called(self, item: Item) -> frozenset[Entity]:
        """The names of values that a function calls itself: what they hold, nobody can tell from their names."""
        known = self._values_called.get(id(item))
        if known is None:
            traces = [self.follow(ref, item) for ref in self.refs(item).led if ref.call and not ref.level]
            ways = [way for trace in traces for way in (trace, *trace.before_it_was_bound_anew())]
            known = self._values_called[id(item)] = frozenset(
                way.end for way in ways if way.kind == "value" and way.holder == way.end and not way.beyond
            )
        return known

    def effects(self, item: Item) -> frozenset[Entity]:
        """The names whose values a definition or statement changes in place when it runs, also by what it calls."""
        known = self._effects.get(id(item))
        if known is None and _does_nothing(item):
            known = self._effects[id(item)] = frozenset()
        if known is None:
            self._effects[id(item)] = frozenset()
            refs = self.refs(item)
            eager = [*refs.decorators]
            if item.kind != "function":
                eager += [*refs.header, *self.asked(item, later=False)]
            stored = [Ref(s.chain, base="scope" if item.scope else "") for s in item.stores if s.attribute]
            changed = self._changed(item, eager, 0).union(*(self._attribute(ref, item) for ref in stored))
            known = self._effects[id(item)] = frozenset(changed) | self.told(item)
        return known

    def told(self, item: Item) -> frozenset[Entity]:
        """The names of objects to which a statement does something in a way that cannot be read.

        It calls methods that the tree does not define, or hands them to a function that may.  That is done again, to
        objects that are made anew.
        """
        if item.kind not in ("assign", "effect", "loop"):
            return frozenset()
        base: Literal["", "scope"] = "scope" if item.scope else ""
        found = self._strange(item, base)
        for handed in handed_over(item.node):
            trace = self.follow(Ref(handed.called, base=base), item)
            given = self.follow(Ref(handed.given, base=base), item) if trace.kind == "function" else Trace()
            if given.kind in ("class", "function") and any(map(_sets_on_a_parameter, self.items(trace.end))):
                found.add(given.end)
            holder = given.holder
            if holder is not None and any(_changes_given(one, handed) for one in self.items(trace.end)):
                found.add(holder)
        return frozenset(found)

    def _strange(self, item: Item, base: Literal["", "scope"]) -> set[Entity]:
        """The names of objects of which a statement, or a function, calls methods that the tree does not define."""
        found = set()
        local = {ref.chain for ref in self.refs(item).body if ref.base == ""} if item.kind == "function" else None
        for method, receiver in self.syntax.receivers(item):
            if local is not None and method not in local:
                continue  # a variable of the function
            if method and self.follow(Ref(method, base=base), item).kind in ("function", "class"):
                continue
            holder = self.follow(Ref(receiver, base=base), item).holder
            if holder is not None:
                found.add(holder)
        return found

    def _changed(self, item: Item, refs: list[Ref], depth: int) -> set[Entity]:
        found: set[Entity] = set()
        for ref in refs:
            if not ref.store and not ref.call:
                continue
            trace = self.follow(ref, item)
            if ref.store == "attr":
                if ref.base in ("", "scope"):
                    found |= self._attribute(ref, item)
            elif ref.store == "item":
                if trace.holder and ref.base in ("", "scope", "abs"):
                    found.add(trace.holder)
                elif trace.kind == "class" and ref.base in ("", "scope", "abs"):
                    found.add(trace.end)  # an attribute under a name that only the code knows
                elif not trace.kind and not ref.base and len(ref.chain) == 1 and trace.passed:
                    found.add(trace.passed[-1])  # a name that only functions bind
            elif ref.call and depth < 12:
                found |= self._by_call(trace, ref.call, depth)
        return found

    def _attribute(self, ref: Ref, item: Item) -> set[Entity]:
        trace = self.follow(Ref(ref.chain[:-1], base=ref.base), item) if len(ref.chain) > 1 else Trace()
        if trace.kind in ("class", "module"):
            module, qualname = trace.end
            return {(module, f"{qualname}.{ref.chain[-1]}" if qualname else ref.chain[-1])}
        if trace.kind == "function":
            return {trace.end}
        return {trace.holder} if trace.holder else set()

    def _by_call(self, trace: Trace, calls: int, depth: int) -> set[Entity]:
        if trace.kind == "function":
            found = set(self.effects_of_call(trace.end, calls, depth))
            if trace.holder and self._changes_self(trace.end, calls):
                found.add(trace.holder)
            return found
        if trace.kind == "class":
            made = [self.member(trace.end, name) for name in ("__init__", "__new__")]
            made += [self.member(trace.end, "__call__")] if calls > 1 else []
            return {e for m in made if m for e in self.effects_of_call(m, 1, depth)}
        return set()

    def effects_of_call(self, function: Entity, calls: int, depth: int = 0) -> frozenset[Entity]:
        """The names whose values a call of a function changes in place."""
        key = (function, calls)
        known = self._call_effects.get(key)
        if known is None:
            self._call_effects[key] = frozenset()
            found: set[Entity] = set()
            for item in self.items(function):
                if item.kind == "function":
                    refs = [*self.refs(item).body, *self.asked(item, later=True)]
                    found |= self._changed(item, [r for r in refs if r.level < calls], depth + 1)
                    found |= self._strange(item, "")
            known = self._call_effects[key] = frozenset(found)
        return known

    def _changes_self(self, method: Entity, calls: int) -> bool:
        """Whether so many calls of a method change its object in place."""
        key = (method, calls)
        known = self._self_changes.get(key)
        if known is None:
            self._self_changes[key] = False
            known = self._self_changes[key] = any(
                _does_to_own(item)
                or any(self._ref_changes_self(ref, item) for ref in self.refs(item).body if ref.level < calls)
                for item in self.items(method)
                if item.kind == "function"
            )
        return known

    def _ref_changes_self(self, ref: Ref, item: Item) -> bool:
        if ref.base != "self":
            return False
        if ref.store or not ref.call:
            return bool(ref.store)
        trace = self.follow(ref, item)
        return trace.kind == "function" and self._changes_self(trace.end, ref.call)

    def heirs(self, owners: set[Entity]) -> set[Entity]:
        """The classes in the parsed modules that have one of `owners` among their bases."""
        owners = {o for o in owners if self.items(o)}
        found = set()
        new = words = {q.rpartition(".")[2] for _, q in owners}
        read: set[str] = set()
        while new:
            new = set()
            for module in self.parsed():
                if module.name in read or not module.class_names or module.words.isdisjoint(words):
                    continue
                read.add(module.name)
                above = self._above_any.get(module.name)
                if above is None:
                    classes = [(module.name, name) for name in module.class_names]
                    above = self._above_any[module.name] = frozenset().union(*map(self._above, classes))
                for name in module.class_names if not owners.isdisjoint(above) else ():
                    if not owners.isdisjoint(self._above((module.name, name))):
                        found.add((module.name, name))
                        new.add(name.rpartition(".")[2])
            words = words | new
        return found

    def factories(self, entity: Entity) -> list[Entity]:
        """The functions that fill fields of each new object of a class: ``field(default_factory=f)``."""
        return [
            trace.end
            for ref, item in self.factory_calls(entity)
            if (trace := self.follow(ref, item)).kind == "function" and ref.call
        ]

    def factory_calls(self, entity: Entity) -> Iterator[tuple[Ref, Item]]:
        """What is used to fill fields of each new object of a class, and where it stands."""
        for name, qualname in self.mro(entity):
            module = self.module(name)
            for item in module.by_scope.get(qualname, ()) if module is not None else ():
                if item.kind == "assign" and factories_in(getattr(item.node, "value", None)):
                    for ref in self.refs(item).body:
                        if ref.level == 1:
                            yield ref, item

    def _above(self, entity: Entity) -> frozenset[Entity]:
        """The bases of a class."""
        known = self._ancestors.get(entity)
        if known is None:
            known = self._ancestors[entity] = frozenset(self.mro(entity)[1:])
        return known


def _does_nothing(item: Item) -> bool:
    """Whether a definition only binds its name, as far as its head tells: it has no decorators, and calls nothing."""
    if item.stores:
        return False
    match item.node:
        case ast.FunctionDef(decorator_list=[]) | ast.AsyncFunctionDef(decorator_list=[]):
            return True
        case ast.ClassDef(decorator_list=[], bases=bases, keywords=keywords):
            return all(chain_of(base) for base in (*bases, *(keyword.value for keyword in keywords)))
        case ast.Import() | ast.ImportFrom():
            return True
    return False


def _sets_on_a_parameter(item: Item) -> bool:
    """Whether a function itself sets an attribute of what it is given."""
    if not isinstance(item.node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return False
    arguments = item.node.args
    given = [*arguments.posonlyargs, *arguments.args][1 if item.scope else 0 :]
    names = {each.arg for each in (*given, *arguments.kwonlyargs)}
    return any(
        isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id in names
        for node in walk(item.node)
        if isinstance(node, ast.Assign)
        for target in node.targets
    )


def _changes_given(function: Item, handed: Handed) -> bool:
    """Whether a function of the tree does something to what it is handed."""
    return changes_parameter(function.node, place_of(function, handed), perhaps=handed.dropped)


def _does_to_own(method: Item) -> bool:
    """Whether a method calls methods of what its object holds, for what they do."""
    node = method.node
    first = [*node.args.posonlyargs, *node.args.args][:1] if isinstance(node, ast.FunctionDef) else []
    return any(len(receiver) > 1 and receiver[0] == a.arg for a in first for _, receiver in receivers(node))
