"""The node's key, which signs what it records."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from livepatch.bundle.keyfiles import private_key
from livepatch.errors import AuditError, TrustError, spelled

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["read_key"]


def read_key(path: str | os.PathLike[str]) -> Ed25519PrivateKey:
    """Read the node's key.  Raises :class:`AuditError` if it is none, or if others can read or write the file."""
    try:
        return private_key(path)
    except TrustError as error:
        raise AuditError(
            f"the node's key in {spelled(os.fsdecode(path))} cannot be used",
            found=error.found,
            expected="an Ed25519 private key in PEM (PKCS #8), not encrypted, with mode 0600",
            action=f"{error.action}; livepatch keygen makes one",
        ) from error
