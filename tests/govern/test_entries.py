"""The lines of a record: each in the one way in which it can be written, however fast it is written."""

from __future__ import annotations

import dataclasses
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from livepatch.errors import AuditError
from livepatch.govern import entries
from livepatch.govern.entries import (
    LARGEST,
    Checkpoint,
    Opening,
    checkpoint_line,
    checkpoints_among,
    encode,
    entry_line,
    is_checkpoint,
    note_of,
    parse,
)
from livepatch.govern.notes import Note, sign, verifier_of
from livepatch.govern.surroundings import Here

AFTER = b"0" * 64
HERE = Here("fedcba9876543210", "0123456789abcdef", 5, 6)
AT, TICKS = "2026-11-27T10:00:00.000123Z", 17
WHERE = {
    "at": AT,
    "clock": {"boot": HERE.boot, "monotonic_ns": TICKS},
    "host": HERE.host,
    "process": {"pid": HERE.pid, "started": HERE.started},
}
GIVEN = {"details": {}, "event": "applied", "phase": "noted", "versions": {"python": "3.12.1"}, "who": "alice"}
ODD = [
    {},
    {"who": 'al"ice\n\u2014\u202e\ud800\x00\x7f\\'},
    {"details": {"z": [1, -5, 1.5, True, None, "é", []], "a": {"c": {}, "b": [{"y": 1, "x": 2}]}, "é": 10**17}},
    {"of": 3, "patch": {"id": "CVE-2026-1", "digest": "sha256:0"}, "phase": "done"},
    {"versions": {"é": "1", "B": "2", "a": "3"}},
]


@pytest.fixture(params=["encoder made once", "encoder made anew"])
def either_encoder(request, monkeypatch):
    if request.param == "encoder made anew":  # as on a Python whose json has no such encoder
        monkeypatch.setattr(entries.json.encoder, "c_make_encoder", None)
        assert entries._made_once() is entries._written
    monkeypatch.setattr(entries, "_plain", entries._made_once())


@pytest.mark.parametrize("fields", ODD)
def test_an_entry_is_written_as_any_line_is(fields, either_encoder):
    given = {**GIVEN, **fields}
    line = entry_line(AFTER, 4, HERE, AT, TICKS, given)
    assert line == encode(AFTER, {**WHERE, **given, "index": 4})
    assert parse(line) == {**WHERE, **given, "after": AFTER.decode(), "index": 4}


def test_the_encoder_that_json_makes_anew_for_each_is_made_once(monkeypatch):
    made = []
    make = pytest.importorskip("_json").make_encoder
    monkeypatch.setattr(entries.json.encoder, "c_make_encoder", lambda *given: made.append(given) or make(*given))
    once = entries._made_once()
    assert once is not entries._written
    assert [once({"b": [1, {"\u2014": None}], "a": 1.5}) for _ in range(2)] == [
        '{"a":1.5,"b":[1,{"\\u2014":null}]}'
    ] * 2
    assert len(made) == 1


def test_an_encoder_that_writes_in_another_way_is_not_used(monkeypatch):
    for other in (lambda *_: lambda value, _: [repr(value)], lambda: None):
        monkeypatch.setattr(entries.json.encoder, "c_make_encoder", other)
        assert entries._made_once() is entries._written


def holds_itself():
    made = []
    made.append(made)
    return made


@pytest.mark.parametrize(
    "fields",
    [
        {"at": AT},
        {"more": 1},
        {"who": 5},
        {"event": None},
        {"details": {"n": float("inf")}},
        {"details": {"n": b""}},
        {"details": {"n": holds_itself()}},
        {"details": {(1, 2): 3}},
        {"versions": {"a": {1}}},
    ],
)
def test_what_is_no_entry_is_refused(fields, either_encoder):
    with pytest.raises(AuditError, match="an entry of the record cannot be written"):
        entry_line(AFTER, 4, HERE, AT, TICKS, {**GIVEN, **fields})


# Reading

