"""Where nothing but a name is known: one fan for each name, whoever asks, and whatever has it.

So many callers and so many candidates take as much room as both together, and not as their product.
"""

from __future__ import annotations

from livepatch.compat.calls.binding import Binding
from livepatch.compat.calls.classes import Class, Instance
from livepatch.compat.calls.objects import Descriptor, Function, Outside
from livepatch.compat.calls.uses import FALLBACKS, NONE, Arguments, Call, Lookup, MethodCall, Site, Special, Use
from livepatch.compat.calls.world import UNKNOWN, Obj

__all__ = ["Fan", "Fans"]

_MOST_FOLLOWED = 20
"""Candidates up to which arguments and values are followed through a name."""
_POSITIONS = 6
_CALLS_NOTHING = frozenset({"builtins", "typing", "typing_extensions", "abc", "enum"})
"""Modules of classes that do not call what those below define, or of which it is known."""
_MAKING = frozenset({"__init__", "__new__", "__init_subclass__", "__class_getitem__", "__set_name__", "__post_init__"})


class Fan(MethodCall):
    """All that has a name, as if it were called from one place."""

    __slots__ = ("candidates", "followed", "keywords", "linked")

    candidates: int
    followed: bool
    keywords: dict[str, int]
    linked: set[Site]

    def forget(self) -> None:
        super().forget()
        self.linked = set()


class _Candidate(Use):
    """What is stored under the name."""

    __slots__ = ("fan", "kind")

    def __init__(self, fan: Fan, kind: Class | None) -> None:
        self.fan = fan
        self.kind = kind

    def meet(self, obj: Obj) -> None:
        fan, kind = self.fan, self.kind
        if isinstance(obj, Outside) or obj.marks:
            return
        if fan.how in {"call", "operator"}:
            if isinstance(obj, Function) or not isinstance(obj, Descriptor):
                if isinstance(obj, Function) and kind is not None and not obj.static:
                    obj.call(fan, kind.instance())
                elif obj.callable:
                    obj.call(fan)
            elif kind is not None:
                fan.program.bind(fan, obj, kind.instance(), kind)
        elif kind is not None:
            fan.program.bind(fan, obj, kind.instance(), kind)
        elif obj.callable:
            fan.program.flow.add(fan.dest, obj)


class _Escape(Use):
    """What is handed to somebody who is not looked into may be called by him."""

    __slots__ = ("call", "deep")

    def __init__(self, call: Call, *, deep: bool) -> None:
        self.call = call
        self.deep = deep

    def meet(self, obj: Obj) -> None:
        if obj.callable:
            if not isinstance(obj, Outside):
                obj.call(self.call)
            if isinstance(obj, Class):
                self.call.program.exposes(self.call, obj)
        elif isinstance(obj, Instance):
            if obj.kind.in_graph:
                self.call.program.exposes(self.call, obj.kind)
        elif self.deep:
            box = obj.contents()
            if box is not None:
                box.program.flow.attach(box.every(), _Escape(self.call, deep=False))


class _Inherited(Use):
    """A method that a class which is not looked into may call, because the class derives from it."""

    __slots__ = ("call", "kind")

    def __init__(self, call: Call, kind: Class) -> None:
        self.call = call
        self.kind = kind

    def meet(self, obj: Obj) -> None:
        if isinstance(obj, Function) and not obj.static:
            obj.call(self.call, self.kind.instance())


