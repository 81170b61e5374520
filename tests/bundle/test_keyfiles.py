"""Private keys: for their owner alone, in the form that other tools write, or behind a command."""

from __future__ import annotations

import binascii
import errno
import itertools
import os
import shutil
import stat
import subprocess
import sys
import traceback
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.signing import LATER, key, write_patch, write_root

import livepatch
from livepatch.bundle import disk
from livepatch.bundle.command import Command
from livepatch.bundle.envelope import PATCH_TYPE, Envelope
from livepatch.bundle.keyfiles import KeyFile, make_key, read_public
from livepatch.bundle.signing import sign
from livepatch.bundle.trustroot import TrustRoot
from livepatch.cli.main import main
from livepatch.errors import BundleError, TrustError
from livepatch.govern import audit
from livepatch.govern.log import Log


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


def test_a_key_is_drawn_through_no_link(tmp_path):
    make_key(tmp_path / "alice")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for name, target in (("one", "alice"), ("two.pub", "alice"), ("three", "nowhere"), ("four.pub", "nowhere")):
        (tmp_path / name).symlink_to(tmp_path / target)
        with pytest.raises(TrustError, match="at which there is nothing"):
            make_key(tmp_path / name.removesuffix(".pub"))
        (tmp_path / name).unlink()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_nothing_takes_the_place_of_a_key(tmp_path):
    make_key(tmp_path / "alice")
    (tmp_path / "link").symlink_to(tmp_path / "alice")
    before = (tmp_path / "alice").read_bytes()
    write_patch(tmp_path / "fix.lpatch")
    for name in ("alice", "alice.pub", "link"):
        with pytest.raises(BundleError, match="which holds a key"):
            livepatch.sign(tmp_path / "fix.lpatch", key=tmp_path / "alice", output=tmp_path / name)
        with pytest.raises(TrustError, match="no readable trust state"):
            TrustRoot.load(write_root(tmp_path / "trust.json"), state=tmp_path / name)
    assert (tmp_path / "alice").read_bytes() == before


def uses_of_a_key(tmp_path, text: str):
    """Calls that are given the text of a key, or a file with it, where something else is meant."""
    held = str(private(tmp_path / "held", text.encode()))
    patch = str(write_patch(tmp_path / "fix.lpatch"))
    good = str(tmp_path / "alice.pub")
    node = Ed25519PrivateKey.generate()
    log = Log(tmp_path / "record", node, "node7.example.com/livepatch")
    log.append({"event": "checked", "who": "alice"})
    folder = str(log.folder)
    for value in (text, held):
        yield lambda value=value: livepatch.sign(patch, key=value, passphrase=text)
        yield lambda value=value: livepatch.record_to(tmp_path / "other", key=value, origin=text)
        yield lambda value=value: livepatch.TrustRoot.load(value)
        yield lambda value=value: livepatch.TrustRoot.load(write_root(tmp_path / "t.json"), state=value)
        yield lambda value=value: livepatch.load(value)
        yield lambda value=value: audit.verify(value)
        yield lambda value=value: audit.verify(folder, key=value)
        yield lambda value=value: audit.verify(folder, checkpoints=[value])
        yield lambda value=value: read_public(value)
        yield lambda value=value: livepatch.Patch(value, package=value, versions=value)
        yield lambda value=value: livepatch.Release(channel=value)
        for arguments in (
            ["audit", "verify", folder, "--key", value],
            ["audit", "verify", folder, "--checkpoint", value],
            ["audit", "export", folder, "--since", value],
            ["sign", patch, "--key", value],
            ["sign", patch, "--command", f"/bin/false {value}", "--public-key", good],
            ["sign", patch, "--command", f"'{value}", "--public-key", good],
            ["sign", patch, "--key", held, "--passphrase-file", value],
            ["keygen", value],
            ["show", value],
            ["verify", patch, "--trust", value],
            ["trust", "show", value],
            ["trust", "init", held, "--package", "a", "--expires", LATER, "--add", f"root={value}"],
            ["trust", "init", "new", "--package", value, "--expires", value, "--add", f"root={good}"],
        ):
            yield lambda arguments=arguments: main(arguments)


def test_no_message_shows_a_key(tmp_path, capsys, monkeypatch):
    """What is secret of a key in PEM lies in the last 40 characters or so of its one line of base64."""
    monkeypatch.chdir(tmp_path)
    make_key(tmp_path / "alice")
    text = (tmp_path / "alice").read_text()
    secret = text.splitlines()[1][-42:]
    parts = [secret[start : start + 6] for start in range(len(secret) - 6)]
    refused = 0
    for use in uses_of_a_key(tmp_path, text):
        told = ""
        try:
            use()
        except (livepatch.errors.LivepatchError, TypeError, ValueError) as error:
            refused += 1
            told = "".join(traceback.format_exception(error, limit=0, chain=False))
        told += "".join(capsys.readouterr())
        assert [part for part in parts if part in told] == [], told
    assert refused > 15


def test_a_command_that_takes_too_long_is_told_without_its_arguments():
    pin = str(4711)
    with pytest.raises(TrustError, match=r"no end after 0\.1 seconds") as error:
        sign(ENVELOPE, Command(["/bin/sh", "-c", "sleep 60", pin], key("alice").key, timeout=0.1))
    assert pin not in "".join(traceback.format_exception(error.value))


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
        (["/bin/sh", "-c", "sleep 60"], "no end after 0.3 seconds"),
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


@pytest.mark.parametrize(
    ("passphrase", "error"),
    [(b"secret", TypeError), (7, TypeError), ("", TrustError), ("\ud800 secret", TrustError), ("é" * 512, TrustError)],
)
def test_a_passphrase_that_no_key_can_have_is_told(tmp_path, passphrase, error):
    with pytest.raises(error) as told:
        make_key(tmp_path / "new", passphrase)
    assert "secret" not in str(told.value)
    assert list(tmp_path.iterdir()) == []
    make_key(tmp_path / "alice", "é" * 511)
    assert KeyFile(tmp_path / "alice", "é" * 511).key
    with pytest.raises(error):
        KeyFile(tmp_path / "alice", passphrase)


def of_scrypt(rounds):
    """An encrypted key whose own header asks for so many rounds of scrypt, of 1 kB each."""

    def tlv(tag, *parts):
        body = b"".join(parts)
        return bytes([tag, len(body)] if len(body) < 128 else [tag, 0x81, len(body)]) + body

    def number(value):
        return tlv(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))

    salted = tlv(0x30, tlv(4, b"salt"), number(rounds), number(8), number(1))
    derived = tlv(0x30, tlv(6, bytes.fromhex("2b06010401da47040b")), salted)
    cipher = tlv(0x30, tlv(6, bytes.fromhex("60864801650304012a")), tlv(4, bytes(16)))
    scheme = tlv(0x30, tlv(6, bytes.fromhex("2a864886f70d01050d")), tlv(0x30, derived, cipher))
    data = binascii.b2a_base64(tlv(0x30, scheme, tlv(4, bytes(64))))
    return b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n" + data + b"-----END ENCRYPTED PRIVATE KEY-----\n"


def test_a_key_that_asks_for_more_memory_than_there_is_is_told(tmp_path):
    (tmp_path / "bomb").write_bytes(of_scrypt(1 << 62))
    (tmp_path / "bomb").chmod(0o600)
    with pytest.raises(TrustError, match="cannot be used"):
        KeyFile(tmp_path / "bomb", "secret")
