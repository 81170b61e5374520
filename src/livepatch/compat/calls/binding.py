"""From what a class's namespace holds to what an attribute of an instance is: methods, properties, descriptors."""

from __future__ import annotations

from livepatch.compat.calls.acts import Acts
from livepatch.compat.calls.classes import AnyOf, Class, Found, Instance
from livepatch.compat.calls.objects import Default, Descriptor, Function, Outside
from livepatch.compat.calls.uses import NONE, Arguments, Call, Callee, Lookup, MethodCall, Site, Special, Store, Use
from livepatch.compat.calls.world import WEAK, Obj

__all__ = ["Binding"]

_IMPLICITLY_OF_THE_CLASS = frozenset({"__init_subclass__", "__class_getitem__"})


class _Given(Use):
    """What the body of a class has bound to a name is found there for a receiver."""

    __slots__ = ("binding", "kind", "receiver", "site")

    def __init__(self, binding: Binding, site: Site, receiver: Obj, kind: Class) -> None:
        self.binding = binding
        self.site = site
        self.receiver = receiver
        self.kind = kind

    def meet(self, obj: Obj) -> None:
        self.binding.bind(self.site, obj, self.receiver, self.kind)


class _FirstArgument(Use):
    """What is behind a descriptor is called with the receiver."""

    __slots__ = ("call", "receiver")

    def __init__(self, call: Call, receiver: Obj) -> None:
        self.call = call
        self.receiver = receiver

    def meet(self, obj: Obj) -> None:
        if isinstance(obj, (Function, Outside)):
            obj.call(self.call, self.receiver)
        else:
            Call.meet(self.call, obj)


class _Assigned(Use):
    """What the body of a class has bound to the name of an attribute that is assigned."""

    __slots__ = ("binding", "receiver", "store")

    def __init__(self, binding: Binding, store: Store, receiver: Instance) -> None:
        self.binding = binding
        self.store = store
        self.receiver = receiver

    def meet(self, obj: Obj) -> None:
        if not self.binding.assign(obj, self.store, self.receiver):
            self.binding.fields.store(self.receiver.kind, self.store.name, self.store.node)


class _TakenBound(Use):
    """What is behind a class method is given with the class."""

    __slots__ = ("binding", "receiver", "site")

    def __init__(self, binding: Binding, site: Site, receiver: Obj) -> None:
        self.binding = binding
        self.site = site
        self.receiver = receiver

    def meet(self, obj: Obj) -> None:
        self.binding.give_bound(self.site, obj, self.receiver)


