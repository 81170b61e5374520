"""Shadow runs: the caller gets what the old side gave, in time, whatever the new side does; the rest is counted."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback
import types
import weakref
from pathlib import Path

import pytest

from livepatch.engine import lane, shadowing
from livepatch.engine.modes import Shadow
from livepatch.engine.shadowing import Difference, Tally, runner
from livepatch.errors import PatchError

LONG = Shadow(limit=30.0, share=1)
"""For tests in which a busy machine shall not make a run slow."""
COUNTS = ("same", "both_raised_alike", "different", "raised", "slow", "skipped", "unrepeatable")


def counts(tally):
    """The counts that are not 0; together they are the calls."""
    tallied = tally.snapshot()
    found = {name: getattr(tallied, name) for name in COUNTS if getattr(tallied, name)}
    assert tallied.calls == sum(found.values())
    return found


def beside(old, new, mode=LONG):
    tally = Tally()
    return runner(old, new, mode, tally, "pkg.mod:func"), tally


def until(holds, seconds=20.0):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)


def raising(error):
    def function(*args, **kwargs):
        raise error

    return function


@pytest.fixture
def hasty():
    """Threads that take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture(autouse=True)
def soon_idle(monkeypatch):
    monkeypatch.setattr(lane, "_IDLE", 0.2)


@pytest.fixture
def gate():
    """What a new side waits for, so that no thread stays behind."""
    gate = threading.Event()
    yield gate
    gate.set()


# What the caller gets, and what is counted


def test_the_old_side_answers_and_equal_answers_are_counted():
    answer = [1]
    shadowed, tally = beside(lambda size, *, unit="b": answer, lambda size, *, unit="b": [1])
    assert shadowed(1, unit="k") is answer
    assert counts(tally) == {"same": 1}


def test_a_difference_is_kept_in_short_texts():
    shadowed, tally = beside(lambda size, **_: "admitted", lambda size, **_: "refused")
    before = time.time()
    assert shadowed(5000, peer={"id": b"x"}) == "admitted"
    assert counts(tally) == {"different": 1}
    (kept,) = tally.kept
    assert before <= kept.when <= time.time()
    assert kept == Difference("pkg.mod:func", kept.when, "5000, peer={'id': b'x'}", "'admitted'", "'refused'", note="")


def test_what_cannot_be_compared_is_different_with_a_note():
    class Session:
        pass

    shadowed, tally = beside(lambda: Session(), lambda: Session())
    shadowed()
    assert counts(tally) == {"different": 1}
    assert tally.kept[0].note.endswith("Session has no == of its own")


def test_the_first_differences_are_kept_and_all_are_counted():
    shadowed, tally = beside(lambda n: n, lambda n: -n, Shadow(limit=30, share=1, keep=3))
    for number in range(1, 11):
        shadowed(number)
    assert counts(tally) == {"different": 10}
    assert [difference.arguments for difference in tally.kept] == ["1", "2", "3"]
    shadowed, tally = beside(lambda: 1, lambda: 2, Shadow(limit=30, share=1, keep=0))
    shadowed()
    assert tally.kept == ()


def test_the_new_side_gets_the_very_arguments():
    given = []
    shadowed, _ = beside(lambda *args, **kwargs: None, lambda *args, **kwargs: given.append((args, kwargs)))
    one, other = object(), object()
    shadowed(one, key=other)
    ((args, kwargs),) = given
    assert args[0] is one
    assert kwargs["key"] is other


def test_an_exception_of_the_old_side_goes_through_as_it_is():
    error = ValueError("bad size")
    shadowed, tally = beside(raising(error), raising(ValueError("bad size")))
    with pytest.raises(ValueError, match="bad size") as info:
        shadowed()
    assert info.value is error
    assert error.__context__ is None
    assert [frame.name for frame in traceback.extract_tb(error.__traceback__)][1:] == ["shadowed", "function"]
    assert counts(tally) == {"both_raised_alike": 1}
    assert tally.kept == ()


