"""What holds values by position or key, and the values of plain types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livepatch.compat.calls.world import MOST_CALLABLES, Obj

if TYPE_CHECKING:
    from livepatch.compat.calls.classes import Class
    from livepatch.compat.calls.objects import Function
    from livepatch.compat.calls.program import Program
    from livepatch.compat.calls.uses import Call, Lookup, MethodCall, Special, Use

__all__ = ["Const", "Container", "Opaque", "Running"]

MOST_KEYS = 256


class Container(Obj):
    """A tuple, list, dict or set: what is at known keys, and the rest.  `kind` is the name of the builtin type."""

    __slots__ = ("_every", "_listeners", "_rest", "filler", "items", "keys", "kind", "native", "ordered", "program")

    def __init__(self, program: Program, kind: str) -> None:
        self.program = program
        self.kind = kind
        self.ordered = kind == "tuple"
        """Whether positions stay what they are."""
        self.native: type | None = None
        """The type, where it is no more than that of `kind`."""
        self.items: dict[object, int] = {}
        self.keys = -1
        """The node of the keys, if they are anything to look at."""
        self.filler: object = None
        """The live contents, until somebody looks at them."""
        self._every = self._rest = -1
        self._listeners: list[Use] | None = None

    def contents(self) -> Container:
        if self.filler is not None:
            filler, self.filler = self.filler, None
            self.program.fill(self, filler)
        return self

    def forget(self) -> None:
        self._listeners = None

    def every(self) -> int:
        """The node of all values."""
        if self._every < 0:
            self.contents()
            flow = self.program.flow
            self._every = flow.node()
            for node in self.items.values():
                flow.copy(node, self._every)
            if self._rest >= 0:
                flow.copy(self._rest, self._every)
        return self._every

    def rest(self) -> int:
        """The node of the values whose keys are not known."""
        if self._rest < 0:
            self._rest = self.program.flow.node()
            if self._every >= 0:
                self.program.flow.copy(self._rest, self._every)
        return self._rest

    def item(self, key: object) -> int:
        """The node of the value that was stored at a key."""
        node = self.items.get(key, -1)
        if node < 0:
            if len(self.items) >= MOST_KEYS:
                return self.rest()
            node = self.items[key] = self.program.flow.node()
            if self.keys >= 0:
                self._has_key(key)
            if self._every >= 0:
                self.program.flow.copy(node, self._every)
            for listener in self._listeners or ():
                listener.item(key, node)
        return node

    def reading(self, key: object) -> tuple[int, ...]:
        """The nodes of what may be read at a key; ``None``: any."""
        self.contents()
        if key is None or not (self.ordered or self.kind == "dict"):
            return (self.every(),)
        return (self.item(key), self.rest())

    def listen(self, use: Use) -> None:
        """Tell a use of each item, also of those that are yet to come."""
        self.contents()
        if self._listeners is None:
            self._listeners = []
        if use not in self._listeners:
            self._listeners.append(use)
            for key, node in list(self.items.items()):
                use.item(key, node)

    def keys_node(self) -> int:
        """The node of the keys, made if there is none."""
        if self.keys < 0:
            self.keys = self.program.flow.node()
            for key in self.items:
                self._has_key(key)
        return self.keys

    def _has_key(self, key: object) -> None:
        if self.keys >= 0 and type(key) is str:
            self.program.flow.copy(self.program.constant(key), self.keys)

    def load(self, site: Lookup | MethodCall) -> None:
        self.program.models.container_method(self, site)

    def operate(self, site: Special) -> None:
        self.program.models.container_operation(self, site)


class Const(Obj):
    """A text whose value is known."""

    __slots__ = ("kind", "value")
    most = 4

    def __init__(self, value: str, kind: Class) -> None:
        self.value = value
        self.kind = kind

    def general(self) -> Obj:
        return self.kind.exactly()

    def load(self, site: Lookup | MethodCall) -> None:
        self.kind.exactly().load(site)

    def operate(self, site: Special) -> None:
        self.kind.exactly().operate(site)


class Running(Obj):
    """What a call of a generator function, coroutine function or async generator function gives."""

    __slots__ = ("function",)

    def __init__(self, function: Function) -> None:
        self.function = function

    def call(self, call: Call) -> None:
        self.function.program.models.call_running(call)

    def load(self, site: Lookup | MethodCall) -> None:
        self.function.program.models.running_method(self, site)

    def operate(self, site: Special) -> None:
        self.function.program.models.running_operation(self, site)


class Opaque(Obj):
    """All that attributes of native values may be, and attributes of those, where nothing is known of them.

    One stands for all: told apart by their names and by whose they are, they would be more than all other values.
    """

    __slots__ = ("program",)
    callable = True
    most = MOST_CALLABLES

    def __init__(self, program: Program) -> None:
        self.program = program

    def call(self, call: Call) -> None:
        self.program.models.opaque(self, call)

    def load(self, site: Lookup | MethodCall) -> None:
        site.take(self)
