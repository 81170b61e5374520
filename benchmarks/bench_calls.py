"""What a call costs: never patched, patched and on, off, reverted; beside the other ways to switch a function."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from types import CodeType, FunctionType, ModuleType
from typing import Any
from unittest import mock

import openfeature.api
import wrapt
from application import installed
from measure import Bar, Column, Loop, Row, Table, call_loop, take_turns
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

import livepatch

__all__ = ["tables"]

# A patched function costs what the new code costs.  Since 3.13 calls of a function whose code was ever stored to, by
# whomever, are no longer specialised, so there the measure is a bare store.  Measured on each of these: the call site
# keeps CALL where it gets CALL_PY_EXACT_ARGS for other functions, and calls of functions and methods stay within 5 % of
# those after a bare store, but take 1.1 to 1.3 times as long as the replacement called directly.
LOSES_SPECIALISATION = sys.version_info[:2] in {(3, 13), (3, 14), (3, 15)}
_MOST = 1.05

# One module with every kind of function, once for each way to get at new behaviour.  All do the same work.
_KINDS = """
def function(x):
    {gate}return x + {step}

class Methods:
    def method(self, x):
        {gate}return x + {step}

    @property
    def value(self):
        {gate}return self.{attribute}

async def coroutine(x):
    {gate}return x + {step}
"""
_PATCH = """
import livepatch
fix = livepatch.Patch('{distribution}', package='{distribution}', versions='==1.0')

@fix.replace('{target}:function')
def function(x):
    return x + 2

@fix.replace('{target}:Methods')
class Methods:
    def method(self, x):
        return x + 2

    @property
    def value(self):
        return self.new

@fix.replace('{target}:coroutine')
async def coroutine(x):
    return x + 2
"""
_STATEMENTS = {"function": "f(1)", "method": "o.method(1)", "property": "o.value", "coroutine": "await f(1)"}

# Patches that need more than other code in the same function, and the module that they should be as fast as.
_BEFORE = """
def defaults(x, y=1):
    return x + y

def make(step):
    def closure(x):
        return x + step
    return closure

class Base:
    def grows(self, x):
        return x + 1

class Child(Base):
    def grows(self, x):
        return x + 1
"""
_AFTER = """
def defaults(x, y=2):
    return x + y

def make(step):
    def closure(x):
        return step + x
    return closure

class Base:
    def grows(self, x):
        return x + 1

class Child(Base):
    def grows(self, x):
        return super().grows(x)

    def added(self, x):
        return x + 2
"""
_SHAPING = """
import livepatch
fix = livepatch.Patch('{distribution}', package='{distribution}', versions='==1.0')

@fix.replace('{before}:defaults')
def defaults(x, y=2):
    return x + y

@fix.replace('{before}:make.<locals>.closure')
def closure(x):
    return step + x

@fix.replace('{before}:Child')
class Child:
    def grows(self, x):
        return super().grows(x)

    def added(self, x):
        return x + 2