@pytest.mark.parametrize(
    ("old", "new", "count", "texts"),
    [
        (lambda: 1, raising(KeyError("k")), "raised", ("1", "raised builtins.KeyError('k')")),
        (raising(KeyError("k")), lambda: 1, "different", ("raised builtins.KeyError('k')", "1")),
        (raising(KeyError()), raising(ValueError()), "different",
         ("raised builtins.KeyError()", "raised builtins.ValueError()")),
        (raising(KeyError("a")), raising(KeyError("b")), "different",
         ("raised builtins.KeyError('a')", "raised builtins.KeyError('b')")),
    ],
)  # fmt: skip
def test_exceptions_of_one_side_or_of_other_kinds_are_told(old, new, count, texts):
    shadowed, tally = beside(old, new)
    try:
        shadowed()
    except KeyError:
        pass
    assert counts(tally) == {count: 1}
    assert (tally.kept[0].old, tally.kept[0].new) == texts


def test_an_exception_object_that_both_sides_raise_keeps_its_traceback():
    shared = ValueError("shared")
    shadowed, tally = beside(raising(shared), raising(shared))
    for _ in range(3):
        shared.__traceback__ = None
        with pytest.raises(ValueError, match="shared"):
            shadowed()
        assert [frame.name for frame in traceback.extract_tb(shared.__traceback__)][1:] == ["shadowed", "function"]
    assert counts(tally) == {"both_raised_alike": 3}


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_error_goes_through_at_once(kind):
    asked = []
    shadowed, tally = beside(raising(kind()), lambda: asked.append(1))
    with pytest.raises(kind):
        shadowed()
    assert counts(tally) == {}
    assert asked == []


def recursing():
    return recursing()


class Rude:
    def __eq__(self, other):
        raise SystemExit

    __hash__ = None


class Proxy:
    def __getattribute__(self, name):
        raise SystemExit

    def __eq__(self, other):
        return True

    __hash__ = None


@pytest.mark.parametrize(
    ("new", "count"),
    [
        (raising(SystemExit(3)), "raised"),
        (raising(KeyboardInterrupt()), "raised"),
        (raising(GeneratorExit()), "raised"),
        (raising(StopIteration(1)), "raised"),
        (recursing, "raised"),
        (lambda: Rude(), "different"),
        (lambda: Proxy(), "different"),
        (lambda: sys.exit(2), "raised"),
        (lambda wrong: 1, "raised"),
    ],
)
def test_whatever_the_new_side_does_the_caller_sees_nothing_of_it(new, count):
    answer = Rude()
    shadowed, tally = beside(lambda: answer, new)
    for _ in range(3):
        assert shadowed() is answer
    assert counts(tally) == {count: 3}


def test_a_coroutine_that_a_plain_function_gives_is_not_left_unawaited():
    async def later():
        return 1

    shadowed, tally = beside(lambda: 1, lambda: later())
    assert shadowed() == 1
    gc.collect()  # a warning would fail the test
    assert counts(tally) == {"different": 1}


def test_context_variables_that_the_new_side_sets_stay_its_own():
    variable = contextvars.ContextVar("variable", default="outside")
    seen = []

    def new():
        seen.append(variable.get())
        variable.set("new side")

    shadowed, _ = beside(lambda: None, new)
    variable.set("caller")
    shadowed()
    assert (seen, variable.get()) == (["caller"], "caller")


def test_the_exception_that_the_caller_handles_is_not_the_new_sides():
    seen = []
    shadowed, _ = beside(raising(ValueError()), lambda: seen.append(sys.exc_info()))
    with pytest.raises(ValueError):  # noqa: PT011
        shadowed()
    assert seen == [(None, None, None)]


