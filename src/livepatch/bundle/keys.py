"""Ed25519 public keys and what they are known by.

The id of a key is derived from its bytes: the SHA-256 of the canonical JSON of ``{"keytype": "ed25519", "keyval":
{"public": HEX}, "scheme": "ed25519"}``, in hexadecimal digits.  That is the id that securesystemslib and python-tuf
give the same key, and one key has one id.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from livepatch.errors import PatchError, TrustError, spelled

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ["PublicKey", "Signer"]

SIZE = 32
# The points of small order, in every encoding, without the bit for the sign: signatures by them prove nothing.
_WEAK = frozenset(
    bytes.fromhex(text)
    for text in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An Ed25519 public key: its 32 bytes, and the id that is derived from them.  Raises :class:`PatchError`."""

    data: bytes
    id: str = field(init=False)

    def __post_init__(self) -> None:
        if len(self.data) != SIZE:
            raise PatchError(
                "no Ed25519 public key",
                found=f"{len(self.data)} bytes",
                expected=f"the {SIZE} bytes of a key",
                action="give the key's own 32 bytes, as livepatch keygen's .pub file holds them",
            )
        if self.data[:-1] + bytes([self.data[-1] & 0x7F]) in _WEAK:
            raise PatchError(
                "no Ed25519 public key",
                found="a point of small order",
                expected="a key that was drawn",
                action="draw another key: livepatch keygen",
            )
        text = f'{{"keytype":"ed25519","keyval":{{"public":"{self.data.hex()}"}},"scheme":"ed25519"}}'
        object.__setattr__(self, "id", hashlib.sha256(text.encode()).hexdigest())

    @classmethod
    def of_hex(cls, text: str) -> PublicKey:
        """The key of 64 small hexadecimal digits.  Raises :class:`PatchError`."""
        if len(text) != 2 * SIZE or not set(text) <= set("0123456789abcdef"):
            raise PatchError(
                "no Ed25519 public key",
                found=spelled(text),
                expected="64 small hexadecimal digits",
                action="copy the key anew from its .pub file or trust root",
            )
        return cls(bytes.fromhex(text))

    def to_dict(self) -> dict[str, Any]:
        """As securesystemslib and TUF metadata write it."""
        return {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": self.data.hex()}}

    def holds(self, signature: bytes, message: bytes) -> bool:
        """Whether it is a signature on the message by this key."""
        from cryptography.exceptions import InvalidSignature

        try:
            _loaded(self.data).verify(signature, message)
        except InvalidSignature:
            return False
        return True


@functools.lru_cache(maxsize=256)
def _loaded(data: bytes) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        return Ed25519PublicKey.from_public_bytes(data)
    except ValueError as error:
        raise TrustError(
            "no Ed25519 public key",
            found=data.hex(),
            expected="a point of the curve",
            action="copy the key anew from its .pub file or trust root",
        ) from error


class Signer(Protocol):
    """What signs: a key in a file, or a command that asks a device for it."""

    @property
    def key(self) -> PublicKey:
        """The public key of its signatures."""

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of a signature.  Raises :class:`TrustError`."""
