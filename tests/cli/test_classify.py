"""``livepatch classify``: a patch file beside sources."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.trees import AFTER, BEFORE, tree

import livepatch
from livepatch.cli.main import main

HIGH = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"
CALLED = BEFORE + "\n\ndef take(mempool, transaction):\n    return Mempool.admit(mempool, transaction)\n"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A patch file beside the release that it is for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIVEPATCH_POLICY", raising=False)
    old = tree(tmp_path / "old", CALLED)
    new = tree(tmp_path / "new", AFTER + CALLED.removeprefix(BEFORE), version="2.1.1")
    livepatch.build(old, new, package="nodeclient", id="CVE-2026-1234").save("fix.lpatch")
    return tmp_path


def call(capsys, *arguments):
    capsys.readouterr()
    status = main(["classify", "fix.lpatch", "--package-dir", "old", *arguments])
    return status, capsys.readouterr()


def test_a_patch_beside_sources(files, capsys):
    pytest.importorskip("cvss")
    status, printed = call(capsys, "--cvss", HIGH)
    assert status == 0
    lines = printed.out.splitlines()
    assert lines[0] == "hot-patch-with-quorum: patch CVE-2026-1234 for nodeclient ==2.1.0"
    assert lines[1] == "  because of consensus-unknown: no rule says what consensus depends on"
    assert "  cvss           7.5 (high, CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H)" in lines
    assert "  lines          4 (lines removed and added)" in lines
    assert "  reach          1 (these sources)" in lines
    Path("rules.toml").write_text('[[protected]]\npaths = ["nodeclient.consensus"]\n')
    status, printed = call(capsys, "--cvss", HIGH, "--policy", "rules.toml", "--json")
    told = json.loads(printed.out)
    assert (status, told["decision"], told["decided_by"]) == (0, "hot-patch", [])
    assert told["facts"]["fits"] == {"value": "yes", "source": "these sources"}
    assert told["digest"].startswith("sha256:")


def test_a_full_update_has_status_1(files, capsys):
    status, printed = call(capsys, "--exploitability", "none", "--criteria", "nowhere.toml")
    assert (status, printed.out) == (2, "")
    assert "the file of criteria of nowhere.toml cannot be read" in printed.err
    (files / "old" / "nodeclient" / "mempool.py").write_text(CALLED.replace("admitted", "taken"))
    status, printed = call(capsys)
    assert status == 1
    assert printed.out.startswith("full-update: ")
    assert "because of does-not-fit" in printed.out


def test_without_sources_nothing_is_classified(files, capsys):
    assert main(["classify", "fix.lpatch", "--package-dir", "elsewhere"]) == 2
    assert "there is no such source tree" in capsys.readouterr().err
