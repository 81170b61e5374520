"""Approvals of patch files: made, verified by a trust root, and asked for before a patch goes in."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from pathlib import Path

import pytest
from tests.govern.records import lines_of
from tests.signing import ROLES, key, trust_root, write_root

import livepatch
from livepatch.bundle import approval
from livepatch.bundle.approval import APPROVAL_TYPE, read_approval
from livepatch.bundle.envelope import Envelope, read_envelope
from livepatch.bundle.evidence import EVIDENCE_TYPE, evidence_in
from livepatch.bundle.keyfiles import make_key
from livepatch.bundle.signing import sign
from livepatch.cli.main import main
from livepatch.errors import IncompatibleError, PatchError, PolicyError, TrustError
from livepatch.govern.approving import approving_of
from livepatch.govern.entries import is_checkpoint, parse

RULES = """
[[approval]]
name = "reviewed"
roles = { security-reviewer = 1, operator = 1 }
max-age-days = 30

[emergency]
roles = { operator = 1 }
"""
SOURCE = "def f(x): return x\n"


@pytest.fixture
def node(write_module, tmp_path, monkeypatch):
    """A process with a module, a patch file for it that three have signed, and rules that ask for approvals."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIVEPATCH_POLICY", raising=False)
    (tmp_path / "specimen-1.0.dist-info" / "RECORD").write_text("")
    made = write_module(SOURCE, name="approved_module")
    for name, version, text in (("old", "1.0", SOURCE), ("new", "1.1", SOURCE.replace("return x", "return x + 1"))):
        folder = tmp_path / name
        (folder / f"specimen-{version}.dist-info").mkdir(parents=True)
        (folder / f"specimen-{version}.dist-info" / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: specimen\nVersion: {version}\n"
        )
        (folder / "approved_module.py").write_text(text)
    livepatch.build("old", "new", package="specimen", id="CVE-2026-1234").save("fix.lpatch")
    for name in ("alice", "carol", "erin"):
        livepatch.sign("fix.lpatch", key=key(name))
    Path("livepatch.toml").write_text(RULES)
    return made


@pytest.fixture
def root():
    return trust_root(package="specimen")


@contextlib.contextmanager
def refused(text: str):
    with pytest.raises(IncompatibleError) as error:
        yield
    told = " ".join(str(error.value).split())  # a report wraps its lines
    assert text in told, told


def approved_by(*names: str, **changes) -> list[Path]:
    return [livepatch.approve("fix.lpatch", key=key(name), **changes) for name in names]


def test_a_patch_goes_in_with_the_approvals_that_the_rules_ask_for(node, root):
    with pytest.raises(IncompatibleError) as error:
        livepatch.apply("fix.lpatch", trust=root)
    assert isinstance(error.value, PolicyError)
    (row,) = error.value.report.errors
    assert row.code == "approvals-missing"
    assert "have carol, dave, erin approve" in row.action
    assert node.f(1) == 1
    files = approved_by("carol", "erin", decision="hot-patch")
    named = [f"fix.lpatch.{key(name).key.id[:8]}.approval" for name in ("carol", "erin")]
    assert [path.name for path in files] == named
    assert not livepatch.check("fix.lpatch", trust=root, approvals=files[:1]).ok
    assert livepatch.check("fix.lpatch", trust=root, approvals=files).ok
    livepatch.apply("fix.lpatch", trust=root, approvals=map(os.fspath, files))
    assert node.f(1) == 2


def test_what_an_author_signs_is_no_approval(node):
    # bob may review, too, but he is who signed the patch as its author, by another key.
    roles = {**ROLES, "security-reviewer": (1, "carol", "dave")}
    root = trust_root(roles, package="specimen", holders={"dave": "alice"})
    files = approved_by("dave", "erin")
    with refused("that of alice, an author of the patch"):
        livepatch.apply("fix.lpatch", trust=root, approvals=files)
    with refused("by no key that may approve"):
        livepatch.apply("fix.lpatch", trust=root, approvals=[*approved_by("alice", "stranger"), files[1]])
    assert node.f(1) == 1