@pytest.mark.parametrize(
    "argument",
    [iter([1]), (n for n in "ab"), io.StringIO("a"), io.BytesIO(b"a"), map(str, "a"), itertools.count(), zip()],
    ids=lambda value: type(value).__name__,
)
def test_what_can_be_read_only_once_is_left_to_the_old_side(argument):
    asked = []
    shadowed, tally = beside(lambda *_, **__: "old", lambda *_, **__: asked.append(1))
    assert shadowed(1, argument) == shadowed(key=argument) == "old"
    assert counts(tally) == {"unrepeatable": 2}
    assert asked == []
    assert shadowed([1]) == "old"
    assert counts(tally) == {"unrepeatable": 2, "different": 1}


def test_async_iterators_and_coroutines_can_be_read_only_once():
    async def items():
        yield 1

    async def value():
        return 1

    shadowed, tally = beside(lambda _: "old", lambda _: "new")
    shadowed(items())
    coroutine = value()
    shadowed(coroutine)
    coroutine.close()
    assert counts(tally) == {"unrepeatable": 2}


class Asked(type):
    def __getattr__(cls, name):
        raise AssertionError(name)


class Strange(metaclass=Asked):
    def __getattribute__(self, name):
        raise AssertionError(name)


def test_asking_an_argument_runs_none_of_its_code():
    shadowed, tally = beside(lambda _: 1, lambda _: 1)
    shadowed(Strange())
    assert counts(tally) == {"same": 1}


@pytest.mark.parametrize("source", ["def f(): yield", "async def f(): yield"])
def test_generators_are_refused(source):
    space = {}
    exec(source, space)
    plain = lambda: 1
    for old, new in ((space["f"], space["f"]), (plain, space["f"]), (space["f"], plain)):
        with pytest.raises(PatchError, match=r"pkg.mod:func cannot run in shadow: shadow needs functions that return"):
            beside(old, new)


def test_sides_of_two_kinds_are_refused():
    async def later(): ...

    with pytest.raises(PatchError, match="coroutine and function"):
        beside(later, lambda: 1)


def test_a_snapshot_fits_json():
    shadowed, tally = beside(lambda: 1, lambda: 2)
    shadowed()
    tallied = tally.snapshot()
    told = json.loads(json.dumps(tallied.to_dict()))
    assert told["different"] == told["calls"] == 1
    assert told["kept"][0]["old"] == "1"
    assert set(told) == {*COUNTS, "calls", "old_seconds", "new_seconds", "stuck_seconds", "kept"}
    shadowed()
    assert tallied.calls == 1


# The bounds


def test_a_new_side_that_does_not_end_holds_nobody_up_for_longer_than_the_limit(gate):
    def new():
        while not gate.is_set():
            pass

    shadowed, tally = beside(lambda: "old", new, Shadow(limit=0.05, share=1))
    began = time.monotonic()
    assert shadowed() == "old"
    assert 0.04 < time.monotonic() - began < 5
    assert counts(tally) == {"slow": 1}
    for _ in range(100):
        assert shadowed() == "old"
    assert counts(tally) == {"slow": 1, "skipped": 100}
    until(lambda: tally.snapshot().stuck_seconds > 0)
    gate.set()
    until(lambda: tally.snapshot().stuck_seconds == 0)
    assert counts(tally) == {"slow": 1, "skipped": 100}  # what came too late is not compared


def test_after_a_slow_run_the_next_ones_are_made(gate):
    shadowed, tally = beside(lambda wait: "old", lambda wait: wait and gate.wait(20), Shadow(limit=0.02, share=1))
    shadowed(True)
    gate.set()
    until(lambda: not tally.lane().slot.locked())
    until(lambda: (shadowed(False), tally.different)[1])  # a run may be slow on a busy machine
    assert tally.slow >= 1


def test_a_comparison_that_does_not_end_is_slow_as_well(gate):
    class Endless:
        def __eq__(self, other):
            gate.wait(20)
            return True

        __hash__ = None

    shadowed, tally = beside(lambda: Endless(), lambda: Endless(), Shadow(limit=0.02, share=1))
    shadowed()
    assert counts(tally) == {"slow": 1}


