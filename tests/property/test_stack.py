"""Layers in any order: the stack, and the public calls over it, against models of ten lines."""

from __future__ import annotations

import importlib
import itertools
import sys
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests import cycles
from tests.few_modules import FewModules

import livepatch
from livepatch.engine.commit import slot_of
from livepatch.engine.stack import ABSENT, Layer, Slot, Stack, difference
from livepatch.process import live

# The stack


class _Owner:
    """Owns the slots; what it holds is kept beside it, because the stack is pure."""


_OWNER = _Owner
_SLOTS = [slot_of(_OWNER, name, name) for name in "abcd"]
_IDS = ["P", "Q", "R", "S"]
_VALUES = st.one_of(st.integers(0, 3), st.just(ABSENT))


class Stacks(RuleBasedStateMachine):
    """Carries out every difference on a plain dict, and holds it against a list of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.original: dict[Slot, object] = {slot: ABSENT if slot.name == "d" else slot.name for slot in _SLOTS}
        self.world = dict(self.original)
        self.model: list[tuple[str, str, dict[Slot, object]]] = []
        self.stack = Stack()

    def _go(self, new: Stack) -> None:
        for write in difference(self.stack, new):
            assert write.before is not write.after
            assert self.world[write.slot] is write.before
            self.world[write.slot] = write.after
        self.stack = new

    @rule(
        name=st.sampled_from(_IDS),
        mode=st.sampled_from(["on", "off"]),
        values=st.dictionaries(st.sampled_from(_SLOTS), _VALUES, min_size=1),
    )
    def push(self, name: str, mode: Any, values: dict[Slot, object]) -> None:
        if any(name == other for other, *_ in self.model):
            return
        self._go(self.stack.push(Layer(name, mode, values), {slot: self.world[slot] for slot in values}))
        self.model.append((name, mode, values))

    @rule(names=st.sets(st.sampled_from(_IDS)))
    def without(self, names: set[str]) -> None:
        self._go(self.stack.without(names))
        self.model = [layer for layer in self.model if layer[0] not in names]

    @rule(names=st.sets(st.sampled_from(_IDS)), values=st.dictionaries(st.sampled_from(_SLOTS), _VALUES, min_size=1))
    def replaced(self, names: set[str], values: dict[Slot, object]) -> None:
        """A cumulative patch: some layers go and one comes, as one step."""
        if any(layer[0] == "CUMULATIVE" for layer in self.model):
            return
        known = {slot: self.stack.originals.get(slot, self.world[slot]) for slot in values}
        self._go(self.stack.without(names).push(Layer("CUMULATIVE", "on", values), known))
        self.model = [layer for layer in self.model if layer[0] not in names] + [("CUMULATIVE", "on", values)]

    @rule(name=st.sampled_from([*_IDS, "CUMULATIVE"]), mode=st.sampled_from(["on", "off"]))
    def with_mode(self, name: str, mode: Any) -> None:
        self._go(self.stack.with_mode(name, mode))
        self.model = [(n, mode if n == name else m, values) for n, m, values in self.model]

    @rule()
    def without_cumulative(self) -> None:
        self._go(self.stack.without(["CUMULATIVE"]))
        self.model = [layer for layer in self.model if layer[0] != "CUMULATIVE"]

    @invariant()
    def the_world_is_what_the_layers_say(self) -> None:
        expected = dict(self.original)
        for _, mode, values in self.model:
            if mode == "on":
                expected.update(values)
        assert self.world == expected
        assert self.stack.wanted() == {slot: expected[slot] for slot in self.stack.originals}
        for slot in self.stack.originals:
            deciders = [name for name, mode, values in self.model if mode == "on" and slot in values]
            assert self.stack.decider(slot) == (deciders[-1] if deciders else None)

    @invariant()
    def only_what_a_layer_speaks_of_is_remembered(self) -> None:
        assert set(self.stack.originals) == {slot for *_, values in self.model for slot in values}
        assert all(self.stack.originals[slot] is self.original[slot] for slot in self.stack.originals)

    def teardown(self) -> None:
        self._go(Stack())
        assert all(self.world[slot] is value for slot, value in self.original.items())


TestStacks = Stacks.TestCase
TestStacks.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


# The public calls

_NODE = """
def f(x, y=1):
    "doc of the original"
    return ("f", "original", x, y)

def g(x):
    return ("g", "original", x)

def maker(k):
    def made(x):
        return ("made", "original", k, x)
    return made
"""
_FIX = """
import livepatch

{word} = {name!r}

