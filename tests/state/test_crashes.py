"""Crashes at every call to the disk: the next start finds the data wholly before or wholly after, and nothing lost."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import structlog
from tests.state.crashes import Crash, Disk, Store

import livepatch
from livepatch.process.recovery import Recovery, recover_states
from livepatch.state.journal import Journal, read_records
from livepatch.state.migration import Migration
from livepatch.state.states import Prepared, States


@pytest.fixture(autouse=True)
def silent() -> Any:
    with structlog.testing.capture_logs():
        yield


def patch_of(migration: Migration) -> livepatch.Patch:
    patch = livepatch.Patch("STORE", package="specimen", versions="==1.0")
    patch.migrations = (migration,)
    return patch


class Process:
    """One life of a process: it recovers, and then goes up and down."""

    def __init__(self, folder: Path, disk: Disk, *, checkpoint: bool, fails: bool = False) -> None:
        self.store = Store(folder / "data")
        self.migration = self.store.migration(disk.step, checkpoint=checkpoint, fails=fails)
        self.states = States()
        self._folder, self._disk = folder, disk

    def recover(self, *, knows: bool = True) -> Recovery:
        patches = {"STORE": patch_of(self.migration)} if knows else {}
        return recover_states(self.states, self._folder / "state", patches, self._disk)

    def up(self) -> None:
        self.states.begin()
        self.states.enter(Prepared("STORE", (self.migration,)))

    def down(self) -> None:
        self.states.begin()
        self.states.reconcile(frozenset())

    def end(self) -> None:
        if self.states.directory is not None:
            self.states.directory.close()


def life(folder: Path, disk: Disk, **options: Any) -> None:
    process = Process(folder, disk, **options)
    try:
        recovery = process.recover()
        assert recovery.ok, recovery
        assert process.store.version == recovery.versions.get("store")
        try:
            process.up()
        except livepatch.StateError:
            assert disk.fails or options.get("fails")
            assert disk.fails or process.store.version is None
            return
        assert process.store.version == 1
        process.down()
        assert process.store.version is None
    finally:
        process.end()


def crashing(folder: Path, at: int, seed: int, **options: Any) -> bool:
    """A life that crashes at some call, one that crashes while it recovers, and one that ends; whether it did crash."""
    crashed = False
    for number in (at, seed % 7 + 1, None):
        disk = Disk(number, seed=seed)
        try:
            life(folder, disk, **options)
        except Crash:
            crashed = crashed or number == at
            disk.cut_power()
    assert Store(folder / "data").version is None
    return crashed


def every_crash(tmp_path: Path, rounds: int) -> int:
    runs = 0
    for checkpoint, fails in ((True, False), (False, False), (True, True), (False, True)):
        for at in itertools.count(1):
            crashed = False
            for seed in range(rounds):
                folder = tmp_path / f"{checkpoint}-{fails}-{at}-{seed}"
                folder.mkdir()
                crashed |= crashing(folder, at, seed * 31 + at, checkpoint=checkpoint, fails=fails)
                runs += 1
            if not crashed:
                break
    return runs


def test_a_crash_at_any_call_loses_nothing(tmp_path: Path):
    assert every_crash(tmp_path, 1) > 60


@pytest.mark.slow
def test_a_thousand_crashes(tmp_path: Path):
    assert every_crash(tmp_path, 20) >= 1000


@pytest.mark.parametrize("lasting", [2, 100])
@pytest.mark.parametrize("checkpoint", [True, False])
def test_a_disk_that_runs_full_at_any_call(checkpoint: bool, lasting: int, tmp_path: Path):
    for at in itertools.count(1):
        folder = tmp_path / str(at)
        folder.mkdir()
        full = Disk(at, fails=lasting)
        try:
            life(folder, full, checkpoint=checkpoint)
        except (livepatch.StateError, OSError):
            pass
        life(folder, Disk(), checkpoint=checkpoint)
        assert Store(folder / "data").version is None
        if full.calls < at:
            return


def test_what_a_start_without_the_patch_finds(tmp_path: Path):
    process = Process(tmp_path, Disk(), checkpoint=True)
    steps: list[int] = []

    def step() -> None:
        steps.append(1)
        if len(steps) >= 2:
            process.states.directory.files.dead = True
            raise Crash

    process.migration = process.store.migration(step, checkpoint=True)
    process.recover()
    with pytest.raises(Crash):
        process.up()
    process.end()
    assert process.store.read() == ["a-data!", "b-data", "c-data"]

    blind = Process(tmp_path, Disk(), checkpoint=True)
    recovery = blind.recover(knows=False)
    assert not recovery
    (found,) = recovery.migrations
    assert (found.outcome, found.patch, found.version) == ("open", "STORE", 1)
    assert "call recover with patch STORE" in str(recovery)
    with pytest.raises(livepatch.StateError, match="half up"):
        blind.up()
    assert [f.code for f in blind.states.findings(patch_of(blind.migration), {})][:1] == ["migration-unfinished"]
    again = blind.recover()
    assert again.ok
    assert again.migrations[0].outcome == "before"
    assert blind.store.version is None
    blind.up()
    blind.end()

    after = Process(tmp_path, Disk(), checkpoint=True)
    recovery = after.recover(knows=False)
    assert recovery.versions == {"store": 1}
    assert recovery.migrations[0].outcome == "after"
    (info,) = after.states.findings(patch_of(after.migration), {})
    assert (info.code, info.severity) == ("migration-done", "info")
    (after.store.folder / "a").write_text("a-data!")
    after.up()  # nothing is done again
    after.down()
    assert after.store.version is None
    after.end()
    assert list((tmp_path / "state").glob("*.checkpoint")) == []


def test_one_process_has_a_directory(tmp_path: Path):
    first, second = (Process(tmp_path, Disk(), checkpoint=False) for _ in range(2))
    first.recover()
    with pytest.raises(livepatch.StateError, match="another process"):
        second.recover()
    first.end()
    second.recover()
    second.end()


# The journal


def test_records_are_read_as_they_were_written_and_a_torn_one_is_cut_off(tmp_path: Path):
    path = tmp_path / "journal"
    journal = Journal(path)
    lengths = [path.stat().st_size]
    for number in range(3):
        journal.add({"kind": "intent", "run": f"r{number}", "text": "x" * number * 50})
        lengths.append(path.stat().st_size)
    journal.close()
    whole = path.read_bytes()
    assert read_records(whole).length == len(whole)
    for size in range(lengths[0], len(whole)):
        reading = read_records(whole[:size])
        assert len(reading.records) == sum(length <= size for length in lengths[1:])
        assert reading.torn == (size not in lengths)
        # what a file system may leave where nothing was written yet
        if any(whole[size : next(length for length in lengths if length > size)]):
            assert read_records(whole[:size] + bytes(40)).records == reading.records
    path.write_bytes(whole[:-1])
    journal = Journal(path)
    assert journal.torn
    assert len(journal.records) == 2
    journal.add({"kind": "up", "run": "r0"})
    journal.close()
    assert [record["kind"] for record in read_records(path.read_bytes()).records] == ["intent", "intent", "up"]


def test_damage_before_the_last_record_is_refused(tmp_path: Path):
    path = tmp_path / "journal"
    journal = Journal(path)
    start = path.stat().st_size
    for number in range(3):
        journal.add({"kind": "intent", "run": f"r{number}"})
    journal.close()
    whole = bytearray(path.read_bytes())
    last = len(whole) - (len(whole) - start) // 3
    for place in range(start, last):
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        with pytest.raises(livepatch.StateError, match="damaged"):
            read_records(bytes(damaged))
    with pytest.raises(livepatch.StateError, match="damaged"):
        read_records(b"something else")


def test_a_large_journal_is_compacted(tmp_path: Path):
    disk = Disk()
    process = Process(tmp_path, disk, checkpoint=False)
    process.recover()
    process.up()
    directory = process.states.directory
    assert directory is not None
    for _ in range(60):
        directory.journal.add({"kind": "progress", "run": "STORE-store-1", "objects": 1, "filler": "x" * 6000})
    process.end()
    size = (tmp_path / "state" / "journal").stat().st_size
    after = Process(tmp_path, Disk(), checkpoint=False)
    assert after.recover().versions == {"store": 1}
    assert (tmp_path / "state" / "journal").stat().st_size < size / 100
    after.end()
