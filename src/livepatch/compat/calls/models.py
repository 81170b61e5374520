"""What is not looked into, but known: builtins, and the parts of the standard library that hand functions on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from livepatch.compat.calls.classes import AnyOf, Class, Instance
from livepatch.compat.calls.containers import Const, Container, Running
from livepatch.compat.calls.moves import Extending, Item, Next, box_of
from livepatch.compat.calls.objects import Default, Descriptor, Function, Module, Outside, Partial
from livepatch.compat.calls.uses import NONE, Arguments, Call, Lookup, MethodCall, Special, Use
from livepatch.compat.calls.world import UNKNOWN, Obj

if TYPE_CHECKING:
    from livepatch.compat.calls.program import Program

__all__ = ["MODELS", "Model", "Models", "model"]

Model = Callable[["Models", Call, Obj | None], None]
MODELS: dict[str, Model] = {}
"""By the name of what is called: ``module:qualified.name``."""


def model(*names: str) -> Callable[[Model], Model]:
    """Let the function say what calls of these do."""

    def register(function: Model) -> Model:
        for name in names:
            MODELS[name] = function
        return function

    return register


class Models:
    """Known behaviour."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.flow = program.flow

    # Calls

    def outside(self, outside: Outside, call: Call, receiver: Obj | None) -> None:
        """Something that is not looked into is called."""
        if not call.hit(outside) and receiver is None:
            return
        known = MODELS.get(outside.name)
        if known is not None:
            known(self, call, receiver)
            return
        if isinstance(receiver, Instance):
            box = self.program.fields.content(receiver.kind)
            known = None if box is None else MODELS.get(f"{box.kind}.{outside.name.rpartition('.')[2]}")
            if known is not None:
                known(self, call, box)
                return
            self.program.inherits_outside(call, receiver.kind)
        self.program.escape(call)
        self.flow.add(call.dest, UNKNOWN)
        if outside.shows_class:
            self.flow.add(call.dest, self.program.made_outside(outside))

    def opaque(self, opaque: Obj, call: Call) -> None:
        """Something is called of which nothing is known, but that it is none of the functions of the program."""
        if call.hit(opaque):
            self.program.escape(call)
            self.flow.add(call.dest, UNKNOWN)

    def builtin_class(self, kind: Class, call: Call) -> bool:
        """A class that is not looked into is called.  Whether it is one."""
        if kind.in_graph:
            return False
        name = f"{kind.module}:{kind.qualname}"
        known = MODELS.get(name)
        new = call.hit(self.program.outside(name))
        if known is not None:
            if new:
                known(self, call, None)
            return True
        if new:
            self.program.escape(call)
        self.flow.add(call.dest, kind.exactly())
        return True

    def construct(self, kind: Class, call: Call, made: Instance) -> None:
        """A class without a known ``__init__`` is called: what the arguments are may be the attributes it declares."""
        call.hit(kind)
        fields = self.program.fields
        box = fields.content(kind)
        if box is not None:
            self.pour(call.args.get(0), box)
            for name, node in call.args.keywords:
                self.flow.copy(node, box.item(name))
        declared = [name for one in reversed(kind.order) for name in one.declared]
        for name, node in zip(declared, call.args.positional, strict=False):
            fields.store(kind, name, node)
        for name, node in call.args.keywords:
            self.program.stored_names.add(name)
            fields.store(kind, name, node)
        for name in declared:
            for node in kind.find(name).nodes:
                self.flow.attach(node, _Factory(call, fields.node(kind, name)))
        after = kind.find("__post_init__")
        if after.anywhere and declared:
            self.program.give(call.beside(NONE), after, made, kind)
        if not declared or kind.outside:
            self.program.escape(call)

    def callback(self, call: Call, function: int, args: tuple[int, ...], dest: int = -1, how: str = "argument") -> None:
        """Something that was passed is called."""
        if function < 0 or function == self.program.silent:
            return
        made = call.beside(Arguments(args), None if dest < 0 else dest, how)
        made.parent = call.root
        self.flow.attach(function, made)

    def box(self, call: Call, kind: str) -> Container:
        """A new container as the value of a call."""
        made = Container(self.program, kind)
        self.flow.add(call.dest, made)
        return made

    def pour(self, values: int, box: Container) -> None:
        """All of some values go into a container."""
        if values >= 0:
            self.flow.attach(self.flow.holding(box), Extending(self.program, values))
            self.element(values, box.rest(), only_classes=True)

    def element(self, values: int, dest: int, *, only_classes: bool = False) -> None:
        """One of some values."""
        if values >= 0:
            self.flow.attach(values, _Elements(self.program, dest, only_classes=only_classes))

    def special(self, call: Call, node: int, name: str, args: tuple[int, ...] = (), dest: int = -1) -> None:
        """A builtin asks the type of what it was given."""
        if node >= 0 and call.root.offset >= 0:
            self.program.special(call.unit, call.offset, node, name, args, dest)

    # Attributes of what is no instance of a class of the program

    def container_method(self, box: Container, site: Lookup | MethodCall) -> None:
        """A method of a list, dict, set or tuple."""
        if isinstance(site, MethodCall):
            if box.native is not None and site.name in vars(box.native):
                site.hit(self.program.outside(f"builtins:{box.native.__name__}.{site.name}"))
            known = MODELS.get(f"{box.kind}.{site.name}") or MODELS.get(f"container.{site.name}")
            if known is not None:
                known(self, site, box)
            elif site.name not in _QUIET:
                self.flow.add(site.dest, UNKNOWN)
        elif (name := f"container.{site.name}") in MODELS:
            self.flow.add(site.dest, self.program.bound(self.program.outside(name), box))
        else:
            self.flow.add(site.dest, self.program.opaque)

    def container_operation(self, box: Container, site: Special) -> None:
        """An operation on a list, dict, set or tuple: their types are native."""

    def running_method(self, running: Running, site: Lookup | MethodCall) -> None:
        """A method of a generator or coroutine."""
        if isinstance(site, MethodCall) and site.name in {"send", "__next__", "asend", "__anext__", "throw", "athrow"}:
            self.flow.copy(running.function.yields, site.dest)
            if site.name in {"send", "asend"} and site.args.positional:
                self.flow.copy(site.args.positional[0], self.program.sent(running.function))

    def call_running(self, call: Call) -> None:
        """A generator is called: what ``contextlib.contextmanager`` makes of it is a decorator, too."""
        if call.args.positional:
            self.flow.copy(call.args.positional[0], call.dest)
        else:
            call.leads_nowhere()

    def running_operation(self, running: Running, site: Special) -> None:
        """An operation on a generator: it may be entered, where a decorator makes a context of it."""
        if site.name in {"__enter__", "__aenter__"}:
            self.flow.copy(running.function.yields, site.dest)

    def function_attribute(self, function: Function, site: Lookup | MethodCall) -> None:
        """An attribute of a function."""
        if (
            site.name in {"__func__", "__wrapped__"} and not self.program.has_attribute(function, site.name)
        ) or site.name == "__call__":
            site.take(function)
        elif site.name == "__get__" and isinstance(site, MethodCall):
            self.flow.copy(self.flow.holding(function), site.dest)
        else:
            site.take_node(self.program.attribute_of(function, site.name))

    def call_descriptor(self, descriptor: Descriptor, call: Call) -> None:
        """A descriptor itself is called, as a static method or a single dispatch function may be."""
        if descriptor.kind in {"static", "dispatch"} and call.expands(descriptor):
            self.flow.attach(descriptor.part("func"), call.behalf(call.args))

    def descriptor_attribute(self, descriptor: Descriptor, site: Lookup | MethodCall) -> None:
        """``setter`` and the like, as decorators; ``register`` of a single dispatch function."""
        if site.name in _HELPERS:
            site.take(self.program.bound(self.program.outside(f"livepatch:{site.name}"), descriptor))
        elif site.name in {"fget", "fset", "fdel", "func", "__func__", "__wrapped__"}:
            site.take_node(descriptor.part("func" if site.name.startswith("__") else site.name))
        elif site.name == "__get__" and isinstance(site, MethodCall) and site.args.positional:
            self.flow.attach(site.args.positional[0], _Asked(self, descriptor, site))
        elif site.name not in _QUIET:
            site.missing()

    def call_partial(self, partial: Partial, call: Call) -> None:
        """A ``functools.partial`` is called."""
        if not call.expands(partial):
            return
        args = partial.args
        assert isinstance(args, Arguments)
        mine = call.args.after(args.positional, args.keywords)
        if args.star >= 0 and mine.star < 0:
            mine.star = args.star
        if args.double >= 0 and mine.double < 0:
            mine.double = args.double
        self.flow.attach(partial.function, call.behalf(mine))

    # Attributes that classes do not have

    def object_method(self, site: Lookup | MethodCall, receiver: Obj) -> None:
        """``super()`` finds nothing but what `object` has."""
        if isinstance(site, MethodCall) and site.name == "__new__":
            kind = receiver.kind.instance() if isinstance(receiver, (AnyOf, Instance)) else None
            kind = receiver.instance() if isinstance(receiver, Class) else kind
            if kind is not None:
                self.flow.add(site.dest, kind)

    def instance_attribute(self, instance: Instance, site: Lookup | MethodCall, reader: int) -> None:
        """An attribute that no class of the instance defines."""
        kind, name = instance.kind, site.name
        stored = self.program.fields.stored(reader)
        if name == "__class__":
            site.take(kind.or_below() if instance.below else kind)
            return
        if name == "__dict__" and kind.in_graph:
            site.take(self.program.fields.space(kind, of_class=False))
            return
        for hook in ("__getattr__", "__getattribute__") if kind.in_graph else ():
            if hook in self.program.defined:
                dest = self.reading_hook(instance, site, hook, doubt=stored)
                if dest >= 0:
                    site.take_node(dest)
                    stored = True
        if not stored and name not in _QUIET and name not in _OF_OBJECT:
            self._may_be_missing(site, reader, kind)

    def reading_hook(self, instance: Instance, site: Lookup | MethodCall, hook: str, *, doubt: bool = False) -> int:
        """A method of the class that reads attributes.  The node of what it gives, or -1 if there is none."""
        found = instance.kind.find(hook, below=instance.below)
        if not found.in_graph:
            return -1
        made = site.beside(Arguments((self.program.constant(site.name),)), how="property", doubt=doubt)
        self.program.give(made, found, instance, instance.kind)
        return made.dest

    def _may_be_missing(self, site: Lookup | MethodCall, reader: int, kind: Class) -> None:
        if reader >= 0 or kind.in_graph:
            self.program.waiting.append((reader, site, kind))
        else:
            site.missing()

    def class_attribute(self, kind: Class, site: Lookup | MethodCall, receiver: Obj, reader: int) -> None:
        """An attribute that the class does not have."""
        if site.name == "__class__":
            return
        if site.name == "__dict__" and kind.in_graph:
            site.take(self.program.fields.space(kind, of_class=True))
            return
        if isinstance(site, MethodCall) and site.name == "__new__":
            if kind.live is object and site.args.positional:
                MODELS["builtins:object.__new__"](self, site, None)
            else:
                self.flow.add(site.dest, kind.instance())
        elif site.name == "__subclasses__":
            for one in kind.subclasses:
                self.flow.add(self.box(site, "list").rest() if isinstance(site, Call) else site.dest, one)
        elif site.name in {"mro", "__mro__", "__bases__"}:
            for one in kind.order:
                self.flow.add(self.box(site, "list").rest() if isinstance(site, Call) else site.dest, one)
        elif site.name == "__call__":
            site.take(receiver)
        elif site.name not in _QUIET and site.name not in _OF_OBJECT and not self.program.fields.stored(reader):
            self._may_be_missing(site, reader, kind)

    def class_item(self, kind: Class, site: Special) -> None:
        """``kind[key]`` without a metaclass: seen to where it is evaluated."""

    def namespace_item(self, step: Item, obj: Obj) -> bool:
        """``globals()[name]``."""
        if not isinstance(obj, Module):
            return False
        for node in self.named_globals(obj, step.key, step.key_node):
            self.flow.copy(node, step.dest)
        return True

    def named_globals(self, module: Module, key: object, key_node: int) -> list[int]:
        """The nodes of the globals that a key may stand for."""
        names = [key] if type(key) is str else self.texts(key_node)
        if names is None:
            return self.program.functions_of(module.name)
        found = []
        for name in names:
            if name.endswith("*"):
                found += self.program.functions_of(module.name, name[:-1])
            else:
                found.append(self.program.global_node(module.name, name))
        return found

    def texts(self, node: int) -> list[str] | None:
        """The texts that a node holds; ``None`` if others may be there."""
        held = self.flow.objects(node) if node >= 0 else None
        if not held or not all(isinstance(obj, Const) for obj in held):
            return None
        return [obj.value for obj in held if isinstance(obj, Const)]


