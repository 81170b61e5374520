"""DSSE envelopes: bytes of a named type, and signatures on both.

An envelope says nothing about who may sign: that is for a trust root.  :class:`SignedBundle` is the envelope of a patch
file as it was read.  Its payload is bytes and nothing more: the codec takes a :class:`VerifiedBundle`, which only
:func:`livepatch.bundle.signing.verify` makes, or an :class:`UnverifiedBundle`, whose patch cannot be applied.

DSSE: https://github.com/secure-systems-lab/dsse
"""

from __future__ import annotations

import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, replace
from typing import Final

from livepatch.bundle.jsontext import Refuse, read_object, refusing
from livepatch.bundle.reading import LIMITS
from livepatch.errors import UntrustedFileError, spelled

__all__ = [
    "LARGEST_FILE",
    "PATCH_TYPE",
    "Envelope",
    "Signature",
    "SignedBundle",
    "UnverifiedBundle",
    "VerifiedBundle",
    "digest",
    "pae",
    "read_bundle",
    "read_envelope",
]

PATCH_TYPE = "application/vnd.livepatch.patch"
_SIGNATURES = 64
_KEYID = 128
_SIGNATURE = 512  # those of other schemes are larger than Ed25519's, and skipped
_AROUND = 128 << 10
SEALED = b'{"type": "livepatch.sealed"'
"""How a sealed file begins."""
LARGEST_FILE = (LIMITS.file + 2) // 3 * 4 + _AROUND
"""Bytes of the largest signed patch file."""


def digest(data: bytes) -> str:
    """What bytes are known by in records: ``sha256:`` and 64 hexadecimal digits."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def pae(payload_type: str, payload: bytes) -> bytes:
    """What is signed: DSSE's pre-authentication encoding of the type and the payload."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature, and the id of the key that it claims to be made by."""

    keyid: str
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A payload, what kind it is of, and the signatures on both, no two of them by one key id."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...] = ()

    def pae(self) -> bytes:
        """What is signed."""
        return pae(self.payload_type, self.payload)

    def signed(self, signature: Signature) -> Envelope:
        """The same with one more signature, in the place of an older one by that key."""
        others = tuple(other for other in self.signatures if other.keyid != signature.keyid)
        return replace(self, signatures=(*others, signature))

    def to_bytes(self) -> bytes:
        """The envelope as JSON, as it lies in a file."""
        plain = {
            "payload": binascii.b2a_base64(self.payload, newline=False).decode(),
            "payloadType": self.payload_type,
            "signatures": [
                {"keyid": each.keyid, "sig": binascii.b2a_base64(each.value, newline=False).decode()}
                for each in self.signatures
            ],
        }
        return json.dumps(plain).encode() + b"\n"


def read_envelope(data: bytes, *, payload: int, refuse: Refuse) -> Envelope:
    """Read the JSON of an envelope with a payload of at most so many bytes."""
    most = (payload + 2) // 3 * 4 + _AROUND
    fields = read_object(data, most=most, brackets=_SIGNATURES + 2, refuse=refuse)
    kind = fields.text("payloadType", _KEYID)
    content = fields.binary("payload", payload)
    signatures = []
    seen = set()
    for each in fields.records("signatures", _SIGNATURES):
        signature = Signature(each.text("keyid", _KEYID), each.binary("sig", _SIGNATURE))
        each.end()
        if signature.keyid in seen:
            raise refuse(f"two signatures by the key {spelled(signature.keyid)}", "one signature a key")
        seen.add(signature.keyid)
        signatures.append(signature)
    fields.end()
    return Envelope(payload_type=kind, payload=content, signatures=tuple(signatures))


# Patch files


@dataclass(frozen=True, slots=True)
class UnverifiedBundle:
    """The bytes of a patch that nobody has verified.  A patch that is read from it cannot be applied, unless `vouched`.

    `vouched`: the caller takes them as they are, with ``trust=livepatch.UNSIGNED``.
    """

    payload: bytes
    vouched: bool = False

    @property
    def digest(self) -> str:
        """What the patch is known by."""
        return digest(self.payload)


@dataclass(frozen=True, slots=True)
class SignedBundle:
    """A signed patch file as it was read.  Nothing is known yet of who signed it, nor of what it holds."""

    envelope: Envelope

    def unverified(self, *, vouched: bool = False) -> UnverifiedBundle:
        """What it holds, for a reader that does not ask who signed it.  Raises :class:`UntrustedFileError`."""
        if self.envelope.payload_type != PATCH_TYPE:
            raise UntrustedFileError(
                "the file holds no patch",
                found=f"a payload of type {spelled(self.envelope.payload_type)}",
                expected=f"one of type {PATCH_TYPE!r}",
                action="correct the path",
            )
        return UnverifiedBundle(self.envelope.payload, vouched)


VERIFIED: Final = object()
"""The proof that signatures were verified.  For :func:`livepatch.bundle.signing.verify` alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedBundle:
    """The bytes of a patch on which the signatures hold that a trust root asks for.  Only ``signing.verify`` makes one.

    `signers` are the ids of the keys that count, by role; `until` is when the trust root expires.
    """

    payload: bytes
    signers: Mapping[str, tuple[str, ...]]
    until: str
    proof: InitVar[object]

    def __post_init__(self, proof: object) -> None:
        if proof is not VERIFIED:
            raise TypeError("a VerifiedBundle is made by livepatch.bundle.signing.verify alone")

    @property
    def digest(self) -> str:
        """What the patch is known by: the digest of the very bytes that are signed, whoever signs them."""
        return digest(self.payload)


def read_bundle(data: bytes) -> SignedBundle | UnverifiedBundle:
    """The bytes of a patch file: in an envelope, or without one.  Nothing of the patch is read.

    Raises :class:`UntrustedFileError` for an envelope that is not in order.
    """
    if not data.startswith(b"{"):
        return UnverifiedBundle(data)
    if data.startswith(SEALED):
        raise UntrustedFileError(
            "the patch file is sealed",
            found="an encrypted file",
            expected="a patch file",
            action="unseal it with a key that it was sealed for: livepatch unseal",
        )
    what = "no readable signed patch file"
    action = "get the file anew, and compare it with the one that was published"
    return SignedBundle(read_envelope(data, payload=LIMITS.file, refuse=refusing(UntrustedFileError, what, action)))
