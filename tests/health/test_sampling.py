"""Readings: one that hangs, raises or gives nonsense is unknown, and holds up no other."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time

import pytest

import livepatch
from livepatch.errors import PatchError
from livepatch.health import probes
from livepatch.health.logs import LogRate
from livepatch.health.probes import Count, GcPause, HealthProbe, Heartbeat, LoopLag, Rate
from livepatch.health.sampling import Sampler


@pytest.fixture
def sampler():
    made = []

    def make(*given):
        made.append(Sampler(given))
        made[-1].open()
        return made[-1]

    yield make
    for each in made:
        each.close()


def our_threads():
    return [thread for thread in threading.enumerate() if thread.name == "livepatch-probes"]


def told(points):
    return {name: point.value if point.value is not None else point.why for name, point in points.items()}


class Odd(Exception):
    pass


def failing():
    raise Odd


def leaving():
    raise SystemExit


def test_each_kind_of_answer(sampler):
    given = {
        "whole": lambda: 3, "half": lambda: 0.5, "none": lambda: None, "nan": lambda: float("nan"),
        "infinite": lambda: float("inf"), "text": lambda: "3", "truth": lambda: True, "huge": lambda: 10**400,
        "raises": failing, "leaves": leaving,
    }  # fmt: skip
    found = told(sampler(*(HealthProbe(name, read) for name, read in given.items())).sample(5))
    assert found == {
        "whole": 3.0, "half": 0.5, "none": "no value", "nan": "gave nan", "infinite": "gave inf", "text": "gave '3'",
        "truth": "gave True", "huge": "gave an int of 1329 bits", "raises": "raised Odd", "leaves": "raised SystemExit",
    }  # fmt: skip
    quick = Sampler([HealthProbe(name, read, quick=True) for name, read in given.items()])
    assert told(quick.sample(5)) == found


def test_one_that_hangs_holds_up_no_other_and_is_not_asked_again(sampler):
    gate, asked = threading.Event(), []

    def hang():
        asked.append(1)
        gate.wait(20)
        return 7

    made = sampler(
        HealthProbe("a", lambda: 1),
        HealthProbe("hangs", hang),
        HealthProbe("also", lambda: gate.wait(20)),
        HealthProbe("b", lambda: 2),
    )
    try:
        for _ in range(5):
            found = told(made.sample(0.2))
            assert (found["a"], found["b"]) == (1.0, 2.0)
            assert "no answer" in found["hangs"]
        assert len(asked) == 1
        assert len(our_threads()) <= 3  # one for each that hangs, and one for the rest
    finally:
        gate.set()
    deadline = time.monotonic() + 10
    while told(made.sample(1))["hangs"] != 7 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert told(made.sample(1))["hangs"] == 7
    assert len(our_threads()) == 1


def test_no_thread_stays_when_it_is_closed():
    made = Sampler([HealthProbe("a", lambda: 1)])
    made.open()
    assert told(made.sample(5)) == {"a": 1.0}
    made.close()
    deadline = time.monotonic() + 10
    while our_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert our_threads() == []


def test_a_coroutine_runs_in_its_loop_and_one_whose_loop_stands_still_is_unknown(sampler):
    async def answer():
        return threading.current_thread().name == "loop" and 5

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="loop")
    thread.start()
    gate = threading.Event()
    try:
        made = sampler(HealthProbe("in the loop", answer, loop=loop), HealthProbe("plain", lambda: 1))
        assert told(made.sample(5)) == {"in the loop": 5.0, "plain": 1.0}
        loop.call_soon_threadsafe(gate.wait, 20)
        for _ in range(3):
            found = told(made.sample(0.1))
            assert found["plain"] == 1.0
            assert "no answer" in found["in the loop"]
        assert len(our_threads()) <= 2
    finally:
        gate.set()
        assert asyncio.run_coroutine_threadsafe(asyncio.sleep(0.01, "through"), loop).result(10) == "through"
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_two_of_one_name_and_what_is_no_probe_are_refused():
    with pytest.raises(PatchError, match="one name"):
        Sampler([HealthProbe("a", int), HealthProbe("a", int)])
    for wrong in (5, "ab", [5]):
        with pytest.raises(TypeError):
            Sampler(wrong)


@pytest.mark.parametrize("name", ["", "a*", "a[b]", "a\n", "x" * 201])
def test_a_name_that_a_rule_could_not_mean_is_refused(name):
    with pytest.raises(PatchError):
        HealthProbe(name, int)


def test_a_coroutine_function_needs_a_loop_and_nothing_else_does():
    async def answer():
        return 1

    with pytest.raises(PatchError, match="no event loop"):
        HealthProbe("a", answer)
    loop = asyncio.new_event_loop()
    with pytest.raises(PatchError, match="runs in no event loop"):
        HealthProbe("a", int, loop=loop)
    loop.close()
    with pytest.raises(TypeError):
        HealthProbe("a", 5)


def test_a_counter_tells_its_growth_and_one_that_falls_is_unknown():
    totals = iter([5, 7, 7, 3, 4, None, 9])
    count = Count("x", lambda: next(totals))
    assert [count.read() for _ in range(7)] == [None, 2, 0, None, 1, None, 5]
    rate = Rate("x", time.monotonic)  # a counter that grows by one in a second
    assert rate.read() is None
    begun = time.monotonic()
    while not (grown := rate.read()) or abs(grown - 1.0) > 0.1:  # the two clocks may be read far apart
        assert time.monotonic() < begun + 30
        time.sleep(0.01)


def test_the_process_is_read_as_it_is():
    made = {probe.name: probe for probe in probes.process_probes()}
    for probe in made.values():
        probe.open()
    assert 1_000_000 < made["process/rss"].read() < 1e12
    assert made["process/threads"].read() >= threading.active_count()
    before = made["process/fds"].read()
    with open("/proc/self/status", encoding="utf-8"), open("/proc/self/stat", encoding="utf-8"):  # noqa: PTH123
        assert made["process/fds"].read() == before + 2
    assert made["process/cpu"].read() is None
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    assert 1 < made["process/cpu"].read() < 10_000
    made["gc/pause"].read()
    gc.collect()
    assert 0 < made["gc/pause"].read() < 10
    assert made["gc/pause"].read() == 0
    made["gc/pause"].close()
    assert not any(isinstance(getattr(each, "__self__", None), GcPause) for each in gc.callbacks)


def test_the_lag_of_a_loop_that_stands_still_grows_and_is_told_once_when_it_is_over():
    async def scenario():
        lag = LoopLag(every=0.001)
        assert lag.read() is None
        lag.open()
        await asyncio.sleep(0.01)
        assert 0 <= lag.read() < 5
        for shortest in (0.02, 0.04):
            time.sleep(0.025)  # noqa: ASYNC251  # the loop stands still
            assert lag.read() >= shortest
        await asyncio.sleep(0)  # over before anybody reads again
        await asyncio.sleep(0)
        assert lag.read() >= 0.04
        lag.close()
        await asyncio.sleep(0.01)
        before = lag._last
        await asyncio.sleep(0.01)
        assert lag._last == before
        lag.open()
        assert lag.read() is None

    asyncio.run(scenario())


@pytest.mark.parametrize(("every", "error"), [(0, PatchError), ("1", TypeError), (100, PatchError)])
def test_a_loop_is_asked_at_a_time_that_can_be(every, error):
    loop = asyncio.new_event_loop()
    with pytest.raises(error):
        LoopLag(loop, every=every)
    loop.close()


def test_a_heartbeat_tells_its_age():
    heart = Heartbeat()
    assert heart.read() is None
    heart.beat()
    time.sleep(0.01)
    assert 0.01 <= heart.read() < 10


def test_log_records_are_counted_by_level_in_both_libraries():
    rate = LogRate("specimen.log", "ERROR")
    logger = logging.getLogger("specimen.log.part")
    rate.open()
    try:
        assert rate.read() is None
        logger.warning("no")
        logger.error("yes")
        rate.processor(None, "info", {})
        event = {"event": "x"}
        assert rate.processor(None, "exception", event) is event
        time.sleep(0.001)
        found = rate.read()
        assert found > 0
        assert rate._total == 2
    finally:
        rate.close()
    logger.error("late")
    assert rate._total == 2


def test_consensus_has_ready_names():
    total = iter(range(0, 100, 3))
    assert livepatch.Rule("head_lag", above=3).covers(probes.head_lag(lambda: 2).name)
    for make in (probes.missed_slots, probes.late_votes, probes.rejected_messages, probes.peers_lost):
        probe = make(lambda: next(total))
        assert (probe.name, probe.read(), probe.read()) == (make.__name__, None, 3)
    assert probes.head_lag(lambda: 2).read() == 2
