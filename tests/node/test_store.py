"""The store: what is installed and wished for, who may change it, and what a crash at any call leaves of it."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import structlog
from tests.node.stores import die, ids, patch_file, wish
from tests.state.crashes import Crash, Disk
from tests.test_fork import in_child

import livepatch
from livepatch.bundle.envelope import digest
from livepatch.errors import StateError
from livepatch.node.store import Store
from livepatch.node.stored import StoreView


@pytest.fixture(autouse=True)
def silent() -> Any:
    with structlog.testing.capture_logs() as events:
        yield events


def wait_until_proved(store: Store) -> None:
    end = time.monotonic() + 10
    while store.wanted.trial is not None:
        assert time.monotonic() < end
        time.sleep(0.005)


# What is in it


def test_a_patch_file_is_kept_as_it_came_and_read_with_care(tmp_path: Path):
    data = patch_file("A")
    with Store(tmp_path / "store") as store:
        found = store.install(data)
        assert found.file == digest(data)
        assert found.id == "A"
        assert store.path_of(found.file).read_bytes() == data
        assert store.install(data) == found
        assert store.installed() == (found.file,)
        assert livepatch.load(found.path).origin.digest == found.digest
        found.path.write_bytes(data[:-1] + b"x")
        with pytest.raises(StateError, match="other bytes"):
            store.path_of(found.file)
        with pytest.raises(StateError, match="other bytes"):
            with store.changing([found.wish()]):
                raise AssertionError
        store.install(data)
        store.path_of(found.file)
        found.path.unlink()
        with pytest.raises(StateError, match="no file"):
            store.read(found.file)
    assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o700


@pytest.mark.parametrize("data", [b"", b"{", b"{}", b"nothing", b'{"type": "livepatch.sealed"'])
def test_what_is_no_patch_file_is_not_installed(data: bytes, tmp_path: Path):
    with Store(tmp_path) as store:
        with pytest.raises(livepatch.BundleError):
            store.install(data)
        assert store.installed() == ()


@pytest.mark.parametrize("name", ["", "sha256:", "sha256:../../etc/passwd", "md5:" + "0" * 64, "sha256:" + "A" * 64])
def test_only_digests_are_paths(name: str, tmp_path: Path):
    with Store(tmp_path) as store:
        for call in (store.read, store.approvals_of, store.discard):
            with pytest.raises(StateError, match="no digest"):
                call(name)


def test_approvals_lie_beside_the_patch_that_they_are_of(tmp_path: Path):
    with Store(tmp_path) as store:
        found = store.install(patch_file("A"))
        paths = {store.keep_approval(found.digest, text) for text in (b"one", b"two", b"one")}
        assert set(store.approvals_of(found.digest)) == paths
        assert {path.read_bytes() for path in paths} == {b"one", b"two"}
        assert store.approvals_of(digest(b"another")) == ()
        with pytest.raises(StateError, match="no approval"):
            store.keep_approval(found.digest, bytes(3 << 20))


def test_the_key_is_made_once_and_is_nobody_elses(tmp_path: Path):
    with Store(tmp_path) as store:
        made = store.key_file.read_bytes()
        assert stat.S_IMODE(store.key_file.stat().st_mode) == 0o600
        record = livepatch.record_to(store.record_folder, key=store.key_file)
        assert record.checkpoint()
        livepatch.record_to(None)
    with Store(tmp_path) as store:
        assert store.key_file.read_bytes() == made
    store.key_file.chmod(0o644)
    with pytest.raises(livepatch.TrustError, match="not private"):
        Store(tmp_path)


def test_others_may_not_write_to_it(tmp_path: Path):
    Store(tmp_path / "store").close()
    (tmp_path / "store").chmod(0o770)
    with pytest.raises(StateError, match="mode 0770"):
        Store(tmp_path / "store")
    with pytest.raises(StateError, match="mode 0770"):
        StoreView(tmp_path / "store")
    (tmp_path / "store").chmod(0o700)
    if os.geteuid() == 0:
        os.chown(tmp_path / "store", 12345, -1)
        with pytest.raises(StateError, match="user 12345"):
            Store(tmp_path / "store")
    (tmp_path / "file").touch()
    for path in ("file", "file/store", "missing"):
        with pytest.raises(StateError):
            StoreView(tmp_path / path)


def test_one_process_has_it_and_others_look_into_it(tmp_path: Path):
    store = Store(tmp_path)
    with store.changing([wish(store, "A")]):
        pass
    with pytest.raises(StateError, match=f"process {os.getpid()} has"):
        Store(tmp_path)
    assert ids(StoreView(tmp_path).wanted.patches) == ["A"]

    def child() -> None:
        assert ids(store.wanted.patches) == ["A"]
        for change in (lambda: store.changing([]).__enter__(), lambda: store.install(patch_file("B"))):
            with pytest.raises(StateError, match="not this process's"):
                change()

    in_child(child)
    store.close()
    store.close()
    Store(tmp_path).close()


# What is wished for, and the trial


def test_what_was_put_in_its_place_is_not_written_to(tmp_path: Path):
    with Store(tmp_path / "store") as store:
        store.path.rename(tmp_path / "moved")
        with Store(tmp_path / "store") as other:
            for change in (lambda: store.install(patch_file("A")), store.changing(()).__enter__):
                with pytest.raises(StateError, match="in whose place another was put"):
                    change()
            assert other.installed() == ()
            wish(other, "B")
        (tmp_path / "store").rename(tmp_path / "other")
        with pytest.raises(StateError, match="No such file"):
            store.install(patch_file("A"))


def test_a_program_that_closes_all_files_loses_the_store_and_no_file_of_its_own(tmp_path: Path):
    store = Store(tmp_path / "store")
    number = store._lock
    assert number is not None
    with (tmp_path / "mine").open("w") as mine:
        os.dup2(mine.fileno(), number)  # closed, and opened anew by the program
    with pytest.raises(StateError, match="closed the lock"):
        store.install(patch_file("A"))
    Store(tmp_path / "store").close()  # another process may have it by now
    store.close()
    os.close(number)


def test_a_patch_is_on_trial_before_it_goes_in_and_until_its_time_has_passed(tmp_path: Path):
    store = Store(tmp_path, guard=0.05)
    first, second = wish(store, "A"), wish(store, "B")
    with store.changing([first]):
        now = StoreView(tmp_path).wanted
        assert (ids(now.patches), ids(now.trial)) == ([], ["A"])
    assert ids(StoreView(tmp_path).wanted.patches) == ["A"]
    wait_until_proved(store)
    with store.changing([first, second]):
        time.sleep(0.2)
        assert store.wanted.trial is not None, "the time runs from the end of it"
    wait_until_proved(store)
    assert StoreView(tmp_path).wanted == store.wanted
    generation = store.wanted.generation
    with store.changing([first]):
        assert store.wanted.generation == generation, "nothing goes in"
    assert store.wanted.trial is None
    store.close()


def test_what_a_change_raises_leaves_the_wishes_as_they_were(tmp_path: Path):
    store = Store(tmp_path)
    first = wish(store, "A")
    with pytest.raises(KeyError):
        with store.changing([first]):
            raise KeyError
    assert (store.wanted.patches, store.wanted.trial) == ((), None)
    with store.changing([first]):
        pass
    with pytest.raises(KeyError):
        with store.changing([first, wish(store, "B")]):
            raise KeyError
    assert (ids(store.wanted.patches), ids(store.wanted.trial)) == (["A"], ["A"])
    assert StoreView(tmp_path).wanted == store.wanted
    with pytest.raises(livepatch.PatchError, match="twice"):
        with store.changing([first, first]):
            raise AssertionError
    store.close()


def test_a_process_that_dies_too_soon_comes_up_without_it(tmp_path: Path, silent: Any):
    store = Store(tmp_path)
    first = wish(store, "A")
    with store.changing([first]):
        pass
    store.close()
    store = Store(tmp_path)
    assert not store.died
    with store.changing([first, wish(store, "B"), wish(store, "C", "split(5%)")]):
        pass
    die(store)
    store = Store(tmp_path)
    assert store.died
    assert ids(store.wanted.patches) == ["A"]
    assert [(each.id, each.mode) for each in store.fell] == [("B", "on"), ("C", "split(5%)")]
    assert silent[-1]["event"] == "livepatch.died_on_trial"
    assert silent[-1]["without"] == ["B", "C"]
    with store.restoring() as wishes:
        assert ids(wishes) == ["A"]
    die(store)
    store = Store(tmp_path)
    assert (store.died, store.fell, ids(store.wanted.patches)) == (True, (), ["A"]), "no further than what was good"
    assert [each.id for each in store.wanted.fallen] == ["B", "C"]
    with store.changing([first, wish(store, "B")]):
        pass
    assert [each.id for each in store.wanted.fallen] == ["C"], "B is asked for again"
    store.close()


def test_a_death_at_a_start_counts_as_well(tmp_path: Path):
    store = Store(tmp_path)
    with store.changing([wish(store, "A")]):
        pass
    store.close()
    store = Store(tmp_path)
    with store.restoring():
        pass
    die(store)
    store = Store(tmp_path)
    assert (ids(store.wanted.patches), [each.id for each in store.fell]) == ([], ["A"])
    with store.restoring() as wishes:
        assert wishes == ()
    assert store.wanted.trial is None, "nothing went in"
    die(store)
    assert not Store(tmp_path).died


def test_a_process_that_puts_another_program_in_its_own_place_has_not_died(tmp_path: Path):
    store = Store(tmp_path, guard=0.05)
    with store.changing([wish(store, "A")]):
        pass
    store.close(well=False)
    store = Store(tmp_path, guard=0.05)
    assert not store.died
    assert ids(store.wanted.patches) == ["A"]
    wait_until_proved(store)
    store.close()


@pytest.mark.parametrize("session", [True, False])
def test_a_program_that_puts_itself_into_the_background_has_not_died(tmp_path: Path, session: bool):
    ready, told = os.pipe()
    pid = os.fork()
    if not pid:
        with contextlib.suppress(BaseException):
            store = Store(tmp_path, guard=0.2)
            with store.changing([wish(store, "A")]):
                pass
            if not os.fork():
                if session:
                    os.setsid()
                os.write(told, b"x")
                time.sleep(1)
        os._exit(0)
    os.close(told)
    os.waitpid(pid, 0)
    try:
        assert os.read(ready, 1) == b"x"
        assert os.read(ready, 1) == b""  # the one in the background has ended as well
    finally:
        os.close(ready)
    with Store(tmp_path) as store:
        assert store.died is not session
        assert ids(store.wanted.patches) == (["A"] if session else [])


def test_what_goes_in_late_is_on_trial_from_then_on(tmp_path: Path):
    store = Store(tmp_path)
    with store.changing([wish(store, "A")]):
        pass
    store.close()
    store = Store(tmp_path, guard=0.05)
    assert store.goes_in_late(1)
    assert StoreView(tmp_path).wanted.trial is not None
    wait_until_proved(store)
    arrived, go_on = threading.Event(), threading.Event()

    def change() -> None:
        with store.changing([]):
            arrived.set()
            assert go_on.wait(60)

    thread = threading.Thread(target=change)
    thread.start()
    assert arrived.wait(60)
    assert not store.goes_in_late(0.01), "not in the middle of a change"
    go_on.set()
    thread.join(60)
    store.close()


def test_a_start_goes_on_where_its_trial_cannot_be_written(tmp_path: Path, silent: Any):
    store = Store(tmp_path)
    with store.changing([wish(store, "A")]):
        pass
    store.close()
    store = Store(tmp_path, files=Disk(1, fails=100))
    with store.restoring() as wishes:
        assert ids(wishes) == ["A"]
    assert silent[-1]["event"] == "livepatch.not_on_trial"
    die(store)
    assert ids(Store(tmp_path).wanted.patches) == ["A"]


def test_discard_leaves_what_is_in_use(tmp_path: Path):
    with Store(tmp_path) as store:
        first, second = wish(store, "A"), wish(store, "B")
        with store.changing([first]):
            pass
        with pytest.raises(StateError, match="in use"):
            store.discard(first.file)
        store.discard(second.file)
        assert store.installed() == (first.file,)


# Damage, full disks and crashes


def test_damage_is_refused_and_never_taken_for_a_wish(tmp_path: Path):
    with Store(tmp_path) as store:
        with store.changing([wish(store, "A")]):
            pass
    path = tmp_path / "wanted"
    whole = path.read_bytes()
    for place in range(0, len(whole) - 1, 5):
        damaged = bytearray(whole)
        damaged[place] ^= 0x11
        path.write_bytes(damaged)
        with pytest.raises(StateError, match="cannot be read"):
            StoreView(tmp_path).wanted  # noqa: B018
    for data in (b"", whole[:-9], whole * 2, b"[" * 99999, bytes(5 << 20)):
        path.write_bytes(data)
        with pytest.raises(StateError):
            Store(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(StateError, match="no regular file"):
        Store(tmp_path)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(StateError, match="no regular file"):
        Store(tmp_path)


def life(folder: Path, files: Disk, seen: list[list[str]], *, well: bool = False) -> None:
    """A life of a node: it comes up, then patches come and go.  `seen` are its sets in order."""
    store = Store(folder, guard=1000.0, files=files)
    try:
        with store.restoring() as wishes:
            seen.append(ids(wishes))
        base = [each for each in wishes if each.id == "A"] or [wish(store, "A")]
        for change in (base, [*base, wish(store, "B")], [*base, wish(store, "C", "off", "B")], base):
            seen.append(ids(tuple(change)))
            with store.changing(change):
                files.step()
    finally:
        try:
            store.close(well=well)
        finally:
            (folder / "lock").write_text("")  # the next one is another process


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a power cut loses is played by the disk of the test: the real one need not be waited for."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("apart", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_a_crash_at_any_call_leaves_the_wished_for_set_or_the_one_before(apart: int, tmp_path: Path):
    for at in itertools.count(1, apart):
        folder = tmp_path / str(at)
        Store(folder).close()
        files, seen = Disk(at, seed=at), [[]]
        try:
            life(folder, files, seen, well=at % 4 < 2)
        except Crash:
            files.cut_power()
        died = StoreView(folder).wanted
        with Store(folder) as store:
            found = ids(store.wanted.patches)
            assert ids(died.patches) in seen[-2:], "what the disk says"
            # Nothing has lived for its time, so what is gone back to is what was there when the life began.
            assert found in ([], ids(died.patches) if died.trial is None else [])
            assert not list(folder.rglob("*.tmp*"))
            for each in store.wanted.patches:
                store.path_of(each.file)
        if not files.dead:
            assert at > 30
            return


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("apart", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_a_disk_that_runs_full_at_any_call(apart: int, tmp_path: Path):
    for at in itertools.count(1, apart):
        folder = tmp_path / str(at)
        Store(folder).close()
        files, seen = Disk(at, fails=2), [[]]
        try:
            life(folder, files, seen)
        except (StateError, OSError):
            pass
        assert ids(StoreView(folder).wanted.patches) in seen[-2:]
        life(folder, Disk(), [])
        assert ids(StoreView(folder).wanted.patches) == ["A"]
        if files.calls < at:
            return