class Binding(Acts):
    """Giving attributes to the sites that ask for them."""

    def __init__(self) -> None:
        super().__init__()
        self._accessors: dict[tuple[Site, Obj, str], Call] = {}
        self._setters: dict[tuple[Store, Obj, str], Call] = {}
        self._attributes: dict[tuple[Function, str], int] = {}

    def give(self, site: Site, found: Found, receiver: Obj, kind: Class) -> None:
        """Give a site what was found in the namespaces of classes."""
        for obj in found.objects:
            self.bind(site, obj, receiver, kind)
        for node in found.nodes:
            self.flow.attach(node, _Given(self, site, receiver, kind))
        if found.outside and found.anywhere:
            site.root.doubted()

    def bind(self, site: Site, obj: Obj, receiver: Obj, kind: Class) -> None:
        """Give a site one such object, as the receiver has it."""
        if isinstance(obj, Function):
            if (
                (isinstance(receiver, Instance) and not obj.static)
                or obj.code.co_name in _IMPLICITLY_OF_THE_CLASS
                or (kind is not receiver and self._is_meta(receiver, kind))
            ):
                self.give_bound(site, obj, receiver)
            else:
                site.take(obj)
        elif isinstance(obj, Outside):
            if isinstance(receiver, Instance) or self._is_meta(receiver, kind):
                self.give_bound(site, obj, receiver)
            else:
                site.take(obj)
        elif isinstance(obj, Descriptor):
            self._bind_descriptor(site, obj, receiver, kind)
        elif isinstance(obj, Default):
            if obj.default >= 0:
                site.take_node(obj.default)
        elif isinstance(obj, Instance) and obj.kind.module != "builtins" and obj.kind.find("__get__").anywhere:
            self._descriptor_of_the_program(site, obj, receiver)
        else:
            site.take(obj)

    @staticmethod
    def _is_meta(receiver: Obj, kind: Class) -> bool:
        """Whether the receiver is a class, and what was found is in its metaclass."""
        real = receiver if isinstance(receiver, Class) else receiver.kind if isinstance(receiver, AnyOf) else None
        return real is not None and real.metaclass is kind

    def give_bound(self, site: Site, obj: Obj, receiver: Obj) -> None:
        """Give a site a callable with its first argument; call it at once where the site does."""
        if isinstance(obj, (Function, Outside)):
            if isinstance(site, Call):
                obj.call(site, receiver)
            else:
                site.take(self.bound(obj, receiver))
        elif not obj.marks:
            site.take(obj)
        elif obj is not WEAK:
            site.missing()

    def _bind_descriptor(self, site: Site, obj: Descriptor, receiver: Obj, kind: Class) -> None:
        if obj.kind == "static":
            site.take_node(obj.part("func"))
        elif obj.kind == "class":
            owner = receiver
            if isinstance(receiver, Instance):
                owner = receiver.kind.or_below() if receiver.below else receiver.kind
            self.flow.attach(obj.part("func"), _TakenBound(self, site, owner))
        elif obj.kind == "dispatch":
            if isinstance(receiver, Instance):
                self.flow.attach(obj.part("func"), _TakenBound(self, site, receiver))
            else:
                site.take(obj)
        elif isinstance(receiver, Instance) or self._is_meta(receiver, kind):
            self.accessor(site, obj, "fget" if obj.kind == "property" else "func", receiver, NONE)
        else:
            site.take(obj)

    def accessor(self, site: Site, obj: Obj, part: str, receiver: Obj, args: Arguments) -> None:
        """Let a property's function be called, and give the site its value."""
        if not isinstance(obj, Descriptor) or obj.kind not in {"property", "cached"}:
            return
        key = site, obj, part
        call = self._accessors.get(key)
        if call is None:
            dest = self.flow.node()
            if isinstance(site, Lookup) or site.offset < 0:
                call = site.behalf(args, dest)
            else:
                call = site.beside(args, dest, "property")
                call.parent = site.root
            self._accessors[key] = call
            if part in {"fget", "func"}:
                site.take_node(dest)
        self.flow.attach(obj.part(part), _FirstArgument(call, receiver))

    def _descriptor_of_the_program(self, site: Site, obj: Instance, receiver: Obj) -> None:
        if site.offset < 0:
            return
        key = site, obj, "__get__"
        call = self._accessors.get(key)
        if call is None:
            dest = self.flow.node()
            owner = receiver.kind if isinstance(receiver, Instance) else receiver
            args = Arguments((self.flow.holding(receiver), self.flow.holding(owner)))
            made = Special(self.program, site.unit, site.offset, dest, args, "__get__", "property")
            made.parent = site.root
            call = self._accessors[key] = made
            site.take_node(dest)
            made.meet(obj)

    def delete(self, site: Lookup, obj: Obj, receiver: Instance) -> None:
        """An attribute is deleted that the class defines."""
        self.accessor(site, obj, "fdel", receiver, NONE)
        if isinstance(obj, Instance) and obj.kind.module != "builtins" and obj.kind.find("__delete__").anywhere:
            args = Arguments((self.flow.holding(receiver),))
            Special(self.program, site.unit, site.offset, self.flow.node(), args, "__delete__", "property").meet(obj)

    def assign_later(self, node: int, store: Store, receiver: Instance) -> None:
        """The same for what the body of the class has bound."""
        self.flow.attach(node, _Assigned(self, store, receiver))

    def assign(self, obj: Obj, store: Store, receiver: Instance) -> bool:
        """An attribute is assigned that the class defines.

        Whether a descriptor takes the value: a property with its setter, or another with its ``__set__``.
        """
        program, unit, offset = store.site
        if isinstance(obj, Descriptor) and obj.kind == "property":
            key = store, obj, "fset"
            call = self._setters.get(key)
            if call is None:
                call = Call(program, unit, offset, self.flow.node(), Arguments((store.node,)))
                call.how = "property"
                self._setters[key] = call
            self.flow.attach(obj.part("fset"), _FirstArgument(call, receiver))
            return True
        if isinstance(obj, Instance) and obj.kind.module != "builtins" and obj.kind.find("__set__").anywhere:
            args = Arguments((self.flow.holding(receiver), store.node))
            store.call(self.flow.node(), args, "__set__", "property").meet(obj)
            return True
        return False

    # Attributes of classes and functions

    def load_class_attribute(self, kind: Class, site: Lookup | MethodCall, *, below: bool) -> None:
        """Give a site an attribute of the class itself."""
        receiver = kind.or_below() if below else kind
        found = kind.find(site.name, below=below)
        node = self.fields.reader(kind, site.name, below=below)
        if node >= 0:
            site.take_node(node)
        if found.anywhere:
            self.give(site, found, receiver, kind)
        elif kind.metaclass is not None and kind.metaclass.find(site.name).anywhere:
            self.give(site, kind.metaclass.find(site.name), receiver, kind.metaclass)
        else:
            self.models.class_attribute(kind, site, receiver, node)

    def attribute_of(self, function: Function, name: str) -> int:
        """The node of an attribute of a function."""
        key = function, name
        node = self._attributes.get(key, -1)
        if node < 0:
            node = self._attributes[key] = self.flow.node()
        return node

    def has_attribute(self, function: Function, name: str) -> bool:
        """Whether somebody assigns that attribute of a function."""
        return (function, name) in self._attributes

    # Instances

    def instantiate(self, kind: Class, call: Call, *, below: bool) -> None:
        """A class is called."""
        if self.models.builtin_class(kind, call):
            return
        made = kind.instance() if below else kind.exactly()
        self.flow.add(call.dest, made)
        receiver: Obj = kind.or_below() if below else kind
        meta = kind.metaclass.find("__call__") if kind.metaclass is not None else None
        if meta is not None and kind.metaclass is not None and meta.in_graph:
            self.give(call, meta, receiver, kind.metaclass)
        else:
            self.construct(kind, call, below=below)

    def construct(self, kind: Class, call: Call, *, below: bool) -> None:
        """What `type` does when a class is called."""
        made = kind.instance() if below else kind.exactly()
        receiver: Obj = kind.or_below() if below else kind
        self.flow.add(call.dest, made)
        new = kind.find("__new__", below=below)
        if new.in_graph:
            first = (self.flow.holding(receiver), *call.args.positional)
            args = Arguments(first, call.args.keywords, call.args.star, call.args.double)
            beside = call.beside(args, call.dest)
            beside.parent = call.root
            for obj in new.objects:
                Call.meet(beside, obj)
            for node in new.nodes:
                self.flow.attach(node, Callee(beside))
        init = kind.find("__init__", below=below)
        if init.in_graph:
            self.give(call, init, made, kind)
            if kind.outside and init.outside:
                call.root.doubted()
            return
        for obj in init.objects or tuple(base.part("__init__") for one in kind.order for base in one.outside_bases):
            if isinstance(obj, Outside) and not obj.name.startswith("builtins:"):
                aside = call.beside(NONE)
                aside.doubt = not init.objects
                aside.hit(obj)
        self.models.construct(kind, call, made)
