"""Builtins and the standard library, as far as they call what they get or hand it on."""

from __future__ import annotations

from livepatch.compat.calls.classes import Instance
from livepatch.compat.calls.containers import Const, Container
from livepatch.compat.calls.models import Models, model
from livepatch.compat.calls.moves import Iterating, Next
from livepatch.compat.calls.objects import Outside, Partial
from livepatch.compat.calls.uses import Arguments, Call, MethodCall, Store, Use
from livepatch.compat.calls.world import UNKNOWN, Obj

__all__ = ["OnlyInstances", "iterate", "name_of"]


# Values that come through


@model(
    "functools:wraps.<decorator>",
    "functools:lru_cache.<decorator>",
    "functools:cache",
    "functools:total_ordering",
    "functools:_lru_cache_wrapper",
    "abc:abstractmethod",
    "typing:overload",
    "typing:final",
    "typing:no_type_check",
    "typing:runtime_checkable",
    "typing:override",
    "typing_extensions:final",
    "typing_extensions:override",
    "dataclasses:dataclass",
    "dataclasses:dataclass.<decorator>",
    "contextlib:contextmanager",
    "contextlib:asynccontextmanager",
    "types:coroutine",
    "weakref:proxy",
    "weakref:ref.<given>",
    "enum:unique",
    "asyncio:create_task",
    "asyncio:ensure_future",
    "asyncio:shield",
    "asyncio:wait_for",
    "asyncio:run",
    "asyncio.tasks:create_task",
    "asyncio.tasks:ensure_future",
    "asyncio.tasks:shield",
    "asyncio.tasks:wait_for",
    "builtins:super.<receiver>",
    "atexit:register",
)
def _same(models: Models, call: Call, receiver: Obj | None) -> None:
    node = call.args.get(0)
    if node >= 0:
        models.flow.copy(node, call.dest)
    else:  # a decorator with options
        models.flow.add(call.dest, models.program.outside("functools:wraps.<decorator>"))


@model("functools:wraps", "functools:lru_cache")
def _decorator(models: Models, call: Call, receiver: Obj | None) -> None:
    node = call.args.get(0, "wrapped")
    if "lru_cache" in name_of(call) and node >= 0 and node not in models.program.plain:
        models.flow.copy(node, call.dest)
    elif node >= 0 and "wraps" in name_of(call):
        applied = models.flow.holding(models.program.outside(_APPLIED))
        models.flow.add(call.dest, Partial(models.program, applied, Arguments((), (("wrapped", node),))))
    else:
        models.flow.add(call.dest, models.program.outside("functools:wraps.<decorator>"))


_APPLIED = "functools:wraps.<applied>"


@model("functools:update_wrapper", _APPLIED)
def _wraps(models: Models, call: Call, receiver: Obj | None) -> None:
    wrapper, wrapped = call.args.get(0, "wrapper"), call.args.get(1, "wrapped")
    if wrapper >= 0:
        models.flow.copy(wrapper, call.dest)
        models.flow.attach(wrapper, Store((models.program, call.unit, call.offset), "__wrapped__", wrapped))


def name_of(call: Call) -> str:
    """The names of what is called that is not looked into."""
    return " ".join(target.name for target in call.targets if isinstance(target, Outside))


@model("typing:cast")
def _second(models: Models, call: Call, receiver: Obj | None) -> None:
    node = call.args.get(1, "val")
    if node >= 0:
        models.flow.copy(node, call.dest)


@model("weakref:ref", "weakref:ReferenceType")
def _reference(models: Models, call: Call, receiver: Obj | None) -> None:
    node = call.args.get(0)
    if node >= 0:
        models.flow.add(
            call.dest, Partial(models.program, models.flow.holding(models.program.outside(_GIVE)), Arguments((node,)))
        )


_GIVE = "weakref:ref.<given>"


@model(
    "builtins:id",
    "builtins:callable",
    "builtins:hasattr",
    "builtins:object",
    "builtins:property.<none>",
    "builtins:classmethod.<none>",
    "builtins:input",
    "builtins:ord",
    "builtins:chr",
    "builtins:range",
    "builtins:locals",
    "builtins:delattr",
    "builtins:object.__init__",
    "builtins:object.__setattr__",
    "builtins:object.__getattribute__",
    "builtins:BaseException.__init__",
    "builtins:Exception.__init__",
    "builtins:type.__init__",
    "logging:getLogger",
    "warnings:warn",
    "typing:TypeVar",
    "typing:NewType",
)
def _harmless(models: Models, call: Call, receiver: Obj | None) -> None:
    if not models.flow.objects(call.dest):
        models.flow.add(call.dest, UNKNOWN)


# Functions that call functions


@model("builtins:map")
def _map(models: Models, call: Call, receiver: Obj | None) -> None:
    box = models.box(call, "list")
    elements = []
    for values in call.args.positional[1:]:
        node = models.flow.node()
        models.element(values, node)
        elements.append(node)
    models.callback(call, call.args.get(0), tuple(elements), box.rest())


