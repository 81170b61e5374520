"""Digests of contents: the same for what holds the same, in every process, and others for what does not."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import os
import subprocess
import sys
import threading
import uuid
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livepatch.replaying.content import content_of

ROOT = Path(__file__).resolve().parents[2]


class Thing:
    def __init__(self, **held: object) -> None:
        self.__dict__.update(held)

    def method(self) -> None: ...


class Slotted:
    __slots__ = ("__weakref__", "a", "b")

    def __init__(self, a: object) -> None:
        self.a = a


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Text(str):
    __slots__ = ()


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: float


Pair = namedtuple("Pair", "a b")  # noqa: PYI024  # one without types is what is tried


def many() -> list[Any]:
    """Values that are all different, made anew each time."""
    return [
        None, False, True, 0, 1, 1.0, -0.0, 0.0, 2**70, 1j, "", "a", "1", "\ud800", b"", b"a", bytearray(b"a"), (),
        [], {},
        set(), frozenset(),
        (1,), [1], [1, 2], [2, 1], [[1], 2], {1: 2}, {2: 1}, {"a": 1, "b": 2}, {"b": 2, "a": 1},
        {1, 2}, {"1", "2"}, frozenset({1, 2}), deque([1]), deque([1], 5), OrderedDict(a=1), defaultdict(list, a=[1]),
        Counter("a"), Pair(1, 2), Pair(1, 3), Point(1, 2.0), Point(1, 2.5), Thing(), Thing(a=1), Thing(a=2), Thing(b=1),
        Slotted(1), Slotted(2), Colour.RED, Colour.BLUE, Text("a"), Text("b"), Thing, Slotted, len, Thing.method,
        Thing(a=1).method, Thing(a=2).method, functools.partial(len, [1]), functools.partial(len, [2]),
        dt.date(2026, 1, 1), dt.date(2026, 1, 2), dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        decimal.Decimal("1.0"), decimal.Decimal("1.00"), fractions.Fraction(1, 3), uuid.UUID(int=1), uuid.UUID(int=2),
        range(3), range(4), slice(1, 2), iter([1, 2]), ValueError(1), ValueError(2), KeyError(1), {1: 2}.keys(),
        {1: 2}.items(),
        MappingProxyType({1: 2}), memoryview(b"a"), Path("a"), Path("b"), object(), threading.Lock(), [Thing(a=[1])],
    ]  # fmt: skip


def test_what_holds_the_same_is_alike_and_what_does_not_is_not():
    once, again = ([content_of(each)[0] for each in many()] for _ in range(2))
    assert once == again
    assert len(set(once)) == len(once), [
        (many()[i], many()[j]) for i in range(len(once)) for j in range(i) if once[i] == once[j]
    ]


def test_it_is_the_same_in_every_process():
    """With other hash seeds and addresses."""
    code = f"import sys; sys.path[:0] = {[str(ROOT), str(ROOT / 'src')]!r}\n"
    code += "from tests.replaying.test_content import *\nprint([content_of(each)[0].hex() for each in many()])"
    told = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


def test_how_often_a_value_is_there_does_not_count():
    one: list[int] = [1]
    assert content_of([one, one]) == content_of([[1], [1]])
    assert content_of((one, {"a": one})) == content_of(([1], {"a": [1]}))


def ring(size: int, value: int = 0) -> Thing:
    first = last = Thing(value=value)
    for _ in range(size - 1):
        last.next = Thing(value=0)  # type: ignore[attr-defined]  # held in its dict
        last = last.next
    last.next = first  # type: ignore[attr-defined]  # likewise
    return first


def test_what_refers_to_itself_is_compared():
    assert content_of(ring(1)) == content_of(ring(1))
    assert content_of(ring(5)) == content_of(ring(5))
    assert len({content_of(ring(size)) for size in (1, 2, 3)}) == 3
    assert content_of(ring(3, 1)) != content_of(ring(3))
    parents = [Thing(children=[]) for _ in range(2)]
    for parent in parents:
        parent.children.extend(Thing(parent=parent, number=n) for n in range(50))  # type: ignore[attr-defined]
    assert content_of(parents[0]) == content_of(parents[1])
    parents[1].children[30].number = 7  # type: ignore[attr-defined]  # held in its dict
    assert content_of(parents[0]) != content_of(parents[1])


def mesh(size: int, odd: int = -1) -> list[Thing]:
    nodes = [Thing(number=0 if n == odd else n) for n in range(size)]
    for node in nodes:
        node.peers = nodes  # type: ignore[attr-defined]  # held in its dict
        node.known = dict(enumerate(nodes))  # type: ignore[attr-defined]  # likewise
    return nodes


def test_what_is_tangled_takes_no_time_for_ever():
    assert content_of(mesh(60)) == content_of(mesh(60))
    assert content_of(mesh(60)) != content_of(mesh(60, odd=31))


def test_a_long_chain_is_followed():
    def made(last: int) -> list[Any]:
        inner: list[Any] = [last]
        for _ in range(3000):
            inner = [inner]
        return inner

    limit = sys.getrecursionlimit()
    assert content_of(made(1)) == content_of(made(1))
    assert content_of(made(1)) != content_of(made(2))
    assert sys.getrecursionlimit() == limit


def test_what_cannot_be_told_is_named():
    assert content_of([threading.Lock(), sys._getframe()])[1] == {"_thread.lock", "builtins.frame"}
    endless: list[Any] = []
    for _ in range(5000):
        endless = [endless]
    assert content_of(endless)[1] == {"builtins.list (too deep in what holds it)"}
    assert content_of(many()[:-2])[1] == frozenset()


@pytest.mark.parametrize("value", [ValueError("a", [1]), OSError(2, "no"), KeyError()])
def test_an_exception_is_its_arguments_and_attributes(value):
    assert content_of(value) == content_of(type(value)(*value.args))
    other = type(value)(*value.args)
    other.code = 7
    assert content_of(value) != content_of(other)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda some: st.lists(some) | st.tuples(some, some) | st.dictionaries(st.text(), some),
    max_leaves=15,
)


@settings(deadline=None)
@given(ANY, ANY)
def test_digests_differ_where_values_do(one, other):
    assert (content_of(one) == content_of(other)) == (repr(one) == repr(other))
