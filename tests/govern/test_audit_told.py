"""All that a verification says, to the word and the number; and records that the node itself signed and never wrote."""

from __future__ import annotations

import dataclasses
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.govern.records import ORIGIN, data_of, entry, fill, lines_of, new_log

from livepatch.errors import AuditError, spelled
from livepatch.govern import audit
from livepatch.govern.audit import Audit, Flaw
from livepatch.govern.entries import Checkpoint, checkpoint_line, encode, is_checkpoint, parse
from livepatch.govern.merkle import Frontier, leaf_hash, root_of
from livepatch.govern.notes import COSIGNATURE, Note, cosign, sign, verifier_of


@pytest.fixture(scope="module")
def key():
    return Ed25519PrivateKey.generate()


@pytest.fixture
def log(tmp_path, key):
    return new_log(tmp_path / "record", key)


@pytest.fixture
def in_files(tmp_path, key):
    """A record in four files."""
    log = new_log(tmp_path / "record", key, segment_bytes=1)
    fill(log, 3)
    assert len(paths(log)) == 4
    return log


def paths(log):
    return sorted(log.folder.glob("record-*.jsonl"))


FLAW = Flaw(what="edited", first=3, last=3, found="one thing", expected="another")
AUDIT = Audit(
    folder="record", origin="node7", key="node7+key", trusted=True, first=0, size=2, entries=1, covered=2,
    checkpoint="node7\n", flaws=(), deep=False,
)  # fmt: skip


def test_a_flaw_in_words():
    assert str(FLAW) == "error: [edited] line 3: found one thing; expected another"
    placed = dataclasses.replace(FLAW, severity="warning", last=5, file="record-0.jsonl", line=4)
    assert str(placed) == ("warning: [edited] lines 3 to 5 (record-0.jsonl:4): found one thing; expected another")


def test_a_verification_in_words_and_as_plain_values():
    assert str(AUDIT) == "the record of node7 holds: 1 entry, 2 of 2 lines signed"
    warned = dataclasses.replace(
        AUDIT, entries=2, size=1, covered=1, flaws=(dataclasses.replace(FLAW, severity="warning"),)
    )
    assert warned
    assert str(warned) == f"the record of node7 holds: 2 entries, 1 of 1 line signed\n{warned.flaws[0]}"
    wrong = dataclasses.replace(AUDIT, trusted=False, flaws=(*warned.flaws, FLAW))
    assert not wrong
    assert str(wrong).splitlines() == [
        "the record of node7 does not hold: 1 entry, 2 of 2 lines signed",
        str(warned.flaws[0]),
        str(FLAW),
        "the key is the one that the record names itself; pass the node's own to know who signed",
    ]
    plain = wrong.to_dict()
    assert json.loads(json.dumps(plain))["flaws"] == plain["flaws"]
    assert plain == {
        **{name: getattr(wrong, name) for name in Audit.__slots__},
        "ok": False,
        "flaws": [dataclasses.asdict(flaw) for flaw in wrong.flaws],
    }


def test_every_number_of_a_verification(in_files):
    lines = lines_of(in_files.folder)
    quick = audit.verify(str(in_files.folder), key=in_files.verifier)
    assert quick == Audit(
        folder=str(in_files.folder),
        origin=ORIGIN,
        key=str(in_files.verifier),
        trusted=True,
        first=0,
        size=len(lines),
        entries=sum(not is_checkpoint(line) for line in lines),
        covered=len(lines),
        checkpoint=parse(lines[-1])["checkpoint"],
        flaws=(),
        deep=False,
        checkpoints=5,  # those in the first lines of four files, and the newest
    )
    deep = audit.verify(in_files.folder, key=in_files.verifier, deep=True)
    intents = tuple(held["index"] for line in lines if (held := parse(line)).get("phase") == "intent")
    assert len(intents) == 2
    assert deep == dataclasses.replace(quick, deep=True, checkpoints=4 + len(lines) - quick.entries, unfinished=intents)