@model("builtins:filter", "itertools:filterfalse", "itertools:takewhile", "itertools:dropwhile")
def _filter(models: Models, call: Call, receiver: Obj | None) -> None:
    box = models.box(call, "list")
    models.element(call.args.get(1), box.rest())
    models.callback(call, call.args.get(0), (box.rest(),))


@model("builtins:sorted", "list.sort", "heapq:nlargest", "heapq:nsmallest", "itertools:groupby")
def _sorted(models: Models, call: Call, receiver: Obj | None) -> None:
    if isinstance(receiver, Container):
        element = receiver.every()
    else:
        box = models.box(call, "list")
        element = box.rest()
        models.element(call.args.get(len(call.args.positional) - 1), element)
    models.callback(call, call.args.get(9, "key"), (element,))
    models.special(call, element, "__lt__", (element,))


@model("builtins:min", "builtins:max")
def _least(models: Models, call: Call, receiver: Obj | None) -> None:
    if len(call.args.positional) == 1:
        models.element(call.args.get(0), call.dest)
    for node in call.args.positional if len(call.args.positional) > 1 else ():
        models.flow.copy(node, call.dest)
    models.callback(call, call.args.get(9, "key"), (call.dest,))
    models.special(call, call.dest, "__lt__", (call.dest,))


@model("functools:reduce", "_functools:reduce")
def _reduce(models: Models, call: Call, receiver: Obj | None) -> None:
    element = models.flow.node()
    models.element(call.args.get(1), element)
    models.flow.copy(element, call.dest)
    if call.args.get(2) >= 0:
        models.flow.copy(call.args.get(2), call.dest)
    models.callback(call, call.args.get(0), (call.dest, element), call.dest)


@model(
    "threading:Thread",
    "multiprocessing:Process",
    "multiprocessing.context:Process",
    "threading:Timer",
    "asyncio:to_thread",
    "asyncio.threads:to_thread",
    "contextvars:Context.run",
    "_contextvars:Context.run",
)
def _starts(models: Models, call: Call, receiver: Obj | None) -> None:
    name = name_of(call)
    if "to_thread" in name or "run" in name:
        mine = Arguments(call.args.positional[1:], call.args.keywords, call.args.star, call.args.double)
        function, dest = call.args.get(0), call.dest
        if "to_thread" in name:  # the value comes when that is awaited
            dest = models.flow.node()
            models.flow.add(call.dest, _task(models, dest))
        made = call.beside(mine, dest, "argument")
    else:
        function = call.args.get(1, "function" if "Timer" in name else "target")
        passed = call.args.get(3 if "Timer" not in name else 2, "args")
        made = call.beside(Arguments((), (), passed, call.args.get(4, "kwargs")), None, "argument")
        models.flow.add(call.dest, UNKNOWN)
    made.parent = call.root
    if function >= 0:
        models.flow.attach(function, made)


@model("contextvars:copy_context", "_contextvars:copy_context")
def _context(models: Models, call: Call, receiver: Obj | None) -> None:
    models.flow.add(call.dest, models.program.made_outside(models.program.outside("contextvars:Context")))


def _task(models: Models, dest: int) -> Container:
    box = Container(models.program, "list")
    models.flow.copy(dest, box.rest())
    return box


@model("asyncio:gather", "asyncio.tasks:gather")
def _gather(models: Models, call: Call, receiver: Obj | None) -> None:
    box = models.box(call, "list")
    for node in call.args.positional:
        models.program.awaited(call.unit, call.offset, node, box.rest())
    models.program.escape(call)


# Iteration and containers


@model(
    "builtins:list",
    "builtins:tuple",
    "builtins:set",
    "builtins:frozenset",
    "collections:deque",
    "itertools:chain",
    "itertools:cycle",
    "itertools:islice",
    "itertools:chain.from_iterable",
)
def _list(models: Models, call: Call, receiver: Obj | None) -> None:
    name = name_of(call)
    box = models.box(call, "set" if "set" in name else "list")
    for values in call.args.positional if "chain" in name else call.args.positional[:1]:
        if "from_iterable" in name:
            inner = models.flow.node()
            models.element(values, inner)
            values = inner  # noqa: PLW2901  # one step further in
        models.element(values, box.rest())
        iterate(models, call, values, box.rest())


def iterate(models: Models, call: Call, values: int, dest: int) -> None:
    """Let instances of classes give what they give when they are iterated."""
    if "__iter__" in models.program.answered and values >= 0 and call.root.offset >= 0:
        given = models.flow.node()
        models.flow.attach(values, OnlyInstances(Iterating(models.program, call.unit, call.offset, given, "__iter__")))
        models.flow.attach(given, Next(models.program, call.unit, call.offset, dest, "__next__"))


class OnlyInstances(Use):
    """A use that only instances of classes meet: of an unknown value nobody expects it."""

    __slots__ = ("use",)

    def __init__(self, use: Use) -> None:
        self.use = use

    def meet(self, obj: Obj) -> None:
        if isinstance(obj, Instance):
            self.use.meet(obj)


