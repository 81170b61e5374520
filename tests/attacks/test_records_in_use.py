"""Whoever can write to the folder of a record, while a process writes to it: what it has seen, it never signs away."""

from __future__ import annotations

import os
import shutil

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.govern.records import entry, fill, lines_of, new_log, only_file

from livepatch.errors import AuditError
from livepatch.govern import audit, files

HUGE = 1 << 40


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "record"


@pytest.fixture
def key():
    return Ed25519PrivateKey.generate()


def cut_short(path, lines):
    path.write_bytes(b"".join(line + b"\n" for line in lines[:6]))


def cut_short_behind_a_half_line(path, lines):
    path.write_bytes(b"".join(line + b"\n" for line in lines[:6]) + lines[6][:-9])


def put_back_an_older_copy(path, lines):
    cut_short(path.with_name("copy"), lines)
    path.with_name("copy").rename(path)


def take_away(path, lines):
    path.unlink()


def take_elsewhere(path, lines):
    path.rename(path.with_name("elsewhere"))


def take_away_the_folder(path, lines):
    shutil.rmtree(path.parent)


THEFTS = [
    cut_short,
    cut_short_behind_a_half_line,
    put_back_an_older_copy,
    take_away,
    take_elsewhere,
    take_away_the_folder,
]


@pytest.mark.parametrize("theft", THEFTS)
def test_lines_that_a_process_has_seen_are_never_gone_on_without(folder, key, theft):
    log = new_log(folder, key)
    fill(log, 5)
    path, lines = only_file(folder), lines_of(folder)
    theft(path, lines)
    left = path.read_bytes() if path.exists() else b""
    for _ in range(3):  # not by trying again either
        with pytest.raises(AuditError, match="does not hold"):
            log.append(entry(9))
        with pytest.raises(AuditError, match="does not hold"):
            log.checkpoint()
    assert (path.read_bytes() if path.exists() else b"") == left
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    log.append(entry(10))  # what was put back is gone on from
    assert audit.verify(folder, key=log.verifier, deep=True).flaws == ()


def test_a_record_with_the_same_key_does_not_pass_for_the_one_that_was_seen(folder, key, tmp_path):
    log, other = new_log(folder, key), new_log(tmp_path / "other", key)
    fill(log, 3)
    fill(other, 9)
    only_file(tmp_path / "other").rename(only_file(folder))
    with pytest.raises(AuditError, match="another history"):
        log.append(entry(9))


def test_a_file_that_others_have_ended_may_go_to_the_archive(folder, key, tmp_path):
    log, other = new_log(folder, key, segment_bytes=4_000), new_log(folder, key, segment_bytes=4_000)
    fill(log, 2)
    fill(other, 20)
    for path in sorted(folder.glob("record-*"))[:-1]:
        path.rename(tmp_path / path.name)
    assert log.append(entry(1)).index == other.append(entry(2)).index - 2
    assert audit.verify(folder, key=log.verifier, archived=True, deep=True).flaws == ()


def test_a_file_of_holes_takes_no_memory(folder, key):
    log = new_log(folder, key)
    fill(log, 2)
    path = only_file(folder)
    size = path.stat().st_size
    os.truncate(path, HUGE)
    with pytest.raises(AuditError, match=f"{HUGE} bytes"):
        log.append(entry(9))
    with pytest.raises(AuditError, match=f"{HUGE} bytes"):
        audit.verify(folder, key=log.verifier)
    with pytest.raises(AuditError, match=f"{HUGE} bytes"):
        new_log(folder, key)
    os.truncate(path, size)
    log.append(entry(3))
    assert audit.verify(folder, key=log.verifier).flaws == ()


def test_files_are_ended_long_before_they_are_too_large_to_be_read(folder, key, monkeypatch):
    monkeypatch.setattr(files, "LARGEST", 20_000)
    log = new_log(folder, key, segment_bytes=HUGE)
    fill(log, 30)
    assert len(list(folder.glob("record-*"))) > 2
    assert audit.verify(folder, key=log.verifier).flaws == ()


def lowest_free_descriptor():
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    return descriptor


def test_a_record_that_is_refused_again_and_again_costs_no_file(folder, key):
    fill(new_log(folder, key), 3)
    path = only_file(folder)
    path.write_bytes(path.read_bytes().replace(b"alice", b"mally", 1))
    before = lowest_free_descriptor()
    for _ in range(20):
        with pytest.raises(AuditError, match="does not hold"):
            new_log(folder, key)
    assert lowest_free_descriptor() == before
