"""Lines are added, whole and in order, whoever writes, and whatever happens to whoever writes."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import resource
import signal
import threading
import time
from contextlib import contextmanager

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.govern.records import ORIGIN, entry, fill, lines_of, new_log, only_file
from tests.signing import write_root

from livepatch.bundle.trustroot import TrustRoot
from livepatch.errors import AuditError, TrustError
from livepatch.govern import audit, files
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
    monkeypatch.setattr(files.os, "write", lambda fd, data, write=os.write: told.append("write") or write(fd, data))
    monkeypatch.setattr(files.os, "fdatasync", lambda fd, sync=os.fdatasync: told.append("sync") or sync(fd))
    log.append(entry(0))
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
    whole = path.read_bytes()
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
    last = path.read_bytes().splitlines()[-1]
    return encode(leaf_hash(last).hex().encode(), {name: value for name, value in held.items() if name != "after"})


def test_a_line_that_somebody_adds_is_never_signed_as_if_it_had_been_written(folder, key):
    log = new_log(folder, key)
    fill(log, 2)
    path = only_file(folder)
    forged = chained_on(path, {**entries_of(folder)[-1], "index": 6, "who": "mallory"})
    with path.open("ab") as file:
        file.write(forged + b"\n")
    assert [flaw.what for flaw in audit.verify(folder).flaws] == ["unsigned-end"]
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
    whole = path.read_bytes()
    last = entries_of(folder)[-1]
    for indexes in ((6, 7), (5,), (7,), (-1,)):
        path.write_bytes(whole)
        for index in indexes:
            line = chained_on(path, {**last, "index": index})
            with path.open("ab") as file:
                file.write(line + b"\n")
        before = path.read_bytes()
        assert not audit.verify(folder).ok
        with pytest.raises(AuditError, match=r"does not hold|no line of a record"):
            new_log(folder, key)
        assert path.read_bytes() == before


def test_a_first_line_that_a_crash_left_without_its_checkpoint_is_gone_on_from(folder, key):
    new_log(folder, key).close()
    path = only_file(folder)
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
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
    steps = ["try_lock", "lies_at", "size_at", "keep_reserve", "write_through", "unlock"]
    for name in steps:
        step = getattr(files, name)
        with monkeypatch.context() as patched:

            def interrupted(*arguments, step=step):
                step(*arguments)
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


def test_blocks_that_a_crash_of_the_machine_left_empty_are_recognised(folder, key):
    fill(new_log(folder, key), 3)
    path = only_file(folder)
    whole = path.read_bytes()
    last = whole[:-1].rfind(b"\n", 0, whole[:-1].rfind(b"\n")) + 1
    path.write_bytes(whole[: last + 100] + b"\0" * 500 + whole[last + 600 :])
    new_log(folder, key).append(entry(7))
    assert events_of(folder)[-2:] == ["recovered", "applied"]
    assert_holds(folder, key)


def test_zeros_anywhere_else_are_no_crash_and_nothing_is_thrown_away(folder, key):
    fill(new_log(folder, key), 5)
    path = only_file(folder)
    data = path.read_bytes()
    for place in (30, data.index(b"\n") + 50, len(data) // 2):
        path.write_bytes(data[:place] + b"\0" + data[place + 1 :])
        with pytest.raises(AuditError, match=r"does not hold|no line of a record"):
            new_log(folder, key)
        assert len(path.read_bytes()) == len(data)


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
    data = only_file(folder).read_bytes()
    with no_file_larger_than(len(data) + 300), pytest.raises(AuditError, match="cannot be written") as caught:
        log.append(entry(2))
    assert "record_to(None)" in caught.value.action
    assert only_file(folder).read_bytes() == data
    log.append(entry(2))
    assert "recovered" not in events_of(folder)
    assert_holds(folder, key)


@pytest.mark.parametrize("failing", ["write", "fdatasync"])
def test_a_disk_that_fails_once_leaves_nothing_behind(folder, key, monkeypatch, failing):
    log = new_log(folder, key)
    real = getattr(os, failing)
    failures = [OSError(errno.EIO, "Input/output error")]

    def fails(*arguments):
        if failures:
            if failing == "write":
                real(arguments[0], bytes(arguments[1])[:50])
            raise failures.pop()
        return real(*arguments)

    monkeypatch.setattr(files.os, failing, fails)
    with pytest.raises(AuditError, match="Input/output error"):
        log.append(entry(0))
    log.append(entry(1))
    assert [each["details"] for each in entries_of(folder)[1:]] == [{"number": 1}]
    assert_holds(folder, key)


class SmallDisk:
    """What the record asks of a disk, with so much room."""

    def __init__(self, room, monkeypatch):
        self.room = room
        self.through, self.give = files.write_through, files.give_reserve
        monkeypatch.setattr(files, "write_through", self.write)
        monkeypatch.setattr(files, "give_reserve", self.free)
        monkeypatch.setattr(files.os, "posix_fallocate", self.allocate)

    def take(self, size):
        if size > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= size

    def write(self, descriptor, data):
        try:
            self.take(len(data))
        except OSError:
            os.write(descriptor, data[:10])
            raise
        self.through(descriptor, data)

    def allocate(self, descriptor, offset, size):
        self.take(size)
        os.truncate(descriptor, offset + size)

    def free(self, folder):
        there = (folder / "reserve").exists() and (folder / "reserve").stat().st_size
        given = self.give(folder)
        self.room += there or 0
        return given


def fill_up(log):
    for number in range(100):
        log.append(entry(number))


@pytest.mark.parametrize("segment_bytes", [1 << 30, 5_000])
def test_the_way_back_has_room_in_reserve_on_a_full_disk(folder, key, monkeypatch, segment_bytes):
    disk = SmallDisk(files.RESERVE + 20_000, monkeypatch)
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
    assert disk.room > files.RESERVE // 2
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
    data = path.read_bytes()
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
    whole = path.read_bytes()
    for changed in (whole.replace(b"alice", b"mallo", 1), whole.replace(b"alice", b"mallo"), whole[:200] + whole[201:]):
        path.write_bytes(changed)
        with pytest.raises(AuditError):
            new_log(folder, key)
        assert path.read_bytes() == changed


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