@model("builtins:dict", "collections:OrderedDict", "collections:defaultdict", "collections:Counter", "dict.copy")
def _dict(models: Models, call: Call, receiver: Obj | None) -> None:
    box = models.box(call, "dict")
    if isinstance(receiver, Container):
        models.pour(models.flow.holding(receiver), box)
        return
    for name, node in call.args.keywords:
        models.flow.copy(node, box.item(name))
    if call.args.double >= 0:
        models.pour(call.args.double, box)
    first = call.args.get(0)
    if "defaultdict" in name_of(call):
        models.callback(call, first, (), box.rest())
        first = call.args.get(1)
    if first >= 0:
        models.pour(first, box)
        pair = models.flow.node()
        models.element(first, pair)
        models.program.unpack(call.unit, call.offset, pair, [box.keys_node(), box.rest()], -1)


@model("builtins:next", "builtins:anext")
def _next(models: Models, call: Call, receiver: Obj | None) -> None:
    values = call.args.get(0)
    if values >= 0 and call.root.offset >= 0:
        models.program.next_of(call.unit, call.offset, values, call.dest, "__next__")
    if call.args.get(1) >= 0:
        models.flow.copy(call.args.get(1), call.dest)


@model("builtins:enumerate", "builtins:zip", "itertools:product", "itertools:zip_longest")
def _tuples(models: Models, call: Call, receiver: Obj | None) -> None:
    box = models.box(call, "list")
    row = Container(models.program, "tuple")
    models.flow.add(box.rest(), row)
    nodes = call.args.positional
    if "enumerate" in name_of(call):
        nodes = (models.program.silent, *nodes[:1])
    for i, values in enumerate(nodes):
        models.element(values, row.item(i))
        iterate(models, call, values, row.item(i))


@model("list.append", "set.add", "list.insert", "list.appendleft", "container.add", "container.append")
def _put(models: Models, call: Call, receiver: Obj | None) -> None:
    if isinstance(receiver, Container) and call.args.positional:
        models.flow.copy(call.args.positional[-1], receiver.rest())


@model(
    "list.extend", "set.update", "dict.update", "list.extendleft", "set.union", "container.extend", "container.update"
)
def _put_all(models: Models, call: Call, receiver: Obj | None) -> None:
    if not isinstance(receiver, Container):
        return
    models.flow.add(call.dest, receiver)
    for values in call.args.positional:
        models.pour(values, receiver)
        if receiver.kind != "dict":
            models.element(values, receiver.rest())
    for name, node in call.args.keywords:
        models.flow.copy(node, receiver.item(name))
    if call.args.double >= 0:
        models.pour(call.args.double, receiver)


@model(
    "dict.get",
    "dict.pop",
    "dict.setdefault",
    "dict.__getitem__",
    "list.pop",
    "list.popleft",
    "set.pop",
    "list.__getitem__",
)
def _get(models: Models, call: Call, receiver: Obj | None) -> None:
    if not isinstance(receiver, Container):
        return
    key = call.args.get(0)
    number = models.program.number_of(key)
    if receiver.kind != "dict" or key < 0 or key == models.program.silent or number is not None:
        for node in receiver.reading(number):
            models.flow.copy(node, call.dest)
    else:
        models.flow.attach(key, _Reading(receiver, call.dest))
        models.program.asked.append(key)
    other = call.args.get(1, "default")
    if other >= 0 and receiver.kind == "dict":
        models.flow.copy(other, call.dest)
        if isinstance(call, MethodCall) and call.name == "setdefault":
            models.flow.copy(other, receiver.rest())


class _Reading(Use):
    """A key by which a dict is read."""

    __slots__ = ("box", "dest")

    def __init__(self, box: Container, dest: int) -> None:
        self.box = box
        self.dest = dest

    def meet(self, obj: Obj) -> None:
        shown = obj.value if isinstance(obj, Const) and not obj.value.endswith("*") else None
        for node in self.box.reading(shown):
            self.box.program.flow.copy(node, self.dest)


@model("dict.values", "list.copy", "set.copy", "list.__iter__", "container.copy")
def _values(models: Models, call: Call, receiver: Obj | None) -> None:
    if isinstance(receiver, Container):
        models.flow.copy(receiver.every(), models.box(call, "list").rest())


@model("dict.items")
def _items(models: Models, call: Call, receiver: Obj | None) -> None:
    if isinstance(receiver, Container):
        row = Container(models.program, "tuple")
        models.flow.copy(receiver.keys_node(), row.item(0))
        models.flow.copy(receiver.every(), row.item(1))
        models.flow.add(models.box(call, "list").rest(), row)


@model("dict.keys")
def _keys(models: Models, call: Call, receiver: Obj | None) -> None:
    if isinstance(receiver, Container):
        models.flow.copy(receiver.keys_node(), models.box(call, "list").rest())


@model("dict.popitem")
def _popped(models: Models, call: Call, receiver: Obj | None) -> None:
    if isinstance(receiver, Container):
        row = models.box(call, "tuple")
        models.flow.copy(receiver.keys_node(), row.item(0))
        models.flow.copy(receiver.every(), row.item(1))
