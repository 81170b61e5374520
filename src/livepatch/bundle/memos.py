"""What a running process has computed from values that change, and that no statement computes again.

Tables that functions fill when they first need them, caches of functions, and attributes of objects.  It is read from
the old side: that is the code whose answers are still there.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from weakref import proxy

from livepatch.bundle.attributes import made_by, methods_of
from livepatch.bundle.hidden import hidden_place
from livepatch.bundle.items import MUTATORS, Item, chain_of
from livepatch.bundle.lazily import lazily_set
from livepatch.bundle.nodes import of_kinds, walk
from livepatch.bundle.normal import FunctionNode
from livepatch.bundle.refs import Ref
from livepatch.bundle.world import Entity, Trace, World
from livepatch.contents.edits import Captured, Memo

__all__ = ["CACHES", "Kept", "Search", "cache_names", "kept_from"]

_MADE_BY = ("__new__", "__init__", "__post_init__", "__attrs_post_init__")
CACHES = frozenset({"lru_cache", "cache", "cached_property"})
_UNCHANGING = frozenset({"frozenset", "tuple", "str", "bytes", "int", "float", "compile", "Decimal", "timedelta"})
_PLAIN = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)


@dataclass
class Kept:
    """What each module keeps."""

    memos: dict[str, list[Memo]] = field(default_factory=dict)
    captured: dict[str, list[Captured]] = field(default_factory=dict)
    caches: dict[str, list[str]] = field(default_factory=dict)


def kept_from(world: World, values: frozenset[Entity], defaults: set[Entity], names: frozenset[Entity]) -> Kept:
    """What may be kept of `values`, which change.

    `defaults` are the functions whose default values change with them, `names` all that is computed anew.
    """
    return Search(world, values, defaults, names).run()


def cache_names(item: Item) -> set[str]:
    """The decorators on a function that keep its answers."""
    decorators = getattr(item.node, "decorator_list", ())
    chains = [chain_of(d.func if isinstance(d, ast.Call) else d) for d in decorators]
    return {chain[-1] for chain in chains if chain} & CACHES


class Search:
    """What is kept of values that change."""

    def __init__(
        self, world: World, values: frozenset[Entity], defaults: set[Entity], names: frozenset[Entity]
    ) -> None:
        self.world, self.defaults, self.names = world, defaults, names
        self.values = frozenset(v for v in values if _is_value(world, v))
        self.attributes: dict[str, list[Entity]] = {}
        for entity in sorted(self.values):
            if "." in entity[1]:
                self.attributes.setdefault(entity[1].rpartition(".")[2], []).append(entity)
        self.readers: dict[Entity, Entity] = {}
        """The functions that use a value when they are called, with that value."""
        self.giving: dict[Entity, Entity] = {}
        """Those of which what they give is made from a value, with that value."""
        self._traced: dict[int, list[tuple[Trace, str]]] = {}
        """Where that leads which a function reads, and of ``self.x`` the attribute, by the id of its item."""
        self._named_in_text: dict[int, Entity | None] = {}
        self._families: dict[Entity, set[Entity]] = {}
        self._flows: dict[int, _Within] = {}
        self.out = Kept()

    def run(self) -> Kept:
        """Search for all of it."""
        if not self.values:
            return self.out
        self._find_readers()
        readers = [
            item
            for module in self.world.parsed()
            for item in module.items
            if item.kind == "function" and (module.name, item.binds[0]) in self.readers
        ]
        self.find_giving(readers)
        for item in readers:
            self.cache(item)
            self.memos(item)
        for module in self.world.parsed():
            for name in module.class_names:
                self._captured((module.name, name))
        return self.out

    def _find_readers(self) -> None:
        words = {q.rpartition(".")[2] for _, q in self.values}
        modules = self.world.parsed()
        while words:
            new: set[str] = set()
            mentioning = [item for module in modules for item in module.mentioning(words, frozenset())]
            for item in mentioning:
                if item.kind != "function" or (item.module.name, item.binds[0]) in self.readers:
                    continue
                of = self._reads(item)
                if of is None:
                    continue
                name = item.binds[0]
                self.readers[item.module.name, name] = of
                last = name.rpartition(".")[2]
                new.add(last)
                if last in _MADE_BY:
                    new.update({item.scope.rpartition(".")[2]} | {q.rpartition(".")[2] for _, q in self._heirs(item)})
            words = new

    def _heirs(self, item: Item) -> set[Entity]:
        return self.world.heirs({(item.module.name, item.scope)})

    def find_giving(self, readers: list[Item]) -> None:
        """Find the functions of which what they give is made from a value."""
        count = -1
        while count != len(self.giving):
            count = len(self.giving)
            for item in readers:
                name = (item.module.name, item.binds[0])
                if name not in self.giving:
                    assert isinstance(item.node, (ast.FunctionDef, ast.AsyncFunctionDef))
                    of = self._within(item, item.node).given()
                    if of is not None:
                        self.giving[name] = of

    def _reads(self, item: Item) -> Entity | None:
        traced = self._traced.get(id(item))
        if traced is None:
            read = [ref for ref in self.world.refs(item).led if not ref.store]
            traced = self._traced[id(item)] = [
                (self.world.follow(ref, item), ref.chain[0] if ref.base == "self" else "") for ref in read
            ]
        for trace, attribute in traced:
            of = self.of_trace(trace)
            if of is None and attribute:
                of = self.attribute_of(item, attribute)
            if of is not None:
                return of
        if id(item) not in self._named_in_text:
            self._named_in_text[id(item)] = self._reads_by_text(item)
        return self._named_in_text[id(item)]

    def _reads_by_text(self, item: Item) -> Entity | None:
        """The attribute that a function names by a text."""
        names = self.attributes.keys() & item.words if item.scope else ()
        if any(f"{quote}{name}{quote}".encode() in item.raw for name in names for quote in ("'", '"')):
            for node in walk(item.node):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    of = self.attribute_of(item, node.value)
                    if of is not None:
                        return of
        return None

    def value_of(self, trace: Trace, *, called: bool) -> Entity | None:
        """The value from which what a chain of names gives is made."""
        for one in trace.passed:
            if one in self.values:
                return one
        if trace.kind == "function" and (called or _is_property(self.world, trace.end)):
            return self.giving.get(trace.end)
        return None

    def of_trace(self, trace: Trace) -> Entity | None:
        """The value that is read, or used in a call, at the end of a chain of names."""
        for one in trace.passed:
            if one in self.values:
                return one
        if trace.kind == "function":
            return self.readers.get(trace.end)
        if trace.kind == "class":
            for name in _MADE_BY:
                method = self.world.member(trace.end, name)
                if method in self.readers:
                    return self.readers[method]
        return None

    def attribute_of(self, item: Item, name: str) -> Entity | None:
        """The changed attribute of that name, of a class on whose behalf a method may run."""
        for entity in self.attributes.get(name, ()):
            if (item.module.name, item.scope) in self._family((entity[0], entity[1].rpartition(".")[0])):
                return entity
        return None

    def _family(self, owner: Entity) -> set[Entity]:
        """The classes whose methods may have a class, or an object of it, as their first argument."""
        known = self._families.get(owner)
        if known is None:
            known = set(self.world.mro(owner))
            for metaclass in self.world.metaclasses(owner):
                known.update(self.world.mro(metaclass))
            known |= self.world.heirs({owner})
            self._families[owner] = known
        return known

    def _within(self, item: Item, node: FunctionNode) -> _Within:
        """What goes where in a function, by what is known now."""
        flow = self._flows.get(id(node))
        if flow is None:
            flow = self._flows[id(node)] = _Within(proxy(self), item, node)
        flow.spread()
        return flow

    # Caches

    def cache(self, item: Item) -> None:
        """Take in the cache of a function that uses the value."""
        entity = (item.module.name, item.binds[0])
        kinds = cache_names(item) if entity not in self.names else set()
        # What lies in an object may be more than an answer: it goes only if it is made from the value.
        if kinds - {"cached_property"} or (kinds and entity in self.giving):
            _once(self.out.caches.setdefault(item.module.name, []), item.binds[0])

    # Tables

    def memos(self, item: Item, own: Entity | None = None, *, hidden_only: bool = False) -> None:
        """Take in the tables in which a function keeps what is made from a value.

        `own` is the function itself if its own answers count: where it looks up what it has put there.  With
        `hidden_only`, it is about the variables that functions inside it share.
        """
        node = item.node
        assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        flow = self._within(item, node)
        for target, value in flow.stored:
            first = flow.of(value) or (own if own is not None and flow.looks_up(target) else None)
            # Of attributes that have one name, each class keeps what is made of its own.
            for of in self._namesakes(item, first) if first is not None and not hidden_only else ():
                entity = self._stored(flow, target, of)
                if entity is not None and entity not in self.values:
                    self.keep(entity, of, self._initial(entity))
            if first is not None and (hidden := hidden_place(self.world, item, flow.bound, target)) is not None:
                self.keep((hidden[0], hidden[1]), first, hidden[2])

    def of_decorated(self, item: Item, entity: Entity) -> None:
        """Take in what the decorators of a function that changes keep of its answers."""
        for decorator in getattr(item.node, "decorator_list", ()):
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            chain = chain_of(called)
            trace = self.world.follow(Ref(chain, base="scope" if item.scope else ""), item) if chain else Trace()
            for one in self.world.items(trace.end) if trace.kind == "function" else ():
                if isinstance(one.node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    flow = _Within(proxy(self), one, one.node)
                    made = (
                        [one.node]
                        if called is decorator
                        else [n for n in one.node.body if isinstance(n, ast.FunctionDef)]
                    )
                    flow.held.update((n.args.args[0].arg, entity) for n in made if n.args.args)
                    flow.spread()
                    for target, value in flow.stored:
                        hidden = hidden_place(self.world, one, flow.bound, target) if flow.of(value) else None
                        if hidden is not None:
                            self.keep((hidden[0], hidden[1]), entity, hidden[2])

    def _namesakes(self, item: Item, of: Entity) -> list[Entity]:
        """The values that a method may read where it reads one of them: attributes of that name, of other classes."""
        others = self.attributes.get(of[1].rpartition(".")[2], [])
        if of not in others:
            return [of]
        return [each for each in others if (item.module.name, item.scope) in self._family(_owner(each))] or [of]

    def keep(self, entity: Entity, of: Entity, initial: str) -> None:
        """Take in a place that keeps what comes of a value or a function; `initial` is what the source puts there."""
        name = entity[1].rpartition(".")[2]
        of_heirs = [(m, f"{q}.{name}") for m, q in sorted(self.world.heirs({_owner(entity)})) if "." in entity[1]]
        stated = {one: self._initial(one) for one in of_heirs if self.world.items(one)}
        for (module, qualname), text in {entity: initial, **stated}.items():
            known = self.out.memos.setdefault(module, [])
            if all(each.target != qualname for each in known):
                known.append(Memo(target=qualname, of=f"{of[0]}:{of[1]}", initial=text))

    def _stored(self, flow: _Within, target: ast.expr, of: Entity) -> Entity | None:
        """The name of a module or class under which a function keeps what it stores."""
        item = flow.item
        inside = False
        while isinstance(target, ast.Subscript):
            target, inside = target.value, True
        if isinstance(target, ast.Name):
            if target.id in flow.outer:
                return item.module.name, target.id
            if not inside or target.id in flow.bound:
                return None
            return self.world.follow(Ref((target.id,)), item).holder
        if not isinstance(target, ast.Attribute):
            return None
        owner, name = target.value, target.attr
        if flow.is_class(owner):
            place = of if of in self.attributes.get(of[1].rpartition(".")[2], ()) else None
            if place is not None and (item.module.name, item.scope) in self._family(_owner(place)):
                holder = self.world.member(_owner(place), name)
                return holder or (place[0], f"{_owner(place)[1]}.{name}")
            return self.world.member((item.module.name, item.scope), name) or (item.module.name, f"{item.scope}.{name}")
        chain = chain_of(target)
        if not chain or chain[0] in flow.bound:
            return None
        if chain[0] == flow.own:
            # A container of the class that all its objects share.
            return self.world.follow(Ref(chain[1:], base="self"), item).holder if inside and len(chain) > 1 else None
        if inside:
            return self.world.follow(Ref(chain), item).holder
        trace = self.world.follow(Ref(chain[:-1]), item)
        if trace.kind in ("class", "module"):
            return trace.end[0], f"{trace.end[1]}.{name}" if trace.end[1] else name
        return None

    def _initial(self, entity: Entity) -> str:
        for item in self.world.items(entity):
            if isinstance(item.node, (ast.Assign, ast.AnnAssign)) and item.node.value is not None:
                return ast.unparse(item.node.value)
        return ""

    # Objects

    def _captured(self, owner: Entity) -> None:
        for method in made_by(self.world, owner):
            if _owner(method) != owner:
                continue  # it is said of the class that defines it, and counts those derived from it
            for item in self.world.items(method):
                if method in self.readers or method in self.defaults:
                    self.taken(item)
        made = set(made_by(self.world, owner))
        for item in methods_of(self.world, owner):
            method = (item.module.name, item.binds[0])
            if method not in made and (method in self.readers or method in self.defaults):
                self.lazily(item)

    def of_objects(self, item: Item) -> None:
        """Take in the attributes that a method keeps in its object: when it is made, or when they are first asked."""
        made = (item.module.name, item.binds[0]) in made_by(self.world, (item.module.name, item.scope))
        (self.taken if made else self.lazily)(item)

    def taken(self, item: Item) -> None:
        """Take in the attributes that an object gets from a method when it is made."""
        if not isinstance(item.node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return
        flow = self._within(item, item.node)
        for target, value in flow.stored:
            match target:
                case ast.Attribute(value=ast.Name(id=own), attr=name) if own == flow.own:
                    self._capture_what(flow, name, value)

    def lazily(self, item: Item) -> None:
        """Take in the attributes that a method keeps in its object, and sets when they are first asked for."""
        if not isinstance(item.node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return
        flow = self._within(item, item.node)
        for name, value in lazily_set(item.node) if flow.own and not flow.classes else ():
            self._capture_what(flow, name, value)

    def _capture_what(self, flow: _Within, name: str, value: ast.expr) -> None:
        of = flow.of(value)
        if of is not None and not self._is_shared(value, flow):
            self.capture((flow.item.module.name, flow.item.scope), name, of)

    def capture(self, owner: Entity, name: str, of: Entity) -> None:
        """Take in an attribute that objects of a class have from a value or function."""
        known = self.out.captured.setdefault(owner[0], [])
        if all((e.class_qualname, e.name) != (owner[1], name) for e in known):
            known.append(Captured(class_qualname=owner[1], name=name, of=f"{of[0]}:{of[1]}"))

    def _is_shared(self, value: ast.expr, flow: _Within) -> bool:
        """Whether objects hold the very object that the name stands for, and it can be changed in place."""
        chain = chain_of(value)
        if not chain or chain[0] in flow.bound:
            return False
        ref = Ref(chain[1:], base="self") if chain[0] == flow.own else Ref(chain)
        holder = self.world.follow(ref, flow.item).holder if ref.chain else None
        return holder is not None and any(
            isinstance(made, _PLAIN)
            or (isinstance(made, ast.Call) and (chain_of(made.func) or ("",))[-1] not in _UNCHANGING)
            for made in (getattr(i.node, "value", None) for i in self.world.items(holder))
        )


def _owner(entity: Entity) -> Entity:
    return entity[0], entity[1].rpartition(".")[0]


def _is_value(world: World, entity: Entity) -> bool:
    items = world.items(entity)
    return bool(items) and items[-1].kind not in ("function", "class")


def _is_property(world: World, entity: Entity) -> bool:
    return any("property" in ast.unparse(d) for i in world.items(entity) for d in getattr(i.node, "decorator_list", ()))


def _once(names: list[str], name: str) -> None:
    if name not in names:
        names.append(name)


class _Within:
    """What goes where within one function: which variables hold something made from a value that changes."""

    def __init__(self, search: Search, item: Item, node: FunctionNode) -> None:
        self.search, self.item, self.node = search, item, node
        a = node.args
        arguments = [*a.posonlyargs, *a.args]
        decorators = {(chain_of(d) or ("",))[-1] for d in node.decorator_list}
        self.own = arguments[0].arg if item.scope and arguments and "staticmethod" not in decorators else ""
        nodes = walk(node)
        names = [n for n in nodes if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)]
        self.outer = {name for n in nodes if isinstance(n, ast.Global) for name in n.names}
        self.stored = list(_stores(nodes))
        """Each place that is written to, with what goes into it."""
        returned = [n.value for n in nodes if isinstance(n, (ast.Return, ast.Yield, ast.YieldFrom))]
        self.returned = [value for value in returned if value is not None]
        self.bound = {n.id for n in names} - self.outer
        self.bound |= {x.arg for x in [*arguments, *a.kwonlyargs, *(y for y in (a.vararg, a.kwarg) if y)]} - {self.own}
        self.classes = "classmethod" in decorators or node.name in ("__new__", "__init_subclass__", "__class_getitem__")
        entity = (item.module.name, item.scope)
        self.classes = self.classes or (bool(item.scope) and search.world.makes_classes(entity))
        self.held: dict[str, Entity] = {}
        self._said: dict[int, list[tuple[tuple[str, ...], bool, str]]] = {}
        """What each expression names, by the id of its node."""
        self._defaults()

    def is_class(self, node: ast.expr) -> bool:
        """Whether an expression is the class that the method is called on, or of."""
        match node:
            case ast.Name(id=name):
                return self.classes and name == self.own
            case ast.Call(func=ast.Name(id="type"), args=[ast.Name(id=name)]):
                return name == self.own
            case ast.Attribute(value=ast.Name(id=name), attr="__class__"):
                return name == self.own
        return False

    def _defaults(self) -> None:
        a = self.node.args
        positional = [*a.posonlyargs, *a.args]
        pairs = [*zip(positional[len(positional) - len(a.defaults) :], a.defaults, strict=True)]
        pairs += [(arg, value) for arg, value in zip(a.kwonlyargs, a.kw_defaults, strict=True) if value is not None]
        for argument, value in pairs:
            of = self._of(value, lambda chain: Ref(chain, base="scope" if self.item.scope else ""))
            if of is not None:
                self.held[argument.arg] = of

    def looks_up(self, target: ast.expr) -> bool:
        """Whether the function reads where it also puts something."""
        chain = chain_of(_base(target))
        read = [n for n in walk(self.node) if isinstance(n, (ast.Name, ast.Attribute)) and chain_of(n) == chain]
        return bool(chain) and len(read) > sum(chain_of(_base(each)) == chain for each, _ in self.stored)

    def spread(self) -> None:
        """Follow what the values are put into, variable by variable."""
        count = -1
        while count != len(self.held):
            count = len(self.held)
            for target, value in self.stored:
                base = target
                while isinstance(base, (ast.Subscript, ast.Attribute, ast.Starred)):
                    base = base.value
                if isinstance(base, ast.Name) and base.id in self.bound and base.id not in self.held:
                    of = self.of(value)
                    if of is not None:
                        self.held[base.id] = of

    def of(self, value: ast.expr) -> Entity | None:
        """The value that changes from which an expression is made."""
        return self._of(value, Ref)

    def _of(self, value: ast.expr, reference: Callable[[tuple[str, ...]], Ref]) -> Entity | None:
        search, item = self.search, self.item
        said = self._said.get(id(value))
        if said is None:
            said = self._said[id(value)] = _said_in(value)
        for chain, called, text in said:
            found: Entity | None = None
            if not chain:
                found = search.attribute_of(item, text) if item.scope else None
            elif chain[0] in self.held and len(chain) == 1:
                found = self.held[chain[0]]
            elif chain[0] == self.own and len(chain) > 1:
                trace = search.world.follow(Ref(chain[1:], base="self"), item)
                found = search.value_of(trace, called=called)
                found = found or search.attribute_of(item, chain[1])
            elif chain[0] != self.own and chain[0] not in self.bound:
                found = search.value_of(search.world.follow(reference(chain), item), called=called)
            if found is not None:
                return found
        return None

    def given(self) -> Entity | None:
        """The value from which what the function gives is made."""
        return next((of for value in self.returned if (of := self.of(value)) is not None), None)


def _base(target: ast.expr) -> ast.expr:
    """What is changed where something is put into it."""
    while isinstance(target, ast.Subscript):
        target = target.value
    return target


def _said_in(value: ast.expr) -> list[tuple[tuple[str, ...], bool, str]]:
    """The chains of names in an expression, each with whether it is called, and its texts."""
    nodes = walk(value)
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    found: list[tuple[tuple[str, ...], bool, str]] = []
    for node in nodes:
        if isinstance(node, (ast.Name, ast.Attribute)):
            chain = chain_of(node)
            if chain:
                found.append((chain, id(node) in called, ""))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(((), False, node.value))
    return found


_STORING = frozenset({ast.Assign, ast.AnnAssign, ast.AugAssign, ast.NamedExpr, ast.For, ast.AsyncFor})
_STORING |= {ast.comprehension, ast.withitem, ast.Call}


def _stores(nodes: list[ast.AST]) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Each place that is written to, with what goes into it."""
    for one in of_kinds(nodes, _STORING):
        match one:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    for each in target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]:
                        yield each, value
            case ast.AnnAssign(target=target, value=ast.expr() as value) | ast.AugAssign(target=target, value=value):
                yield target, value
            case ast.NamedExpr(target=target, value=value):
                yield target, value
            case ast.For(target=target, iter=value) | ast.AsyncFor(target=target, iter=value):
                yield from ((each, value) for each in walk(target) if isinstance(each, ast.Name))
            case ast.comprehension(target=target, iter=value):
                yield from ((each, value) for each in walk(target) if isinstance(each, ast.Name))
            case ast.withitem(context_expr=value, optional_vars=ast.expr() as target):
                yield target, value
            case ast.Call(func=ast.Name(id="setattr"), args=[owner, ast.Constant(value=str(name)), value]):
                yield ast.Attribute(value=owner, attr=name, ctx=ast.Store()), value
            case ast.Call(func=ast.Attribute(value=table, attr=attr), args=args) if attr in MUTATORS and args:
                last = args[-1]
                yield ast.Subscript(value=table, slice=ast.Constant(0), ctx=ast.Store()), last