class Clock:
    """Stands in for the module ``time``."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    perf_counter = time = monotonic


def test_shadow_runs_take_no_more_than_their_share_of_the_wall_clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(lane, "time", clock)
    monkeypatch.setattr(shadowing, "time", clock)

    def new():
        clock.now += 0.01

    shadowed, tally = beside(lambda: None, new, Shadow(limit=5, share=0.1))
    while not tally.skipped:
        shadowed()
    assert 550 <= tally.same <= 560  # at first, what the limit allows can be used at once; meanwhile some comes in
    for _ in range(20_000):
        shadowed()
        clock.now += 0.005
    runs, seconds = tally.same, clock.now - 1000
    assert 0.95 * 0.1 * seconds < runs * 0.01 < 5.1 + 0.1 * seconds


def test_the_usual_share_lets_a_second_be_used_at_once(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(lane, "time", clock)
    place = lane.Lane()
    entered = 0
    while place.enter(Shadow()):
        place.leave(0.01)
        entered += 1
    assert entered in (100, 101)
    clock.now += 0.5
    entered = 0
    while place.enter(Shadow()):
        place.leave(0.01)
        entered += 1
    assert entered in (5, 6)


def test_one_run_at_a_time(gate):
    began = threading.Event()

    def new():
        began.set()
        gate.wait(20)

    shadowed, tally = beside(lambda: None, new)
    first = threading.Thread(target=shadowed)
    first.start()
    assert began.wait(20)
    shadowed()  # does not wait
    gate.set()
    first.join()
    assert counts(tally) == {"same": 1, "skipped": 1}


@pytest.mark.usefixtures("hasty")
def test_from_many_threads_every_call_is_answered_and_counted():
    shadowed, tally = beside(lambda n: n, lambda n: n if n % 7 else -1)
    wrong = []

    def work():
        wrong.extend(n for n in range(2_000) if shadowed(n) != n)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    found = counts(tally)  # the sum is right, so no count was lost
    assert set(found) <= {"same", "different", "skipped"}
    assert tally.calls == 12_000


@pytest.mark.usefixtures("hasty")
def test_one_thread_skips_no_call_because_the_run_before_is_not_quite_over():
    shadowed, tally = beside(lambda: 1, lambda: 1)
    for _ in range(2_000):
        shadowed()
    assert counts(tally) == {"same": 2_000}


def test_both_sides_are_timed():
    shadowed, tally = beside(lambda: time.sleep(0.02), lambda: time.sleep(0.05))
    shadowed()
    tallied = tally.snapshot()
    assert 0.015 < tallied.old_seconds < 5
    assert 0.045 < tallied.new_seconds < 5


def test_what_a_run_within_the_old_side_took_is_no_time_of_the_old_side():
    tally = Tally()
    inner = runner(lambda: None, lambda: time.sleep(0.3), LONG, tally, "inner")
    outer = runner(lambda: inner(), lambda: None, LONG, tally, "outer")
    outer()
    assert counts(tally) == {"same": 2}
    assert tally.snapshot().old_seconds < 0.2


# Runs within runs


def test_within_a_run_the_functions_of_one_patch_meet_each_others_new_sides():
    tally = Tally()
    inner = runner(lambda: "old", lambda: "new", LONG, tally, "inner")
    outer = runner(lambda: "old " + inner(), lambda: "new " + inner(), LONG, tally, "outer")
    assert outer() == "old old"
    assert [(kept.target, kept.old, kept.new) for kept in tally.kept] == [
        ("inner", "'old'", "'new'"),
        ("outer", "'old old'", "'new new'"),
    ]
    assert counts(tally) == {"different": 2}  # the call within the run is none of the program's


def test_within_a_run_another_patch_answers_with_its_old_side():
    mine, other = Tally(), Tally()
    inner = runner(lambda: "old", lambda: "new", LONG, other, "inner")
    outer = runner(lambda: "old", lambda: inner(), LONG, mine, "outer")
    assert outer() == "old"
    assert counts(mine) == {"same": 1}
    assert counts(other) == {}


def test_a_function_that_calls_itself_through_its_name_ends():
    tally = Tally()
    fac = runner(lambda n: n * fac(n - 1) if n else 1, lambda n: n * fac(n - 1) if n else 1, LONG, tally, "fac")
    assert fac(10) == 3628800
    assert counts(tally) == {"same": 11}


def test_near_the_end_of_the_stack_nothing_changes_and_runs_go_on_after():
    tally = Tally()

    def old(n):
        return old_by_name(n - 1) if n else "bottom"

    old_by_name = runner(old, lambda n: "bottom", LONG, tally, "deep")

    def ends(depth):
        try:
            return old_by_name(depth) == "bottom"
        except RecursionError:
            return False

    end = next(depth for depth in range(200, sys.getrecursionlimit(), 20) if not ends(depth))
    assert sum(map(ends, range(end - 30, end + 10))) > 9
    same = tally.same
    old_by_name(0)
    assert tally.same == same + 1
    assert not tally.lane().slot.locked()


# Threads, forks, lifetimes


def shadow_threads():
    return [thread for thread in threading.enumerate() if thread.name == "livepatch-shadow"]


def test_the_thread_is_a_daemon_that_starts_with_the_first_run_and_ends_when_idle(monkeypatch):
    monkeypatch.setattr(lane, "_IDLE", 0.05)
    until(lambda: not shadow_threads(), 30)  # those of other tests
    shadowed, tally = beside(lambda: 1, lambda: 1)
    assert not shadow_threads()
    shadowed()
    (thread,) = shadow_threads()
    assert thread.daemon
    until(lambda: not shadow_threads())
    shadowed()
    shadowed()
    assert tally.calls == 3
    assert tally.same >= 2  # the thread may just be about to end


def test_starting_and_ending_threads_loses_no_call(monkeypatch):
    monkeypatch.setattr(lane, "_IDLE", 0.0)
    shadowed, tally = beside(lambda: 1, lambda: 1)
    for _ in range(100):
        shadowed()
    found = counts(tally)
    assert set(found) <= {"same", "skipped"}
    assert not tally.slow


def test_a_thread_that_is_about_to_end_is_given_no_run(monkeypatch):
    shadowed, tally = beside(lambda: 1, lambda: 1)
    shadowed()
    until(lambda: tally.lane().thread is None)
    monkeypatch.setattr(threading.Thread, "is_alive", lambda self: True)  # it takes a while until that is seen
    shadowed()
    assert counts(tally) == {"same": 2}


def test_without_a_thread_the_run_is_skipped(monkeypatch):
    shadowed, tally = beside(lambda: "old", lambda: "new")

    def start(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as broken:
        broken.setattr(threading.Thread, "start", start)
        assert shadowed() == "old"
    assert counts(tally) == {"skipped": 1}
    assert shadowed() == "old"
    assert counts(tally) == {"skipped": 1, "different": 1}


class Thing:
    pass


@pytest.mark.parametrize("new", [lambda _: 1, lambda _: 2, lambda _: 1 / 0, lambda thing: thing, lambda: 1])
def test_a_run_keeps_nothing_alive(new):
    shadowed, tally = beside(lambda _: 1, new)
    gc.disable()
    try:
        thing = Thing()
        gone = weakref.ref(thing)
        shadowed(thing)
        del thing
        assert gone() is None
    finally:
        gc.enable()
    assert tally.calls == 1


@pytest.mark.usefixtures("hasty")
def test_the_caller_is_the_last_who_has_the_arguments():
    here = threading.get_ident()
    ended = []

    class Watched:
        def __del__(self):
            ended.append(threading.get_ident())

    shadowed, _ = beside(lambda _: 1, lambda _: 1)
    for _ in range(300):
        shadowed(Watched())
    assert ended == [here] * 300


def test_a_signal_that_arrives_while_the_caller_waits_goes_through(gate):
    def interrupt(*_):
        raise InterruptedError("signal")

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        shadowed, tally = beside(lambda: "old", lambda: gate.wait(20))
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(InterruptedError):
            shadowed()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert counts(tally) == {"skipped": 1}
    gate.set()
    until(lambda: not tally.lane().slot.locked())
    shadowed()
    assert counts(tally) == {"skipped": 1, "different": 1}


def test_in_a_signal_handler_during_a_run_the_old_side_answers(gate):
    shadowed, tally = beside(lambda: "old", lambda: gate.wait(20))
    seen = []

    def handler(*_):
        seen.append(shadowed())
        gate.set()

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert shadowed() == "old"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert seen == ["old"]
    assert counts(tally) == {"different": 1, "skipped": 1}


def in_a_process(source):
    environment = {**os.environ, "PYTHONPATH": str(Path(shadowing.__file__).parents[2])}
    above = """
        import os, sys, threading, time, warnings
        from livepatch.engine.modes import Shadow
        from livepatch.engine.shadowing import Tally, runner
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork of several threads
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(above) + textwrap.dedent(source)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_after_fork_makes_runs_of_its_own():
    done = in_a_process("""
        tally, gate = Tally(), threading.Event()
        limit = Shadow(limit=0.05, share=1)
        stuck = runner(lambda: "old", lambda: gate.wait(30), limit, tally, "t")
        quick = runner(lambda: "old", lambda: "old", Shadow(limit=30, share=1), tally, "t")
        quick()
        assert stuck() == "old" and tally.slow == 1
        assert quick() == "old" and tally.skipped == 1
        child = os.fork()
        if not child:
            assert quick() == "old"
            assert (tally.same, tally.skipped) == (2, 1), vars(tally)
            assert tally.snapshot().stuck_seconds == 0
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert quick() == "old" and tally.skipped == 2
        gate.set()
        print("ended")
    """)
    assert (done.stdout, done.stderr, done.returncode) == ("ended\n", "", 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_new_side_that_forks_leaves_no_child_behind():
    done = in_a_process("""
        from livepatch.engine import lane
        lane._IDLE = 0.1
        children = []
        tally = Tally()
        forking = runner(lambda: "old", lambda: children.append(os.fork()), Shadow(limit=20, share=1), tally, "t")
        assert forking() == "old"
        assert os.waitpid(children[0], 0)[0] == children[0]
        print("ended")
    """)
    assert (done.stdout, done.returncode) == ("ended\n", 0), done.stderr


def test_a_run_that_does_not_end_does_not_keep_the_process():
    done = in_a_process("""
        tally = Tally()
        def endless():
            while True:
                pass
        function = runner(lambda: "old", endless, Shadow(limit=0.01, share=1), tally, "t")
        assert function() == "old" and tally.slow == 1
        print("ended")
    """)
    assert (done.stdout, done.stderr, done.returncode) == ("ended\n", "", 0)


def test_at_exit_the_old_side_still_answers():
    done = in_a_process("""
        import atexit
        tally = Tally()
        function = runner(lambda: "old", lambda: "old", Shadow(), tally, "t")
        atexit.register(lambda: print(function()))
        class Late:
            def __del__(self):
                print(function())
        late = Late()
        late.itself = late
    """)
    assert (done.stdout.split("\n")[0], done.stderr, done.returncode) == ("old", "", 0)


# Coroutines


def later(value=None, error=None, pauses=0):
    async def function(*args, **kwargs):
        for _ in range(pauses):
            await asyncio.sleep(0)
        if error is not None:
            raise error
        return value

    return function


@pytest.mark.parametrize("pauses", [0, 3])
@pytest.mark.parametrize(
    ("old", "new", "count"),
    [
        ({"value": 1}, {"value": 1}, "same"),
        ({"value": 1}, {"value": 2}, "different"),
        ({"value": 1}, {"error": ValueError()}, "raised"),
        ({"value": 1}, {"error": SystemExit()}, "raised"),
        ({"value": 1}, {"error": asyncio.CancelledError()}, "raised"),
        ({"error": ValueError("a")}, {"error": ValueError("a")}, "both_raised_alike"),
        ({"error": ValueError("a")}, {"value": 1}, "different"),
    ],
)
def test_coroutines_are_compared_as_functions_are(old, new, count, pauses):
    shadowed, tally = beside(later(**old, pauses=pauses), later(**new, pauses=pauses))

    async def main():
        try:
            return await shadowed(1, key=2)
        except ValueError as error:
            return error

    assert asyncio.run(main()) is old.get("value", old.get("error"))
    assert counts(tally) == {count: 1}


def test_a_coroutine_function_stays_one():
    shadowed, _ = beside(later(1), later(1))
    coroutine = shadowed()
    assert type(coroutine) is types.CoroutineType
    coroutine.close()


def test_a_coroutine_that_takes_too_long_is_left_behind_and_cancelled():
    ended = []

    async def new():
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    shadowed, tally = beside(later("old"), new, Shadow(limit=0.02, share=1))

    async def main():
        assert await shadowed() == "old"
        assert counts(tally) == {"slow": 1}
        await asyncio.sleep(0.01)
        assert ended == ["cancelled"]
        assert await shadowed() == "old"

    asyncio.run(main())
    assert counts(tally) == {"slow": 2}


def test_a_coroutine_that_does_not_obey_holds_nobody_up():
    release = []

    async def new():
        while not release:
            try:
                await asyncio.sleep(0.005)
            except asyncio.CancelledError:
                pass

    shadowed, tally = beside(later("old"), new, Shadow(limit=0.02, share=1))

    async def main():
        assert await shadowed() == "old"
        assert await shadowed() == "old"
        gc.collect()
        assert counts(tally) == {"slow": 1, "skipped": 1}
        await asyncio.sleep(0.05)
        assert tally.snapshot().stuck_seconds > 0
        release.append(1)
        await asyncio.sleep(0.05)
        assert not tally.lane().slot.locked()

    asyncio.run(main())


def test_the_callers_cancellation_passes_through_and_ends_the_run():
    ended = []

    async def new():
        try:
            await asyncio.sleep(100)
        finally:
            ended.append(1)

    shadowed, tally = beside(later("old"), new)

    async def main():
        task = asyncio.ensure_future(shadowed())
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.01)
        assert ended == [1]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await shadowed()

    asyncio.run(main())
    assert counts(tally) == {"skipped": 2}
    assert not tally.lane().slot.locked()


