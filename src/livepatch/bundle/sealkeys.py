"""X25519 keys, for which patch files are sealed: a public one to seal for, a private one to unseal with."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from livepatch.bundle.keyfiles import no_key, private_in, public_in, write_pair

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

__all__ = ["SealKey", "make_seal_key", "private_seal_key", "read_seal_key"]

_KIND = "an X25519"  # as keygen --seal draws it


@dataclass(frozen=True, slots=True)
class SealKey:
    """A public key to seal for: its 32 bytes."""

    data: bytes

    @property
    def id(self) -> str:
        """What it is known by: the SHA-256 of its bytes, in hexadecimal digits."""
        return hashlib.sha256(b"x25519 " + self.data).hexdigest()

    def loaded(self) -> X25519PublicKey:
        """The key, to seal with."""
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

        return X25519PublicKey.from_public_bytes(self.data)


def make_seal_key(path: str | os.PathLike[str], passphrase: str | None = None) -> SealKey:
    """Draw a new key, as :func:`livepatch.bundle.keyfiles.make_key` does.  Raises :class:`TrustError`."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    private = X25519PrivateKey.generate()
    write_pair(path, private, passphrase)
    return SealKey(private.public_key().public_bytes_raw())


def read_seal_key(path: str | os.PathLike[str]) -> SealKey:
    """The public key in a PEM file.  Raises :class:`TrustError`."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

    expected = f"{_KIND} public key in PEM"
    found = public_in(path, X25519PublicKey, expected)  # type: ignore[type-abstract]  # objects are asked of it
    try:
        X25519PrivateKey.generate().exchange(found)
    except ValueError as error:
        # With a point of small order, what is agreed on is no secret (RFC 7748, 6.1).
        raise no_key(path, "a point of small order", expected, "draw one with livepatch keygen --seal") from error
    return SealKey(found.public_bytes_raw())


def private_seal_key(path: str | os.PathLike[str], passphrase: str | None = None) -> X25519PrivateKey:
    """The private key in a PEM file that its owner alone may read.  Raises :class:`TrustError`."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    expected = f"{_KIND} private key in PEM (PKCS #8)"
    return private_in(path, passphrase, X25519PrivateKey, expected, "keygen --seal")  # type: ignore[type-abstract]
