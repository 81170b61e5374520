"""Whatever lies in the folder, the reader raises AuditError or tells what is wrong; even with the node's own key."""

from __future__ import annotations

import json
import random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.govern.records import ORIGIN, data_of, fill, lines_of, new_log, only_file

from livepatch.cli.main import main
from livepatch.errors import AuditError
from livepatch.govern import audit
from livepatch.govern.entries import Checkpoint, checkpoint_line, is_checkpoint
from livepatch.govern.merkle import Frontier, leaf_hash
from livepatch.govern.notes import Note, Verifier, sign, verifier_of
from livepatch.govern.telling import entries

VALUES = [
    None, True, -1, 0, 10**30, 1.5, "", "x" * 300, "\ud800", "\u202e\n\x00", [], {}, [[[[]]]], {"a": {"b": []}},
    "0" * 64, "9999-12-31T23:59:59.999999Z", "2026-13-45T25:61:61.000000Z", "applied", "opened", "rotated",
]  # fmt: skip


def mutated(chance, held):
    """The same with something else in one place."""
    if isinstance(held, dict) and held and chance.random() < 0.8:
        name = chance.choice(sorted(held))
        if chance.random() < 0.15:
            return {key: value for key, value in held.items() if key != name}
        return {**held, name: mutated(chance, held[name])}
    return chance.choice(VALUES)


def signed_anew(key, bodies):
    """A record of whatever entries, made whole with the key."""
    made, tree, after = [], Frontier(), b"0" * 64
    for body in bodies:
        held = {**body, "after": after.decode()} if isinstance(body, dict) else body
        line = json.dumps(held, sort_keys=True, separators=(",", ":")).encode()
        tree.add(leaf_hash(line))
        note = sign(Checkpoint(ORIGIN, tree.size, tree.root()).text, verifier_of(ORIGIN, key), key)
        signed = checkpoint_line(leaf_hash(line).hex().encode(), str(note))
        tree.add(leaf_hash(signed))
        after = leaf_hash(signed).hex().encode()
        made += [line, signed]
    return b"".join(line + b"\n" for line in made)


def read_in_every_way(folder, key, verifier):
    """Nothing but the documented error comes out."""
    found = None
    for options in ({}, {"key": verifier}, {"key": verifier, "deep": True, "archived": True, "clock_steps": True}):
        try:
            found = audit.verify(folder, **options)
            assert str(found)
            assert json.dumps(found.to_dict())
        except AuditError:
            pass
    try:
        list(entries(folder))
    except AuditError:
        pass
    try:
        new_log(folder, key).close()
    except AuditError:
        pass
    return found


@pytest.fixture
def key():
    return Ed25519PrivateKey.generate()


def test_entries_that_are_signed_and_hold_anything(tmp_path, key):
    log = new_log(tmp_path / "record", key)
    fill(log, 3)
    path = only_file(log.folder)
    bodies = [json.loads(line) for line in lines_of(log.folder) if not is_checkpoint(line)]
    path.write_bytes(signed_anew(key, bodies))
    assert read_in_every_way(log.folder, key, log.verifier).flaws == ()
    chance = random.Random(17)
    for _ in range(60):
        number = chance.randrange(len(bodies))
        path.write_bytes(signed_anew(key, [*bodies[:number], mutated(chance, bodies[number]), *bodies[number + 1 :]]))
        read_in_every_way(log.folder, key, log.verifier)


def with_field(body, name, value):
    """The entry with another value at a path such as process.pid."""
    first, _, rest = name.partition(".")
    return {**body, first: with_field(body[first], rest, value) if rest else value}


NEVER_WRITTEN = [
    ("index", -1), ("index", 99), ("index", 10**19), ("event", "fooled"), ("event", "opened"), ("phase", "ready"),
    ("of", 99), ("of", -1), ("of", True), ("of", "0"), ("patch", "CVE-2026-1234"), ("patch", {"id": 5}), ("patch", []),
    ("versions", {"livepatch": 1}), ("process.pid", -1), ("process.name", "init"), ("clock.set", 0), ("more", "x"),
    ("at", "2026-01-01T00:00:60.000000Z"), ("at", "2026-13-01T00:00:00.000000Z"), ("who", None), ("host", 5),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), NEVER_WRITTEN)