def test_cancelling_the_old_side_makes_no_run():
    shadowed, tally = beside(later("old", pauses=10**9), later("new"))

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await shadowed()

    asyncio.run(main())
    assert counts(tally) == {}


def test_a_loop_that_ends_during_a_run_does_not_end_all_runs():
    async def new():
        await asyncio.sleep(100)

    shadowed, tally = beside(later("old"), new, Shadow(limit=0.01, share=1))
    for number in range(1, 4):
        assert asyncio.run(shadowed()) == "old"
        assert counts(tally) == {"slow": number}
    loop = asyncio.new_event_loop()
    task = loop.create_task(beside(later("old"), new)[0]())
    loop.run_until_complete(asyncio.sleep(0.01))
    stuck, tally = beside(later("old"), new)
    other = loop.create_task(stuck())
    loop.run_until_complete(asyncio.sleep(0.01))
    assert tally.lane().slot.locked()
    for pending in asyncio.all_tasks(loop):
        pending._log_destroy_pending = False
    loop.close()
    del task, other, pending
    assert not tally.lane().slot.locked()
    gc.collect()


def test_a_coroutines_context_variables_and_exception_stay_its_own():
    variable = contextvars.ContextVar("variable", default="outside")
    seen = []

    async def new():
        seen.append((variable.get(), sys.exc_info(), asyncio.current_task()))
        variable.set("new side")

    shadowed, _ = beside(later(error=ValueError("old")), new)

    async def main():
        variable.set("caller")
        with pytest.raises(ValueError, match="old"):
            await shadowed()
        assert variable.get() == "caller"
        assert seen[0][:2] == ("caller", (None, None, None))
        assert seen[0][2] is not asyncio.current_task()

    asyncio.run(main())


