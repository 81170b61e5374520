"""Builtins that look into objects, make descriptors and classes, or run text."""

from __future__ import annotations

from livepatch.compat.calls.classes import AnyOf, Class, Instance
from livepatch.compat.calls.containers import Const
from livepatch.compat.calls.library import name_of
from livepatch.compat.calls.models import Models, model
from livepatch.compat.calls.objects import Descriptor, Function, Module, Partial
from livepatch.compat.calls.uses import NONE, Arguments, Call, Lookup, Store, Use
from livepatch.compat.calls.world import UNKNOWN, WEAK, Obj

__all__: list[str] = []


# Attributes by name


@model("builtins:getattr")
def _getattr(models: Models, call: Call, receiver: Obj | None) -> None:
    if len(call.args.positional) < 2:
        models.flow.add(call.dest, UNKNOWN)
        return
    if call.root.offset >= 0:
        models.flow.attach(call.args.positional[1], _Names(models, call))
        models.program.asked.append(call.args.positional[1])
    if len(call.args.positional) > 2:
        models.flow.copy(call.args.positional[2], call.dest)


class _Names(Use):
    """The name of an attribute that is asked for."""

    __slots__ = ("call", "models", "prefixes")

    def __init__(self, models: Models, call: Call) -> None:
        self.models = models
        self.call = call
        self.prefixes: set[str] = set()

    def meet(self, obj: Obj) -> None:
        call, models = self.call, self.models
        receiver = call.args.positional[0]
        if isinstance(obj, Const) and not obj.value.endswith("*"):
            node = models.program.lookup(call.unit, call.offset, receiver, obj.value)
            models.flow.copy(node, call.dest)
        elif obj is not WEAK:
            prefix = obj.value[:-1] if isinstance(obj, Const) else ""
            if prefix not in self.prefixes:
                self.prefixes.add(prefix)
                models.flow.attach(receiver, _Prefixed(models, call, prefix))


class _Prefixed(Use):
    """Any attribute of an object whose name begins so."""

    __slots__ = ("call", "models", "prefix", "seen", "site")

    def __init__(self, models: Models, call: Call, prefix: str) -> None:
        self.models = models
        self.call = call
        self.prefix = prefix
        self.seen: set[Obj] = set()
        self.site = Lookup(models.program, call.unit, call.offset, call.dest, NONE, prefix, "property")
        self.site.doubt = True

    def meet(self, obj: Obj) -> None:
        program, call = self.models.program, self.call
        if obj in self.seen:
            return
        self.seen.add(obj)
        program.flow.add(call.dest, UNKNOWN)
        if isinstance(obj, Module):
            for node in program.functions_of(obj.name, self.prefix):
                program.flow.copy(node, call.dest)
            return
        kind = obj.kind_of()
        if kind is None or not kind.in_graph:
            return
        names = {name for one in self._classes(kind, obj) for name in one.names if name.startswith(self.prefix)}
        if len(names) <= _MOST_NAMES:
            for name in sorted(names):
                if not name.startswith("__"):
                    program.give(self.site, kind.find(name, below=self._is_open(obj)), obj, kind)

    def _classes(self, kind: Class, obj: Obj) -> list[Class]:
        classes = [*kind.order, *(kind.below() if self._is_open(obj) else ())]
        return [one for one in classes[:_MOST_NAMES] if one.in_graph]

    @staticmethod
    def _is_open(obj: Obj) -> bool:
        return isinstance(obj, AnyOf) or (isinstance(obj, Instance) and obj.below)


_MOST_NAMES = 200
"""Names that an attribute of an unknown name may have, above which none of them is taken for it."""


@model("builtins:setattr")
def _setattr(models: Models, call: Call, receiver: Obj | None) -> None:
    if len(call.args.positional) > 2:
        target, name, value = call.args.positional[:3]
        models.flow.attach(name, _Set(models, call, target, value))


class _Set(Use):
    __slots__ = ("call", "models", "target", "value")

    def __init__(self, models: Models, call: Call, target: int, value: int) -> None:
        self.models = models
        self.call = call
        self.target = target
        self.value = value

    def meet(self, obj: Obj) -> None:
        call, program = self.call, self.models.program
        if isinstance(obj, Const):
            program.stored_names.add(obj.value)
            program.flow.attach(self.target, Store((program, call.unit, call.offset), obj.value, self.value))
        else:
            program.escape(call)
            program.flow.attach(self.target, _SetAny(self.value))


class _SetAny(Use):
    """An attribute is assigned whose name nobody knows."""

    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        self.value = value

    def meet(self, obj: Obj) -> None:
        kind = obj.kind_of()
        if kind is not None and kind.in_graph:
            kind.program.fields.store_any(kind, self.value, on_class=obj.is_class)


@model("builtins:super")
def _super(models: Models, call: Call, receiver: Obj | None) -> None:
    program, args = models.program, call.args.positional
    if len(args) == 2:
        models.flow.copy(program.super_node(call.unit, call.offset, -1, args[0], args[1]), call.dest)
    elif not args:
        program.own_super(call.unit, call.dest)


