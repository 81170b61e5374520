"""Private keys: in files that nobody else may read, or behind a command that asks a device to sign."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from livepatch.bundle import disk
from livepatch.bundle.keys import PublicKey
from livepatch.errors import PatchError, TrustError, spelled

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

__all__ = ["KeyFile", "is_encrypted", "make_key", "private_key", "read_private", "read_public"]

K = TypeVar("K")

_LARGEST = 16 << 10
_PASSPHRASE = 1023  # bytes, as OpenSSL takes them
_PUBLIC_BEGINS = b"-----BEGIN PUBLIC KEY-----"
_ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


class KeyFile:
    """Signs with the private key in a file: PEM, PKCS #8, Ed25519, mode 0600, encrypted or not.

    Raises :class:`TrustError` for a file that cannot be read, that another user owns or may read, that holds another
    kind of key, and for a passphrase that is missing, wrong or of no use.
    """

    def __init__(self, path: str | os.PathLike[str], passphrase: str | None = None) -> None:
        self._private = private_key(path, passphrase)
        self._key = PublicKey(self._private.public_key().public_bytes_raw())

    @property
    def key(self) -> PublicKey:
        """The public key of its signatures."""
        return self._key

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of a signature."""
        return self._private.sign(message)


def make_key(path: str | os.PathLike[str], passphrase: str | None = None) -> PublicKey:
    """Draw a new key: the private part into a new file at `path`, the public part into one with ``.pub`` behind it.

    Raises :class:`TrustError` if one of the files is there already or cannot be written; then no file is new.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    write_pair(path, private, passphrase)
    return PublicKey(private.public_key().public_bytes_raw())


def write_pair(
    path: str | os.PathLike[str], private: Ed25519PrivateKey | X25519PrivateKey, passphrase: str | None
) -> None:
    """Write both parts of a key into new files, as PEM, the private one with mode 0600; encrypted with a passphrase.

    Raises :class:`TrustError` if one of the files is there already or cannot be written; then no file is new.
    """
    from cryptography.hazmat.primitives import serialization

    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        protection = serialization.BestAvailableEncryption(_encoded(path, passphrase))
    data = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
    public = f"{os.fsdecode(path)}.pub"
    _write_public(public, private.public_key())
    try:
        disk.write_new(path, data, 0o600)
    except BaseException as error:
        Path(public).unlink(missing_ok=True)
        if isinstance(error, (OSError, ValueError)):
            raise _not_written(path, error) from error
        raise


def _encoded(path: str | os.PathLike[str], passphrase: str) -> bytes:
    if not isinstance(passphrase, str):
        raise TypeError(f"passphrase must be a str or None, not a {type(passphrase).__name__}")
    right = f"a passphrase of at most {_PASSPHRASE} bytes of UTF-8, or none"
    try:
        data = passphrase.encode()
    except UnicodeEncodeError:  # which has the passphrase in it
        raise no_key(path, "a passphrase that is no UTF-8", right, "give another passphrase") from None
    if not 1 <= len(data) <= _PASSPHRASE:
        found = f"a passphrase of {len(data)} bytes" if data else "an empty passphrase"
        raise no_key(path, found, right, "give another passphrase")
    return data


def _write_public(path: str | os.PathLike[str], key: Ed25519PublicKey | X25519PublicKey) -> None:
    from cryptography.hazmat.primitives import serialization

    data = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    try:
        disk.write_new(path, data, 0o644)
    except (OSError, ValueError) as error:
        raise _not_written(path, error) from error


def read_public(path: str | os.PathLike[str]) -> PublicKey:
    """The public key in a PEM file.  Raises :class:`TrustError`."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    found = public_in(path, Ed25519PublicKey, "an Ed25519 public key in PEM")  # type: ignore[type-abstract]  # asked of
    try:
        return PublicKey(found.public_bytes_raw())
    except PatchError as error:
        raise no_key(path, error.found, error.expected, "name the .pub file of keygen") from error


