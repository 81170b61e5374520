"""Documents from the patch, from what people know, and from the record: complete, valid, and silent under embargo."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from tests.bundle.patches import of_functions
from tests.govern.records import entry as records_entry
from tests.govern.records import new_log, only_file

import livepatch
from livepatch.bundle import codec
from livepatch.bundle.keyfiles import make_key
from livepatch.cli.main import main
from livepatch.compat.windows import moment_of
from livepatch.documents import machines
from livepatch.documents.advisory import advisory_in
from livepatch.documents.dossier import Dossier, affected_by, entries_about
from livepatch.documents.writing import documents_of
from livepatch.errors import PatchError, PolicyError
from livepatch.govern.severity import plain_of, severity_of
from livepatch.govern.telling import entries

jsonschema = pytest.importorskip("jsonschema")
referencing = pytest.importorskip("referencing")
pytest.importorskip("cvss")
SCHEMAS = Path(__file__).parent / "schemas"

ABOUT = """
title = "Oversized peer lists are not refused"
description = \"\"\"
A peer can send a list of any length.

The node stores all of it.\"\"\"
published = "2026-11-20T12:00:00Z"
fixed = "2.1.1"
aliases = ["GHSA-aaaa-bbbb-cccc"]
cvss = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"
cwe = ["CWE-770"]
exploitability = "none"
behaviour = "A list of more than 1000 peers is refused, and the peer is told so."
side-effects = "Peers that send longer lists lose the connection."
workaround = "Allow known peers only."
unknown = ["Whether releases before 2.1 have the flaw."]
watch = ["Connections that are refused, by the hour."]

[publisher]
name = "The node project"
namespace = "https://node.example.org"
contact = "security@node.example.org"

[[reference]]
url = "https://node.example.org/advisories/7"
type = "ADVISORY"

[[timeline]]
at = "2026-11-18T09:00:00Z"
what = "The flaw was reported."

[owner]
watches = "node operations"
stops = "the operator on duty"
call = "the security team"

[source]
repository = "https://git.example.org/node"
before = "0123456789abcdef0123456789abcdef01234567"
after = "89abcdef0123456789abcdef0123456789abcdef"

