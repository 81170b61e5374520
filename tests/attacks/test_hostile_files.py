"""Files of rules, of facts and of recorded calls that somebody hostile has written, or put in the place of others."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path

import msgpack
import pytest
from tests.signing import ROLES, key, patch_envelope, trust_root, write_patch, write_root

import livepatch
from livepatch.bundle.approval import read_approval
from livepatch.bundle.keyfiles import make_key
from livepatch.bundle.sealed import seal
from livepatch.bundle.sealkeys import make_seal_key
from livepatch.bundle.signing import sign
from livepatch.bundle.trees import open_tree
from livepatch.cli.main import main
from livepatch.compat.policy import read_policy
from livepatch.contents.claims import snapshot_of
from livepatch.documents.advisory import advisory_in
from livepatch.errors import BundleError, LivepatchError, PatchError, PolicyError
from livepatch.govern.approving import approving_of
from livepatch.govern.criteria import read_criteria
from livepatch.govern.policies import policy_in_force
from livepatch.replaying.inputs import read_inputs

PARTS = {"bare": b"a", "spaced": b" a ", "literal": b"'a'", "basic": b'"a"', "escaped": b'"\\""'}


@pytest.mark.parametrize("read", [read_policy, read_criteria, advisory_in])
@pytest.mark.parametrize("part", PARTS)
def test_a_key_of_many_parts_is_refused_before_it_is_read(read, part):
    # Reading one takes a time that grows with the square: minutes for a file of 120 kB.
    key = b".".join([PARTS[part]] * 20_000)
    for data in (key + b" = 1", b"[" + key + b"]", b"[[" + key + b"]]", b"x = { " + key + b" = 1 }"):
        with pytest.raises(PolicyError, match="a key of more than 50 parts"):
            read(data, "rules.toml")


@pytest.mark.parametrize(
    "data",
    [
        b"x = " + b"[" * 50_000, b"x = " + b"{a=" * 50_000, b"x = 1" + b"0" * 5_000, b'x = "\\ud800"', b"x = '\xff'",
        b"x = '\0'", b"\xef\xbb\xbfx = 1", b"x = nan", b"x = 2026-11-26T00:00:00Z", b"a = 1\na.b = 2", b"\n" * 300_000,
    ],
    ids=lambda data: ascii(data[:12]),
)  # fmt: skip
@pytest.mark.parametrize("read", [read_policy, read_criteria, advisory_in])
def test_what_no_reader_takes_is_told_as_such(read, data):
    with pytest.raises(PolicyError) as error:
        read(data, "rules.toml")
    assert error.value.found
    assert error.value.action


@pytest.mark.parametrize("target", ["/nowhere/rules.toml", "livepatch.toml"])
def test_a_link_to_rules_that_cannot_be_reached_does_not_pass_for_none(tmp_path, monkeypatch, target):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIVEPATCH_POLICY", raising=False)
    policy_in_force()
    (tmp_path / "livepatch.toml").symlink_to(target)
    with pytest.raises(PolicyError, match=r"livepatch\.toml cannot be read"):
        policy_in_force()


# Recorded calls

CALL = {"target": "m:f", "args": [1, "x" * 50, [1, 2, b"y" * 300]]}


def test_a_file_of_recorded_calls_that_was_cut_short_is_never_a_shorter_one(tmp_path):
    data, path = msgpack.packb(CALL), tmp_path / "inputs"
    path.write_bytes(data * 2)
    assert len(list(read_inputs(path))) == 2
    for length in range(len(data) + 1, 2 * len(data)):
        path.write_bytes((data * 2)[:length])
        with pytest.raises(PatchError, match="map 2"):
            list(read_inputs(path))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\x82" + msgpack.packb("target") * 2 + msgpack.packb("m:f") * 2, ""),
        (b"\x82" + (msgpack.packb("target") + msgpack.packb("m:f")) * 2, "field 'target' twice"),
        (b"\x81" + msgpack.packb("args") + b"\xdd\x03\xff\xff\xff" * 400, "exceeds max_array_len"),
        (b"\x81" + msgpack.packb("args") + b"\xdf\x03\xff\xff\xff" * 400, "exceeds max_map_len"),
        (b"\x81" + msgpack.packb("args") + b"\xc6\x7f\xff\xff\xff", "a file that ends inside it"),
        (b"\x81" + msgpack.packb("args") + b"\x91" * 100_000, "no msgpack"),
        (b'{"target": "m:f", "args": ' + b"[" * 100_000, "no JSON"),
        (b'{"target": "m:f", "args": [1' + b"0" * 5_000 + b"]}", "no JSON"),
    ],
    ids=lambda each: ascii(each[:12]),
)
def test_recorded_calls_that_ask_for_more_room_than_they_have_are_refused(tmp_path, data, told):
    (tmp_path / "inputs").write_bytes(data)
    with pytest.raises(PatchError) as error:
        list(read_inputs(tmp_path / "inputs"))
    assert told in str(error.value)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_of_recorded_calls_is_not_waited_for(tmp_path, make):
    make(tmp_path / "inputs")
    with pytest.raises(LivepatchError, match="the inputs cannot be read"):
        list(read_inputs(tmp_path / "inputs"))


# What is handed in for a patch


@pytest.fixture
def patch_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_seal_key("erin")
    return write_patch(tmp_path / "fix.lpatch")


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda path: livepatch.approve("fix.lpatch", key=key("carol"), output=path),
        lambda path: livepatch.attest("fix.lpatch", suite="unit", key=key("carol"), output=path),
        lambda path: seal("fix.lpatch", ["erin.pub"], output=path),
    ],
    ids=["approve", "attest", "seal"],
)
def test_what_is_made_of_a_patch_file_does_not_take_its_place(patch_file, make, link):
    data = patch_file.read_bytes()
    if link:
        Path("link").symlink_to("fix.lpatch")
    with pytest.raises(BundleError, match="from which it is made"):
        make("link" if link else "fix.lpatch")
    assert patch_file.read_bytes() == data
    make("elsewhere")


def test_a_name_that_would_steer_a_terminal_is_spelled(patch_file):
    made = livepatch.approve("fix.lpatch", key=key("mallory"), output="\x1b[2J")
    root = trust_root()
    given = approving_of(livepatch.load("fix.lpatch", trust=root), [made], root)
    assert given.idle == ("'\\x1b[2J', by no key that may approve",)


NAMED = "fine: all signed\n\x1b[2J\tfix\u202e"


@pytest.fixture
def patch_with_a_name(patch_file):
    """A patch file, a policy file and a folder whose names would be lines of their own on a screen."""
    write_patch(Path(f"{NAMED}.lpatch"))
    write_root(Path("trust.json"))
    make_key(Path("carol"))
    Path(f"{NAMED}.toml").write_text("")
    Path(f"{NAMED}.none").mkdir()
    return f"{NAMED}.lpatch"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["verify", "FILE", "--trust", "trust.json"], 0),
        (["approve", "FILE", "--key", "carol"], 0),
        (["attest", "FILE", "--key", "carol", "--suite", "unit"], 0),
        (["sign", "FILE", "--key", "carol"], 0),
        (["seal", "FILE", "--to", "erin.pub"], 0),
        (["policy", "test", f"{NAMED}.toml"], 0),
        (["keygen", f"{NAMED}.key"], 0),
        (["init", f"{NAMED}.new"], 0),
        (["build", f"{NAMED}.none", f"{NAMED}.none", "--package", "nodeclient", "--id", "X"], 2),
        (["check", "FILE", "--package-dir", f"{NAMED}.none"], 2),
        (["check", "FILE", "--package-dir", f"{NAMED}.gone"], 2),
        (["check", "FILE", "--package-dir", f"{NAMED}.toml"], 2),
        (["verify", f"{NAMED}.gone", "--trust", "trust.json"], 2),
        (["trust", "show", f"{NAMED}.gone"], 1),
        (["audit", "verify", "FILE", "--key", f"{NAMED}.gone"], 2),
    ],
    ids=lambda each: each[0] if isinstance(each, list) else "",
)
def test_no_name_of_a_file_is_a_line_of_its_own(patch_with_a_name, capsys, arguments, status):
    assert main([patch_with_a_name if each == "FILE" else each for each in arguments]) == status
    assert_one_line(capsys.readouterr())


def test_nor_is_one_that_a_pattern_of_the_shell_has_put_among_the_arguments(patch_with_a_name, capsys):
    for arguments in (["verify", "--trust", "trust.json", "fix.lpatch", patch_with_a_name], [patch_with_a_name]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        assert_one_line(capsys.readouterr())


def assert_one_line(told):
    for line in (told.out + told.err).split("\n"):
        assert not set(line) & set("\x1b\t\u202e")
        assert not line.startswith(("\\x1b", "\x1b"))
    assert "fine: all signed\n" not in told.out + told.err
    assert "fine: all signed\\n" in told.out + told.err


@pytest.mark.parametrize("name", ["x" * 5_000, "a/" * 5_000, "a\0b"], ids=["long", "deep", "nul"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "fix.lpatch", "--package-dir", "NAME"],
        ["build", "NAME", "NAME", "--package", "nodeclient", "--id", "X"],
        ["verify", "NAME", "--trust", "NAME"],
        ["approve", "fix.lpatch", "--key", "NAME"],
        ["policy", "test", "NAME"],
        ["audit", "verify", "NAME", "--key", "NAME"],
        ["replay", "NAME", "NAME"],
        ["run", "--store", "NAME", "--", "true"],
    ],
    ids=lambda each: each[0],
)
def test_what_can_be_no_path_is_told_in_one_line(patch_file, capsys, arguments, name):
    assert main([name if each == "NAME" else each for each in arguments]) in (1, 2)
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    assert len(told.err.splitlines()) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
@pytest.mark.parametrize(
    "arguments",
    [
        ["audit", "verify", ".", "--key", "pipe"],
        ["audit", "verify", ".", "--key", "node+1be5gjgA+x", "--checkpoint", "pipe"],
        ["build", "a", "b", "--package", "nodeclient", "--id", "X", "--probe", "pipe"],
        ["approve", "fix.lpatch", "--key", "pipe"],
        ["verify", "fix.lpatch", "--trust", "pipe"],
        ["policy", "test", "pipe"],
        ["docs", "fix.lpatch", "--about", "pipe", "-o", "papers"],
        ["classify", "fix.lpatch", "--package-dir", ".", "--criteria", "pipe"],
        ["seal", "fix.lpatch", "--to", "pipe"],
    ],
    ids=lambda each: each[0],
)
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(patch_file, capsys, arguments):
    os.mkfifo("pipe")

    def waits(*_):
        raise AssertionError("it waits for the pipe")

    before = signal.signal(signal.SIGALRM, waits)
    signal.alarm(60)
    try:
        assert main(arguments) in (1, 2)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
def test_an_example_of_a_round_trip_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PatchError, match="no regular file"):
        snapshot_of("m:load", [tmp_path / "pipe"], None, False)


def test_an_archive_that_claims_to_be_huge_is_not_read(tmp_path):
    path = tmp_path / "huge.tar"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BundleError, match="the archive is too large"):
        open_tree(path, "nodeclient")


def replayed_by(name, lie):
    """What somebody signed, with something changed and signed by somebody else."""
    made = livepatch.approve("fix.lpatch", key=key("carol"), output="made")
    envelope = read_approval(made.read_bytes()).envelope
    told = json.dumps({**json.loads(envelope.payload), **lie}).encode()
    forged = sign(dataclasses.replace(envelope, payload=told, signatures=()), key(name))
    if name == "nobody":  # the reviewer's own signature, on another payload
        forged = dataclasses.replace(forged, signatures=envelope.signatures)
    Path("made").write_bytes(forged.to_bytes())
    return Path("made")


@pytest.mark.parametrize("name", ["mallory", "bob", "root-1", "alice", "nobody"])
@pytest.mark.parametrize("lie", [{}, {"expires": "2199-01-01T00:00:00Z"}, {"class": "hot-patch"}], ids=str)
def test_an_approval_that_no_approver_signed_does_not_count(patch_file, name, lie):
    if name == "nobody" and not lie:
        lie = {"made": "2026-01-01T00:00:00Z"}
    root = trust_root()
    given = approving_of(livepatch.load("fix.lpatch", trust=root), [replayed_by(name, lie)], root)
    assert (given.approvals, given.idle) == ((), ("made, by no key that may approve",))


@pytest.mark.parametrize(
    "changes",
    [{"digest": "sha256:" + "0" * 64}, {"digest": ""}, {"expires": "2020-01-01T00:00:00Z"}, {"patch": "CVE-2026-1"}],
    ids=str,
)
def test_an_approval_of_something_else_does_not_count(patch_file, changes):
    root = trust_root()
    given = approving_of(livepatch.load("fix.lpatch", trust=root), [replayed_by("carol", changes)], root)
    assert given.approvals == ()
    assert len(given.idle) == 1


@pytest.mark.parametrize("release", [{"revision": 2}, {"channel": "beta"}, {"nodes": ("n1",)}], ids=str)
def test_an_approval_of_another_revision_channel_or_node_does_not_count(patch_file, release):
    made = livepatch.approve("fix.lpatch", key=key("carol"))
    write_patch(Path("other.lpatch"), release=release)
    root = dataclasses.replace(trust_root(channel=release.get("channel", "stable")), node="n1")
    given = approving_of(livepatch.load("other.lpatch", trust=root), [made], root)
    assert given.approvals == ()
    assert "of another patch" in given.idle[0]


def test_an_approval_is_worth_nothing_once_its_key_is_revoked(patch_file):
    made = livepatch.approve("fix.lpatch", key=key("carol"))
    Path("fix.lpatch").write_bytes(patch_envelope(signers=("alice", "dave", "erin")).to_bytes())
    root = trust_root()
    assert len(approving_of(livepatch.load("fix.lpatch", trust=root), [made], root).approvals) == 1
    root = trust_root({**ROLES, "security-reviewer": (1, "dave")}, version=2)
    assert approving_of(livepatch.load("fix.lpatch", trust=root), [made], root).approvals == ()
