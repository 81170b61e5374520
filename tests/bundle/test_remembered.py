"""What was seen once is not unseen: no older trust root, no older revision, no clock that was set back."""

from __future__ import annotations

import json
import os
import stat
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.signing import LATER, ROLES, key, root_envelope, write_patch, write_root

import livepatch
from livepatch.bundle import remembered
from livepatch.bundle.remembered import Remembered
from livepatch.bundle.trustroot import TrustRoot
from livepatch.errors import TrustError


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state.json"


@pytest.fixture
def root(tmp_path, state):
    return TrustRoot.load(write_root(tmp_path / "trust.json"), state=state)


def load(tmp_path, root, **changes):
    return livepatch.load(write_patch(tmp_path / "fix.lpatch", **changes), trust=root)


def revisions(state) -> dict[str, int]:
    return {each.id: each.revision for each in Remembered.parse(state.read_bytes()).patches}


# Trust roots


def test_a_trust_root_is_remembered_and_an_older_one_refused(tmp_path, root, state):
    second = root.rotate(root_envelope(version=2).to_bytes())
    assert second.state == root.state
    for path in (
        tmp_path / "trust.json",
        write_root(tmp_path / "other.json", version=2, expires="2198-01-01T00:00:00Z"),
    ):
        with pytest.raises(TrustError, match="not the one that was seen before"):
            TrustRoot.load(path, state=state)
    with pytest.raises(TrustError, match="not the one that was seen before"):
        load(tmp_path, root)  # loaded before the rotation
    load(tmp_path, second)
    load(tmp_path, TrustRoot.load(write_root(tmp_path / "trust.json", version=2), state=state))


def test_a_newer_trust_root_must_lead_on_from_the_one_before(tmp_path, root, state):
    stolen = {**ROLES, "root": (1, "mallory")}
    before = state.read_bytes()
    with pytest.raises(TrustError, match="the root keys of version 1"):
        TrustRoot.load(write_root(tmp_path / "evil.json", stolen, signers=("mallory",), version=2), state=state)
    with pytest.raises(TrustError, match="not the next version"):
        TrustRoot.load(write_root(tmp_path / "far.json", version=3), state=state)
    assert json.loads(state.read_bytes())["roots"] == json.loads(before)["roots"]
    third = root.rotate(root_envelope(version=2).to_bytes()).rotate(root_envelope(version=3).to_bytes())
    assert TrustRoot.load(tmp_path / "far.json", state=state).version == third.version == 3


def test_one_state_serves_several_trust_roots(tmp_path, root, state):
    other = TrustRoot.load(write_root(tmp_path / "other.json", channel="testing", version=9), state=state)
    load(tmp_path, root)
    load(tmp_path, other, release={"channel": "testing"})
    assert len(Remembered.parse(state.read_bytes()).roots) == 2


# Patches


def test_an_older_revision_is_refused(tmp_path, root, state):
    load(tmp_path, root, release={"revision": 3})
    load(tmp_path, root, release={"revision": 3})  # again, as at the next start
    for revision in (1, 2):
        with pytest.raises(TrustError, match="an older revision of the patch"):
            load(tmp_path, root, release={"revision": revision})
    load(tmp_path, root, id="CVE-2026-9999", flag="x")  # another patch is another matter
    assert revisions(state) == {"CVE-2026-1234": 3, "CVE-2026-9999": 1}


def test_one_revision_is_one_file(tmp_path, root):
    load(tmp_path, root)
    with pytest.raises(TrustError, match="another patch under the same id and revision"):
        load(tmp_path, root, summary="something else")


def test_a_patch_that_is_refused_is_not_remembered(tmp_path, root, state):
    before = state.read_bytes()
    for changes in ({"signers": ("alice",)}, {"package": "other"}, {"release": {"expires": "2020-01-01T00:00:00Z"}}):
        with pytest.raises(TrustError):
            load(tmp_path, root, **changes)
    assert state.read_bytes() == before


def test_what_a_stolen_key_drove_to_the_top_does_not_count_without_the_key(tmp_path, root, state):
    load(tmp_path, root, release={"revision": 2**31 - 1})
    with pytest.raises(TrustError, match="an older revision"):
        load(tmp_path, root, release={"revision": 2})
    without_alice = {**ROLES, "author": (1, "bob")}
    newer = root.rotate(root_envelope(without_alice, version=2).to_bytes())
    load(tmp_path, newer, release={"revision": 2}, signers=("bob", "carol", "erin"))
    kept = newer.rotate(root_envelope({**without_alice, "author": (1, "bob", "ann")}, version=3).to_bytes())
    with pytest.raises(TrustError, match="an older revision"):
        load(tmp_path, kept, release={"revision": 1}, signers=("bob", "carol", "erin"))


