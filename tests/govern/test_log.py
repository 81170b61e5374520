"""Lines are added, whole and in order, whoever writes, and whatever happens to whoever writes."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import resource
import shutil
import signal
import threading
import time
from contextlib import contextmanager

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.govern.records import ORIGIN, data_of, entry, fill, lines_of, new_log, not_through, only_file
from tests.signing import write_root

from livepatch.bundle.trustroot import TrustRoot
from livepatch.errors import AuditError, TrustError
from livepatch.govern import audit, files, telling
from livepatch.govern.entries import encode, is_checkpoint, parse
from livepatch.govern.log import Log
from livepatch.govern.merkle import leaf_hash

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


@pytest.fixture
def key():
    return Ed25519PrivateKey.generate()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "record"


def entries_of(folder):
    return [parse(line) for line in lines_of(folder) if not is_checkpoint(line)]


def events_of(folder):
    return [entry["event"] for entry in entries_of(folder)]


def assert_holds(folder, key, *, warnings=()):
    found = audit.verify(folder, key=new_log(folder.parent / "other", key).verifier, deep=True)
    assert found.ok, found
    assert [flaw.what for flaw in found.flaws] == list(warnings)
    return found


def assert_is_held(write):
    with pytest.raises(AuditError, match="held by another process"):
        write()


def in_child(function):
    """Run it in a forked child, and give the child's pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function()
            status = 0
        finally:
            os._exit(status)
    return pid


