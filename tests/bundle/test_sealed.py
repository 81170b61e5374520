"""Sealed files: read by whom they were sealed for, by nobody else, and never after a change."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.signing import trust_root, write_patch

import livepatch
from livepatch.bundle import sealed
from livepatch.bundle.keyfiles import make_key
from livepatch.bundle.sealed import seal, unseal
from livepatch.bundle.sealkeys import make_seal_key, read_seal_key
from livepatch.cli.main import main
from livepatch.errors import BundleError, PatchError, TrustError, UntrustedFileError


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """A signed patch file, and keys to seal it for."""
    monkeypatch.chdir(tmp_path)
    for name in ("erin", "frank", "mallory"):
        make_seal_key(name)
    return write_patch(tmp_path / "fix.lpatch")


def test_each_holder_reads_the_very_file_and_nobody_else(files):
    target = seal("fix.lpatch", ["erin.pub", "frank.pub"])
    assert target == Path("fix.lpatch.sealed")
    told = json.loads(target.read_bytes())
    assert [each["keyid"] for each in told["for"]] == [read_seal_key(f"{name}.pub").id for name in ("erin", "frank")]
    assert b"nodeclient" not in target.read_bytes()
    for name in ("erin", "frank"):
        assert unseal(target, key=name, output=f"for-{name}").read_bytes() == files.read_bytes()
    with pytest.raises(TrustError, match="the file was not sealed for this key"):
        unseal(target, key="mallory", output="stolen")
    assert not Path("stolen").exists()
    files.unlink()
    fix = livepatch.load(unseal(target, key="erin"), trust=trust_root())
    assert stat.S_IMODE(files.stat().st_mode) == 0o600
    assert fix.origin is not None
    assert fix.origin.verified
    assert seal("fix.lpatch", ["erin.pub"]).read_bytes() != seal("fix.lpatch", ["erin.pub"]).read_bytes()


def test_a_sealed_file_is_told_from_a_patch_file(files):
    target = seal("fix.lpatch", ["erin.pub"])
    with pytest.raises(UntrustedFileError, match="sealed") as error:
        livepatch.load(target)
    assert "livepatch unseal" in error.value.action
    with pytest.raises((BundleError, TrustError), match="no readable sealed file"):
        unseal("fix.lpatch", key="erin", output="out")
    assert not Path("out").exists()


def test_no_change_goes_unnoticed(files):
    data = seal("fix.lpatch", ["erin.pub", "frank.pub"]).read_bytes()
    changed = Path("changed.sealed")
    for at in [*range(0, 700, 3), *range(700, len(data) - 1, 211)]:
        other = bytearray(data)
        other[at] ^= 1
        changed.write_bytes(bytes(other))
        try:
            got = unseal(changed, key="erin")
        except (BundleError, TrustError):
            assert not Path("changed").exists()
        else:
            raise AssertionError(f"byte {at} of {got}")
    for length in range(0, len(data) - 1, 97):
        changed.write_bytes(data[:length])
        with pytest.raises((BundleError, TrustError)):
            unseal(changed, key="erin")
    told = json.loads(data)
    for lie in (
        {**told, "format": 2}, {**told, "more": 1}, {**told, "for": told["for"][:1]}, {**told, "for": []},
        {**told, "nonce": told["nonce"][:-4]}, {**told, "for": told["for"][::-1]},
        {**told, "for": [{**told["for"][0], "key": told["for"][1]["key"]}, told["for"][1]]},
        {**told, "for": [told["for"][0], {**told["for"][1], "key": told["for"][0]["key"]}]},  # that of somebody else
        {**told, "for": [*told["for"], told["for"][0]]},
    ):  # fmt: skip
        changed.write_text(json.dumps(lie))
        with pytest.raises((BundleError, TrustError)):
            unseal(changed, key="erin")
    assert not Path("changed").exists()


def test_keys_of_another_kind_are_told(files):
    make_key("alice")
    with pytest.raises(TrustError, match="another kind of key"):
        read_seal_key("alice.pub")
    target = seal("fix.lpatch", ["erin.pub"])
    for key in ("alice", "erin.pub", "nowhere"):
        with pytest.raises(TrustError):
            unseal(target, key=key, output="out")
    make_seal_key("gina", "secret")
    target = seal("fix.lpatch", ["gina.pub"], output="for-gina")
    for passphrase in (None, "", "wrong"):
        with pytest.raises(TrustError) as error:
            unseal(target, key="gina", passphrase=passphrase, output="out")
        assert "secret" not in str(error.value)
    assert unseal(target, key="gina", passphrase="secret", output="out").read_bytes() == files.read_bytes()
    assert stat.S_IMODE(Path("gina").stat().st_mode) == 0o600
    with pytest.raises(TrustError, match="the key cannot be written"):
        make_seal_key("gina")
    with pytest.raises(TrustError, match="the key cannot be written"):
        make_seal_key("nowhere/gina")


@pytest.mark.parametrize("point", [bytes(32), bytes([1, *bytes(31)]), bytes([0xEC, *b"\xff" * 30, 0x7F])])
def test_a_key_with_which_anybody_could_read_is_refused(files, point):
    key = X25519PublicKey.from_public_bytes(point)
    Path("weak.pub").write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(TrustError, match="small order"):
        seal("fix.lpatch", ["erin.pub", "weak.pub"])
    assert not Path("fix.lpatch.sealed").exists()


def test_what_is_no_patch_file_is_not_written_where_one_should_be(files, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(sealed, "_must_be_a_patch", lambda plain: None)
        Path("run.sh").write_text("#!/bin/sh")
        target = seal("run.sh", ["erin.pub"], output="evil.sealed")
    with pytest.raises(BundleError):
        unseal(target, key="erin")
    assert not Path("evil").exists()


def test_wrong_arguments_write_nothing(files):
    before = sorted(Path().iterdir())
    for wrong, error in (([], PatchError), ("erin.pub", TypeError), (["nowhere.pub"], TrustError)):
        with pytest.raises(error):
            seal("fix.lpatch", wrong)
    with pytest.raises(BundleError):
        seal("erin.pub", ["erin.pub"])
    assert sorted(Path().iterdir()) == before
    target = seal("fix.lpatch", ["erin.pub"], output="odd")
    with pytest.raises(PatchError, match="it is not said where to write"):
        unseal(target, key="erin")


def test_from_keygen_to_an_unsealed_file_on_the_command_line(files, capsys):
    assert main(["keygen", "--seal", "hana"]) == 0
    assert main(["seal", "fix.lpatch", "--to", "hana.pub", "--to", "erin.pub", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.split("\n", 2)[2])
    assert (told["file"], len(told["keyids"])) == ("fix.lpatch.sealed", 2)
    assert main(["unseal", "fix.lpatch.sealed", "--key", "hana", "-o", "out"]) == 0
    assert Path("out").read_bytes() == files.read_bytes()
    assert main(["unseal", "fix.lpatch.sealed", "--key", "frank", "-o", "more"]) == 1
    assert "not sealed for this key" in capsys.readouterr().err
    assert main(["show", "fix.lpatch.sealed"]) == 2
    assert "livepatch unseal" in capsys.readouterr().err