ALSO_BOB = ("alice", "bob", "carol", "erin")


def test_a_revoked_key_brings_no_older_revision_back(tmp_path, root):
    """Revision 1 was given out with more signatures than were needed: it would still be signed well enough."""
    load(tmp_path, root, release={"revision": 1}, signers=ALSO_BOB)
    load(tmp_path, root, release={"revision": 2}, signers=ALSO_BOB)
    load(tmp_path, root, release={"revision": 3})
    newer = root.rotate(root_envelope({**ROLES, "author": (1, "bob")}, version=2).to_bytes())
    with pytest.raises(TrustError, match=r"found: CVE-2026-1234, revision 1 .* expected: revision 2 "):
        load(tmp_path, newer, release={"revision": 1}, signers=ALSO_BOB)
    load(tmp_path, newer, release={"revision": 3}, signers=ALSO_BOB)
    with pytest.raises(TrustError, match="expected: revision 3 "):
        load(tmp_path, newer, release={"revision": 2}, signers=ALSO_BOB)


def test_a_key_that_was_not_needed_may_be_revoked_and_nothing_comes_back(tmp_path, root):
    load(tmp_path, root, release={"revision": 3}, signers=ALSO_BOB)
    load(tmp_path, root, release={"revision": 3})  # with a signature stripped: it was seen to be there all the same
    for version, authors in ((2, (1, "bob")), (3, (2, "bob", "ann"))):
        root = root.rotate(root_envelope({**ROLES, "author": authors}, version=version).to_bytes())
        with pytest.raises(TrustError, match="an older revision"):
            load(tmp_path, root, release={"revision": 2}, signers=("bob", "ann", "carol", "erin")[: 5 - version + 2])


def test_a_patch_that_was_loaded_before_its_key_was_revoked_is_not_applied(tmp_path, root):
    fix = load(tmp_path, root)
    root.rotate(root_envelope({**ROLES, "author": (1, "bob")}, version=2).to_bytes())
    with pytest.raises(TrustError, match="author: 0 of 1"):
        livepatch.apply(fix)


def test_a_patch_that_was_loaded_before_a_rotation_is_held_to_the_newest_trust_root(tmp_path, root):
    """It is refused for another reason than trust: the package is not here."""
    fix = load(tmp_path, root)
    root.rotate(root_envelope(version=2).to_bytes())
    with pytest.raises(livepatch.IncompatibleError) as error:
        livepatch.apply(fix)
    assert "unverified" not in {finding.code for finding in error.value.report.findings}


SPELLINGS = ["NodeClient", "NODECLIENT", "nodeClient"]


@pytest.mark.parametrize("package", SPELLINGS)
def test_another_spelling_of_the_package_is_no_other_package(tmp_path, root, state, package):
    load(tmp_path, root, release={"revision": 2})
    evil = write_root(tmp_path / "evil.json", {**ROLES, "root": (1, "mallory")}, signers=("mallory",), package=package)
    with pytest.raises(TrustError, match="not the one that was seen before"):
        TrustRoot.load(evil, state=state)
    second = root.rotate(root_envelope(version=2, package=package).to_bytes())
    with pytest.raises(TrustError, match="not the one that was seen before"):
        TrustRoot.load(tmp_path / "trust.json", state=state)
    with pytest.raises(TrustError, match="an older revision"):
        load(tmp_path, second, release={"revision": 1})
    with pytest.raises(TrustError, match="an older revision"):
        load(tmp_path, second, release={"revision": 1}, package=package)


def test_dots_and_lines_in_the_name_of_a_package_are_one(tmp_path, state):
    roles = {**ROLES, "root": (1, "mallory")}
    first = write_root(tmp_path / "first.json", package="node-client.core")
    TrustRoot.load(first, state=state)
    for package in ("node_client-core", "Node.Client.Core", "node--client__core"):
        other = write_root(tmp_path / "other.json", roles, signers=("mallory",), package=package)
        with pytest.raises(TrustError, match="not the one that was seen before"):
            TrustRoot.load(other, state=state)


# The clock


def test_a_clock_that_was_set_back_is_noticed(tmp_path, root, state, monkeypatch):
    last = json.loads(state.read_bytes())["time"]
    year = int(last[:4])
    monkeypatch.setattr(remembered, "clock", lambda: f"{year - 1}{last[4:]}")
    with pytest.raises(TrustError, match="the clock was set back"):
        load(tmp_path, root)
    monkeypatch.setattr(remembered, "clock", lambda: f"{year + 1}{last[4:]}")
    load(tmp_path, root)
    monkeypatch.setattr(remembered, "clock", lambda: last)
    with pytest.raises(TrustError, match="the clock was set back"):
        load(tmp_path, root)


