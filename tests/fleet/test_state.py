"""The shared state: what every engine has to keep, and the one-file store that is the default."""

from __future__ import annotations

import hashlib
import itertools
import stat
import subprocess
import sys
import threading
import time

import pytest

from livepatch.errors import StateError, spelled
from livepatch.fleet.nats import NatsStore
from livepatch.fleet.onefile import OneFile
from livepatch.fleet.state import ABSENT, LARGEST, LARGEST_FILE, Lease, check_key, key_of, names_in
from livepatch.testing import MemoryStore

NUMBERS = itertools.count()


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def wait(self, seconds):
        self.now += seconds


class OnDisk:
    """What the suite needs of an engine: stores on the same data, and time that goes by."""

    def __init__(self, tmp_path):
        self.path, self.clock, self.opened = tmp_path / "state.db", Clock(), []

    def store(self):
        self.opened.append(OneFile(self.path, clock=self.clock))
        return self.opened[-1]

    def wait(self, seconds):
        self.clock.wait(seconds)

    def close(self):
        for store in self.opened:
            store.close()


class OnServer:
    """The same on a NATS server: a bucket of its own for each test."""

    def __init__(self, server):
        self.server, self.clock, self.opened = server, Clock(), []
        self.bucket = f"test-{next(NUMBERS)}"

    def store(self, **options):
        self.opened.append(NatsStore(self.server.url, bucket=self.bucket, clock=self.clock, **options))
        return self.opened[-1]

    wait, close = OnDisk.wait, OnDisk.close


class InMemory:
    """The same in the memory of a test: all stores are one."""

    def __init__(self):
        self.clock = Clock()
        self.one = MemoryStore(self.clock)

    def store(self):
        return self.one

    wait = OnDisk.wait

    def close(self):
        self.one.close()


@pytest.fixture(params=["one file", "memory", "nats"])
def engine(request, tmp_path):
    if request.param == "nats":
        made = OnServer(request.getfixturevalue("nats_server"))
    elif request.param == "memory":
        made = InMemory()
    else:
        made = OnDisk(tmp_path)
    yield made
    made.close()


def test_what_is_written_is_there_for_everybody(engine):
    one, other = engine.store(), engine.store()
    assert one.get("a") is None
    revision = one.put("a", b"1", expected=None)
    found = other.get("a")
    assert (found.key, found.value, found.revision) == ("a", b"1", revision)
    assert revision > ABSENT


def test_everything_is_compared_before_it_is_written(engine):
    one, other = engine.store(), engine.store()
    first = one.put("a", b"1", expected=ABSENT)
    assert other.put("a", b"2", expected=ABSENT) is None
    assert one.get("a").value == b"1"
    second = other.put("a", b"2", expected=first)
    assert second > first
    assert one.put("a", b"3", expected=first) is None
    assert one.delete("a", expected=first) is False
    assert one.get("a").value == b"2"
    assert one.delete("a", expected=second) is True
    assert one.delete("a", expected=None) is False
    assert other.get("a") is None
    assert other.put("a", b"4", expected=second) is None
    assert other.put("a", b"4", expected=ABSENT) > second