def test_a_path_a_key_and_notes_are_asked_for(log):
    for arguments, told in (
        ({"folder": 5}, "^folder must be a str or os.PathLike, not 5$"),
        ({"key": 5}, r"^key must be of verifier keys, name\+id\+key, not 5$"),
        ({"witnesses": [5]}, r"^witnesses must be of verifier keys, name\+id\+key, not 5$"),
        ({"checkpoints": [5]}, "^checkpoints must be signed notes, not 5$"),
    ):
        with pytest.raises(TypeError, match=told):
            audit.verify(**{"folder": log.folder, **arguments})


def test_a_folder_without_a_record(tmp_path):
    with pytest.raises(AuditError) as caught:
        audit.verify(tmp_path)
    assert str(caught.value).startswith(f"there is no record in {spelled(str(tmp_path))}; ")
    (tmp_path / "record-000000000000.jsonl").touch()
    (tmp_path / "record-000000000001.jsonl").touch()
    with pytest.raises(AuditError, match="there is no record in"):
        audit.verify(tmp_path)


def test_a_file_that_was_begun_and_no_more_is_not_missed(log):
    fill(log, 2)
    size = len(lines_of(log.folder))
    (log.folder / f"record-{size:012d}.jsonl").touch()
    found = audit.verify(log.folder, key=log.verifier)
    assert (found.flaws, found.size) == ((), size)


# Files


def test_a_file_that_is_missing_is_named_unless_it_may_be_elsewhere(in_files, key):
    first, second, third, _ = paths(in_files)
    starts = [int(path.stem[7:]) for path in paths(in_files)]
    kept = str(in_files.checkpoint())
    first.unlink()
    (flaw,) = audit.verify(in_files.folder, key=in_files.verifier, checkpoints=[kept]).flaws
    assert flaw == Flaw(
        what="missing-file",
        first=0,
        last=starts[1] - 1,
        found=f"no file with lines 0 to {starts[1] - 1}",
        expected="all files of the record; --archived if the oldest were taken elsewhere",
    )
    # One that does not fit says nothing of a record of which the beginning is not there.
    other = sign(Checkpoint(ORIGIN, starts[2], bytes(32)).text, in_files.verifier, key)
    assert audit.verify(in_files.folder, key=in_files.verifier, checkpoints=[other]).flaws == (flaw,)
    found = audit.verify(in_files.folder, key=in_files.verifier, checkpoints=[kept], archived=True)
    assert (found.flaws, found.first) == ((), starts[1])
    third.unlink()
    (flaw,) = audit.verify(in_files.folder, key=in_files.verifier, archived=True).flaws
    assert (flaw.what, flaw.first, flaw.last) == ("missing-file", starts[2], starts[3] - 1)
    second.unlink()
    assert audit.verify(in_files.folder, key=in_files.verifier, archived=True).first == starts[3]


def test_checkpoints_that_were_kept_at_every_size_fit_and_others_do_not(in_files, key):
    lines = lines_of(in_files.folder)
    hashes = [leaf_hash(line) for line in lines]

    def kept(size, root):
        return sign(Checkpoint(ORIGIN, size, root).text, in_files.verifier, key)

    fitting = [kept(size, root_of(hashes[:size])) for size in range(len(lines) + 1)]
    assert audit.verify(in_files.folder, key=in_files.verifier, checkpoints=fitting).flaws == ()
    for size in range(1, len(lines) + 1):
        notes = [fitting[0], kept(size, root_of([*hashes[: size - 1], bytes(32)])), fitting[-1]]
        (flaw,) = audit.verify(in_files.folder, key=in_files.verifier, checkpoints=notes).flaws
        assert (flaw.what, flaw.first, flaw.last) == ("rewritten", 0, size - 1)
    (flaw,) = audit.verify(in_files.folder, checkpoints=[kept(len(lines) + 1, bytes(32))]).flaws
    assert (flaw.what, flaw.first, flaw.last) == ("truncated", len(lines), len(lines))


# What was handed in