def public_in(path: str | os.PathLike[str], kind: type[K], expected: str) -> K:
    """The public key of one kind in a PEM file.  Raises :class:`TrustError`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    data = disk.read_for_trust(path, _LARGEST, "the public key")
    try:
        found = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise no_key(path, "no public key that can be read", expected, "name the .pub file of keygen") from error
    if not isinstance(found, kind):
        raise no_key(path, "another kind of key", expected, "name the .pub file of keygen")
    return found


def read_private(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file that its owner alone may read, and that is ours.  Raises :class:`TrustError`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            # Asked of the open file: nobody can put another in its place meanwhile.
            about = os.fstat(descriptor)
            _check_regular(path, about)
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read(_LARGEST + 1)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise no_key(
            path, f"a file that cannot be read: {disk.reason(error)}", "a file with a key", "correct the path"
        ) from error
    if len(data) > _LARGEST:
        raise no_key(path, f"more than {_LARGEST} bytes", "a key", "correct the path")
    if data.startswith(_PUBLIC_BEGINS):
        raise no_key(path, "a public key", "the private one", "name the file without .pub")
    _check_private(path, about)
    return data


def _check_regular(path: str | os.PathLike[str], about: os.stat_result) -> None:
    if stat.S_ISDIR(about.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(about.st_mode):
        raise no_key(path, "no regular file", "a file with a key", "correct the path")


def _check_private(path: str | os.PathLike[str], about: os.stat_result) -> None:
    if stat.S_IMODE(about.st_mode) & 0o077 or about.st_uid != os.geteuid():
        raise no_key(
            path,
            f"a file that is not private: mode {stat.S_IMODE(about.st_mode):04o}, owned by user {about.st_uid}",
            f"mode 0600, owned by user {os.geteuid()}",
            "chmod 600 the file; if others could read it, draw a new key",
        )


def is_encrypted(data: bytes) -> bool:
    """Whether the PEM of a private key asks for a passphrase."""
    return _ENCRYPTED in data


def private_key(path: str | os.PathLike[str], passphrase: str | None = None) -> Ed25519PrivateKey:
    """The private key in a file.  Raises :class:`TrustError`, as :class:`KeyFile` does."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    expected = "an Ed25519 private key in PEM (PKCS #8)"
    return private_in(path, passphrase, Ed25519PrivateKey, expected, "keygen")  # type: ignore[type-abstract]  # asked of


def private_in(path: str | os.PathLike[str], passphrase: str | None, kind: type[K], expected: str, maker: str) -> K:
    """The private key of one kind in a file that its owner alone may read.  Raises :class:`TrustError`."""
    from cryptography.exceptions import InternalError, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    secret = None if passphrase is None else _encoded(path, passphrase)
    data = read_private(path)
    if secret is None and is_encrypted(data):
        raise no_key(path, "an encrypted key", "a passphrase for it", "give the passphrase")
    try:
        found = load_pem_private_key(data, secret)
    except (ValueError, TypeError, MemoryError, InternalError, UnsupportedAlgorithm) as error:
        wrong = "a passphrase that does not open it, or no key" if passphrase is not None else "no key that can be read"
        raise no_key(path, wrong, expected, "correct the passphrase or the path") from error
    if not isinstance(found, kind):
        raise no_key(path, "another kind of key", expected, f"draw one with livepatch {maker}")
    return found


def no_key(path: str | os.PathLike[str], found: str, expected: str, action: str) -> TrustError:
    return TrustError(
        f"the key in {spelled(os.fsdecode(path))} cannot be used", found=found, expected=expected, action=action
    )


def _not_written(path: str | os.PathLike[str], error: Exception) -> TrustError:
    return TrustError(
        "the key cannot be written",
        found=f"{spelled(os.fsdecode(path))}: {disk.reason(error)}",
        expected="a path at which there is nothing, in a directory that can be written to",
        action="choose another path",
    )
