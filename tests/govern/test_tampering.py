"""Whatever is done to a record is found, and found where it was done; a record that was let alone is never accused."""

from __future__ import annotations

import random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.govern.records import data_of, entry, fill, lines_of, new_log, only_file
from tests.govern.tampering import every

from livepatch.govern import audit
from livepatch.govern.entries import EVENTS, encode, is_checkpoint, parse

PARTS = 20  # of the ten thousand, so that several processes share them


class Target:
    """A record of so many entries, with the checkpoint that was kept of it, and what may be done to it."""

    def __init__(self, folder, entries):
        key = Ed25519PrivateKey.generate()
        log, another = new_log(folder / "record", key, segment_bytes=1 << 40), new_log(folder / "another", key)
        fill(log, entries)
        fill(another, min(entries, 300))
        self.folder, self.verifier, self.kept = log.folder, log.verifier, str(log.checkpoint())
        self.lines = lines_of(log.folder)
        self.path = only_file(log.folder)
        self.untouched = data_of(self.path)
        self.tamperings = every(lines_of(another.folder))
        assert self.verified().flaws == ()

    def verified(self):
        return audit.verify(self.folder, key=self.verifier, checkpoints=[self.kept])

    def tamper(self, times, seed):
        """Tamper so many times with it, and tell which of them were not found."""
        chance = random.Random(seed)
        wrong = []
        for number in range(times):
            tampering = self.tamperings[number % len(self.tamperings)]
            done = tampering(chance, self.lines)
            data = b"".join(line + b"\n" for line in done.lines) + done.rest
            if data == self.untouched:
                continue
            self.path.write_bytes(data)
            found = self.verified()
            errors = [flaw for flaw in found.flaws if flaw.severity == "error"]
            if found.ok or not errors:
                wrong.append((tampering.__name__, "not found", done.first))
                continue
            first = errors[0]
            near = done.first - 1 <= first.first and first.last <= max(done.last, first.first + 2)
            if not near or (first.what != "truncated" and first.last - first.first > 2 + done.last - done.first):
                wrong.append((tampering.__name__, done.first, done.last, str(first)))
        return wrong


def test_every_tampering_is_found_where_it_was_done(tmp_path):
    assert Target(tmp_path, entries=120).tamper(times=13 * 12, seed=7) == []


@pytest.fixture(scope="module")
def long_record(tmp_path_factory):
    return Target(tmp_path_factory.mktemp("long"), entries=10_000)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_ten_thousand_tamperings_of_ten_thousand_entries(long_record, part):
    assert long_record.tamper(times=10_000 // PARTS, seed=100 + part) == []


@pytest.mark.slow
def test_an_untouched_record_is_never_accused(tmp_path):
    key = Ed25519PrivateKey.generate()
    chance = random.Random(13)
    for number in range(300):
        folder = tmp_path / str(number)
        log = new_log(folder, key, segment_bytes=chance.choice((1, 3000, 20_000, 1 << 30)))
        kept = []
        for _ in range(chance.randrange(1, 6)):
            fill(log, chance.randrange(1, 20))
            kept.append(str(log.checkpoint()))
            if chance.random() < 0.3:
                log.close()
                log = new_log(folder, key, segment_bytes=chance.choice((1, 3000, 20_000, 1 << 30)))
        found = audit.verify(folder, key=log.verifier, checkpoints=kept, deep=chance.random() < 0.2)
        assert found.flaws == (), found
        log.close()


def of_every_kind(folder, key):
    """A record in several files, with every kind of entry there is."""
    log = new_log(folder, key, segment_bytes=6_000)
    for number, event in enumerate([*sorted(EVENTS - {"opened", "recovered", "rotated"}), "checked"]):
        log.append(entry(number, event=event))
    log.close()
    newest = max(folder.glob("record-*"))
    newest.write_bytes(data_of(newest)[:-5])
    log = new_log(folder, key, segment_bytes=6_000)
    fill(log, 3)
    return log


def test_an_entry_of_any_kind_is_edited_deleted_moved_and_set_back_and_found(tmp_path):
    log = of_every_kind(tmp_path / "record", Ed25519PrivateKey.generate())
    kept, chance = [str(log.checkpoint())], random.Random(29)
    assert audit.verify(log.folder, key=log.verifier, checkpoints=kept, deep=True).flaws == ()
    seen = set()
    files = sorted(log.folder.glob("record-*"))
    assert len(files) > 2
    for path in files:
        untouched, start = data_of(path), int(path.stem[7:])
        lines = untouched.splitlines()
        for number, line in enumerate(lines):
            if is_checkpoint(line):
                continue
            held = parse(line)
            after, earlier = held.pop("after").encode(), {**held, "at": "2020" + held["at"][4:]}
            for changed in (
                [encode(after, {**held, "who": "mallory"})],
                [encode(after, earlier)],
                [encode(after, {**held, "details": {}, "more": 1})],
                [],
                [line, line],
                [line[:-1], b"}"],
                [chance.choice(lines), line],
            ):
                made = [*lines[:number], *changed, *lines[number + 1 :]]
                path.write_bytes(b"".join(each + b"\n" for each in made))
                found = audit.verify(log.folder, key=log.verifier, checkpoints=kept)
                assert not found.ok, (held["event"], changed)
                first = next(flaw for flaw in found.flaws if flaw.severity == "error")
                assert start + number - 1 <= first.first <= start + number + 2, (held["event"], str(first))
            seen.add(held["event"])
        path.write_bytes(untouched)
    assert seen == EVENTS