def test_eager_tasks_change_nothing():
    factory = getattr(asyncio, "eager_task_factory", None)
    if factory is None:
        pytest.skip("no eager tasks before 3.12")
    shadowed, tally = beside(later(error=ValueError("old")), later(1))

    async def main():
        asyncio.get_running_loop().set_task_factory(factory)
        with pytest.raises(ValueError, match="old"):
            await asyncio.create_task(shadowed())

    asyncio.run(main())
    assert counts(tally) == {"different": 1}


def test_a_coroutine_that_asyncio_does_not_drive_has_no_run():
    shadowed, tally = beside(later("old"), later("new"))
    with pytest.raises(StopIteration) as info:
        shadowed().send(None)
    assert info.value.value == "old"

    assert counts(tally) == {"skipped": 1}
    seen = []

    def step():
        try:
            shadowed().send(None)
        except StopIteration as error:
            seen.append(error.value)

    async def from_a_callback():
        asyncio.get_running_loop().call_soon(step)
        await asyncio.sleep(0.01)

    asyncio.run(from_a_callback())
    assert seen == ["old"]
    assert counts(tally) == {"skipped": 2}


def test_many_tasks_at_once_are_all_answered_and_counted():
    async def same(n):
        await asyncio.sleep(0)
        return n

    shadowed, tally = beside(same, same)

    async def main():
        assert await asyncio.gather(*(shadowed(n) for n in range(200))) == list(range(200))

    asyncio.run(main())
    assert set(counts(tally)) <= {"same", "skipped"}
    assert tally.same >= 1
    assert tally.calls == 200