def test_an_approval_is_of_one_very_patch_for_its_time(node, root, monkeypatch):
    files = approved_by("carol", "erin")
    patch = livepatch.load("fix.lpatch", trust=livepatch.UNSIGNED)
    patch.summary = "something else"
    patch.save("other.lpatch")
    for name in ("alice", "carol", "erin"):
        livepatch.sign("other.lpatch", key=key(name))
    with refused("of another patch: CVE-2026-1234"):
        livepatch.apply("other.lpatch", trust=root, approvals=files)
    monkeypatch.setattr(approval, "clock", lambda: "2020-01-01T00:00:00Z")
    old = approved_by("carol", "erin")
    with refused("too old: made at 2020-01-01T00:00:00Z"):
        livepatch.apply("fix.lpatch", trust=root, approvals=old)
    ended = approved_by("carol", "erin", expires="2020-02-01T00:00:00Z")
    with refused("which expired at 2020-02-01T00:00:00Z"):
        livepatch.apply("fix.lpatch", trust=root, approvals=ended)
    assert node.f(1) == 1


def test_an_emergency_overrides_a_freeze_and_the_report_says_so(node, root):
    frozen = "[[freeze]]\nfrom = '2020-01-01T00:00:00Z'\nto = '2199-01-01T00:00:00Z'\n"
    Path("livepatch.toml").write_text(frozen + RULES)
    with refused("in a freeze"):
        livepatch.apply("fix.lpatch", trust=root, approvals=approved_by("carol", "erin"))
    with pytest.raises(PatchError, match="an emergency has no reason"):
        approved_by("erin", emergency=True)
    files = approved_by("carol") + approved_by("erin", emergency=True, reason="it is attacked")
    applied = livepatch.apply("fix.lpatch", trust=root, approvals=files)
    warned = [row.code for row in applied.report.findings if row.severity == "warning"]
    assert warned[:2] == ["frozen", "emergency-override"]
    assert node.f(1) == 2
    applied.revert()  # a way back is never frozen
    assert node.f(1) == 1


@pytest.mark.parametrize(("field", "lie"), [("patch", "CVE-2026-0001"), ("package", "another")])
def test_an_approval_that_calls_the_patch_something_else_does_not_count(node, root, field, lie):
    (honest,) = approved_by("carol")
    envelope = read_approval(honest.read_bytes()).envelope
    told = {**json.loads(envelope.payload), field: lie}
    lying = sign(Envelope(payload_type=APPROVAL_TYPE, payload=json.dumps(told).encode()), key("carol"))
    Path("lying").write_bytes(lying.to_bytes())
    with refused(f"which calls the patch {told['patch']} of {told['package']}"):
        livepatch.apply("fix.lpatch", trust=root, approvals=["lying", *approved_by("erin")])
    assert node.f(1) == 1


def test_what_is_handed_in_twice_is_told_once(node, root):
    livepatch.attest("fix.lpatch", suite="unit", key=key("erin"), output="tested")
    files = [*approved_by("carol"), "tested"]
    given = approving_of(livepatch.load("fix.lpatch", trust=root), [*files, *files], root)
    assert (len(given.approvals), len(given.evidence)) == (1, 1)


def test_approvals_stand_in_the_record(node, root):
    make_key(Path("node.pem"))
    livepatch.record_to("record", key="node.pem", who="erin")
    try:
        files = approved_by("carol") + approved_by("erin", emergency=True, reason="it is attacked")
        livepatch.apply("fix.lpatch", trust=root, approvals=files)
    finally:
        livepatch.record_to(None)
    entries = [parse(line) for line in lines_of(Path("record")) if not is_checkpoint(line)]
    noted = [each["details"] for each in entries if each["event"] == "approved"]
    assert [(each["emergency"], each["reason"]) for each in noted] == [(False, ""), (True, "it is attacked")]
    intent = next(each["details"] for each in entries if (each["event"], each["phase"]) == ("applied", "intent"))
    assert intent["approvals"] == ["carol (security-reviewer)", "erin (operator)"]
    assert intent["emergency"] == ["it is attacked"]


def test_approvals_are_of_no_use_without_a_trust_root_or_a_file(node, root, write_fix):
    files = approved_by("carol")
    with pytest.raises(TrustError, match="approvals cannot be verified"):
        livepatch.apply("fix.lpatch", trust=livepatch.UNSIGNED, approvals=files)
    for wrong in ("fix.approval", [1], 5):
        with pytest.raises(TypeError, match="approvals must be an iterable of paths"):
            livepatch.apply("fix.lpatch", trust=root, approvals=wrong)
    with pytest.raises(TrustError, match="approval"):
        livepatch.apply("fix.lpatch", trust=root, approvals=["nowhere.approval"])
    with pytest.raises(TrustError, match="no readable approval"):
        livepatch.apply("fix.lpatch", trust=root, approvals=["fix.lpatch"])
    assert livepatch.status() == ()
    assert node.f(1) == 1


