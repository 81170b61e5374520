"""Functions, bound methods, classes and instances, as the analysis sees them."""

from __future__ import annotations

import inspect
from types import CodeType
from typing import TYPE_CHECKING, Literal

from livepatch.compat.calls.containers import Container, Running
from livepatch.compat.calls.opcodes import stored_locals
from livepatch.compat.calls.spreading import Spread, SpreadNames
from livepatch.compat.calls.world import MOST_CALLABLES, UNKNOWN, WEAK, Obj
from livepatch.engine.namespaces import has_attribute

if TYPE_CHECKING:
    from livepatch.compat.calls.classes import Class
    from livepatch.compat.calls.program import Program
    from livepatch.compat.calls.uses import Call, Lookup, MethodCall, Store

__all__ = [
    "FOLDED",
    "RUNS",
    "Bound",
    "Default",
    "Descriptor",
    "Function",
    "MadeOutside",
    "Module",
    "Outside",
    "Partial",
    "Super",
]

_STARS = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
RUNS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE
_MOST_PARTS = 2
"""Attributes of attributes of what is not looked into, after which nothing is said of them."""
FOLDED = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"})


class Function(Obj):
    """A code object, in the module whose globals it uses.  All functions of one code object are one."""

    __slots__ = (
        "_names",
        "_running",
        "_stored",
        "_weak",
        "abstract",
        "base",
        "called",
        "code",
        "gives",
        "home",
        "kwargs",
        "locals",
        "module",
        "name",
        "owner",
        "program",
        "rest",
        "result",
        "scope",
        "static",
        "yields",
    )
    callable = True
    most = MOST_CALLABLES

    def __init__(self, program: Program, code: CodeType, module: str, home: Function | None) -> None:
        self.program = program
        self.code = code
        self.module = module
        self.home = home if home is not None and code.co_name in FOLDED else self
        """Where its calls belong: comprehensions are parts of the function around them."""
        self.name = ""
        self.owner: Class | None = None
        """The class in whose body it is defined."""
        self.static = False
        self.abstract = False
        self.called = False
        self.gives: tuple[int, ...] = ()
        """Parameters that it returns as they came, so that each call gets its own back."""
        self.scope: object = None
        """The class or module whose body it is."""
        names = code.co_varnames
        cells = tuple(c for c in code.co_cellvars if c not in names) if code.co_cellvars else ()
        self.locals = names + cells + code.co_freevars
        flow = program.flow
        self.base = flow.nodes(len(self.locals) + 2)
        self.result = self.base + len(self.locals)
        self.yields = self.result + 1
        self.rest: Container | None = None
        """What ``*args`` takes."""
        self.kwargs: Container | None = None
        """What ``**kwargs`` takes."""
        self._names: dict[str, int] | None = None
        self._running: Running | None = None
        self._stored: frozenset[int] | None = None
        self._weak = False
        if code.co_flags & _STARS:
            self._stars(program)

    def _stars(self, program: Program) -> None:
        code = self.code
        index = code.co_argcount + code.co_kwonlyargcount
        if code.co_flags & inspect.CO_VARARGS:
            self.rest = Container(program, "tuple")
            program.flow.add(self.base + index, self.rest)
            index += 1
        if code.co_flags & inspect.CO_VARKEYWORDS:
            self.kwargs = Container(program, "dict")
            program.flow.add(self.base + index, self.kwargs)

    def __repr__(self) -> str:
        return f"{self.module}:{self.code.co_qualname}"

    # Parameters

    def local(self, name: str) -> int:
        """The node of a local variable, or -1."""
        names = self._names
        if names is None:
            names = self._names = {name: i for i, name in enumerate(self.locals)}
        index = names.get(name, -1)
        return self.base + index if index >= 0 else -1

    def local_is_stored(self, index: int) -> bool:
        """Whether the code assigns the variable."""
        if self._stored is None:
            self._stored = stored_locals(self.code)
        return index in self._stored

    def parameter_at(self, position: int) -> int:
        """The node that takes a positional argument, or -1."""
        if position < self.code.co_argcount:
            return self.base + position
        return self.rest.item(position - self.code.co_argcount) if self.rest is not None else -1

    def parameters_from(self, position: int) -> list[int]:
        """The nodes that take positional arguments from there on."""
        found = [self.base + i for i in range(position, self.code.co_argcount)]
        return [*found, self.rest.rest()] if self.rest is not None else found

    def parameter_named(self, name: str) -> int:
        """The node that takes a keyword argument, or -1."""
        node = self.local(name)
        first = self.base + self.code.co_posonlyargcount
        if first <= node < self.base + self.code.co_argcount + self.code.co_kwonlyargcount:
            return node
        return self.kwargs.item(name) if self.kwargs is not None else -1

    def named_parameters(self) -> list[int]:
        """The nodes that take keyword arguments, without the first of a method."""
        first = max(self.code.co_posonlyargcount, 1 if self.owner is not None and not self.static else 0)
        found = [self.base + i for i in range(first, self.code.co_argcount + self.code.co_kwonlyargcount)]
        return [*found, self.kwargs.rest()] if self.kwargs is not None else found

    def bind_otherwise(self, *, is_class: bool) -> None:
        """It is no ordinary method: the first parameter takes the class, or there is none that is bound."""
        if not self.static:
            self.static = True
            if is_class and self.owner is not None and self.code.co_argcount:
                self.program.flow.add(self.base, self.owner.or_below())
                self.program.flow.declare(self.base, self.owner)

    def is_method_of(self, owner: Class) -> None:
        """It is an ordinary method: the first parameter takes an instance."""
        flow = self.program.flow
        node = self.parameter_at(0)
        if self.static or node < 0:
            return
        if self.code.co_name in {"__new__", "__init_subclass__", "__class_getitem__"}:
            flow.add(node, owner.or_below())
        else:
            flow.add(node, owner.instance())
        if self.code.co_argcount:
            flow.declare(node, owner)

    def weaken(self, marker: Obj = WEAK) -> None:
        """Note that it may get other arguments than those that are known."""
        if marker is WEAK:
            if self._weak:
                return
            self._weak = True
        flow = self.program.flow
        for node in range(self.base, self.base + self.code.co_argcount + self.code.co_kwonlyargcount):
            flow.add(node, marker)
        for box in (self.rest, self.kwargs):
            if box is not None:
                flow.add(box.rest(), marker)

    def forget(self) -> None:
        del self.home
        self.owner = self.scope = self.rest = self.kwargs = self._running = None

    # Being called

    def call(self, call: Call, receiver: Obj | None = None) -> None:
        flow = self.program.flow
        self.called = True
        if receiver is None:
            first = 0
        else:
            first = 1
            if not self._expects(receiver):
                node = self.parameter_at(0)
                if node >= 0:
                    flow.add(node, receiver)
        unbound = receiver is None and self.owner is not None and not self.static and call.args.positional
        if not call.hit(self, -1 if unbound else 0):
            return
        code, args, base = self.code, call.args, self.base
        argcount = code.co_argcount
        for i, node in enumerate(args.positional, first):
            if i < argcount:
                flow.copy(node, base + i)
            elif self.rest is not None:
                flow.copy(node, self.rest.item(i - argcount))
        for name, node in args.keywords:
            target = self.parameter_named(name)
            if target >= 0:
                flow.copy(node, target)
        if args.star >= 0:
            flow.attach(args.star, Spread(self, first + len(args.positional)))
        if args.double >= 0:
            flow.attach(args.double, SpreadNames(self))
        self._answer(call, first)

    def _expects(self, receiver: Obj) -> bool:
        """Whether the first parameter has such an object without being told: any instance of its class, or class."""
        owner = self.owner
        kind = receiver.kind_of()
        return owner is not None and kind is not None and owner in kind.order and receiver.is_class == self.static

    def _answer(self, call: Call, first: int) -> None:
        flow = self.program.flow
        if self.code.co_flags & RUNS:
            flow.add(call.dest, self.running())
            return
        flow.copy(self.result, call.dest)
        for index in self.gives:
            node = call.args.get(index - first, self.locals[index]) if index >= first else self.base
            flow.copy(node if node >= 0 else self.base + index, call.dest)

    def running(self) -> Running:
        """What a call of a generator function or coroutine function gives."""
        if self._running is None:
            self._running = Running(self)
        return self._running

    def load(self, site: Lookup | MethodCall) -> None:
        self.program.models.function_attribute(self, site)

    def store(self, store: Store) -> None:
        self.program.flow.copy(store.node, self.program.attribute_of(self, store.name))


