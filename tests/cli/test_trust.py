"""keygen, sign, verify, trust, and --trust: what a team does from the first key to the rotated root."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from tests.bundle.patches import of_functions
from tests.cli.trees import AFTER, tree

import livepatch
from livepatch.bundle import codec
from livepatch.cli.main import main

LATER, MUCH_LATER = "2199-01-01T00:00:00Z", "2199-06-01T00:00:00Z"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys):
    """Runs a command: its status, and what it printed."""

    def call(*arguments: str, status: int = 0) -> str:
        capsys.readouterr()
        assert main([*arguments]) == status
        told = capsys.readouterr()
        return told.out if status == 0 else told.err

    return call


@pytest.fixture
def team(run):
    """Keys, a trust root, and a patch file that alice, carol and erin have signed."""
    for name in ("root-1", "root-2", "alice", "carol", "erin"):
        run("keygen", name)
    run(
        "trust", "init", "trust.json", "--package", "nodeclient", "--expires", LATER, "--threshold", "root=2",
        "--add", "root=root-1.pub", "--add", "root=root-2.pub", "--add", "author=alice.pub",
        "--add", "security-reviewer=carol.pub", "--add", "operator=Erin:erin.pub",
    )  # fmt: skip
    run("trust", "sign", "trust.json", "--key", "root-1")
    run("trust", "sign", "trust.json", "--key", "root-2")
    Path("fix.lpatch").write_bytes(codec.encode(of_functions(1)))
    for name in ("alice", "carol", "erin"):
        run("sign", "fix.lpatch", "--key", name)
    return run


def test_from_the_first_key_to_a_verified_file(team):
    assert team("verify", "fix.lpatch", "--trust", "trust.json").splitlines()[1:] == [
        "  author: alice (1, 1 needed)",
        "  security-reviewer: carol (1, 1 needed)",
        "  operator: Erin (1, 1 needed)",
        f"verified by version 1 of the trust root, valid until {LATER}",
    ]
    facts = json.loads(team("verify", "fix.lpatch", "--trust", "trust.json", "--json"))
    assert facts["verified"] is True
    assert facts["signers"]["operator"][0]["holder"] == "Erin"
    assert facts["digest"] == codec.digest(codec.encode(of_functions(1)))
    root = livepatch.TrustRoot.load("trust.json")
    assert facts["trust_root"] == {"version": 1, "digest": root.digest, "expires": LATER}
    fix = livepatch.load("fix.lpatch", trust=root)
    assert fix.origin is not None
    assert fix.origin.verified


def test_what_is_missing_is_told_with_status_1(team):
    Path("half.lpatch").write_bytes(codec.encode(of_functions(1)))
    team("sign", "half.lpatch", "--key", "alice")
    told = team("verify", "half.lpatch", "--trust", "trust.json", status=1)
    assert "found: security-reviewer: 0 of 1; operator: 0 of 1" in told
    assert told.startswith("livepatch verify: the patch file is not signed as the trust root asks")
    Path("plain.lpatch").write_bytes(codec.encode(of_functions(1)))
    for command in (["verify"], ["show"], ["check", "--package-dir", "."]):
        told = team(*command, "plain.lpatch", "--trust", "trust.json", status=1)
        assert "the patch file is not signed" in told
    Path("broken.lpatch").write_bytes(Path("fix.lpatch").read_bytes()[:99])
    assert "no readable signed patch file" in team("verify", "broken.lpatch", "--trust", "trust.json", status=2)
    assert "cannot be read" in team("verify", "fix.lpatch", "--trust", "none.json", status=1)


def test_show_tells_who_signed(team):
    ids = [json.loads(team("keygen", f"more-{n}", "--json"))["keyid"] for n in range(2)]
    assert len(set(ids)) == 2
    plain = json.loads(team("show", "fix.lpatch", "--json"))
    assert plain["verified"] is False
    assert [each["role"] for each in plain["signatures"]] == [None] * 3
    assert "verified: no: 3 signatures, not compared with a trust root (--trust)" in team("show", "fix.lpatch")
    facts = json.loads(team("show", "fix.lpatch", "--json", "--trust", "trust.json"))
    assert facts["verified"] is True
    assert [each["role"] for each in facts["signatures"]] == ["author", "security-reviewer", "operator"]
    assert "verified: yes, signed by author " in team("show", "fix.lpatch", "--trust", "trust.json")
    assert "says something about a trust root" in team("show", "fix.lpatch", "--node", "a", status=2)


def test_the_next_trust_root_takes_the_place_of_the_first(team):
    old = json.loads(team("trust", "show", "trust.json", "--json"))
    (erin,) = (each["keyid"] for each in old["roles"]["operator"]["keys"])
    team("keygen", "frank")
    team(
        "trust", "change", "trust.json", "-o", "2.json", "--remove", f"operator={erin}", "--add", "operator=frank.pub",
        "--expires", MUCH_LATER,
    )  # fmt: skip
    first = Path("trust.json").read_bytes()
    assert "not signed by its own root keys" in team("trust", "rotate", "trust.json", "2.json", status=1)
    team("trust", "sign", "2.json", "--key", "root-1")
    team("trust", "sign", "2.json", "--key", "root-2")
    assert Path("trust.json").read_bytes() == first
    team("verify", "fix.lpatch", "--trust", "trust.json", "--state", "state.json")
    team("trust", "rotate", "trust.json", "2.json", "--state", "state.json")
    shown = json.loads(team("trust", "show", "trust.json", "--json"))
    assert (shown["version"], shown["expires"], shown["signed"]) == (2, MUCH_LATER, True)
    assert [each["holder"] for each in shown["roles"]["operator"]["keys"]] == ["frank"]
    assert "operator: 0 of 1" in team("verify", "fix.lpatch", "--trust", "trust.json", status=1)
    Path("old.json").write_bytes(first)
    told = team("verify", "fix.lpatch", "--trust", "old.json", "--state", "state.json", status=1)
    assert "not the one that was seen before" in told
    team("sign", "fix.lpatch", "--key", "frank")
    team("verify", "fix.lpatch", "--trust", "trust.json", "--state", "state.json")


def test_several_versions_may_be_rotated_at_once_and_again(team):
    first = Path("trust.json").read_bytes()
    team("verify", "fix.lpatch", "--trust", "trust.json", "--state", "state.json")
    for n in (2, 3):
        team("trust", "change", "trust.json" if n == 2 else "2.json", "-o", f"{n}.json", "--expires", MUCH_LATER)
        for key in ("root-1", "root-2"):
            team("trust", "sign", f"{n}.json", "--key", key)
    for _ in range(2):  # as after a crash between the two files
        Path("trust.json").write_bytes(first)
        team("trust", "rotate", "trust.json", "2.json", "3.json", "--state", "state.json")
    team("verify", "fix.lpatch", "--trust", "trust.json", "--state", "state.json")


def test_a_trust_root_is_shown_and_one_that_is_not_signed_is_none(team):
    told = team("trust", "show", "trust.json")
    assert told.startswith("trust root for nodeclient, channel stable, version 1\n")
    assert "  signed:  yes" in told
    assert "  root: 2 of" in told
    team(
        "trust",
        "init",
        "new.json",
        "--package",
        "a",
        "--expires",
        LATER,
        "--add",
        "root=erin.pub",
        "--add",
        "author=alice.pub",
    )
    team("trust", "show", "new.json", status=1)
    assert "not signed by its own root keys" in team("verify", "fix.lpatch", "--trust", "new.json", status=1)


def test_no_trust_root_is_written_over_a_file(team):
    team("keygen", "frank")
    Path("link").symlink_to("nowhere")
    before = {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    for name in ("trust.json", "frank", "fix.lpatch", "link"):
        told = team(
            "trust", "init", name, "--package", "a", "--expires", LATER, "--add", "root=erin.pub",
            "--add", "author=alice.pub", status=2,
        )  # fmt: skip
        assert "at which there is nothing" in told
        told = team("trust", "change", "trust.json", "-o", name, "--expires", MUCH_LATER, status=2)
        assert "at which there is nothing" in told
    assert {path: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["--add", "boss=alice.pub"], 2, "roles are root, author, security-reviewer, operator"),
        (["--add", "alice.pub"], 2, "--add is not understood"),
        (["--add", "root=none.pub"], 1, "the public key cannot be read"),
        (["--add", "root=a b:alice.pub"], 2, "holder is no usable name"),
        (["--threshold", "root=two"], 2, "--threshold is no number"),
        (["--threshold", "operator=1"], 2, "a role without keys"),
        ([], 2, "found: no --add root=KEY.pub and no --add author=KEY.pub"),
        (["--add", "root=alice.pub"], 2, "found: no --add author=KEY.pub"),
        (["--add", "root=alice.pub", "--add", "author=alice.pub", "--threshold", "root=2"], 1, "a threshold of 2"),
        (["--add", "root=alice.pub", "--add", "author=alice.pub", "--package", ""], 1, "package: ''"),
    ],
)
def test_a_trust_root_that_makes_no_sense_is_not_written(run, arguments, status, told):
    run("keygen", "alice")
    given = ["trust", "init", "trust.json", "--package", "nodeclient", "--expires", LATER, *arguments]
    assert told in run(*given, status=status)
    assert not Path("trust.json").exists()


def test_keys_with_passphrases(team):
    Path("pass").write_text("correct horse\nmore\n")
    told = team("keygen", "dave", "--passphrase-file", "pass", status=1)
    assert "mode 0" in told
    Path("pass").chmod(0o600)
    assert json.loads(team("keygen", "dave", "--passphrase-file", "pass", "--json"))["encrypted"] is True
    assert stat.S_IMODE(Path("dave").stat().st_mode) == 0o600
    before = Path("fix.lpatch").read_bytes()
    assert "an encrypted key" in team("sign", "fix.lpatch", "--key", "dave", status=1)
    assert Path("fix.lpatch").read_bytes() == before
    signed = json.loads(team("sign", "fix.lpatch", "--key", "dave", "--passphrase-file", "pass", "--json"))
    assert signed["keyid"] == signed["keyids"][-1]
    assert len(signed["keyids"]) == 4
    Path("pass").write_text("\n")
    assert "no passphrase in the file" in team("keygen", "eve", "--passphrase-file", "pass", status=1)
    assert "nobody to ask" in team("keygen", "eve", "--encrypt", status=2)
    Path("dave").chmod(0o644)
    assert "mode 0644" in team("sign", "fix.lpatch", "--key", "dave", status=1)


def test_sign_wants_one_way_to_sign(team):
    for options in (
        [],
        ["--key", "alice", "--command", "x"],
        ["--command", "x"],
        ["--key", "alice", "--public-key", "x"],
    ):
        assert "it is not said how to sign" in team("sign", "fix.lpatch", *options, status=2)
    for command, told in (("'", "cannot be taken apart"), ("", "--command is empty")):
        assert told in team("sign", "fix.lpatch", "--command", command, "--public-key", "alice.pub", status=2)


def test_a_command_signs_for_a_key_in_a_device(team):
    before = Path("fix.lpatch").read_bytes()
    told = team("sign", "fix.lpatch", "--command", "head -c 64", "--public-key", "alice.pub", status=1)
    assert "the signature does not hold" in told
    assert Path("fix.lpatch").read_bytes() == before


def test_sign_writes_elsewhere_on_request_and_refuses_what_is_no_patch(team):
    before = Path("fix.lpatch").read_bytes()
    team("keygen", "dave")
    team("sign", "fix.lpatch", "--key", "dave", "-o", "other.lpatch")
    assert Path("fix.lpatch").read_bytes() == before
    assert len(json.loads(Path("other.lpatch").read_bytes())["signatures"]) == 4
    assert "no livepatch file" in team("sign", "alice.pub", "--key", "dave", status=2)
    assert "the file holds no patch" in team("sign", "trust.json", "--key", "dave", status=2)


def test_build_writes_to_whom_the_patch_is_given_out(here, run):
    tree(here / "old")
    tree(here / "new", AFTER, "2.1.1")
    terms = ["--channel", "testing", "--revision", "3", "--expires", LATER, "--node", "b", "--node", "a"]
    shown = json.loads(run("build", "old", "new", "--package", "nodeclient", *terms, "-o", "fix.lpatch", "--json"))
    assert shown["release"] == {"channel": "testing", "revision": 3, "expires": LATER, "nodes": ["b", "a"]}
    told = run("show", "fix.lpatch")
    assert f"  release:  channel testing, revision 3, until {LATER}, for b, a only\n" in told
    told = run("build", "old", "new", "--package", "nodeclient", "--expires", "soon", "-o", "no.lpatch", status=2)
    assert "expires is no moment" in told
    assert not Path("no.lpatch").exists()
