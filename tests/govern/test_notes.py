from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from livepatch.errors import AuditError
from livepatch.govern.entries import Checkpoint
from livepatch.govern.notes import COSIGNATURE, Note, Signature, Signer, Verifier, cosign, sign, verifier_of

# The example of golang.org/x/mod/sumdb/note, where the format comes from.
VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


@pytest.fixture
def key():
    return Ed25519PrivateKey.generate()


def test_a_note_that_others_signed_is_read_and_verified():
    verifier = Verifier.parse(VKEY)
    note = Note.parse(NOTE.encode())
    assert note.signed_by([verifier]) == (verifier,)
    assert (str(note), str(verifier)) == (NOTE, VKEY)


def test_another_text_is_not_what_was_signed():
    with pytest.raises(AuditError, match="does not hold"):
        Note.parse(NOTE.replace("answer", "question")).signed_by([Verifier.parse(VKEY)])


def test_signatures_of_unknown_keys_are_ignored(key):
    assert Note.parse(NOTE).signed_by([verifier_of("PeterNeumann", key)]) == ()


def test_a_key_id_is_derived_from_the_name_the_kind_and_the_key(key):
    verifier = verifier_of("node7.example.com/livepatch", key)
    public = key.public_key().public_bytes_raw()
    assert verifier.id == hashlib.sha256(b"node7.example.com/livepatch\n\x01" + public).digest()[:4]
    assert Verifier.parse(str(verifier)) == verifier


def test_a_cosignature_signs_the_time_as_well(key):
    witness = Ed25519PrivateKey.generate()
    log = verifier_of("node7.example.com/livepatch", key)
    note = sign(Checkpoint(log.name, 3, bytes(32)).text, log, key)
    twice = cosign(note, "witness.example.com/w1", witness, 1_679_315_147)
    line = twice.signatures[1]
    message = b"cosignature/v1\ntime 1679315147\n" + note.text.encode()
    public = witness.public_key()
    public.verify(line.signature[8:], message)
    assert line.id == hashlib.sha256(b"witness.example.com/w1\n\x04" + public.public_bytes_raw()).digest()[:4]
    verifier = verifier_of("witness.example.com/w1", witness, COSIGNATURE)
    assert Note.parse(str(twice)).signed_by([log, verifier]) == (log, verifier)
    later = Signature(line.name, line.id, (1_679_315_148).to_bytes(8) + line.signature[8:])
    with pytest.raises(AuditError, match="does not hold"):
        Note(note.text, (note.signatures[0], later)).signed_by([verifier])
    with pytest.raises(AuditError, match="does not hold"):
        Note(note.text, (Signature(line.name, line.id, b"short"),)).signed_by([verifier])


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "text\n",
        "text\n\n",
        "text\n\n- name AAAAAAAA\n",
        "text\n\n\u2014 name\n",
        "text\n\n\u2014 name AAAA\n",
        "text\n\n\u2014 name AAAAAAAB=\n",
        "text\n\n\u2014 na+me AAAAAAAA\n",
        "text\n\n\u2014 name AAAAAAAA",
        "te\rxt\n\n\u2014 name AAAAAAAA\n",
        "text\n\n\u2014 name AAAAAAAA\n\n",
        "text" * 20_000 + "\n\n\u2014 name AAAAAAAA\n",
        b"\xff\n\n",
        "\ud800\n\n\u2014 name AAAAAAAA\n",
        NOTE.replace("AM=\n", "AN=\n"),  # the same bytes, spelled in another way
    ],
)
def test_what_is_no_note_is_refused(broken):
    with pytest.raises(AuditError):
        Note.parse(broken)


@pytest.mark.parametrize(
    "broken",
    ["", "name", "name+c74f20a3", VKEY[:-4], VKEY.replace("c74f", "c74e"), VKEY.replace("Peter", "Pet\u200ber"),
     "n+00000000+" + base64.b64encode(b"\x02" + bytes(32)).decode()],
)  # fmt: skip
def test_what_is_no_verifier_key_is_refused(broken):
    with pytest.raises(AuditError):
        Verifier.parse(broken)


@pytest.mark.parametrize("name", ["", "two words", "a+b", "line\nbreak", "x" * 201, "zero\u200bwidth"])
def test_a_key_has_a_name_without_blanks(key, name):
    with pytest.raises(AuditError, match="cannot have that name"):
        verifier_of(name, key)


@pytest.mark.parametrize(
    "text",
    ["", "a\n1\n", "a\n01\nAAAA\n", "a\n1\nAAAA\n", "\n1\n" + "A" * 43 + "=\n", "a\n-1\n" + "A" * 43 + "=\n",
     "a\n\u0661\n" + "A" * 43 + "=\n", "a\n1\n" + "A" * 43 + "=\nextension\n", "a\n1\n" + "A" * 42 + "B=\n"],
)  # fmt: skip
def test_what_is_no_checkpoint_is_refused(text):
    with pytest.raises(AuditError, match="no checkpoint"):
        Checkpoint.parse(text)


def test_the_checkpoint_of_the_specification_is_read():
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    assert Checkpoint.parse(text).size == 20_852_163
    assert Checkpoint.parse(text).text == text


def test_a_key_that_signs_many_notes_writes_them_as_any_note_is_written():
    key = Ed25519PrivateKey.generate()
    verifier = verifier_of("node7.example.com/livepatch", key)
    for text in ("a\n", "node7.example.com/livepatch\n3\nAAAA\n", "é\n"):
        assert Signer(verifier, key).sign(text) == str(sign(text, verifier, key))
