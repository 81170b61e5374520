"""Every kind of place: read raw, stored to in the one step, given back as it was; what others put there stays."""

from __future__ import annotations

import enum
import gc
import time
import weakref
from collections import Counter, OrderedDict, defaultdict
from types import CellType, FunctionType, ModuleType, SimpleNamespace
from typing import Any

import pytest

from livepatch.engine.commit import commit, restore
from livepatch.engine.places import (
    contents_of,
    item_of,
    member_of,
    refuses_stores,
    slot_of,
    value_of,
    wanted_contents,
)
from livepatch.engine.plan import State, held_now, plan
from livepatch.engine.stack import ABSENT, Layer, Slot, Stack, Write
from livepatch.engine.transition import switch
from livepatch.errors import TransitionError
from livepatch.process.standing import verified


class Hooked:
    __slots__ = ("__dict__", "slotted")

    def __setattr__(self, name: str, value: object) -> None:
        raise AssertionError("asked")

    __delattr__ = __getattribute__ = __getattr__ = __setattr__


class Base: ...


class Other:
    def hi(self) -> str:
        return "hi"


class Kept(Base): ...


def function() -> None: ...


OWNERS: dict[str, Any] = {"ordered": OrderedDict(a=[1]), "default": defaultdict(list, a=[1]), "set": {1, 2}}


def cases() -> list[tuple[Slot, object]]:
    hooked = Hooked()
    object.__setattr__(hooked, "slotted", [1])
    object.__setattr__(hooked, "free", [2])
    table: dict[Any, Any] = {"a": [1], 2: [2]}
    return [
        (slot_of(hooked, "slotted"), [9]),
        (slot_of(hooked, "slotted"), ABSENT),
        (slot_of(hooked, "free"), [9]),
        (slot_of(hooked, "free"), ABSENT),
        (slot_of(hooked, "new"), [9]),
        (slot_of(CellType([1]), "cell_contents"), [9]),
        (slot_of(CellType([1]), "cell_contents"), ABSENT),
        (slot_of(CellType(), "cell_contents"), [9]),
        (slot_of(Kept, "__bases__"), (Base, Other)),
        (slot_of(function, "__wrapped__"), len),
        (item_of(table, "a"), [9]),
        (item_of(table, 2), ABSENT),
        (item_of(table, (1, "new")), [9]),
        (item_of(OWNERS["ordered"], "a"), [9]),
        (item_of(OWNERS["default"], "b"), [9]),
        (item_of([[1], [2]], 1), [9]),
        (member_of(OWNERS["set"], 3), 3),
        (member_of(OWNERS["set"], 2), ABSENT),
    ]


@pytest.mark.parametrize("index", range(len(cases())))
def test_there_and_back(index: int):
    slot, after = cases()[index]
    before, record = value_of(slot), SimpleNamespace(stack=0)
    assert refuses_stores(slot) is None
    write = Write(slot, before, after)
    commit([write], (record, "stack", 1))
    assert value_of(slot) is after
    commit([Write(slot, after, before)], (record, "stack", 0))
    assert value_of(slot) is before
    with pytest.raises(ZeroDivisionError):
        commit([write], (record, "stack", 1), [lambda: 1 / 0])
    assert value_of(slot) is before
    assert record.stack == 0
    commit([write], (record, "stack", 1))
    restore([write])
    assert value_of(slot) is before


class Loud(dict[str, int]):
    def __setitem__(self, key: str, value: int) -> None:
        raise AssertionError


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize(
    "slot",
    [
        item_of(Loud(), "a"),
        contents_of(Loud()),
        item_of(Counter(), "a"),  # has a __delitem__ of its own
        item_of({Colour.RED: 1}, Colour.RED),
        member_of({Colour.RED}, Colour.RED),
        item_of((1, 2), 0),
        slot_of(object(), "x"),
    ],
)
def test_what_would_run_python_code_is_refused(slot: Slot):
    assert refuses_stores(slot)


def test_places_are_one_by_owner_kind_and_key():
    one: dict[Any, Any] = {}
    other: dict[Any, Any] = {}
    assert item_of(one, "a") == item_of(one, "a", "label")
    assert item_of(one, "a") != item_of(other, "a")
    assert len({item_of(one, k) for k in (1, True, "1", 1.0, (1,), "a")}) == 6
    key = Base()
    assert item_of(one, key) == item_of(one, key) != item_of(one, Base())
    assert contents_of(one) == contents_of(one) != item_of(one, "[:]")


def test_owners_are_held_only_as_long_as_a_slot_is():
    class Weak(dict[str, int]): ...

    owner = Weak()
    slot, gone = item_of([owner], 0), weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is value_of(slot)
    del slot
    gc.collect()
    assert gone() is None


def contents(owner: Any, items: list[tuple[Any, ...]]) -> Write:
    slot = contents_of(owner, "the table")
    return Write(slot, value_of(slot), wanted_contents(slot, items))