def test_a_note_that_is_handed_in_is_signed_by_the_node_and_the_witnesses(log, key):
    fill(log, 1)
    witness = Ed25519PrivateKey.generate()
    verifier = verifier_of("witness.example.com/w1", witness, COSIGNATURE)
    own, foreign = log.checkpoint(), verifier_of(ORIGIN, witness)
    cosigned = cosign(own, verifier.name, witness, 1_800_000_000)
    only_witness = Note(own.text, tuple(s for s in cosigned.signatures if s.name == verifier.name))
    by_another = sign(own.text, foreign, witness)
    for note, lacking, names in (
        (own, verifier, ORIGIN),
        (only_witness, log.verifier, verifier.name),
        (by_another, log.verifier, ORIGIN),
    ):
        with pytest.raises(
            AuditError, match=r"^a checkpoint that was handed in is not signed as it must be; "
        ) as caught:
            audit.verify(log.folder, key=log.verifier, checkpoints=[note], witnesses=[verifier])
        assert caught.value.found == f"signatures of {names}"
        assert caught.value.expected == f"one of {lacking}"
    found = audit.verify(log.folder, key=log.verifier, checkpoints=[str(cosigned).encode()], witnesses=[verifier])
    assert (found.flaws, found.witnesses) == ((), (str(verifier),))
    assert audit.verify(log.folder, key=log.verifier, witnesses=[verifier]).witnesses == ()
    elsewhere = sign(Checkpoint("elsewhere", 1, bytes(32)).text, log.verifier, key)
    with pytest.raises(AuditError, match=r"^a checkpoint that was handed in is another record's; ") as caught:
        audit.verify(log.folder, key=log.verifier, checkpoints=[elsewhere])
    assert (caught.value.found, caught.value.expected) == ("one of 'elsewhere'", f"one of {ORIGIN}")


def test_many_names_on_a_note_are_told_in_short(log):
    note = log.checkpoint()
    (signature,) = note.signatures
    many = Note(note.text, tuple(dataclasses.replace(signature, name=f"w{n}" * 20) for n in range(9)))
    with pytest.raises(AuditError) as caught:
        audit.verify(log.folder, key=log.verifier, checkpoints=[many])
    assert len(caught.value.found) == len("signatures of ") + 200
    assert caught.value.found.startswith(f"signatures of {'w0' * 20}, {'w1' * 20}, ")


# What a crash leaves


def test_the_end_that_a_crash_leaves_is_told_with_its_place(in_files):
    *_, path = paths(in_files)
    start, lines = int(path.stem[7:]), data_of(path).splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + b"torn")
    torn, unsigned = audit.verify(in_files.folder, key=in_files.verifier).flaws
    end = start + len(lines) - 1
    assert (torn.what, torn.severity, torn.first, torn.last) == ("torn-end", "warning", end, end)
    assert (torn.file, torn.line, torn.found) == (path.name, len(lines), "4 bytes without an end of line")
    assert (unsigned.what, unsigned.severity, unsigned.first, unsigned.last) == (
        "unsigned-end", "warning", end - 1, end - 1,
    )  # fmt: skip
    assert (unsigned.file, unsigned.line) == (path.name, len(lines) - 1)
    path.write_bytes(lines[0])
    (unsigned,) = audit.verify(in_files.folder, key=in_files.verifier).flaws
    assert (unsigned.what, unsigned.first, unsigned.last, unsigned.line) == ("unsigned-end", start, start, 1)


# What the node's own key signs, and livepatch never writes


class Forged:
    """Goes on with a record as whoever has the key can, and writes it into its newest file."""

    def __init__(self, log, key):
        self.log, self.key, self.path = log, key, paths(log)[-1]
        self.start = int(self.path.stem[7:])
        self.lines = lines_of(log.folder)

    def add(self, **fields):
        held = parse(next(line for line in reversed(self.lines) if not is_checkpoint(line)))
        held.pop("after")
        after = leaf_hash(self.lines[-1]).hex().encode()
        self.lines.append(encode(after, {**held, "index": len(self.lines), "event": "applied", **fields}))
        return self

    def sign(self, key=None, root=None):
        tree = Frontier()
        tree.extend([leaf_hash(line) for line in self.lines])
        key = key or self.key
        note = sign(Checkpoint(ORIGIN, tree.size, root or tree.root()).text, verifier_of(ORIGIN, key), key)
        self.lines.append(checkpoint_line(leaf_hash(self.lines[-1]).hex().encode(), str(note)))
        return self

    def verified(self, **options):
        self.path.write_bytes(b"".join(line + b"\n" for line in self.lines[self.start :]))
        return audit.verify(self.log.folder, key=self.log.verifier, **options)


