"""Comparing and telling what two sides gave, whatever the values do."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from livepatch.engine.comparing import Outcome, compared, spelled_call, spelled_outcome


@dataclasses.dataclass
class Point:
    x: float


class Plain:
    def __repr__(self):
        raise AssertionError


class Angry:
    def __init__(self, error=ZeroDivisionError):
        self.error = error

    def __eq__(self, other):
        raise self.error

    __hash__ = None
    __repr__ = __str__ = None


class Array:
    """Answers == for each element, as numpy does."""

    def __init__(self, *elements, shape=None, dtype="int64"):
        self.elements, self.shape, self.dtype = elements, shape or (len(elements),), dtype

    def __eq__(self, other):
        return Array(*(a == b for a, b in zip(self.elements, other.elements, strict=False)))

    __hash__ = None

    def __bool__(self):
        raise ValueError("the truth value of an array is ambiguous")

    def all(self):
        return all(self.elements)


class Undecided:
    def __eq__(self, other):
        return Array.__new__(Truthless)

    __hash__ = None


class Truthless(Array):
    all = None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (1, 1), ("a", "a"), ([1, [2]], [1, [2]]), ({"a": 1}, {"a": 1}), (None, None), (10**30, 10**30),
        (math.nan, -math.nan), ([math.nan], [float("nan")]), ({"a": (1, math.nan)}, {"a": (1, float("nan"))}),
        (complex(math.nan, 1), complex(math.nan, 1)), (Point(1.0), Point(1.0)), (Array(1, 2), Array(1, 2)),
        (Array(), Array()),
    ],
)  # fmt: skip
def test_equal_values_of_one_type_are_alike(old, new):
    assert compared(Outcome(old), Outcome(new)) == (True, "")


@pytest.mark.parametrize("value", [Plain(), Angry(), Undecided(), iter([])], ids=lambda value: type(value).__name__)
def test_the_same_object_is_alike_whatever_its_equality_does(value):
    assert compared(Outcome(value), Outcome(value)) == (True, "")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (1, 2), (1, True), (1, 1.0), ("a", b"a"), ((1,), [1]),
        ([math.nan], [math.nan, 1]), ([math.nan, 1], [math.nan, 2]),
        ({"a": math.nan}, {"b": math.nan}), (math.nan, 1.0), (Point(1.0), Point(2.0)), (None, 0),
        (Array(1, 2), Array(1, 3)),
        (Array(1, 1, shape=(1, 2)), Array(1, 1, shape=(2, 1))), (Array(1), Array(1, dtype="float64")),
    ],
)  # fmt: skip
def test_other_values_differ(old, new):
    assert compared(Outcome(old), Outcome(new)) == (False, "")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (Angry(), Angry(), "comparing raised builtins.ZeroDivisionError"),
        (Angry(SystemExit), Angry(SystemExit), "comparing raised builtins.SystemExit"),
        (Undecided(), Undecided(), "comparing raised builtins.ValueError"),
        (Plain(), Plain(), "Plain has no == of its own"),
        ([Plain()], [Plain()], "Plain has no == of its own"),
        (iter([1]), iter([1]), "list_iterator has no == of its own"),
    ],
)
def test_what_cannot_be_compared_counts_as_different_and_says_why(old, new, why):
    same, note = compared(Outcome(old), Outcome(new))
    assert not same
    assert note.startswith("not comparable: ")
    assert note.endswith(why)


def test_values_that_hold_themselves_end():
    one, other = [math.nan], [math.nan]
    one.append(one)
    other.append(other)
    assert compared(Outcome(one), Outcome(other)) == (False, "not comparable: comparing raised builtins.RecursionError")


def test_an_interrupt_is_nobodys_comparison():
    with pytest.raises(KeyboardInterrupt):
        compared(Outcome(Angry(KeyboardInterrupt)), Outcome(Angry(KeyboardInterrupt)))


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        (ValueError("a", 1), ValueError("a", 1), True),
        (ValueError("a"), ValueError("b"), False),
        (ValueError("1"), ValueError(1), False),
        (ValueError(), TypeError(), False),
        (json.JSONDecodeError("x", "doc", 1), json.JSONDecodeError("x", "doc", 1), True),
        (OSError(2, "No such file", "a"), OSError(2, "No such file", "b"), False),
        (ValueError(), None, False),
        (None, ValueError(), False),
    ],
)
def test_exceptions_are_alike_by_type_and_text(old, new, same):
    assert compared(Outcome(None, old), Outcome(None, new)) == (same, "")


def test_a_call_is_told_without_anybodys_code():
    assert spelled_call((1, "a", Plain()), {"key": [1, {"x": b"y"}]}) == (
        f"1, 'a', a {__name__}.Plain, key=[1, {{'x': b'y'}}]"
    )
    assert spelled_call((), {}) == ""
    assert spelled_call(tuple(range(20)), {}) == "0, 1, 2, 3, 4, 5, …"
    assert len(spelled_call(("x" * 60,) * 6, {})) == 200


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (Outcome("x"), "'x'"),
        (Outcome([]), "[]"),
        (Outcome(()), "()"),
        (Outcome({1: {2: {3: 4}}}), "{1: {2: a builtins.dict}}"),
        (Outcome(list(range(9))), "[0, 1, 2, 3, 4, 5, …]"),
        (Outcome(frozenset({1})), "frozenset({1})"),
        (Outcome(Plain()), f"a {__name__}.Plain"),
        (Outcome(None, ValueError("bad", Plain())), f"raised builtins.ValueError('bad', a {__name__}.Plain)"),
        (Outcome(None, KeyError()), "raised builtins.KeyError()"),
    ],
)
def test_an_outcome_is_told_in_short(outcome, text):
    assert spelled_outcome(outcome) == text
