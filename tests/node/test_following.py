"""Processes that do not have the store: what is wished for later reaches them, and they say what they run."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from tests.node.releases import Package
from tests.test_fork import in_child

import livepatch
from livepatch.node import following
from livepatch.node.processes import processes, set_of
from livepatch.node.restoring import Restoration
from livepatch.node.store import Store
from livepatch.node.stored import StoreView
from livepatch.node.wanted import Wish

OLD = {"one.py": "def one():\n    return 'old'\n", "two.py": "def two():\n    return 'old'\n"}
NEW = {**OLD, "one.py": "def one():\n    return 'new'\n"}
NEWER = {**OLD, "one.py": "def one():\n    return 'newer'\n"}
TWO = {**OLD, "two.py": "def two():\n    return 'new'\n"}


@pytest.fixture(autouse=True)
def events() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as events:
        yield events


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    package = Package(tmp_path, monkeypatch, OLD)
    yield package
    for status in reversed(livepatch.status()):
        livepatch.revert(status.id)
    package.forget()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as store:
        yield store


@pytest.fixture
def child(store: Store) -> Iterator[Restoration]:
    """The patches of the store in this process, as if another one had the store."""
    restoration = Restoration(StoreView(store.path), trust=livepatch.UNSIGNED)
    restoration.start([])
    yield restoration
    restoration.close()


def states(restoration: Restoration) -> list[str]:
    return [f"{each.id} {each.state} {each.mode}" for each in restoration.standings()]


def test_what_is_wished_for_goes_in_and_out_and_moves(package: Package, store: Store, child: Restoration):
    one, two = package.import_("one"), package.import_("two")
    first = store.install(package.patch("A", OLD, NEW).to_bytes())
    other = store.install(package.patch("B", OLD, TWO).to_bytes())
    assert child.catch_up([first.wish(), other.wish("off")])
    assert (one.one(), two.two()) == ("new", "old")
    assert child.catch_up([first.wish("off"), other.wish()])
    assert (one.one(), two.two()) == ("old", "new")
    assert states(child) == ["A applied off", "B applied on"]
    assert child.catch_up([other.wish()])
    assert [status.id for status in livepatch.status()] == ["B"]
    assert child.catch_up([])
    assert (one.one(), two.two(), livepatch.status()) == ("old", "old", ())


def test_what_replaces_goes_in_in_one_step_and_what_goes_out_first_makes_room(
    package: Package, store: Store, child: Restoration, events: Any
):
    one = package.import_("one")
    first = store.install(package.patch("A", OLD, NEW).to_bytes())
    better = store.install(package.patch("B", OLD, NEWER).to_bytes())
    again = store.install(package.patch("A", OLD, NEWER).to_bytes())
    assert child.catch_up([first.wish()])
    assert child.catch_up([better.wish("on", ["A"])])
    assert one.one() == "newer"
    assert [each["event"] for each in events if each["event"].endswith("reverted")] == []
    assert child.catch_up([first.wish()]), "it takes the place of the other, which goes out first"
    assert one.one() == "new"
    assert child.catch_up([again.wish()]), "another file of the same patch"
    assert one.one() == "newer"


def test_what_cannot_follow_says_so_and_lags(package: Package, store: Store, child: Restoration):
    one = package.import_("one")
    first = store.install(package.patch("A", OLD, NEW).to_bytes())
    wrong = store.install(package.patch("B", TWO, {**TWO, "two.py": "def two():\n    return 'x'\n"}).to_bytes())
    package.import_("two")
    with store.changing([first.wish()]):
        assert child.catch_up([first.wish()])
    assert not child.catch_up([wrong.wish("on", ["A"])])
    assert states(child) == ["B aside on"]
    assert one.one() == "new", "what was to be replaced stays"
    with store.changing([wrong.wish("on", ["A"])]):
        pass
    (own,) = processes(store.path, store.wanted.patches)
    assert (own.pid, own.lags, own.standings) == (os.getpid(), True, {"B": "aside on"})
    assert child.catch_up([])
    assert one.one() == "old"


def soon(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_child_of_a_fork_follows_its_parents_store(package: Package, store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(following, "EVERY", 0.01)
    one = package.import_("one")
    installed = store.install(package.patch("A", OLD, NEW).to_bytes())
    reader, writer = os.pipe()
    parent = Restoration(store, trust=livepatch.UNSIGNED)
    with store.restoring() as wishes:
        parent.start(wishes)
    pid = os.getpid()

    def wish(*wishes: Wish) -> None:
        data = store.wanted.wishing(wishes).to_bytes()
        beside = store.path / "another"
        beside.write_bytes(data)
        beside.replace(store.path / "wanted")  # the child plays its parent: that one has the store

    def body() -> None:
        wish(installed.wish())
        soon(lambda: one.one() == "new")
        soon(lambda: len(processes(store.path, StoreView(store.path).wanted.patches)) == 2)
        own = processes(store.path, [installed.wish()])[-1]
        assert (own.pid, own.lags, own.standings) == (os.getpid(), False, {"A": "applied on"})
        wish()
        soon(lambda: one.one() == "old")
        os.write(writer, b".")

    in_child(body)
    assert os.read(reader, 1) == b"."
    (own,) = processes(store.path, [])
    assert (own.pid, own.set, own.lags) == (pid, "", False), "the child is gone"
    parent.close()


def test_what_others_write_is_read_with_care(store: Store, child: Restoration):
    folder = store.path / "processes"
    (own,) = folder.iterdir()
    for data in (b"", b"{}", b'{"set": 1, "standings": []}', b"[" * 9999, bytes(1 << 20)):
        own.write_bytes(data)
        assert processes(store.path, []) == ()
    own.write_bytes(json.dumps({"set": set_of([]), "standings": []}).encode())
    for name in ("x", "1.json", "0-0.json", f"{os.getpid()}-1.json", f"{os.getpid()}-1.json.00.tmp"):
        (folder / name).write_bytes(own.read_bytes())
    assert [each.pid for each in processes(store.path, [])] == [os.getpid()]
    own.unlink()
    child.catch_up([])
    assert sorted(path.name for path in folder.iterdir()) == [own.name], "what is of nobody who lives is removed"