@pytest.fixture
def forged(log, key):
    fill(log, 2)
    return Forged(log, key)


def test_what_is_signed_is_read_line_by_line_where_that_is_asked_for(forged):
    assert forged.add().sign().verified(deep=True).flaws == ()


@pytest.mark.parametrize("deep", [False, True])
def test_the_newest_checkpoint_is_signed_by_the_node_on_this_very_tree(forged, deep):
    sound = list(forged.lines)
    assert not forged.add().sign(root=bytes(32)).verified(deep=deep)
    forged.lines = list(sound)
    assert not forged.add().sign(key=Ed25519PrivateKey.generate()).verified(deep=deep)
    forged.lines = sound
    assert forged.add().sign().verified(deep=deep)


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_more_lines_than_one_without_a_signature_are_found_in_the_last_of_several_files(in_files, key, kept):
    """No more than the first line of the file is there, or not even its signature, and entries that nobody signed."""
    forged = Forged(in_files, key)
    del forged.lines[forged.start + kept :]
    if kept:
        assert forged.verified()
        forged.add()
        assert bool(forged.verified()) is (kept == 2)
        assert not forged.add().verified()
        forged.lines[-2:] = []
        assert not forged.add(index=forged.start).verified()
    else:
        assert not forged.sign().verified()  # a file does not begin with a checkpoint


@pytest.mark.parametrize("fields", [{"event": "opened"}, {"index": 3}])
def test_an_entry_of_another_place_is_found_though_it_is_signed(forged, fields):
    forged.add(**fields).sign()
    assert not forged.verified(deep=True)
    assert forged.verified()


def test_a_checkpoint_signs_an_entry(forged):
    forged.sign()
    assert not forged.verified(deep=True)
    assert forged.verified()


def test_a_crash_leaves_one_line_without_a_signature_that_says_which_it_is(forged):
    assert [flaw.what for flaw in forged.add().verified().flaws] == ["unsigned-end"]
    assert not forged.add().verified()


def test_a_last_line_without_a_signature_that_is_another_ones_is_found(forged):
    assert not forged.add(index=1).verified()


def test_with_the_key_a_broken_first_line_is_a_flaw_and_without_it_no_record(forged):
    forged.lines[0] = forged.lines[0][:-1]
    (flaw, *_) = forged.verified().flaws
    assert (flaw.severity, flaw.first) == ("error", 0)
    with pytest.raises(AuditError, match="no line of a record"):
        audit.verify(forged.log.folder)


def test_a_first_line_begins_the_chain_and_the_tree(forged):
    """Whoever has the key can sign any other beginning, too."""
    held = parse(forged.lines[0])
    held.pop("after")
    for after, subtrees in ((b"0" * 64, []), (b"1" * 64, []), (b"0" * 64, ["00" * 32])):
        forged.lines = [encode(after, {**held, "details": {**held["details"], "subtrees": subtrees}})]
        assert bool(forged.sign().verified()) is (after == b"0" * 64 and not subtrees)
    for changed in ({"origin": "elsewhere"}, {"key": str(verifier_of(ORIGIN, Ed25519PrivateKey.generate()))}):
        forged.lines = [encode(b"0" * 64, {**held, "details": {**held["details"], **changed}})]
        assert not forged.sign().verified()


def test_a_record_without_a_checkpoint_has_none_to_keep(forged):
    del forged.lines[1:]
    found = forged.verified()
    assert (found.ok, found.checkpoint, found.covered, found.size) == (True, "", 0, 1)
    assert not forged.add().verified()


def test_intents_without_a_result_are_named_in_their_order(log):
    first = [log.append(entry(0)).index for _ in range(3)]
    for _ in range(2):
        log.append(entry(1, of=first[1]))
    log.append(entry(1))
    assert audit.verify(log.folder, deep=True).unfinished == (first[0], first[2])
    assert audit.verify(log.folder).unfinished == ()
