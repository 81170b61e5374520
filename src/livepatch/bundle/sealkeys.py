"""X25519 keys, for which patch files are sealed: a public one to seal for, a private one to unseal with."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from livepatch.bundle import disk
from livepatch.bundle.keyfiles import read_private
from livepatch.errors import TrustError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

__all__ = ["SealKey", "make_seal_key", "private_seal_key", "read_seal_key"]

_LARGEST = 16 << 10
_KIND = "an X25519 key in PEM, as keygen --seal writes it"


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
    """Draw a new key: the private part into a new file at `path`, the public part into one with ``.pub`` behind it.

    Raises :class:`TrustError` if one of the files is there already or cannot be written; then no file is new.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    if passphrase is not None and not passphrase:
        raise _no_key(path, "an empty passphrase", "a passphrase, or none")
    private = X25519PrivateKey.generate()
    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        protection = serialization.BestAvailableEncryption(passphrase.encode())
    data = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
    public = private.public_key()
    told = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    beside = Path(f"{os.fspath(path)}.pub")
    made = False
    try:
        disk.write_new(beside, told, 0o644)
        made = True
        disk.write_new(path, data, 0o600)
    except BaseException as error:
        if made:
            beside.unlink(missing_ok=True)
        if isinstance(error, (OSError, ValueError)):
            raise TrustError(
                "the key was not written",
                found=f"{os.fspath(path)}: {getattr(error, 'strerror', None) or error}",
                expected="two new files",
                action="give another name: no file is overwritten",
            ) from error
        raise
    return SealKey(public.public_bytes_raw())


def read_seal_key(path: str | os.PathLike[str]) -> SealKey:
    """The public key in a PEM file.  Raises :class:`TrustError`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    data = disk.read_for_trust(path, _LARGEST, "the public key")
    try:
        found = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _no_key(path, "no public key that can be read", _KIND) from error
    if not isinstance(found, X25519PublicKey):
        raise _no_key(path, "a key of another kind, such as one that signs", _KIND)
    return SealKey(found.public_bytes_raw())


def private_seal_key(path: str | os.PathLike[str], passphrase: str | None = None) -> X25519PrivateKey:
    """The private key in a PEM file that its owner alone may read.  Raises :class:`TrustError`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = read_private(path)
    try:
        found = load_pem_private_key(data, None if passphrase is None else passphrase.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # What the library says may show what is in the file.
        raise _no_key(path, "no private key, or a passphrase that is missing, wrong or of no use", _KIND) from None
    if not isinstance(found, X25519PrivateKey):
        raise _no_key(path, "a key of another kind, such as one that signs", _KIND)
    return found


def _no_key(path: str | os.PathLike[str], found: str, expected: str) -> TrustError:
    return TrustError(
        f"{os.fspath(path)} is of no use as a key to seal for",
        found=found,
        expected=expected,
        action="draw one with livepatch keygen --seal, or correct the path",
    )
