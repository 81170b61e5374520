"""A word of its own in each field under embargo, looked for in all that livepatch prints, logs, records and raises."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
import traceback
from pathlib import Path

import msgpack
import pytest
import structlog
from structlog.testing import capture_logs
from tests.bundle.patches import of_functions
from tests.documents.test_documents import ABOUT
from tests.govern.records import lines_of
from tests.signing import write_patch, write_root

import livepatch
from livepatch.bundle import codec
from livepatch.bundle.keyfiles import make_key
from livepatch.cli.main import main
from livepatch.contents.embargo import Embargo
from livepatch.contents.probes import Probe

BEFORE, AFTER = "2198-01-01T00:00:00Z", "2020-01-01T00:00:00Z"
CANARIES = ("CANARY-concept", "CANARY-path", "CANARY-reporter", "CANARY-probe")


def embargo(until: str = BEFORE) -> Embargo:
    return Embargo(
        until=until,
        proof_of_concept="first CANARY-concept\nthen more",
        affected_paths=("src/CANARY-path.py",),
        reporter="CANARY-reporter",
    )


PROBE = Probe(name="count", source="def vulnerable():\n    return 'CANARY-probe'\n", safe=True)


def written(folder: Path, until: str = BEFORE, **changes) -> str:
    path = folder / "fix.lpatch"
    held = {"versions": "==2.1.0", "embargo": embargo(until), "probes": (PROBE,), **changes}
    path.write_bytes(codec.encode(dataclasses.replace(of_functions(1), **held)))
    return str(path)


def in_the_clear(text: str) -> list[str]:
    """The canaries in a text, also if it was written in another way."""
    plain = text.replace("\\n", "\n")
    return [canary for canary in CANARIES if re.search(canary, plain, re.IGNORECASE)]


@pytest.fixture
def about(tmp_path):
    """What people know; owners and the embargo are in the patch."""
    path = tmp_path / "about.toml"
    path.write_text(ABOUT[: ABOUT.index("[embargo]")], encoding="utf-8")
    return str(path)


def commands(path: str, folder: Path, about: str) -> list[list[str]]:
    return [
        ["show", path],
        ["show", path, "--json"],
        ["show", path, "--trust", str(folder / "trust.json")],
        ["lint", path],
        ["lint", path, "--json"],
        ["check", path, "--package-dir", str(folder)],
        ["check", path, "--package-dir", str(folder), "--json"],
        ["classify", path, "--package-dir", str(folder), "--json"],
        ["verify", path, "--trust", str(folder / "trust.json")],
        ["docs", path, "--about", about, "-o", str(folder / "papers")],
        ["docs", path, "--about", about, "-o", str(folder / "papers"), "--json"],
        ["replay", path, str(folder / "nothing"), "--unsigned"],
        ["sign", path, "--key", str(folder / "nobody")],
    ]


def test_no_command_tells_it_before_the_date(tmp_path, about, capsys):
    path = written(tmp_path)
    write_root(tmp_path / "trust.json")
    for line in commands(path, tmp_path, about):
        with contextlib.suppress(SystemExit):
            main(line)
        told = capsys.readouterr()
        assert told.out + told.err, line
        assert not in_the_clear(told.out + told.err), line
    papers = {file.name: file.read_text(encoding="utf-8") for file in tmp_path.glob("papers/*/*")}
    assert {"advisory.md", "osv.json", "runbook.md", "risk.md"} <= set(papers)
    assert not [name for name, text in papers.items() if in_the_clear(text)]
    assert f"More will be told after {BEFORE}." in papers["advisory.md"]


def test_it_is_shown_to_whoever_asks_for_it_and_after_the_date(tmp_path, about, capsys):
    path = written(tmp_path)
    for line in (["show", path, "--embargoed"], ["show", path, "--embargoed", "--json"]):
        assert main(line) == 0
        assert in_the_clear(capsys.readouterr().out) == list(CANARIES)
    path = written(tmp_path, AFTER)
    assert main(["show", path]) == 0
    assert in_the_clear(capsys.readouterr().out) == list(CANARIES)
    assert main(["docs", path, "--about", about, "-o", str(tmp_path / "papers")]) == 0
    advisory = (tmp_path / "papers" / "public" / "advisory.md").read_text(encoding="utf-8")
    assert in_the_clear(advisory) == list(CANARIES[:3])


def test_no_object_of_it_shows_it(tmp_path):
    fix = livepatch.load(written(tmp_path))
    assert fix.embargo == embargo()
    for each in (fix, fix.embargo, fix.probes, fix.origin, codec.decode(bundle_of(fix)), vars(fix)):
        assert not in_the_clear(repr(each))
        assert not in_the_clear(str(each))


def bundle_of(fix: livepatch.Patch):
    from livepatch.bundle.envelope import UnverifiedBundle

    return UnverifiedBundle(fix.to_bytes())


@pytest.fixture
def applied_and_told(write_module, new_patch, tmp_path):
    """All that a process says of a patch from its check to its revert."""
    node = write_module("def f():\n    return 'old'\n")
    fix = new_patch()

    def f():
        return "new"

    fix.replace(f"{node.__name__}:f")(f)
    fix.owners = livepatch.Owners(call="the security team")
    fix.embargo = embargo()
    fix.probe("count", PROBE.source, safe=True)
    make_key(tmp_path / "node.pem")
    livepatch.record_to(tmp_path / "record", key=tmp_path / "node.pem")
    told: list[object] = []
    try:
        with capture_logs() as logs:
            told += [livepatch.check(fix), json.dumps(dataclasses.asdict(livepatch.check(fix)))]
            applied = livepatch.apply(fix)
            told += [applied, applied.report, applied.status(), applied.status().to_dict(), livepatch.status()]
            livepatch.tripwire(fix.id, peer="203.0.113.9")
            told += [livepatch.verify(), livepatch.flags]
            applied.mode = "off"
            told += [applied.revert(), livepatch.classify(fix)]
            with pytest.raises(livepatch.BundleError) as error:
                fix.save(tmp_path / "fix.lpatch")
            told += ["".join(traceback.format_exception(error.value))]
    finally:
        livepatch.record_to(None)
        structlog.reset_defaults()
    told += [json.dumps(logs, default=repr), *(line.decode() for line in lines_of(tmp_path / "record"))]
    return [f"{each!s}\n{each!r}" for each in told]


def test_no_report_status_event_or_entry_of_the_record_tells_it(applied_and_told):
    assert not [each for each in applied_and_told if in_the_clear(each)]
    assert any("the security team" in each for each in applied_and_told)  # what operators are to see, they see


def test_no_error_about_a_file_quotes_it(tmp_path):
    """Every field of the embargo and of a probe spoilt in many ways."""
    whole = msgpack.unpackb(Path(written(tmp_path)).read_bytes())
    wrong = ["CANARY-concept\0\n", "CANARY-path" * 20_000, ["CANARY-reporter"], {"CANARY-probe": 1}, b"CANARY-probe", 7]
    refused = 0
    for part, record in (("embargo", whole[2]["embargo"]), ("probes", whole[2]["probes"][0])):
        for name in [*record, "more"]:
            for value in wrong:
                spoilt = dict(sorted({**record, name: value}.items()))
                data = msgpack.packb([*whole[:2], {**whole[2], part: spoilt if part == "embargo" else [spoilt]}])
                (tmp_path / "spoilt.lpatch").write_bytes(data)
                with contextlib.suppress(livepatch.BundleError):
                    livepatch.load(tmp_path / "spoilt.lpatch")
                    continue
                with pytest.raises(livepatch.BundleError) as error:
                    livepatch.load(tmp_path / "spoilt.lpatch")
                refused += 1
                # A name, a moment and a field are told: they are nobody's secret, and here the attacker's own.
                if name not in ("name", "until") and not isinstance(value, dict):
                    assert not in_the_clear("".join(traceback.format_exception(error.value))), (name, value)
    assert refused > 30


def test_a_file_of_what_is_under_embargo_that_cannot_be_read_is_not_quoted(tmp_path, capsys):
    (tmp_path / "node").mkdir()
    for text in (
        "proof-of-concept = 'CANARY-concept'\n",
        f"until = '{BEFORE}'\nreporter = \"CANARY-reporter\\u0007\"\n",
        f"until = '{BEFORE}'\naffected-paths = ['CANARY-path', 'CANARY-path']\n",
        f"until = '{BEFORE}'\nproof-of-concept = \"CANARY-concept\\u0007\"\n",
        f"until = '{BEFORE}'\nproof-of-concept = ['CANARY-concept']\n",
    ):
        (tmp_path / "embargo.toml").write_text(text, encoding="utf-8")
        line = ["build", str(tmp_path / "node"), str(tmp_path / "node"), "--package", "a"]
        assert main([*line, "--embargo", str(tmp_path / "embargo.toml")]) == 2
        told = capsys.readouterr()
        assert "found: " in told.err
        assert not in_the_clear(told.out + told.err)


def test_lint_says_where_a_public_text_holds_it_and_does_not_quote_it(tmp_path, capsys):
    path = written(tmp_path, summary="thanks to Canary-Reporter for src/CANARY-path.py")
    assert main(["lint", path]) == 1
    told = capsys.readouterr().out
    assert told.count("[embargoed] summary") == 2
    assert "under reporter" in told
    assert not in_the_clear(told.replace("CVE", ""))


def test_what_patch_and_people_say_must_not_contradict_each_other(tmp_path, capsys):
    path = written(tmp_path, owners=livepatch.Owners(watches="somebody else"))
    (tmp_path / "about.toml").write_text(ABOUT, encoding="utf-8")
    line = ["docs", path, "--about", str(tmp_path / "about.toml"), "-o", str(tmp_path / "papers")]
    assert main(line) == 2
    told = capsys.readouterr().err
    assert "contradict each other: embargo." in told
    assert not in_the_clear(told)
    (tmp_path / "about.toml").write_text(ABOUT[: ABOUT.index("[embargo]")], encoding="utf-8")
    assert main(line) == 2
    assert "contradict each other: owner.watches" in capsys.readouterr().err
    assert not (tmp_path / "papers").exists()


def test_no_document_is_written_that_tells_it_in_other_words_of_the_file(tmp_path, about, capsys):
    """Whoever writes the description may know what is under embargo, and forget that it is."""
    path = written(tmp_path)
    line = ["docs", path, "--about", about, "-o", str(tmp_path / "papers")]
    text = Path(about).read_text(encoding="utf-8")
    for old, new, field in (
        ("The flaw was reported.", "canary-REPORTER told us.", "reporter"),
        ("The node stores all of it.", "See src/CANARY-path.py.", "affected-paths"),
        ("Allow known peers only.", "Beware of: first CANARY-concept", "proof-of-concept"),
        ('publisher]\nname = "The node project"', 'publisher]\nname = "CANARY-reporter"', "reporter"),
    ):
        assert old in text
        Path(about).write_text(text.replace(old, new), encoding="utf-8")
        assert main(line) == 2
        told = capsys.readouterr().err
        assert f"something that stands under {field}" in told
        assert not in_the_clear(told)
        assert not (tmp_path / "papers").exists()
    written(tmp_path, AFTER)
    assert main(line) == 0


def test_what_is_under_embargo_steers_no_terminal(tmp_path, capsys):
    evil = "\x1b]0;owned\x07\x1b[2J\u202e"
    spoilt = dataclasses.replace(embargo(), proof_of_concept=f"x\n{evil}\nverified: yes")
    probe = dataclasses.replace(PROBE, source=f"# {evil}\nverified: yes\n")
    path = written(tmp_path, embargo=spoilt, probes=(probe,))
    for options in ([], ["--json"]):
        assert main(["show", path, "--embargoed", *options]) == 0
        shown = capsys.readouterr().out
        assert "verified: yes" in shown
        assert shown.replace("\n", "").isprintable()
        assert "\nverified: yes" not in shown


def test_a_signed_file_is_verified_with_it(tmp_path):
    write_root(tmp_path / "trust.json")
    path = write_patch(tmp_path / "fix.lpatch", embargo=embargo(), probes=(PROBE,))
    fix = livepatch.load(path, trust=livepatch.TrustRoot.load(tmp_path / "trust.json"))
    fix.probes = ()
    with pytest.raises(livepatch.TrustError, match="not what was signed any more"):
        livepatch.apply(fix)


def test_redirected_output_has_it_as_little(tmp_path):
    """The same path whether or not somebody watches."""
    path, out = written(tmp_path), io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["show", path]) == 0
    assert out.getvalue()
    assert not in_the_clear(out.getvalue())
