"""Whatever both sides compute, the writes make the live graph the after side's, and back it is the very same."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from types import CellType, FunctionType, ModuleType, SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from livepatch.engine.commit import commit, slot_of, value_of
from livepatch.engine.graph import Comparison
from livepatch.engine.reconcile import ModuleSides, Reconciler, Sides
from livepatch.engine.stack import ABSENT, Write

keys = st.sampled_from(["a", "b", "c", 1, (1, "x"), b"k", None])
plain = st.one_of(st.none(), st.booleans(), st.integers(0, 3), st.sampled_from(["", "x"]), st.floats(), st.just(()))


class Instance:
    """Two attributes, either of which may be missing."""

    def __init__(self, values: dict[str, Any]) -> None:
        vars(self).update(values)


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            setattr(self, name, value)


def closure(value: Any) -> Any:
    return lambda: value


values = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
        st.sets(st.integers(0, 4), max_size=3),
        st.frozensets(st.integers(0, 4), max_size=3),
        st.dictionaries(st.sampled_from(["a", "b"]), inner).map(Instance),
        st.dictionaries(st.sampled_from(["a", "b"]), inner).map(Slotted),
        inner.map(closure),
        inner.map(lambda value: [value, {"shared": value}]),
    ),
    max_leaves=12,
)


def inside(value: Any) -> list[Any]:
    if type(value) is dict:
        return [each for pair in value.items() for each in pair]
    if type(value) in (list, tuple):
        return list(value)
    if type(value) in (set, frozenset):
        return sorted(value)
    if type(value) is FunctionType:
        return [value.__code__, value.__defaults__, *(value.__closure__ or ())]
    if type(value) is CellType:
        return [value.cell_contents]
    if type(value) is Instance:
        return inside(vars(value))
    if type(value) is Slotted:
        return [getattr(value, name, ABSENT) for name in ("a", "b")]
    return []


def snapshot(root: Any) -> list[tuple[int, list[int]]]:
    """Every object that the value leads to, and what it holds, in order."""
    seen: dict[int, Any] = {}
    left, found = [root], []
    while left:
        value = left.pop()
        if id(value) not in seen:
            seen[id(value)] = value
            found.append((id(value), [id(each) for each in inside(value)]))
            left += inside(value)
    return found


def copied(value: Any) -> Any:
    """A copy as another run of the same statements would make it: closures anew as well."""
    return copy.deepcopy(value)


def _copy_function(function: Any, memo: Any) -> Any:
    return closure(copy.deepcopy(function(), memo)) if function.__closure__ else function


@contextmanager
def functions_are_copied() -> Iterator[None]:
    """Closures are made anew by `deepcopy`, which knows functions as atoms: by its table, and by a set from 3.14 on."""
    internals: Any = copy
    atoms, table = getattr(internals, "_atomic_types", set()), internals._deepcopy_dispatch
    was_atom, was = type(closure) in atoms, table.get(type(closure))
    internals._atomic_types = atoms - {type(closure)}
    table[type(closure)] = _copy_function
    try:
        yield
    finally:
        if was is None:
            del table[type(closure)]
        else:
            table[type(closure)] = was
        if was_atom:
            internals._atomic_types = atoms


@given(values, values)
@settings(max_examples=300, deadline=None)
def test_there_and_back(live: Any, after: Any):
    with functions_are_copied():
        before = copied(live)
        goal = copied(after)
    module = ModuleType("specimen")
    module.X = live
    sides = Sides(
        [ModuleSides("specimen", vars(module), {**vars(module), "X": before}, {**vars(module), "X": after})],
        ["specimen:X"],
    )
    slot = slot_of(module, "X")
    were = snapshot(live)
    outcome = Reconciler(sides).reconcile(slot, before, after)
    if outcome.refusal is not None:
        assert outcome.refusal.code == "shared-value-splits"
        assert snapshot(live) == were
        return
    writes = [Write(each, value_of(each), value) for each, value in outcome.writes]
    record = SimpleNamespace(stack=0)
    commit(writes, (record, "stack", 1))
    comparison = Comparison(Sides([]), live=False)
    assert comparison.holds(module.X, goal), comparison.difference
    assert all(value_of(write.slot) is write.after for write in writes)
    commit([Write(write.slot, write.after, write.before) for write in writes], (record, "stack", 0))
    assert module.X is live
    assert snapshot(live) == were
