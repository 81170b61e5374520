"""Whose signatures count, how many, and how one trust root takes the place of another."""

from __future__ import annotations

import dataclasses
import json

import pytest
from tests.signing import (
    LATER,
    PAST,
    ROLES,
    key,
    patch_envelope,
    root_envelope,
    trust_root,
    write_patch,
    write_root,
)

import livepatch
from livepatch.bundle.envelope import Envelope, SignedBundle, VerifiedBundle
from livepatch.bundle.signing import sign
from livepatch.bundle.trustroot import TrustRoot, clock
from livepatch.contents.release import Release
from livepatch.errors import TrustError


def verify(envelope: Envelope, root: TrustRoot | None = None) -> VerifiedBundle:
    return (root or trust_root()).verify(SignedBundle(envelope), clock())


def refused(envelope: Envelope, root: TrustRoot | None = None) -> str:
    with pytest.raises(TrustError) as error:
        verify(envelope, root)
    return str(error.value)


# Counting


def test_who_signed_is_told_by_role():
    verified = verify(patch_envelope(signers=("bob", "carol", "dave", "erin", "alice", "mallory")))
    ids = {name: key(name).key.id for name in ("alice", "bob", "carol", "dave", "erin")}
    assert verified.signers == {
        "author": (ids["alice"], ids["bob"]),
        "security-reviewer": (ids["carol"], ids["dave"]),
        "operator": (ids["erin"],),
    }
    assert verified.until == LATER


@pytest.mark.parametrize(
    ("signers", "told"),
    [
        ((), "author: 0 of 1; security-reviewer: 0 of 1; operator: 0 of 1"),
        (("alice", "erin"), "found: security-reviewer: 0 of 1;"),
        (("carol", "erin"), "found: author: 0 of 1;"),
        (("alice", "bob", "erin"), "found: security-reviewer: 0 of 1;"),
        (
            ("alice", "carol", "mallory"),
            "operator: 0 of 1; 1 signature not counted: by other keys, or not on this file",
        ),
        (("alice", "carol", "root-1", "root-2"), "found: operator: 0 of 1; 2 signatures"),
    ],
)
def test_every_role_must_be_filled(signers, told):
    assert told in refused(patch_envelope(signers=signers))


def test_two_keys_of_one_holder_count_once():
    roles = {**ROLES, "operator": (2, "erin", "erin-spare", "frank")}
    root = trust_root(roles, holders={"erin-spare": "erin"})
    assert "operator: 1 of 2" in refused(patch_envelope(signers=("alice", "carol", "erin", "erin-spare")), root)
    verify(patch_envelope(signers=("alice", "carol", "erin", "frank")), root)


def test_what_the_author_signs_as_a_reviewer_does_not_count():
    root = trust_root(holders={"carol": "alice"})
    told = refused(patch_envelope(), root)
    assert "security-reviewer: 0 of 1 (an author's own do not count)" in told
    verify(patch_envelope(signers=("alice", "dave", "erin")), root)
    verify(patch_envelope(signers=("bob", "carol", "erin")), root)  # she reviews the work of another


def test_a_signature_under_the_id_of_another_key_does_not_count():
    envelope = patch_envelope(signers=("alice", "carol"))
    forged = dataclasses.replace(envelope.signatures[0], keyid=key("erin").key.id)
    assert "operator: 0 of 1" in refused(envelope.signed(forged))


# What a trust root may say


def payload(**changes) -> bytes:
    plain = json.loads(root_envelope().payload)
    for path, value in changes.items():
        *way, last = path.split("__")
        inner = plain
        for step in way:
            inner = inner[step]
        if value is None:
            del inner[last]
        else:
            inner[last] = value
    return json.dumps(plain).encode()