def describe(node):
    fix = livepatch.Patch({name!r}, package="pytest", versions=">=1")
    for function in {functions}:
        fix.replace(f"{{node}}:{{function.__name__}}")(function)
    return fix

def f(x, y={default}):
    "doc of the fix"
    return ("f", {name!r}, x, y)

def g(x):
    return ("g", {word}, x)

def maker(k):
    def made(x):
        return ("made", "fixed", k, x)
    return made
"""
_numbers = itertools.count(1)
# Two of the patches overlap on each function.  STACK-A and STACK-C have the same default and documentation, STACK-A and
# STACK-B make closures of the same code: what one patch finds as it wants it must still be its own when the other goes.
_PATCHES = {"STACK-A": ("f, maker", 2), "STACK-B": ("g, maker", 3), "STACK-C": ("f, g", 2)}


def _write(folder: Path, source: str) -> Any:
    name = f"stack_{next(_numbers)}"
    (folder / f"{name}.py").write_text(source, encoding="utf-8")
    importlib.invalidate_caches()
    return importlib.import_module(name)


class Patches(RuleBasedStateMachine):
    """Applies, switches and reverts three patches over three functions in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name)
        sys.path.insert(0, self.folder.name)
        self.node = _write(path, _NODE)
        self.functions = {name: getattr(self.node, name) for name in ("f", "g", "maker")}
        self.closure = self.node.maker("k")
        self.held = {
            name: (f.__code__, f.__defaults__, f.__doc__)
            for name, f in (*self.functions.items(), ("made", self.closure))
        }
        self.names = dict(vars(self.node))
        self.written = [
            _write(
                path, _FIX.format(name=name, word=name.replace("-", "_"), functions=f"({functions},)", default=default)
            )
            for name, (functions, default) in _PATCHES.items()
        ]
        self.fixes = {name: w.describe(self.node.__name__) for name, w in zip(_PATCHES, self.written, strict=True)}
        self.model: dict[str, str] = {}
        live.sys = FewModules(self.node, *self.written)  # type: ignore[attr-defined]  # all that the survey needs

    def _side(self, function: str) -> str:
        sides = [name for name, mode in self.model.items() if mode == "on" and function in _PATCHES[name][0]]
        return sides[-1] if sides else "original"

    @rule(name=st.sampled_from([*_PATCHES]), mode=st.sampled_from(["on", "off"]))
    def apply(self, name: str, mode: Any) -> None:
        if name in self.model:
            return
        livepatch.apply(self.fixes[name], mode=mode)
        self.model[name] = mode

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def switch(self, data: Any) -> None:
        name = data.draw(st.sampled_from([*self.model]))
        self.model[name] = data.draw(st.sampled_from(["on", "off"]))
        livepatch.flags[name] = self.model[name]  # type: ignore[assignment]

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def revert(self, data: Any) -> None:
        name = data.draw(st.sampled_from([*self.model]))
        del self.model[name]
        livepatch.revert(name)
        cycles.settle()
        assert name not in [status.id for status in livepatch.status()]

    @invariant()
    def every_call_answers_as_the_layers_say(self) -> None:
        f = self._side("f")
        default = _PATCHES[f][1] if f in _PATCHES else 1
        assert self.functions["f"](0) == ("f", f, 0, default)
        assert self.functions["f"].__doc__ == ("doc of the original" if f == "original" else "doc of the fix")
        assert self.functions["g"](0) == ("g", self._side("g"), 0)
        made = ("made", "original" if self._side("maker") == "original" else "fixed", "k", 0)
        assert self.node.maker("k")(0) == made
        assert self.closure(0) == made
        assert [status.id for status in livepatch.status()] == [*self.model]
        assert dict(livepatch.flags) == self.model
        assert livepatch.verify()

    def teardown(self) -> None:
        for name in self.model:
            livepatch.revert(name)
        cycles.settle()
        for name, f in (*self.functions.items(), ("made", self.closure)):
            code, defaults, doc = self.held[name]
            assert f.__code__ is code, name
            assert f.__defaults__ is defaults, name
            assert f.__doc__ is doc, name
        assert vars(self.node).keys() == self.names.keys()
        live.sys = sys  # type: ignore[attr-defined]
        sys.path.remove(self.folder.name)
        for module in (self.node, *self.written):
            del sys.modules[module.__name__]
        self.folder.cleanup()


TestPatches = Patches.TestCase
TestPatches.settings = settings(max_examples=3, stateful_step_count=12, deadline=None, phases=[Phase.generate])