class Fans(Binding):
    """Possible edges."""

    def __init__(self) -> None:
        super().__init__()
        self.fans: dict[tuple[str, str], Fan] = {}
        self._opened: list[Site] = []
        self._exposed: set[tuple[Site, Class]] = set()
        self._deriving: dict[Class, bool] = {}
        self._escaped: dict[Site, Call] = {}

    def weaken(self, target: Obj) -> None:
        """What it gets as arguments is not all certain."""
        if isinstance(target, Function):
            target.weaken()

    def opened(self, site: Site) -> None:
        """Nobody knows what the site calls."""
        self._opened.append(site)

    def escape(self, call: Call, nodes: list[int] | None = None) -> None:
        """What a call passes may be called by somebody who is not looked into."""
        site = call.root
        if site.how == "argument":  # it came this way itself
            return
        made = self._escaped.get(site)
        if made is None:
            nodes = call.args.all_nodes() if nodes is None else nodes
            nodes = [node for node in nodes if node not in self.plain]
            for spread in (call.args.star, call.args.double):
                if spread >= 0:
                    nodes.append(spread)
            if not nodes:
                return
            made = call.beside(NONE, how="argument", doubt=True)
            made.args = Arguments((self.unknown,) * _POSITIONS)
            self._escaped[site] = made
            for node in nodes:
                self.flow.attach(node, _Escape(made, deep=True))

    def inherits_outside(self, site: Site, kind: Class) -> None:
        """A method is called that the class has from one that is not looked into, and that may call the others."""
        if not self.settled:
            self.later(lambda: self.inherits_outside(site, kind))
            return
        place = site.root
        if place.offset >= 0 and self._derives(kind) and (place, kind) not in self._exposed:
            made = place.beside(NONE, how="argument", doubt=True)
            made.args = Arguments((self.unknown,) * _POSITIONS)
            self._exposed.add((place, kind))
            self.exposes(made, kind)

    def exposes(self, call: Call, kind: Class) -> None:
        """Somebody who is not looked into has an instance whose class derives from one of his."""
        if not self.settled:
            self.later(lambda: self.exposes(call, kind))
            return
        if not self._derives(kind) or (call, kind) in self._exposed:
            return
        self._exposed.add((call, kind))
        for one in kind.order:
            for name, place in list(one.names.items()) if one.in_graph else ():
                if not name.startswith("_") or (name.startswith("__") and name not in _MAKING):
                    candidate = _Inherited(call, one)
                    if isinstance(place, int):
                        self.flow.attach(place, candidate)
                    else:
                        candidate.meet(place)

    def _derives(self, kind: Class) -> bool:
        """Whether it derives from a class that is not looked into, and that calls methods of those below."""
        known = self._deriving.get(kind)
        if known is None:
            known = kind.in_graph and (
                kind.outside or any(not one.in_graph and one.module not in _CALLS_NOTHING for one in kind.order)
            )
            self._deriving[kind] = known
        return known

    # Fans

    def open_fans(self) -> bool:
        """Link the sites of which only the name is known to all that has it.  Whether there were any."""
        self._nobody_knows()
        self._declared_but_narrowed()
        opened, self._opened = self._opened, []
        for site in opened:
            if isinstance(site, (MethodCall, Lookup)):
                self._link(site, self._fan_for(site))
            else:
                if isinstance(site, Call):
                    self.escape(site)
                    if site.overfull:
                        site.fan = self.fan_of_all()
                self.flow.add(site.dest, UNKNOWN)
        return bool(opened)

    def _nobody_knows(self) -> None:
        """Let unknown values be where nothing has arrived: there is no caller, or none that is known."""
        waiting, self.waiting = self.waiting, []
        for node, site, kind in waiting:
            if node < 0:  # the name may have turned up since
                node = self.fields.reader(kind, site.name, below=True)  # noqa: PLW2901  # the same, found later
                if self.fields.stored(node):
                    site.take_node(node)
            if not self.fields.stored(node):
                for given in self.fields.any_of(kind):
                    site.take_node(given)
                site.missing()
                if kind.outside:
                    kind.load_outside(site)
                    self.inherits_outside(site, kind)
        self._replaced()
        for function in self.functions.values():
            if not function.called and function.scope is None and function.home is function:
                function.called = True
                function.weaken(UNKNOWN)
        flow = self.flow
        asked, self.asked = self.asked, []
        for node in flow.empty(asked):
            if node != self.silent:
                flow.add(node, UNKNOWN)
        flow.run()

    def _replaced(self) -> None:
        """Where attributes of classes are replaced whose names nobody knows, any of theirs may be another."""
        replaced, self.fields.replaced = self.fields.replaced, {}
        for site in tuple(self.sites) if replaced else ():
            if isinstance(site, (MethodCall, Lookup)):
                owners = [one.owner for one in site.targets if isinstance(one, Function)]
                for kind in owners:
                    for given in self.fields.any_of(kind) if kind in replaced else ():
                        site.doubted()
                        site.take_node(given)

    def _declared_but_narrowed(self) -> None:
        """Where something of another type than the declared one is passed, the name is possible, too."""
        flow = self.flow
        narrowed, flow.narrowed = flow.narrowed, {}
        for node in narrowed:
            for use in tuple(flow.used(node)):
                if isinstance(use, (MethodCall, Lookup)) and use.fan is None and not isinstance(use, Special):
                    self._link_aside(use)
        flow.run()

    def fan_of_all(self) -> Fan:
        """All that was too much for some node, as if it were called from one place."""
        fan = self.fans.get(("", "dropped"))
        if fan is None:
            fan = Fan(
                self.program, self.program.nowhere, -1, self.flow.node(), Arguments((self.unknown,) * _POSITIONS), ""
            )
            self.sites.pop()
            fan.how, fan.doubt, fan.open = "call", True, True
            fan.keywords, fan.linked, fan.candidates, fan.followed = {}, set(), 0, False
            self.fans["", "dropped"] = fan
        return fan

    def fill_fan_of_all(self) -> None:
        """Let it call what was dropped since."""
        dropped, self.flow.dropped = self.flow.dropped, {}
        if dropped:
            fan = self.fan_of_all()
            for obj in dropped:
                obj.call(fan)

    def _fan_for(self, site: MethodCall | Lookup) -> Fan:
        how = site.fanned
        key = site.name, how
        fan = self.fans.get(key)
        if fan is None:
            fan = Fan(self.program, site.unit, -1, self.flow.node(), NONE, site.name)
            self.sites.pop()
            fan.how, fan.doubt, fan.open = how, True, True
            fan.keywords, fan.linked = {}, set()
            self.fans[key] = fan
            self._fill(fan)
        return fan

    def _fill(self, fan: Fan) -> None:
        names = (fan.name, *FALLBACKS.get(fan.name, ())) if fan.how == "operator" else (fan.name,)
        fields = [] if fan.how == "operator" else self.fields.by_name.get(fan.name, [])
        globals_ = [] if fan.how == "operator" else self.globals_named(fan.name)
        definers = [(kind, name) for name in names for kind in self.definers.get(name, ())]
        fan.candidates = len(definers) + len(fields) + len(globals_)
        fan.followed = fan.candidates <= _MOST_FOLLOWED
        fan.args = Arguments(
            tuple([self.flow.node() if fan.followed else self.unknown for _ in range(_POSITIONS)]),
        )
        for kind, name in definers:
            place = kind.names.get(name)
            if isinstance(place, int):
                self.flow.attach(place, _Candidate(fan, kind))
            elif place is not None:
                _Candidate(fan, kind).meet(place)
        for node in (*fields, *globals_):
            self.flow.attach(node, _Candidate(fan, None))

    def globals_named(self, name: str) -> list[int]:
        """The nodes of functions of modules that have the name."""
        raise NotImplementedError

    def _link(self, site: MethodCall | Lookup, fan: Fan) -> None:
        site.fan = fan
        if site in fan.linked:
            return
        fan.linked.add(site)
        if not fan.followed or not fan.candidates:
            if isinstance(site, MethodCall) and not isinstance(site, Special):
                self.escape(site)
            self.flow.add(site.dest, UNKNOWN)
            return
        self.flow.copy(fan.dest, site.dest)
        self.flow.add(site.dest, UNKNOWN)
        if isinstance(site, MethodCall):
            for node, target in zip(site.args.positional, fan.args.positional, strict=False):
                self.flow.copy(node, target)
            for name, node in site.args.keywords:
                self.flow.copy(node, self._keyword(fan, name))
            for spread in (site.args.star, site.args.double):
                if spread >= 0:
                    self.escape(site)

    def _link_aside(self, site: MethodCall | Lookup) -> None:
        """What is declared is certain; what has the name is possible, because others are passed there, too."""
        fan = self._fan_for(site)
        if fan.followed:
            self._link(site, fan)
        else:
            site.fan = fan

    def _keyword(self, fan: Fan, name: str) -> int:
        node = fan.keywords.get(name, -1)
        if node < 0:
            node = fan.keywords[name] = self.flow.node()
            for target in list(fan.targets):
                parameter = target.parameter_named(name) if isinstance(target, Function) else -1
                if parameter >= 0:
                    self.flow.copy(node, parameter)
            fan.args = Arguments(fan.args.positional, (*fan.args.keywords, (name, node)))
        return node
