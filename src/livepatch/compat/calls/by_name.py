"""``operator.methodcaller``, ``attrgetter`` and ``itemgetter``: what is done by a name that was given beforehand."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from livepatch.compat.calls.containers import Const, Container
from livepatch.compat.calls.library import name_of
from livepatch.compat.calls.models import Models, model
from livepatch.compat.calls.objects import Partial
from livepatch.compat.calls.uses import NONE, Arguments, Call, Lookup, MethodCall, Use
from livepatch.compat.calls.world import UNKNOWN, Obj

if TYPE_CHECKING:
    from livepatch.compat.calls.program import Program

__all__ = ["live_by_name"]

_KINDS = (operator.methodcaller, operator.attrgetter, operator.itemgetter)
_APPLIED = {f"operator:{kind.__name__}": f"operator:{kind.__name__}.<applied>" for kind in _KINDS}
_CALLS, _READS, _TAKES = _APPLIED.values()


@model("operator:methodcaller", "operator:attrgetter", "operator:itemgetter")
def _made(models: Models, call: Call, receiver: Obj | None) -> None:
    args = call.args
    for name in _APPLIED.keys() & set(name_of(call).split()):
        applied = models.program.outside(_APPLIED[name])
        mine = Arguments(args.positional, args.keywords, args.star, args.double)
        models.flow.add(call.dest, Partial(models.program, models.flow.holding(applied), mine))


def live_by_name(program: Program, value: Any, node: Callable[[object], int]) -> Obj | None:
    """A live object of the three kinds; ``None`` for any other.  `node` gives the node of a value."""
    kind = type(value)
    if kind not in _KINDS:
        return None
    made, given = value.__reduce__()
    given = (*made.args, *given) if isinstance(made, functools.partial) else given
    keywords = made.keywords if isinstance(made, functools.partial) else {}
    given = given[1:] if given and given[0] is kind else given
    applied = program.flow.holding(program.outside(_APPLIED[f"operator:{kind.__name__}"]))
    named = tuple((str(name), node(one)) for name, one in keywords.items())
    return Partial(program, applied, Arguments(tuple(map(node, given)), named))


class _Named(Use):
    """A name turns up; what is done with it is done for each text that it may be."""

    __slots__ = ("call", "do", "models")

    def __init__(self, models: Models, call: Call, do: Callable[[str], None]) -> None:
        self.models = models
        self.call = call
        self.do = do

    def meet(self, obj: Obj) -> None:
        if isinstance(obj, Const) and not obj.value.endswith("*"):
            self.do(obj.value)
        else:
            self.call.leads_nowhere()
            self.models.flow.add(self.call.dest, UNKNOWN)


@model(_CALLS)
def _calls(models: Models, call: Call, receiver: Obj | None) -> None:
    """``methodcaller(name, *mine)(obj)``: the object comes last."""
    program, args = models.program, call.args
    if len(args.positional) < 2 or call.root.offset < 0:
        models.flow.add(call.dest, UNKNOWN)
        return
    name, *mine, obj = args.positional

    def do(text: str) -> None:
        given = Arguments(tuple(mine), args.keywords, args.star, args.double)
        models.flow.attach(obj, MethodCall(program, call.unit, call.offset, call.dest, given, text, "call"))
        program.asked.append(obj)

    models.flow.attach(name, _Named(models, call, do))


@model(_READS)
def _reads(models: Models, call: Call, receiver: Obj | None) -> None:
    """``attrgetter("a.b", ...)(obj)``: a path for each name; a tuple of what is found if there are several."""
    program = models.program
    *names, obj = call.args.positional or (-1,)
    if not names or call.root.offset < 0:
        models.flow.add(call.dest, UNKNOWN)
        return
    for name, dest in zip(names, _places(models, call, len(names)), strict=True):

        def do(text: str, dest: int = dest) -> None:
            node = obj
            *path, last = text.split(".")
            for part in path:
                node = program.lookup(call.unit, call.offset, node, part)
            models.flow.attach(node, Lookup(program, call.unit, call.offset, dest, NONE, last, "property"))
            program.asked.append(node)

        models.flow.attach(name, _Named(models, call, do))


@model(_TAKES)
def _takes(models: Models, call: Call, receiver: Obj | None) -> None:
    """``itemgetter(key, ...)(obj)``."""
    program = models.program
    *keys, obj = call.args.positional or (-1,)
    if not keys or call.root.offset < 0:
        models.flow.add(call.dest, UNKNOWN)
        return
    for key, dest in zip(keys, _places(models, call, len(keys)), strict=True):
        texts = models.texts(key)
        shown = texts[0] if texts and len(texts) == 1 else program.number_of(key)
        program.item(call.unit, call.offset, obj, shown, key, dest)


def _places(models: Models, call: Call, count: int) -> list[int]:
    """Where each of some values goes: to the result, or to a position of the tuple that the result is."""
    if count == 1:
        return [call.dest]
    row = Container(models.program, "tuple")
    models.flow.add(call.dest, row)
    return [row.item(i) for i in range(count)]