@model("builtins:type")
def _type(models: Models, call: Call, receiver: Obj | None) -> None:
    if len(call.args.positional) == 1:
        models.flow.attach(call.args.positional[0], _TypeOf(models, call.dest))
    else:
        models.program.escape(call)
        models.flow.add(call.dest, UNKNOWN)


class _TypeOf(Use):
    __slots__ = ("dest", "models")

    def __init__(self, models: Models, dest: int) -> None:
        self.models = models
        self.dest = dest

    def meet(self, obj: Obj) -> None:
        if isinstance(obj, Instance):
            self.models.flow.add(self.dest, obj.kind.or_below() if obj.below else obj.kind)
        elif obj.marks:
            self.models.flow.add(self.dest, obj)


@model("builtins:globals", "builtins:vars")
def _globals(models: Models, call: Call, receiver: Obj | None) -> None:
    if call.args.positional and "vars" in name_of(call):
        node = models.program.lookup(call.unit, call.offset, call.args.positional[0], "__dict__")
        models.flow.copy(node, call.dest)
        return
    found = models.program.modules.get(call.unit.module)
    models.flow.add(call.dest, found if found is not None and not call.args.positional else UNKNOWN)


@model("importlib:import_module", "builtins:__import__")
def _import(models: Models, call: Call, receiver: Obj | None) -> None:
    name = call.args.get(0, "name")
    if name >= 0:
        models.flow.attach(name, _Imported(models, call))
        models.program.asked.append(name)


class _Imported(Use):
    """The name of a module that is imported."""

    __slots__ = ("call", "models")

    def __init__(self, models: Models, call: Call) -> None:
        self.models = models
        self.call = call

    def meet(self, obj: Obj) -> None:
        program, dest = self.models.program, self.call.dest
        if not isinstance(obj, Const):
            program.flow.add(dest, UNKNOWN)
            return
        name = obj.value.rstrip("*")
        bare = name.lstrip(".")
        level = len(name) - len(bare)
        if not level:
            self._give(name)
            return
        for package in self.models.texts(self.call.args.get(1, "package")) or (None,):
            if package is None:
                found = program.absolute(self.call.unit.module, bare, level)
            else:
                parts = package.split(".")
                found = ".".join([*parts[: len(parts) - level + 1], bare])
            self._give(found)

    def _give(self, name: str) -> None:
        program, call = self.models.program, self.call
        program.flow.add(call.dest, program.module_named(name))
        if call.root.offset >= 0:
            program.runs(call.unit, call.offset, name)


@model("builtins:eval", "builtins:exec")
def _run_text(models: Models, call: Call, receiver: Obj | None) -> None:
    text = call.args.get(0)
    if text >= 0:
        models.flow.attach(text, _Text(models, call))
        models.program.asked.append(text)


class _Text(Use):
    """A text that is run."""

    __slots__ = ("call", "models", "ran")

    def __init__(self, models: Models, call: Call) -> None:
        self.models = models
        self.call = call
        self.ran: set[str] = set()

    def meet(self, obj: Obj) -> None:
        if isinstance(obj, Const):
            if obj.value in self.ran:
                return
            self.ran.add(obj.value)
            if self.models.program.run_text(self.call, obj.value):
                return
        self.call.leads_nowhere()
        self.models.flow.add(self.call.dest, UNKNOWN)


# Types of their own accord


@model(
    "builtins:len",
    "builtins:str",
    "builtins:repr",
    "builtins:bool",
    "builtins:int",
    "builtins:float",
    "builtins:hash",
    "builtins:abs",
    "builtins:bytes",
    "builtins:format",
    "builtins:round",
    "builtins:print",
    "builtins:dir",
    "builtins:complex",
    "builtins:divmod",
    "builtins:pow",
    "str.format",
)
def _asks_the_type(models: Models, call: Call, receiver: Obj | None) -> None:
    asked = _ASKED.get(_shown(call), ())
    for node in call.args.positional:
        for name in asked:
            dest = models.flow.node()
            models.special(call, node, name, (), dest)
    result = _GIVEN.get(_shown(call))
    models.flow.add(call.dest, models.program.plain_kind(result).exactly() if result else UNKNOWN)


def _shown(call: Call) -> str:
    name: str = getattr(next(reversed(tuple(call.targets)), None), "name", "")
    return name.partition(":")[2]


_ASKED = {
    "len": ("__len__",),
    "str": ("__str__",),
    "print": ("__str__",),
    "repr": ("__repr__",),
    "bool": ("__bool__",),
    "int": ("__int__", "__index__"),
    "float": ("__float__",),
    "complex": ("__complex__",),
    "hash": ("__hash__",),
    "abs": ("__abs__",),
    "bytes": ("__bytes__",),
    "format": ("__format__",),
    "round": ("__round__",),
    "dir": ("__dir__",),
    "divmod": ("__divmod__",),
    "pow": ("__pow__",),
}
_GIVEN: dict[str, type] = {
    "len": int,
    "str": str,
    "repr": str,
    "bool": bool,
    "int": int,
    "float": float,
    "hash": int,
    "bytes": bytes,
    "format": str,
}


