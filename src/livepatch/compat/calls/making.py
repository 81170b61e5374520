"""Functions and classes as they are made by the code: closures, bodies, bases, and what runs when a class is made."""

from __future__ import annotations

from types import CodeType
from typing import NamedTuple

from livepatch.compat.calls.annotations import Alias
from livepatch.compat.calls.classes import Class
from livepatch.compat.calls.fans import Fans
from livepatch.compat.calls.machine import Machine, Slot
from livepatch.compat.calls.objects import Descriptor, Function, Module, Outside
from livepatch.compat.calls.uses import NONE, Arguments, Call
from livepatch.compat.calls.world import UNKNOWN, Obj

__all__ = ["Making"]

_HARMLESS_BASES = frozenset(
    {"abc:ABC", "typing:Generic", "typing:NamedTuple", "typing:TypedDict", "enum:Enum", "enum:IntEnum", "enum:Flag"}
)
_PROTOCOLS = frozenset({"typing:Protocol", "typing_extensions:Protocol"})


class _Made(NamedTuple):
    """A class statement."""

    kind: Class
    unit: Function
    offset: int
    bases: tuple[int, ...]
    keywords: tuple[tuple[str, int], ...]


class Making(Fans):
    """What `def` and `class` do."""

    def __init__(self) -> None:
        super().__init__()
        self._statements: list[_Made] = []
        self._by_body: dict[Function, Class] = {}

    def actual_code(self, code: CodeType, module: str) -> CodeType:
        """The code object that is really there, for one that was read from a file."""
        del module
        return code

    def define(self, unit: Function, code: CodeType, node: int) -> Function:
        """A function is made."""
        function = self.function(self.actual_code(code, unit.module), unit.module, unit)
        for name in function.code.co_freevars:
            outer, inner = unit.local(name), function.local(name)
            if outer >= 0 and inner >= 0:
                self.flow.copy(outer, inner)
                self.flow.copy(inner, outer)
        if isinstance(unit.scope, Class) and function.owner is None:
            function.owner = unit.scope
        self.flow.add(node, function)
        return function

    def build_class(self, machine: Machine, slots: list[Slot], keywords: tuple[str, ...]) -> None:
        """A class statement: the body runs, and then the class is made."""
        unit, offset = machine.unit, machine.offset
        nodes = [machine.node(slot) for slot in slots]
        node = machine.push_new()
        body = machine.made.get(nodes[0]) if nodes else None
        if body is None:
            self.flow.add(node, UNKNOWN)
            return
        kind = self.class_of(body)
        body.scope = kind
        cell = body.local("__class__")
        if cell >= 0:
            self.flow.add(cell, kind)
        self.flow.add(node, kind)
        site = Call(self.program, unit, offset, self.flow.node(), NONE)
        site.how = "class"
        site.hit(body)
        count = len(nodes) - len(keywords)
        named = tuple(zip(keywords, nodes[count:], strict=True))
        self._statements.append(_Made(kind, unit, offset, tuple(nodes[2:count]), named))

    def class_of(self, body: Function) -> Class:
        """The class that is made of a body; the live one, where that is known."""
        kind = self._by_body.get(body)
        if kind is None:
            kind = self._by_body[body] = self.known_class(body) or Class(
                self.program, body.module, body.code.co_qualname
            )
            kind.body = body
            if kind not in self.class_set:
                self.class_set.add(kind)
                self.classes.append(kind)
        return kind

    def known_class(self, body: Function) -> Class | None:
        """The live class that was made of the body."""
        del body
        return None

    def bind_member(self, kind: Class, name: str, node: int) -> None:
        if kind.live is None and name not in {"__module__", "__qualname__"}:
            kind.names.setdefault(name, node)

    # Bases

    def settle_classes(self) -> None:
        """Put the classes that were made by statements into their orders."""
        self._take_bases()
        for kind in self.classes:
            if kind.live is None:
                for base in kind.bases:
                    if isinstance(base, Class) and kind not in base.subclasses:
                        base.subclasses.append(kind)
        done: dict[Class, tuple[Class, ...]] = {}
        for kind in self.classes:
            self._order(kind, done, [])
        for kind in self.classes:
            kind.settle()
            if kind.live is None:
                self._inherit(kind)
                self.define_method(kind, (name for name in kind.names if name not in {"__module__", "__qualname__"}))

    def _take_bases(self) -> None:
        for made in self._statements:
            for node in (*made.bases, *(node for _, node in made.keywords)):
                self.flow.objects(node)  # wakes it
        self.flow.run()
        for made in self._statements:
            kind = made.kind
            if kind.live is None:
                kind.bases = []
                for node in made.bases:
                    self._add_bases(kind, node)
                for name, node in made.keywords:
                    metas = [obj for obj in self.flow.objects(node) if isinstance(obj, Class)]
                    if name == "metaclass" and metas:
                        kind.metaclass = metas[0]

    def _add_bases(self, kind: Class, node: int) -> None:
        for obj in self.flow.objects(node) or (UNKNOWN,):
            base: Obj = obj.origin if isinstance(obj, Alias) else obj
            if isinstance(base, Class) and base is not kind:
                kind.bases.append(base)
            elif isinstance(base, Outside):
                if base.name in _PROTOCOLS:
                    kind.protocol = True
                elif base.name not in _HARMLESS_BASES:
                    kind.outside = True
                    kind.outside_bases = (*kind.outside_bases, base)
            elif base is not kind:
                kind.outside = True

    def _order(self, kind: Class, done: dict[Class, tuple[Class, ...]], above: list[Class]) -> tuple[Class, ...]:
        """The method resolution order, as far as the bases are known."""
        if kind.live is not None:
            return kind.order
        if kind in done:
            return done[kind]
        if kind in above or len(above) > 200:
            return (kind,)
        bases = [base for base in kind.bases if isinstance(base, Class)]
        orders = [list(self._order(base, done, [*above, kind])) for base in bases]
        kind.order = done[kind] = (kind, *_merge([*orders, list(bases)]))
        return kind.order

    @staticmethod
    def _inherit(kind: Class) -> None:
        for base in kind.order[1:]:
            kind.outside = kind.outside or (base.outside and base.live is None)
            if kind.metaclass is None:
                kind.metaclass = base.metaclass

    # What the making of a class calls

    def seed_methods(self) -> None:
        """Let methods have instances of their classes as their first argument."""
        for function in list(self.functions.values()):
            if function.owner is None and "." in function.code.co_qualname:
                path, _, name = function.code.co_qualname.rpartition(".")
                if not path.endswith("<locals>") and not name.startswith("<"):
                    function.owner = self.class_at(function.module, path)
            if function.owner is not None and function.scope is None and not function.code.co_name.startswith("<"):
                function.is_method_of(function.owner)

    def class_at(self, module: str, qualname: str) -> Class | None:
        """The class of that name."""
        if self._paths is None:
            self._paths = {(kind.module, kind.qualname): kind for kind in self.classes}
        return self._paths.get((module, qualname))

    _paths: dict[tuple[str, str], Class] | None = None

    def run_statements(self) -> None:
        """Note what class statements call beside the body: metaclasses, ``__init_subclass__`` and ``__set_name__``."""
        for kind, unit, offset, _, keywords in self._statements:
            above = kind.find_after("__init_subclass__", kind, below=False)
            given = tuple((name, node) for name, node in keywords if name != "metaclass")
            if above.in_graph:
                call = self._implied(unit, offset, Arguments((), given))
                self.give(call, above, kind, kind)
            if kind.metaclass is not None and kind.metaclass.in_graph:
                node = self.flow.holding(kind)
                for name in ("__new__", "__init__", "__prepare__"):
                    found = kind.metaclass.find(name)
                    if found.in_graph:
                        first = (node,) if name == "__new__" else ()
                        args = Arguments((*first, self.text, self.silent, self.silent), given)
                        self.give(self._implied(unit, offset, args), found, kind.metaclass.instance(), kind.metaclass)
            if "__set_name__" in self.defined:
                for place in list(kind.names.values()):
                    if isinstance(place, int):
                        self.special(unit, offset, place, "__set_name__", (self.silent, self.text))
                    elif not isinstance(place, (Function, Descriptor, Module)):
                        self.special(unit, offset, self.flow.holding(place), "__set_name__", (self.silent, self.text))

    def _implied(self, unit: Function, offset: int, args: Arguments) -> Call:
        call = Call(self.program, unit, offset, self.flow.node(), args)
        call.how = "class"
        return call

    def note_import(self, unit: Function, offset: int, body: Function) -> None:
        call = Call(self.program, unit, offset, self.flow.node(), NONE)
        call.how, call.doubt = "import", True
        call.targets = (body,)


def _merge(orders: list[list[Class]]) -> list[Class]:
    """C3; where that has no answer, whatever comes first."""
    merged: list[Class] = []
    while orders := [order for order in orders if order]:
        for order in orders:
            head = order[0]
            if not any(head in other[1:] for other in orders):
                break
        else:
            head = orders[0][0]
        merged.append(head)
        orders = [[one for one in order if one is not head] for order in orders]
    return merged
