"""Who has asked is told that the request is worked on, by one thread, and by none where nobody waits."""

from __future__ import annotations

import threading
import time

import pytest

from livepatch.node import pulse as pulses
from livepatch.node.pulse import Pulse


class Asker:
    def __init__(self) -> None:
        self.told = 0

    def tell_of_work(self) -> None:
        self.told += 1


def telling() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "livepatch-control-pulse"]


def until(holds) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(pulses, "_LINGER", 0.05)


def test_all_who_wait_are_told_again_and_again_by_one_thread():
    pulse, askers = Pulse(0.01), [Asker() for _ in range(5)]
    for asker in askers:
        pulse.begin(asker)
    until(lambda: all(asker.told > 3 for asker in askers))
    assert len(telling()) == 1
    pulse.end(askers[0])
    count = askers[1].told
    until(lambda: askers[1].told > count + 1)  # what was under way is over
    before = askers[0].told
    until(lambda: askers[1].told > count + 10)
    assert askers[0].told == before
    pulse.close(5)
    assert telling() == []


def test_the_thread_ends_where_nobody_waits_and_comes_back():
    pulse, asker = Pulse(30), Asker()
    for _ in range(2):
        pulse.begin(asker)
        assert len(telling()) == 1
        pulse.end(asker)
        until(lambda: telling() == [])
    assert asker.told == 0


def test_a_request_soon_after_the_last_needs_no_other_thread(monkeypatch):
    monkeypatch.setattr(pulses, "_LINGER", 10.0)
    pulse = Pulse(30)
    pulse.begin(Asker())
    (first,) = telling()
    for _ in range(50):
        asker = Asker()
        pulse.begin(asker)
        pulse.end(asker)
    assert telling() == [first]
    pulse.close(5)
    assert telling() == []


def test_no_thread_is_started_once_it_is_closed():
    pulse = Pulse(0.01)
    pulse.close(1)
    pulse.close(1)
    pulse.begin(Asker())
    assert telling() == []


def test_without_room_for_a_thread_nobody_is_told_and_nothing_fails(monkeypatch):
    def no_room(self):
        raise RuntimeError("can't start new thread")

    pulse, asker = Pulse(0.01), Asker()
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", no_room)
        pulse.begin(asker)
        pulse.end(asker)
    pulse.begin(asker)  # and there is room again
    until(lambda: asker.told)
    pulse.close(5)
