"""A tripwire counts, tells now and then, and never is in the way."""

from __future__ import annotations

import sys
import threading
import time

import pytest
import structlog
from structlog.testing import capture_logs
from tests.few_modules import FewModules
from tests.govern.records import lines_of

import livepatch
from livepatch.bundle.keyfiles import make_key
from livepatch.govern import audit, tripwires
from livepatch.govern.entries import parse


@pytest.fixture(autouse=True)
def structlog_as_it_was():
    yield
    structlog.reset_defaults()  # what has captured events counts as configured ever after


@pytest.fixture(autouse=True)
def no_wires(monkeypatch):
    monkeypatch.setattr(tripwires, "_wires", {})


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on when it is told to."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(tripwires, "time", clock)
    return clock


@pytest.fixture
def record(tmp_path):
    make_key(tmp_path / "node.pem")
    yield livepatch.record_to(tmp_path / "record", key=tmp_path / "node.pem")
    livepatch.record_to(None)


def entries_of(record):
    return [each for line in lines_of_folder(record) if (each := parse(line)).get("event") == "tripwire"]


def lines_of_folder(record):
    from pathlib import Path

    return lines_of(Path(record.folder))


def test_inside_a_fix(write_module, write_fix, monkeypatch):
    node = write_module("def receive(peer, n):\n    return n\n")
    monkeypatch.setattr("livepatch.process.public.sys", FewModules(node))
    fix = write_fix(
        f"{node.__name__}:receive",
        """
        @replace
        def receive(peer, n):
            if n > 10:
                livepatch.tripwire(fix.id, peer=peer)
                return None
            return n
        """,
    )
    monkeypatch.setattr("livepatch.process.live.sys", FewModules(node, sys.modules[fix.changes[0].source.__module__]))
    applied = livepatch.apply(fix)
    with capture_logs() as logs:
        assert [node.receive("203.0.113.9", n) for n in (1, 11, 12)] == [1, None, None]
    (event,) = logs
    assert event == {
        "event": "livepatch.tripwire", "log_level": "warning",
        "patch": fix.id, "peer": "203.0.113.9", "count": 1, "since_last": 1,
    }  # fmt: skip
    assert applied.status().tripped == 2
    assert "tripped 2 times" in str(applied.status())
    assert applied.status().to_dict()["tripped"] == 2


def test_events_come_at_once_and_then_less_and_less_often(clock):
    with capture_logs() as logs:
        for _ in range(20_000):  # of 0.01 s each: 200 s
            livepatch.tripwire("ID", peer=7)
            clock.now += 0.01
        assert len(logs) == 9  # 1, 2, 4, 8, 16, 32, 60 and 60 s apart
        assert [round(each["since_last"] / 100) for each in logs] == [0, 1, 2, 4, 8, 16, 32, 60, 60]
        clock.now += 1000
        livepatch.tripwire("ID")
        clock.now += 1.5
        livepatch.tripwire("ID")
    assert len(logs) == 11
    assert logs[-2]["count"] == 20_001
    assert tripwires.tripped("ID") == 20_002


def test_what_is_recorded_adds_up(record):
    for number in range(500):
        livepatch.tripwire("CVE-2026-1234", peer=f"peer {number % 30}")
    deadline = time.monotonic() + 10
    while not entries_of(record) and time.monotonic() < deadline:
        time.sleep(0.01)
    livepatch.tripwire("CVE-2026-1234", peer="last")
    livepatch.record_to(None)
    entries = entries_of(record)
    assert sum(each["details"]["since_last"] for each in entries) == 501
    assert entries[-1]["details"]["count"] == 501
    assert {each["patch"]["id"] for each in entries} == {"CVE-2026-1234"}
    assert all(len(each["details"]["peers"]) <= 16 for each in entries)
    assert len(entries) < 5
    assert audit.verify(record.folder, key=record.key).flaws == ()


def test_a_disk_that_hangs_holds_nobody_up(record, monkeypatch):
    hang, hangs = threading.Event(), threading.Event()
    monkeypatch.setattr(type(record), "write", lambda *_, **__: hangs.set() or hang.wait(30))
    livepatch.tripwire("ID")
    assert hangs.wait(10)
    begun = time.thread_time()
    for _ in range(1000):
        livepatch.tripwire("ID")
    assert time.thread_time() - begun < 1.0
    assert tripwires.tripped("ID") == 1001
    hang.set()
    monkeypatch.undo()


