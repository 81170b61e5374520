"""DSSE envelopes: read strictly, written as others read them, and never more than bytes before they are verified."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.signing import key, patch_envelope, root_envelope, trust_root

from livepatch.bundle import codec
from livepatch.bundle.envelope import (
    PATCH_TYPE,
    Envelope,
    SignedBundle,
    UnverifiedBundle,
    VerifiedBundle,
    pae,
    read_bundle,
)
from livepatch.bundle.keys import PublicKey
from livepatch.bundle.remembered import Remembered, Seen, Signers
from livepatch.bundle.signing import sign
from livepatch.bundle.trustroot import TrustRoot, clock
from livepatch.errors import BundleError, PatchError, TrustError, UntrustedFileError

GOOD = patch_envelope()
PLAIN = json.loads(GOOD.to_bytes())


def refused(data: bytes) -> str:
    with pytest.raises(UntrustedFileError) as error:
        read_bundle(data)
    assert error.value.found
    assert error.value.expected
    return str(error.value)


def changed(**fields) -> bytes:
    return json.dumps({**PLAIN, **fields}).encode()


def test_the_encoding_is_that_of_the_standard():
    """The example of the DSSE protocol."""
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_what_was_written_is_read():
    assert read_bundle(GOOD.to_bytes()) == SignedBundle(GOOD)
    assert read_bundle(GOOD.payload) == UnverifiedBundle(GOOD.payload)


SIGNATURES = PLAIN["signatures"]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (changed(more=1), "an unknown field"),
        (json.dumps({k: v for k, v in PLAIN.items() if k != "payload"}).encode(), "payload: no such field"),
        (changed(payload=5), "payload: a int"),
        (changed(payload=PLAIN["payload"].rstrip("=") + "\n"), "no base64"),
        (changed(payload="QQ"), "no base64"),
        (changed(payload="QR=="), "an odd spelling"),
        (changed(payload="-_8="), "no base64"),
        (changed(payload=" " + PLAIN["payload"]), "no base64"),
        (changed(signatures=[*SIGNATURES, SIGNATURES[0]]), "two signatures by the key"),
        (changed(signatures=SIGNATURES * 30), "more than 66 objects"),
        (changed(signatures=[[]]), "something else"),
        (changed(signatures={}), "signatures: a dict"),
        (changed(signatures=[{**SIGNATURES[0], "cert": ""}]), "signatures[0].'cert': an unknown field"),
        (changed(signatures=[{"sig": "QQ=="}]), "signatures[0].keyid: no such field"),
        (changed(signatures=[{"keyid": "k" * 200, "sig": "QQ=="}]), "a text of 200 characters"),
        (changed(signatures=[{"keyid": "\u00e9", "sig": "QQ=="}]), "not ASCII"),
        (changed(signatures=[{"keyid": "k", "sig": "QQ==" * 300}]), "base64 of 512 bytes or fewer"),
        (changed(payloadType="\ud800"), "not ASCII"),
        (changed(payloadType="x" * 200), "a text of 200 characters"),
        (b'{"payload": "", "payload": ""}', "'payload' twice"),
        (b'{"payload": NaN}', "the number 'NaN'"),
        (b'{"payload": -Infinity}', "the number '-Infinity'"),
        (b'{"payload": 1.5}', "the number '1.5'"),
        (b'{"payload": 1e999}', "the number '1e999'"),
        (b'{"payload": ' + b"9" * 100_000 + b"}", "a number of 100000 digits"),
        (b'{"payload": ' + b"[" * 100_000, "more than 66 objects"),
        (changed(payload=[[[[]]]]), "payload: a list"),
        ('{"payload": "é"}'.encode(), "not ASCII"),
        (b'{"payload": "\xff"}', "not ASCII"),
        (GOOD.to_bytes()[:-4], "no JSON"),
        (GOOD.to_bytes() + b"{}", "no JSON"),
        (b"{}", "payloadType: no such field"),
        (b"{" + b" " * (24 << 20), "bytes or fewer"),
    ],
)
def test_what_is_not_in_order_is_refused(data, told):
    assert told in refused(data)


def test_every_error_is_of_both_kinds():
    """It is no file that can be read, and nothing to trust."""
    assert issubclass(UntrustedFileError, TrustError)
    assert issubclass(UntrustedFileError, BundleError)


@settings(max_examples=80, deadline=None)
@given(st.text("AQRZaz09+/=-_ \n", max_size=12))
def test_bytes_have_one_spelling(text):
    """Whatever base64 is read is what the bytes would be written as."""
    envelope = changed(payload=text)
    try:
        file = read_bundle(envelope)
    except UntrustedFileError:
        return
    assert isinstance(file, SignedBundle)
    assert base64.b64encode(file.envelope.payload).decode() == text


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=10,
)
READERS = st.sampled_from([read_bundle, TrustRoot.parse, TrustRoot.parse_unsigned])


def only_documented(read, data: bytes) -> None:
    with contextlib.suppress(TrustError):
        read(data)


@settings(max_examples=80, deadline=None)
@given(READERS, st.binary(max_size=200))
@example(read_bundle, b"{")
def test_any_bytes_end_in_a_documented_error(read, data):
    only_documented(read, b"{" + data)


@settings(max_examples=20, deadline=None)
@given(READERS, st.dictionaries(st.sampled_from(["payload", "payloadType", "signatures", "x"]), VALUES))
def test_any_object_ends_in_a_documented_error(read, value):
    only_documented(read, json.dumps(value).encode())


@settings(max_examples=20, deadline=None)
@given(st.dictionaries(st.sampled_from(["type", "format", "package", "version", "keys", "roles"]), VALUES))
def test_any_trust_root_ends_in_a_documented_error(value):
    payload = json.dumps(value).encode()
    envelope = Envelope(payload_type="application/vnd.livepatch.trust-root+json", payload=payload)
    only_documented(TrustRoot.parse_unsigned, envelope.to_bytes())


ROOT = root_envelope()
SEEN = Seen(
    package="nodeclient",
    channel="stable",
    id="CVE-2026-1234",
    revision=3,
    digest="sha256:" + "0" * 64,
    signers={"author": Signers(frozenset({"0" * 64}), 1), "operator": Signers(frozenset({"1" * 64, "2" * 64}), 2)},
)
STATE = Remembered(time=clock(), roots=(trust_root(),), patches=(SEEN,)).to_bytes()
READ_AND_VALID = {
    "envelope": (read_bundle, GOOD.to_bytes()),
    "trust root": (TrustRoot.parse, ROOT.to_bytes()),
    "payload": (
        lambda data: TrustRoot.parse_unsigned(dataclasses.replace(ROOT, payload=data).to_bytes()),
        ROOT.payload,
    ),
    "state": (Remembered.parse, STATE),
}


@pytest.mark.parametrize("what", READ_AND_VALID)
def test_valid_files_cut_and_spliced_end_in_a_documented_error(what):
    """As many as take a moment; each is near a valid file, where readers have their corners."""
    read, valid = READ_AND_VALID[what]
    read(valid)
    splices(read, valid, 200)


@pytest.mark.slow
@pytest.mark.parametrize("what", READ_AND_VALID)
def test_many_files_cut_and_spliced_end_in_a_documented_error(what):
    splices(*READ_AND_VALID[what], 5_000)


def splices(read, valid: bytes, count: int) -> None:
    chance = random.Random(7)
    parts = [
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"0",
        b"1e9",
        b"null",
        b"true",
        b"\\u0000",
        b"\\ud800",
        b"NaN",
        b"=",
    ]
    for _ in range(count):
        start, end = sorted(chance.choices(range(len(valid) + 1), k=2))
        end = chance.choice([start, start + 1, end])
        middle = chance.choice([b"", chance.choice(parts), chance.randbytes(2), valid[start:end] * 2])
        only_documented(read, valid[:start] + middle + valid[end:])


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_no_byte_of_what_was_signed_can_be_changed(data):
    """Whatever the envelope becomes, it is refused, or it still holds the very bytes that were signed."""
    good = GOOD.to_bytes()
    at = data.draw(st.integers(0, len(good) - 1))
    value = data.draw(st.integers(0, 255))
    tampered = good[:at] + bytes([value]) + good[at + 1 :]
    try:
        file = read_bundle(tampered)
        assert isinstance(file, SignedBundle)
        verified = trust_root().verify(file, clock())
    except TrustError:
        return
    except AssertionError:
        assert at == 0  # then it is no envelope at all
        return
    assert verified.payload == GOOD.payload


# Types


def test_the_codec_takes_nothing_that_might_be_unverified_by_mistake():
    for bundle in (GOOD.payload, GOOD, SignedBundle(GOOD), None):
        with pytest.raises(TypeError, match="must be a VerifiedBundle or an UnverifiedBundle"):
            codec.decode(bundle)
    assert not hasattr(SignedBundle(GOOD), "payload")


def test_nobody_makes_a_verified_bundle_but_by_verifying():
    with pytest.raises(TypeError, match="proof"):
        VerifiedBundle(payload=b"", signers={}, until="")
    with pytest.raises(TypeError, match=r"signing\.verify alone"):
        VerifiedBundle(payload=b"", signers={}, until="", proof=object())
    verified = trust_root().verify(SignedBundle(GOOD), clock())
    with pytest.raises((TypeError, ValueError)):
        dataclasses.replace(verified, payload=b"")
    with pytest.raises(dataclasses.FrozenInstanceError):
        verified.payload = b""


# Keys


def test_a_weak_or_wrong_key_is_none():
    for data in (bytes(32), b"\1" + bytes(31), b"\1" + bytes(30) + b"\x80", b"\xec" + b"\xff" * 31, bytes(31)):
        with pytest.raises(PatchError, match="no Ed25519 public key"):
            PublicKey(data)
    for text in ("", "0" * 63, key("alice").key.data.hex().upper(), "g" * 64):
        with pytest.raises(PatchError, match="no Ed25519 public key"):
            PublicKey.of_hex(text)


def test_a_signature_that_does_not_hold_is_not_taken():
    class Wrong:
        key = key("alice").key

        def sign(self, message):
            return random.Random(1).randbytes(64)

    with pytest.raises(TrustError, match="does not hold"):
        sign(GOOD, Wrong())


# Others read and write the same


def test_securesystemslib_verifies_what_is_signed_here():
    dsse = pytest.importorskip("securesystemslib.dsse")
    from securesystemslib.signer import SSlibKey

    theirs = dsse.Envelope.from_dict(json.loads(GOOD.to_bytes()))
    keys = []
    for name in ("alice", "carol", "erin"):
        public = SSlibKey.from_crypto(key(name).private.public_key())
        assert public.keyid == key(name).key.id
        assert public.to_dict() == key(name).key.to_dict()
        keys.append(public)
    assert len(theirs.verify(keys, 3)) == 3
    assert theirs.pae() == GOOD.pae()


def test_what_securesystemslib_signs_is_verified_here():
    dsse = pytest.importorskip("securesystemslib.dsse")
    from securesystemslib.signer import CryptoSigner

    theirs = dsse.Envelope(GOOD.payload, PATCH_TYPE, {})
    for name in ("alice", "carol", "erin"):
        theirs.sign(CryptoSigner(key(name).private))
    file = read_bundle(json.dumps(theirs.to_dict(), indent=2).encode())
    assert isinstance(file, SignedBundle)
    verified = trust_root().verify(file, clock())
    assert verified.payload == GOOD.payload
    assert verified.signers["author"] == (key("alice").key.id,)
    assert base64.b64decode(json.loads(GOOD.to_bytes())["payload"]) == theirs.payload