def ends_well(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_an_entry_says_who_when_and_where(folder, key):
    log = new_log(folder, key)
    written = log.append(entry(1, of=0))
    opened, made = entries_of(folder)
    assert (opened["event"], made["event"], made["index"], made["of"]) == ("opened", "applied", written.index, 0)
    assert (made["who"], made["process"]["pid"], made["phase"]) == ("alice", os.getpid(), "done")
    assert len(made["host"]) == len(made["clock"]["boot"]) == 16
    assert abs(made["clock"]["monotonic_ns"] - time.monotonic_ns()) < 60e9
    assert made["at"][:4] == time.strftime("%Y", time.gmtime())
    assert made["versions"].keys() == {"livepatch", "python"}
    assert str(written.checkpoint) in audit.verify(folder).checkpoint
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_an_entry_is_on_the_disk_with_its_checkpoint_when_append_returns(folder, key, monkeypatch):
    log = new_log(folder, key)
    told = []
    log.append(entry(0))  # with room for the next one
    monkeypatch.setattr(files.os, "pwrite", lambda *given, write=os.pwrite: told.append("write") or write(*given))
    monkeypatch.setattr(files.os, "fdatasync", lambda fd, sync=os.fdatasync: told.append("sync") or sync(fd))
    log.append(entry(1))
    assert told == ["write", "sync"]


def test_threads_and_processes_write_to_one_record(folder, key):
    new_log(folder, key, segment_bytes=9_000).close()

    def write(who):
        log = new_log(folder, key, segment_bytes=9_000)  # so small that there are several files
        for number in range(12):
            log.append(entry(number, who=who))

    children = [in_child(lambda who=who: write(who)) for who in ("one", "two")]
    shared = new_log(folder, key, segment_bytes=9_000)
    threads = [
        threading.Thread(target=lambda who=who: [shared.append(entry(n, who=who)) for n in range(12)])
        for who in ("three", "four")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(map(ends_well, children))
    assert_holds(folder, key)
    assert len(list(folder.glob("record-*"))) > 2
    for who in ("one", "two", "three", "four"):
        own = [
            each["details"]["number"]
            for each in entries_of(folder)
            if each["who"] == who and "number" in each["details"]
        ]
        assert own == list(range(12))


def test_a_child_goes_on_with_the_record_and_leaves_the_parents_lock_alone(folder, key):
    log = new_log(folder, key)
    log.append(entry(0))

    def child():
        log.after_fork()
        assert_is_held(lambda: log.append(entry(1)))

    def fork():
        log._patience = 0.05
        assert ends_well(in_child(child))
        assert_is_held(lambda: Log(folder, key, ORIGIN, patience=0.05))

    log._alone(fork)  # as if another thread were writing at the fork

    def grandchild():
        log.after_fork()
        log.append(entry(2, who="child"))

    assert ends_well(in_child(grandchild))
    log.append(entry(3, who="parent"))
    assert [each["who"] for each in entries_of(folder)[2:]] == ["child", "parent"]
    assert_holds(folder, key)


def test_a_signal_handler_that_strikes_while_its_thread_writes_is_refused(folder, key):
    log = new_log(folder, key)
    with pytest.raises(AuditError, match="signal handler"):
        log._alone(lambda: log.append(entry(0)))
    log.append(entry(1))
    size = only_file(folder).stat().st_size
    log._alone(log.close)  # nor does it take away the room into which that writes
    assert only_file(folder).stat().st_size == size
    log.append(entry(2))
    assert_holds(folder, key)


def test_a_new_file_goes_on_with_the_chain(folder, key):
    log = new_log(folder, key, segment_bytes=2_000)
    fill(log, 12)
    first, *rest = sorted(folder.glob("record-*"))
    assert len(rest) > 3
    assert_holds(folder, key)
    first.unlink()
    found = audit.verify(folder, key=log.verifier)
    assert [(flaw.what, flaw.first, flaw.last) for flaw in found.flaws] == [
        ("missing-file", 0, int(rest[0].stem[7:]) - 1)
    ]
    assert audit.verify(folder, key=log.verifier, archived=True, deep=True).flaws == ()
    rest[1].unlink()
    (flaw,) = audit.verify(folder, key=log.verifier, archived=True).flaws
    assert (flaw.what, flaw.first, flaw.last) == ("missing-file", int(rest[1].stem[7:]), int(rest[2].stem[7:]) - 1)


@pytest.mark.parametrize("left", [b"", b'{"after":"00', b"\0" * 700, b"\0" * 300 + b"\n"])
def test_a_file_that_was_only_begun_is_begun_anew(folder, key, left):
    log = new_log(folder, key, segment_bytes=1)
    fill(log, 2)
    newest = max(folder.glob("record-*"))
    newest.write_bytes(left)
    new_log(folder, key).append(entry(9))
    assert_holds(folder, key)


def test_what_was_left_half_written_is_kept_and_gone_on_from(folder, key):
    fill(new_log(folder, key), 3)
    path = only_file(folder)
    whole = data_of(path)
    *_, last_entry, checkpoint, _ = whole.split(b"\n")
    start = len(whole) - len(last_entry) - len(checkpoint) - 2
    chance = random.Random(5)
    cuts = [start + 1, len(whole) - 1, start + len(last_entry), start + len(last_entry) + 1]
    for cut in [*cuts, *(chance.randrange(start + 1, len(whole)) for _ in range(8))]:
        path.write_bytes(whole[:cut])
        assert audit.verify(folder, key=new_log(folder.parent / "other", key).verifier).ok
        with_log = new_log(folder, key)
        with_log.append(entry(7))
        assert_holds(folder, key)
        assert events_of(folder)[-2:] == ["recovered", "applied"]
        recovered = entries_of(folder)[-2]["details"]
        assert recovered["torn_bytes"] == cut - start
        assert recovered["torn"].encode() in whole
        with_log.close()


def chained_on(path, held):
    """A line that goes on from the last one, as anybody can write it who can write to the folder."""
    last = data_of(path).splitlines()[-1]
    return encode(leaf_hash(last).hex().encode(), {name: value for name, value in held.items() if name != "after"})


@pytest.mark.parametrize("behind", ["the last line", "the room"])
def test_a_line_that_somebody_adds_is_never_signed_as_if_it_had_been_written(folder, key, behind):
    log = new_log(folder, key)
    fill(log, 2)
    path = only_file(folder)
    if behind == "the last line":
        path.write_bytes(data_of(path))
    forged = chained_on(path, {**entries_of(folder)[-1], "index": 6, "who": "mallory"})
    with path.open("ab") as file:
        file.write(forged + b"\n")
    found = {"the last line": "unsigned-end", "the room": "edited"}[behind]  # no crash leaves room before a line
    assert [flaw.what for flaw in audit.verify(folder).flaws] == [found]
    log.append(entry(3))
    assert [each["who"] for each in entries_of(folder)].count("mallory") == 0
    recovered = entries_of(folder)[-2]
    assert recovered["event"] == "recovered"
    assert recovered["details"]["torn"] == forged.decode() + "\n"
    assert_holds(folder, key)


def test_lines_that_no_crash_leaves_are_not_gone_on_from(folder, key):
    fill(log := new_log(folder, key), 2)
    log.close()
    path = only_file(folder)
    whole = data_of(path)
    last = entries_of(folder)[-1]
    for indexes in ((6, 7), (5,), (7,), (-1,)):
        path.write_bytes(whole)
        for index in indexes:
            line = chained_on(path, {**last, "index": index})
            with path.open("ab") as file:
                file.write(line + b"\n")
        before = data_of(path)
        assert not audit.verify(folder).ok
        with pytest.raises(AuditError, match=r"does not hold|no line of a record"):
            new_log(folder, key)
        assert data_of(path) == before


def test_a_first_line_that_a_crash_left_without_its_checkpoint_is_gone_on_from(folder, key):
    new_log(folder, key).close()
    path = only_file(folder)
    path.write_bytes(data_of(path).splitlines(keepends=True)[0])
    new_log(folder, key).append(entry(0))
    assert events_of(folder) == ["opened", "recovered", "applied"]
    assert_holds(folder, key)


def test_a_process_that_goes_elsewhere_goes_on_with_its_record(folder, key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = new_log("record", key, segment_bytes=2_000)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    fill(log, 5)
    log.append(entry(5))
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert len(list(folder.glob("record-*"))) > 1
    assert_holds(folder, key)


def test_a_working_directory_that_is_gone_is_told(key, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(AuditError, match="cannot be written"):
        new_log("record", key)
    trust = write_root(tmp_path / "trust.json")
    with pytest.raises(TrustError, match="the trust state cannot be found"):
        TrustRoot.load(trust, state="state.json")


@pytest.mark.parametrize("anew", [True, False])
def test_a_program_that_closes_all_files_keeps_its_record_and_files_of_its_own(folder, key, tmp_path, anew):
    log = new_log(folder, key)
    log.append(entry(1))
    numbers = [log._lock[0], log._tail.descriptor]
    mine = os.open(tmp_path / "mine", os.O_CREAT | os.O_RDWR)
    for number in numbers:
        if anew:
            os.dup2(mine, number)
        else:
            os.close(number)
    log.append(entry(2))
    log.append(entry(3))
    if anew:
        assert [os.path.samestat(os.fstat(each), os.fstat(mine)) for each in numbers] == [True, True]
    log.close()
    assert_holds(folder, key)
    assert len(entries_of(folder)) == 4
    for number in [mine, *(numbers if anew else ())]:
        os.close(number)


def test_a_lock_that_was_removed_and_made_anew_keeps_two_writers_apart(folder, key):
    log = new_log(folder, key)
    (folder / "lock").unlink()
    other = new_log(folder, key)
    log._patience = 0.05
    other._alone(lambda: assert_is_held(lambda: log.append(entry(0))))
    log.append(entry(1))
    other.append(entry(2))
    assert_holds(folder, key)


def test_a_lock_that_was_moved_away_keeps_nobody_from_writing_whoever_holds_it(folder, key):
    log = new_log(folder, key)
    log.append(entry(0))
    (folder / "lock").rename(folder / "elsewhere")
    held = os.open(folder / "elsewhere", os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    log._patience = 0.05
    log.append(entry(1))
    os.close(held)
    assert_holds(folder, key)


def test_an_interrupt_between_any_two_steps_of_an_append_leaves_the_lock_free_and_a_record_that_goes_on(
    folder, key, monkeypatch
):
    log, other = new_log(folder, key), new_log(folder, key)
    other._patience = 0.05
    log.append(entry(0))
    steps = ["try_lock", "lies_at", "ends_as_known", "size_at", "keep_reserve", "set_aside", "write_through", "unlock"]
    for name in steps:
        other.append(entry(2))
        os.truncate(only_file(folder), len(data_of(only_file(folder))))  # so that room is set aside once more
        step = getattr(files, name)
        with monkeypatch.context() as patched:

            def interrupted(*arguments, step=step, **named):
                step(*arguments, **named)
                raise KeyboardInterrupt

            patched.setattr(files, name, interrupted)
            with pytest.raises(KeyboardInterrupt):
                log.append(entry(1))
        other.append(entry(2))
        log.append(entry(3))
    assert_holds(folder, key)


@pytest.mark.parametrize("name", ["lock", "reserve", "record-000000000000.jsonl"])
def test_nothing_is_written_through_a_link(folder, key, tmp_path, name):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    folder.mkdir()
    (folder / name).symlink_to(elsewhere)
    if name == "reserve":
        new_log(folder, key).append(entry(0))  # without room in reserve
    else:
        with pytest.raises(AuditError, match="cannot be written"):
            new_log(folder, key)
    assert elsewhere.read_text() == "precious"


@pytest.mark.parametrize("digits", ["\u0660" * 12, "\uff10" * 12, "00000000000\u0661"])
def test_a_file_whose_name_is_written_in_other_digits_is_no_file_of_the_record(folder, key, digits):
    fill(log := new_log(folder, key), 2)
    (folder / f"record-{digits}.jsonl").write_bytes(b"anything\n")
    log.close()
    new_log(folder, key).append(entry(2))
    (folder / f"record-{digits}.jsonl").unlink()
    assert_holds(folder, key)


@pytest.mark.parametrize("empty", [b"\0", b"\t"])
@pytest.mark.parametrize("place", [0, 100, 500])
def test_blocks_that_a_crash_of_the_machine_left_empty_are_recognised(folder, key, empty, place):
    fill(new_log(folder, key), 3)
    path = only_file(folder)
    whole = data_of(path)
    last = whole[:-1].rfind(b"\n", 0, whole[:-1].rfind(b"\n")) + 1
    for left in (
        whole[: last + place] + empty * 300 + whole[last + place + 300 :],
        whole[: last + place] + empty * 900,
    ):
        path.write_bytes(left + b"\t" * 500)
        log = new_log(folder, key)
        log.append(entry(7))
        nothing_there = left.rstrip(b"\t") == whole[:last]
        assert events_of(folder)[-2:] == ["applied" if nothing_there else "recovered", "applied"]
        assert_holds(folder, key)
        log.close()


@pytest.mark.parametrize("empty", [b"\0", b"\t"])
def test_zeros_or_room_anywhere_else_are_no_crash_and_nothing_is_thrown_away(folder, key, empty):
    fill(new_log(folder, key), 5)
    path = only_file(folder)
    data = data_of(path)
    for place in (30, data.index(b"\n") + 50, len(data) // 2):
        path.write_bytes(data[:place] + empty + data[place + 1 :])
        with pytest.raises(AuditError, match=r"does not hold|no line of a record"):
            new_log(folder, key)
        assert len(data_of(path)) == len(data)


def test_whoever_is_killed_while_writing_leaves_a_record_that_goes_on(folder, key):
    chance = random.Random(3)
    for _ in range(4):
        ready, told = os.pipe()

        def write(told=told):
            log = new_log(folder, key, segment_bytes=20_000)
            os.write(told, b"x")
            while True:
                log.append(entry(0))

        pid = in_child(write)
        os.read(ready, 1)
        time.sleep(chance.uniform(0.0, 0.03))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ready)
        os.close(told)
        log = new_log(folder, key)
        log.append(entry(1))
        log.close()
    assert_holds(folder, key)


# Room that is set aside


def test_a_file_in_use_ends_in_room_that_readers_pass_over(folder, key):
    log = new_log(folder, key)
    for number in range(3):
        log.append(entry(number))
    path = only_file(folder)
    data = data_of(path)
    assert path.read_bytes() == data + b"\t" * (path.stat().st_size - len(data))
    assert files.ROOM - 3_000 < path.stat().st_size - len(data) <= files.ROOM
    assert assert_holds(folder, key).entries == 4
    assert [json.loads(line) for line in path.read_text().split("\n")[:-1]] == list(map(parse, data.splitlines()))
    (segment,) = files.segments(folder)
    assert segment.read() == data
    for most in (1_000, len(data), 1 << 20):
        assert data.endswith(segment.read_end(most))
        assert len(segment.read_end(most)) >= min(len(data), most) - 1_000
    assert len(list(telling.entries(folder))) == 4


def test_room_is_set_aside_once_for_many_entries(folder, key, monkeypatch):
    log = new_log(folder, key)
    told = []
    monkeypatch.setattr(files, "set_aside", lambda *given, aside=files.set_aside: told.append(given) or aside(*given))
    monkeypatch.setattr(files, "write_through", not_through)
    sizes = set()
    for number in range(100):
        log.append(entry(number))
        sizes.add(only_file(folder).stat().st_size)
    written = len(data_of(only_file(folder)))
    assert len(told) == len(sizes) == 1 + written // files.ROOM == 2
    assert_holds(folder, key)


def test_a_file_that_is_closed_or_finished_has_no_room_left(folder, key):
    log = new_log(folder, key, segment_bytes=9_000)
    while len(list(folder.glob("record-*"))) < 4:
        fill(log, 1)
    *finished, newest = sorted(folder.glob("record-*"))
    assert [path.read_bytes() == data_of(path) for path in finished] == [True] * len(finished)
    assert newest.read_bytes() != data_of(newest)
    log.close()
    assert newest.read_bytes() == data_of(newest)
    log = new_log(folder, key)
    log.append(entry(0))
    assert newest.read_bytes() != data_of(newest)
    new_log(folder, key, segment_bytes=1).append(entry(1))  # which has enough of that file
    assert newest.read_bytes() == data_of(newest)
    assert_holds(folder, key)


def test_room_that_another_process_gives_back_is_set_aside_anew(folder, key):
    log, other = new_log(folder, key), new_log(folder, key)
    log.append(entry(0))
    other.append(entry(1))
    other.close()
    path = only_file(folder)
    assert path.read_bytes() == data_of(path)
    log.append(entry(2))
    log.append(entry(3))
    other = new_log(folder, key)
    other.append(entry(4))
    log.append(entry(5))
    assert "recovered" not in events_of(folder)
    assert [each["details"].get("number") for each in entries_of(folder)[1:]] == list(range(6))
    assert_holds(folder, key)


def test_who_closes_while_another_writes_leaves_the_room_to_it(folder, key):
    log, other = new_log(folder, key), new_log(folder, key)
    log.append(entry(0))
    size = only_file(folder).stat().st_size
    other._alone(log.close)
    assert only_file(folder).stat().st_size == size
    assert ends_well(in_child(lambda: other.after_fork() or other._drop_tail()))
    assert only_file(folder).stat().st_size == size
    log = new_log(folder, key)
    other.append(entry(1))
    log.close()  # which has not seen that one
    other.append(entry(2))
    assert len(entries_of(folder)) == 4
    assert_holds(folder, key)


def test_whoever_is_killed_leaves_room_that_the_next_one_uses(folder, key):
    def write():
        log = new_log(folder, key)
        log.append(entry(0))
        os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(in_child(write), 0)
    size = only_file(folder).stat().st_size
    log = new_log(folder, key)
    log.append(entry(1))
    assert only_file(folder).stat().st_size == size
    assert events_of(folder) == ["opened", "applied", "applied"]
    assert_holds(folder, key)


def test_an_end_that_is_another_one_is_not_gone_on_from(folder, key):
    log = new_log(folder, key)
    fill(log, 3)
    path = only_file(folder)
    whole, data = path.read_bytes(), data_of(path)
    for changed in (data[:-20] + b"x" + whole[len(data) - 19 :], data[:-500] + whole[len(data) :] + b"\t" * 500):
        path.write_bytes(changed)
        with pytest.raises(AuditError, match="does not hold"):
            log.append(entry(3))
        path.write_bytes(whole)
        log.append(entry(4))
        whole, data = path.read_bytes(), data_of(path)


# Names that are not asked for one by one while none in the folder has changed


def in_use_for_a_while(folder, key):
    """A record whose writer relies on the folder being as it was."""
    log = new_log(folder, key)
    log.append(entry(0))
    time.sleep(0.06)
    log.append(entry(1))
    assert log._names is not None
    log.append(entry(2))
    assert log._same_names
    return log


def test_the_names_are_not_asked_for_while_none_in_the_folder_changes(folder, key, monkeypatch):
    log = in_use_for_a_while(folder, key)
    asked = []
    monkeypatch.setattr(files.os, "lstat", lambda path, lstat=os.lstat: asked.append(path) or lstat(path))
    log.append(entry(3))
    assert asked == []
    (folder / "another").touch()
    log.append(entry(4))
    assert sorted(asked) == [str(folder / "lock"), str(only_file(folder))]


def test_the_file_that_is_written_is_never_asked_for_its_times(folder, key, monkeypatch):
    log = in_use_for_a_while(folder, key)
    asked = []
    monkeypatch.setattr(files.os, "fstat", lambda number, fstat=os.fstat: asked.append(number) or fstat(number))
    log.append(entry(3))
    assert asked == [log._lock[0]]


def test_an_older_file_that_is_put_in_place_of_the_newest_is_found(folder, key):
    fill(log := new_log(folder, key), 2)
    log.close()
    older = data_of(only_file(folder))
    log = in_use_for_a_while(folder, key)
    (folder / "older").write_bytes(older)
    (folder / "older").rename(only_file(folder))
    with pytest.raises(AuditError, match="does not hold"):
        log.append(entry(3))
    assert data_of(only_file(folder)) == older


def test_a_folder_that_takes_the_place_of_the_record_is_found(folder, key):
    fill(log := new_log(folder, key), 2)
    log.close()
    shutil.copytree(folder, folder.parent / "older")
    log = in_use_for_a_while(folder, key)
    folder.rename(folder.parent / "away")
    (folder.parent / "older").rename(folder)
    with pytest.raises(AuditError, match="does not hold"):
        log.append(entry(3))


@pytest.mark.parametrize("what", ["record-000000000000.jsonl", "lock"])
def test_a_file_that_is_taken_away_after_a_while_is_missed_with_the_next_entry(folder, key, what):
    log = in_use_for_a_while(folder, key)
    (folder / what).rename(folder.parent / what)
    if what == "lock":
        held = os.open(folder.parent / what, os.O_RDWR)
        fcntl.flock(held, fcntl.LOCK_EX)
        log._patience = 0.05
        log.append(entry(3))
        os.close(held)
        assert (folder / "lock").exists()
        assert_holds(folder, key)
    else:
        with pytest.raises(AuditError, match="does not hold"):
            log.append(entry(3))


def test_a_change_in_the_clocks_last_tick_is_waited_for(monkeypatch):
    now = 1_790_000_000_123_456_789
    monkeypatch.setattr(files.time, "time_ns", lambda: now)
    assert files.will_differ((1, 2, now - 60_000_000))
    assert not files.will_differ((1, 2, now - 10_000_000))
    assert not files.will_differ((1, 2, now + 5_000_000_000))  # another machine's clock, or one that was set back
    assert not files.will_differ((1, 2, now // 10**9 * 10**9 - 2 * 10**9))  # a filesystem that counts seconds
    assert files.will_differ((1, 2, now // 10**9 * 10**9 - 4 * 10**9))
    assert not files.will_differ(None)


# A disk that is full or broken


@contextmanager
def no_file_larger_than(size):
    was = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, was[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, was)


def test_what_cannot_be_written_raises_and_leaves_the_record_as_it_was(folder, key):
    log = new_log(folder, key)
    fill(log, 2)
    data = data_of(only_file(folder))
    with no_file_larger_than(len(data) + 300), pytest.raises(AuditError, match="cannot be written") as caught:
        log.append(entry(2))
    assert "record_to(None)" in caught.value.action
    assert data_of(only_file(folder)) == data
    log.append(entry(2))
    assert "recovered" not in events_of(folder)
    assert_holds(folder, key)


@pytest.mark.parametrize("failing", ["pwrite", "fdatasync"])
def test_a_disk_that_fails_once_leaves_nothing_behind(folder, key, monkeypatch, failing):
    log = new_log(folder, key)
    log.append(entry(1))  # with room for the next one
    real = getattr(os, failing)
    failures = [OSError(errno.EIO, "Input/output error")]

    def fails(*arguments):
        if failures:
            if failing == "pwrite":
                real(arguments[0], arguments[1][:50], arguments[2])
            raise failures.pop()
        return real(*arguments)

    monkeypatch.setattr(files.os, failing, fails)
    with pytest.raises(AuditError, match="Input/output error"):
        log.append(entry(0))
    log.append(entry(2))
    assert [each["details"] for each in entries_of(folder)[1:]] == [{"number": 1}, {"number": 2}]
    assert_holds(folder, key)


class SmallDisk:
    """What the record asks of a disk that has so much room for it."""

    def __init__(self, folder, room, monkeypatch):
        self.folder, self.room = folder, room
        self.pwrite = os.pwrite
        monkeypatch.setattr(files.os, "pwrite", self.write)
        monkeypatch.setattr(files.os, "posix_fallocate", self.allocate)

    def left(self):
        return self.room - sum(path.stat().st_size for path in self.folder.iterdir())

    def write(self, descriptor, data, offset):
        fitting = os.fstat(descriptor).st_size + self.left() - offset
        if data and fitting <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.pwrite(descriptor, data[: max(fitting, 0)], offset)

    def allocate(self, descriptor, offset, size):
        if offset + size - os.fstat(descriptor).st_size > self.left():
            raise OSError(errno.ENOSPC, "No space left on device")
        os.truncate(descriptor, offset + size)


def fill_up(log):
    for number in range(100):
        log.append(entry(number))


@pytest.mark.parametrize("segment_bytes", [1 << 30, 5_000])
def test_the_way_back_has_room_in_reserve_on_a_full_disk(folder, key, monkeypatch, segment_bytes):
    disk = SmallDisk(folder, files.RESERVE + 20_000, monkeypatch)
    log = new_log(folder, key, segment_bytes=segment_bytes)
    assert (folder / "reserve").stat().st_size == files.RESERVE
    with pytest.raises(AuditError, match="No space left"):
        fill_up(log)
    written = len(entries_of(folder))
    for number in range(20):
        log.append(entry(number), way_back=True)
        with pytest.raises(AuditError, match="No space left"):  # what is left is for the way back
            log.append(entry(number))
    assert len([each for each in entries_of(folder)[written:] if each["event"] == "applied"]) == 20
    assert disk.left() > files.RESERVE // 2
    disk.room += files.RESERVE
    log.append(entry(1))
    assert (folder / "reserve").stat().st_size == files.RESERVE
    assert_holds(folder, key)


def test_where_no_room_can_be_set_aside_it_is_tried_once(folder, key, monkeypatch):
    tried = []

    def unsupported(*arguments):
        tried.append(arguments)
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(files.os, "posix_fallocate", unsupported)
    log = new_log(folder, key)
    fill(log, 3)
    assert len(tried) == 1
    assert not (folder / "reserve").exists()
    assert_holds(folder, key)


def test_room_is_really_set_aside(folder, key):
    new_log(folder, key)
    assert (folder / "reserve").stat().st_blocks * 512 >= files.RESERVE


@pytest.mark.parametrize("what", ["shortened", "deleted", "another line"])
def test_a_record_that_others_change_while_it_is_in_use_is_written_no_further(folder, key, what):
    log = new_log(folder, key)
    fill(log, 3)
    path = only_file(folder)
    data = data_of(path)
    if what == "deleted":
        path.unlink()
    else:
        path.write_bytes(data[:-5] if what == "shortened" else data + data.splitlines(keepends=True)[4])
    with pytest.raises(AuditError, match="does not hold"):
        log.append(entry(9))


def test_a_record_is_written_with_the_key_and_name_with_which_it_was_begun(folder, key):
    new_log(folder, key).close()
    with pytest.raises(AuditError, match="another one's") as caught:
        new_log(folder)
    assert "another folder" in caught.value.action
    with pytest.raises(AuditError, match="another one's"):
        Log(folder, key, "elsewhere.example.com")


def test_a_record_that_does_not_hold_is_not_gone_on_with(folder, key):
    log = new_log(folder, key)
    fill(log, 6)
    log.close()
    path = only_file(folder)
    whole = data_of(path)
    for changed in (whole.replace(b"alice", b"mallo", 1), whole.replace(b"alice", b"mallo"), whole[:200] + whole[201:]):
        path.write_bytes(changed)
        with pytest.raises(AuditError):
            new_log(folder, key)
        assert data_of(path) == changed


@pytest.mark.parametrize("details", [{"n": float("nan")}, {"n": object()}, {"n": "x" * 70_000}, {"n": {1, 2}}])
def test_what_is_no_plain_value_is_refused_and_the_record_is_as_it_was(folder, key, details):
    log = new_log(folder, key)
    with pytest.raises(AuditError):
        log.append(entry(0, details=details))
    log.append(entry(1))
    assert len(entries_of(folder)) == 2


def test_a_folder_that_cannot_be_made_is_told(tmp_path, key):
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditError, match="cannot be written"):
        new_log(tmp_path / "file" / "record", key)