class Hostile:
    def __str__(self):
        raise SystemExit

    __repr__ = __hash__ = __str__


class HostileText(str):
    __slots__ = ()

    def __str__(self):
        raise SystemExit

    __repr__ = __hash__ = __len__ = __getitem__ = __str__


def test_nothing_that_it_is_called_with_makes_it_raise(record, monkeypatch):
    ignored = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: ignored.append(repr(told.exc_value)))
    names = ["ID", "", "x" * 10_000, None, 7, Hostile(), b"\xff", "\ud800", HostileText("ID")]
    peers = [None, "x" * 10_000, Hostile(), b"\xff", "\ud800\x1b[2J", 10**5000, HostileText("peer")]
    with capture_logs() as logs:
        for name in names:
            for peer in peers:
                livepatch.tripwire(name, peer=peer)
    assert ignored == []
    assert all(log["patch"].isprintable() and log["peer"].isprintable() for log in logs)
    assert sum(wire.count for wire in tripwires._wires.values()) == len(names) * len(peers)
    livepatch.record_to(None)
    assert audit.verify(record.folder, key=record.key, deep=True).flaws == ()
    assert sum(each["details"]["since_last"] for each in entries_of(record)) == len(names) * len(peers)


def test_an_event_that_fails_is_not_the_fixs_affair(monkeypatch):
    told = []
    monkeypatch.setattr(tripwires, "emit", lambda *_, **__: 1 / 0)
    monkeypatch.setattr(sys, "unraisablehook", lambda each: told.append(each.err_msg))
    livepatch.tripwire("ID")
    assert told == ["livepatch could not tell of a tripwire"]
    assert tripwires.tripped("ID") == 1


def test_there_is_an_end_to_how_many_ids_are_kept():
    for number in range(1500):
        tripwires._trip(str(number), None)
    assert len(tripwires._wires) == 1000


def test_no_call_is_lost_between_threads():
    threads = [threading.Thread(target=lambda: [livepatch.tripwire("ID") for _ in range(2000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tripwires.tripped("ID") == 8000


def test_an_entry_that_fails_in_any_way_does_not_end_the_telling(clock, monkeypatch):
    """The thread that records ended with it, and nothing was recorded ever after."""
    told, failures = [], [OSError("once"), MemoryError()]
    done = threading.Event()

    def sink(name, details):
        if failures:
            raise failures.pop()
        told.append((name, details["count"]))
        done.set()

    monkeypatch.setattr(sys, "unraisablehook", lambda each: told.append(each.err_msg))
    tripwires.send_to(sink)
    try:
        for _ in range(3):
            livepatch.tripwire("ID")
            deadline = time.monotonic() + 10
            while tripwires._writer is not None and time.monotonic() < deadline:
                time.sleep(0.01)
            clock.now += 100
        assert done.wait(10)
    finally:
        tripwires.send_to(None)
    assert told == ["livepatch could not tell of a tripwire"] * 2 + [("ID", 3)]


def test_a_hook_that_fails_too_is_not_the_fixs_affair(monkeypatch):
    monkeypatch.setattr(tripwires, "emit", lambda *_, **__: 1 / 0)
    monkeypatch.setattr(sys, "unraisablehook", lambda each: 1 / 0)
    livepatch.tripwire("ID")
    assert tripwires.tripped("ID") == 1


def test_a_call_that_comes_between_two_steps_of_the_telling_is_counted(monkeypatch):
    """As from a signal handler, or from __del__, in the same thread: the lock lets it through."""

    class Striking(int):
        def __gt__(self, other):
            livepatch.tripwire(f"from within {len(tripwires._wires)}")
            return int(self) > other

    told = []
    livepatch.tripwire("ID")
    tripwires.send_to(lambda name, details: told.append(name))
    livepatch.tripwire("ID")
    tripwires._wires["ID"].count = Striking(2)
    tripwires.send_to(None)
    assert "ID" in told
    assert tripwires.tripped("from within 1") == 1