def statement(**changes) -> bytes:
    fields = {
        "type": "livepatch.approval", "format": 1, "digest": "sha256:" + "0" * 64, "patch": "P", "package": "p",
        "made": "2026-01-01T00:00:00Z", "expires": "", "class": "", "emergency": False, "reason": "", **changes,
    }  # fmt: skip
    fields = {name: value for name, value in fields.items() if value is not None}
    return sign(Envelope(payload_type=APPROVAL_TYPE, payload=json.dumps(fields).encode()), key("carol")).to_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "livepatch.patch"}, {"format": 2}, {"digest": None}, {"digest": "sha256:" + "0" * 65}, {"patch": ""},
        {"package": "../x"}, {"made": ""}, {"made": "yesterday"}, {"expires": "never"}, {"class": "warm-patch"},
        {"emergency": 1}, {"emergency": None}, {"reason": "x" * 301}, {"reason": "a\nb"}, {"reason": "\x1b[2J"},
        {"reason": "ü"}, {"more": 1}, {"emergency": True, "reason": " "},
    ],
)  # fmt: skip
def test_what_is_no_approval_is_refused(changes):
    assert read_approval(statement()).patch == "P"
    with pytest.raises(TrustError, match="no readable approval"):
        read_approval(statement(**changes))


def test_every_truncation_and_every_changed_byte_is_refused_or_holds_no_signature(root):
    data = statement()
    good = read_approval(data)
    for length in range(0, len(data) - 1, 7):
        with pytest.raises(TrustError):
            read_approval(data[:length])
    for at in range(0, len(data), 5):
        changed = bytearray(data)
        changed[at] ^= 1
        try:
            read = read_approval(bytes(changed))
        except TrustError:
            continue
        same = dataclasses.replace(read, envelope=good.envelope) == dataclasses.replace(good, envelope=good.envelope)
        holds = any(key("carol").key.holds(each.value, read.envelope.pae()) for each in read.envelope.signatures)
        named = any(each.keyid == key("carol").key.id for each in read.envelope.signatures)
        assert same or not (holds and named), at


# Evidence

TESTED = """
[[approval]]
name = "tested"
evidence = ["unit", "replay"]
"""


def test_evidence_of_the_suites_that_a_rule_names(node, root):
    Path("livepatch.toml").write_text(TESTED)
    with refused("unit: no evidence; replay: no evidence"):
        livepatch.apply("fix.lpatch", trust=root)
    unit = livepatch.attest("fix.lpatch", suite="unit", key=key("erin"), url="https://ci.example.com/7")
    replay = livepatch.attest("fix.lpatch", suite="replay", key=key("erin"), result="WARNED")
    assert (unit.name, replay.name) == ("fix.lpatch.unit.evidence", "fix.lpatch.replay.evidence")
    with pytest.raises(livepatch.PatchError, match="would be lost"):
        livepatch.attest("fix.lpatch", suite="unit", key=key("carol"), result="FAILED", failed=["test_f"])
    failed = livepatch.attest(
        "fix.lpatch", suite="unit", key=key("carol"), result="FAILED", failed=["test_f"], output="failed"
    )
    livepatch.attest("fix.lpatch", suite="unit", key=key("erin"), url="https://ci.example.com/7")  # the same again
    second = livepatch.attest("fix.lpatch", suite="second", key=key("erin"), result="FAILED")
    before = second.read_bytes()
    with pytest.raises(livepatch.PatchError, match="FAILED, by "):
        livepatch.attest("fix.lpatch", suite="second", key=key("erin"))
    assert second.read_bytes() == before
    with refused("unit: failed"):
        livepatch.apply("fix.lpatch", trust=root, approvals=[unit, replay, failed])
    own = livepatch.attest("fix.lpatch", suite="unit", key=key("alice"), output="own")
    Path("livepatch.toml").write_text(TESTED + "roles = { operator = 1 }\n")
    with refused("own, by no key that may approve"):
        livepatch.apply("fix.lpatch", trust=root, approvals=[own, replay])
    Path("livepatch.toml").write_text(TESTED)
    assert not livepatch.check("fix.lpatch", trust=root, approvals=[own, replay]).ok
    livepatch.apply("fix.lpatch", trust=root, approvals=[unit, replay])
    assert node.f(1) == 2


