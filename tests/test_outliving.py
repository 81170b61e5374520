"""Objects outlive the calls that made them: what a switch does about those that the other side cannot use."""

from __future__ import annotations

import collections
import functools
import gc
import threading
import time
import weakref
from dataclasses import replace

import pytest
from tests.built import Running

import livepatch
from livepatch.engine.environment import observe
from livepatch.engine.gauge import Busy
from livepatch.engine.outliving import Absence, Unlike, unlike_objects
from livepatch.engine.stack import ABSENT
from livepatch.engine.transition import Transition
from livepatch.process import switching

READER = """
class Reader:
    def __init__(self):
        self.left = {}
    def more(self):
        self.left += {}
    def read(self):
        return self.left + {}
    def walk(self):
        yield self.left
        yield 'VERSION'
"""
OLD = {"m.py": READER.format("0", "1", "1").replace("VERSION", "old")}
NEW = {"m.py": READER.format("b''", "b'x'", "b'y'").replace("VERSION", "new")}
LACKED = {"m.py": "class Reader:\n    def __init__(self): pass\n    def read(self): return 7\n"}
SET = {
    "m.py": "class Reader:\n    def __init__(self): self.born = id(self)\n    def read(self): return self.born > 0\n"
}


@pytest.fixture
def releases(tmp_path, monkeypatch):
    return functools.partial(Running, tmp_path, monkeypatch)


@pytest.fixture
def there(releases):
    return releases(OLD, NEW)


def codes(findings) -> list[str]:
    return [finding.code for finding in findings]


# Until the new side is live


def test_check_says_what_the_switch_will_wait_for_and_what_a_revert_leaves(there):
    report = livepatch.check(there.build())
    assert report.ok
    assert {"switch-waits", "revert-leaves-objects"} <= set(codes(report.findings))
    (warning,) = [f for f in report.findings if f.code == "revert-leaves-objects"]
    assert (warning.severity, warning.target) == ("warning", f"{there.name}.m:Reader.left")
    assert "they hold a bytes in it, old ones int" in warning.found


def test_nothing_is_said_where_both_sides_can_use_each_others_objects(releases):
    there = releases(OLD, {"m.py": READER.format("0", "2", "2").replace("VERSION", "new")})
    assert not {"switch-waits", "revert-leaves-objects"} & set(codes(livepatch.check(there.build()).findings))


@pytest.mark.parametrize("sides", [(OLD, NEW), (LACKED, SET)], ids=["another kind", "lacking"])
def test_an_object_made_after_the_check_holds_the_switch(releases, sides):
    there, fix = (released := releases(*sides)), released.build()
    made = []
    fix.pre_apply(lambda: made.append(there["m"].Reader()))
    before = there.picture()
    with pytest.raises(livepatch.TransitionError, match=r"1 object with another .*m:Reader") as error:
        livepatch.apply(fix, timeout=0.3)
    assert error.value.timeout == 0.3
    assert livepatch.status() == ()
    assert there.differences(before, there.picture()) == []
    assert made[0].read() in (1, 7)


def test_the_switch_goes_on_when_the_object_has_gone(there):
    fix, made = there.build(), []

    def make() -> None:
        made.append(there["m"].Reader())
        threading.Timer(0.3, made.clear).start()

    fix.pre_apply(make)
    applied = livepatch.apply(fix, timeout=20)
    assert made == []
    assert (there["m"].Reader().read(), applied.status().state) == (b"y", "settled")


def test_a_call_under_way_holds_the_switch_for_it_may_make_objects(there):
    fix, running = there.build(), []

    def begin() -> None:
        walk = there["m"].Reader.walk(there["m"].Reader())
        next(walk)
        running.append(walk)

    fix.pre_apply(begin)
    with pytest.raises(livepatch.TransitionError, match="no moment"):
        livepatch.apply(fix, timeout=0.3)
    assert next(running[0]) == "old"
    running.clear()


@pytest.mark.parametrize("consistency", ["chain", "immediate"])
def test_no_switch_lets_calls_go_on_making_such_objects(there, consistency):
    with pytest.raises(livepatch.PatchError, match=f"consistency '{consistency}' does not suit.*'quiescent'"):
        livepatch.apply(there.build(), consistency=consistency)
    assert livepatch.status() == ()
    assert livepatch.apply(there.build(), consistency="quiescent").mode == "on"


