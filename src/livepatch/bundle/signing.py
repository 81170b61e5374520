"""Who signed: signatures on an envelope, counted by role.

A signature counts if its key is named by the role and it holds on these very bytes and this type.  What is counted are
the people who hold the keys: two keys of one holder count once, and whoever signed as an author counts in no other role
of that patch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from livepatch.bundle.envelope import (
    PATCH_TYPE,
    VERIFIED,
    Envelope,
    Signature,
    SignedBundle,
    VerifiedBundle,
)
from livepatch.bundle.keys import PublicKey, Signer
from livepatch.contents.words import AUTHOR, OPERATOR, REVIEWER
from livepatch.errors import TrustError, counted, spelled

__all__ = ["AUTHOR", "OPERATOR", "REVIEWER", "Holder", "Role", "holders_of", "shortfall", "sign", "verify"]


@dataclass(frozen=True, slots=True)
class Holder:
    """A key, and the name of the person, team or device that holds it."""

    key: PublicKey
    name: str


@dataclass(frozen=True, slots=True)
class Role:
    """The ids of the keys that may sign in a role, and how many holders must."""

    keyids: tuple[str, ...]
    threshold: int


def sign(envelope: Envelope, signer: Signer) -> Envelope:
    """The envelope with the signature of `signer`, in the place of an older one by its key.

    Raises :class:`TrustError` if what the signer gives is no signature by its key; the envelope is unchanged.
    """
    message = envelope.pae()
    signature: Any = signer.sign(message)  # by anybody's code
    if not isinstance(signature, bytes) or not signer.key.holds(signature, message):
        size = f"{len(signature)} bytes" if isinstance(signature, bytes) else spelled(signature)
        raise TrustError(
            "the signature does not hold",
            found=f"{size} that are no signature by the key {signer.key.id}",
            expected="an Ed25519 signature of 64 bytes on the very bytes that were given to be signed",
            action="name the public key that belongs to the private key; a command prints the raw signature alone",
        )
    return envelope.signed(Signature(signer.key.id, signature))


def holders_of(envelope: Envelope, keyids: Iterable[str], keys: Mapping[str, Holder]) -> dict[str, str]:
    """Which of those keys signed: their ids, and the names of their holders."""
    message = envelope.pae()
    wanted = frozenset(keyids)
    return {
        each.keyid: keys[each.keyid].name
        for each in envelope.signatures
        if each.keyid in wanted and keys[each.keyid].key.holds(each.value, message)
    }


def shortfall(name: str, role: Role, holders: Iterable[str]) -> str:
    """What a role lacks; empty if nothing."""
    have = len(set(holders))
    return "" if have >= role.threshold else f"{name}: {have} of {role.threshold}"


def verify(signed: SignedBundle, keys: Mapping[str, Holder], roles: Mapping[str, Role], until: str) -> VerifiedBundle:
    """The bytes of the patch, if the signatures hold that the roles ask for.

    Nothing of the payload is read.  Raises :class:`TrustError`, which says what each role lacks.
    """
    envelope = signed.envelope
    if envelope.payload_type != PATCH_TYPE:
        raise TrustError(
            "what was signed is no patch",
            found=f"signatures on the type {spelled(envelope.payload_type)}",
            expected=f"signatures on the type {PATCH_TYPE!r}",
            action="sign the patch file itself with livepatch sign",
        )
    held = holders_of(envelope, [keyid for role in roles.values() for keyid in role.keyids], keys)
    authors = {held[keyid] for keyid in roles[AUTHOR].keyids if keyid in held}
    counting: dict[str, tuple[str, ...]] = {}
    lacking = []
    for name, role in roles.items():
        signers = [keyid for keyid in role.keyids if keyid in held]
        others = [keyid for keyid in signers if name == AUTHOR or held[keyid] not in authors]
        counting[name] = tuple(others)
        if short := shortfall(name, role, (held[keyid] for keyid in others)):
            own = " (an author's own do not count)" if others != signers else ""
            lacking.append(short + own)
    if lacking:
        idle = len(envelope.signatures) - len(held)
        raise TrustError(
            "the patch file is not signed as the trust root asks",
            found="; ".join(lacking)
            + (f"; {counted(idle, 'signature')} not counted: by other keys, or not on this file" if idle else ""),
            expected=", ".join(f"{role.threshold} by the role {name}" for name, role in roles.items()),
            action="have those who are missing sign this very file (livepatch sign), or get the one that they signed",
        )
    return VerifiedBundle(payload=envelope.payload, signers=counting, until=until, proof=VERIFIED)
