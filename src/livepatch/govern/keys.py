"""The node's key: an Ed25519 private key in a PEM file that nobody but its owner can read."""

from __future__ import annotations

import os
import stat

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from livepatch.errors import AuditError, spelled

__all__ = ["new_key", "read_key"]

_LARGEST = 16 * 1024  # bytes
_RIGHT = "an Ed25519 private key in PEM (PKCS #8), not encrypted, with mode 0600"


def read_key(path: str | os.PathLike[str]) -> Ed25519PrivateKey:
    """Read the node's key.  Raises :class:`AuditError` if it is none, or if others can read or write the file."""
    try:
        # A pipe or a device would make the open, or the read, wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123  # it is the descriptor that is opened
            facts = os.fstat(descriptor)
            _check_private(path, facts)
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise ValueError(f"more than {_LARGEST} bytes")
        key = load_pem_private_key(data, password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        raise _unusable(path, reason) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _unusable(path, f"a key of another kind, {type(key).__name__}")
    return key


def _check_private(path: str | os.PathLike[str], facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise _unusable(path, "no regular file")
    if stat.S_IMODE(facts.st_mode) & 0o077:
        raise AuditError(
            f"the key {spelled(os.fspath(path))} is not private",
            found=f"mode {stat.S_IMODE(facts.st_mode):04o}: others can read or write it",
            expected="mode 0600",
            action="chmod 600 it; if others may have read it, make a new key",
        )
    if facts.st_uid not in (0, os.geteuid()):
        raise AuditError(
            f"the key {spelled(os.fspath(path))} belongs to somebody else",
            found=f"owner {facts.st_uid}",
            expected=f"owner {os.geteuid()} or 0",
            action="use a key of the user that the process runs as",
        )


def _unusable(path: str | os.PathLike[str], found: str) -> AuditError:
    return AuditError(
        f"the key {spelled(os.fspath(path))} cannot be used",
        found=found,
        expected=_RIGHT,
        action="make one: livepatch keygen",
    )


def new_key(path: str | os.PathLike[str]) -> Ed25519PrivateKey:
    """Make a key and write it, with mode 0600, to a file that is not there yet.  Raises :class:`AuditError`."""
    key = Ed25519PrivateKey.generate()
    data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123  # it is the descriptor that is opened
            file.write(data)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise AuditError(
            f"the key cannot be written to {spelled(os.fspath(path))}",
            found=error.strerror or str(error),
            expected="a file that is not there yet, in a folder that can be written",
            action="choose another path",
        ) from error
    return key