def test_evidence_is_an_in_toto_statement_and_others_are_read(node, root):
    Path("livepatch.toml").write_text(TESTED.replace(', "replay"', ""))
    made = livepatch.attest("fix.lpatch", suite="unit", key=key("erin"))
    envelope = read_envelope(made.read_bytes(), payload=1 << 20, refuse=lambda found, expected: ValueError(found))
    plain = json.loads(envelope.payload)
    digest = livepatch.load("fix.lpatch").origin.digest.removeprefix("sha256:")
    assert plain == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "CVE-2026-1234", "digest": {"sha256": digest}}],
        "predicateType": "https://in-toto.io/attestation/test-result/v0.1",
        "predicate": {"result": "PASSED", "configuration": [{"name": "unit"}]},
    }
    # What another tool writes may say more.
    plain["subject"].insert(0, {"digest": {"gitCommit": "d20ace7968ba43c0219f62d71334c1095bab1602"}})
    plain["predicate"].update(
        passedTests=["a"], failedTests=[], configuration=[{"name": "unit", "uri": "git+https://x"}]
    )
    plain["more"] = {}
    other = Envelope(payload_type=EVIDENCE_TYPE, payload=json.dumps(plain).encode())
    Path("other").write_bytes(sign(other, key("erin")).to_bytes())
    assert livepatch.check("fix.lpatch", trust=root, approvals=["other"]).ok
    plain["predicate"]["failedTests"] = ["b"]
    failed = Envelope(payload_type=EVIDENCE_TYPE, payload=json.dumps(plain).encode())
    Path("failed").write_bytes(sign(failed, key("erin")).to_bytes())
    assert not livepatch.check("fix.lpatch", trust=root, approvals=["failed"]).ok
    plain["subject"] = plain["subject"][:1]
    elsewhere = Envelope(payload_type=EVIDENCE_TYPE, payload=json.dumps(plain).encode())
    Path("elsewhere").write_bytes(sign(elsewhere, key("erin")).to_bytes())
    assert not livepatch.check("fix.lpatch", trust=root, approvals=["elsewhere"]).ok


@pytest.mark.parametrize(
    "changes",
    [
        {"_type": "https://in-toto.io/Statement/v0.1"}, {"predicateType": "https://slsa.dev/provenance/v1"},
        {"subject": None}, {"subject": [{"digest": {"sha256": "0" * 63}}]}, {"subject": [{}]}, {"predicate": []},
        {"predicate": {"result": "GOOD", "configuration": []}}, {"predicate": {"result": "PASSED"}},
        {"predicate": {"result": "PASSED", "configuration": ["unit"]}},
    ],
)  # fmt: skip
def test_what_is_no_evidence_is_refused(changes):
    good = {
        "_type": "https://in-toto.io/Statement/v1", "subject": [{"digest": {"sha256": "0" * 64}}],
        "predicateType": "https://in-toto.io/attestation/test-result/v0.1",
        "predicate": {"result": "PASSED", "configuration": [{"name": "unit"}]},
    }  # fmt: skip
    assert evidence_in(Envelope(payload_type=EVIDENCE_TYPE, payload=json.dumps(good).encode())).suites == ("unit",)
    bad = json.dumps({**good, **changes}).encode()
    with pytest.raises(TrustError, match="no readable evidence"):
        evidence_in(Envelope(payload_type=EVIDENCE_TYPE, payload=bad))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"suite": ""}, PatchError), ({"suite": "a b/c"}, PatchError), ({"suite": 5}, TypeError),
        ({"suite": "a", "result": "GOOD"}, PatchError), ({"suite": "a", "failed": ["x"]}, PatchError),
        ({"suite": "a", "url": "ü"}, PatchError), ({"suite": "a", "result": "FAILED", "failed": ["x"] * 2}, PatchError),
        ({"suite": "a", "result": "FAILED", "failed": ["x" * 1001]}, PatchError),
        ({"suite": "a", "result": "FAILED", "failed": map(str, range(10_001))}, PatchError),
        ({"suite": "a", "result": "FAILED", "failed": [5]}, TypeError),
    ],
)  # fmt: skip
def test_a_wrong_argument_of_attest_writes_nothing(node, arguments, error):
    before = sorted(Path().iterdir())
    with pytest.raises(error):
        livepatch.attest("fix.lpatch", key=key("erin"), **arguments)
    assert sorted(Path().iterdir()) == before


