"""``livepatch audit``: what it prints, and what its exit status means."""

from __future__ import annotations

import base64
import json

import pytest
from tests.govern.records import ORIGIN, entry, fill, new_log, only_file

from livepatch.cli.main import main
from livepatch.govern import merkle
from livepatch.govern.entries import Checkpoint
from livepatch.govern.notes import Note, Verifier


@pytest.fixture
def log(tmp_path):
    log = new_log(tmp_path / "record")
    fill(log, 4)
    log.append(entry(4, event="reverted", who="bob\x1b[2J", patch={"id": "OTHER"}))
    return log


@pytest.fixture
def audit(capsys):
    def run(*arguments):
        status = main(["audit", *map(str, arguments)])
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


def test_verify(log, audit, tmp_path):
    (tmp_path / "key").write_text(f"{log.verifier}\n")
    for key in (str(log.verifier), tmp_path / "key"):
        status, out, _ = audit("verify", log.folder, "--key", key, "--deep")
        assert (status, out.splitlines()[0]) == (0, f"the record of {ORIGIN} holds: 6 entries, 12 of 12 lines signed")
    found = json.loads(audit("verify", log.folder, "--json")[1])
    assert (found["ok"], found["trusted"], found["size"], found["flaws"]) == (True, False, 12, [])
    path = only_file(log.folder)
    path.write_bytes(path.read_bytes().replace(b'"number":2', b'"number":3'))
    status, out, _ = audit("verify", log.folder)
    assert status == 1
    assert "error: [edited] line 6 (record-000000000000.jsonl:7)" in out
    found = json.loads(audit("verify", log.folder, "--json")[1])
    assert (found["ok"], found["flaws"][0]["what"], found["flaws"][0]["first"]) == (False, "edited", 6)


def test_a_checkpoint_that_was_kept_finds_a_record_that_was_cut_short(log, audit, tmp_path):
    status, note, _ = audit("export", log.folder, "--checkpoint")
    assert (status, Note.parse(note).signed_by([log.verifier])) == (0, (log.verifier,))
    (tmp_path / "kept").write_text(note)
    assert audit("verify", log.folder, "--checkpoint", tmp_path / "kept")[0] == 0
    path = only_file(log.folder)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:8]))
    assert audit("verify", log.folder)[0] == 0
    status, out, _ = audit("verify", log.folder, "--checkpoint", tmp_path / "kept")
    assert (status, "[truncated] lines 8 to 10" in out) == (1, True)


def test_show(log, audit):
    status, out, _ = audit("show", log.folder)
    assert status == 0
    assert str(log.verifier) in out
    lines = out.splitlines()[3:]
    assert len(lines) == 6
    assert "applied intent CVE-2026-1234 by alice number=0" in lines[1]
    assert r"by bob\x1b[2J" in lines[-1]
    assert [each["index"] for each in json.loads(audit("show", log.folder, "--json")[1])["entries"]] == [
        0,
        2,
        4,
        6,
        8,
        10,
    ]
    for options, indexes in (
        ((), [0, 2, 4, 6, 8, 10]),
        (("--patch", "OTHER"), [10]),
        (("--event", "applied"), [2, 4, 6, 8]),
        (("--event", "applied", "--last", "2"), [6, 8]),
        (("--last", "0"), []),
        (("--last", "99"), [0, 2, 4, 6, 8, 10]),
    ):
        told = json.loads(audit("show", log.folder, *options, "--json")[1])
        assert [each["index"] for each in told["entries"]] == indexes


def test_what_does_not_hold_is_shown_with_a_word_about_that_and_not_exported(log, audit):
    path = only_file(log.folder)
    path.write_bytes(path.read_bytes().replace(b'"number":2', b'"number":3'))
    status, out, err = audit("show", log.folder)
    assert (status, "does not hold" in err, len(out.splitlines()) > 3) == (1, True, True)
    status, out, err = audit("export", log.folder)
    assert (status, "does not hold" in err, out) == (1, True, "")


def test_exported_entries_prove_themselves(log, audit):
    told = json.loads(audit("export", log.folder, "--event", "applied")[1])
    assert len(told["entries"]) == 4
    note = Note.parse(told["checkpoint"])
    assert note.signed_by([Verifier.parse(told["key"])])
    signed = Checkpoint.parse(note.text)
    for each in told["entries"]:
        leaf = merkle.leaf_hash(each["line"].encode())
        proof = [base64.b64decode(one) for one in each["inclusion"]]
        assert merkle.is_included(leaf, each["entry"]["index"], signed.size, proof, signed.root)
        assert json.loads(each["line"]) == each["entry"]


def test_exported_consistency_proves_itself(log, audit, tmp_path):
    (tmp_path / "kept").write_text(audit("export", log.folder, "--checkpoint")[1])
    fill(log, 3)
    told = json.loads(audit("export", log.folder, "--since", tmp_path / "kept")[1])
    first, second = (Checkpoint.parse(Note.parse(told[each]).text) for each in ("from", "to"))
    proof = [base64.b64decode(each) for each in told["consistency"]]
    assert first.size < second.size
    assert merkle.is_consistent(first.size, second.size, first.root, second.root, proof)
    another = new_log(tmp_path / "another")
    fill(another, 9)
    assert audit("export", another.folder, "--since", tmp_path / "kept")[0] == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "nowhere"),
        ("verify", "RECORD", "--key", "nowhere"),
        ("verify", "RECORD", "--key", "a+b+c"),
        ("verify", "RECORD", "--checkpoint", "nowhere"),
        ("verify", "RECORD", "--checkpoint", "RECORD/lock"),
        ("export", "RECORD", "--checkpoint", "--since", "x"),
        ("show", "RECORD/lock"),
    ],
)
def test_what_cannot_be_read_is_wrong_usage(log, audit, arguments):
    told = [each.replace("RECORD", str(log.folder)) for each in arguments]
    status, out, err = audit(*told)
    assert (status, out, err.startswith("livepatch audit: ")) == (2, "", True)
    assert err.count("\n") == 1


def test_a_record_without_a_checkpoint_has_none_to_export(log, audit):
    path = only_file(log.folder)
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    for options in (["--checkpoint"], ["--checkpoint", "--json"], []):
        status, out, err = audit("export", log.folder, *options)
        assert (status, out) == (2, "")
        assert err


def test_both_of_two_things_are_told_with_what_to_do(log, audit):
    told = audit("export", log.folder, "--checkpoint", "--since", "x")[2]
    for part in ("; found: both", "; expected: one of them", "; do: "):
        assert part in told


@pytest.mark.parametrize("options", [("--last", "-1"), ("--last", "x"), ("--event", "aplied")])
def test_options_that_pick_nothing_are_wrong_usage(log, audit, options):
    with pytest.raises(SystemExit) as ended:
        audit("show", log.folder, *options)
    assert ended.value.code == 2
