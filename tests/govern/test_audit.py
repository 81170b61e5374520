"""What a verification tells of a record, besides that it was tampered with."""

from __future__ import annotations

import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.govern.records import ORIGIN, data_of, entry, fill, lines_of, new_log, only_file

from livepatch.bundle.keyfiles import make_key
from livepatch.errors import AuditError
from livepatch.govern import audit, merkle, surroundings
from livepatch.govern.entries import Checkpoint
from livepatch.govern.keys import read_key
from livepatch.govern.notes import COSIGNATURE, Note, cosign, sign, verifier_of
from livepatch.govern.telling import consistency


@pytest.fixture
def key():
    return Ed25519PrivateKey.generate()


@pytest.fixture
def log(tmp_path, key):
    return new_log(tmp_path / "record", key)


def told(log, **options):
    return [(flaw.what, flaw.severity) for flaw in audit.verify(log.folder, key=log.verifier, **options).flaws]


def test_a_sound_record(log):
    fill(log, 5)
    found = audit.verify(log.folder, key=str(log.verifier), deep=True)
    assert found
    assert (found.flaws, found.entries, found.size, found.covered, found.trusted) == ((), 6, 12, 12, True)
    assert found.checkpoint.startswith(f"{ORIGIN}\n11\n")
    assert str(found) == f"the record of {ORIGIN} holds: 6 entries, 12 of 12 lines signed"
    assert found.to_dict()["ok"] is True


def test_without_a_key_it_is_held_against_the_one_that_it_names(log, tmp_path):
    fill(log, 1)
    found = audit.verify(log.folder)
    assert found.ok
    assert not found.trusted
    assert "names itself" in str(found)
    another = new_log(tmp_path / "another")
    assert not audit.verify(log.folder, key=another.verifier).ok


def test_intents_without_a_result_are_named(log):
    first = log.append(entry(0)).index
    log.append(entry(1, of=first))
    second = log.append(entry(2)).index
    assert audit.verify(log.folder, deep=True).unfinished == (second,)


def test_a_clock_that_was_set_back_is_found_where_it_was(log, monkeypatch):
    fill(log, 3)
    real = time.time_ns
    monkeypatch.setattr(surroundings.time, "time_ns", lambda: real() - 60_000_000_000)
    written = log.append(entry(3))
    monkeypatch.setattr(surroundings.time, "time_ns", real)
    fill(log, 2)
    assert told(log) == [("clock-set-back", "error")]
    (flaw,) = audit.verify(log.folder).flaws
    assert flaw.first == flaw.last == written.index
    assert "60.0 s" in flaw.found
    assert told(log, clock_steps=True) == [("clock-set-back", "warning")]


def test_a_clock_that_was_set_back_by_less_than_had_gone_by_is_found_by_the_other_clock(log, monkeypatch):
    utc, ticks = time.time_ns(), time.monotonic_ns()
    times = iter([(utc, ticks), (utc + 10**9, ticks + 3600 * 10**9), (utc + 2 * 10**9, ticks + 3601 * 10**9)])
    for _ in range(3):
        now = next(times)
        monkeypatch.setattr(surroundings.time, "time_ns", lambda now=now: now[0])
        monkeypatch.setattr(surroundings.time, "monotonic_ns", lambda now=now: now[1])
        written = log.append(entry(0)).index
    (flaw,) = audit.verify(log.folder).flaws
    assert (flaw.what, flaw.first) == ("clock-set-back", written - 2)


def test_small_steps_back_add_up(log, monkeypatch):
    """Each is less than what a clock may be corrected by; together they hide any time there is."""
    utc, ticks = time.time_ns(), time.monotonic_ns()
    for number in range(8):
        monkeypatch.setattr(surroundings.time, "time_ns", lambda n=number: utc - n * 10**8)
        monkeypatch.setattr(surroundings.time, "monotonic_ns", lambda n=number: ticks + n * 10**9)
        written = log.append(entry(number)).index
    (first, *_) = audit.verify(log.folder).flaws
    assert (first.what, first.first) == ("clock-set-back", written - 2 * (8 - 1 - 2))


def test_small_steps_back_add_up_over_starts_of_the_machine(log, monkeypatch):
    utc, here = time.time_ns(), surroundings.here()
    for number in range(4):
        monkeypatch.setattr(surroundings, "here", lambda n=number: here._replace(boot=f"{n:016x}"))
        monkeypatch.setattr(surroundings.time, "time_ns", lambda n=number: utc - n * 10**9)
        written = log.append(entry(number)).index
    assert [(flaw.what, flaw.first) for flaw in audit.verify(log.folder).flaws] == [("clock-set-back", written)]


def test_a_clock_that_is_corrected_little_by_little_and_a_machine_that_slept_are_fine(log, monkeypatch):
    utc, ticks = time.time_ns(), time.monotonic_ns()
    for number in range(5):
        monkeypatch.setattr(surroundings.time, "time_ns", lambda n=number: utc + n * 86_400 * 10**9 - n * 40 * 10**9)
        monkeypatch.setattr(surroundings.time, "monotonic_ns", lambda n=number: ticks + n * 86_400 * 10**9)
        log.append(entry(number))
    monkeypatch.setattr(surroundings.time, "time_ns", lambda: utc + 50 * 86_400 * 10**9)
    log.append(entry(9))
    assert told(log) == []