"""
_SHAPES: dict[str, tuple[str, Callable[[Any], dict[str, Any]]]] = {
    "other default values": ("f(1)", lambda module: {"f": module.defaults}),
    "a closure": ("f(1)", lambda module: {"f": module.closure}),
    "a method that the patch adds": ("o.added(1)", lambda module: {"o": module.Child()}),
    "a method that begins to call super()": ("o.grows(1)", lambda module: {"o": module.Child()}),
}
_FORWARDED = "a method that begins to call super()"  # the function has no cell for it, so it calls one that has

# Rows, in order of print.
DIRECT, BARE, ON = "the replacement, called directly", "bare store to __code__", "livepatch, on"
SECOND = "the same, a second copy of it"
NEVER, OFF, REVERTED = "never patched", "livepatch, off", "livepatch, reverted"
BRANCH, REBOUND, WRAPPED = "`if FLAG:` in the source", "mock.patch(new=…)", "wrapt.patch_function_wrapper"
MOCKED, ASKED = "mock.patch(side_effect=…)", "OpenFeature, in-memory provider"
_ORDER = (DIRECT, SECOND, BARE, ON, OFF, REVERTED, NEVER, BRANCH, REBOUND, WRAPPED, MOCKED, ASKED)


def _written(gate: str = "", step: int = 1) -> str:
    text = _KINDS.replace("{step}", str(step)).replace("{attribute}", "old" if step == 1 else "new")
    lines = []
    for line in text.splitlines():
        body = line.partition("{gate}")
        if body[1] and gate:
            new = body[2].replace("+ 1", "+ 2").replace(".old", ".new")
            lines += [f"{body[0]}if {gate}:", f"{body[0]}    {new}"]
        lines.append(body[0] + body[2])
    return "\n".join(lines)


def _application() -> dict[str, str]:
    plain = _written()
    flagged = "FLAG = True\n" + _written("FLAG")
    asking = "from openfeature.api import get_client\nclient = get_client()\n" + _written(
        "client.get_boolean_value('fix', False)"
    )
    ways = {"never": plain, "second": _written(step=2), "bare": plain, "rebound": plain, "mocked": plain}
    states = {"on": plain, "off": plain, "reverted": plain}
    patches = {f"{state}_patch": _PATCH.replace("{target}", f"{{{state}}}") for state in states}
    # A distribution's id is its patch's, and no two patches may have the same.
    for state, name in zip(states, patches, strict=True):
        patches[name] = patches[name].replace("Patch('{distribution}'", f"Patch('{{distribution}}-{state}'")
    return {**ways, **states, "wrapped": plain, "branch": flagged, "asking": asking, **patches}


def _new_code(module: ModuleType, replacement: ModuleType) -> None:
    for old, new in (
        (module.function, replacement.function),
        (module.Methods.method, replacement.Methods.method),
        (module.Methods.value.fget, replacement.Methods.value.fget),
        (module.coroutine, replacement.coroutine),
    ):
        old.__code__ = new.__code__


def _wrap(module: ModuleType, replacement: ModuleType) -> None:
    function, method, coroutine = replacement.function, replacement.Methods.method, replacement.coroutine
    wrapt.patch_function_wrapper(module, "function")(lambda _w, _i, args, kwargs: function(*args, **kwargs))
    wrapt.patch_function_wrapper(module, "Methods.method")(lambda _w, it, args, kwargs: method(it, *args, **kwargs))
    wrapt.patch_function_wrapper(module, "coroutine")(lambda _w, _i, args, kwargs: coroutine(*args, **kwargs))


def _rebind(module: ModuleType, replacement: ModuleType) -> Iterator[Any]:
    yield mock.patch.object(module, "function", new=replacement.function)
    yield mock.patch.object(module.Methods, "method", new=replacement.Methods.method)
    yield mock.patch.object(module.Methods, "value", new=replacement.Methods.value)
    yield mock.patch.object(module, "coroutine", new=replacement.coroutine)


def _mock(module: ModuleType, replacement: ModuleType) -> Iterator[Any]:
    yield mock.patch.object(module, "function", side_effect=replacement.function)
    yield mock.patch.object(module.Methods, "method", autospec=True, side_effect=replacement.Methods.method)
    yield mock.patch.object(module, "coroutine", side_effect=replacement.coroutine)


def _loop(kind: str, module: ModuleType) -> Loop:
    if kind in ("function", "coroutine"):
        return call_loop(_STATEMENTS[kind], {"f": getattr(module, kind)}, coroutine=kind == "coroutine")
    instance = module.Methods()
    instance.old = instance.new = 1
    return call_loop(_STATEMENTS[kind], {"o": instance})


def _batch(kind: str) -> Iterator[Mapping[str, Loop]]:
    """Every way to reach the new behaviour of one kind of function, in modules made for this batch alone."""
    with installed(**_application()) as modules, ExitStack() as stack:
        by_name = {module.__name__.rpartition("_")[0]: module for module in modules}
        shown = {
            DIRECT: "on_patch",
            SECOND: "second",
            BARE: "bare",
            ON: "on",
            OFF: "off",
            REVERTED: "reverted",
            NEVER: "never",
            BRANCH: "branch",
            REBOUND: "rebound",
            WRAPPED: "wrapped",
            MOCKED: "mocked",
            ASKED: "asking",
        }
        if kind == "property":  # neither can take the place of a property
            del shown[WRAPPED], shown[MOCKED]
        replacement = by_name["on_patch"]
        # Callers were there before the patch: each loop's call sites meet the old code first.
        early = {name: _loop(kind, by_name[shown[name]]) for name in (ON, OFF, REVERTED, BARE, NEVER)}
        for loop in early.values():
            loop(50)
        on, off, gone = (livepatch.apply(by_name[f"{state}_patch"].fix) for state in ("on", "off", "reverted"))
        stack.callback(on.revert)
        stack.callback(off.revert)
        off.mode = "off"
        gone.revert()
        _new_code(by_name["bare"], replacement)
        _wrap(by_name["wrapped"], replacement)
        for patcher in (*_rebind(by_name["rebound"], replacement), *_mock(by_name["mocked"], replacement)):
            stack.enter_context(patcher)
        yield {name: early.get(name) or _loop(kind, by_name[shown[name]]) for name in _ORDER if name in shown}


def _kind_table(kind: str, batches: int, turns: int) -> Table:
    timed = take_turns((loops for _ in range(batches) for loops in _batch(kind)), turns)
    to_direct, to_bare = "to direct", "to bare"
    rows = []
    for name in _ORDER:
        if name not in timed.samples:
            continue
        figures = {"ns": timed.ns(name), to_direct: timed.ratio(name, DIRECT), to_bare: timed.ratio(name, BARE)}
        bar = Bar(to_bare if LOSES_SPECIALISATION else to_direct, _MOST) if name == ON else None
        rows.append(Row(name, figures, bar))
    columns = (Column("ns", "{:.1f}"), Column(to_direct, "{:.2f}"), Column(to_bare, "{:.2f}"))
    return Table(f"A call of a {kind}: {_STATEMENTS[kind]}", columns, rows)


def _shaped_batch() -> Iterator[Mapping[str, Loop]]:
    with installed(before=_BEFORE, after=_AFTER, patch=_SHAPING) as (before, after, patch):
        for module in (before, after):
            module.closure = module.make(2)  # type: ignore[attr-defined]  # its own text has none
        applied = livepatch.apply(patch.fix)
        loops = {}
        for shape, (statement, names) in _SHAPES.items():
            loops[f"{shape}, in the source"] = call_loop(statement, names(after))
            loops[f"{shape}, livepatch"] = call_loop(statement, names(before))
        yield loops
        applied.revert()


def _shapes_table(batches: int, turns: int) -> Table:
    timed = take_turns((loops for _ in range(batches) for loops in _shaped_batch()), turns)
    rows = []
    for shape in _SHAPES:
        name = f"{shape}, livepatch"
        # A method that was never there before was never stored to, so nothing excuses it on any version.
        held = shape == "a method that the patch adds" or not (LOSES_SPECIALISATION or shape == _FORWARDED)
        figures = {"ns": timed.ns(name), "to source": timed.ratio(name, f"{shape}, in the source")}
        rows.append(Row(shape, figures, Bar("to source", _MOST) if held else None))
    return Table(
        "A call under a patch of more than a body: beside the same in the source",
        (Column("ns", "{:.1f}"), Column("to source", "{:.2f}")),
        rows,
    )


def _live_code() -> dict[FunctionType, CodeType]:
    return {thing: thing.__code__ for thing in gc.get_objects() if isinstance(thing, FunctionType)}


def _untouched() -> Table:
    """Whether functions that no patch names are left alone, to the code object."""
    with installed(**_application()) as modules:
        by_name = {module.__name__.rpartition("_")[0]: module for module in modules}
        on, replacement = by_name["on"], by_name["on_patch"]
        targets = {on.function, on.Methods.method, on.Methods.value.fget, on.coroutine}
        livepatch.check(replacement.fix)  # what is imported on first use is there now
        before = _live_code()
        applied = livepatch.apply(replacement.fix)
        changed = {function for function, code in before.items() if function.__code__ is not code}
        longer = sum(len(f.__code__.co_code) - len(_peer(f, replacement).__code__.co_code) for f in targets)
        applied.revert()
        left = {function for function, code in before.items() if function.__code__ is not code}
    count = Column("count", "{:,.0f}")
    none = Bar("count", 0)
    return Table(
        "What a patch of four functions does to the others",
        (count,),
        (
            Row("functions in the process", {"count": len(before)}),
            Row("never-patched functions whose code object changed", {"count": len(changed - targets)}, none),
            Row("bytes of bytecode added to a patched function", {"count": longer}, none),
            Row("functions whose code object is another one after revert", {"count": len(left)}, none),
        ),
    )


def _peer(function: FunctionType, replacement: ModuleType) -> FunctionType:
    """The replacement of a function of the same name."""
    methods = replacement.Methods
    peers: tuple[FunctionType, ...] = (
        replacement.function,
        methods.method,
        methods.value.fget,
        replacement.coroutine,
    )
    return next(peer for peer in peers if peer.__name__ == function.__name__)


def tables(*, quick: bool = False) -> Iterator[Table]:
    openfeature.api.set_provider(
        InMemoryProvider({"fix": InMemoryFlag(default_variant="on", variants={"on": True, "off": False})})
    )
    batches, turns = (2, 20) if quick else (8, 40)
    for kind in _STATEMENTS:
        yield _kind_table(kind, batches, turns)
    yield _shapes_table(batches, turns)
    yield _untouched()