class Outside(Obj):
    """A callable, module or class that is not looked into: native, or of a module that is not part of the graph."""

    __slots__ = ("_parts", "hidden", "is_module", "live", "name", "program")
    callable = True
    most = MOST_CALLABLES

    def __init__(self, program: Program, name: str, *, is_module: bool = False) -> None:
        self.program = program
        self.name = name
        """``module:qualified.name``, or the name of a module."""
        self.is_module = is_module
        self.hidden = "<" in name or name.startswith(("container.", "livepatch:"))
        """Whether it is no node of the graph."""
        self.live: list[object] = []
        """The live functions of that name, as far as any has been met."""
        self._parts: dict[str, Outside] = {}

    def __repr__(self) -> str:
        return self.name

    @property
    def shows_class(self) -> bool:
        """Whether nothing is known of it but the name, and that is written as those of classes are."""
        return not self.live and not self.hidden and self.name.rpartition(":")[2].rpartition(".")[2][:1].isupper()

    def part(self, name: str) -> Outside:
        """An attribute of it."""
        found = self._parts.get(name)
        if found is None:
            joint = ":" if self.is_module else "."
            found = self._parts[name] = Outside(self.program, f"{self.name}{joint}{name}")
        return found

    def call(self, call: Call, receiver: Obj | None = None) -> None:
        self.program.models.outside(self, call, receiver)

    def load(self, site: Lookup | MethodCall) -> None:
        if self.is_module:
            site.take_node(self.program.outside_global(self, site.name))
        elif self.hidden or (self.live and not any(has_attribute(one, site.name) for one in self.live)):
            site.take(self.program.opaque)
        elif self.name.partition(":")[2].count(".") < _MOST_PARTS:
            site.take(self.part(site.name))
        else:
            site.take(UNKNOWN)


