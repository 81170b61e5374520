"""What instances hold: attributes that are assigned, and what is in those that derive from containers.

What is assigned to an attribute of an instance is kept by class: ``self.x = f`` in a method of ``C`` may be read from
any instance of ``C``, of its subclasses, and of nobody else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from livepatch.compat.calls.containers import Container

if TYPE_CHECKING:
    from livepatch.compat.calls.classes import Class
    from livepatch.compat.calls.program import Program

__all__ = ["Fields"]

_CONTAINERS = {
    "builtins:list": "list",
    "builtins:dict": "dict",
    "builtins:set": "set",
    "builtins:tuple": "tuple",
    "builtins:frozenset": "set",
    "collections:deque": "list",
    "collections:OrderedDict": "dict",
    "collections:defaultdict": "dict",
    "collections:UserDict": "dict",
    "collections:UserList": "list",
}


class Fields:
    """What is assigned to attributes, by class and name."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._stored: dict[str, dict[Class, int]] = {}
        self._readers: dict[bool, dict[str, dict[Class, int]]] = {False: {}, True: {}}
        """By whether the classes below count as well, the name, and the class."""
        self._filled: set[int] = set()
        self._any: dict[Class, int] = {}
        """What is assigned to attributes whose names nobody knows."""
        self.replaced: dict[Class, None] = {}
        """Classes whose own attributes may have been replaced so."""
        self._contents: dict[Class, Container | None] = {}
        self._spaces: dict[tuple[Class, bool], Container] = {}
        self.by_name: dict[str, list[int]] = {}

    def store(self, kind: Class, name: str, node: int) -> None:
        """An instance of the class gets the attribute from that node."""
        self._program.flow.copy(node, self.node(kind, name))

    def node(self, kind: Class, name: str) -> int:
        """The node of an attribute that is assigned on instances of the very class, as far as is known."""
        holders = self._stored.setdefault(name, {})
        node = holders.get(kind, -1)
        if node < 0:
            flow = self._program.flow
            node = holders[kind] = flow.node()
            self.by_name.setdefault(name, []).append(node)
            exact, with_below = (self._readers[below].get(name, {}) for below in (False, True))
            for one in kind.order:
                if one in with_below:
                    self._link(node, with_below[one])
            if kind in exact:
                self._link(node, exact[kind])
            for one in kind.below():  # of `object` that is every class
                if one in exact:
                    self._link(node, exact[one])
                if one in with_below:
                    self._link(node, with_below[one])
        return node

    def _link(self, node: int, reader: int) -> None:
        if reader >= 0 and node >= 0:
            self._filled.add(reader)
            self._program.flow.copy(node, reader)

    def reader(self, kind: Class, name: str, *, below: bool) -> int:
        """The node of all that the attribute may have been given; the classes' own attributes are not in it."""
        readers = self._readers[below].get(name)
        node = -1 if readers is None else readers.get(kind, -1)
        if node < 0:
            if name not in self._program.stored_names:
                return -1
            node = self._readers[below].setdefault(name, {})[kind] = self._program.flow.node()
            holders = self._stored.get(name, {})
            for one in kind.order:
                self._link(holders.get(one, -1), node)
            under = kind.below() if below and holders else ()
            if len(holders) < len(under):
                for one in list(holders):
                    if one is not kind and kind in one.order:
                        self._link(holders[one], node)
            else:
                for one in under:
                    self._link(holders.get(one, -1), node)
        return node

    def store_any(self, kind: Class, node: int, *, on_class: bool) -> None:
        """The class or an instance of it gets an attribute, and nobody knows which."""
        flow = self._program.flow
        there = self._any.get(kind, -1)
        if there < 0:
            there = self._any[kind] = flow.node()
        flow.copy(node, there)
        if on_class and kind.live is None:
            self.replaced[kind] = None

    def any_of(self, kind: Class) -> list[int]:
        """The nodes of what any attribute of an instance may have been given."""
        if not self._any:
            return []
        return [self._any[one] for one in (*kind.order, *kind.below()) if one in self._any]

    def space(self, kind: Class, *, of_class: bool) -> Container:
        """``__dict__`` of the class or of its instances: what is put in there is an attribute."""
        key = kind, of_class
        box = self._spaces.get(key)
        if box is None:
            box = self._spaces[key] = Container(self._program, "dict")
            flow = self._program.flow
            flow.add(box.keys_node(), self._program.plain_kind(str).exactly())
            if of_class:
                for name, place in kind.names.items():
                    flow.copy(place if isinstance(place, int) else flow.holding(place), box.item(name))
            else:
                self.store_any(kind, box.every(), on_class=False)
        return box

    def content(self, kind: Class) -> Container | None:
        """What instances hold where the class derives from a builtin container, the same for all below one class."""
        if not kind.in_graph:
            return None
        if kind not in self._contents:
            self._contents[kind] = None
            names = [f"{one.module}:{one.qualname}" for one in kind.order if not one.in_graph]
            names += [base.name for one in kind.order for base in one.outside_bases]
            native = next((_CONTAINERS[name] for name in names if name in _CONTAINERS), None)
            if native is not None:
                first = [one for one in kind.order if one.in_graph][-1]
                if first is kind:
                    self._contents[kind] = Container(self._program, native)
                else:
                    self._contents[kind] = self.content(first) or Container(self._program, native)
        return self._contents[kind]

    def stored(self, reader: int) -> bool:
        """Whether anything that is known assigns what the reader gives."""
        return reader in self._filled
