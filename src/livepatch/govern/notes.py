"""Signed notes (C2SP signed-note), and cosignatures of checkpoints (C2SP tlog-cosignature, the Ed25519 kind).

A note is text, a blank line, and one line for each signature: an em dash, the name of a key, and the base64 of the
key's id and the signature.  Who reads one names the keys that count; signatures of all others are ignored.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from livepatch.errors import AuditError, spelled

__all__ = ["Note", "Signature", "Signer", "Verifier", "check_key_name", "cosign", "sign"]

Kind = Literal[1, 4]
SIGNATURE: Kind = 1
COSIGNATURE: Kind = 4
_LARGEST = 64 * 1024  # bytes; signed-note asks for a limit, and for room for 16 signatures at least
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_NAME = re.compile(r"[^\s+]{1,200}")


def check_key_name(name: str) -> str:
    """The name of a key, such as ``node7.example.com/livepatch``.  Raises :class:`AuditError`."""
    if not _NAME.fullmatch(name) or not name.isprintable():
        raise AuditError(
            "a key cannot have that name",
            found=spelled(name),
            expected="1 to 200 characters without blanks and '+', such as 'node7.example.com/livepatch'",
            action="choose another name",
        )
    return name


def _broken(what: str, found: str, expected: str) -> AuditError:
    return AuditError(what, found=found, expected=expected, action="get it anew from where it was made")


def decoded(text: str) -> bytes:
    """Standard base64 with its padding, and with no other spelling of the same bytes.  Raises :class:`ValueError`."""
    data = base64.b64decode(text.encode("ascii"), validate=True)
    if base64.b64encode(data).decode() != text:
        raise ValueError("base64 with stray bits")
    return data


def encoded(data: bytes) -> str:
    """Standard base64 with its padding."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key and its name; as text a verifier key, ``name+id+key``, of signed notes.

    `kind` is 1 for a key that signs notes, and 4 for one that cosigns checkpoints.
    """

    name: str
    public: bytes
    kind: Kind = SIGNATURE

    @property
    def id(self) -> bytes:
        """The four bytes that stand before a signature of this key."""
        return _id(self.name, self.kind, self.public)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a verifier key.  Raises :class:`AuditError`."""
        right = "name+id+key, as `livepatch audit show` prints it"
        name, _, rest = text.strip().partition("+")
        identity, _, key = rest.partition("+")
        try:
            data = decoded(key)
        except (ValueError, binascii.Error) as error:
            raise _broken("that is no verifier key", spelled(text), right) from error
        if len(data) != 33 or data[0] not in (SIGNATURE, COSIGNATURE):
            raise _broken("that is no Ed25519 verifier key", spelled(text), right)
        made = cls(check_key_name(name), data[1:], SIGNATURE if data[0] == SIGNATURE else COSIGNATURE)
        if identity != made.id.hex():
            raise _broken("the id of a verifier key is not that of its key", identity[:20], made.id.hex())
        return made

    def __str__(self) -> str:
        key = base64.b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.id.hex()}+{key}"

    def holds(self, text: str, signature: bytes) -> bool:
        """Whether those bytes, without the key's id, are a signature of this text."""
        message = text.encode()
        if self.kind == COSIGNATURE:
            if len(signature) != 72:
                return False
            message = _cosigned(message, int.from_bytes(signature[:8]))
            signature = signature[8:]
        try:
            _public(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


@functools.lru_cache(maxsize=64)
def _id(name: str, kind: int, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4]


@functools.lru_cache(maxsize=64)
def _public(key: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(key)


def _cosigned(message: bytes, seconds: int) -> bytes:
    return b"cosignature/v1\ntime %d\n" % seconds + message


@dataclass(frozen=True, slots=True)
class Signature:
    """One line below a note: the name of a key, its id, and what it signed with."""

    name: str
    id: bytes
    signature: bytes

    def __str__(self) -> str:
        return f"\u2014 {self.name} {encoded(self.id + self.signature)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """Text with signatures.  That it was read says nothing about them: see :meth:`signed_by`."""

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, note: str | bytes) -> Self:
        """Read a note.  Raises :class:`AuditError`; no signature is looked at."""
        right = "text, a blank line, and signature lines (C2SP signed-note)"
        try:
            text = note.decode() if isinstance(note, bytes) else note
            size = len(text.encode())
        except UnicodeError as error:
            raise _broken("a note is not UTF-8", "other bytes", right) from error
        if size > _LARGEST or _CONTROL.search(text):
            raise _broken("that is no signed note", "too long, or control characters", right)
        split = text.rfind("\n\n")
        lines = text[split + 2 :]
        if split < 0 or not lines.endswith("\n"):
            raise _broken("that is no signed note", spelled(text), right)
        return cls(text[: split + 1], tuple(_signature(line) for line in lines[:-1].split("\n")))

    def signed_by(self, verifiers: Iterable[Verifier]) -> tuple[Verifier, ...]:
        """Those of the keys that have signed it; signatures of other keys are ignored.

        Raises :class:`AuditError` for one of a key that is known and does not hold.
        """
        found = []
        for each in verifiers:
            own = [s for s in self.signatures if (s.name, s.id) == (each.name, each.id)]
            for signature in own:
                if not each.holds(self.text, signature.signature):
                    raise AuditError(
                        f"a signature of {each.name} does not hold",
                        found="a note with another text, or another key",
                        expected=f"the text that {each} signed",
                        action="find out who changed it",
                    )
            found += [each] if own else []
        return tuple(found)

    def __str__(self) -> str:
        return self.text + "\n" + "".join(map(str, self.signatures))


def _signature(line: str) -> Signature:
    right = "an em dash, the name of a key, and base64"
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    try:
        data = decoded(encoded)
    except (ValueError, binascii.Error) as error:
        raise _broken("a signature line is not one", spelled(line), right) from error
    if dash != "\u2014" or not _NAME.fullmatch(name) or len(data) < 5:
        raise _broken("a signature line is not one", spelled(line), right)
    return Signature(name, data[:4], data[4:])


def verifier_of(name: str, key: Ed25519PrivateKey, kind: Kind = SIGNATURE) -> Verifier:
    """The public side of a key."""
    return Verifier(check_key_name(name), key.public_key().public_bytes_raw(), kind)


class Signer:
    """A key that signs many notes under one name."""

    def __init__(self, verifier: Verifier, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._id = verifier.id
        self._before = f"\u2014 {verifier.name} "

    def sign(self, text: str) -> str:
        """The note of that text with one signature, as it is written."""
        return f"{text}\n{self._before}{encoded(self._id + self._key.sign(text.encode()))}\n"


def sign(text: str, verifier: Verifier, key: Ed25519PrivateKey) -> Note:
    """A note of that text with one signature."""
    return Note(text, (Signature(verifier.name, verifier.id, key.sign(text.encode())),))


def cosign(note: Note, name: str, key: Ed25519PrivateKey, seconds: int) -> Note:
    """The same checkpoint with one more signature: whoever makes it has seen, by then, that it is consistent.

    `seconds` is when, since the epoch.  See :func:`livepatch.govern.merkle.is_consistent` for what to look at before.
    """
    verifier = verifier_of(name, key, COSIGNATURE)
    made = seconds.to_bytes(8) + key.sign(_cosigned(note.text.encode(), seconds))
    return Note(note.text, (*note.signatures, Signature(name, verifier.id, made)))