ALICE, CAROL, ROOT_1 = key("alice").key.id, key("carol").key.id, key("root-1").key.id


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"more": 1}, "an unknown field"),
        ({"format": 2}, "format: 2"),
        ({"type": "root"}, "type: 'root'"),
        ({"package": ""}, "package: ''"),
        ({"channel": "a b"}, "channel: 'a b'"),
        ({"version": 0}, "version: 0"),
        ({"version": 2**31}, "version: 2147483648"),
        ({"version": True}, "version: a bool"),
        ({"expires": "2027-01-01"}, "expires: '2027-01-01'"),
        ({"expires": "2027-02-30T00:00:00Z"}, "expires: '2027-02-30"),
        ({"expires": "2027-01-01T00:00:00+00:00"}, "expires: a text of 25"),
        ({"roles__root": None}, "roles.root: no such field"),
        ({"roles__author": None}, "roles.author: no such field"),
        ({"roles__boss": {"keyids": [ALICE], "threshold": 1}}, "5 fields"),
        ({"roles__operator__threshold": 2}, "1 holders in the role operator, and a threshold of 2"),
        ({"roles__operator__threshold": 0}, "threshold: 0"),
        ({"roles__operator__keyids": [key("mallory").key.id]}, "which is not among the keys"),
        ({"roles__author__keyids": [ALICE, ALICE]}, "one of them twice"),
        ({"roles__author__keyids": [ALICE]}, "in no role"),
        ({"roles__security-reviewer__keyids": [CAROL, ALICE]}, "in the roles author and security-reviewer"),
        ({f"keys__{ALICE}__keyval__public": "00" * 32}, "a point of small order"),
        ({f"keys__{ALICE}__keyval__public": key("bob").key.data.hex()}, "the id that its bytes give"),
        ({f"keys__{ALICE}__keytype": "rsa"}, "keytype: 'rsa'"),
        ({f"keys__{ALICE}__holder": "Alice A."}, "holder: 'Alice A.'"),
        ({f"keys__{ALICE}__holder": "Bob"}, "one spelling a holder"),
        ({f"keys__{ALICE}__more": 1}, "an unknown field"),
        ({f"keys__{'0' * 64}": {**key("alice").key.to_dict(), "holder": "x"}}, "the id that its bytes give"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, told):
    envelope = dataclasses.replace(root_envelope(), payload=payload(**changes), signatures=())
    with pytest.raises(TrustError) as error:
        TrustRoot.parse_unsigned(envelope.to_bytes())
    assert told in str(error.value)


def test_it_must_be_signed_by_its_own_root_keys():
    for signers in ((), ("root-1",), ("root-1", "alice"), ("root-1", "mallory")):
        with pytest.raises(TrustError, match="not signed by its own root keys"):
            TrustRoot.parse(root_envelope(signers=signers).to_bytes())
    tampered = dataclasses.replace(root_envelope(), payload=payload(version=7))
    with pytest.raises(TrustError, match="not signed by its own root keys"):
        TrustRoot.parse(tampered.to_bytes())
    with pytest.raises(TrustError, match="a payload of type"):
        TrustRoot.parse(patch_envelope().to_bytes())


def test_it_is_loaded_or_told_why_not(tmp_path):
    assert livepatch.TrustRoot.load(write_root(tmp_path / "trust.json")) == trust_root()
    for path, told in (
        (tmp_path / "none", "No such file"),
        (tmp_path, "no regular file"),
        ("/dev/zero", "no regular file"),
        (write_root(tmp_path / "old.json", expires=PAST), "has expired"),
    ):
        with pytest.raises(TrustError, match=told):
            TrustRoot.load(path)
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(TrustError, match="more than"):
        TrustRoot.load(tmp_path / "huge")
    for arguments in ({"path": 5}, {"path": "x", "state": 5}, {"path": "x", "node": None}):
        with pytest.raises(TypeError, match="must be"):
            TrustRoot.load(**arguments)


# Rotation

NEW_ROOT = {**ROLES, "root": (2, "root-3", "root-4", "root-5")}


def test_the_next_version_is_signed_by_the_old_and_the_new_keys():
    both = ("root-1", "root-3", "root-4")
    newer = trust_root().rotate(root_envelope(NEW_ROOT, version=2, signers=both).to_bytes())
    assert newer.version == 2
    with pytest.raises(TrustError, match="the root keys of version 1"):
        trust_root().rotate(root_envelope(NEW_ROOT, version=2, signers=("root-3", "root-4")).to_bytes())
    with pytest.raises(TrustError, match="its own root keys"):
        trust_root().rotate(root_envelope(NEW_ROOT, version=2, signers=("root-1", "root-2")).to_bytes())


@pytest.mark.parametrize("version", [1, 3, 2**31 - 1])
def test_no_version_is_skipped_or_taken_back(version):
    with pytest.raises(TrustError, match="not the next version"):
        trust_root().rotate(root_envelope(version=version).to_bytes())


def test_it_stays_with_its_package_and_channel():
    for change in ({"package": "other"}, {"channel": "testing"}):
        with pytest.raises(TrustError, match="speaks for something else"):
            trust_root().rotate(root_envelope(version=2, **change).to_bytes())


def test_an_expired_one_leads_to_the_next():
    old = trust_root(expires=PAST)
    assert old.rotate(root_envelope(version=2).to_bytes()).version == 2


# For whom a patch is


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"package": "other"}, "a patch for other"),
        ({"release": {"channel": "testing"}}, "channel testing"),
        ({"release": {"expires": PAST}}, "expired at 2020-01-01"),
        ({"release": {"nodes": ("validator-7",)}}, "this one was given no name"),
    ],
)
def test_a_patch_for_others_is_refused(tmp_path, changes, told):
    with pytest.raises(TrustError, match=told):
        livepatch.load(write_patch(tmp_path / "fix.lpatch", **changes), trust=trust_root())


