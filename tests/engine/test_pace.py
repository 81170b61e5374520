"""Preparation leaves the interpreter to others after every small step, and costs next to nothing in between."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from livepatch.engine import pace


@pytest.fixture(autouse=True)
def threads_rest(nobody_rests: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "REST", 20.0)
    monkeypatch.setattr(pace, "is_alone", lambda: False)


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []
    monkeypatch.setattr(pace.time, "sleep", taken.append)
    return taken


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(pace, "_clock", lambda: now[0])
    monkeypatch.setattr(pace, "_last", [now[0]])
    monkeypatch.setattr(pace, "STEP", 1.0)  # so that halves add up
    return now


def test_a_breath_is_taken_once_a_step(naps: list[float], clock: list[float]):
    for _ in range(100):
        pace.breathe()
    assert naps == []
    clock[0] += pace.STEP
    for _ in range(100):
        pace.breathe()
    assert len(naps) == 1


def test_a_thread_thatis_alone_has_nobody_to_wait_for(naps, clock, monkeypatch):
    monkeypatch.undo()
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    assert not pace.is_alone()
    done.set()
    other.join()
    monkeypatch.setattr(pace, "is_alone", lambda: True)
    monkeypatch.setattr(pace.time, "sleep", naps.append)
    pace.breathe(now=True)
    assert naps == []


def test_a_breath_really_sleeps(naps: list[float], clock: list[float]):
    """With a sleep of 0 this thread may take the lock again before the other has woken."""
    clock[0] += pace.STEP
    pace.breathe()
    assert all(nap > 0 for nap in naps)
    assert naps


def test_a_paced_loop_gives_every_item_and_breathes_on_the_way(naps: list[float], clock: list[float]):
    seen = []
    for item in pace.paced(range(10)):
        seen.append(item)
        clock[0] += pace.STEP / 2
    assert seen == list(range(10))
    assert len(naps) == 4


def test_another_thread_runs_at_every_breath():
    """Without breaths the other thread would get its turn every switch interval, so once in ten steps."""
    turns = [0]
    done = threading.Event()

    def wait_and_count() -> None:
        while not done.is_set():
            turns[0] += 1
            time.sleep(1e-6)

    other = threading.Thread(target=wait_and_count)
    other.start()
    try:
        before, steps = turns[0], 0
        while steps < 100:
            end = time.perf_counter() + pace.STEP
            while time.perf_counter() < end:
                pass
            pace.breathe()
            steps += 1
        assert turns[0] - before >= 50
    finally:
        done.set()
        other.join()


class Machine:
    """Time as this thread sees it: it works, or sleeps while the others use their share of it."""

    def __init__(self, patch: pytest.MonkeyPatch, others: float) -> None:
        self.now, self.mine, self.theirs, self.others = 1000.0, 1.0, 1.0, others
        self.naps: list[float] = []
        patch.setattr(pace, "_clock", lambda: self.now)
        patch.setattr(pace, "_last", [self.now])
        patch.setattr(pace, "_processor_times", lambda: (self.mine, self.theirs))
        patch.setattr(pace.time, "perf_counter", lambda: self.now)
        patch.setattr(pace.time, "thread_time", lambda: self.mine)
        patch.setattr(pace.time, "sleep", self.sleep)

    def work(self, seconds: float) -> None:
        self.now += seconds
        self.mine += seconds

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds
        self.theirs += seconds * self.others


@pytest.mark.parametrize(("others", "times"), [(0.1, 1.1), (0.3, 1.4), (0.7, 3.3), (1.0, 4.0)])
def test_the_more_others_work_the_longer_it_rests(monkeypatch: pytest.MonkeyPatch, others: float, times: float):
    machine = Machine(monkeypatch, others)
    with pace.courteous():
        for _ in range(30):
            machine.work(pace.STEP)
            pace.breathe()
    first, *rests = machine.naps
    assert first < pace.STEP  # nobody is known to wait yet
    assert all(rest >= 0.9 * pace.REST * pace.STEP for rest in rests)
    assert max(rests) == pytest.approx(times * pace.REST * pace.STEP, rel=0.1)


def test_while_nobody_else_works_it_does_not_rest(monkeypatch: pytest.MonkeyPatch):
    machine = Machine(monkeypatch, others=0.0)
    with pace.courteous():
        for _ in range(20):
            machine.work(pace.STEP)
            pace.breathe()
        machine.others = 1.0
        for _ in range(2):
            machine.work(pace.STEP)
            pace.breathe()
    *idle, last = machine.naps
    assert max(idle) < pace.STEP
    assert last > pace.STEP


def test_what_is_rested_altogether_is_bounded(monkeypatch: pytest.MonkeyPatch):
    machine = Machine(monkeypatch, others=1.0)
    with pace.courteous():
        for _ in range(10_000):
            machine.work(0.002)
            pace.breathe()
    assert sum(machine.naps) < pace.MOST_REST + 0.1
    assert max(machine.naps) <= pace._LONGEST


def test_without_courtesy_a_breath_is_a_breath(monkeypatch: pytest.MonkeyPatch):
    machine = Machine(monkeypatch, others=1.0)
    with pace.courteous():
        pass
    for _ in range(20):
        machine.work(pace.STEP)
        pace.breathe()
    assert max(machine.naps) < pace.STEP


def test_a_thread_that_runs_an_event_loop_does_not_rest(monkeypatch: pytest.MonkeyPatch):
    machine = Machine(monkeypatch, others=1.0)

    async def main() -> None:
        with pace.courteous():
            for _ in range(20):
                machine.work(pace.STEP)
                pace.breathe()

    loop = asyncio.new_event_loop()
    monkeypatch.setattr(loop, "time", lambda: machine.now)
    loop.run_until_complete(main())
    loop.close()
    assert len(machine.naps) == 20
    assert max(machine.naps) < pace.STEP


def test_a_thread_that_runs_trio_does_not_rest_either():
    trio = pytest.importorskip("trio")
    seen: list[bool] = []

    async def main() -> None:
        seen.append(pace._runs_a_loop())
        seen.append(await trio.to_thread.run_sync(pace._runs_a_loop))

    trio.run(main)
    assert seen == [True, False]
    assert not pace._runs_a_loop()


def test_a_thread_that_computes_shows_in_the_processor_times():
    done = threading.Event()

    def compute() -> None:
        while not done.is_set():
            pass

    other = threading.Thread(target=compute)
    other.start()
    try:
        with pace.courteous():
            end = time.monotonic() + 30
            while not pace.others_work() and time.monotonic() < end:
                pace.breathe(now=True)
            assert pace.others_work()
        assert not pace.others_work()
    finally:
        done.set()
        other.join()


def test_who_cannot_wait_does_not_rest(monkeypatch: pytest.MonkeyPatch):
    machine = Machine(monkeypatch, others=1.0)
    with pace.resting(0), pace.courteous():
        for _ in range(20):
            machine.work(pace.STEP)
            pace.breathe()
    assert max(machine.naps) < pace.STEP


@pytest.mark.parametrize("most", [0.5, 3.0])
def test_rests_are_bounded_by_what_was_asked(monkeypatch: pytest.MonkeyPatch, most: float):
    machine = Machine(monkeypatch, others=1.0)
    with pace.resting(most), pace.resting(None), pace.courteous():
        for _ in range(3_000):
            machine.work(0.002)
            pace.breathe()
    assert most * 0.8 < sum(machine.naps) < most + 0.1
    with pace.courteous():
        assert pace._mine.most == pace._mine.usual == pace.MOST_REST


@pytest.mark.parametrize("most", [0.0, 0.5])
def test_one_piece_of_work_may_rest_otherwise(monkeypatch: pytest.MonkeyPatch, most: float):
    machine = Machine(monkeypatch, others=1.0)
    with pace.courteous(most):
        for _ in range(3_000):
            machine.work(0.002)
            pace.breathe()
    assert most * 0.8 <= sum(machine.naps) < most + 0.1
