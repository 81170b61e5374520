"""Keys, trust roots and signed patch files for tests."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.bundle.patches import of_functions

from livepatch.bundle.codec import Contents, encode
from livepatch.bundle.envelope import PATCH_TYPE, Envelope
from livepatch.bundle.keys import PublicKey
from livepatch.bundle.signing import Holder, Role, sign
from livepatch.bundle.trustroot import TrustRoot, encode_root
from livepatch.contents.release import Release

LATER = "2199-01-01T00:00:00Z"
PAST = "2020-01-01T00:00:00Z"


class Key:
    """A private key in memory, the same for the same name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
        self.key = PublicKey(self.private.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        return self.private.sign(message)


@functools.cache
def key(name: str) -> Key:
    return Key(name)


ROLES = {
    "root": (2, "root-1", "root-2", "root-3"),
    "author": (1, "alice", "bob"),
    "security-reviewer": (1, "carol", "dave"),
    "operator": (1, "erin"),
}


def root_envelope(
    roles: Mapping[str, tuple] = ROLES,
    *,
    signers: Iterable[str] = ("root-1", "root-2"),
    holders: Mapping[str, str] | None = None,
    **changes,
) -> Envelope:
    """A trust root of keys by name: a role is a threshold and the names of its keys."""
    every = {name: key(name) for _, *names in roles.values() for name in names}
    terms = {"package": "nodeclient", "channel": "stable", "version": 1, "expires": LATER, **changes}
    envelope = encode_root(
        keys={made.key.id: Holder(made.key, (holders or {}).get(name, name)) for name, made in every.items()},
        roles={role: Role(tuple(key(name).key.id for name in names), n) for role, (n, *names) in roles.items()},
        **terms,
    )
    for name in signers:
        envelope = sign(envelope, key(name))
    return envelope


def trust_root(roles: Mapping[str, tuple] = ROLES, **changes) -> TrustRoot:
    return TrustRoot.parse(root_envelope(roles, **changes).to_bytes())


def contents(release: Mapping[str, object] | None = None, **changes) -> Contents:
    return dataclasses.replace(of_functions(1), release=Release(**(release or {})), **changes)


def patch_envelope(
    *, signers: Iterable[str] = ("alice", "carol", "erin"), release: Mapping[str, object] | None = None, **changes
) -> Envelope:
    envelope = Envelope(payload_type=PATCH_TYPE, payload=encode(contents(release, **changes)))
    for name in signers:
        envelope = sign(envelope, key(name))
    return envelope


def write_patch(path: Path, **changes) -> Path:
    path.write_bytes(patch_envelope(**changes).to_bytes())
    return path


def write_root(path: Path, roles: Mapping[str, tuple] = ROLES, **changes) -> Path:
    path.write_bytes(root_envelope(roles, **changes).to_bytes())
    return path