[embargo]
until = "2026-12-01T00:00:00Z"
proof-of-concept = "Send PEERS with a count of 4000000000."
affected-paths = ["nodeclient/peers.py"]
reporter = "Mallory Finder"
"""
NOW = moment_of("2026-11-26T12:00:00Z")


@pytest.fixture
def patch(tmp_path):
    held = dataclasses.replace(of_functions(2), id="CVE-2026-1234", package="Node_Client", versions="==2.1.0")
    (tmp_path / "fix.lpatch").write_bytes(codec.encode(held))
    return livepatch.load(tmp_path / "fix.lpatch", trust=livepatch.UNSIGNED)


def dossier(patch, about: str = ABOUT, **changes) -> Dossier:
    known = advisory_in(about.encode(), "about.toml")
    told = {"severity": severity_of(known.cvss), "cvss": plain_of(known.cvss)} if known.cvss else {}
    return Dossier(**{"patch": patch, "advisory": known, "now": NOW, **told, **changes})


def valid(name: str, value: object) -> None:
    """Hold a document against its published schema."""
    from referencing.jsonschema import DRAFT7

    registry = referencing.Registry()
    for file in SCHEMAS.glob("cvss-*.json"):
        schema = json.loads(file.read_text())
        uri = f"https://www.first.org/cvss/{file.name}"
        registry = registry.with_resource(uri, referencing.Resource.from_contents(schema, default_specification=DRAFT7))
    schema = json.loads((SCHEMAS / name).read_text())
    kind = jsonschema.Draft202012Validator
    kind(schema, registry=registry, format_checker=kind.FORMAT_CHECKER).validate(value)


VARIANTS = [
    {},
    {"versions": ">=2.1,<2.1.1"},
    {"versions": ">=2.1", 'fixed = "2.1.1"': ""},
    {"versions": "==2.1.0", 'fixed = "2.1.1"': ""},
    {"versions": "<3"},
    {"versions": "==2.1.0,==2.1.0"},
    {"2026-11-20T12:00:00Z": "0001-01-01T00:00:00Z"},
    {"advisories/7": "a(b)'c"},
    {'cvss = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"': ""},
    {"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H": "AV:N/AC:L/Au:N/C:N/I:N/A:C"},
    {"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H": "CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"},
    {
        "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H": (
            "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:N/VI:N/VA:H/SC:N/SI:N/SA:N"
        )
    },
    {'contact = "security@node.example.org"': "", 'workaround = "Allow known peers only."': ""},
]


@pytest.mark.parametrize("changes", VARIANTS)
def test_documents_for_machines_hold_against_their_published_schemas(patch, changes):
    about = ABOUT
    changes = dict(changes)
    patch.versions = changes.pop("versions", patch.versions)
    for old, new in changes.items():
        assert old in about
        about = about.replace(old, new)
    known = dossier(patch, about)
    valid("osv.json", machines.osv(known))
    valid("openvex-0.2.0.json", machines.openvex(known))
    valid("csaf-2.0.json", machines.csaf(known))
    json.loads(json.dumps(machines.provenance(known)))


def test_a_schema_would_tell_a_document_that_does_not_hold(patch):
    known = dossier(patch)
    for name, made in (
        ("osv.json", machines.osv(known)), ("openvex-0.2.0.json", machines.openvex(known)),
        ("csaf-2.0.json", machines.csaf(known)),
    ):  # fmt: skip
        for key in ("modified", "timestamp", "document"):
            made.pop(key, None)
        with pytest.raises(jsonschema.ValidationError):
            valid(name, made)
    scored = machines.csaf(known)
    scored["vulnerabilities"][0]["scores"][0]["cvss_v3"]["baseScore"] = 11
    with pytest.raises(jsonschema.ValidationError):
        valid("csaf-2.0.json", scored)


def test_each_fact_is_told_where_it_belongs(patch):
    made = machines.osv(dossier(patch))
    assert (made["id"], made["aliases"]) == ("CVE-2026-1234", ["GHSA-aaaa-bbbb-cccc"])
    assert made["affected"][0]["package"] == {
        "ecosystem": "PyPI", "name": "node-client", "purl": "pkg:pypi/node-client",
    }  # fmt: skip
    assert made["affected"][0]["versions"] == ["2.1.0"]
    assert made["severity"] == [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"}]
    patch.versions = ">=2.1,<2.1.1"
    assert machines.osv(dossier(patch))["affected"][0]["ranges"] == [
        {"type": "ECOSYSTEM", "events": [{"introduced": "2.1"}, {"fixed": "2.1.1"}]}
    ]
    told = machines.openvex(dossier(patch))
    assert [each["status"] for each in told["statements"]] == ["affected", "fixed"]
    assert patch.origin.digest in told["statements"][0]["action_statement"]
    flaw = machines.csaf(dossier(patch))["vulnerabilities"][0]
    assert flaw["cve"] == "CVE-2026-1234"
    assert flaw["product_status"] == {
        "known_affected": ["node-client-vers:pypi/>=2.1|<2.1.1"], "fixed": ["node-client-2.1.1"],
    }  # fmt: skip
    assert [each["category"] for each in flaw["remediations"]] == ["mitigation", "vendor_fix", "workaround"]
    built = machines.provenance(dossier(patch))
    assert built["subject"][0]["digest"]["sha256"] == patch.origin.digest.removeprefix("sha256:")
    revisions = [
        each["digest"]["gitCommit"][:4] for each in built["predicate"]["buildDefinition"]["resolvedDependencies"]
    ]
    assert revisions == ["0123", "89ab"]


# Under embargo

SECRETS = ("4000000000", "nodeclient/peers.py", "Mallory")


def test_no_public_document_tells_what_is_under_embargo_and_each_does_after(patch):
    documents = documents_of(dossier(patch)).made
    public = {path: text for path, text in documents.items() if path.startswith("public/")}
    assert len(public) == 6
    for path, text in public.items():
        assert not [secret for secret in SECRETS if secret in text], path
    for path, text in documents.items():
        assert not [secret for secret in SECRETS if secret in text], path  # and no other, either
    assert "More will be told after 2026-12-01T00:00:00Z." in public["public/advisory.md"]
    targets = dossier(patch).targets
    assert targets
    assert not [name for name in targets for text in public.values() if name in text]
    after = documents_of(dossier(patch, now=NOW + timedelta(days=5))).made
    assert all(secret in after["public/advisory.md"] for secret in SECRETS)
    assert json.loads(after["public/osv.json"])["credits"] == [{"name": "Mallory Finder", "type": "REPORTER"}]


# For people


def test_documents_for_people_have_what_is_known_and_say_what_is_not(patch):
    made = documents_of(dossier(patch)).made
    advisory = made["public/advisory.md"]
    for text in (
        "# Oversized peer lists are not refused (CVE-2026-1234, GHSA-aaaa-bbbb-cccc)", "Severity: high, 7.5",
        "Versions with the flaw: 2.1.0", "Whether releases before 2.1 have the flaw.", "Allow known peers only.",
        "2026-11-18T09:00:00Z: The flaw was reported.", "Peers that send longer lists lose the connection.",
        "security@node.example.org",
    ):  # fmt: skip
        assert text in advisory
    assert "the security team" in made["internal/runbook.md"]
    assert "Connections that are refused, by the hour." in made["internal/monitoring.md"]
    assert "`livepatch classify`" in made["internal/risk.md"]
    assert f'livepatch.revert("{patch.id}")' in made["internal/deployment.md"]
    assert made["public/changelog.md"].startswith("### Security\n\n- Oversized peer lists")
    short = re.sub(r"(?s)(behaviour|side-effects|workaround).*?\n(?=watch)", "", ABOUT)
    assert "## Expected behaviour\n\nNobody has said." in documents_of(dossier(patch, short)).made["public/advisory.md"]


def test_a_release_that_contradicts_the_versions_is_told_and_people_read_what_machines_do(patch):
    with pytest.raises(PatchError, match="the release with the fix has the flaw"):
        documents_of(dossier(patch, ABOUT.replace('fixed = "2.1.1"', 'fixed = "2.1.0"')))
    patch.versions = ">=2.1,<3"
    made = documents_of(dossier(patch)).made
    assert "Versions with the flaw: from 2.1, before 2.1.1" in made["public/advisory.md"]
    assert '"vers:pypi/>=2.1|<2.1.1"' in made["public/csaf.json"]


def test_what_cannot_be_written_is_left_out_with_the_reason(patch):
    patch.id = "FIX-7"
    about = ABOUT.replace('aliases = ["GHSA-aaaa-bbbb-cccc"]', "")
    about = about[: about.index("[source]")] + about[about.index("[embargo]") :]
    documents = documents_of(dossier(patch, about))
    assert sorted(documents.left_out) == ["internal/review.md", "public/osv.json", "public/provenance.json"]
    assert "FIX-7; expected one that begins with CVE-" in documents.left_out["public/osv.json"]
    valid("csaf-2.0.json", json.loads(documents.made["public/csaf.json"]))


def test_a_revision_beyond_all_counting_takes_no_memory(patch):
    patch.release = dataclasses.replace(patch.release, revision=2**31 - 1)
    documents = documents_of(dossier(patch))
    assert sorted(documents.left_out) == ["internal/review.md", "public/csaf.json"]
    assert "revision 2147483647; expected 1000 or fewer" in documents.left_out["public/csaf.json"]


def entry(event: str, minutes: int, phase: str = "done", **details):
    at = (NOW + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    known = {"who": "erin", "process": {"pid": 7}, "patch": {"id": "CVE-2026-1234"}}
    return {"event": event, "phase": phase, "at": at, **known, "details": details}


def test_the_review_tells_times_and_what_fired(patch):
    made = [
        entry("applied", 0, "intent"), entry("applied", 1, "failed", error="TransitionError"), entry("applied", 10),
        entry("tripwire", 12, "noted"), entry("reverted", 100), {**entry("applied", 5), "patch": {"id": "OTHER"}},
    ]  # fmt: skip
    known = dossier(patch, entries=entries_about(patch, made))
    review = documents_of(known).made["internal/review.md"]
    assert "From the first word of the flaw to the first patch: 8 d 3 h 10 min." in review
    assert "From the advisory to the first patch: 6 d 10 min." in review
    assert "From the patch to its revert: 1 h 30 min." in review
    assert "2026-11-26T12:12:00Z: tripwire by erin, process 7" in review
    assert "applied (failed) by erin, process 7: TransitionError" in review
    assert "OTHER" not in review


def test_the_review_reads_a_real_record(patch, tmp_path, write_module, write_fix):
    make_key(tmp_path / "node.pem")
    m = write_module("def f(x): return x")
    fix = write_fix(f"{m.__name__}:f", "def f(x): return x + 1")
    livepatch.record_to(tmp_path / "record", key=tmp_path / "node.pem", who="erin")
    try:
        applied = livepatch.apply(fix)
        livepatch.tripwire(fix.id, peer="7")
        applied.revert()
    finally:
        livepatch.record_to(None)
    found = entries_about(fix, entries(tmp_path / "record"))
    review = documents_of(dossier(patch, entries=found)).made["internal/review.md"]
    assert "applied by erin, process" in review
    assert "From the patch to its revert: 0 s." in review
    assert "tripwire by erin, process" in review


def test_a_record_that_somebody_has_changed_tells_nothing(patch, tmp_path, capsys):
    log = new_log(tmp_path / "record")
    for number in range(4):
        log.append({**records_entry(number), "patch": {"id": patch.id}})
    (tmp_path / "about.toml").write_text(ABOUT)
    arguments = ["docs", str(tmp_path / "fix.lpatch"), "--about", str(tmp_path / "about.toml"), "--record",
                 str(tmp_path / "record"), "-o", str(tmp_path / "out")]  # fmt: skip
    assert main(arguments) == 0, capsys.readouterr().err
    assert "applied by alice" in (tmp_path / "out/internal/review.md").read_text()
    path = only_file(tmp_path / "record")
    path.write_bytes(path.read_bytes().replace(b"alice", b"mally", 1))
    assert main([*arguments[:-1], str(tmp_path / "other")]) == 2
    assert "the record does not hold" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


# Facts that are wrong


@pytest.mark.parametrize(
    ("specifier", "fixed", "expected"),
    [
        ("==2.1.0", "", ((("2.1.0",), "", ""))),
        (">=2.1,<2.1.1", "", ((), "2.1", "2.1.1")),
        (">=2.1,<3", "2.1.1", ((), "2.1", "2.1.1")),
        ("<2.1.1", "", ((), "0", "2.1.1")),
    ],
)
def test_versions_as_advisories_write_them(specifier, fixed, expected):
    found = affected_by(specifier, fixed)
    assert (found.versions, found.introduced, found.fixed) == expected


@pytest.mark.parametrize(
    ("specifier", "fixed"),
    [("!=2.0", ""), ("==2.*", ""), ("~=2.1", ""), (">=2,<3", "1.0"), ("==2.1", "2.1"), ("==2.1", "2.1.0")],
)
def test_versions_that_are_no_one_range_are_told(specifier, fixed):
    with pytest.raises(PatchError) as error:
        affected_by(specifier, fixed)
    assert error.value.found
    assert error.value.expected


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ('title = "Over', 'titel = "Over', "title"),
        ('published = "2026-11-20T12:00:00Z"', "", "published"),
        ('published = "2026-11-20T12:00:00Z"', 'published = "soon"', "published"),
        ('fixed = "2.1.1"', 'fixed = "soon"', "fixed"),
        ('cwe = ["CWE-770"]', 'cwe = ["770"]', "cwe[0]"),
        ('exploitability = "none"', 'exploitability = "some"', "exploitability"),
        ('namespace = "https://node.example.org"', 'namespace = "node.example.org"', "publisher.namespace"),
        ("[publisher]", "[publishers]", "publisher"),
        ('type = "ADVISORY"', 'type = "NEWS"', "reference[0].type"),
        ('url = "https://node.example.org/advisories/7"', 'url = "javascript:alert(1)"', "reference[0].url"),
        ('url = "https://node.example.org/advisories/7"', 'url = "https://x/>[a](javascript:b)"', "reference[0].url"),
        ('url = "https://node.example.org/advisories/7"', 'url = "https://ü.example.org"', "reference[0].url"),
        ('title = "Oversized peer lists are not refused"', 'title = " "', "title"),
        ('what = "The flaw was reported."', "", "timeline[0].what"),
        ('after = "89abcdef0123456789abcdef0123456789abcdef"', "", "source.after"),
        ('until = "2026-12-01T00:00:00Z"', "", "embargo.until"),
        ('reporter = "Mallory Finder"', "reporter = 5", "embargo.reporter"),
        ('unknown = ["', 'unknown = ["\\u001b[2J', "unknown[0]"),
        ('workaround = "', 'workaround = "\\u001b[2J', "workaround"),
    ],
)
def test_a_file_about_a_flaw_is_read_strictly(old, new, place):
    assert old in ABOUT
    with pytest.raises(PolicyError) as error:
        advisory_in(ABOUT.replace(old, new, 1).encode(), "about.toml")
    assert place in f"{error.value} {error.value.found}"
    assert "about.toml" in str(error.value)


# The command


def test_docs_on_the_command_line(patch, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("about.toml").write_text(ABOUT)
    assert main(["docs", "fix.lpatch", "--about", "about.toml", "-o", "out", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert sorted(path.as_posix() for path in Path("out").rglob("*.*")) == sorted(told["documents"])
    assert list(told["left_out"]) == ["internal/review.md"]
    valid("csaf-2.0.json", json.loads(Path("out/public/csaf.json").read_text()))
    assert main(["docs", "fix.lpatch", "--about", "nowhere.toml", "-o", "more"]) == 2
    assert "nowhere.toml cannot be read" in capsys.readouterr().err
    assert not Path("more").exists()
    Path("out2").write_text("")
    assert main(["docs", "fix.lpatch", "--about", "about.toml", "-o", "out2"]) == 2
    assert "folder for the documents cannot be made" in capsys.readouterr().err


def test_documents_tell_of_owners_and_probes_that_the_patch_carries(patch):
    patch.owners = livepatch.Owners(watches="node operations", stops="the operator on duty", call="the security team")
    patch.probe("count", "def vulnerable():\n    return 'CANARY'\n")
    about = ABOUT[: ABOUT.index("[owner]")] + ABOUT[ABOUT.index("[source]") :]
    alarm = entry("verified", 30, "noted", ok=False, probes=["count: vulnerable, scratch, closed"])
    fine = entry("verified", 20, "noted", ok=True)
    made = documents_of(dossier(patch, about, entries=entries_about(patch, [alarm, fine]))).made
    for name in ("deployment", "runbook"):
        for text in ("May stop it: the operator on duty", "Call: the security team", "Watches it: node operations"):
            assert text in made[f"internal/{name}.md"]
    assert "node operations" in made["internal/monitoring.md"]
    assert not [path for path, text in made.items() if "CANARY" in text or "CANARY" in path]
    assert not [path for path, text in made.items() if path.startswith("public/") and "on duty" in text]
    assert "livepatch.hole_open" in made["internal/runbook.md"]
    assert "`livepatch.probe()`" in made["internal/deployment.md"]
    fired = made["internal/review.md"].partition("## What fired")[2].partition("##")[0]
    assert fired.count("verified") == 1


def test_of_two_embargoes_the_later_one_holds(patch):
    embargo = livepatch.Embargo(until="2026-12-05T00:00:00Z", reporter="Mallory Finder")
    patch.embargo = embargo
    known = dossier(patch, now=NOW + timedelta(days=7))
    assert known.embargo == dataclasses.replace(
        embargo, proof_of_concept="Send PEERS with a count of 4000000000.", affected_paths=("nodeclient/peers.py",)
    )
    assert not known.may_tell_all
    assert dossier(patch, now=NOW + timedelta(days=9)).may_tell_all
