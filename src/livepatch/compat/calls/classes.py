"""Classes and their instances: which attribute is found where, through the real order and the real subclasses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from livepatch.compat.calls.objects import Function, Outside
from livepatch.compat.calls.uses import FALLBACKS
from livepatch.compat.calls.world import MOST_CALLABLES, UNKNOWN, Obj

if TYPE_CHECKING:
    from livepatch.compat.calls.program import Program
    from livepatch.compat.calls.uses import Call, Lookup, MethodCall, Site, Special, Store

__all__ = ["AnyOf", "Class", "Found", "Instance"]


class Found:
    """Where an attribute may come from: objects in namespaces of classes, or nodes of such."""

    __slots__ = ("anywhere", "in_graph", "nodes", "objects", "outside")

    def __init__(self, objects: tuple[Obj, ...], nodes: tuple[int, ...], *, outside: bool) -> None:
        self.objects = objects
        self.nodes = nodes
        self.outside = outside
        """Whether classes that are not looked into may have it."""
        self.anywhere = bool(objects or nodes)
        self.in_graph = bool(nodes) or any(not isinstance(obj, Outside) for obj in objects)
        """Whether some of it may be looked into."""


class Class(Obj):
    """A class."""

    __slots__ = (
        "_any",
        "_any_instance",
        "_below",
        "_exactly",
        "_found",
        "_mixed",
        "bases",
        "body",
        "declared",
        "in_graph",
        "live",
        "metaclass",
        "module",
        "names",
        "order",
        "outside",
        "outside_bases",
        "program",
        "protocol",
        "qualname",
        "subclasses",
    )
    callable = True
    is_class = True
    most = MOST_CALLABLES

    def __init__(self, program: Program, module: str, qualname: str) -> None:
        self.program = program
        self.module = module
        self.qualname = qualname
        self.body: Function | None = None
        """The code of its body, if it is known by that alone."""
        self.names: dict[str, Obj | int] = {}
        """What its namespace holds: objects, or nodes of what the body assigns."""
        self.declared: list[str] = []
        """The attributes that are annotated, in their order."""
        self.bases: list[Class | Outside] = []
        self.metaclass: Class | None = None
        self.live: type | None = None
        """The class itself, where it is live."""
        self.in_graph = True
        """Whether its methods are looked into."""
        self.order: tuple[Class, ...] = (self,)
        self.outside = False
        """Whether one of its bases is not looked into."""
        self.outside_bases: tuple[Outside, ...] = ()
        """Those of its bases of which nothing is known but the name."""
        self.protocol = False
        """Whether others are instances of it that do not derive from it."""
        self.subclasses: list[Class] = []
        self._below: tuple[Class, ...] | None = None
        self._mixed: tuple[Class, ...] | None = None
        self._found: dict[tuple[str, bool], Found] = {}
        self._exactly: Instance | None = None
        self._any_instance: Instance | None = None
        self._any: AnyOf | None = None

    def __repr__(self) -> str:
        return f"{self.module}:{self.qualname}"

    def kind_of(self) -> Class:
        return self

    # What stands for its instances and its subclasses

    def exactly(self) -> Instance:
        """An instance of this very class."""
        if self._exactly is None:
            self._exactly = Instance(self, below=False)
        return self._exactly

    def instance(self) -> Instance:
        """An instance of the class or of one that derives from it."""
        if self._any_instance is None:
            self._any_instance = Instance(self, below=True)
        return self._any_instance

    def or_below(self) -> AnyOf:
        """The class or one that derives from it."""
        if self._any is None:
            self._any = AnyOf(self)
        return self._any

    def below(self) -> tuple[Class, ...]:
        """All classes that derive from it."""
        if self._below is None:
            found: dict[Class, None] = {}
            left = list(self.subclasses)
            while left:
                one = left.pop()
                if one not in found:
                    found[one] = None
                    left += one.subclasses
            self._below = tuple(found)
        return self._below

    def settle(self) -> None:
        """Forget what was found, because bases have become known."""
        self._below = self._mixed = None
        self._found.clear()

    def forget(self) -> None:
        self._exactly = self._any_instance = self._any = self.metaclass = self.body = None
        self._below = self._mixed = None
        self.bases, self.order, self.subclasses = [], (), []
        self.names, self._found = {}, {}

    # Looking attributes up

    def find(self, name: str, *, below: bool = False) -> Found:
        """Where the attribute comes from, in this class or (`below`) in one that derives from it."""
        key = name, below
        found = self._found.get(key)
        if found is None:
            places: dict[Obj | int, None] = {}
            outside = False
            for one in (self, *self.overriding(name)) if below else (self,):
                for holder in one.order:
                    if name in holder.names:
                        places[holder.names[name]] = None
                        break
                else:
                    outside = outside or one.outside
            found = self._found[key] = _found(places, outside=outside)
        return found

    def overriding(self, name: str) -> Iterator[Class]:
        """The classes below that may have another attribute of that name."""
        below = self.below()
        if not below:
            return
        definers = self.program.definers.get(name, ())
        if len(below) < 8 or len(definers) > len(below):
            yield from below
            return
        for one in definers:
            if one is not self and self in one.order:
                yield one
        if self._mixed is None:
            self._mixed = tuple(one for one in below if len(one.bases) > 1)
        yield from self._mixed

    def find_after(self, name: str, after: Class, *, below: bool) -> Found:
        """What ``super()`` in a method of `after` finds for an instance of this class."""
        places: dict[Obj | int, None] = {}
        outside = False
        for one in (self, *self.below()) if below else (self,):
            order = one.order
            rest = order[order.index(after) + 1 :] if after in order else after.order[1:]
            for holder in rest:
                if name in holder.names:
                    places[holder.names[name]] = None
                    break
            else:
                outside = outside or one.outside
        return _found(places, outside=outside)

    def load_after(self, site: Lookup | MethodCall, receiver: Obj) -> None:
        """Give what ``super()`` in a method of this class finds."""
        program = self.program
        if not program.settled:
            program.later(lambda: self.load_after(site, receiver))
            return
        if isinstance(receiver, Instance):
            kind, below = receiver.kind, receiver.below
        elif isinstance(receiver, Class):
            kind, below = receiver, False
        elif isinstance(receiver, AnyOf):
            kind, below = receiver.kind, True
        else:
            kind, below = self, True
        meta = kind.metaclass
        if receiver.is_class and self not in kind.order and meta is not None and self in meta.order:
            kind, below = meta, False  # in a method of the metaclass
        found = kind.find_after(site.name, self, below=below)
        program.give(site, found, receiver, kind)
        if found.outside and not found.anywhere:
            kind.load_outside(site)
        if not found.anywhere and not found.outside:
            program.models.object_method(site, receiver)

    def load_outside(self, site: Site) -> None:
        """Give what bases may have that are not looked into."""
        for one in self.order:
            for base in one.outside_bases:
                site.root.doubted()
                site.take(base.part(site.name))

    # Being used

    def call(self, call: Call, *, below: bool = False) -> None:
        if self.program.settled or not self.in_graph:
            self.program.instantiate(self, call, below=below)
        else:
            self.program.later(lambda: self.program.instantiate(self, call, below=below))

    def load(self, site: Lookup | MethodCall) -> None:
        if self.program.settled:
            self.program.load_class_attribute(self, site, below=False)
        else:
            self.program.later(lambda: self.load(site))

    def operate(self, site: Special) -> None:
        if not self.program.settled:
            self.program.later(lambda: self.operate(site))
        elif self.metaclass is not None:
            self.program.give(site, self.metaclass.find(site.name), self, self.metaclass)
        elif site.name == "__getitem__":
            self.program.models.class_item(self, site)

    def store(self, store: Store) -> None:
        self.program.fields.store(self, store.name, store.node)


class AnyOf(Obj):
    """A class or one that derives from it: ``cls`` in a class method."""

    __slots__ = ("kind",)
    callable = True
    is_class = True
    most = MOST_CALLABLES

    def __init__(self, kind: Class) -> None:
        self.kind = kind

    def kind_of(self) -> Class:
        return self.kind

    def call(self, call: Call) -> None:
        self.kind.call(call, below=True)

    def load(self, site: Lookup | MethodCall) -> None:
        if self.kind.program.settled:
            self.kind.program.load_class_attribute(self.kind, site, below=True)
        else:
            self.kind.program.later(lambda: self.load(site))

    def operate(self, site: Special) -> None:
        self.kind.operate(site)

    def store(self, store: Store) -> None:
        self.kind.store(store)


class Instance(Obj):
    """An instance of a class, or (`below`) of it or of one that derives from it."""

    __slots__ = ("below", "kind")

    def __init__(self, kind: Class, *, below: bool) -> None:
        self.kind = kind
        self.below = below

    def __repr__(self) -> str:
        return f"<{self.kind!r}{'+' * self.below}>"

    def kind_of(self) -> Class:
        return self.kind

    def call(self, call: Call) -> None:
        if not self.kind.program.settled:
            self.kind.program.later(lambda: self.call(call))
            return
        found = self.kind.find("__call__", below=self.below)
        if found.anywhere:
            if call.expands(self):
                self.kind.program.give(call.behalf(call.args), found, self, self.kind)
        elif self.kind.module != "builtins":  # a number cannot be called
            for one in self.kind.order:
                for base in one.outside_bases:
                    base.part("__call__").call(call, self)
            call.program.escape(call)
            call.leads_nowhere()

    def load(self, site: Lookup | MethodCall) -> None:
        kind, name, program = self.kind, site.name, self.kind.program
        if not program.settled:
            program.later(lambda: self.load(site))
            return
        found = kind.find(name, below=self.below)
        node = program.fields.reader(kind, name, below=self.below)
        if node >= 0:
            site.take_node(node)
        if found.anywhere:
            program.give(site, found, self, kind)
            if "__getattribute__" in program.defined:
                program.models.reading_hook(self, site, "__getattribute__")
        if kind.protocol:
            site.leads_nowhere()
        if not found.anywhere:
            program.models.instance_attribute(self, site, node)

    def operate(self, site: Special) -> None:
        kind = self.kind
        if kind.module == "builtins" and not self.below:
            return
        if not kind.program.settled:
            kind.program.later(lambda: self.operate(site))
            return
        for name in (site.name, *FALLBACKS.get(site.name, ())):
            found = kind.find(name, below=self.below)
            if found.in_graph:
                kind.program.give(site, found, self, kind)
                break
        else:
            if not kind.in_graph and site.name == "__enter__":  # most give themselves
                kind.program.flow.add(site.dest, self)
                kind.program.flow.add(site.dest, UNKNOWN)
        if kind.protocol:
            site.leads_nowhere()

    def store(self, store: Store) -> None:
        program, kind = self.kind.program, self.kind
        if not program.settled:
            program.later(lambda: self.store(store))
            return
        found = kind.find(store.name, below=self.below)
        held = [program.assign(obj, store, self) for obj in found.objects]
        for node in found.nodes:
            program.assign_later(node, store, self)
        hook = kind.find("__setattr__") if "__setattr__" in program.defined else None
        if hook is not None and hook.in_graph:
            site = store.call(program.flow.node(), program.arguments(-1, store.node), "__setattr__", "operator")
            program.give(site, hook, self, kind)
        if not found.anywhere or (not found.nodes and not all(held)):
            program.fields.store(kind, store.name, store.node)


_NOWHERE = Found((), (), outside=False)
_OUTSIDE = Found((), (), outside=True)


def _found(places: dict[Obj | int, None], *, outside: bool) -> Found:
    if not places:
        return _OUTSIDE if outside else _NOWHERE
    objects = tuple([place for place in places if not isinstance(place, int)])
    if len(objects) > 1:  # an abstract method is not what is called where there are others
        real = tuple(obj for obj in objects if not (isinstance(obj, Function) and obj.abstract))
        objects = real or objects
    return Found(objects, tuple([place for place in places if isinstance(place, int)]), outside=outside)