def test_of_those_who_write_at_once_one_succeeds(engine):
    stores = [engine.store() for _ in range(4)]
    won, begin = [], threading.Barrier(4)

    def write(store, name):
        begin.wait()
        for number in range(10):
            won.extend([(number, name)] if store.put(f"key-{number}", name, expected=ABSENT) else [])

    threads = [threading.Thread(target=write, args=(s, bytes([n]))) for n, s in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(number for number, _ in won) == list(range(10))
    assert all(stores[0].get(f"key-{number}").value == name for number, name in won)


def test_entries_by_what_they_begin_with(engine):
    store = engine.store()
    for key in ("b/2", "b/1", "bb", "a", "b"):
        store.put(key, key.encode(), expected=None)
    store.delete("b", expected=None)
    assert [entry.key for entry in store.entries("b/")] == ["b/1", "b/2"]
    assert [entry.key for entry in store.entries("")] == ["a", "b/1", "b/2", "bb"]
    assert [entry.value for entry in store.entries("bb")] == [b"bb"]


def test_changes_are_told_once_in_their_order_and_with_what_is_gone(engine):
    store = engine.store()
    assert list(store.changes("n/", 0)) == []
    for key in ("n/1", "n/2", "m/1", "n/1"):
        store.put(key, key.encode(), expected=None)
    first = store.changes("n/", 0)
    assert [entry.key for entry in first] == ["n/2", "n/1"]
    seen = first[-1].revision
    assert list(store.changes("n/", seen)) == []
    store.delete("n/2", expected=None)
    (gone,) = store.changes("n/", seen)
    assert (gone.key, gone.value) == ("n/2", None)
    assert gone.revision > seen


def test_who_waits_for_a_change_is_told_of_it(engine):
    store, other = engine.store(), engine.store()
    found = []
    waiting = threading.Thread(target=lambda: found.extend(other.changes("", 0, timeout=60)))
    waiting.start()
    store.put("a", b"1", expected=None)
    waiting.join(60)
    assert [entry.key for entry in found] == ["a"]
    begun = time.monotonic()
    assert list(store.changes("", found[0].revision, timeout=0.05)) == []
    assert time.monotonic() - begun >= 0.05


def test_a_key_that_nobody_renews_is_gone_and_that_is_a_change(engine):
    store = engine.store()
    first = store.put("node", b"1", expected=None, ttl=2)
    engine.wait(1)
    second = store.put("node", b"2", expected=first, ttl=2)
    engine.wait(1.5)
    assert store.get("node").value == b"2"
    engine.wait(1)
    assert store.get("node") is None
    assert list(store.entries("")) == []
    (gone,) = store.changes("", second)
    assert (gone.key, gone.value) == ("node", None)
    assert store.put("node", b"3", expected=second) is None
    assert store.put("node", b"3", expected=ABSENT) is not None
    engine.wait(10)
    assert store.get("node").value == b"3"  # without a ttl it stays


def test_a_lease_is_held_by_one_and_lost_without_renewal(engine):
    one, other = (Lease(engine.store(), "lease", name, ttl=2) for name in ("one", "other"))
    assert one.acquire()
    assert not other.acquire()
    engine.wait(1)
    assert one.acquire()
    engine.wait(1.5)
    assert not other.acquire()
    engine.wait(1)
    assert other.acquire()
    assert not one.acquire()  # it had been stopped for too long
    other.release()
    assert one.acquire()
    other.release()  # no longer its own
    assert not other.acquire()


@pytest.mark.parametrize("key", ["", "a b", "a\nb", "a.b", "ä", "a" * 251, "a*", "~", "/a", "a/", "a//b", "/"])
def test_a_key_has_few_kinds_of_characters(engine, key):
    store = engine.store()
    for attempt in (
        lambda: store.get(key),
        lambda: store.put(key, b"", expected=None),
        lambda: store.delete(key, expected=None),
    ):
        with pytest.raises(StateError) as caught:
            attempt()
        assert caught.value.found
        assert caught.value.expected
        assert caught.value.action
    assert list(store.entries("")) == []


def test_a_value_that_cannot_be_kept(engine):
    store = engine.store()
    with pytest.raises(StateError, match="too large"):
        store.put("a", bytes(LARGEST + 1), expected=None)
    with pytest.raises(TypeError, match="bytes"):
        store.put("a", "text", expected=None)
    with pytest.raises(TypeError, match="key"):
        store.get(b"a")
    for ttl in (0, -1, float("nan"), float("inf")):
        with pytest.raises(StateError, match="live"):
            store.put("a", b"", expected=None, ttl=ttl)
    assert store.get("a") is None
    store.put("a", b"", expected=None)
    assert store.get("a").value == b""


def test_files_are_known_by_their_digest(engine):
    one, other = engine.store(), engine.store()
    data = bytes(range(256)) * 2000
    digest = one.keep(data)
    assert digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert one.keep(data) == digest
    assert other.fetch(digest) == data
    assert other.fetch(f"sha256:{'0' * 64}") is None
    assert other.fetch(one.keep(b"")) == b""
    assert list(one.entries("")) == []
    for wrong in ("", digest.upper(), digest[:-1], "../x"):
        with pytest.raises(StateError, match="digest"):
            one.fetch(wrong)
    with pytest.raises(TypeError):
        one.keep("text")
    monstrous = type("Monstrous", (bytes,), {"__len__": lambda self: LARGEST_FILE + 1})
    with pytest.raises(StateError, match="too large"):
        one.keep(monstrous(b"x"))


def test_a_server_that_has_other_bytes_is_not_believed(nats_server):
    engine = OnServer(nats_server)
    store = engine.store()
    digest = store.keep(b"good")

    async def put_another():
        files = await store._files(make=False)
        await files.put(digest, b"evil")

    store._call(put_another())
    with pytest.raises(StateError, match="not the one") as caught:
        store.fetch(digest)
    assert digest in caught.value.found
    store.keep(b"good")
    assert store.fetch(digest) == b"good"
    engine.close()


def test_a_store_for_some_keys_hears_of_these_alone_and_writes_others(nats_server):
    engine = OnServer(nats_server)
    whole = engine.store()
    assert list(engine.store(only="told").entries("told/")) == []
    whole.put("told/a", b"1", expected=None)
    whole.put("toldest", b"1", expected=None)
    some = engine.store(only="told")
    assert some.get("told/a").value == b"1"
    for number in range(20):
        whole.put("heard/a", b"%d" % number, expected=None)
    revision = some.put("told/b", b"2", expected=ABSENT)
    assert some.put("told/b", b"3", expected=revision) > revision
    assert [entry.key for entry in some.entries("told/")] == ["told/a", "told/b"]
    some.put("heard/b", b"4", expected=None, ttl=5)
    assert whole.get("heard/b").value == b"4"
    for attempt in (
        lambda: some.get("heard/b"),
        lambda: some.entries(""),
        lambda: some.changes("heard/", 0),
        lambda: some.put("heard/b", b"5", expected=ABSENT),
        lambda: some.delete("heard/b", expected=None),
    ):
        with pytest.raises(StateError, match="cannot be read here"):
            attempt()
    assert some._mirror.since("heard", 0) == []
    engine.close()


# The one-file store


def test_a_file_with_other_bytes_is_not_believed(tmp_path):
    store = OneFile(tmp_path / "state.db")
    digest = store.keep(b"good")
    for evil in (b"evil", "good", 5, bytes(LARGEST_FILE + 1)):
        store._database.execute("UPDATE files SET data = ?", (evil,))
        with pytest.raises(StateError, match="not the one"):
            store.fetch(digest)
    assert store.keep(b"good") == digest
    assert store.fetch(digest) == b"good"
    store.close()


def test_names_become_keys_and_no_two_the_same():
    assert key_of("nodes", "n-1") == "nodes/n-1"
    names = ["a/b", "a", "a=2fb", "a b", "ä", "\ud800", "a.b", "A"]
    keys = [key_of("nodes", name) for name in names]
    assert len(set(keys)) == len(names)
    assert all(check_key(key) == key for key in keys)
    assert [names_in(key) for key in keys if "=ed" not in key] == [
        ("nodes", name) for name in names if name != "\ud800"
    ]
    assert names_in("a=ff/=zz") == ("a\ufffd", "=zz")
    assert key_of("a", "b") != key_of("a/b")
    with pytest.raises(StateError):
        key_of("a" * 251)


def test_the_file_is_its_user_s_alone(tmp_path):
    store = OneFile(tmp_path / "state.db")
    store.put("a", b"1", expected=None)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    store.close()


def test_a_file_that_cannot_be_used_is_an_error_and_stays_as_it_is(tmp_path):
    wrong = tmp_path / "text"
    wrong.write_text("no database, but a text that is long enough to be taken for the head of one" * 20)
    before = wrong.read_bytes()
    for path in (wrong, tmp_path, tmp_path / "nowhere" / "state.db"):
        with pytest.raises(StateError) as caught:
            OneFile(path)
        assert caught.value.found.startswith(spelled(str(path)))
        assert caught.value.action
    assert wrong.read_bytes() == before
    store = OneFile(tmp_path / "state.db")
    store.close()
    with pytest.raises(StateError):
        store.get("a")


ONE_MORE = """
import sys
from livepatch.fleet.onefile import OneFile
store = OneFile(sys.argv[1])
store.put("b", b"2", expected=0)
store.close()
"""


def test_a_second_store_of_a_process_does_not_let_another_process_clear_the_first_away(tmp_path):
    path = tmp_path / "state.db"
    one = OneFile(path)
    one.put("a", b"1", expected=0)
    other = OneFile(path)
    subprocess.run([sys.executable, "-c", ONE_MORE, path], check=True)  # which ends, and may not be the last one
    assert [entry.key for entry in one.entries("")] == ["a", "b"]
    third = OneFile(path)
    third.put("c", b"3", expected=0)
    assert [entry.key for entry in one.entries("")] == ["a", "b", "c"]
    for store in (one, other, third):
        store.close()


COUNT = """
import sys
from livepatch.fleet.nats import NatsStore
from livepatch.fleet.onefile import OneFile
store = OneFile(sys.argv[1])
for _ in range(25):
    while True:
        entry = store.get("count")
        number, revision = (int(entry.value), entry.revision) if entry else (0, 0)
        if store.put("count", str(number + 1).encode(), expected=revision):
            break
store.close()
"""


def test_processes_that_count_together_lose_nothing(tmp_path):
    path = tmp_path / "state.db"
    running = [subprocess.Popen([sys.executable, "-c", COUNT, path]) for _ in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    store = OneFile(path)
    assert store.get("count").value == b"50"
    assert len(store.changes("", 0)) == 1
    store.close()


def test_what_has_been_gone_for_long_is_forgotten(tmp_path):
    clock = Clock()
    store = OneFile(tmp_path / "state.db", clock=clock)
    store.put("a", b"1", expected=None)
    store.delete("a", expected=None)
    assert len(store.changes("", 0)) == 1
    clock.wait(3601)
    assert list(store.changes("", 0)) == []
    store.close()