@pytest.mark.parametrize("kind", [dict, OrderedDict, defaultdict])
def test_the_whole_of_a_dict(kind: Any):
    table = kind()
    table.update({"a": [1], "b": [2], Colour.RED: [3]})
    items, record = list(table.items()), SimpleNamespace(stack=0)
    write = contents(table, [("z", 0), items[2], items[0]])
    table["meanwhile"] = 1
    commit([write], (record, "stack", 1))
    assert list(table) == ["z", Colour.RED, "a", "meanwhile"]
    assert value_of(write.slot) is write.after
    table["later"] = 2
    assert value_of(write.slot) is write.after
    commit([Write(write.slot, write.after, write.before)], (record, "stack", 0))
    assert list(table.items()) == [*items, ("meanwhile", 1), ("later", 2)]
    assert all(table[key] is value for key, value in items)
    assert value_of(write.slot) is write.before
    table["a"] = "foreign"
    assert value_of(write.slot) not in (write.before, write.after)


def test_the_whole_of_a_list():
    owner, record = [[1], [2]], SimpleNamespace(stack=0)
    items = list(owner)
    write = contents(owner, [(items[1],)])
    owner.append([3])
    commit([write], (record, "stack", 1))
    assert owner == [[2], [3]]
    owner.append([4])
    restore([write])
    assert owner == [[1], [2], [3], [4]]
    assert all(a is b for a, b in zip(owner, items, strict=False))


def test_nothing_at_all_is_not_mistaken_for_what_it_stands_for():
    owner = {"a": 1}
    write = contents(owner, [])
    assert value_of(write.slot) is write.before
    commit([write], (SimpleNamespace(stack=0), "stack", 1))
    assert owner == {}
    assert value_of(write.slot) is write.after


def test_two_changes_of_one_container_and_what_came_between():
    table, record = {"a": 1}, SimpleNamespace(stack=0)
    first = contents(table, [("x", 0), ("a", 1)])
    commit([first], (record, "stack", 1))
    table["run"] = 5
    second = contents(table, [("y", 0), ("x", 0), ("a", 1), ("run", 5)])
    assert second.before is first.after
    commit([second], (record, "stack", 2))
    assert list(table) == ["y", "x", "a", "run"]
    commit([Write(second.slot, second.after, second.before)], (record, "stack", 1))
    assert list(table) == ["x", "a", "run"]
    commit([Write(first.slot, first.after, first.before)], (record, "stack", 0))
    assert list(table) == ["a", "run"]


def test_a_container_that_others_have_changed_is_left_alone():
    table: dict[str, Any] = {"a": [1], "b": [2]}
    record = SimpleNamespace(stack=0)
    write = contents(table, [("b", table["b"]), ("a", table["a"])])
    table["a"] = foreign = [3]
    with pytest.raises(TransitionError, match="changed by others"):
        commit([write], (record, "stack", 1))
    assert table["a"] is foreign
    assert record.stack == 0


def test_a_container_that_grows_at_the_moment_of_the_switch_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    table = {"a": 1}
    write, record = contents(table, [("z", 0), ("a", 1)]), SimpleNamespace(stack=0)
    # The last that runs before the step begins, as another thread's store could.
    monkeypatch.setattr(time, "perf_counter", lambda: table.setdefault("late", 0.0))
    with pytest.raises(TransitionError, match="at the moment"):
        commit([write], (record, "stack", 1))
    assert list(table) == ["a", "late"]
    assert record.stack == 0


def test_a_stack_of_patches_over_entries_and_contents():
    state, module = State(), ModuleType("specimen")
    module.table, module.cell = {"a": [1], "b": [2]}, CellType([0])  # type: ignore[attr-defined]
    table = module.table
    items = list(table.items())
    whole = contents(table, [("z", 0), *items])
    cell = slot_of(module.cell, "cell_contents", "a cell")
    originals: dict[Slot, object] = {whole.slot: whole.before, cell: value_of(cell)}
    layer = Layer("one", "on", {whole.slot: whole.after, cell: "new"})
    switch(state, plan(state, state.stack.push(layer, originals), {}), [])
    assert list(table) == ["z", "a", "b"]
    assert module.cell.cell_contents == "new"
    assert verified(state, {}).ok
    assert all(value_of(slot) is value for slot, value in held_now(state).items())
    table["later"] = 1
    assert verified(state, {}).ok
    module.cell.cell_contents = "foreign"
    assert [finding.target for finding in verified(state, {}).findings] == ["a cell"]
    planned = plan(state, state.stack.without(["one"]), {})
    assert [foreign.slot for foreign in planned.foreign] == [cell]
    switch(state, planned, [])
    assert list(table) == ["a", "b", "later"]
    assert all(table[key] is value for key, value in items)
    assert state.stack == Stack()


def test_an_entry_is_not_there_before_its_layer_is_on():
    table: dict[str, int] = {}
    slot, function_slot = item_of(table, "a"), slot_of(FunctionType(function.__code__, {}), "__wrapped__")
    stack = Stack().push(Layer("one", "off", {slot: 1, function_slot: 2}), {slot: ABSENT, function_slot: ABSENT})
    assert stack.wanted() == {slot: ABSENT, function_slot: ABSENT}
    assert stack.with_mode("one", "on").wanted() == {slot: 1, function_slot: 2}
