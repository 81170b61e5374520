"""What the machine asks for: each kind of instruction as uses of nodes."""

from __future__ import annotations

from livepatch.compat.calls import moves
from livepatch.compat.calls.classes import AnyOf, Class, Instance
from livepatch.compat.calls.containers import Container
from livepatch.compat.calls.names import Names
from livepatch.compat.calls.objects import RUNS, Function, Super
from livepatch.compat.calls.uses import NONE, Arguments, Call, Lookup, Special, Use
from livepatch.compat.calls.world import UNKNOWN, Obj

__all__ = ["Acts"]


class _Super(Use):
    """``super(kind, receiver)``."""

    __slots__ = ("acts", "dest", "receiver")

    def __init__(self, acts: Acts, dest: int, receiver: int) -> None:
        self.acts = acts
        self.dest = dest
        self.receiver = receiver

    def meet(self, obj: Obj) -> None:
        if isinstance(obj, Class):
            self.acts.flow.attach(self.receiver, _SuperOf(self.acts, self.dest, obj))


class _SuperOf(Use):
    __slots__ = ("acts", "dest", "kind")

    def __init__(self, acts: Acts, dest: int, kind: Class) -> None:
        self.acts = acts
        self.dest = dest
        self.kind = kind

    def meet(self, obj: Obj) -> None:
        if isinstance(obj, (Instance, Class, AnyOf)):
            kind = obj if isinstance(obj, Class) else obj.kind
            if self.kind in kind.order or not isinstance(obj, Instance):
                self.acts.flow.add(self.dest, self.acts.super_of(self.kind, obj))
        elif obj.marks:
            self.acts.flow.add(self.dest, self.acts.super_of(self.kind, self.kind.instance()))