def test_no_object_is_missed_beside_threads_that_make_them(there):
    reader, stop, errors, reads = there["m"].Reader, threading.Event(), [], [0] * 2

    def work(number: int) -> None:
        while not stop.is_set():
            try:
                one = reader()
                one.more()
                one.read()
            except TypeError as error:
                errors.append(error)
            del one
            reads[number] += 1
            time.sleep(0.002)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    fix, went, refusals = there.build(), 0, []
    try:
        for _ in range(15):
            try:
                applied = livepatch.apply(fix, timeout=5)
            except livepatch.IncompatibleError as refused:
                refusals += codes(refused.report.errors)
                continue
            went += 1
            read = list(reads)
            while any(now < then + 3 for now, then in zip(reads, read, strict=True)):
                time.sleep(0.001)
            assert errors == []
            applied.revert()
            assert applied.wait(5)
            errors.clear()  # what a revert leaves
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert went > 3
    assert set(refusals) <= {"attribute-unknown"}


@pytest.mark.parametrize("sides", [(OLD, NEW), (LACKED, SET)], ids=["another kind", "lacking"])
def test_on_again_waits_as_the_first_time(releases, sides):
    there = releases(*sides)
    applied = livepatch.apply(there.build())
    kept = [there["m"].Reader()]
    applied.mode = "off"
    kept.append(there["m"].Reader())
    timer = threading.Timer(0.4, kept.pop)
    timer.start()
    begun = time.monotonic()
    applied.mode = "on"
    assert time.monotonic() - begun > 0.2
    assert kept[0].read() in (b"y", True), "what the new side has made is in nobody's way"


def test_one_that_goes_in_dormant_waits_when_it_is_switched_on(there):
    applied = livepatch.apply(there.build(), mode="off")
    kept = [there["m"].Reader()]
    threading.Timer(0.4, kept.clear).start()
    begun = time.monotonic()
    livepatch.flags[applied.flag] = "on"
    assert time.monotonic() - begun > 0.2
    assert there["m"].Reader().read() == b"y"


def test_the_wait_can_be_given_up(there):
    fix, kept = there.build(), []
    fix.pre_apply(lambda: kept.append(there["m"].Reader()))
    threading.Timer(0.3, livepatch.cancel, [fix.id]).start()
    with pytest.raises(livepatch.TransitionError, match="cancelled"):
        livepatch.apply(fix, timeout=20)


def test_the_way_back_cannot_be_cancelled_among_objects_of_the_old_side(there):
    applied = livepatch.apply(there.build())
    walk = there["m"].Reader().walk()
    next(walk)
    assert applied.revert().state == "draining"
    with pytest.raises(livepatch.TransitionError, match=r"cannot be cancelled.*Reader.left"):
        applied.cancel()
    assert there["m"].Reader().read() == 1
    assert next(walk) == "new"
    walk.close()
    assert applied.wait(5)


def test_a_hook_at_stores_does_not_come_between_the_look_and_the_switch(there, monkeypatch):
    hooked = replace(observe(), audit_hooked=True)
    monkeypatch.setattr(switching, "observe", lambda: hooked)
    went = []
    stage = Transition.stage
    monkeypatch.setattr(Transition, "stage", lambda self: (went.append(self), stage(self)))
    fix, kept = there.build(only=["Reader.__init__", "Reader.read"]), []
    applied = livepatch.apply(fix)
    assert (there["m"].Reader().read(), applied.status().state, len(went)) == (b"y", "settled", 1)
    applied.revert()
    fix.pre_apply(lambda: kept.append(there["m"].Reader()))
    with pytest.raises(livepatch.TransitionError, match="1 object"):
        livepatch.apply(fix, timeout=0.3)
    assert kept[0].read() == 1


def test_a_pause_that_is_too_long_refuses_the_switch(there):
    with pytest.raises(livepatch.LivepatchError, match="max_pause"):
        livepatch.apply(there.build(), max_pause=1e-9)
    assert livepatch.status() == ()


# The way back


@pytest.mark.parametrize("way", ["revert", "off"])
@pytest.mark.parametrize("sides", [(OLD, NEW), (SET, LACKED)], ids=["another kind", "lacking"])
def test_what_is_left_is_counted(releases, sides, way):
    there = releases(*sides)
    applied = livepatch.apply(there.build())
    kept = [there["m"].Reader() for _ in range(3)]
    if way == "off":
        applied.mode = "off"
    else:
        assert "3 objects" in applied.revert().left[0]
    (left,) = applied.status().left
    assert f"3 objects with another {there.name}.m:Reader." in left
    assert "left on the other side: 3 objects" in str(applied.status())
    with pytest.raises((TypeError, AttributeError)):
        kept[0].read()
    assert there["m"].Reader().read() in (1, True)