def test_coroutines_of_one_patch_meet_each_others_new_sides():
    tally = Tally()
    inner = runner(later("old"), later("new"), LONG, tally, "inner")

    async def old():
        return await inner()

    async def new():
        return await inner()

    outer = runner(old, new, LONG, tally, "outer")
    assert asyncio.run(outer()) == "old"
    assert [(kept.target, kept.new) for kept in tally.kept] == [("inner", "'new'"), ("outer", "'new'")]


def test_an_interrupt_during_a_coroutines_run_goes_through():
    shadowed, tally = beside(later("old"), later(error=KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(shadowed())
    assert not tally.lane().slot.locked()


async def later_wrong(thing):
    await asyncio.sleep(0)
    return 1 / 0


@pytest.mark.parametrize("new", [later(1), later(2), later_wrong])
def test_a_coroutines_run_keeps_nothing_alive(new):
    shadowed, tally = beside(later(1), new)

    async def main():
        thing = Thing()
        gone = weakref.ref(thing)
        await shadowed(thing)
        del thing
        await asyncio.sleep(0)
        gc.disable()
        try:
            assert gone() is None
        finally:
            gc.enable()

    asyncio.run(main())
    assert tally.calls == 1


def test_a_shadowed_coroutine_needs_no_import_of_asyncio():
    done = in_a_process("""
        async def one():
            return 1
        tally = Tally()
        function = runner(one, one, Shadow(), tally, "t")
        try:
            function().send(None)
        except StopIteration as error:
            print(error.value, tally.skipped, "asyncio" in sys.modules)
    """)
    assert (done.stdout, done.stderr) == ("1 1 False\n", "")
