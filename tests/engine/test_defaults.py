"""Attributes that only a new __init__ sets, for objects that exist already."""

from __future__ import annotations

import threading

import pytest

from livepatch.engine.defaults import InitialValue, attribute_default


class Holder:
    pass


class Slotted:
    __slots__ = ()


@pytest.fixture(autouse=True)
def clean():
    yield
    for cls in (Holder, Slotted):
        for name in [n for n in vars(cls) if n in ("lines", "limit", "make")]:
            delattr(cls, name)


def test_each_object_gets_one_of_its_own_when_it_is_first_read():
    old, other = Holder(), Holder()
    Holder.lines = attribute_default("lines", [], lambda _: [])
    old.lines.append(1)
    assert old.lines == [1]
    assert other.lines == []
    assert vars(old) == {"lines": [1]}


def test_what_an_object_holds_itself_is_what_is_read():
    Holder.lines = attribute_default("lines", [], lambda _: [])
    new = Holder()
    new.lines = "own"
    assert new.lines == "own"


def test_a_plain_value_serves_all_and_a_function_is_not_bound():
    Holder.limit = attribute_default("limit", 7, None)
    assert Holder().limit == Holder.limit == 7
    Holder.make = attribute_default("make", len, None)
    assert Holder().make("abc") == 3

    def plain(x):
        return x

    Holder.make = attribute_default("make", plain, None)
    assert Holder().make(5) == 5


def test_the_class_and_objects_without_a_namespace_are_without_it():
    Holder.lines = Slotted.lines = InitialValue("lines", lambda _: [])
    for thing in (Holder, Slotted()):
        with pytest.raises(AttributeError, match="has no attribute 'lines'"):
            thing.lines  # noqa: B018


def test_threads_that_read_at_once_get_the_same():
    for _ in range(200):
        thing, seen = Holder(), []
        Holder.lines = InitialValue("lines", lambda _: [])
        barrier = threading.Barrier(4)

        def read(thing=thing, seen=seen, barrier=barrier):
            barrier.wait()
            seen.append(thing.lines)

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({id(value) for value in seen}) == 1
