"""Private keys: for their owner alone, in the form that other tools write, or behind a command."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import stat
import subprocess
import sys
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.signing import key

from livepatch.bundle import disk
from livepatch.bundle.command import Command
from livepatch.bundle.envelope import PATCH_TYPE, Envelope
from livepatch.bundle.keyfiles import KeyFile, make_key, read_public
from livepatch.bundle.signing import sign
from livepatch.errors import TrustError


def test_a_new_key_is_for_its_owner_alone(tmp_path):
    before = os.umask(0)
    try:
        made = make_key(tmp_path / "alice")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "alice").stat().st_mode) == 0o600
    assert read_public(tmp_path / "alice.pub") == made == KeyFile(tmp_path / "alice").key
    assert made.holds(KeyFile(tmp_path / "alice").sign(b"text"), b"text")
    assert not made.holds(KeyFile(tmp_path / "alice").sign(b"text"), b"other")


def test_the_public_file_in_the_place_of_the_private_one_is_told(tmp_path):
    make_key(tmp_path / "alice")
    with pytest.raises(TrustError, match="a public key") as error:
        KeyFile(tmp_path / "alice.pub")
    assert error.value.action == "name the file without .pub"


def test_no_key_is_overwritten(tmp_path):
    make_key(tmp_path / "alice")
    before = (tmp_path / "alice").read_bytes()
    with pytest.raises(TrustError, match="at which there is nothing"):
        make_key(tmp_path / "alice")
    (tmp_path / "alice.pub").unlink()
    with pytest.raises(TrustError, match="at which there is nothing"):
        make_key(tmp_path / "alice")
    assert (tmp_path / "alice").read_bytes() == before
    assert not (tmp_path / "alice.pub").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_key_that_others_may_read_is_refused(tmp_path, mode):
    make_key(tmp_path / "alice")
    (tmp_path / "alice").chmod(mode)
    with pytest.raises(TrustError, match=f"mode {mode:04o}") as error:
        KeyFile(tmp_path / "alice")
    assert "draw a new key" in error.value.action


def test_a_key_of_another_user_is_refused(tmp_path, monkeypatch):
    make_key(tmp_path / "alice")
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.raises(TrustError, match=f"owned by user {me}"):
        KeyFile(tmp_path / "alice")


def test_an_encrypted_key_needs_its_passphrase(tmp_path):
    made = make_key(tmp_path / "alice", "correct horse")
    assert b"ENCRYPTED" in (tmp_path / "alice").read_bytes()
    assert KeyFile(tmp_path / "alice", "correct horse").key == made
    with pytest.raises(TrustError, match="an encrypted key"):
        KeyFile(tmp_path / "alice")
    with pytest.raises(TrustError, match="does not open it"):
        KeyFile(tmp_path / "alice", "battery staple")
    make_key(tmp_path / "bob")
    with pytest.raises(TrustError, match="cannot be used"):
        KeyFile(tmp_path / "bob", "of no use")
    with pytest.raises(TrustError, match="an empty passphrase"):
        make_key(tmp_path / "carol", "")


def private(path, data: bytes):
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def test_another_kind_of_key_is_refused(tmp_path):
    other = ec.generate_private_key(ec.SECP256R1())
    pem = other.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = other.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with pytest.raises(TrustError, match="another kind of key"):
        KeyFile(private(tmp_path / "ec", pem))
    with pytest.raises(TrustError, match="another kind of key"):
        read_public(private(tmp_path / "ec.pub", public))
    for data in (b"", b"no key", pem[:40], bytes(1 << 20)):
        with pytest.raises(TrustError, match="cannot be used"):
            KeyFile(private(tmp_path / "bad", data))
        with pytest.raises(TrustError, match="cannot be"):
            read_public(tmp_path / "bad")
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path, told in (
        (tmp_path / "pipe", "no regular file"),
        (tmp_path / "none", "cannot be read"),
        (tmp_path, "directory"),
    ):
        with pytest.raises(TrustError, match=told):
            KeyFile(path)


@pytest.mark.parametrize("written", [0, 1])
def test_a_disk_that_is_full_leaves_no_key_half_written(tmp_path, monkeypatch, written):
    files = itertools.count()

    def fsync(_: int) -> None:
        if next(files) >= written:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disk, "os", SimpleNamespace(**{**vars(os), "fsync": fsync}))
    with pytest.raises(TrustError, match="No space left"):
        make_key(tmp_path / "alice")
    assert list(tmp_path.iterdir()) == []


ENVELOPE = Envelope(payload_type=PATCH_TYPE, payload=b"what is signed")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_openssl_signs_as_a_command(tmp_path):
    """What a device would do behind its own command; and openssl reads the key as keygen writes it."""
    made = make_key(tmp_path / "alice")
    told = subprocess.run(
        ["openssl", "pkey", "-in", tmp_path / "alice", "-pubout"], capture_output=True, check=True
    ).stdout
    assert told == (tmp_path / "alice.pub").read_bytes()
    script = tmp_path / "device"  # openssl wants to know the size of its input beforehand
    script.write_text(
        f"#!/bin/sh\ncat > {tmp_path}/m && exec openssl pkeyutl -sign -rawin -in {tmp_path}/m -inkey {tmp_path}/alice\n"
    )
    script.chmod(0o700)
    signed = sign(ENVELOPE, Command([str(script)], made))
    assert made.holds(signed.signatures[0].value, ENVELOPE.pae())
    assert signed == sign(ENVELOPE, KeyFile(tmp_path / "alice"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["/nowhere/at/all"], "No such file"),
        (["/bin/sh", "-c", "echo no token >&2; exit 3"], "status 3: no token"),
        (["/bin/sh", "-c", "cat"], "does not hold"),
        (["/bin/sh", "-c", "head -c 64 /dev/zero"], "does not hold"),
        (["/bin/sh", "-c", "sleep 60"], "timed out"),
    ],
)
def test_a_command_that_does_not_sign_is_told(arguments, told):
    with pytest.raises(TrustError, match=told):
        sign(ENVELOPE, Command(arguments, key("alice").key, timeout=0.3 if "sleep 60" in arguments else 10))


def test_a_command_is_a_program_and_not_a_line_for_a_shell():
    for arguments in ("signer --now", []):
        with pytest.raises(TypeError, match="arguments must be"):
            Command(arguments, key("alice").key)


def test_importing_livepatch_and_trust_imports_no_cryptography():
    code = (
        "import sys, livepatch, livepatch.bundle.load, livepatch.bundle.trustroot, livepatch.bundle.remembered\n"
        "import livepatch.bundle.keyfiles, livepatch.bundle.signed\n"
        "livepatch.TrustRoot; livepatch.Release\n"
        "sys.exit('cryptography' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
