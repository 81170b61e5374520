"""What is computed, when the package is imported, from something that changes."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from livepatch.bundle.items import Item, Module
from livepatch.bundle.refs import Ref
from livepatch.bundle.world import Entity, Trace, World

__all__ = ["Flow", "stored"]

_MADE_BY = ("__new__", "__init__", "__post_init__", "__attrs_post_init__", "__call__", "__prepare__")
_CLASS_MADE_BY = ("__new__", "__init__", "__call__", "__prepare__", "__init_subclass__", "__set_name__")


@dataclass
class Flow:
    """What the changes of one side reach.

    `values` are the names whose value may differ, `defaults` the functions whose default values may, and `calls` the
    functions that may give something else when they are called at import time.
    """

    world: World
    mentioning: Callable[[Iterable[str]], list[str]]
    values: set[Entity] = field(default_factory=set)
    calls: set[Entity] = field(default_factory=set)
    defaults: set[Entity] = field(default_factory=set)
    _changed_calls: set[Entity] = field(default_factory=set)
    _made: set[Entity] = field(default_factory=set)
    _not_made: set[Entity] = field(default_factory=set)
    _done: set[int] = field(default_factory=set)
    _words: dict[int, frozenset[str]] = field(default_factory=dict)

    def run(self) -> None:
        """Follow the changes until nothing new is reached."""
        interesting: set[str] = set()
        size = -1
        while size != self._size():
            size = self._size()
            self._not_made.clear()
            interesting |= self._interesting()
            outside = {name.partition(".")[0] for _, name in self.values | self.calls}
            outside |= {one[1].partition(".")[0] for c in self._classes() for one in self.world.subclasses(c)}
            for name in self.mentioning(sorted(outside)):
                self.world.module(name)
            for module in self.world.parsed():
                if module.words.isdisjoint(interesting):
                    continue
                for item in module.items:
                    if id(item) not in self._done and self._mentions(item, interesting):
                        self._look(item)

    def _size(self) -> int:
        return len(self.values) + len(self.calls) + len(self.defaults) + len(self._made)

    def _classes(self) -> set[Entity]:
        return {(m, q.rpartition(".")[0]) for m, q in self.values | self.calls | self.defaults if "." in q}

    def _interesting(self) -> set[str]:
        """The words without which an item cannot be reached."""
        found: set[str] = set()
        for module, name in self.values | self.calls | self.defaults:
            head, _, last = name.rpartition(".")
            found.add(last)
            if head:
                found.add(head.rpartition(".")[2])
                found.update(q.rpartition(".")[2] for _, q in self.world.subclasses((module, head)))
        return found

    def _mentions(self, item: Item, interesting: set[str]) -> bool:
        words = self._words.get(id(item))
        if words is None:
            words = self.world.refs(item).words() | {n for b in item.binds for n in b.split(".")[-1:]}
            if item.kind == "import":
                words |= {what.name for what in item.imports.values()}
            self._words[id(item)] = words
        return not words.isdisjoint(interesting)

    def _look(self, item: Item) -> None:
        own = item.module.name
        refs = self.world.refs(item)
        if item.kind == "import":
            for bound in item.imports:
                trace = Trace()
                self.world._bound(trace, own, bound)  # noqa: SLF001
                if any(e in self.values for e in trace.passed):
                    self.values.add((own, bound))
            return
        if item.kind == "function":
            (entity,) = ((own, b) for b in item.binds)
            if any(self.reached(r, item) for r in refs.decorators) or self._by_decorator_arguments(item):
                self.values.add(entity)
            if any(self.reached(r, item) for r in refs.header):
                self.defaults.add(entity)
                self.calls.add(entity)
            if entity not in self.calls and any(self.reached(r, item) for r in refs.body):
                self.calls.add(entity)
        elif item.kind == "class":
            if any(self.reached(r, item) for r in [*refs.header, *refs.decorators]):
                self.values.update((own, b) for b in item.binds)
        elif any(self.reached(r, item) for r in refs.header):
            self._done.add(id(item))
            self.values.update((own, b) for b in item.binds)
            self.values.update(stored(self.world, item))

    def _by_decorator_arguments(self, item: Item) -> bool:
        return False

    def reached(self, ref: Ref, item: Item) -> bool:
        """Whether what a chain of names gives, or does when it is called, may differ."""
        trace = self.world.follow(ref, item)
        if any(e in self.values for e in trace.passed):
            return True
        if trace.kind == "function":
            return (ref.call or self._is_property(trace.end)) and trace.end in self.calls
        if trace.kind == "class" and ref.call:
            return self.makes_other_objects(trace.end)
        return False

    def _is_property(self, entity: Entity) -> bool:
        return any(item.accessor or _cached(item) for item in self.world.items(entity))

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
        seen: set[Entity] = set()
        pending = [m for name in _MADE_BY if (m := self.world.member(entity, name)) is not None]
        while pending:
            method = pending.pop()
            if method in seen:
                continue
            seen.add(method)
            if method in self.defaults or method in self.values:
                return True
            if method in self.calls and not any(
                r.base in ("self", "super") for i in self.world.items(method) for r in self.world.refs(i).body
            ):
                return True
            if method in self._changed_calls:
                return True
            for item in self.world.items(method):
                if item.kind != "function":
                    continue
                for ref in self.world.refs(item).body:
                    if ref.base not in ("self", "super"):
                        if self.reached(ref, item):
                            return True
                        continue
                    trace = self.world.trace(ref, item.module.name, item.scope, entity)
                    if any(e in self.values for e in trace.passed):
                        return True
                    if trace.kind == "function" and (ref.call or self._is_property(trace.end)):
                        pending.append(trace.end)
        return False

    def seed(self, values: Iterable[Entity], calls: Iterable[Entity], defaults: Iterable[Entity]) -> None:
        """Begin with what changes of itself."""
        self.values.update(values)
        self.defaults.update(defaults)
        self._changed_calls.update(calls)
        self.calls.update(self._changed_calls, self.defaults)


def _cached(item: Item) -> bool:
    node = item.node
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and any(
        "property" in ast.unparse(d) for d in node.decorator_list
    )


def stored(world: World, item: Item) -> set[Entity]:
    """The names whose values a statement changes in place."""
    found: set[Entity] = set()
    own = item.module.name
    for store in item.stores:
        base = Ref(store.chain[:-1] if store.attribute else store.chain)
        trace = world.follow(base, item)
        if store.attribute and trace.kind in ("class", "module"):
            module, qualname = trace.end
            found.add((module, f"{qualname}.{store.chain[-1]}" if qualname else store.chain[-1]))
        elif trace.kind == "module":
            continue
        elif trace.passed and trace.passed[-1][1]:
            # The last name of the chain that the tree defines: what holds the object.
            known = [e for e in trace.passed if world.items(e)]
            if known:
                found.add(known[-1])
    return found


def modules_of(entities: Iterable[Entity]) -> set[str]:
    """The modules in which the names are."""
    return {module for module, _ in entities}


def unused(module: Module) -> bool:
    """Whether nothing in the module runs."""
    return not module.items