class _Factory(Use):
    """What a class declares of an attribute that the constructor may not be given."""

    __slots__ = ("call", "dest")

    def __init__(self, call: Call, dest: int) -> None:
        self.call = call
        self.dest = dest

    def meet(self, obj: Obj) -> None:
        if isinstance(obj, Default) and obj.factory >= 0:
            made = self.call.beside(NONE, self.dest, "call")
            made.program.flow.attach(obj.factory, made)


class _Asked(Use):
    """``descriptor.__get__(obj)``, written out."""

    __slots__ = ("descriptor", "models", "reader")

    def __init__(self, models: Models, descriptor: Descriptor, site: Call) -> None:
        self.models = models
        self.descriptor = descriptor
        self.reader = Lookup(models.program, site.unit, site.offset, site.dest, NONE, "__get__", "property")

    def meet(self, obj: Obj) -> None:
        kind = obj.kind_of()
        if kind is not None:
            self.models.program.bind(self.reader, self.descriptor, obj, kind)


class _Elements(Next):
    """One of some values, whatever gives them."""

    __slots__ = ("only_classes",)

    def __init__(self, program: Program, dest: int, *, only_classes: bool) -> None:
        super().__init__(program, program.nowhere, -1, dest, "__next__")
        self.only_classes = only_classes

    def meet(self, obj: Obj) -> None:
        if self.only_classes or (isinstance(obj, Instance) and self.waits(obj)):
            return
        box = box_of(obj, "__iter__")
        if box is None and isinstance(obj, Instance):
            return
        if box is not None and box.kind == "dict":
            self.program.flow.copy(box.keys_node(), self.dest)
            return
        super().meet(obj)

    def special(self, obj: Obj, name: str, args: Arguments = NONE, how: str = "operator", dest: int = -2) -> None:
        del obj, name, args, how, dest


_HELPERS = frozenset({"getter", "setter", "deleter", "register"})
_OF_OBJECT = frozenset(dir(object)) | frozenset({"__dict__", "__name__", "__qualname__", "__module__", "__doc__"})
_QUIET = frozenset({"cache_clear", "cache_info", "close", "__wrapped__", "__name__", "__doc__", "__isabstractmethod__"})
