"""Builtins that ask the type of what they get: to add it up, turn it round, compare it, or copy it."""

from __future__ import annotations

from livepatch.compat.calls.classes import Instance
from livepatch.compat.calls.library import OnlyInstances, iterate, name_of
from livepatch.compat.calls.models import Models, model
from livepatch.compat.calls.moves import Iterating
from livepatch.compat.calls.objects import Default, Partial
from livepatch.compat.calls.uses import Arguments, Call, Special, Use
from livepatch.compat.calls.world import UNKNOWN, Obj

__all__ = ["ask"]


def ask(models: Models, call: Call, node: int, name: str, args: tuple[int, ...] = (), dest: int = -1) -> None:
    """Ask those of some values for a method of the type that are instances of a class of the program."""
    program = models.program
    if node < 0 or node in program.plain or name not in program.answered or call.root.offset < 0:
        return
    target = models.flow.node() if dest < 0 else dest
    site = Special(program, call.unit, call.offset, target, Arguments(args), name, "operator")
    models.flow.attach(node, OnlyInstances(site))


@model("builtins:sum")
def _sum(models: Models, call: Call, receiver: Obj | None) -> None:
    values, start = call.args.get(0), call.args.get(1, "start")
    element = models.flow.node()
    models.element(values, element)
    iterate(models, call, values, element)
    models.flow.copy(element, call.dest)
    if start >= 0:
        models.flow.copy(start, call.dest)
    ask(models, call, call.dest, "__add__", (element,), call.dest)  # what there is so far, the start first
    ask(models, call, element, "__radd__", (call.dest,), call.dest)
    models.flow.add(call.dest, UNKNOWN)


@model("builtins:any", "builtins:all")
def _any(models: Models, call: Call, receiver: Obj | None) -> None:
    values, element = call.args.get(0), models.flow.node()
    models.element(values, element)
    iterate(models, call, values, element)
    ask(models, call, element, "__bool__")
    models.flow.add(call.dest, models.program.plain_kind(bool).exactly())


@model("builtins:reversed")
def _reversed(models: Models, call: Call, receiver: Obj | None) -> None:
    box, values = models.box(call, "list"), call.args.get(0)
    models.element(values, box.rest())
    if values >= 0 and call.root.offset >= 0:
        given = models.flow.node()
        ask(models, call, values, "__reversed__", (), given)
        models.program.next_of(call.unit, call.offset, given, box.rest(), "__next__")
        if "__getitem__" in models.program.defined:
            ask(models, call, values, "__len__")
            ask(models, call, values, "__getitem__", (models.program.number,), box.rest())


@model("builtins:iter")
def _iter(models: Models, call: Call, receiver: Obj | None) -> None:
    values = call.args.get(0)
    if len(call.args.positional) > 1:  # what it calls until that gives the second
        models.callback(call, values, (), models.box(call, "list").rest())
    elif values >= 0:
        models.flow.copy(values, call.dest)
        if call.root.offset >= 0:
            program = models.program
            models.flow.attach(values, OnlyInstances(Iterating(program, call.unit, call.offset, call.dest, "__iter__")))


@model("builtins:isinstance", "builtins:issubclass")
def _checks(models: Models, call: Call, receiver: Obj | None) -> None:
    name = "__subclasscheck__" if "issubclass" in name_of(call) else "__instancecheck__"
    program = models.program
    if name in program.defined and len(call.args.positional) == 2:
        value, kinds = call.args.positional
        inner = models.flow.node()
        models.flow.copy(kinds, inner)
        models.element(kinds, inner)
        program.special(call.unit, call.offset, inner, name, (value,))
    models.flow.add(call.dest, program.plain_kind(bool).exactly())


@model("copy:copy", "copy:deepcopy")
def _copy(models: Models, call: Call, receiver: Obj | None) -> None:
    node = call.args.get(0, "x")
    if node >= 0:
        models.flow.copy(node, call.dest)
        for name in ("__copy__", "__deepcopy__", "__reduce_ex__", "__reduce__", "__getstate__"):
            if (name == "__deepcopy__") <= ("deepcopy" in name_of(call)):
                ask(models, call, node, name, (models.program.unknown,), call.dest)


@model("dataclasses:field")
def _field(models: Models, call: Call, receiver: Obj | None) -> None:
    models.flow.add(call.dest, Default(call.args.get(9, "default"), call.args.get(9, "default_factory")))


@model("dataclasses:replace", "copy:replace")
def _replace(models: Models, call: Call, receiver: Obj | None) -> None:
    node = call.args.get(0, "obj")
    if node >= 0:
        models.flow.copy(node, call.dest)
        models.flow.attach(node, _MadeAgain(call))


class _MadeAgain(Use):
    """An object is made again, with other attributes."""

    __slots__ = ("call",)

    def __init__(self, call: Call) -> None:
        self.call = call

    def meet(self, obj: Obj) -> None:
        if isinstance(obj, Instance) and obj.kind.in_graph and self.call.root.offset >= 0:
            args = Arguments((), self.call.args.keywords, -1, self.call.args.double)
            obj.kind.call(self.call.beside(args, how="call"), below=obj.below)


_WITHIN = "contextlib:ContextDecorator.<within>"


@model("contextlib:ContextDecorator.__call__")
def _decorates(models: Models, call: Call, receiver: Obj | None) -> None:
    function = call.args.get(0, "func")
    if receiver is not None and function >= 0:
        through = models.flow.holding(models.program.outside(_WITHIN))
        given = Arguments((models.flow.holding(receiver), function))
        models.flow.add(call.dest, Partial(models.program, through, given))


@model(_WITHIN)
def _within(models: Models, call: Call, receiver: Obj | None) -> None:
    context, function = call.args.get(0), call.args.get(1)
    ask(models, call, context, "__enter__")
    ask(models, call, context, "__exit__", (models.program.unknown,) * 3)
    made = call.beside(Arguments(call.args.positional[2:], call.args.keywords, call.args.star, call.args.double))
    made.parent = call.root
    models.flow.attach(function, made)
    models.flow.copy(made.dest, call.dest)


@model("contextlib:closing")
def _closing(models: Models, call: Call, receiver: Obj | None) -> None:
    node = call.args.get(0, "thing")
    if node >= 0:
        models.flow.copy(node, call.dest)
        ask(models, call, node, "close")
