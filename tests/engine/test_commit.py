"""The stores: all of them and the record, or none; and the collector as it was."""

from __future__ import annotations

import gc
import re
import sys
from types import FrameType, FunctionType, ModuleType, SimpleNamespace
from typing import Any

import pytest

from livepatch.engine.commit import commit, restore, slot_of, value_of
from livepatch.engine.places import contents_of, item_of, member_of, wanted_contents
from livepatch.engine.stack import ABSENT, Slot, Write
from livepatch.errors import TransitionError


class Scene:
    """A module, a class and two functions, and a record beside them."""

    def __init__(self) -> None:
        self.module = ModuleType("specimen")
        exec(
            "VALUE = ['old']\ndef f(a=1): return 'old'\ndef g(): return 'old'\nclass C:\n    SIZE = ['old']\n",
            vars(self.module),
        )
        self.record = SimpleNamespace(stack="before")
        self.new = ModuleType("new")
        exec("def f(a=2): return 'new'\ndef g(): return 'new'", vars(self.new))

    def write(self, owner: Any, name: str, after: object) -> Write:
        slot = slot_of(owner, name, name)
        return Write(slot, value_of(slot), after)

    def writes(self) -> list[Write]:
        m, new = self.module, self.new
        return [
            self.write(m.f, "__code__", new.f.__code__),
            self.write(m.f, "__defaults__", new.f.__defaults__),
            self.write(m, "VALUE", ["new"]),
            self.write(m, "ADDED", ["new"]),
            self.write(m.C, "SIZE", ["new"]),
            self.write(m.C, "ADDED", ["new"]),
            self.write(m.g, "__code__", new.g.__code__),
        ]

    def commit(self, writes: list[Write], then: Any = ()) -> float:
        return commit(writes, (self.record, "stack", "after"), then)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def held(writes: list[Write]) -> list[object]:
    return [value_of(write.slot) for write in writes]


def holds(writes: list[Write], values: list[object]) -> bool:
    return all(now is value for now, value in zip(held(writes), values, strict=True))


def back(writes: list[Write]) -> list[Write]:
    return [Write(write.slot, write.after, write.before) for write in writes]


def test_all_and_the_record_in_one_step_and_back(scene: Scene):
    writes = scene.writes()
    before = held(writes)
    assert before.count(ABSENT) == 2
    seconds = scene.commit(writes)
    assert 0 < seconds < 1
    assert holds(writes, [write.after for write in writes])
    assert scene.record.stack == "after"
    assert (scene.module.f(), scene.module.g()) == ("new", "new")
    scene.commit(back(writes))
    assert holds(writes, before)
    assert not hasattr(scene.module, "ADDED")
    assert not hasattr(scene.module.C, "ADDED")


def test_no_line_of_code_runs_between_two_stores(scene: Scene):
    """A line is where another thread may get its turn.  Here a tracer does, and sees all of the old or of the new."""
    writes = scene.writes()
    seen: set[tuple[bool, ...]] = set()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename != commit.__code__.co_filename:
            return None
        seen.add(tuple(value_of(write.slot) is write.after for write in writes))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        scene.commit(writes)
    finally:
        sys.settrace(before)
    assert seen == {(False,) * len(writes), (True,) * len(writes)}


def test_no_writes_at_all_still_make_the_record_true(scene: Scene):
    scene.commit([])
    assert scene.record.stack == "after"


def test_what_is_called_at_the_end_sees_everything_done(scene: Scene):
    writes = scene.writes()
    seen = []
    scene.commit(writes, [lambda: seen.append((holds(writes, [w.after for w in writes]), scene.record.stack))])
    assert seen == [(True, "after")]


def test_what_is_run_through_first_sees_nothing_done_and_may_refuse(scene: Scene):
    writes = scene.writes()
    before = held(writes)
    seen = []

    def first(fails: bool) -> Any:
        seen.append((holds(writes, before), scene.record.stack))
        yield
        if fails:
            raise LookupError("not now")

    with pytest.raises(LookupError, match="not now"):
        commit(writes, (scene.record, "stack", "after"), first=first(fails=True))
    assert holds(writes, before)
    commit(writes, (scene.record, "stack", "after"), first=first(fails=False))
    assert holds(writes, [write.after for write in writes])
    assert seen == [(True, "before")] * 2