ENTRY = {**WHERE, **GIVEN, "index": 4, "phase": "done", "of": 3, "patch": {"id": "CVE-2026-1"}}
AS_WRITTEN = "a line as livepatch writes it"
FIELDS = "after, at, clock, details, event, host, index, phase, process, versions, who, of, patch"


def without(name):
    return {key: value for key, value in ENTRY.items() if key != name}


def at(name, /, **fields):
    return {**ENTRY, name: {**ENTRY[name], **fields}}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"index": 10**18 - 1},
        {"of": 0, "index": 1},
        {"phase": "failed"},
        {"at": "2026-12-31T23:59:59.999999Z"},
        at("process", pid=0, started=0),
        at("clock", monotonic_ns=10**19 - 1),
        at("versions", python="3"),
    ],
)
def test_what_livepatch_may_write_is_read(fields):
    held = {**ENTRY, **fields}
    assert parse(encode(AFTER, held)) == {**held, "after": AFTER.decode()}


@pytest.mark.parametrize("phase", ["intent", "noted"])
def test_what_is_no_result_names_no_intent(phase):
    assert parse(encode(AFTER, {**without("of"), "phase": phase}))
    told(encode(AFTER, {**ENTRY, "phase": phase}), "of of another kind")


def told(line, found, expected=AS_WRITTEN, read=parse):
    with pytest.raises(AuditError) as caught:
        read(line)
    assert str(caught.value).startswith("that is no line of a record; ")
    assert (caught.value.found, caught.value.expected) == (found, expected)
    assert caught.value.action == "see livepatch audit verify"


@pytest.mark.parametrize(
    ("held", "found", "expected"),
    [
        (without("who"), "who is None", "who of type str"),
        ({**ENTRY, "who": 5}, "who is 5", "who of type str"),
        ({**ENTRY, "index": True}, "index is True", "index of type int"),
        ({**ENTRY, "of": "3"}, "of is '3'", "of of type int"),
        ({**ENTRY, "patch": "x"}, "patch is 'x'", "patch of type dict"),
        ({**ENTRY, "more": 1}, "the field 'more'", f"the fields {FIELDS}"),
        ({"checkpoint": 5}, "checkpoint is 5", "checkpoint of type str"),
        (at("clock", boot=5), "boot is 5", "boot of type str"),
        (at("clock", set=0), "the field 'set'", "the fields boot, monotonic_ns"),
        (at("process", pid="5"), "pid is '5'", "pid of type int"),
        (at("process", started=None), "started is None", "started of type int"),
        (at("process", name="init"), "the field 'name'", "the fields pid, started"),
        ({**ENTRY, "event": "fooled"}, "event of another kind", AS_WRITTEN),
        ({**ENTRY, "phase": "ready"}, "phase of another kind", AS_WRITTEN),
        (at("versions", python=3), "versions or patch of another kind", AS_WRITTEN),
        (at("patch", id=3), "versions or patch of another kind", AS_WRITTEN),
        ({**ENTRY, "index": 10**18}, "a number of another kind", AS_WRITTEN),
        ({**ENTRY, "index": -1, "of": -2}, "a number of another kind", AS_WRITTEN),
        ({**ENTRY, "of": -1}, "a number of another kind", AS_WRITTEN),
        (at("process", pid=-1), "a number of another kind", AS_WRITTEN),
        (at("process", started=10**18), "a number of another kind", AS_WRITTEN),
        ({**ENTRY, "of": 4}, "of of another kind", AS_WRITTEN),
        ({**ENTRY, "at": "2026-01-01T00:00:60.000000Z"}, "a time of another kind", AS_WRITTEN),
        ({**ENTRY, "at": "2026-13-01T00:00:00.000000Z"}, "a time of another kind", AS_WRITTEN),
        (at("clock", boot="x"), "a time of another kind", AS_WRITTEN),
    ],
)
def test_what_livepatch_never_writes_is_no_line(held, found, expected):
    told(encode(AFTER, held), found, expected)