def test_a_revert_waits_for_the_objects_to_go_if_asked_to(there):
    applied = livepatch.apply(there.build())
    kept = [there["m"].Reader()]
    with pytest.raises(livepatch.TransitionError, match=r"1 object with another .*Reader.left"):
        applied.revert(consistency="quiescent", timeout=0.2)
    assert (applied.mode, kept[0].read()) == ("on", b"y")
    threading.Timer(0.3, kept.clear).start()
    assert applied.revert(consistency="quiescent", timeout=20).left == ()
    assert kept == []
    assert there["m"].Reader().read() == 1


def test_nothing_is_left_where_the_objects_have_gone(there):
    applied = livepatch.apply(there.build())
    there["m"].Reader().more()
    assert applied.revert().left == ()


def test_what_a_revert_left_is_no_matter_once_the_new_side_is_back(there):
    applied = livepatch.apply(there.build())
    kept = there["m"].Reader()
    applied.mode = "off"
    assert applied.status().left
    applied.mode = "on"
    assert applied.status().left == ()
    assert kept.read() == b"y"


def test_a_revert_does_not_fail_for_want_of_a_count(there, monkeypatch):
    applied = livepatch.apply(there.build())
    monkeypatch.setattr("livepatch.process.left_behind.unlike_objects", lambda _: 1 / 0)
    (left,) = applied.revert().left
    assert "not counted: division by zero" in left
    assert there["m"].Reader().read() == 1


# The look


class Asked(type):
    """What fails if anybody asks it, or its objects, anything."""

    def __eq__(cls, other: object) -> bool:
        raise AssertionError("asked")

    __hash__ = type.__hash__


def test_the_look_asks_no_code_of_the_program(there):
    class Derived(there["m"].Reader, metaclass=Asked):
        def __getattribute__(self, name: str) -> object:
            raise AssertionError("asked")

    fix, kept = there.build(), []
    fix.pre_apply(lambda: kept.append(Derived()))
    with pytest.raises(livepatch.TransitionError, match="1 object"):
        livepatch.apply(fix, timeout=0.3)
    assert livepatch.status() == ()


def absence(cls: type) -> tuple[Absence, Unlike]:
    unlike = Unlike("m:C.x", weakref.ref(cls), "x", "they lack it")
    return Absence([unlike]), unlike


def run(one: Absence) -> None:
    collections.deque(one.checks(), maxlen=0)


def test_objects_that_are_of_use_are_known_after_a_look():
    class C:
        pass

    one, unlike = absence(C)
    run(one)
    made = [C(), C()]
    with pytest.raises(Busy):
        run(one)
    one.look_again()
    assert one.counts == {unlike: 2}
    for each in made:
        each.x = 1
    with pytest.raises(Busy):
        run(one)
    one.look_again()
    assert (one.counts, one.may_look) == ({}, True)
    run(one)
    made.append(C())
    with pytest.raises(Busy):
        run(one)


def test_a_class_that_has_gone_holds_nothing():
    class C:
        pass

    one, unlike = absence(C)
    del C
    gc.collect()
    assert unlike.reference() is None
    run(one)
    assert unlike_objects([unlike]) == {}


@pytest.mark.parametrize(
    ("kinds", "but_for", "held", "unlike"),
    [
        ((), (), ABSENT, True),
        ((), (), None, False),
        (("bytes",), (), b"", True),
        (("bytes",), (), 1, False),
        (("bytes",), (), ABSENT, False),
        (("None",), (), None, True),
        ((), ("bytes", "None"), b"", False),
        ((), ("bytes", "None"), None, False),
        ((), ("bytes",), None, True),
        ((), ("bytes",), object(), True),
        ((), ("bytes",), ABSENT, True),
    ],
)
def test_which_objects_are_of_no_use(kinds, but_for, held, unlike):
    class C:
        pass

    one = C()
    if held is not ABSENT:
        one.x = held
    told = Unlike("m:C.x", weakref.ref(C), "x", "why", frozenset(kinds), frozenset(but_for))
    assert told.has(one) is unlike