def test_a_clock_that_is_corrected_a_little_is_not():
    seen = Remembered(time="2026-06-01T12:00:00Z")
    assert seen.at("2026-06-01T11:30:00Z").time == "2026-06-01T12:00:00Z"
    assert seen.at("2026-06-01T12:30:00Z").time == "2026-06-01T12:30:00Z"


# The file


def test_it_is_written_whole_and_read_as_written(tmp_path, root, state):
    load(tmp_path, root)
    data = state.read_bytes()
    assert Remembered.parse(data).to_bytes() == data
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "fix.lpatch",
        "state.json",
        "state.json.lock",
        "trust.json",
    ]
    assert stat.S_IMODE((tmp_path / "state.json.lock").stat().st_mode) == 0o600


def test_a_state_that_cannot_be_read_lets_nothing_through(tmp_path, root, state):
    for data in (b"", b"{}", b'{"type": "livepatch.trust-state"}', state.read_bytes()[:-9], b"\xff" * 10):
        state.write_bytes(data)
        with pytest.raises(TrustError, match="no readable trust state"):
            load(tmp_path, root)
        assert state.read_bytes() == data
    state.unlink()
    os.mkfifo(state)
    with pytest.raises(TrustError, match="no regular file"):
        load(tmp_path, root)


def test_a_state_that_cannot_be_written_lets_nothing_through(tmp_path):
    path = write_root(tmp_path / "trust.json")
    with pytest.raises(TrustError, match="cannot be locked"):
        TrustRoot.load(path, state=tmp_path / "nowhere" / "state.json")
    (tmp_path / "state").mkdir()
    with pytest.raises(TrustError, match="no regular file"):
        TrustRoot.load(path, state=tmp_path / "state")


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["type", "format", "time", "roots", "patches"]),
        st.sampled_from(
            ["livepatch.trust-state", 1, "2026-01-01T00:00:00Z", LATER, [], [{}], [{"envelope": "QQ=="}], None]
        ),
    )
)
def test_any_state_ends_in_a_documented_error(value):
    try:
        found = Remembered.parse(json.dumps(value).encode())
    except TrustError:
        return
    assert found.roots == ()


@pytest.mark.parametrize(
    "signers",
    [
        None, [], {"boss": {"threshold": 1, "keyids": []}}, {"author": {"threshold": 0, "keyids": []}},
        {"author": {"threshold": 1, "keyids": ["a", "a"]}}, {"author": {"threshold": 1, "keyids": ["x" * 65]}},
        {"author": {"threshold": 1}}, {"author": {"threshold": 1, "keyids": [], "more": 1}},
    ],
)  # fmt: skip
def test_signers_that_are_not_in_order_let_nothing_through(tmp_path, root, state, signers):
    load(tmp_path, root)
    held = json.loads(state.read_text())
    held["patches"][0]["signers"] = signers
    state.write_text(json.dumps(held))
    with pytest.raises(TrustError, match="no readable trust state"):
        load(tmp_path, root)


def test_many_at_once_lose_nothing(tmp_path, root, state):
    """A lost update would show as a patch that is not remembered."""
    files = [
        write_patch(tmp_path / f"{n}.lpatch", id=f"CVE-2026-{n}", flag=f"f{n}", release={"revision": n + 1})
        for n in range(6)
    ]
    threads = [threading.Thread(target=livepatch.load, args=(path,), kwargs={"trust": root}) for path in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert revisions(state) == {f"CVE-2026-{n}": n + 1 for n in range(6)}
    assert key("alice").key.id in Remembered.parse(state.read_bytes()).patches[0].signers["author"].keyids


def test_a_process_that_goes_elsewhere_forgets_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = TrustRoot.load(write_root(tmp_path / "trust.json"), state="state.json")
    load(tmp_path, root, release={"revision": 2})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(TrustError, match="an older revision"):
        load(tmp_path, root, release={"revision": 1})
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_state_behind_a_link_has_one_lock(tmp_path, root, state):
    link = tmp_path / "link.json"
    link.symlink_to(state)
    TrustRoot.load(tmp_path / "trust.json", state=link)
    assert link.is_symlink()
    assert not (tmp_path / "link.json.lock").exists()


def test_nothing_is_remembered_that_could_not_be_read_again(tmp_path, root, state, monkeypatch):
    load(tmp_path, root)
    before = state.read_bytes()
    for name, value in (
        ("_ENTRIES", 1),
        ("_LARGEST", len(before)),
        ("_BRACKETS", before.count(b"{") + before.count(b"[")),
    ):
        with monkeypatch.context() as limits:
            limits.setattr(remembered, name, value)
            with pytest.raises(TrustError, match="cannot hold more"):
                load(tmp_path, root, id="CVE-2026-9999", flag="x")
        assert state.read_bytes() == before