def test_a_patch_for_this_node_is_taken(tmp_path):
    path = write_patch(tmp_path / "fix.lpatch", package="Node.Client", release={"nodes": ("a", "b"), "expires": LATER})
    root = trust_root(package="node-client")
    fix = livepatch.load(path, trust=dataclasses.replace(root, node="b"))
    assert fix.origin is not None
    assert fix.origin.verified
    assert fix.release == Release(nodes=("a", "b"), expires=LATER)
    with pytest.raises(TrustError, match="for the nodes a, b only"):
        livepatch.load(path, trust=dataclasses.replace(root, node="c"))


@pytest.mark.parametrize(
    ("terms", "error"),
    [
        ({"channel": ""}, livepatch.PatchError),
        ({"revision": 0}, livepatch.PatchError),
        ({"revision": True}, TypeError),
        ({"expires": "tomorrow"}, livepatch.PatchError),
        ({"expires": None}, TypeError),
        ({"nodes": ["a"]}, TypeError),
        ({"nodes": ("a", "a")}, livepatch.PatchError),
        ({"nodes": ("a b",)}, livepatch.PatchError),
    ],
)
def test_terms_that_make_no_sense_are_refused(terms, error):
    with pytest.raises(error):
        livepatch.Release(**terms)


# Load and apply


def test_a_signed_file_is_taken_with_its_trust_root_and_by_no_other_way(tmp_path):
    """There is no such package here: that it is told so means that the patch was looked at."""
    path = write_patch(tmp_path / "fix.lpatch")
    for call in (livepatch.apply, lambda *a, **k: livepatch.apply(livepatch.load(*a), **k)):
        with pytest.raises(TrustError, match="nobody answers for"):
            call(path)
        with pytest.raises(livepatch.IncompatibleError, match="not-installed"):
            call(path, trust=trust_root())
        with pytest.raises(livepatch.IncompatibleError, match="not-installed"):
            call(path, trust=livepatch.UNSIGNED)
    other = trust_root({**ROLES, "operator": (1, "frank")})
    loaded = livepatch.load(path, trust=trust_root())
    assert "not-installed" in [finding.code for finding in livepatch.check(loaded).errors]
    with pytest.raises(TrustError, match="operator: 0 of 1"):
        livepatch.apply(loaded, trust=other)
    assert "unverified" in [finding.code for finding in livepatch.check(loaded, trust=other).errors]


def test_an_unsigned_file_is_not_signed(tmp_path):
    path = tmp_path / "fix.lpatch"
    path.write_bytes(patch_envelope().payload)
    for call in (livepatch.load, livepatch.apply, livepatch.check):
        with pytest.raises(TrustError, match="is not signed; nothing of it was compiled"):
            call(path, trust=trust_root())
    with pytest.raises(TrustError, match="is not signed"):
        livepatch.apply(livepatch.load(path), trust=trust_root())


def test_a_verified_patch_that_was_changed_or_has_expired_since_is_refused(tmp_path, monkeypatch):
    path = write_patch(tmp_path / "fix.lpatch", release={"expires": "2198-01-01T00:00:00Z"})
    for trust in (None, trust_root()):
        changed = livepatch.load(path, trust=trust_root())
        changed.set("nodeclient.mempool:LIMIT", 5)
        with pytest.raises(TrustError, match="not what was signed any more"):
            livepatch.apply(changed, trust=trust)
    loaded = livepatch.load(path, trust=trust_root())
    for now, told in (("2198-06-01T00:00:00Z", "expired at 2198"), (LATER, "the trust root has expired")):
        monkeypatch.setattr("livepatch.bundle.trustroot.clock", lambda now=now: now)
        with pytest.raises(TrustError, match=told):
            livepatch.apply(loaded)


def test_the_digest_is_that_of_the_patch_whoever_signs_it(tmp_path):
    plain = tmp_path / "plain.lpatch"
    plain.write_bytes(patch_envelope().payload)
    one = livepatch.load(write_patch(tmp_path / "one.lpatch", signers=("alice",)))
    assert one.origin is not None
    assert livepatch.load(plain).origin.digest == one.origin.digest
    one.save(tmp_path / "again.lpatch")
    assert (tmp_path / "again.lpatch").read_bytes() == plain.read_bytes()


def test_signing_a_file_adds_to_it(tmp_path):
    path = tmp_path / "fix.lpatch"
    path.write_bytes(patch_envelope().payload)
    for name in ("alice", "carol", "erin", "alice"):
        assert livepatch.sign(path, key=key(name)) == key(name).key
    assert livepatch.load(path, trust=trust_root()).origin.verified
    assert len(json.loads(path.read_bytes())["signatures"]) == 3
    broken = tmp_path / "broken.lpatch"
    for data in (b"no patch", sign(root_envelope(), key("alice")).to_bytes()):
        broken.write_bytes(data)
        with pytest.raises(livepatch.BundleError):
            livepatch.sign(broken, key=key("alice"))
        assert broken.read_bytes() == data
