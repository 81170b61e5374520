"""The watchdog's own thread: it begins, ends, and outlives whatever those do whom it asks."""

from __future__ import annotations

import json
import os
import threading
import time

import pytest
import structlog

import livepatch
from livepatch.errors import PatchError
from livepatch.health.probes import HealthProbe
from livepatch.health.series import Point

TICK = 0.02


class Watching:
    """Somebody who looks, and fails at the first look."""

    def __init__(self):
        self.over = False
        self.looks = self.hurried = 0
        self.ages = []
        self.left = False

    def readings(self):
        if self.looks == 1:
            raise KeyError("secret")
        self.read = time.monotonic()
        return [("own", "s", Point(self.read, 1.0))]

    def look(self, now, *, hurry):
        self.looks += 1
        self.hurried += hurry
        self.ages.append(now - self.read)
        time.sleep(0.03)
        if self.looks == 2:
            raise ValueError("secret")
        self.over = self.looks == 5
        return True

    def status(self):
        return {"looks": self.looks}

    def abandoned(self):
        self.left = True


def until(condition):
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert condition()


def test_it_goes_on_when_one_who_looks_fails_and_forgets_what_that_has_read():
    watching = Watching()
    with structlog.testing.capture_logs() as events, livepatch.Watchdog([HealthProbe("x", int)], interval=TICK) as dog:
        dog.attach(watching)
        until(lambda: watching.over)
        until(lambda: set(dog.series()) == {"x"})
        assert dog.running
    told = [event for event in events if event["event"] == "livepatch.watch_failed"]
    assert [event["error"] for event in told] == ["KeyError", "ValueError"]
    assert "secret" not in str(events)
    assert not watching.left


def test_only_one_of_those_who_look_takes_its_time_before_the_next_reading():
    first, second = Watching(), Watching()
    with livepatch.Watchdog([HealthProbe("x", int)], interval=TICK) as dog:
        dog.attach(first)
        dog.attach(second)
        until(lambda: second.over)
    assert first.hurried == 0
    assert second.hurried >= 2
    # What one takes makes no reading older to the next.
    assert sorted(second.ages)[len(second.ages) // 2] < 0.03


def test_it_is_told_as_plain_values():
    with livepatch.Watchdog(
        [HealthProbe("x", lambda: 5, "blocks"), HealthProbe("y", lambda: None)], interval=TICK
    ) as dog:
        first = dog.status()
        assert [probe["why"] for probe in first["probes"]] in (["nothing yet"] * 2, ["", "no value"])
        dog.attach(Watching())
        values = lambda: {probe["name"]: probe["value"] for probe in dog.status()["probes"] if probe["name"] != "own"}
        until(lambda: values() == {"x": 5, "y": None})  # a probe that is late has no value for the moment
        told = json.loads(json.dumps(dog.status()))
    assert told["watches"][0].keys() == {"looks"}
    assert dog.status()["running"] is False


def test_it_keeps_no_more_than_it_is_told_to():
    with livepatch.Watchdog([HealthProbe("x", int, quick=True)], interval=0.01, keep=10) as dog:
        until(lambda: "x" in dog.series() and len(dog.series()["x"].points) == 10)
        first = dog.series()["x"].points[0]
        until(lambda: dog.series()["x"].points[0] != first)
        assert len(dog.series()["x"].points) == 10


def test_it_may_be_started_and_stopped_again_and_twice():
    dog = livepatch.Watchdog([HealthProbe("x", int)], interval=TICK)
    dog.stop()
    for _ in range(2):
        dog.start()
        dog.start()
        assert sum(thread.name == "livepatch-watchdog" for thread in threading.enumerate()) == 1
        until(lambda: dog.series())
        dog.stop()
        dog.stop()
        assert not dog.running
    with pytest.raises(PatchError, match="does not run"):
        dog.attach(Watching())


def test_a_probe_that_cannot_be_opened_keeps_it_from_starting_and_the_others_are_closed():
    closed = []

    class Opened(HealthProbe):
        def close(self):
            closed.append(self.name)

    class Broken(HealthProbe):
        def open(self):
            raise OSError("no such device")

    dog = livepatch.Watchdog([Opened("a", int), Broken("b", int)])
    with pytest.raises(OSError, match="no such device"):
        dog.start()
    assert closed == ["a"]
    assert not dog.running


def test_where_no_thread_can_be_started_nothing_is_known_and_nothing_breaks(monkeypatch):
    dog = livepatch.Watchdog([HealthProbe("slow", int), HealthProbe("quick", int, quick=True)], interval=TICK)
    start = threading.Thread.start

    def only_ours(thread):
        if thread.name == "livepatch-probes":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", only_ours)
    with dog:
        until(lambda: dog.series())
        found = {name: series.points[-1].value for name, series in dog.series().items()}
    assert found == {"slow": None, "quick": 0.0}
    monkeypatch.setattr(
        threading.Thread, "start", lambda _: (_ for _ in ()).throw(RuntimeError("can't start new thread"))
    )
    with pytest.raises(RuntimeError):
        dog.start()
    assert not dog.running
    dog.stop()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_has_none_until_it_starts_one():
    with livepatch.Watchdog([HealthProbe("x", int, quick=True)], interval=TICK) as dog:
        until(lambda: dog.series())
        child = os.fork()
        if not child:
            ok = not dog.running
            dog.start()
            deadline = time.monotonic() + 5
            while not dog.running and time.monotonic() < deadline:
                time.sleep(0.005)
            os._exit(0 if ok and dog.running else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert dog.running


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"interval": 0.001}, PatchError),
        ({"interval": float("nan")}, PatchError),
        ({"interval": True}, TypeError),
        ({"keep": 5}, PatchError),
        ({"keep": 1.5}, TypeError),
        ({"probes": 5}, TypeError),
    ],
)
def test_what_it_cannot_do_is_refused(given, error):
    with pytest.raises(error):
        livepatch.Watchdog(**given)
