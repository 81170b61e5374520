"""Uses that take values out of others: iterating, awaiting, subscribing, unpacking, operating."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livepatch.compat.calls.classes import AnyOf, Class, Instance
from livepatch.compat.calls.containers import Const, Container, Running
from livepatch.compat.calls.objects import Outside
from livepatch.compat.calls.uses import NONE, Arguments, Special, Use
from livepatch.compat.calls.world import UNKNOWN, WEAK, Obj

if TYPE_CHECKING:
    from livepatch.compat.calls.objects import Function
    from livepatch.compat.calls.program import Program

__all__ = [
    "Awaiting",
    "Catching",
    "Delegating",
    "Extending",
    "Item",
    "Iterating",
    "Next",
    "Operation",
    "PutItem",
    "Step",
    "Unpacking",
    "box_of",
]


class Step(Use):
    """A use that may stand for a method of the type; the site is made when an object turns up that may have one."""

    __slots__ = ("_site", "dest", "offset", "program", "unit")

    def __init__(self, program: Program, unit: Function, offset: int, dest: int) -> None:
        self.program = program
        self.unit = unit
        self.offset = offset
        self.dest = dest
        self._site: Special | None = None

    def special(self, obj: Obj, name: str, args: Arguments = NONE, how: str = "operator", dest: int = -2) -> None:
        """Let the object's type do it, if it has the method."""
        program = self.program
        if name not in program.answered:
            return
        site = self._site
        if site is None:
            target = self.dest if dest == -2 else dest
            site = self._site = Special(program, self.unit, self.offset, target, args, name, how)
        site.meet(obj)

    def waits(self, obj: Obj) -> bool:
        """Whether the orders of classes must be known first; then it meets the object once they are."""
        if isinstance(obj, Instance) and obj.kind.in_graph and not self.program.settled:
            self.program.later(lambda: self.meet(obj))
            return True
        return False

    def mark(self, obj: Obj) -> None:
        """Hand a marker on."""
        self.program.flow.add(self.dest, obj)


def box_of(obj: Obj, name: str) -> Container | None:
    """An object as a container: one itself, or an instance of a class below one that does not define the operation."""
    box = obj.contents()
    if box is not None or not isinstance(obj, Instance) or not obj.kind.in_graph:
        return box
    kind = obj.kind
    return None if kind.find(name, below=obj.below).in_graph else kind.program.fields.content(kind)


def _is_marker(obj: Obj) -> bool:
    return obj.marks


class Iterating(Step):
    """``iter(values)``: containers are their own iterators here."""

    __slots__ = ("name",)

    def __init__(self, program: Program, unit: Function, offset: int, dest: int, name: str) -> None:
        super().__init__(program, unit, offset, dest)
        self.name = name

    def meet(self, obj: Obj) -> None:
        if self.waits(obj):
            return
        box = box_of(obj, self.name)
        if box is not None:
            self.program.flow.add(self.dest, self.program.keys_of(box) if box.kind == "dict" else box)
        elif isinstance(obj, Running) or _is_marker(obj):
            self.mark(obj)
            if obj.marks and obj is not WEAK:
                self.special(obj, self.name, how="iteration")
        elif isinstance(obj, Const):
            self.mark(obj.general())
        elif isinstance(obj, Instance) and obj.kind.module == "builtins":
            self.mark(obj)
        else:
            self.special(obj, self.name, how="iteration")
            if self.name == "__iter__" and isinstance(obj, Instance):
                self._by_position(obj)

    def _by_position(self, obj: Instance) -> None:
        """A type without ``__iter__`` is asked for the items at 0, 1, 2 and so on."""
        program = self.program
        if not program.settled:
            program.later(lambda: self._by_position(obj))
        elif "__getitem__" in program.defined and not obj.kind.find("__iter__", below=obj.below).anywhere:
            box = Container(program, "list")
            program.flow.add(self.dest, box)
            asked = Arguments((program.number,))
            Special(program, self.unit, self.offset, box.rest(), asked, "__getitem__", "iteration").meet(obj)