def test_the_record_goes_last_of_the_attributes(scene: Scene):
    seen = []

    class Record:
        stack = "before"

        def __setattr__(self, name: str, value: object) -> None:
            seen.append((value, scene.module.f(), scene.module.C.SIZE))

    commit(scene.writes(), (Record(), "stack", "after"))
    assert seen == [("after", "new", ["new"])]


@pytest.mark.parametrize("kind", [dict, list])
def test_all_that_a_container_holds_is_put_in_place_unless_it_grew_meanwhile(scene: Scene, kind: Any):
    container, other = ({"a": 1}, {"b": 2, "c": 3}) if kind is dict else (["a"], ["b", "c"])
    slot = contents_of(container, "node:TABLE")
    before = value_of(slot)
    write = Write(slot, before, value_of(contents_of(other)))
    scene.commit([write])
    assert container == other

    def grows() -> object:
        """Somebody adds to the container after the look at it; the owners of the other slots are asked then."""
        if len(container) == 2:
            container.append("d") if kind is list else container.update(d=4)
        return scene.module

    back_again = Write(slot, write.after, before)
    late = Write(Slot(grows, id(scene.module), "module", "VALUE"), scene.module.VALUE, ["new"])
    scene.record.stack = "before"
    with pytest.raises(
        TransitionError, match=r"^a container was changed by others at the moment of the switch; "
    ) as caught:
        scene.commit([back_again, late])
    assert (caught.value.found, caught.value.expected) == ("3 items", "2 items, as an instant before")
    assert len(container) == 3
    assert scene.record.stack == "before"
    assert scene.module.VALUE == ["old"]


def test_every_kind_of_slot_in_one_step_and_back(scene: Scene):
    table, row, names, thing, order = {"gone": 1}, ["old"], {"gone"}, SimpleNamespace(size=1), ["a", "b"]
    slots = [item_of(table, "gone"), item_of(table, "new"), item_of(row, 0), member_of(names, "gone")]
    slots += [member_of(names, "new"), slot_of(thing, "size"), slot_of(thing, "added")]
    values = [ABSENT, 2, "new", ABSENT, "new", 2, 3]
    writes = [Write(slot, value_of(slot), value) for slot, value in zip(slots, values, strict=True)]
    all_of_it = contents_of(order)
    writes.append(Write(all_of_it, value_of(all_of_it), wanted_contents(all_of_it, [("c",)])))
    scene.commit([*writes, *scene.writes()])
    assert order == ["c"]
    assert (table, row, names, vars(thing)) == ({"new": 2}, ["new"], {"new"}, {"size": 2, "added": 3})
    assert scene.module.f() == "new"
    restore(writes)
    assert order == ["a", "b"]
    assert (table, row, names, vars(thing)) == ({"gone": 1}, ["old"], {"gone"}, {"size": 1})


def refused(scene: Scene, at: str) -> Write:
    """A store that the interpreter will not make."""
    m = scene.module
    if at == "code":
        x = 1
        return scene.write(m.g, "__code__", (lambda: x).__code__)  # its free variable has no cell in g
    if at == "defaults":
        return scene.write(m.g, "__defaults__", "no tuple")
    if at == "class":
        return Write(slot_of(int, "SIZE", "SIZE"), ABSENT, 1)
    if at == "gone attribute":
        return Write(slot_of(m.C, "NEVER", "NEVER"), 1, ABSENT)
    return Write(slot_of(m, "NEVER", "NEVER"), 1, ABSENT)