def test_a_line_is_written_in_one_way():
    line = encode(AFTER, ENTRY)
    told(line.replace(b",", b", ", 1), "other JSON")
    told(line + b" ", "other JSON")
    told(b"[]", "other JSON")
    told(b"{", "no JSON: JSONDecodeError")
    told(b"\xff", "no JSON: UnicodeDecodeError")
    told(b"[" * 60_000, "no JSON: RecursionError")
    told(line.replace(AFTER, b"g" * 64), "a time of another kind")
    told(line.replace(AFTER, b"0" * 63), "a time of another kind")
    told(checkpoint_line(b"g" * 64, "x"), "no hash of the line before")
    told(checkpoint_line(b"0" * 63, "x"), "no hash of the line before")
    told(checkpoint_line(b"0" * 64 + b"\\n", "x"), "no hash of the line before")


def test_a_line_is_no_longer_than_that():
    def of_length(length):
        room = length - len(encode(AFTER, {**ENTRY, "who": ""}))
        return {**ENTRY, "who": "x" * room}

    line = encode(AFTER, of_length(LARGEST))
    assert len(line) == LARGEST == 65536
    assert parse(line)
    with pytest.raises(AuditError, match=r"^an entry of the record is too long; ") as caught:
        encode(AFTER, of_length(LARGEST + 1))
    assert (caught.value.found, caught.value.expected) == ("65537 bytes", "65536 at most")
    told(line + b"x", "65537 bytes", "65536 at most")
    given = {name: value for name, value in of_length(LARGEST + 1).items() if name not in (*WHERE, "index")}
    with pytest.raises(AuditError, match=r"^an entry of the record is too long; "):
        entry_line(AFTER, 4, HERE, AT, TICKS, given)


def test_what_is_no_entry_is_told(either_encoder):
    for fields, found in (
        ({**GIVEN, "at": AT}, "the fields 'at'"),
        ({**GIVEN, "who": 5}, "first argument must be a string, not int"),
    ):
        with pytest.raises(AuditError, match=r"^an entry of the record cannot be written; ") as caught:
            entry_line(AFTER, 4, HERE, AT, TICKS, fields)
        assert caught.value.found == found
        assert caught.value.expected == "plain values: text, whole numbers, lists and dictionaries of them"
    with pytest.raises(AuditError, match=r"^an entry of the record cannot be written; ") as caught:
        encode(AFTER, {"who": b""})
    assert caught.value.found == "Object of type bytes is not JSON serializable"
    assert caught.value.action == "correct what is to be recorded"


# Checkpoints

KEY = Ed25519PrivateKey.generate()
VERIFIER = verifier_of("node7.example.com/livepatch", KEY)
SIGNED = sign(Checkpoint(VERIFIER.name, 3, bytes(range(32))).text, VERIFIER, KEY)


def test_a_checkpoint_is_written_and_read():
    line = checkpoint_line(AFTER, str(SIGNED))
    assert json.loads(line) == {"after": AFTER.decode(), "checkpoint": str(SIGNED)}
    assert note_of(line) == SIGNED
    assert Checkpoint.parse(SIGNED.text) == Checkpoint(VERIFIER.name, 3, bytes(range(32)))
    assert Checkpoint.parse(SIGNED.text).text == SIGNED.text
    entry = encode(AFTER, ENTRY)
    assert (is_checkpoint(line), is_checkpoint(entry)) == (True, False)
    assert checkpoints_among([entry, line, entry, line, line[:80], b""]) == [1, 3]


def test_a_line_has_the_note_of_the_node_alone():
    told(encode(AFTER, ENTRY), "an entry", "a checkpoint", note_of)
    twice = Note(SIGNED.text, SIGNED.signatures * 2)
    other = str(SIGNED) + "\n"
    for text in (str(twice), other):
        try:
            Note.parse(text)
        except AuditError:
            continue
        expected = "one signature, that of the node"
        told(checkpoint_line(AFTER, text), "a checkpoint that is written in another way", expected, note_of)


RIGHT = "the name of a record, its size and the root of its tree (C2SP tlog-checkpoint)"