class Next(Step):
    """``next(iterator)``, or that of an ``async for``."""

    __slots__ = ("name",)

    def __init__(self, program: Program, unit: Function, offset: int, dest: int, name: str) -> None:
        super().__init__(program, unit, offset, dest)
        self.name = name

    def meet(self, obj: Obj) -> None:
        flow = self.program.flow
        if self.waits(obj):
            return
        box = box_of(obj, self.name)
        if box is not None:
            flow.copy(box.every(), self.dest)
        elif isinstance(obj, Running):
            flow.copy(obj.function.yields, self.dest)
        elif isinstance(obj, Instance) and obj.kind.module == "builtins":
            self.mark(obj if obj.kind.qualname in {"str", "bytes"} else UNKNOWN)
        elif _is_marker(obj):
            self.mark(obj)
            if obj.marks and obj is not WEAK:
                self.special(obj, self.name, how="iteration", dest=flow.node())
        elif self.name == "__anext__" and self._site is None:
            given = flow.node()
            flow.attach(given, Awaiting(self.program, self.unit, self.offset, self.dest))
            self.special(obj, self.name, how="iteration", dest=given)
        else:
            self.special(obj, self.name, how="iteration")


class Awaiting(Step):
    """``await value``."""

    __slots__ = ()

    def meet(self, obj: Obj) -> None:
        if isinstance(obj, Running):
            self.program.flow.copy(obj.function.result, self.dest)
        elif _is_marker(obj):
            self.mark(obj)
        elif obj.contents() is not None:
            self.program.flow.add(self.dest, obj)  # of tasks: what `gather` gives is a list of what they give
        else:
            self.special(obj, "__await__", dest=self.program.flow.node())
            self.mark(UNKNOWN)


class Delegating(Step):
    """``yield from values``."""

    __slots__ = ()

    def meet(self, obj: Obj) -> None:
        flow, unit = self.program.flow, self.unit
        if self.waits(obj):
            return
        box = box_of(obj, "__iter__")
        if isinstance(obj, Running):
            flow.copy(obj.function.yields, unit.yields)
            flow.copy(obj.function.result, self.dest)
            flow.copy(self.program.sent(unit), self.program.sent(obj.function))
        elif box is not None:
            flow.copy(box.every(), unit.yields)
        elif _is_marker(obj):
            flow.add(unit.yields, obj)
            self.mark(obj)
        elif self._site is None:
            given = flow.node()
            flow.attach(given, Next(self.program, unit, self.offset, unit.yields, "__next__"))
            self.special(obj, "__iter__", how="iteration", dest=given)
        else:
            self.special(obj, "__iter__", how="iteration")


class Item(Step):
    """``values[key]``; `key` is the value if it is known, ``slice`` for a part, else ``None``."""

    __slots__ = ("key", "key_node")

    def __init__(self, program: Program, unit: Function, offset: int, dest: int, key: object, key_node: int) -> None:
        super().__init__(program, unit, offset, dest)
        self.key = key
        self.key_node = key_node

    def meet(self, obj: Obj) -> None:
        if self.waits(obj):
            return
        box = box_of(obj, "__getitem__")
        if box is not None:
            self._read(box)
            if isinstance(obj, Instance):  # ``__missing__``
                self.special(obj, "__getitem__", Arguments((self.key_node,)))
        elif isinstance(obj, Const):
            self.mark(obj.general())
        elif isinstance(obj, (Class, AnyOf)):
            kind = obj if isinstance(obj, Class) else obj.kind
            self.program.class_item(self, kind, obj)
        elif isinstance(obj, Outside):
            self.mark(obj)
        elif isinstance(obj, Instance) and obj.kind.module == "builtins":
            self.mark(obj if obj.kind.qualname in {"str", "bytes"} else UNKNOWN)
        elif obj is WEAK:
            self.mark(obj)
        else:
            if obj.marks and obj is not WEAK:
                self.mark(obj)
            if not self.program.namespace_item(self, obj):
                self.special(obj, "__getitem__", Arguments((self.key_node,)))

    def _read(self, box: Container) -> None:
        flow = self.program.flow
        if self.key is slice:
            flow.add(self.dest, box)
            return
        for node in box.reading(self.key):
            flow.copy(node, self.dest)


class PutItem(Step):
    """``values[key] = value``."""

    __slots__ = ("key", "key_node", "value")

    def __init__(self, program: Program, unit: Function, offset: int, key: object, key_node: int, value: int) -> None:
        super().__init__(program, unit, offset, program.silent)
        self.key = key
        self.key_node = key_node
        self.value = value

    def meet(self, obj: Obj) -> None:
        flow = self.program.flow
        if self.waits(obj):
            return
        box = box_of(obj, "__setitem__")
        if box is not None:
            known = self.key is not None and box.kind == "dict"
            flow.copy(self.value, box.item(self.key) if known else box.rest())
            if not known and box.kind == "dict":
                flow.copy(self.key_node, box.keys_node())
        elif obj is not WEAK:
            self.special(obj, "__setitem__", Arguments((self.key_node, self.value)), dest=flow.node())