# Descriptors and partials


@model(
    "builtins:property",
    "builtins:classmethod",
    "builtins:staticmethod",
    "functools:cached_property",
    "abc:abstractproperty",
)
def _descriptor(models: Models, call: Call, receiver: Obj | None) -> None:
    program, shown = models.program, _shown(call)
    if shown.endswith("property"):
        kind = "cached" if "cached" in shown else "property"
        names = ("func",) if kind == "cached" else ("fget", "fset", "fdel")
        parts = {name: node for i, name in enumerate(names) if (node := call.args.get(i, name)) >= 0}
        made = Descriptor(program, "cached" if kind == "cached" else "property", {})
        for name, node in parts.items():
            models.flow.copy(node, made.part(name))
            if name == "fget":
                models.flow.attach(node, _Claims(models))
    else:
        made = Descriptor(program, "class" if shown == "classmethod" else "static", {})
        node = call.args.get(0)
        if node >= 0:
            models.flow.copy(node, made.part("func"))
            models.flow.attach(node, _Binds(is_class=shown == "classmethod"))
    models.flow.add(call.dest, made)


class _Claims(Use):
    """The getter of a property has the best claim to its name."""

    __slots__ = ("models",)

    def __init__(self, models: Models) -> None:
        self.models = models

    def meet(self, obj: Obj) -> None:
        if isinstance(obj, Function):
            self.models.program.named.add(obj)


class _Binds(Use):
    """A function in a class body is made a class method or static method."""

    __slots__ = ("is_class",)

    def __init__(self, *, is_class: bool) -> None:
        self.is_class = is_class

    def meet(self, obj: Obj) -> None:
        if isinstance(obj, Function):
            obj.bind_otherwise(is_class=self.is_class)


@model("functools:singledispatch", "functools:singledispatchmethod")
def _dispatch(models: Models, call: Call, receiver: Obj | None) -> None:
    made = Descriptor(models.program, "dispatch", {})
    node = call.args.get(0)
    if node >= 0:
        models.flow.copy(node, made.part("func"))
    models.flow.add(call.dest, made)


@model("livepatch:register")
def _registers(models: Models, call: Call, receiver: Obj | None) -> None:
    if isinstance(receiver, Descriptor):
        for node in call.args.positional:
            models.flow.copy(node, receiver.part("func"))
            models.flow.copy(node, call.dest)
        if len(call.args.positional) == 1:  # a class alone gives a decorator
            through = models.program.outside("livepatch:register")
            models.flow.add(call.dest, models.program.bound(through, receiver))


_ACCESSORS = {"getter": "fget", "setter": "fset", "deleter": "fdel"}


@model("livepatch:getter", "livepatch:setter", "livepatch:deleter")
def _accessor(models: Models, call: Call, receiver: Obj | None) -> None:
    node = call.args.get(0)
    if isinstance(receiver, Descriptor) and node >= 0:
        for shown in name_of(call).split():
            models.flow.copy(node, receiver.part(_ACCESSORS.get(shown.partition(":")[2], "fget")))
        models.flow.add(call.dest, receiver)


@model("functools:partial", "functools:partialmethod", "_functools:partial")
def _partial(models: Models, call: Call, receiver: Obj | None) -> None:
    args = call.args
    if args.positional:
        mine = Arguments(args.positional[1:], args.keywords, args.star, args.double)
        models.flow.add(call.dest, Partial(models.program, args.positional[0], mine))
    else:
        models.program.escape(call)
        models.flow.add(call.dest, UNKNOWN)


@model("builtins:object.__new__")
def _new(models: Models, call: Call, receiver: Obj | None) -> None:
    node = call.args.get(0)
    if node >= 0:
        models.flow.attach(node, _Made(models, call.dest))


class _Made(Use):
    __slots__ = ("dest", "models")

    def __init__(self, models: Models, dest: int) -> None:
        self.models = models
        self.dest = dest

    def meet(self, obj: Obj) -> None:
        if isinstance(obj, (Class, AnyOf)):
            kind = obj if isinstance(obj, Class) else obj.kind
            self.models.flow.add(self.dest, kind.instance())
        elif obj.marks:
            self.models.flow.add(self.dest, obj)


@model(
    "contextlib:ExitStack.enter_context",
    "contextlib:_BaseExitStack.enter_context",
    "contextlib:AsyncExitStack.enter_async_context",
)
def _enters(models: Models, call: Call, receiver: Obj | None) -> None:
    node = call.args.get(0)
    if node >= 0:
        is_async = "async" in name_of(call)
        models.special(call, node, "__aenter__" if is_async else "__enter__", (), call.dest)
        unknown = (models.program.unknown,) * 3
        models.special(call, node, "__aexit__" if is_async else "__exit__", unknown)


@model("builtins:type.__call__")
def _instantiates(models: Models, call: Call, receiver: Obj | None) -> None:
    if isinstance(receiver, (Class, AnyOf)):
        kind = receiver if isinstance(receiver, Class) else receiver.kind
        models.program.construct(kind, call, below=not isinstance(receiver, Class))