class MadeOutside(Obj):
    """What a class that is not looked into may have made."""

    __slots__ = ("kind",)

    def __init__(self, kind: Outside) -> None:
        self.kind = kind

    def load(self, site: Lookup | MethodCall) -> None:
        site.take(self.kind.part(site.name))


class Bound(Obj):
    """A callable with its first argument."""

    __slots__ = ("function", "receiver")
    callable = True
    most = MOST_CALLABLES

    def __init__(self, function: Function | Outside, receiver: Obj) -> None:
        self.function = function
        self.receiver = receiver

    def call(self, call: Call) -> None:
        self.function.call(call, self.receiver)

    def load(self, site: Lookup | MethodCall) -> None:
        if site.name == "__func__":
            site.take(self.function)
        elif site.name == "__self__":
            site.take(self.receiver)
        else:
            self.function.load(site)


class Descriptor(Obj):
    """What a decorator of classes' members makes: the accessors of a property, or what is behind the others."""

    __slots__ = ("kind", "parts", "program")
    callable = True
    most = MOST_CALLABLES

    def __init__(
        self,
        program: Program,
        kind: Literal["property", "static", "class", "cached", "dispatch"],
        parts: dict[str, int],
    ) -> None:
        self.program = program
        self.kind = kind
        self.parts = parts
        """The nodes of what is in it: ``fget``, ``fset``, ``fdel``, or ``func``."""

    def part(self, name: str) -> int:
        """The node of an accessor, made if there is none."""
        if name not in self.parts:
            self.parts[name] = self.program.flow.node()
        return self.parts[name]

    def call(self, call: Call) -> None:
        self.program.models.call_descriptor(self, call)

    def load(self, site: Lookup | MethodCall) -> None:
        self.program.models.descriptor_attribute(self, site)


class Partial(Obj):
    """``functools.partial``: a callable with some of its arguments."""

    __slots__ = ("args", "function", "program")
    callable = True
    most = MOST_CALLABLES

    def __init__(self, program: Program, function: int, args: object) -> None:
        self.program = program
        self.function = function
        self.args = args

    def call(self, call: Call) -> None:
        self.program.models.call_partial(self, call)

    def load(self, site: Lookup | MethodCall) -> None:
        if site.name == "func":
            site.take_node(self.function)
        else:
            site.missing()


class Default(Obj):
    """``dataclasses.field``: what an attribute is where the constructor is not given it."""

    __slots__ = ("default", "factory")

    def __init__(self, default: int, factory: int) -> None:
        self.default = default
        """The node of the value, or -1."""
        self.factory = factory
        """The node of what is called for the value, or -1."""


class Super(Obj):
    """``super()``: what comes after a class in the order of the receiver's."""

    __slots__ = ("after", "receiver")

    def __init__(self, after: Class, receiver: Obj) -> None:
        self.after = after
        self.receiver = receiver

    def load(self, site: Lookup | MethodCall) -> None:
        self.after.load_after(site, self.receiver)


class Module(Obj):
    """A module that is part of the graph."""

    __slots__ = ("body", "is_package", "name", "program", "stars")

    def __init__(self, program: Program, name: str, *, is_package: bool) -> None:
        self.program = program
        self.name = name
        self.is_package = is_package
        self.body: Function | None = None
        self.stars: list[str] = []
        """Modules all of whose names are taken in."""

    def __repr__(self) -> str:
        return self.name

    def forget(self) -> None:
        self.body = None

    def load(self, site: Lookup | MethodCall) -> None:
        program = self.program
        site.take_node(program.global_node(self.name, site.name))
        if program.hooked and site.offset >= 0:
            given = program.ask_hook(site.unit, site.offset, self, site.name)
            if given >= 0:
                site.take_node(given)

    def store(self, store: Store) -> None:
        self.program.store_global(self.name, store.name, store.node)
