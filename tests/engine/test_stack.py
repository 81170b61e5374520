"""Layers over the original program, as plain values: no patch is applied to anything."""

from __future__ import annotations

from typing import Any

import pytest

from livepatch.engine.modes import Measured
from livepatch.engine.stack import (
    ABSENT,
    SIDE,
    UNCHANGED,
    Branch,
    Choice,
    Layer,
    Mode,
    Slot,
    Stack,
    Write,
    difference,
    settled,
)


class Owner:
    """Something that has slots."""


OWNER = Owner()
OTHER = Owner()


def owner() -> Owner:
    return OWNER


def other() -> Owner:
    return OTHER


def slot(name: str, kind: Any = "attribute", **fields: Any) -> Slot:
    return Slot(owner, id(OWNER), kind, name, **fields)


A, B, C = slot("a"), slot("b"), slot("c")
CODE, DEFAULTS, KEYWORDS = SIDES = tuple(slot(name, "function", label=f"node:f.{name}") for name in SIDE)
ORIGINAL = {CODE: "code", DEFAULTS: "defaults", KEYWORDS: "keywords"}


def stack_of(*layers: Layer, originals: dict[Slot, object] | None = None) -> Stack:
    stack = Stack()
    for layer in layers:
        stack = stack.push(layer, originals if originals is not None else {s: f"original {s}" for s in layer.values})
    return stack


# Slots


@pytest.mark.parametrize(
    "another",
    [
        Slot(other, id(OWNER), "item", "x", key="k"),
        slot("x", "member", key="k"),
        slot("y", "item", key="k"),
        slot("x", "item", key="l"),
        slot("x", "item", key=None),
        "x",
    ],
)
def test_a_slot_is_its_owner_kind_name_and_key(another: object):
    one = slot("x", "item", key="k", label="node:D['k']")
    assert one == slot("x", "item", key=str(b"k", "ascii"), label="told otherwise", kept=True)
    assert hash(one) == hash(slot("x", "item", key="k"))
    assert one != another


def test_nobody_is_asked_whether_two_keys_are_equal():
    class Same:
        def __eq__(self, other: object) -> bool:
            raise AssertionError("somebody's code was asked")

        __hash__ = object.__hash__

    key = Same()
    assert slot("x", "item", key=key) == slot("x", "item", key=key)
    assert slot("x", "item", key=key) != slot("x", "item", key=Same())


def test_a_slot_is_told_by_its_label_and_without_one_by_its_name():
    assert str(CODE) == "node:f.__code__"
    assert str(A) == "a"


def test_the_slots_beside_one_are_of_the_same_owner_and_kind():
    beside = CODE.beside("__doc__", "__code__")
    assert beside == (slot("__doc__", "function"), CODE)
    assert beside[1] is CODE
    assert [str(each) for each in beside] == ["node:f.__doc__", "node:f.__code__"]
    assert [each.owner for each in beside] == [OWNER, OWNER]
    assert hash(beside[0]) == hash(slot("__doc__", "function"))


def test_a_mark_is_told_by_its_name():
    assert repr(ABSENT) == repr(type(ABSENT)("absent")) == "<absent>"
    assert repr(UNCHANGED) == "<unchanged>"


# What a stack wants


def test_the_topmost_layer_that_is_on_and_speaks_of_a_slot_says_what_it_holds():
    stack = stack_of(
        Layer("P", "on", {A: "P", B: "P"}), Layer("Q", "on", {A: "Q"}), Layer("R", "off", {A: "R", C: "R"})
    )
    assert stack.wanted() == {A: "Q", B: "P", C: "original c"}
    assert [stack.decider(each) for each in (A, B, C)] == ["Q", "P", None]
    assert stack_of(Layer("P", "off", {CODE: "P"})).decider(CODE) is None
    assert stack.layer("Q") is stack.layers[1]
    assert stack.layer("S") is None


def test_the_originals_are_those_from_before_the_first_layer():
    stack = Stack().push(Layer("P", "on", {A: "P"}), {A: "original"}).push(Layer("Q", "on", {A: "Q"}), {A: "P", B: "b"})
    assert stack.originals == {A: "original", B: "b"}


