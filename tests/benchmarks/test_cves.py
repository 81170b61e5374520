"""The runner of benchmarks/cves, on a package made for it, and on two published vulnerabilities."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "benchmarks" / "cves"

CASE = """\
# /// case
# id = "{id}"
# package = "leaky"
# vulnerable = "1.0"
# fixed = "1.1"
# what = "anyone | may come in"
# shape = "one function"
# modules = ["leaky"]
{more}# ///
from leaky import admits, name_of


def exploit():
    return admits("stranger")


def regression():
    assert admits("friend")
    assert name_of({argument}) == "leaky"
"""

OLD = """\
__version__ = "1.0"


def admits(who):
    return True


def name_of(of=None):
    return "leaky"
"""
NEW = OLD.replace("return True", 'return who == "friend"').replace("1.0", "1.1")
BREAKS = NEW.replace('return "leaky"', 'return "leaky" if of is None else "other"')


def run(cases: Path, releases: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LIVEPATCH_CVES": str(releases), "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        [sys.executable, FOLDER / "run.py", "--cases", cases, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.fixture
def releases(tmp_path):
    """A cache that has both releases, so that pip is not asked."""
    for version, source in (("1.0", OLD), ("1.1", NEW)):
        release(tmp_path, version, source)
    return tmp_path / "releases"


def release(folder: Path, version: str, source: str) -> None:
    tree = folder / "releases" / f"{sys.version_info.major}.{sys.version_info.minor}" / f"leaky=={version}"
    (tree / "leaky").mkdir(parents=True, exist_ok=True)
    (tree / "leaky" / "__init__.py").write_text(source)
    metadata = tree / f"leaky-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir(exist_ok=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: leaky\nVersion: {version}\n")


@pytest.fixture
def cases(tmp_path):
    folder = tmp_path / "cases"
    folder.mkdir()
    return folder


def write_case(folder: Path, id: str = "CVE-0", more: str = "", argument: str = "") -> None:  # noqa: A002
    (folder / f"{id.lower().replace('-', '_')}.py").write_text(CASE.format(id=id, more=more, argument=argument))


def test_a_case_is_patched_and_reverted_and_its_row_tells_what_it_took(cases, releases, tmp_path):
    write_case(cases)
    done = run(cases, releases, "--strict", "--json", str(tmp_path / "rows.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert row["livepatch"]["outcome"] == "patched"
    assert row["livepatch"]["targets"] == 1
    assert row["livepatch"]["bytes"] > 100
    assert row["livepatch"]["switch_us"] > 0
    assert row["livepatch"]["seconds"].keys() == {"build", "load", "check", "apply", "revert"}
    assert row["swap"]["outcome"] == "fixed"
    assert row["reload"]["outcome"] == "exploitable"  # the probe holds the function of before
    assert "| CVE-0 | leaky 1.0 → 1.1 | anyone \\| may come in | one function | ✓ | ✓ | ✗ exploitable |" in done.stdout
    assert "1 of 1 patched and reverted." in done.stdout


def test_what_breaks_normal_use_is_wrong(cases, releases, tmp_path):
    release(tmp_path, "1.1", BREAKS)
    write_case(cases, argument="1")
    done = run(cases, releases)
    assert done.returncode == 1
    assert "regression() when patched raised AssertionError" in done.stdout
    assert "| **WRONG** | ✗ breaks | ✗ exploitable |" in done.stdout


def test_an_exploit_that_does_not_work_is_wrong(cases, releases, tmp_path):
    release(tmp_path, "1.0", NEW)
    write_case(cases)
    done = run(cases, releases)
    assert done.returncode == 1
    assert "exploit() before gave False" in done.stdout


def test_a_refusal_is_told_with_its_codes(cases, releases):
    write_case(cases)
    (cases / "cve_0.py").write_text(
        (cases / "cve_0.py").read_text()
        + "\nadmits.__code__ = (lambda who: bool(who)).__code__  # not as in the release\n"
    )
    done = run(cases, releases, "--strict")
    assert done.returncode == 2, done.stdout  # it was to be patched
    assert "refused: `" in done.stdout


def test_a_case_that_this_python_cannot_run_is_left_out(cases, releases):
    write_case(cases, "CVE-0", f'# python = "!={platform.python_version()}"\n')
    write_case(cases, "CVE-1")
    done = run(cases, releases)
    assert "1 of 1" in done.stdout
    assert "CVE-0" not in done.stdout


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('# requires_ = ["x==1"]\n', "says 'requires_', which means nothing"),
        ('# expect = "perhaps"\n', "expects 'perhaps'"),
    ],
)
def test_a_case_that_says_what_it_must_not_stops_the_run(cases, releases, more, said):
    write_case(cases, more=more)
    done = run(cases, releases)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_name_that_no_case_has_stops_the_run(cases, releases):
    write_case(cases)
    done = run(cases, releases, "CVE-9")
    assert done.returncode == 2
    assert "'CVE-9'" in done.stderr


def test_the_tables_go_into_their_section_of_a_document_and_nothing_else_changes(cases, releases, tmp_path):
    write_case(cases)
    series = f"CPython {sys.version_info.major}.{sys.version_info.minor}"
    document = tmp_path / "cves.md"
    document.write_text(f"# Title\n\nProse.\n\n## {series}\n\nan old table\n\n## CPython 2.7\n\nanother\n")
    assert run(cases, releases, "--write", str(document)).returncode == 0
    once = document.read_text()
    assert once.startswith(f"# Title\n\nProse.\n\n## {series}\n\nCPython {platform.python_version()}. 1 of 1 patched")
    assert once.endswith("|\n\n## CPython 2.7\n\nanother\n")
    assert "an old table" not in once
    document.write_text("# Title\n")
    assert run(cases, releases, "--write", str(document)).returncode == 0
    assert document.read_text().startswith(f"# Title\n\n## {series}\n\nCPython")


def test_every_case_is_well_formed():
    script = "from case import *; print(len(load_cases(CASES)), len({case.id for case in load_cases(CASES)}))"
    environment = {**os.environ, "PYTHONPATH": str(FOLDER)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    cases, ids = map(int, done.stdout.split())
    assert cases == ids >= 16


@pytest.mark.slow
def test_two_published_vulnerabilities_are_patched_and_reverted():
    """One function, and an async closure that live routes hold.  Downloads them unless $LIVEPATCH_CVES has them."""
    names = ["starkbank-ecdsa", "CVE-2021-32677"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, FOLDER / "run.py", "--strict", *names],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if "not run" in done.stdout or "No module named pip" in done.stdout:
        pytest.skip(f"the releases could not be installed: {done.stdout}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 patched and reverted." in done.stdout