@pytest.mark.parametrize(
    "text",
    [
        "", "a\n1\n", "\n1\nAAAA\n", "a\n01\nAAAA\n", "a\n-1\nAAAA\n", "a\n1\nAAAA\nmore\n", "a\n1\nAAAA",
        "a\n1\nAAAA\nx", f"a\n{10**18}\nAAAA\n", "a\n\u0661\nAAAA\n",
    ],
)  # fmt: skip
def test_what_is_no_checkpoint_is_told(text):
    with pytest.raises(AuditError, match=r"^that is no checkpoint; ") as caught:
        Checkpoint.parse(text)
    assert (caught.value.found, caught.value.expected, caught.value.action) == (repr(text), RIGHT, "get it anew")


@pytest.mark.parametrize("root", ["", "AAAA", "no base64", "A" * 44])
def test_a_root_is_a_hash(root):
    with pytest.raises(AuditError, match=r"^that is no checkpoint; ") as caught:
        Checkpoint.parse(f"a\n1\n{root}\n")
    assert (caught.value.found, caught.value.expected, caught.value.action) == (repr(root), RIGHT, "get it anew")


@pytest.mark.parametrize("size", [0, 7, 10**18 - 1])
def test_a_checkpoint_of_any_size_is_read(size):
    assert Checkpoint.parse(f"a\n{size}\n{'A' * 43}=\n") == Checkpoint("a", size, bytes(32))


# First lines

OPENING = Opening(VERIFIER.name, str(VERIFIER), 4, (bytes(32),), SIGNED)


def opened(**changes):
    held = {**without("of"), "phase": "noted", "event": "opened", "details": OPENING.details(), **changes}
    return encode(AFTER, held)


def test_a_first_line_is_written_and_read():
    assert Opening.of(opened()) == OPENING
    assert OPENING.details() == {
        "checkpoint": str(SIGNED),
        "format": 1,
        "key": str(VERIFIER),
        "origin": VERIFIER.name,
        "size": 4,
        "subtrees": ["00" * 32],
    }


@pytest.mark.parametrize(
    ("changes", "found", "expected"),
    [
        ({"event": "applied"}, "a file that begins in another way", "the first line of a record of format 1"),
        (
            {"details": {**OPENING.details(), "format": 2}},
            "a file that begins in another way",
            "the first line of a record of format 1",
        ),
        ({"details": {**OPENING.details(), "size": "4"}}, "size is '4'", "size of type int"),
        ({"details": {**OPENING.details(), "origin": 4}}, "origin is 4", "origin of type str"),
        ({"details": {**OPENING.details(), "key": 4}}, "key is 4", "key of type str"),
        ({"details": {**OPENING.details(), "checkpoint": 4}}, "checkpoint is 4", "checkpoint of type str"),
        ({"details": {**OPENING.details(), "subtrees": "4"}}, "subtrees is '4'", "subtrees of type list"),
        (
            {"details": {**OPENING.details(), "more": 4}},
            "the field 'more'",
            "the fields checkpoint, format, key, origin, size, subtrees",
        ),
        ({"details": {**OPENING.details(), "subtrees": [4]}}, "subtrees that are none", AS_WRITTEN),
        ({"details": {**OPENING.details(), "subtrees": ["x"]}}, "subtrees that are none", AS_WRITTEN),
        (
            {"details": {**OPENING.details(), "subtrees": ["AA"]}},
            "a first line that is written in another way",
            AS_WRITTEN,
        ),
        ({"index": 5}, "a first line that is written in another way", AS_WRITTEN),
    ],
)
def test_what_is_no_first_line_is_told(changes, found, expected):
    told(opened(**changes), found, expected, Opening.of)


def test_a_checkpoint_is_no_first_line():
    line = checkpoint_line(AFTER, str(SIGNED))
    told(line, "a file that begins in another way", "the first line of a record of format 1", Opening.of)
    assert dataclasses.replace(OPENING, size=5) != OPENING