def test_an_entry_that_livepatch_never_writes_is_no_entry_even_if_it_is_signed(tmp_path, key, name, value, capsys):
    log = new_log(tmp_path / "record", key)
    fill(log, 3)
    bodies = [json.loads(line) for line in lines_of(log.folder) if not is_checkpoint(line)]
    bodies[2] = with_field(bodies[2], name, value)
    only_file(log.folder).write_bytes(signed_anew(key, bodies))
    found = audit.verify(log.folder, key=log.verifier, deep=True)
    assert not found.ok
    assert found.flaws[0].first <= 4
    for arguments in (["show"], ["export"], ["export", "--patch", "CVE-2026-1234"], ["verify", "--deep"]):
        assert main(["audit", arguments[0], str(log.folder), *arguments[1:]]) in (0, 1, 2)
    capsys.readouterr()


@pytest.mark.parametrize("size", [-1, -(2**40), 10**19, 2**300])
def test_a_first_line_of_an_odd_size_is_refused_at_once(tmp_path, key, size):
    """A negative size had its reader go on for ever."""
    log = new_log(tmp_path / "record", key)
    fill(log, 1)
    log.close()
    first, *rest = [json.loads(line) for line in lines_of(log.folder) if not is_checkpoint(line)]
    subtrees = ["00" * 32] * size.bit_count()
    first = {**first, "index": size, "details": {**first["details"], "size": size, "subtrees": subtrees}}
    only_file(log.folder).write_bytes(signed_anew(key, [first, *rest]))
    with pytest.raises(AuditError, match="no line of a record"):
        audit.verify(log.folder)
    assert not audit.verify(log.folder, key=log.verifier).ok
    with pytest.raises(AuditError):
        new_log(log.folder, key)


def test_bytes_of_any_kind(tmp_path, key):
    log = new_log(tmp_path / "record", key)
    fill(log, 3)
    path = only_file(log.folder)
    whole = data_of(path)
    chance = random.Random(19)
    pieces = [
        b"",
        b"\n",
        b"\0",
        b"{}",
        b"[" * 3000,
        b'{"after":"',
        b"\xff",
        b'","checkpoint":"',
        b"9" * 5000,
        whole[:99],
    ]
    for _ in range(60):
        start, end = sorted(chance.sample(range(len(whole)), 2))
        middle = chance.choice(pieces) if chance.random() < 0.7 else chance.randbytes(chance.randrange(40))
        path.write_bytes(whole[:start] + middle + whole[chance.choice((start, end)) :])
        read_in_every_way(log.folder, key, log.verifier)


@pytest.mark.parametrize("name", [f"record-{start:012d}.jsonl" for start in (1, 3, 10**12 - 1)])
def test_files_under_other_names(tmp_path, key, name):
    log = new_log(tmp_path / "record", key)
    fill(log, 3)
    path = only_file(log.folder)
    path.rename(path.with_name(name))
    found = read_in_every_way(log.folder, key, log.verifier)
    assert found is None or not found.ok


def test_a_file_that_is_there_twice(tmp_path, key):
    log = new_log(tmp_path / "record", key)
    fill(log, 3)
    path = only_file(log.folder)
    path.with_name("record-000000000008.jsonl").write_bytes(data_of(path))
    assert not read_in_every_way(log.folder, key, log.verifier).ok
    path.with_name("record-000000000008.jsonl").unlink()
    path.with_name("record-000000000004.jsonl").write_bytes(data_of(path))
    assert not read_in_every_way(log.folder, key, log.verifier).ok
    path.with_name("record-000000000004.jsonl").unlink()
    path.with_name("record-000000000007.jsonl").mkdir()
    with pytest.raises(AuditError, match="cannot be read"):
        audit.verify(log.folder)


def test_notes_and_keys_of_any_kind():
    chance = random.Random(23)
    key = Ed25519PrivateKey.generate()
    verifier = verifier_of(ORIGIN, key)
    note = str(sign(Checkpoint(ORIGIN, 3, bytes(32)).text, verifier, key))
    for text, read in (
        (note, Note.parse),
        (str(verifier), Verifier.parse),
        (note.split("\n\n", maxsplit=1)[0], Checkpoint.parse),
    ):
        for _ in range(400):
            start, end = sorted(chance.sample(range(len(text)), 2))
            middle = chance.choice(["", "\n", "\n\n", "+", " ", "=", "\u2014 ", "\x00", "\ud800", "AAAA", "9" * 30])
            try:
                made = read(text[:start] + middle + text[chance.choice((start, end)) :])
                if isinstance(made, Note):
                    made.signed_by([verifier])
            except AuditError:
                continue