@pytest.mark.parametrize("place", [0, 1, 4, 7])
@pytest.mark.parametrize("at", ["code", "defaults", "class", "gone attribute", "gone item"])
def test_a_refused_store_leaves_all_as_it_was(at: str, place: int, scene: Scene):
    writes = scene.writes()
    before = held(writes)
    with pytest.raises((ValueError, TypeError, AttributeError, KeyError)):
        scene.commit([*writes[:place], refused(scene, at), *writes[place:]])
    assert holds(writes, before)
    assert scene.record.stack == "before"
    assert (scene.module.f(), scene.module.g()) == ("old", "old")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failure_after_the_stores_leaves_all_as_it_was(error: type[BaseException], scene: Scene):
    writes = scene.writes()
    before = held(writes)

    def fail() -> None:
        raise error

    with pytest.raises(error):
        scene.commit(writes, [fail])
    assert holds(writes, before)
    assert scene.record.stack == "before"


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_the_collector_is_left_as_it_was(enabled: bool, fails: bool, scene: Scene):
    seen = []
    then: list[Any] = [lambda: seen.append(gc.isenabled()), *([lambda: 1 / 0] if fails else [])]
    was = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        if fails:
            with pytest.raises(ZeroDivisionError):
                scene.commit(scene.writes(), then)
        else:
            scene.commit(scene.writes(), then)
        now = gc.isenabled()
    finally:
        (gc.enable if was else gc.disable)()
    assert now is enabled
    # Before 3.12 a collection may run between two stores, so it is held off meanwhile.
    assert seen == [enabled and sys.version_info >= (3, 12)]


def test_owners_that_are_gone_are_passed_over(scene: Scene):
    def short_lived() -> FunctionType:
        space: dict[str, Any] = {}
        exec("def h(): return 'old'", space)
        return space["h"]

    gone = short_lived()
    write = scene.write(gone, "__code__", scene.new.g.__code__)
    del gone
    gc.collect()
    assert write.slot.owner is None
    assert value_of(write.slot) is ABSENT
    first, *others = scene.writes()
    writes = [first, write, *others]
    scene.commit(writes)
    assert holds([first, *others], [each.after for each in (first, *others)])
    restore(writes)
    assert holds([first, *others], [each.before for each in (first, *others)])


def test_restoring_puts_back_only_what_went_through(scene: Scene):
    writes = scene.writes()
    before = held(writes)
    scene.commit(writes[:3])
    scene.module.VALUE = foreign = ["foreign"]
    restore(writes)
    assert holds(writes[:2], before[:2])
    assert scene.module.VALUE is foreign
    assert holds(writes[3:], before[3:])
    restore(writes)
    assert holds(writes[:2], before[:2])


def test_what_cannot_be_put_back_is_said_and_the_rest_is(scene: Scene):
    writes = scene.writes()
    before = held(writes)
    scene.commit(writes)
    impossible = Write(slot_of(scene.module.g, "__defaults__", "g's defaults"), "no tuple", None)
    another = Write(slot_of(scene.module.C, "__dict__", "C's names"), 1, vars(scene.module.C)["__dict__"])
    with pytest.raises(TransitionError, match=r"^what was there before could not be put back everywhere; ") as caught:
        restore([another, writes[0], impossible, *writes[1:]])
    assert re.fullmatch("g's defaults: .+; C's names: .+", caught.value.found)
    assert caught.value.expected == "every store that was made can be undone"
    assert caught.value.action == "restart this process"
    assert holds(writes, before)


def test_values_are_read_raw(scene: Scene):
    class Meta(type):
        @property
        def hidden(cls):
            raise AssertionError("asked")

    class Base(metaclass=Meta):
        inherited = 1

    class Derived(Base):
        @classmethod
        def method(cls): ...

    assert value_of(slot_of(Derived, "inherited")) is ABSENT
    assert value_of(slot_of(Derived, "hidden")) is ABSENT
    assert value_of(slot_of(Derived, "method")) is vars(Derived)["method"]
    scene.module.__getattr__ = lambda name: 1 / 0
    assert value_of(slot_of(scene.module, "nowhere")) is ABSENT


def test_slots_are_one_place_by_owner_and_name(scene: Scene):
    m = scene.module
    assert slot_of(m.f, "__code__", "one") == slot_of(m.f, "__code__", "another")
    assert len({slot_of(m.f, "__code__"), slot_of(m.f, "__code__"), slot_of(m.g, "__code__")}) == 2
    assert slot_of(m.f, "__code__") != slot_of(m.f, "__defaults__")
    assert [slot_of(owner, "x").kind for owner in (m.f, m, m.C)] == ["function", "module", "class"]
    assert [str(slot_of(m, "VALUE")), str(slot_of(m, "VALUE", "m:VALUE"))] == ["VALUE", "m:VALUE"]