class Acts(Names):
    """Noting what may happen."""

    def __init__(self) -> None:
        super().__init__()
        self._lookups: dict[tuple[Function, int, str], int] = {}
        self._sent: dict[Function, int] = {}
        self._supers: dict[tuple[Class, Obj], Super] = {}

    def _use(self, node: int, use: Use) -> None:
        """Let a use meet what a node holds, and what nobody knows if it holds nothing."""
        self.flow.attach(node, use)
        self.asked.append(node)

    # Attributes and operations

    def lookup(self, unit: Function, offset: int, receiver: int, name: str) -> int:
        """The node of an attribute that is not read by an instruction; always the same for the same three."""
        key = unit, receiver, name
        dest = self._lookups.get(key, -1)
        if dest < 0:
            dest = self._lookups[key] = self.read_attribute(unit, offset, receiver, name)
        return dest

    def read_attribute(self, unit: Function, offset: int, receiver: int, name: str) -> int:
        """A node for an attribute that is read."""
        if receiver == self.silent:
            return receiver
        dest = self.flow.node()
        self.flow.attach(receiver, Lookup(self.program, unit, offset, dest, NONE, name, "property"))
        self.asked.append(receiver)
        return dest

    def special(
        self,
        unit: Function,
        offset: int,
        receiver: int,
        name: str,
        args: tuple[int, ...],
        dest: int = -1,
        how: str = "operator",
    ) -> None:
        """An operation that stands for a method of the type."""
        if receiver in self.plain:
            return
        if name not in self.answered and how != "context":
            if dest >= 0:
                self.flow.add(dest, UNKNOWN)
            return
        site = Special(self.program, unit, offset, self.flow.node() if dest < 0 else dest, Arguments(args), name, how)
        self.flow.attach(receiver, site)
        self.asked.append(receiver)

    def operation(
        self, unit: Function, offset: int, left: int, right: int, dest: int, names: tuple[str, str, str]
    ) -> None:
        """``left + right``."""
        own, method, reflected = names
        flow, program = self.flow, self.program
        self._use(left, moves.Operation(program, unit, offset, dest, right, (own, method)))
        if method == "__or__":
            flow.copy(right, dest)
        if reflected in self.defined and right not in self.plain:
            self.special(unit, offset, right, reflected, (left,), dest)

    def item(self, unit: Function, offset: int, box: int, key: object, key_node: int, dest: int) -> None:
        """``box[key]``."""
        self._use(box, moves.Item(self.program, unit, offset, dest, key, key_node))

    def store_item(self, unit: Function, offset: int, box: int, key: object, key_node: int, value: int) -> None:
        """``box[key] = value``."""
        if isinstance(unit.scope, Class) and box == self.name_node(unit, "__annotations__"):
            self.annotations.of_field(unit.scope, key, value, unit)
            return
        self._use(box, moves.PutItem(self.program, unit, offset, key, key_node, value))

    def extend(self, unit: Function, offset: int, target: int, value: int) -> None:  # noqa: ARG002  # like the others
        """All of some values go into a container."""
        self.flow.attach(target, moves.Extending(self.program, value))

    def delete_attribute(self, unit: Function, offset: int, box: int, name: str) -> None:
        """``del box.name``."""
        self.special(unit, offset, box, "__delattr__", (self.constant(name),))
        site = Lookup(self.program, unit, offset, self.flow.node(), NONE, name, "property")
        self.flow.attach(box, moves_deleting(site))

    def unpack(self, unit: Function, offset: int, source: int, nodes: list[int], rest: int) -> None:
        """``a, b = source``."""
        self._use(source, moves.Unpacking(self.program, unit, offset, nodes, rest))

    def caught(self, kinds: int, dest: int) -> None:
        """``except kinds as dest``."""
        self.flow.attach(kinds, moves.Catching(self.program, dest))

    def raised(self, unit: Function, offset: int, node: int) -> None:
        """``raise node``: of a class, an instance is made."""
        self.flow.attach(node, _Raising(self, unit, offset))

    def super_node(self, unit: Function, offset: int, called: int, kind: int, receiver: int) -> int:
        """``super(kind, receiver)``."""
        del unit, offset, called
        dest = self.flow.node()
        self.flow.attach(kind, _Super(self, dest, receiver))
        return dest

    def super_of(self, kind: Class, receiver: Obj) -> Super:
        """The object that ``super()`` gives, always the same for the same two."""
        found = self._supers.get((kind, receiver))
        if found is None:
            found = self._supers[kind, receiver] = Super(kind, receiver)
        return found

    def own_super(self, unit: Function, dest: int) -> None:
        """``super()`` in a method."""
        code = unit.code
        while code.co_argcount == 0 and unit.home is not unit:
            unit = unit.home
            code = unit.code
        kind = unit.local("__class__")
        if kind >= 0:
            self.flow.attach(kind, _Super(self, dest, unit.base))

    # Iteration

    def iterated(self, unit: Function, offset: int, source: int, dest: int, name: str) -> None:
        """``iter(source)``."""
        self._use(source, moves.Iterating(self.program, unit, offset, dest, name))

    def next_of(self, unit: Function, offset: int, source: int, dest: int, name: str) -> None:
        """``next(source)``."""
        self._use(source, moves.Next(self.program, unit, offset, dest, name))

    def awaited(self, unit: Function, offset: int, source: int, dest: int) -> None:
        """``await source``."""
        self._use(source, moves.Awaiting(self.program, unit, offset, dest))

    def delegated(self, unit: Function, offset: int, source: int, dest: int) -> None:
        """``yield from source``."""
        self._use(source, moves.Delegating(self.program, unit, offset, dest))

    def sent(self, unit: Function) -> int:
        """The node of what is sent into a generator: somebody may who is not known."""
        node = self._sent.get(unit, -1)
        if node < 0:
            node = self._sent[unit] = self.flow.holding(UNKNOWN)
        return node

    # Calls and ends

    def spread_of(self, box: Container | None, node: int) -> int:
        """The node of what follows the arguments that are written out, or -1."""
        if box is None:
            return node
        spreads = self.spreads.get(box, [])
        if len(spreads) == 1:
            return spreads[0]
        rest = box.rest()
        if not spreads and not self.flow.objects(rest):
            return -1
        others = Container(self.program, box.kind)
        self.flow.copy(rest, others.rest())
        for value in spreads:
            if box.kind == "dict" and value >= 0:
                self.flow.attach(self.flow.holding(others), moves.Extending(self.program, value))
        return self.flow.holding(others)

    def returns(self, unit: Function, node: int) -> None:
        """The function gives what is in the node."""
        position = node - unit.base
        code = unit.code
        plain = unit.home is unit and not code.co_flags & RUNS
        if plain and 0 <= position < code.co_argcount and not self._is_assigned(unit, position):
            if position not in unit.gives:
                unit.gives = (*unit.gives, position)
            return
        self.flow.copy(node, unit.result)

    def _is_assigned(self, unit: Function, position: int) -> bool:
        return unit.code.co_varnames[position] in unit.code.co_cellvars or unit.local_is_stored(position)

    def arguments(self, *nodes: int) -> Arguments:
        """Arguments by position; -1 for one that does not matter."""
        return Arguments(tuple(self.silent if node < 0 else node for node in nodes))

    def class_item(self, step: moves.Item, kind: Class, obj: Obj) -> None:
        """``kind[key]``."""
        if (
            kind.in_graph and kind.live is None and not self.program.settled
        ):  # an alias may be a base, and is needed for that
            self.program.later(lambda: self.class_item(step, kind, obj))
        elif kind.metaclass is not None and kind.metaclass.find("__getitem__").anywhere:
            step.special(obj, "__getitem__", Arguments((step.key_node,)))
            step.mark(kind.instance())
            return
        found = kind.find("__class_getitem__")
        if any(one.in_graph and "__class_getitem__" in one.names for one in kind.order):
            call = Call(self.program, step.unit, step.offset, self.flow.node(), Arguments((step.key_node,)))
            call.how = "operator"
            self.program.give(call, found, kind, kind)
        step.mark(self.annotations.alias(obj, step.key_node))

    def namespace_item(self, step: moves.Item, obj: Obj) -> bool:
        """``globals()[key]``.  Whether the object is such a namespace."""
        return self.models.namespace_item(step, obj)


def moves_deleting(site: Lookup) -> Use:
    """A use that calls the deleter of a property."""
    return _Deleting(site)


class _Deleting(Use):
    __slots__ = ("site",)

    def __init__(self, site: Lookup) -> None:
        self.site = site

    def meet(self, obj: Obj) -> None:
        if isinstance(obj, Instance):
            program = obj.kind.program
            if not program.settled:
                program.later(lambda: self.meet(obj))
                return
            found = obj.kind.find(self.site.name, below=obj.below)
            for one in found.objects:
                program.delete(self.site, one, obj)
            for node in found.nodes:
                program.flow.attach(node, _Deleted(self.site, obj))


class _Deleted(Use):
    """What the body of a class has bound to the name of an attribute that is deleted."""

    __slots__ = ("receiver", "site")

    def __init__(self, site: Lookup, receiver: Instance) -> None:
        self.site = site
        self.receiver = receiver

    def meet(self, obj: Obj) -> None:
        self.receiver.kind.program.delete(self.site, obj, self.receiver)


class _Raising(Use):
    __slots__ = ("acts", "offset", "unit")

    def __init__(self, acts: Acts, unit: Function, offset: int) -> None:
        self.acts = acts
        self.unit = unit
        self.offset = offset

    def meet(self, obj: Obj) -> None:
        if isinstance(obj, (Class, AnyOf)):
            call = Call(self.acts.program, self.unit, self.offset, self.acts.flow.node(), NONE)
            obj.call(call)