def test_a_layer_is_taken_out_from_the_middle_and_what_nobody_speaks_of_is_forgotten():
    stack = stack_of(Layer("P", "on", {A: "P"}), Layer("Q", "on", {A: "Q", B: "Q"}), Layer("R", "on", {C: "R"}))
    left = stack.without(["Q"])
    assert [layer.patch_id for layer in left.layers] == ["P", "R"]
    assert left.originals == {A: "original a", C: "original c"}
    assert left.wanted() == {A: "P", C: "R"}
    assert difference(stack, left) == (Write(A, "Q", "P"), Write(B, "Q", "original b"))
    assert stack.without(iter("PQR")) == Stack()


def test_one_layer_gets_another_mode():
    stack = stack_of(Layer("P", "on", {A: "P"}, flag="p"), Layer("Q", "on", {A: "Q"}, flag="q"))
    off = stack.with_mode("Q", "off")
    assert [(layer.patch_id, layer.mode, layer.flag) for layer in off.layers] == [("P", "on", "p"), ("Q", "off", "q")]
    assert off.originals is stack.originals
    assert difference(stack, off) == (Write(A, "Q", "P"),)


def test_only_some_slots_of_all_layers():
    stack = stack_of(Layer("P", "on", {A: "P", B: "P"}, flag="p"), Layer("Q", "off", {B: "Q"}))
    only = stack.only(lambda each: each is not A)
    assert only.originals == {B: "original b"}
    assert only.layers == (Layer("P", "on", {B: "P"}, flag="p"), Layer("Q", "off", {B: "Q"}))


def test_what_is_the_same_object_is_not_written():
    one, equal = ["x"], ["x"]
    stack = stack_of(Layer("P", "on", {A: one, B: "P"}))
    assert difference(stack, stack.push(Layer("Q", "on", {A: one}), {})) == ()
    assert difference(stack, stack.push(Layer("Q", "on", {A: equal}), {})) == (Write(A, one, equal),)


def test_a_slot_that_only_one_of_two_stacks_knows_holds_its_original_under_the_other():
    stack = stack_of(Layer("P", "on", {A: "P"}))
    assert difference(Stack(), stack) == (Write(A, "original a", "P"),)
    assert difference(stack, Stack()) == (Write(A, "P", "original a"),)


# Modes that decide call by call


def only_choice(stack: Stack) -> Choice:
    """What all three slots of the side want: one choice."""
    wanted = stack.wanted()
    (choice,) = {id(wanted[each]): wanted[each] for each in SIDES}.values()
    assert isinstance(choice, Choice)
    return choice


def side_of(name: str) -> dict[Slot, object]:
    return {each: f"{name} {value}" for each, value in ORIGINAL.items()}


def sided(name: str) -> tuple[str, ...]:
    return tuple(f"{name} {value}" for value in ORIGINAL.values())


@pytest.mark.parametrize("mode", ["shadow", Measured("on")])
def test_what_decides_by_call(mode: Mode):
    assert Layer("P", mode, {}).decides_by_call


def test_a_function_chooses_between_the_layers_that_decide_by_call_and_what_is_beneath():
    stack = stack_of(
        Layer("BELOW", "shadow", side_of("below")),
        Layer("P", "on", side_of("P")),
        Layer("Q", "shadow", side_of("Q")),
        Layer("OFF", "off", side_of("off")),
        Layer("ELSEWHERE", "on", {A: "elsewhere"}),
        Layer("R", "shadow", {CODE: "R code"}),
        originals={**ORIGINAL, A: "a"},
    )
    choice = only_choice(stack)
    # What a layer does not speak of is the original's, and not that of the layer beneath.
    assert choice.branches == (
        Branch("R", "shadow", ("R code", "defaults", "keywords")),
        Branch("Q", "shadow", sided("Q")),
    )
    assert choice.otherwise == sided("P")
    assert stack.wanted()[A] == "elsewhere"
    assert not choice.only_measures
    assert [settled(choice, each) for each in SIDES] == [*sided("P")]
    assert settled("itself", CODE) == "itself"


def test_a_layer_that_is_on_leaves_nothing_to_decide_to_those_beneath_it():
    stack = stack_of(Layer("P", "shadow", side_of("P")), Layer("Q", "on", side_of("Q")), originals=ORIGINAL)
    assert [stack.wanted()[each] for each in SIDES] == [*sided("Q")]


def test_without_a_layer_that_is_on_the_original_is_what_is_left():
    choice = only_choice(stack_of(Layer("Q", "shadow", side_of("Q")), originals=ORIGINAL))
    assert choice.branches == (Branch("Q", "shadow", sided("Q")),)
    assert choice.otherwise == ("code", "defaults", "keywords")


