"""Where values may go: nodes hold sets of abstract objects, which flow along edges until nothing new arrives.

As in Andersen's analysis, without order: a node has all values that the variable ever holds.  Markers are among the
objects.  ``UNKNOWN`` says that other values may be there as well, ``WEAK`` that what is there came by way of a call
that is only possible, ``OVERFULL`` that there were too many to follow each: a call then leads to any of those that were
dropped anywhere.  What a set with a marker leads to is never certain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from livepatch.engine.pace import breathe

if TYPE_CHECKING:
    from livepatch.compat.calls.classes import Class
    from livepatch.compat.calls.containers import Container
    from livepatch.compat.calls.uses import Call, Lookup, MethodCall, Special, Store, Use

__all__ = ["MOST_CALLABLES", "OVERFULL", "UNKNOWN", "WEAK", "Flow", "Obj", "drop"]

T = TypeVar("T")

MOST_OBJECTS = 10
MOST_CALLABLES = 24
_SLICE = 128
"""Steps between two looks at the clock."""
_HANDFUL = 512
"""Objects that are dropped between two looks at the clock."""
_ROOM = 4_096


class Obj:
    """An abstract object.  Compared by identity: whoever makes one keeps it for the next time."""

    __slots__ = ()
    callable = False
    """Whether a call of it may lead to a function of the program."""
    marks = False
    """Whether it is no object, but says something of all that a node holds."""
    most = MOST_OBJECTS
    """A node that holds so many objects takes no more of its kind."""

    def general(self) -> Obj:
        """What stands for it where there are too many of its kind; by default nothing does."""
        return self

    is_class = False
    """Whether it is a class."""

    def kind_of(self) -> Class | None:
        """The class of which it is an instance, or which it is."""
        return None

    def call(self, call: Call) -> None:
        """Be called."""
        call.leads_nowhere()

    def load(self, site: Lookup | MethodCall) -> None:
        """Give the attribute that the site asks for."""
        site.missing()

    def operate(self, site: Special) -> None:
        """Give the method of the type that the site asks for, if there is one."""

    def store(self, store: Store) -> None:
        """Take an attribute."""

    def contents(self) -> Container | None:
        """Itself as a container, if it is one."""
        return None

    def forget(self) -> None:
        """Let go of what refers to it in turn."""


class _Marker(Obj):
    __slots__ = ("text",)
    marks = True

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


UNKNOWN, WEAK, OVERFULL = _Marker("unknown"), _Marker("weak"), _Marker("overfull")


class Flow:
    """The nodes, what they hold, and where it goes.

    Nodes are positions in lists.  Most hold one object, and go to one other: that is a tuple, and more a dict or list.

    A node with which nothing is done, and that goes nowhere, sleeps: it only knows where its values would come from,
    and takes them when somebody asks.  So what nobody uses is not worked out.
    """

    def __init__(self) -> None:
        self.count = 0
        self._room = 0
        self._values: list[Collection[Obj] | None] = []
        self._next: list[Collection[int] | None] = []
        self._from: list[Collection[int] | None] = []
        """Where the values of a node that sleeps come from."""
        self._uses: list[Collection[Use] | None] = []
        self.declared: dict[int, set[Class]] = {}
        """Nodes whose type is declared."""
        self.narrowed: dict[int, None] = {}
        """Those of them that something of another type would go to."""
        self.dropped: dict[Obj, None] = {}
        """What may be called, and did not go into some node that was full."""
        self._queue: deque[tuple[int, Obj]] = deque()
        self._meetings: list[tuple[Use, Obj]] = []

    def node(self) -> int:
        """A new node."""
        made = self.count
        self.count = made + 1
        if made >= self._room:
            self._grow()
        return made

    def nodes(self, count: int) -> int:
        """The first of so many new nodes."""
        first = self.count
        self.count = first + count
        while self.count > self._room:
            self._grow()
        return first

    def _grow(self) -> None:
        empty = (None,) * _ROOM
        self._values += empty
        self._next += empty
        self._from += empty
        self._uses += empty
        self._room += _ROOM

    def holding(self, obj: Obj) -> int:
        """A new node that holds the object."""
        made = self.node()
        self._values[made] = (obj,)
        return made

    def add(self, node: int, obj: Obj) -> None:
        """Let a node hold an object."""
        held = self._values[node]
        if held is not None and obj in held:
            return
        if node in self.declared and not self._fits(node, obj):
            return
        if held is None:
            self._values[node] = (obj,)
        elif len(held) >= obj.most and not obj.marks:
            self._too_many(node, held, obj)
            return
        elif type(held) is dict:
            held[obj] = None
        else:
            self._values[node] = dict.fromkeys((*held, obj))
        if self._next[node] is not None or self._uses[node] is not None:
            self._queue.append((node, obj))

    def _add_all(self, node: int, objects: Collection[Obj]) -> None:
        """Let a node hold what another holds."""
        held = self._values[node]
        if held is None and node not in self.declared:  # what did not become too much there does not here
            self._values[node] = objects.copy() if isinstance(objects, dict) else objects
            if self._next[node] is not None or self._uses[node] is not None:
                self._queue += [(node, obj) for obj in objects]
            return
        for obj in objects:
            if held is None or obj not in held:
                self.add(node, obj)

    def _hold_more(self, node: int, held: Collection[Obj], obj: Obj) -> None:
        if type(held) is dict:
            held[obj] = None
        else:
            self._values[node] = dict.fromkeys((*held, obj))

    def objects(self, node: int) -> Collection[Obj]:
        """What a node holds."""
        if self._from[node] is not None:
            self._wake(node)
        return self._values[node] or ()

    def empty(self, nodes: Iterable[int]) -> list[int]:
        """Those of some nodes, each once, that hold nothing."""
        values, come = self._values, self._from
        return [
            node for node in dict.fromkeys(nodes) if not values[node] and (come[node] is None or not self.objects(node))
        ]

    def used(self, node: int) -> Collection[Use]:
        """What is done with what the node holds."""
        return self._uses[node] or ()

    def declare(self, node: int, kind: Class) -> None:
        """A node holds instances of the class, and markers do not count there any more."""
        self.declared.setdefault(node, set()).add(kind)
        held = self._values[node]
        if held is not None and any(obj.marks for obj in held):
            self._values[node] = dict.fromkeys(obj for obj in held if not obj.marks) or None

    def _fits(self, node: int, obj: Obj) -> bool:
        """Whether a node whose type is declared can hold the object."""
        if obj.marks:
            return False
        kind = obj.kind_of()
        if kind is None:
            return True
        if obj.is_class and kind.metaclass is not None:  # a class is an instance of its metaclass
            kind = kind.metaclass if self._is_meta(node, kind.metaclass) else kind
        for one in self.declared[node]:
            if one in kind.order or kind in one.order:
                return True
        self.narrowed[node] = None
        return False

    def _is_meta(self, node: int, meta: Class) -> bool:
        """Whether an instance of the metaclass is among what a node is declared to hold."""
        return any(one in meta.order or meta in one.order for one in self.declared[node])

    def _too_many(self, node: int, held: Collection[Obj], obj: Obj) -> None:
        """Hold something more general in its place, or nothing but the note that there are more."""
        general = obj.general()
        if general is not obj and general not in held:
            self.add(node, general)
        if general is obj or general.marks or len(held) >= general.most:
            if obj.callable:
                self.dropped[obj] = None
            if OVERFULL not in held:
                self._hold_more(node, held, OVERFULL)
                self._queue.append((node, OVERFULL))

    def copy(self, source: int, target: int) -> None:
        """Let all that a node holds, or ever will, be in the other as well."""
        if source == target:
            return
        if self._next[target] is None and self._uses[target] is None:
            there = self._from[target]
            if there is None:
                self._from[target] = (source,)
            else:
                _put(self._from, target, source)
            return
        goes = self._next
        if goes[source] is None:
            goes[source] = (target,)
        else:
            _put(goes, source, target)
        if self._from[source] is not None:
            self._wake(source)
        held = self._values[source]
        if held is not None:
            self._add_all(target, held)

    def attach(self, node: int, use: Use) -> None:
        """Let a use meet all that the node holds, or ever will."""
        held = self._values[node]
        if held is not None:
            for obj in held:
                self._meetings.append((use, obj))
        uses = self._uses
        if uses[node] is None:
            uses[node] = (use,)
        else:
            _put(uses, node, use)
        if self._from[node] is not None:
            self._wake(node)

    def _wake(self, node: int) -> None:
        """Let the values of a node come from where they are, and from now on as they arrive there."""
        come, goes, values = self._from, self._next, self._values
        left = [node]
        while left:
            target = left.pop()
            sources, come[target] = come[target], None
            for source in sources or ():
                if goes[source] is None:
                    goes[source] = (target,)
                else:
                    _put(goes, source, target)
                if come[source] is not None:
                    left.append(source)
                held = values[source]
                if held is not None:
                    self._add_all(target, held)

    def run(self) -> None:
        """Until nothing new arrives anywhere."""
        queue, add = self._queue, self.add
        values, goes, uses, declared = self._values, self._next, self._uses, self.declared
        meetings = self._meetings
        while queue or meetings:
            breathe()
            for _ in range(_SLICE):
                if meetings:
                    use, obj = meetings.pop()
                    use.meet(obj)
                    continue
                if not queue:
                    break
                node, obj = queue.popleft()
                targets = goes[node]
                if targets is not None:
                    alone = (obj,)
                    for target in targets:
                        held = values[target]
                        if held is None and target not in declared:  # nearly all that is new: `add`, spelled out
                            values[target] = alone
                            if goes[target] is not None or uses[target] is not None:
                                queue.append((target, obj))
                        elif held is None or obj not in held:
                            add(target, obj)
                met = uses[node]
                if met is not None:
                    for use in tuple(met):
                        use.meet(obj)

    def forget(self) -> None:
        """Let go of everything."""
        for held in (self._values, self._next, self._from, self._uses):
            drop(held)


def drop(held: dict[Any, Any] | list[Any] | set[Any]) -> None:
    """Empty it in small steps."""
    while held:
        breathe()
        if isinstance(held, list):
            del held[-_HANDFUL:]
        else:
            take: Callable[[], object] = held.popitem if isinstance(held, dict) else held.pop
            for _ in range(min(_HANDFUL, len(held))):
                take()


def _put(lists: list[Collection[T] | None], node: int, one: T) -> None:
    there = lists[node]
    if there is None:
        lists[node] = (one,)
    elif type(there) is list:
        there.append(one)
    else:
        lists[node] = [*there, one]
