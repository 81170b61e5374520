"""Values attached to objects: by identity, made once, gone with the object."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import sys
import threading
import time
import weakref

import pytest

from livepatch.engine.attached import Attached
from livepatch.engine.stack import ABSENT
from livepatch.errors import StateError


class Plain:
    pass


class Slotted:
    __slots__ = ("__weakref__", "other")


class Bare:
    """No ``__dict__``, and no weak reference can be made."""

    __slots__ = ("other",)


class OnlyDict:
    __slots__ = ("__dict__",)


class Unhashable:
    __hash__ = None

    def __eq__(self, other):
        raise AssertionError("nobody is to be asked")


class Equal:
    def __eq__(self, other):
        return True

    def __hash__(self):
        return 1


class Words(tuple):
    __slots__ = ()


KINDS = [Plain, Slotted, Bare, OnlyDict, Unhashable, Equal, Words, dict, list, Exception, lambda: len, lambda: Plain]


@pytest.mark.parametrize("attribute", ["", "x"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_object_of_any_kind_gets_a_value_of_its_own(kind, attribute):
    attached = Attached("x", attribute)
    one = kind()
    value = attached.get_or_make(one, lambda _: [])
    assert attached.get_or_make(one, lambda _: [1]) is value
    assert attached.get(one) is value
    attached.put(one, "other")
    assert attached.get(one) == "other"
    assert attached.free(one)
    assert not attached.free(one)
    assert attached.get(one) is ABSENT
    assert len(attached) == 0


@pytest.mark.parametrize("kind", [Plain, Slotted, Bare, Unhashable, Equal, Words, dict])
def test_equal_objects_are_two(kind):
    attached, one, other = Attached("x"), kind(), kind()
    assert attached.get_or_make(one, lambda _: [1]) == [1]
    assert attached.get(other) is ABSENT
    assert attached.get_or_make(other, lambda _: [2]) == [2]
    assert (attached.get(one), len(attached)) == ([1], 2)


@pytest.mark.parametrize("value", [None, True, 5, 2.5, "text", b"bytes", (1, 2), frozenset(), ...])
def test_plain_values_are_refused_before_anything_is_made(value):
    attached = Attached("x")
    with pytest.raises(TypeError, match="nothing can be attached to"):
        attached.put(value, 1)
    assert len(attached) == 0


@pytest.mark.parametrize("attribute", ["", "x"])
@pytest.mark.parametrize("kind", [Plain, Slotted, Unhashable])
def test_a_value_goes_with_its_object_and_an_address_used_again_has_none(kind, attribute):
    attached, seen, again = Attached("x", attribute), set(), 0
    for i in range(300):
        one = kind()
        again += id(one) in seen
        seen.add(id(one))
        assert attached.get(one) is ABSENT
        attached.get_or_make(one, lambda _, i=i: i)
        del one
    assert again  # or nothing was tested
    assert len(attached) == 0


def test_a_value_inside_the_object_makes_a_cycle_that_is_collected():
    attached, one = Attached("x", "x"), Plain()
    attached.get_or_make(one, lambda self: [self])
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None
    assert len(attached) == 0


def test_what_cannot_be_referred_to_weakly_is_let_go_when_nothing_else_holds_it():
    attached, kept, freed = Attached("x"), Bare(), []

    class Value:
        def __del__(self):
            freed.append(1)

    attached.get_or_make(kept, lambda _: Value())
    for _ in range(500):
        attached.get_or_make(Bare(), lambda _: Value())
    assert len(attached) < 300  # as the table grows
    attached.let_go()
    assert (len(attached), len(freed)) == (1, 500)
    assert attached.get(kept) is not ABSENT
    attached.get_or_make(Bare(), lambda _: Value())
    time.sleep(0.01)
    gc.collect()
    assert len(attached) == 1
    attached.free_all()
    assert len(freed) == 502


@pytest.mark.parametrize("base", [Plain, Slotted, Bare, Words])
def test_a_finalizer_reads_the_value_and_does_not_keep_its_object(base):
    attached, seen = Attached("x"), []

    class Dying(base):
        __slots__ = ()

        def __del__(self):
            seen.append(attached.get_or_make(self, lambda _: "made in __del__"))

    attached.get_or_make(Dying(), lambda _: "made before")
    attached.let_go()
    gc.collect()
    attached.let_go()
    attached.let_go()
    assert len(attached) == 0
    assert len(seen) == 1


def test_a_resurrected_object_has_a_value_or_starts_anew_and_never_has_anothers():
    attached, saved = Attached("x"), []

    class Lazarus:
        def __del__(self):
            saved.append(self)

    one = Lazarus()
    attached.get_or_make(one, lambda _: "first")
    del one  # by its last reference: weak references live on
    assert attached.get(saved[0]) == "first"
    two = Lazarus()
    two.itself = two
    attached.get_or_make(two, lambda _: "second")
    del two
    gc.collect()  # by the collector, which clears weak references first
    assert attached.get(saved[1]) in (ABSENT, "second")
    assert attached.get_or_make(saved[1], lambda _: "anew") in ("anew", "second")
    numbers = [id(each) for each in saved]
    saved.clear()
    gc.collect()
    others = [Lazarus() for _ in range(100)]
    assert [attached.get(each) for each in others if id(each) in numbers] == [ABSENT] * sum(
        id(each) in numbers for each in others
    )
    for each in others:
        attached.put(each, 1)
    assert len(attached) == 100


def test_copies_and_pickles_take_along_what_lies_inside_and_nothing_else():
    inside, outside, one = Attached("x", "x"), Attached("y"), Plain()
    inside.get_or_make(one, lambda _: [1])
    outside.get_or_make(one, lambda _: [2])
    for other in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert vars(other) == {"x": [1]}
        assert outside.get(other) is ABSENT
    assert inside.free_all() == 1
    assert vars(one) == {}


def test_what_was_attached_and_what_took_its_place_goes_and_an_objects_own_stays():
    attached, one, other, own = Attached("x", "x"), Plain(), Plain(), Plain()
    own.x = "own"
    for each in (one, other, own):
        attached.get_or_make(each, lambda _: 0)
    one.x += 1
    attached.close()
    assert (vars(one), vars(other), vars(own)) == ({}, {}, {"x": "own"})
    assert attached.get_or_make(other, lambda _: "not attached") == "not attached"
    attached.put(other, "neither")
    assert (vars(other), len(attached)) == ({}, 0)


def test_what_the_program_assigns_while_a_value_is_made_is_its_own():
    attached, one = Attached("x", "x"), Plain()

    def make(self):
        self.x = "assigned"
        return "made"

    assert attached.get_or_make(one, make) == "assigned"
    attached.free_all()
    assert one.x == "assigned"


@pytest.mark.parametrize(("kind", "attribute"), [(Plain, "x"), (Plain, ""), (Slotted, ""), (Bare, "")])
def test_threads_that_ask_at_once_get_one_value_and_the_factory_is_called_once(kind, attribute):
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for _ in range(20):
            attached, one, made, seen = Attached("x", attribute), kind(), [], []
            barrier = threading.Barrier(4)

            def make(_, made=made):
                made.append(1)
                time.sleep(0.0005)
                return []

            def ask(attached=attached, one=one, make=make, seen=seen, barrier=barrier):
                barrier.wait()
                seen.append(id(attached.get_or_make(one, make)))

            threads = [threading.Thread(target=ask) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert (len(made), len(seen), len(set(seen))) == (1, 4, 1)
    finally:
        sys.setswitchinterval(interval)


def test_a_factory_that_raises_leaves_nothing_and_the_next_one_is_asked():
    attached, one = Attached("x"), Plain()
    with pytest.raises(ZeroDivisionError):
        attached.get_or_make(one, lambda _: 1 // 0)
    with pytest.raises(StateError, match="could not be made; found: AttributeError"):
        attached.get_or_make(one, lambda self: self.nothing)
    assert len(attached) == 0
    assert attached.get_or_make(one, lambda _: "made") == "made"


def test_threads_that_wait_for_a_factory_that_raises_try_themselves():
    attached, one, turns, seen = Attached("x"), Plain(), [], []
    barrier = threading.Barrier(3)

    def make(_):
        turns.append(1)
        time.sleep(0.002)
        if len(turns) == 1:
            raise ValueError
        return "made"

    def ask():
        barrier.wait()
        try:
            seen.append(attached.get_or_make(one, make))
        except ValueError:
            seen.append("raised")

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == ["made", "made", "raised"]
    assert len(turns) == 2


def test_a_factory_may_ask_for_other_values_and_not_for_its_own():
    attached, other, one, two = Attached("x"), Attached("y"), Plain(), Plain()

    def make(self):
        return [attached.get_or_make(two, lambda _: "of two"), other.get_or_make(self, lambda _: "y")]

    assert attached.get_or_make(one, make) == ["of two", "y"]
    three = Plain()
    with pytest.raises(StateError, match="a factory that reads the value that it is to give"):
        attached.get_or_make(three, lambda self: attached.get_or_make(self, lambda _: 1))
    assert attached.get_or_make(three, lambda _: "made") == "made"


def test_factories_that_wait_for_one_another_are_told_so():
    attached, objects, errors = Attached("x"), [Plain(), Plain()], []
    both = threading.Barrier(2)

    def ask(mine):
        def make(_):
            both.wait()
            return attached.get_or_make(objects[1 - mine], lambda _: "other")

        try:
            attached.get_or_make(objects[mine], make)
        except StateError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=ask, args=(i,), daemon=True) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert not any(thread.is_alive() for thread in threads)
    assert errors
    assert "each of which reads what the other one makes" in errors[0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_makes_what_a_thread_of_its_parent_was_making():
    attached, one = Attached("x"), Plain()
    begun, go_on = threading.Event(), threading.Event()

    def make(_):
        begun.set()
        go_on.wait(10)
        return "parent"

    thread = threading.Thread(target=attached.get_or_make, args=(one, make))
    thread.start()
    begun.wait(10)
    child = os.fork()
    if child == 0:
        os._exit(0 if attached.get_or_make(one, lambda _: "child") == "child" else 1)
    go_on.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    assert attached.get(one) == "parent"