def test_slots_that_the_stack_does_not_know_stay_as_they_are():
    stack = stack_of(Layer("Q", "shadow", {CODE: "Q code"}), originals={CODE: "code"})
    (wanted,) = stack.wanted().items()
    assert wanted[0] == CODE
    assert isinstance(wanted[1], Choice)
    assert wanted[1].branches[0].side == ("Q code", UNCHANGED, UNCHANGED)
    assert wanted[1].otherwise == ("code", UNCHANGED, UNCHANGED)


def test_where_no_call_is_sent_elsewhere_each_measured_layer_counts_what_calls_get():
    measured, off = Measured("on"), Measured("off")
    stack = stack_of(
        Layer("P", measured, side_of("P")),
        Layer("Q", off, side_of("Q")),
        originals=ORIGINAL,
    )
    choice = only_choice(stack)
    assert choice.only_measures
    assert choice.otherwise == sided("P")
    assert choice.branches == (Branch("Q", off, choice.otherwise), Branch("P", measured, choice.otherwise))


def test_names_that_the_program_lacks_are_there_for_code_that_may_be_chosen():
    new, known, attribute = slot("NEW", "module"), slot("KNOWN", "module"), slot("attribute")
    method = slot("method", "class")
    layer = Layer("P", "shadow", {new: 1, known: 2, attribute: 3, method: 4})
    originals: dict[Slot, object] = {new: ABSENT, known: "old", attribute: ABSENT, method: ABSENT}
    stack = Stack().push(layer, originals)
    assert stack.wanted() == {new: 1, known: "old", attribute: ABSENT, method: 4}
    assert stack.with_mode("P", "off").wanted() == originals
    assert stack.with_mode("P", Measured("off")).wanted() == originals


def test_who_decides_call_by_call_decides_what_functions_hold_and_not_what_others_do():
    """Those hold what they held without that patch: who finds them changed must not be told that it put that there."""
    new, known, documentation = slot("NEW", "module"), slot("KNOWN", "module"), slot("__doc__", "function")
    values: dict[Slot, object] = {**side_of("P"), new: 1, known: 2, documentation: 3}
    originals: dict[Slot, object] = {**ORIGINAL, new: ABSENT, known: "old", documentation: "doc"}
    beneath = stack_of(Layer("BELOW", "on", {known: "below"}), originals=originals)
    for mode, added in (("shadow", "P"), (Measured("on"), "P"), (Measured("off"), None)):
        stack = beneath.push(Layer("P", mode, values), originals)
        assert [stack.decider(each) for each in (*SIDES, new)] == ["P", "P", "P", added]
        measured = mode == Measured("on")
        assert stack.decider(known) == ("P" if measured else "BELOW")
        assert stack.decider(documentation) == ("P" if measured else None)


def test_a_choice_is_written_when_it_is_another_one():
    stack = stack_of(Layer("Q", "shadow", side_of("Q")), originals=ORIGINAL)
    again = stack_of(Layer("Q", "shadow", dict(stack.layers[0].values)), originals=ORIGINAL)
    assert stack.wanted()[CODE] is not again.wanted()[CODE]
    assert difference(stack, again) == ()
    writes = difference(stack, stack.with_mode("Q", "on"))
    assert [(write.slot, write.after) for write in writes] == [*side_of("Q").items()]
    writes = difference(stack.with_mode("Q", "on"), stack)
    assert [write.before for write in writes] == [*sided("Q")]
    assert len({id(write.after) for write in writes}) == 1


def test_choices_are_equal_if_all_that_they_choose_between_is_identical():
    code, twin = ["code"], ["code"]
    branch = Branch("P", "shadow", (code,))
    choice = Choice((branch,), (code,))
    assert choice == Choice((Branch("P", "shadow", (code,)),), (code,))
    assert hash(choice) == hash(Choice((), (code,)))
    assert hash(choice) != hash(Choice((branch,), (twin,)))
    for another in (
        Choice((Branch("P", "shadow", (twin,)),), (code,)),
        Choice((Branch("Q", "shadow", (code,)),), (code,)),
        Choice((Branch("P", Measured("on"), (code,)),), (code,)),
        Choice((branch,), (twin,)),
        Choice((branch, branch), (code,)),
        (branch, code),
    ):
        assert choice != another