# Commands


def test_approve_and_check_on_the_command_line(node, capsys, tmp_path):
    for name in ("carol", "erin"):
        make_key(tmp_path / name)
    roles = dict(ROLES)
    write_root(Path("trust.json"), roles, package="specimen")
    assert main(["approve", "fix.lpatch", "--key", "carol", "--class", "hot-patch", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["patch"], told["class"], told["emergency"]) == ("CVE-2026-1234", "hot-patch", False)
    assert Path(told["file"]).name == f"fix.lpatch.{told['keyid'][:8]}.approval"
    assert main(["approve", "fix.lpatch", "--key", "erin", "--emergency", "--reason", "attacks", "-o", "e"]) == 0
    assert capsys.readouterr().out.startswith("declared an emergency for CVE-2026-1234")
    assert main(["approve", "fix.lpatch", "--key", "erin", "--expires", "2020-01-01T00:00:00Z", "-o", "f"]) == 2
    assert "would have expired" in capsys.readouterr().err
    assert not Path("f").exists()
    # Keys of this test, not those of the trust root: they do not count.
    arguments = ["check", "fix.lpatch", "--package-dir", "old", "--trust", "trust.json", "--approval", told["file"]]
    assert main(arguments) == 1
    assert "by no key that may approve" in capsys.readouterr().out
    files = approved_by("carol", "erin")
    assert main([*arguments, "--approval", str(files[0]), "--approval", str(files[1])]) == 0


def test_a_policy_file_is_tested(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rules = RULES + "[[window]]\ndays = ['thu']\nfrom = '02:00'\nto = '04:00'\n"
    rules += "[[protected]]\npaths = ['pkg.consensus.*']\nreason = 'all agree'\n"
    Path("mine.toml").write_text(rules)
    assert main(["policy", "test", "mine.toml", "--at", "2026-11-26T03:00:00Z"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "mine.toml: 1 protected; 1 approval; 1 window; 1 emergency",
        "  protected: pkg.consensus.* (all agree)",
        "  approval reviewed: 1 by security-reviewer, 1 by operator, at most 30 days old",
        "  window: thu 02:00 to 04:00 UTC",
        "  emergency: 1 by operator, within 24 hours",
        "open at 2026-11-26T03:00:00Z",
    ]
    assert main(["policy", "test", "mine.toml", "--at", "2026-11-26T04:00:00Z", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["open"], told["closed_by"][0]["code"]) == (False, "outside-window")
    assert told["rules"]["approval"][0]["roles"] == {"security-reviewer": 1, "operator": 1}
    Path("mine.toml").write_text("[[approvals]]\n")
    assert main(["policy", "test", "mine.toml"]) == 2
    assert "an unknown key" in capsys.readouterr().err
    assert main(["policy", "test", "mine.toml", "--at", "noon"]) == 2
    assert "--at is no moment" in capsys.readouterr().err


def test_rules_ask_for_what_a_patch_carries_and_no_emergency_lifts_that(node, root, write_fix):
    Path("livepatch.toml").write_text(
        "[[approval]]\nname = 'carried'\nowners = ['call']\nprobes = true\n\n[emergency]\nroles = { anybody = 1 }\n"
    )
    with pytest.raises(livepatch.ProtectedError) as error:
        livepatch.apply("fix.lpatch", trust=root)
    assert [each.code for each in error.value.report.errors] == ["owners-missing", "probes-missing"]
    livepatch.approve("fix.lpatch", key=key("carol"), emergency=True, reason="now", output="now.approval")
    with pytest.raises(livepatch.ProtectedError):
        livepatch.apply("fix.lpatch", trust=root, approvals=["now.approval"])
    fix = write_fix(f"{node.__name__}:f", "def f(x): return 'new'")
    fix.owners = livepatch.Owners(call="the security team")
    fix.probe("p", "def vulnerable():\n    return False\n")
    livepatch.apply(fix).revert()