class Extending(Use):
    """All of some values go into containers."""

    __slots__ = ("program", "value")

    def __init__(self, program: Program, value: int) -> None:
        self.program = program
        self.value = value

    def meet(self, obj: Obj) -> None:
        box = obj.contents()
        if box is not None:
            self.program.flow.attach(self.value, _Pouring(box))


class _Pouring(Use):
    """What a container holds goes into another."""

    __slots__ = ("box",)

    def __init__(self, box: Container) -> None:
        self.box = box

    def meet(self, obj: Obj) -> None:
        box, flow = self.box, self.box.program.flow
        source = obj.contents()
        if source is box:
            return
        if source is None:
            if isinstance(obj, Running):
                flow.copy(obj.function.yields, box.rest())
            elif _is_marker(obj):
                flow.add(box.rest(), obj)
        elif source.kind == "dict" and box.kind == "dict":
            source.listen(self)
            flow.copy(source.rest(), box.rest())
            if source.keys >= 0:
                flow.copy(source.keys, box.keys_node())
        else:
            flow.copy(source.every(), box.rest())

    def item(self, key: object, node: int) -> None:
        self.box.program.flow.copy(node, self.box.item(key))


class Unpacking(Step):
    """``a, b = values``; `rest` is the position of ``*c``, or -1."""

    __slots__ = ("nodes", "rest")

    def __init__(self, program: Program, unit: Function, offset: int, nodes: list[int], rest: int) -> None:
        super().__init__(program, unit, offset, program.flow.node())
        self.nodes = nodes
        self.rest = rest
        fixed = [node for i, node in enumerate(nodes) if i != rest]
        for node in fixed:
            program.flow.copy(self.dest, node)
        if rest >= 0:
            box = Container(program, "list")
            program.flow.add(nodes[rest], box)
            program.flow.copy(self.dest, box.rest())

    def meet(self, obj: Obj) -> None:
        flow = self.program.flow
        if self.waits(obj):
            return
        box = box_of(obj, "__iter__")
        if box is None:
            if isinstance(obj, Running):
                flow.copy(obj.function.yields, self.dest)
            elif _is_marker(obj):
                self.mark(obj)
            elif self._site is None:
                given = flow.node()
                flow.attach(given, Next(self.program, self.unit, self.offset, self.dest, "__next__"))
                self.special(obj, "__iter__", how="iteration", dest=given)
            else:
                self.special(obj, "__iter__", how="iteration")
        elif box.ordered or (box.kind == "list" and self.rest < 0 and len(box.items) == len(self.nodes)):
            before = self.nodes if self.rest < 0 else self.nodes[: self.rest]
            for i, node in enumerate(before):
                flow.copy(box.item(i), node)
            flow.copy(box.rest(), self.dest)
            if self.rest >= 0:
                flow.copy(box.every(), self.dest)
        else:
            flow.copy(box.every(), self.dest)


class Operation(Step):
    """``left + right``, as far as the left side decides."""

    __slots__ = ("names", "right")

    def __init__(
        self, program: Program, unit: Function, offset: int, dest: int, right: int, names: tuple[str, str]
    ) -> None:
        super().__init__(program, unit, offset, dest)
        self.right = right
        self.names = names

    def meet(self, obj: Obj) -> None:
        if isinstance(obj, Const):
            self.mark(obj.general())
        elif obj.contents() is not None:
            self.mark(obj)
            self.program.flow.copy(self.right, self.dest)
        elif (
            isinstance(obj, (Class, Outside))
            or (isinstance(obj, Instance) and obj.kind.module == "builtins")
            or obj is WEAK
        ):
            self.mark(obj)
        else:
            if obj.marks and obj is not WEAK:
                self.mark(obj)
            own, method = self.names
            self.special(obj, own if own in self.program.defined else method, Arguments((self.right,)))


class Catching(Use):
    """``except kinds as error``."""

    __slots__ = ("dest", "program")

    def __init__(self, program: Program, dest: int) -> None:
        self.program = program
        self.dest = dest

    def meet(self, obj: Obj) -> None:
        box = obj.contents()
        if box is not None:
            self.program.flow.attach(box.every(), self)
        elif isinstance(obj, (Class, AnyOf)):
            kind = obj if isinstance(obj, Class) else obj.kind
            self.program.flow.add(self.dest, kind.instance())
        else:
            self.program.flow.add(self.dest, UNKNOWN)
