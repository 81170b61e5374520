"""Who signed, counted by role: signatures on a few bytes, and no trust root."""

from __future__ import annotations

import pytest
from tests.signing import Key, key

from livepatch.bundle.envelope import PATCH_TYPE, Envelope, Signature, SignedBundle, VerifiedBundle
from livepatch.bundle.signing import AUTHOR, OPERATOR, REVIEWER, Holder, Role, holders_of, shortfall, sign, verify
from livepatch.errors import TrustError

NAMES = {name: key(name).key.id for name in ("alice", "alice-2", "bob", "carol", "erin", "mallory")}
# Alice holds two keys; nobody knows Mallory.
HOLDERS = {"alice": "Alice", "alice-2": "Alice", "bob": "Bob", "carol": "Carol", "erin": "Erin"}
KEYS = {NAMES[name]: Holder(key(name).key, holder) for name, holder in HOLDERS.items()}
ENVELOPE = Envelope(payload_type=PATCH_TYPE, payload=b"the very bytes")


def role(threshold: int, *names: str) -> Role:
    return Role(tuple(NAMES[name] for name in names), threshold)


ROLES = {AUTHOR: role(1, "alice", "bob"), REVIEWER: role(1, "carol", "alice-2"), OPERATOR: role(1, "erin")}


def signed_by(*names: str, envelope: Envelope = ENVELOPE) -> Envelope:
    for name in names:
        envelope = sign(envelope, key(name))
    return envelope


def verified(envelope: Envelope, **roles: Role) -> VerifiedBundle:
    return verify(SignedBundle(envelope), KEYS, {**ROLES, **roles}, "2199-01-01T00:00:00Z")


def refused(envelope: Envelope, **roles: Role) -> TrustError:
    with pytest.raises(TrustError) as caught:
        verified(envelope, **roles)
    return caught.value


def test_a_patch_that_every_role_has_signed_is_verified():
    envelope = signed_by("alice", "carol", "mallory", "erin")
    bundle = verified(envelope)
    assert (bundle.payload, bundle.until) == (b"the very bytes", "2199-01-01T00:00:00Z")
    signers = {AUTHOR: ("alice",), REVIEWER: ("carol",), OPERATOR: ("erin",)}
    assert bundle.signers == {name: tuple(NAMES[each] for each in names) for name, names in signers.items()}


def test_what_each_role_lacks_is_said_and_how_many_signatures_count_for_nothing():
    error = refused(signed_by("alice", "mallory"), **{OPERATOR: role(2, "erin", "bob")})
    assert str(error).startswith("the patch file is not signed as the trust root asks; ")
    assert error.found == (
        "security-reviewer: 0 of 1; operator: 0 of 2; 1 signature not counted: by other keys, or not on this file"
    )
    assert error.expected == "1 by the role author, 1 by the role security-reviewer, 2 by the role operator"
    assert refused(signed_by("carol", "erin")).found == "author: 0 of 1"


def test_an_author_counts_in_no_other_role_whichever_key_they_sign_with():
    error = refused(signed_by("alice", "alice-2", "erin"))
    assert error.found == "security-reviewer: 0 of 1 (an author's own do not count)"
    bundle = verified(signed_by("bob", "alice-2", "erin"))
    assert bundle.signers[REVIEWER] == (NAMES["alice-2"],)
    bundle = verified(signed_by("alice", "alice-2", "carol", "erin"))
    assert bundle.signers[REVIEWER] == (NAMES["carol"],)


def test_two_keys_of_one_holder_count_once():
    error = refused(signed_by("alice", "alice-2", "carol", "erin"), **{AUTHOR: role(2, "alice", "alice-2", "bob")})
    assert error.found == "author: 1 of 2"
    assert verified(signed_by("alice", "bob", "carol", "erin"), **{AUTHOR: role(2, "alice", "alice-2", "bob")})


def test_a_signature_counts_on_these_very_bytes_and_this_type_alone():
    good = signed_by("alice", "carol", "erin")
    moved = Envelope(payload_type=PATCH_TYPE, payload=b"other bytes", signatures=good.signatures)
    error = refused(moved)
    assert error.found.startswith("author: 0 of 1; security-reviewer: 0 of 1; operator: 0 of 1; 3 signatures not")
    elsewhere = signed_by("alice", "carol", "erin", envelope=Envelope(payload_type="text/plain", payload=b""))
    error = refused(elsewhere)
    assert str(error).startswith("what was signed is no patch; ")
    assert error.found == "signatures on the type 'text/plain'"
    assert error.expected == f"signatures on the type {PATCH_TYPE!r}"


def test_a_signature_under_the_id_of_another_key_is_nobodys():
    by_mallory = signed_by("mallory").signatures[0].value
    forged = ENVELOPE.signed(Signature(NAMES["alice"], by_mallory))
    assert holders_of(forged, NAMES.values(), KEYS) == {}
    assert holders_of(signed_by("alice", "bob", "carol"), [NAMES["alice"], NAMES["carol"]], KEYS) == {
        NAMES["alice"]: "Alice",
        NAMES["carol"]: "Carol",
    }


def test_what_a_role_lacks():
    assert shortfall("author", Role((), 2), ["Alice", "Alice"]) == "author: 1 of 2"
    assert shortfall("author", Role((), 2), ["Alice", "Bob"]) == ""
    assert shortfall("author", Role((), 1), ["Alice", "Bob"]) == ""


# Signing


class Signs(Key):
    """Gives what it was told to, whatever it is asked to sign."""

    def __init__(self, signature: object) -> None:
        super().__init__("alice")
        self.signature = signature

    def sign(self, message: bytes) -> bytes:
        return self.signature  # type: ignore[return-value]


def test_signing_again_takes_the_place_of_the_older_signature():
    envelope = signed_by("alice", "bob", "alice")
    assert [each.keyid for each in envelope.signatures] == [NAMES["bob"], NAMES["alice"]]
    assert envelope.signatures[1].value == key("alice").sign(ENVELOPE.pae())
    assert ENVELOPE.signatures == ()


@pytest.mark.parametrize(
    ("signature", "found"),
    [
        (bytes(64), "64 bytes that are no signature"),
        (key("bob").sign(ENVELOPE.pae()), "64 bytes that are no signature"),
        (key("alice").sign(b"other bytes"), "64 bytes that are no signature"),
        ("no bytes", "'no bytes' that are no signature"),
    ],
)
def test_what_is_no_signature_by_the_key_is_not_taken(signature: object, found: str):
    with pytest.raises(TrustError) as caught:
        sign(ENVELOPE, Signs(signature))
    assert str(caught.value).startswith("the signature does not hold; ")
    assert caught.value.found == f"{found} by the key {NAMES['alice']}"