def test_a_checkpoint_that_was_kept_finds_out_who_wrote_anew_with_the_same_key(log, tmp_path, key):
    fill(log, 4)
    kept = str(log.checkpoint())
    fill(log, 2)
    assert told(log, checkpoints=[kept]) == []
    another = new_log(tmp_path / "another", key)
    fill(another, 9)
    (flaw,) = audit.verify(another.folder, key=log.verifier, checkpoints=[kept]).flaws
    assert (flaw.what, flaw.severity, flaw.last) == ("rewritten", "error", 9)


def test_a_witness_must_have_signed_when_one_is_asked_for(log, key):
    witness = Ed25519PrivateKey.generate()
    fill(log, 2)
    note = log.checkpoint()
    verifier = verifier_of("witness.example.com/w1", witness, COSIGNATURE)
    signed = cosign(note, verifier.name, witness, 1_800_000_000)
    found = audit.verify(log.folder, key=log.verifier, checkpoints=[str(signed)], witnesses=[str(verifier)])
    assert (found.ok, found.witnesses) == (True, (str(verifier),))
    with pytest.raises(AuditError, match="not signed as it must be"):
        audit.verify(log.folder, key=log.verifier, checkpoints=[note], witnesses=[verifier])


def test_consistency_between_two_checkpoints_is_proved_without_the_record(log):
    fill(log, 3)
    one = Checkpoint.parse(log.checkpoint().text)
    fill(log, 8)
    other = Checkpoint.parse(Note.parse(str(log.checkpoint())).text)
    hashes = merkle.leaf_hashes(lines_of(log.folder))
    proof = merkle.consistency_proof(hashes[: other.size], one.size)
    assert merkle.is_consistent(one.size, other.size, one.root, other.root, proof)
    hashes[one.size + 1] = bytes(32)
    proof = merkle.consistency_proof(hashes[: other.size], one.size)
    assert not merkle.is_consistent(one.size, other.size, one.root, other.root, proof)


def test_what_a_crash_left_is_a_warning(log):
    fill(log, 2)
    path = only_file(log.folder)
    data = data_of(path)
    path.write_bytes(data[:-10])
    assert told(log) == [("torn-end", "warning"), ("unsigned-end", "warning")]
    path.write_bytes(data[: data[:-1].rfind(b"\n") + 1])
    assert told(log) == [("unsigned-end", "warning")]
    assert audit.verify(log.folder).covered == 4


def test_a_record_of_one_line_that_nobody_signed_is_told(log):
    path = only_file(log.folder)
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    assert told(log) == [("unsigned-end", "warning")]


def test_a_checkpoint_of_another_record_is_refused(log, key):
    verifier = log.verifier
    other = sign(Checkpoint("elsewhere.example.com", 1, bytes(32)).text, verifier, key)
    with pytest.raises(AuditError, match="another record's"):
        audit.verify(log.folder, key=verifier, checkpoints=[other])
    found = audit.verify(log.folder, key=verifier)
    unsigned = log.checkpoint().text + "\n" + str(sign("x\n", verifier_of("b", key), key)).partition("\n\n")[2]
    for note in (str(other), unsigned):
        with pytest.raises(AuditError, match="not one of this record"):
            consistency(log.folder, note.encode(), found)


def test_a_folder_that_is_no_path_is_told():
    with pytest.raises(AuditError, match="there is no record"):
        audit.verify("a\0b")
    with pytest.raises(AuditError, match="cannot be written"):
        new_log("a\0b")


@pytest.mark.parametrize("first", [b"", b"{}\n", b"\n", b'{"after":"0"}\n', b"[" * 50_000 + b"\n", b"\xff\n"])
def test_what_is_no_record_is_told(tmp_path, first):
    (tmp_path / "record-000000000000.jsonl").write_bytes(first)
    with pytest.raises(AuditError, match=r"no record|no line of a record"):
        audit.verify(tmp_path)
    with pytest.raises(AuditError, match="no record"):
        audit.verify(tmp_path / "nowhere")


def test_a_first_line_of_another_record_does_not_fit(log, tmp_path):
    fill(log, 2)
    fill(another := new_log(tmp_path / "another"), 2)
    own, foreign = only_file(log.folder), only_file(another.folder)
    own.write_bytes(b"".join([*data_of(foreign).splitlines(True)[:2], *data_of(own).splitlines(True)[2:]]))
    (flaw, *_) = audit.verify(log.folder, key=log.verifier).flaws
    assert flaw.severity == "error"
    assert flaw.first <= 2


# The key


def test_a_key_is_private_or_refused(tmp_path):
    path = tmp_path / "node.pem"
    public = make_key(path)  # as livepatch keygen does
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_key(path).public_key().public_bytes_raw() == public.data
    for mode in (0o640, 0o604, 0o620, 0o602):
        path.chmod(mode)
        with pytest.raises(AuditError, match="not private"):
            read_key(path)


@pytest.mark.parametrize(
    "data", [b"", b"text", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", b"x" * 99_999]
)
def test_what_is_no_key_is_told(tmp_path, data):
    path = tmp_path / "node.pem"
    path.touch(mode=0o600)
    path.write_bytes(data)
    with pytest.raises(AuditError, match="livepatch keygen"):
        read_key(path)
    with pytest.raises(AuditError, match="livepatch keygen"):
        read_key(tmp_path / "nowhere")
    with pytest.raises(AuditError, match="Is a directory"):
        read_key(tmp_path)
