"""Lazy migrations: an object is taken up when a replaced function is first given it, once, whoever comes first."""

from __future__ import annotations

import asyncio
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from tests.cycles import codes
from tests.state.peers import down, forms, up

import livepatch

if TYPE_CHECKING:
    from tests.conftest import NewPatch
    from tests.state.conftest import Made


@pytest.fixture
def lazy(made: Made) -> Made:
    def make(*names: str, **options: Any) -> livepatch.Patch:
        return made(*names, objects=options.pop("objects", None), lazy=True, **options)

    return make


def test_an_object_is_taken_up_when_it_is_used_and_down_with_the_patch(node: ModuleType, lazy: Made):
    calls: list[str] = []

    def rise(peer: Any) -> None:
        calls.append(peer.name)
        up(peer)

    def sink(peer: Any) -> None:
        calls.append(f"-{peer.name}")
        down(peer)

    fix = lazy(way=(rise, sink))
    report = livepatch.check(fix)
    assert "migration-lazy" in [finding.code for finding in report.findings]
    assert calls == []
    applied = livepatch.apply(fix)
    assert applied.status().state == "settled"
    assert calls == []
    first, second = node.PEERS[0], node.PEERS[7]
    assert (first.size(), second.size(), first.size()) == (3, 3, 3)
    assert calls == ["0", "7"]
    assert forms(node) == {list, dict}
    assert applied.status().migrations[0].objects == 2
    assert livepatch.verify()
    applied.mode = "off"
    assert forms(node) == {list}
    assert first.size() == 3
    applied.mode = "on"
    assert first.size() == 3
    applied.revert()
    assert calls == ["0", "7", "-7", "-0", "0", "-0"]
    assert forms(node) == {list}


def test_every_kind_of_function_takes_up_what_it_is_given(node: ModuleType, lazy: Made):
    fix = lazy()
    name = node.__name__

    @fix.replace(f"{name}:Peer.wait")
    async def wait(self):
        return list(self.inbox.keys())

    @fix.replace(f"{name}:Peer.each")
    def each(self):
        yield from self.inbox.keys()

    @fix.replace(f"{name}:Peer.__init__")
    def __init__(self, name):
        super().__init__()
        self.name = name
        self.inbox = {1: None}

    @fix.replace(f"{name}:Peer.busy")
    @property
    def busy(self):
        return bool(self.inbox.keys())

    @fix.replace(f"{name}:both")
    def both(one, /, *others, last=None, **more):
        return sum(len(peer.inbox.keys()) for peer in (one, last) if peer is not None)

    before = node.Peer.size.__code__
    applied = livepatch.apply(fix)
    assert asyncio.run(node.PEERS[0].wait()) == [1, 2, 3]
    assert list(node.PEERS[1].each()) == [1, 2, 3]
    assert node.PEERS[2].busy
    assert node.both(node.PEERS[3], last=node.PEERS[4]) == 6
    young = node.Peer("young")
    assert young.size() == 1
    assert [type(peer.inbox) for peer in node.PEERS[:6]] == [dict] * 5 + [list]
    assert applied.status().state == "settled"
    applied.revert()
    assert forms(node) == {list}
    assert type(young.inbox) is list
    assert node.Peer.size.__code__ is before


def test_threads_take_an_object_up_once(node: ModuleType, lazy: Made):
    calls: list[int] = []
    waiting = threading.Barrier(4)

    def rise(peer: Any) -> None:
        calls.append(peer.size() if isinstance(peer.inbox, dict) else -1)
        up(peer)
        calls.append(peer.size())  # patched code in up itself

    livepatch.apply(lazy(way=(rise, down)))
    answers: list[int] = []

    def work() -> None:
        waiting.wait(10)
        answers.append(node.PEERS[0].size())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert answers == [3] * 4
    assert calls == [-1, 3]


def test_an_up_that_fails_fails_that_call_alone(node: ModuleType, lazy: Made):
    failing = {"3"}

    def rise(peer: Any) -> None:
        peer.extra = 1
        if peer.name in failing:
            raise ValueError("not this one")
        up(peer)

    def sink(peer: Any) -> None:
        vars(peer).pop("extra")
        if isinstance(peer.inbox, dict):
            down(peer)

    applied = livepatch.apply(lazy(way=(rise, sink)))
    with pytest.raises(livepatch.StateError, match="not this one"):
        node.PEERS[3].size()
    assert vars(node.PEERS[3]) == {"name": "3", "inbox": [1, 2, 3]}
    assert node.PEERS[4].size() == 3
    failing.clear()
    assert node.PEERS[3].size() == 3
    applied.revert()
    assert not any(hasattr(peer, "extra") for peer in node.PEERS)


def test_only_those_objects(node: ModuleType, lazy: Made):
    applied = livepatch.apply(lazy(objects=node.PEERS[:2]))
    assert node.PEERS[1].size() == 3
    with pytest.raises(AttributeError):
        node.PEERS[2].size()
    applied.revert()


def test_of_other_classes_and_otherwise_than_by_arguments(node: ModuleType, lazy: Made, new_patch: NewPatch):
    fix = new_patch()

    @fix.replace(f"{node.__name__}:total")
    def total():
        return sum(len(livepatch.up_to_date(peer).inbox.keys()) for peer in PEERS)  # noqa: F821  # the node's

    fix.migrate("inbox", 1, up, down, lazy=True)
    assert "migration-unreached" in codes(livepatch.check(fix))
    fix = new_patch()
    fix.replace(f"{node.__name__}:total")(total)
    fix.migrate("inbox", 1, up, down, lazy=True, of=node.Peer)
    applied = livepatch.apply(fix)
    assert node.total() == 150
    assert forms(node) == {dict}
    applied.revert()
    peer = node.PEERS[0]
    assert livepatch.up_to_date(peer) is peer
    assert forms(node) == {list}


def test_a_share_of_the_calls(node: ModuleType, lazy: Made):
    fix = lazy()
    applied = livepatch.apply(fix, mode=livepatch.split(50, key=lambda self: self.name))
    fresh = [peer.size() for peer in node.PEERS]
    assert fresh == [3] * 50
    assert forms(node) == {list, dict}
    applied.mode = "on"
    assert [peer.size() for peer in node.PEERS] == [3] * 50
    applied.revert()
    assert forms(node) == {list}


def test_where_nothing_would_be_taken_up(node: ModuleType, new_patch: NewPatch):
    fix = new_patch()
    fix.migrate("inbox", 1, up, down, lazy=True)
    assert "migration-unreached" in codes(livepatch.check(fix))

    @fix.replace(f"{node.__name__}:Peer.__init__")
    def __init__(self, name):
        self.name = name
        self.inbox = {}

    assert "migration-unreached" in codes(livepatch.check(fix))


def test_objects_that_die_are_forgotten(node: ModuleType, lazy: Made):
    applied = livepatch.apply(lazy())
    for _ in range(5000):
        assert node.Peer("short").size() == 3
    assert applied.status().migrations[0].objects < 2100


def test_down_waits_for_a_call_that_takes_an_object_up(node: ModuleType, lazy: Made):
    arrived, go_on = threading.Event(), threading.Event()

    def rise(peer: Any) -> None:
        arrived.set()
        assert go_on.wait(10)
        up(peer)

    applied = livepatch.apply(lazy(way=(rise, down)))
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(node.PEERS[0].size()))
    thread.start()
    assert arrived.wait(10)
    assert applied.revert().state == "draining"
    go_on.set()
    thread.join(10)
    assert answers == [3]
    assert applied.wait(5)
    assert forms(node) == {list}
