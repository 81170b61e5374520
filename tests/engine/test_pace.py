"""Preparation leaves the interpreter to others after every small step, and costs next to nothing in between."""

from __future__ import annotations

import threading
import time

import pytest

from livepatch.engine import pace


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
