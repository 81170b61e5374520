"""What is done with a value: it is called, an attribute of it is read, it is iterated.  Each use meets each object.

A use that may call something is a :class:`Site`: it remembers what it called.  Its line is worked out when somebody
asks, from the offset of the instruction.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import chain
from typing import TYPE_CHECKING

from livepatch.compat.calls.world import OVERFULL, UNKNOWN, WEAK, Obj

if TYPE_CHECKING:
    from livepatch.compat.calls.objects import Function
    from livepatch.compat.calls.program import Program

__all__ = [
    "FALLBACKS",
    "FALLING_BACK",
    "NONE",
    "Arguments",
    "Call",
    "Callee",
    "Lookup",
    "MethodCall",
    "Site",
    "Special",
    "Store",
    "Use",
]


FALLBACKS = {
    "__bool__": ("__len__",),
    "__contains__": ("__iter__", "__getitem__"),
    "__iter__": ("__getitem__",),
    "__getitem__": ("__missing__",),
    "__format__": ("__str__", "__repr__"),
    "__str__": ("__repr__",),
    "__ne__": ("__eq__",),
    "__index__": ("__int__",),
    **{
        f"__i{name}__": (f"__{name}__",)
        for name in [
            "add",
            "and",
            "floordiv",
            "lshift",
            "matmul",
            "mul",
            "mod",
            "or",
            "pow",
            "rshift",
            "sub",
            "truediv",
            "xor",
        ]
    },
}
"""The methods that an operation falls back to where the type lacks the first."""

FALLING_BACK = {
    name: [operation for operation, others in FALLBACKS.items() if name in others]
    for name in chain.from_iterable(FALLBACKS.values())
}
"""The operations that fall back to a method."""


_FEW = 8
"""Nodes up to which a tuple is searched as quickly as a set, in a quarter of the room."""

_DEEPEST = 6
"""Calls that follow from calls, such as callbacks of callbacks, after which they count as one."""


class Use:
    """Something that is done with each object of a node."""

    __slots__ = ()

    def meet(self, obj: Obj) -> None:
        """Do it with that object."""
        raise NotImplementedError

    def item(self, key: object, node: int) -> None:
        """Learn that a container has an item of that key, which the node holds."""


class Arguments:
    """The nodes that a call passes."""

    __slots__ = ("double", "keywords", "positional", "star")

    def __init__(
        self,
        positional: tuple[int, ...] = (),
        keywords: tuple[tuple[str, int], ...] = (),
        star: int = -1,
        double: int = -1,
    ) -> None:
        self.positional = positional
        self.keywords = keywords
        self.star = star
        """The node of what follows the positional ones, or -1."""
        self.double = double

    def all_nodes(self) -> list[int]:
        """Every node that is passed, as far as each is passed by itself."""
        return [*self.positional, *(node for _, node in self.keywords)]

    def after(self, first: tuple[int, ...], keywords: tuple[tuple[str, int], ...] = ()) -> Arguments:
        """The same behind others, as ``functools.partial`` puts them."""
        return Arguments((*first, *self.positional), (*keywords, *self.keywords), self.star, self.double)

    def get(self, position: int, name: str = "") -> int:
        """The node that is passed at that position or under that name, or -1."""
        if position < len(self.positional):
            return self.positional[position]
        for keyword, node in self.keywords:
            if keyword == name:
                return node
        return -1


NONE = Arguments()


class Site(Use):
    """A place in a function, and what is called from it.

    `root` is the site whose targets count: one that calls on behalf of another, as a ``partial`` does, has another.
    """

    __slots__ = (
        "_seen",
        "args",
        "depth",
        "dest",
        "doubt",
        "expanded",
        "fan",
        "how",
        "more",
        "name",
        "offset",
        "open",
        "overfull",
        "parent",
        "program",
        "root",
        "targets",
        "unit",
        "used",
    )

    def __init__(
        self,
        program: Program,
        unit: Function,
        offset: int,
        dest: int,
        args: Arguments = NONE,
        name: str = "",
        how: str = "call",
        used: int = 0,
    ) -> None:
        # The one constructor of all sites, of which a program has several for each of its functions.
        self.program = program
        self.unit = unit
        self.offset = offset
        self.dest = dest
        self.args = args
        self.name = name
        """The attribute that is read, or nothing."""
        self.how = how
        self.used = used
        """What becomes of the value of a call, as a position among the ways of use."""
        self.root: Site = self
        self.targets: Collection[Obj] = ()
        """What is called.  Most sites call one: that is a tuple, and more a dict."""
        self.more: dict[Obj, int] | None = None
        """Those that get more arguments than the site shows, and how many; at most sites there are none."""
        self.doubt = False
        """Whether something else might be called as well."""
        self.open = False
        """Whether nobody knows what is called."""
        self.parent: Site | None = None
        """The site without which this one would not be, such as that which found a property."""
        self.depth = 0
        """How many others it is a consequence of."""
        self.expanded: set[Obj] | None = None
        """What it has been found to stand for, such as a ``partial``; one may be part of itself."""
        self.overfull = False
        """Whether it may be any of those that were too many."""
        self.fan: Site | None = None
        """All that have the name, where nothing but the name is known."""
        self._seen: Collection[int] = ()
        """The nodes that it has found to hold what is called or read: a tuple while they are few."""
        program.sites.append(self)

    def forget(self) -> None:
        """Let go of itself."""
        del self.root

    def behalf(self, args: Arguments, dest: int | None = None) -> Call:
        """A call with other arguments that counts as one from here."""
        call = Call.__new__(Call)
        call.program, call.unit, call.offset, call.how = self.program, self.unit, self.offset, self.how
        call.dest = self.dest if dest is None else dest
        call.root, call.targets, call.more, call.doubt, call.open = self.root, (), None, False, False
        call.fan, call.parent, call.overfull, call.depth, call.expanded = None, None, False, self.depth, None
        call.args, call.name, call.used, call._seen = args, "", 0, ()  # noqa: SLF001  # its own class
        return call

    def beside(self, args: Arguments, dest: int | None = None, how: str = "", *, doubt: bool = False) -> Call:
        """Another call from the same place: a callback, or the dunder that an operation stands for."""
        place = self.root
        if place.offset < 0 or place.depth >= _DEEPEST:  # all that has a name has no place
            return self.behalf(args, dest)
        made = Call(place.program, place.unit, place.offset, self.program.flow.node() if dest is None else dest, args)
        made.how, made.doubt, made.parent, made.depth = how or self.how, doubt, place, place.depth + 1
        return made

    def hit(self, target: Obj, more: int = 0) -> bool:
        """Note that it is called from here.  Whether that is new."""
        targets = self.targets
        if target in targets:
            return False
        if not targets:
            self.targets = (target,)
        elif isinstance(targets, dict):
            targets[target] = None
        else:
            self.targets = dict.fromkeys((*targets, target))
        if more:
            if self.more is None:
                self.more = {}
            self.more[target] = more
        root = self.root
        if root is not self:
            root.hit(target, more + root.fewer_than(self))
        elif self.doubt:
            self.program.weaken(target)
        elif len(self.targets) > 1:
            self.doubted()
        return True

    def expands(self, obj: Obj) -> bool:
        """Whether it is new that something which is called from here stands for something else."""
        root = self.root
        if root.expanded is None:
            root.expanded = set()
        if obj in root.expanded:
            return False
        root.expanded.add(obj)
        return True

    def _sees(self, node: int) -> bool:
        """Note that the node holds what is called or read.  Whether that is new."""
        seen = self._seen
        if node in seen:
            return False
        if isinstance(seen, set):
            seen.add(node)
        else:
            self._seen = (*seen, node) if len(seen) < _FEW else {*seen, node}
        return True

    def fewer_than(self, other: Site) -> int:
        """How many arguments another site passes more than this one."""
        del other
        return 0

    def doubted(self) -> None:
        """Something else may be called as well, so what gets arguments from here gets them perhaps."""
        if not self.doubt:
            self.doubt = True
            for target in self.targets:
                self.program.weaken(target)

    def leads_nowhere(self) -> None:
        """Nobody knows what is called."""
        root = self.root
        root.doubted()
        if not root.open:
            root.open = True
            if root is self:
                self.program.opened(self)

    # What an attribute turns out to be.  By default the value goes to the destination.

    def take(self, obj: Obj) -> None:
        """It is this object."""
        self.program.flow.add(self.dest, obj)

    def take_node(self, node: int) -> None:
        """It is what that node holds."""
        self.program.flow.copy(node, self.dest)

    def missing(self) -> None:
        """There is no such attribute as far as is known."""
        self.take(UNKNOWN)


class Call(Site):
    """A call of what a node holds."""

    __slots__ = ()

    def meet(self, obj: Obj) -> None:
        if obj is WEAK:
            self.root.doubted()
        elif obj.marks:
            self.program.flow.add(self.dest, UNKNOWN)
            self.program.escape(self)
            self.root.overfull = self.root.overfull or obj is OVERFULL
            self.leads_nowhere()
        else:
            obj.call(self)

    def fewer_than(self, other: Site) -> int:
        return len(other.args.positional) - len(self.args.positional) if isinstance(other, Call) else 0

    def take(self, obj: Obj) -> None:
        Call.meet(self, obj)

    def take_node(self, node: int) -> None:
        if self._sees(node):
            self.program.flow.attach(node, Callee(self))

    def missing(self) -> None:
        self.leads_nowhere()


def _ask(site: Lookup | MethodCall, obj: Obj) -> None:
    """Ask an object for the attribute."""
    if obj is WEAK:
        site.root.doubted()
        site.program.flow.add(site.dest, WEAK)
    elif obj.marks:
        site.leads_nowhere()
    else:
        obj.load(site)


class Lookup(Site):
    """An attribute is read.  A site, because a property may be behind it."""

    __slots__ = ()
    fanned = "property"
    """By what kind of expression a site calls all that has the name, where nothing but that is known."""

    meet = _ask

    def take_node(self, node: int) -> None:
        if self._sees(node):
            self.program.flow.copy(node, self.dest)

    def missing(self) -> None:
        self.leads_nowhere()


class MethodCall(Call):
    """An attribute is read and called at once."""

    __slots__ = ()
    fanned = "call"

    meet = _ask


class Callee(Use):
    """What a node holds is called from a site that has found the node by itself."""

    __slots__ = ("call",)

    def __init__(self, call: Call) -> None:
        self.call = call

    def meet(self, obj: Obj) -> None:
        Call.meet(self.call, obj)


class Special(MethodCall):
    """An operation that stands for a method of the type: only the class is asked, and most classes have none."""

    __slots__ = ()
    fanned = "operator"

    def meet(self, obj: Obj) -> None:
        if obj is WEAK:
            self.root.doubted()
        elif obj.marks:
            self.leads_nowhere()
        else:
            obj.operate(self)

    def missing(self) -> None:
        """The type has its own ways."""


class Store(Use):
    """An attribute is assigned."""

    __slots__ = ("name", "node", "site")

    def __init__(self, site: tuple[Program, Function, int], name: str, node: int) -> None:
        self.site = site
        self.name = name
        self.node = node

    def meet(self, obj: Obj) -> None:
        if not obj.marks:
            obj.store(self)

    def call(self, dest: int, args: Arguments, name: str, how: str) -> Special:
        """The call that the assignment stands for."""
        program, unit, offset = self.site
        return Special(program, unit, offset, dest, args, name, how)
