"""Migrations: data goes up with the code and comes down with it, object by object, and back from where it fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from tests.cycles import codes
from tests.state.peers import down, forms, new_form, picture, up

import livepatch

if TYPE_CHECKING:
    from tests.conftest import NewPatch
    from tests.state.conftest import Made


def test_up_with_the_patch_and_down_with_it(node: ModuleType, made: Made):
    before = picture(node)
    applied = livepatch.apply(made(check=new_form))
    assert forms(node) == {dict}
    assert {peer.size() for peer in node.PEERS} == {3}
    (migrated,) = applied.status().migrations
    assert (migrated.name, migrated.version, migrated.objects) == ("inbox", 1, 50)
    assert "inbox at version 1" in str(applied.status())
    applied.mode = "off"
    assert forms(node) == {list}
    applied.mode = "on"
    assert forms(node) == {dict}
    applied.revert()
    assert picture(node) == before
    assert applied.status().migrations == ()


def test_up_and_down_come_in_order(node: ModuleType, made: Made):
    order: list[str] = []

    def rise(peer: Any) -> None:
        up(peer)
        order.append(peer.name)

    def sink(peer: Any) -> None:
        down(peer)
        order.append(peer.name)

    applied = livepatch.apply(made(way=(rise, sink)))
    names = [peer.name for peer in node.PEERS]
    assert order == names
    order.clear()
    applied.revert()
    assert order == names[::-1]


def test_a_patch_of_data_alone_runs_up_once(new_patch: NewPatch):
    fix, calls = new_patch(), []

    def rise():
        calls.append("begin")
        yield
        calls.append("end")

    fix.migrate("index", version=3, up=rise, down=lambda: calls.append("down"))
    assert livepatch.check(fix).ok
    assert calls == []
    applied = livepatch.apply(fix)
    assert calls == ["begin", "end"]
    applied.revert()
    assert calls == ["begin", "end", "down"]


@pytest.mark.parametrize("at", [0, 7, 49])
@pytest.mark.parametrize("where", ["before", "half", "check"])
def test_what_fails_half_way_goes_back(at: int, where: str, node: ModuleType, made: Made):
    def rise(peer: Any) -> None:
        if int(peer.name) == at and where == "before":
            raise ValueError("no")
        up(peer)
        if int(peer.name) == at and where == "half":
            raise ValueError("no")

    def check(peer: Any) -> bool:
        return where != "check" or int(peer.name) != at

    before = picture(node)
    fix = made(way=(rise, down), check=check)
    with pytest.raises(livepatch.StateError, match="as it was before"):
        livepatch.apply(fix)
    assert picture(node) == before
    assert livepatch.status() == ()
    assert {peer.size() for peer in node.PEERS} == {3}
    livepatch.apply(made()).revert()


def test_down_that_does_not_know_what_up_has_not_begun(node: ModuleType, made: Made):
    def rise(peer: Any) -> None:
        if peer.name == "20":
            raise ValueError("no")
        peer.extra = 1

    def sink(peer: Any) -> None:
        del peer.extra

    before = picture(node)
    with pytest.raises(livepatch.StateError, match="as it was before"):
        livepatch.apply(made(way=(rise, sink)))
    assert picture(node) == before


def test_what_cannot_go_back_is_told_and_stays_told(node: ModuleType, made: Made):
    def rise(peer: Any) -> None:
        peer.extra = 1
        if peer.name == "3":
            raise ValueError("no")

    def sink(peer: Any) -> None:
        if peer.name == "1":
            raise KeyError("neither")
        del peer.extra

    with structlog.testing.capture_logs() as events:
        with pytest.raises(livepatch.StateError, match="could not go back") as caught:
            livepatch.apply(made(way=(rise, sink), name="stuck"))
    assert "neither" in str(caught.value)
    assert [peer.name for peer in node.PEERS if hasattr(peer, "extra")] == ["1"]
    assert "livepatch.migration_stuck" in [event["event"] for event in events]
    report = livepatch.check(made(name="stuck"))
    assert "migration-unfinished" in codes(report)
    with pytest.raises(livepatch.IncompatibleError, match="neither"):
        livepatch.apply(made(name="stuck"))


def test_a_down_that_fails_leaves_the_patch_in(node: ModuleType, made: Made):
    failing = ["30"]

    def sink(peer: Any) -> None:
        if peer.name in failing:
            raise ValueError("not now")
        down(peer)

    applied = livepatch.apply(made(way=(up, sink)))
    with pytest.raises(livepatch.StateError, match="on the way down"):
        applied.revert()
    assert forms(node) == {dict}
    assert {peer.size() for peer in node.PEERS} == {3}
    with pytest.raises(livepatch.StateError):
        applied.mode = "off"
    assert applied.mode == "on"
    assert forms(node) == {dict}
    failing.clear()
    applied.revert()
    assert forms(node) == {list}


# Versions


def test_a_version_only_rises(node: ModuleType, made: Made):
    first = livepatch.apply(made(version=2))
    lower, same, unknown, next_ = made(version=1), made(version=2), made(version=4), made(version=3)
    assert "migration-lower" in codes(livepatch.check(lower))
    assert "migration-unknown" in codes(livepatch.check(unknown))
    for wrong in (lower, unknown):
        with pytest.raises(livepatch.IncompatibleError):
            livepatch.apply(wrong)
    second = livepatch.apply(same)
    third = livepatch.apply(next_)
    first.revert()
    second.revert()
    assert forms(node) == {dict}, "what lies beneath a version stays as long as that does"
    third.revert()
    assert forms(node) == {list}
    livepatch.apply(made(version=4)).revert()


def test_a_dormant_patch_is_judged_again_when_it_is_switched_on(node: ModuleType, made: Made):
    dormant = livepatch.apply(made(version=1), mode="off")
    assert forms(node) == {list}
    higher = livepatch.apply(made(version=2))
    with pytest.raises(livepatch.StateError, match="version 2"):
        dormant.mode = "on"
    assert dormant.mode == "off"
    higher.revert()
    dormant.mode = "on"
    assert forms(node) == {dict}


def test_a_cumulative_patch_takes_over(node: ModuleType, made: Made):
    calls: list[str] = []

    def counted(name: str, way: Callable[[Any], None]) -> Callable[[Any], None]:
        def go(peer: Any) -> None:
            calls.append(name)
            way(peer)

        return go

    way = (counted("up", up), counted("down", down))
    first = livepatch.apply(made(way=way))
    again = livepatch.apply(made(way=way), replaces=[first.id])
    assert calls.count("up") == 50
    assert calls.count("down") == 0
    higher = livepatch.apply(made(version=2, way=way), replaces=[again.id])
    assert forms(node) == {dict}
    higher.revert()
    assert forms(node) == {list}
    last = livepatch.apply(made(way=way))
    plain = livepatch.Patch("PLAIN", package="specimen", versions="==1.0")
    plain.add(node.__name__, EXTRA=1)
    livepatch.apply(plain, replaces=[last.id])
    assert forms(node) == {list}, "what nobody needs any more is taken down"


# Objects


def test_objects_that_come_meanwhile_are_taken_up(node: ModuleType, made: Made):
    def rise(peer: Any) -> None:
        up(peer)
        if peer.name == "49":
            node.PEERS.append(node.Peer("late"))

    applied = livepatch.apply(made(way=(rise, down)))
    assert len(node.PEERS) == 51
    assert forms(node) == {dict}
    applied.revert()
    assert forms(node) == {list}


def test_objects_of_the_new_side_come_down_where_check_tells_them(node: ModuleType, made: Made):
    applied = livepatch.apply(made(check=new_form))
    young, old = node.Peer("young"), node.Peer("old form")
    up(young)
    node.PEERS += [young, old]
    applied.revert()
    assert forms(node) == {list}


@pytest.mark.parametrize("kind", [list, iter, "generator", dict])
def test_any_iterable_is_gone_through(kind: Any, node: ModuleType, made: Made):
    given = {
        list: lambda: list(node.PEERS),
        iter: lambda: iter(node.PEERS),
        "generator": lambda: (peer for peer in node.PEERS),
        dict: lambda: {peer.name: peer for peer in node.PEERS}.values(),
    }[kind]()
    applied = livepatch.apply(made(objects=given))
    assert forms(node) == {dict}
    applied.mode = "off"
    assert forms(node) == {list}
    applied.mode = "on"  # an iterator gives nothing a second time
    assert forms(node) == {dict}
    applied.revert()
    assert forms(node) == {list}


def test_objects_are_not_kept_alive(node: ModuleType, made: Made):
    import gc
    import weakref

    applied = livepatch.apply(made())
    gone = weakref.ref(node.PEERS.pop())
    gc.collect()
    assert gone() is None
    applied.revert()


def test_objects_that_cannot_be_referred_to_weakly(node: ModuleType, new_patch: NewPatch):
    fix, objects = new_patch(), [node.Bare(), {"inbox": 1}, [1, 2]]

    def rise(item: Any) -> None:
        if isinstance(item, dict):
            item["new"] = 1
        elif isinstance(item, list):
            item.append(3)
        else:
            item.inbox = ()

    def sink(item: Any) -> None:
        if isinstance(item, dict):
            del item["new"]
        elif isinstance(item, list):
            item.remove(3)
        else:
            item.inbox = [1]

    fix.migrate("mixed", 1, rise, sink, objects=objects)
    applied = livepatch.apply(fix)
    assert (objects[0].inbox, objects[1], objects[2]) == ((), {"inbox": 1, "new": 1}, [1, 2, 3])
    applied.revert()
    assert (objects[0].inbox, objects[1], objects[2]) == ([1], {"inbox": 1}, [1, 2])


# Switches that go wrong


def test_a_switch_that_is_not_made_takes_the_data_back(node: ModuleType, made: Made):
    fix = made()
    with livepatch.unit_of_work():
        with pytest.raises(livepatch.TransitionError):
            livepatch.apply(fix, consistency="quiescent", timeout=0.05)
    assert forms(node) == {list}
    assert livepatch.status() == ()
    livepatch.apply(fix).revert()


def test_data_comes_down_when_the_last_call_of_the_new_side_has_ended(node: ModuleType, made: Made):
    fix = made()

    @fix.replace(f"{node.__name__}:Peer.each")
    def each(self):
        yield from self.inbox.keys()

    applied = livepatch.apply(fix)
    running = node.PEERS[0].each()
    assert next(running) == 1
    applied.revert()
    assert forms(node) == {dict}
    assert list(running) == [2, 3]
    del running
    assert applied.wait(5)
    assert forms(node) == {list}


def test_a_patch_has_settled_when_its_data_has(node: ModuleType, made: Made):
    def sink(peer: Any) -> None:
        time.sleep(0.002)
        down(peer)

    fix = made(way=(up, sink))

    @fix.replace(f"{node.__name__}:Peer.each")
    def each(self):
        yield from self.inbox.keys()

    applied = livepatch.apply(fix)
    running = node.PEERS[0].each()
    next(running)
    applied.revert()
    running.close()
    del running
    assert applied.wait(10)
    assert forms(node) == {list}


def test_a_cancelled_apply_takes_the_data_back(node: ModuleType, made: Made):
    fix, running = made(), threading.Event()

    def rise(peer: Any) -> None:
        up(peer)
        running.set()
        if peer.name == "5":
            livepatch.cancel(fix.id)

    fix.migrate("other", 1, rise, down, objects=node.PEERS, budget=0.001)
    with pytest.raises(livepatch.TransitionError, match="cancelled"):
        livepatch.apply(fix)
    assert forms(node) == {list}


def test_an_apply_that_is_taken_back_while_it_drains(node: ModuleType, made: Made):
    fix = made()

    @fix.replace(f"{node.__name__}:Peer.each")
    def each(self):
        yield from self.inbox.keys()

    running = node.PEERS[0].each()
    assert next(running) == 1
    applied = livepatch.apply(fix)
    assert applied.status().state == "draining"
    assert forms(node) == {dict}
    applied.cancel()
    running.close()
    del running
    assert applied.wait(5)
    assert forms(node) == {list}
    assert livepatch.status() == ()


# Where it may not be


@pytest.mark.parametrize("mode", [livepatch.split(5), "shadow", livepatch.at(3, lambda: 1)], ids=str)
def test_modes_that_decide_by_call_do_not_suit(mode: Any, made: Made):
    assert "mode-unsuitable" in codes(livepatch.check(made(), mode=mode))
    with pytest.raises(livepatch.PatchError):
        livepatch.apply(made(), mode=mode)


def test_a_patch_with_migrations_cannot_be_saved(new_patch: NewPatch, tmp_path):
    fix = new_patch()
    fix.migrate("inbox", 1, up, down)
    with pytest.raises(livepatch.BundleError, match="migration inbox 1, written in code"):
        fix.save(tmp_path / "fix.lpatch")
