"""Attacks on data that a patch changes: ups that do what no up should, and disks on which somebody has been."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from tests.state.peers import down, up

import livepatch
from livepatch.errors import StateError
from livepatch.process.live import live
from livepatch.state.checkpoint import Checkpoint
from livepatch.state.files import Files
from livepatch.state.journal import Journal, _encoded, read_records
from livepatch.state.saved import Saved

if TYPE_CHECKING:
    from tests.conftest import NewPatch
    from tests.state.conftest import Made


def is_old(node: ModuleType) -> bool:
    return all(type(peer.inbox) is list for peer in node.PEERS) and livepatch.status() == ()


@pytest.fixture(autouse=True)
def no_state_directory_stays() -> Iterator[None]:
    yield
    if live.states.directory is not None:
        live.states.directory.close()
        live.states.directory = None


# An up that does what no up should


class Went(Exception):  # none: it tells that there was none
    pass


@pytest.mark.parametrize(
    "raised", [StopIteration, GeneratorExit, KeyboardInterrupt, SystemExit, MemoryError, RecursionError]
)
@pytest.mark.parametrize("at", [0, 25, 49])
def test_whatever_up_raises_it_goes_back(raised: type[BaseException], at: int, node: ModuleType, made: Made):
    target = node.PEERS[at]

    def fails(peer: Any) -> None:
        up(peer)
        if peer is target:
            raise raised

    fix = made(way=(fails, down))
    with pytest.raises((livepatch.StateError, raised)):
        livepatch.apply(fix)
    assert is_old(node)
    livepatch.apply(made()).revert()


def test_up_that_adds_objects_for_ever_can_be_cancelled(node: ModuleType, made: Made):
    def endless(peer: Any) -> None:
        up(peer)
        if peer is node.PEERS[-1]:
            node.PEERS.append(node.Peer("more"))

    fix = made(way=(endless, down), objects=lambda: itertools.chain(iter(node.PEERS)), budget=0.1)
    threading.Timer(0.3, lambda: livepatch.cancel(fix.id)).start()
    with pytest.raises(livepatch.TransitionError, match="cancelled"):
        livepatch.apply(fix)
    assert is_old(node)


def test_up_that_takes_objects_away_while_it_goes_through_them(node: ModuleType, made: Made):
    first = list(node.PEERS)

    def removes(peer: Any) -> None:
        up(peer)
        node.PEERS.pop()

    applied = livepatch.apply(made(way=(removes, down)))
    assert node.PEERS == []
    assert all(type(peer.inbox) is dict for peer in first)
    applied.revert()
    assert all(type(peer.inbox) is list for peer in first)


def test_a_dict_that_up_changes_while_a_generator_goes_through_it(node: ModuleType, made: Made):
    held = {peer.name: peer for peer in node.PEERS}

    def adds(peer: Any) -> None:
        up(peer)
        held["more"] = node.PEERS[0]

    with pytest.raises(livepatch.StateError, match=r"everything is as it was before.*changed size"):
        livepatch.apply(made(way=(adds, down), objects=lambda: (peer for peer in held.values())))
    assert is_old(node)


def test_objects_that_cannot_be_had(node: ModuleType, made: Made):
    def fails() -> Any:
        yield from node.PEERS[:3]
        raise OSError("no more")

    for objects in (fails, lambda: 7, lambda: None):
        with pytest.raises(livepatch.StateError, match="everything is as it was before"):
            livepatch.apply(made(objects=objects))
        assert is_old(node)


def test_the_same_object_many_times_is_taken_up_once(node: ModuleType, made: Made):
    count = [0]

    def counts(peer: Any) -> None:
        count[0] += 1
        up(peer)

    applied = livepatch.apply(made(way=(counts, down), objects=lambda: node.PEERS * 3))
    assert count == [50]
    applied.revert()
    assert is_old(node)


@pytest.mark.parametrize("call", ["apply", "revert", "cancel", "check", "recover", "mode"])
@pytest.mark.parametrize("lazy", [False, True])
def test_up_that_calls_livepatch_does_not_stand_still(
    call: str, lazy: bool, node: ModuleType, made: Made, tmp_path: Path
):
    other = livepatch.apply(made(name="other", way=(lambda _: None, lambda _: None)))
    told: list[BaseException] = []
    calls: dict[str, Any] = {
        "apply": lambda: livepatch.apply(made(name="third")),
        "revert": lambda: other.revert(),
        "cancel": lambda: livepatch.cancel(other.id),
        "check": lambda: livepatch.check(made(name="third")),
        "recover": lambda: livepatch.recover(tmp_path),
        "mode": lambda: setattr(other, "mode", "off"),
    }

    def reenters(peer: Any) -> None:
        if not told:
            try:
                calls[call]()
            except livepatch.LivepatchError as error:
                told.append(error)
            else:
                told.append(Went())
        up(peer)

    begun = time.monotonic()
    fix = made(way=(reenters, down), **({"lazy": True, "objects": None} if lazy else {}))
    livepatch.apply(fix)
    node.PEERS[0].size()
    assert time.monotonic() - begun < 20
    assert len(told) == 1
    assert lazy or isinstance(told[0], livepatch.TransitionError)  # it is in the middle of a switch
    assert all(type(peer.inbox) is dict for peer in node.PEERS[:1])
    for each in reversed(livepatch.status()):
        livepatch.revert(each.id)
    assert is_old(node)


def test_a_lazy_up_that_uses_its_own_object(node: ModuleType, made: Made):
    def uses(peer: Any) -> None:
        up(peer)
        assert peer.size() >= 0

    applied = livepatch.apply(made(way=(uses, down), lazy=True, objects=None))
    assert [peer.size() for peer in node.PEERS] == [len(peer.inbox) for peer in node.PEERS]
    applied.revert()
    assert is_old(node)


def test_two_objects_whose_ups_need_each_other_in_two_threads(node: ModuleType, made: Made):
    one, two = node.PEERS[:2]
    both = threading.Barrier(2, timeout=5)

    def needs_the_other(peer: Any) -> None:
        up(peer)
        if peer in (one, two):
            try:
                both.wait()
            except threading.BrokenBarrierError:
                return
            (two if peer is one else one).size()

    applied = livepatch.apply(made(way=(needs_the_other, down), lazy=True, objects=None))
    threads = [threading.Thread(target=peer.size, daemon=True) for peer in (one, two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    assert not any(thread.is_alive() for thread in threads)
    applied.revert()
    assert is_old(node)


# Objects that come and go


def test_what_was_saved_of_an_object_that_died_is_not_brought_back_into_another():
    class Item:
        value: Any = None

    checkpoint = Checkpoint(lambda item: item.value, lambda item, saved: setattr(item, "value", saved))
    saved = Saved(checkpoint, "x")
    others: list[Item] = []
    for _ in range(100):
        first = Item()
        first.value = "of the first"
        saved.save(first)
        address = id(first)
        del first
        others.append(Item())
        if id(others[-1]) == address:
            break
    assert id(others[-1]) == address, "no object came to the address of another"
    assert not saved.has(others[-1])
    assert not saved.restore(others[-1])
    assert others[-1].value is None
    saved.close()


@pytest.mark.parametrize("place", [None, "checkpoints"])
def test_what_is_saved_of_objects_that_die_is_let_go(place: str | None, node: ModuleType, made: Made, tmp_path: Path):
    """A node makes and drops connections for months."""
    checkpoint = Checkpoint(
        lambda peer: peer.inbox,
        lambda peer, saved: setattr(peer, "inbox", saved),
        directory=tmp_path / place if place is not None else None,
        limit=5000,
    )
    node.PEERS[0].inbox = [7] * 100
    applied = livepatch.apply(made(lazy=True, objects=None, checkpoint=checkpoint))
    assert node.PEERS[0].size() == 1
    for number in range(2000):
        node.Peer(str(number)).size()
    if place is not None:
        (file,) = (tmp_path / place).iterdir()
        assert file.stat().st_size < 6000
    applied.revert()
    assert is_old(node)
    assert node.PEERS[0].inbox == [7] * 100


def test_threads_that_save_at_once_save_each_its_own(tmp_path: Path):
    class Item:
        value = b""

    checkpoint = Checkpoint(
        lambda item: item.value, lambda item, saved: setattr(item, "value", saved), directory=tmp_path
    )
    saved = Saved(checkpoint, "x")
    items = [Item() for _ in range(400)]
    for number, item in enumerate(items):
        item.value = b"%d" % number * 2000
    before = [item.value for item in items]
    together = threading.Barrier(4)

    def save(some: list[Any]) -> None:
        together.wait()
        for item in some:
            saved.save(item)

    threads = [threading.Thread(target=save, args=(items[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for item in items:
        item.value = b""
        assert saved.restore(item)
    assert [item.value for item in items] == before
    saved.close()


# Versions


def test_versions_only_rise_whatever_is_tried(node: ModuleType, made: Made):
    second = livepatch.apply(made(2))
    for version, code in ((1, "migration-lower"), (4, "migration-unknown")):
        with pytest.raises(livepatch.IncompatibleError) as caught:
            livepatch.apply(made(version))
        assert [each.code for each in caught.value.report.errors] == [code]
    same = livepatch.apply(made(2))
    second.revert()
    assert all(type(peer.inbox) is dict for peer in node.PEERS)  # another patch needs it
    same.revert()
    assert is_old(node)


def test_no_way_down_is_told_with_what_allows_it(new_patch: NewPatch):
    fix = new_patch()
    with pytest.raises(TypeError, match="checkpoint"):
        fix.migrate("a", 1, up, None)
    assert fix.migrations == ()


def test_a_revert_from_another_thread_waits_for_the_migration(node: ModuleType, made: Made):
    inside, done = threading.Event(), []

    def slow(peer: Any) -> None:
        inside.set()
        time.sleep(0.005)
        up(peer)

    fix = made(way=(slow, down))

    def revert() -> None:
        inside.wait(10)
        livepatch.revert(fix.id)
        done.append(True)

    thread = threading.Thread(target=revert)
    thread.start()
    livepatch.apply(fix)
    thread.join(30)
    assert done == [True]
    assert is_old(node)


# Disks on which somebody has been


class Unsynchronised(Files):
    """For tests that look at what is written, and not when."""

    def sync(self, descriptor: int) -> None:
        pass


def written(path: Path, count: int = 6) -> list[bytes]:
    journal = Journal(path)
    for number in range(count):
        journal.add({"kind": "intent", "run": f"r{number}", "patch": "P", "name": "n", "version": 1, "durable": True,
                     "process": "x"})  # fmt: skip
    journal.close()
    data = path.read_bytes()
    head = data[: data.index(b"\n") + 1]
    return [head, *map(_encoded, read_records(data).records)]


@pytest.mark.parametrize(
    "what", ["twice", "last twice", "swapped", "last swapped", "one is missing", "first is missing", "all again"]
)
def test_a_journal_whose_records_are_not_as_they_were_written(what: str, tmp_path: Path):
    path = tmp_path / "journal"
    head, *records = written(path)
    changed = {
        "twice": [*records[:2], records[1], *records[2:]],
        "last twice": [*records, records[-1]],
        "swapped": [records[1], records[0], *records[2:]],
        "last swapped": [*records[:-2], records[-1], records[-2]],
        "one is missing": [*records[:2], *records[3:]],
        "first is missing": records[1:],
        "all again": records * 2,
    }[what]
    path.write_bytes(head + b"".join(changed))
    before = path.read_bytes()
    with pytest.raises(StateError, match="damaged"):
        Journal(path)
    assert path.read_bytes() == before


def test_a_journal_cut_off_at_any_byte_is_whole_or_torn(tmp_path: Path):
    path = tmp_path / "journal"
    head, *records = written(path, 3)
    data = head + b"".join(records)
    quick = Unsynchronised()
    ends = [len(head) + sum(map(len, records[:n])) for n in range(4)]
    for size in range(len(head), len(data) + 1):
        path.write_bytes(data[:size])
        journal = Journal(path, quick)
        whole = max(n for n in range(4) if ends[n] <= size)
        assert (len(journal.records), journal.torn) == (whole, size not in ends)
        journal.add({"kind": "undone", "run": "r0"})
        journal.close()
        assert len(read_records(path.read_bytes()).records) == whole + 1
    for size in range(len(head)):
        path.write_bytes(data[:size])
        with pytest.raises(StateError, match="damaged"):
            Journal(path)


def test_a_journal_that_was_put_in_the_place_of_another_takes_no_record(tmp_path: Path):
    """Its process has another file open, and would write where no start will look."""
    path = tmp_path / "journal"
    written(path)
    journal = Journal(path)
    other = tmp_path / "other"
    written(other, 1)
    other.replace(path)
    with pytest.raises(StateError, match="journal"):
        journal.add({"kind": "undone", "run": "r0"})
    path.unlink()
    with pytest.raises(StateError, match="journal"):
        journal.add({"kind": "undone", "run": "r0"})
    journal.close()


@pytest.mark.parametrize(
    "record",
    [
        {"kind": "intent", "run": "r"},
        {"kind": "intent", "run": "r", "patch": 7, "name": "n", "version": 1, "durable": True, "process": "x"},
        {"kind": "intent", "run": "r", "patch": "P", "name": "n", "version": "1", "durable": True, "process": "x"},
        {"kind": "intent", "run": 7},
        {"kind": ["intent"], "run": "r"},
        {"kind": "progress", "run": "r0"},
        {"kind": "done", "run": "r0", "objects": "many"},
    ],
)
def test_records_that_livepatch_does_not_write_are_damage(record: dict[str, Any], tmp_path: Path):
    path = tmp_path / "state" / "journal"
    path.parent.mkdir()
    written(path, 1)
    journal = Journal(path)
    journal.add(record)
    journal.close()
    with pytest.raises(StateError, match="damaged"):
        livepatch.recover(path.parent)


def test_a_link_in_the_place_of_a_checkpoint_leads_nowhere(node: ModuleType, made: Made, tmp_path: Path):
    folder, precious = tmp_path / "checkpoints", tmp_path / "precious"
    folder.mkdir()
    precious.write_text("precious")
    checkpoint = Checkpoint(
        lambda peer: peer.inbox, lambda peer, saved: setattr(peer, "inbox", saved), directory=folder
    )
    fix = made(checkpoint=checkpoint)
    name = f"{fix.id}-inbox-1.checkpoint"
    for link in (name, f"{name}.part"):
        (folder / link).symlink_to(precious)
    applied = livepatch.apply(fix)
    assert precious.read_text() == "precious"
    assert not (folder / name).is_symlink()
    applied.revert()
    assert is_old(node)
    assert list(folder.iterdir()) == []
    assert precious.read_text() == "precious"


def test_a_checkpoint_directory_that_is_moved_away_and_replaced_by_a_link(node: ModuleType, made: Made, tmp_path: Path):
    folder, elsewhere = tmp_path / "checkpoints", tmp_path / "elsewhere"
    elsewhere.mkdir()
    checkpoint = Checkpoint(
        lambda peer: peer.inbox, lambda peer, saved: setattr(peer, "inbox", saved), directory=folder
    )
    before = [list(peer.inbox) for peer in node.PEERS]
    applied = livepatch.apply(made(checkpoint=checkpoint, way=(up, None)))
    folder.rename(tmp_path / "moved")
    folder.symlink_to(elsewhere)
    applied.revert()
    assert is_old(node)
    assert [peer.inbox for peer in node.PEERS] == before
    assert list(elsewhere.iterdir()) == []


def test_a_file_where_the_checkpoint_directory_should_be(node: ModuleType, made: Made, tmp_path: Path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/self/nowhere"), Path("/dev/full")):
        checkpoint = Checkpoint(
            lambda peer: peer.inbox, lambda peer, saved: setattr(peer, "inbox", saved), directory=place
        )
        with pytest.raises(livepatch.StateError, match="everything is as it was before"):
            livepatch.apply(made(checkpoint=checkpoint))
        assert is_old(node)


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/self/nowhere", "/dev/null"])
def test_a_state_directory_that_is_none(place: str, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(livepatch.StateError, match="state directory"):
        livepatch.recover(tmp_path / place)


def test_a_state_directory_with_a_folder_where_the_journal_should_be(tmp_path: Path):
    (tmp_path / "journal").mkdir()
    with pytest.raises(livepatch.StateError, match="journal"):
        livepatch.recover(tmp_path)
    (tmp_path / "journal").rmdir()
    livepatch.recover(tmp_path)
