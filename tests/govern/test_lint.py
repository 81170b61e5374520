"""What a patch tells the world: an allow-list, and nothing in it that should not be told."""

from __future__ import annotations

import dataclasses
import json

import pytest
import structlog
from structlog.testing import capture_logs
from tests.bundle.patches import of_functions
from tests.govern.records import lines_of

import livepatch
from livepatch.bundle import codec
from livepatch.bundle.keyfiles import make_key
from livepatch.cli.main import main
from livepatch.contents.claims import Waiver
from livepatch.contents.edits import FunctionEdit, ModuleEdit, Text
from livepatch.contents.public import PUBLIC
from livepatch.contents.release import Release
from livepatch.govern.lint import lint


def patch(summary: str = "", **changes: object) -> livepatch.Patch:
    return livepatch.Patch("CVE-2026-1234", package="nodeclient", versions="==2.1.0.4", summary=summary, **changes)  # type: ignore[arg-type]


TOLD = [
    ("secret", "use token ghp_abcdefghijklmnopqrst0123"),
    ("secret", "-----BEGIN PRIVATE KEY-----"),
    ("secret", "-----BEGIN OPENSSH PRIVATE KEY-----"),
    ("secret", "key AKIAABCDEFGHIJKLMNOP is gone"),
    ("secret", "password: hunter2hunter2"),
    ("secret", "fetch https://alice:hunter2@updates.example.com/"),
    ("secret", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3.SflKxwRJSMeKKF2QT4"),
    ("host", "seen on 10.20.0.7."),
    ("host", "seen on 8.8.8.8, and elsewhere"),
    ("host", "seen on fd00:1234::7"),
    ("host", "see ci.build.corp for more"),
    ("host", "on node7.internal"),
    ("internal-path", "as in /home/alice/node/mempool.py"),
    ("internal-path", "as in ~/node/mempool.py"),
    ("internal-path", "as in C:\\\\Users\\\\alice\\\\node"),
    ("internal-path", "see file:///home/alice/node"),
    ("internal-path", "on \\\\server7\\builds\\node"),
    ("person", "found by bob@example.com"),
    ("exploit-hint", "a proof of concept is out"),
    ("exploit-hint", "crashes the node by sending two blocks"),
    ("exploit-hint", "with a crafted header"),
    ("exploit-hint", "PoC in the tracker"),
]


@pytest.mark.parametrize(("code", "text"), TOLD)
def test_what_should_not_be_told_is_found(code: str, text: str) -> None:
    found = lint(patch(text))
    assert code in {finding.code for finding in found}, found
    assert all(finding.found and finding.expected and finding.action for finding in found)
    assert code in {finding.code for finding in lint(patch(f"reject oversized peer lists\n{text}"))}


@pytest.mark.parametrize(
    "text",
    [
        "reject oversized peer lists",
        "lists of more than 1,000 peers are refused; see https://nodeclient.example.org/advisories/7",
        "peers such as 192.0.2.1, 203.0.113.9 and 2001:db8::1, or on 127.0.0.1 and ::1",
        "the ratio 3:4 of 10:20:30, at 12:30",
        "nodeclient.mempool:Mempool.validate keeps its local table",
        "the password of a wallet is asked for once",
        "a secret is no longer logged",
        "and/or, either/or, /metrics",
        "CVE-2026-1234, CWE-400",
        "mod::name",
    ],
)
def test_what_may_be_told_is_not(text: str) -> None:
    assert lint(patch(text)) == ()


def test_a_secret_that_is_found_is_not_told(capsys, tmp_path) -> None:
    secret = "ghp_abcdefghijklmnopqrst0123"
    fix = tmp_path / "fix.lpatch"
    fix.write_bytes(codec.encode(dataclasses.replace(of_functions(1), summary=f"use {secret}")))
    for options in ([], ["--json"]):
        assert main(["lint", str(fix), *options]) == 1
        told = capsys.readouterr()
        assert secret[:10] not in told.out + told.err
        assert "ghp_" in told.out


def test_the_command(capsys, tmp_path) -> None:
    fix = tmp_path / "fix.lpatch"
    fix.write_bytes(codec.encode(of_functions(1)))
    assert main(["lint", str(fix)]) == 0
    assert "nothing that should not be in it" in capsys.readouterr().out
    fix.write_bytes(codec.encode(dataclasses.replace(of_functions(1), summary="as on 10.0.0.1, by sending two")))
    assert main(["lint", str(fix), "--json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["ok"] is False
    assert [each["code"] for each in facts["findings"]] == ["host", "exploit-hint"]
    assert facts["digest"] == livepatch.load(fix).origin.digest
    assert main(["lint", str(tmp_path / "nowhere")]) == 2


def test_sources_are_looked_through_for_secrets_in_new_lines_alone() -> None:
    old = "def f():\n    api_key = 'abcdef123456'  # alice@example.com, /home/alice\n"
    new = old + "    password = 'fedcba654321'\n"
    edit = ModuleEdit(
        module="nodeclient.mempool",
        path="nodeclient/mempool.py",
        functions=(FunctionEdit(qualname="f", before=Text(source=old, line=1), after=Text(source=new, line=1)),),
    )
    fix = patch()
    fix.edits = (edit,)
    (found,) = lint(fix)
    assert (found.code, found.target, found.severity) == ("secret", "nodeclient.mempool", "error")
    fix.edits = (ModuleEdit(module="nodeclient.new", path="nodeclient/new.py", whole=new),)
    assert [each.target for each in lint(fix)] == ["nodeclient.new"] * 2


def test_reasons_are_looked_through_as_well() -> None:
    fix = patch()
    fix.waivers = (Waiver(target="nodeclient.mempool:f", reason="ask alice@example.com"),)
    (found,) = lint(fix)
    assert (found.code, found.target) == ("person", "waiver of nodeclient.mempool:f")


@pytest.mark.parametrize(
    "part", ["a.", "a@", "::", "~/", "a-", "eyJ", "a+", "1.1.", "a:", "-----BEGIN ", "https://a", "password"]
)
def test_in_an_endless_line_nothing_is_overlooked(part: str) -> None:
    many = part * (16_000 // len(part))
    found = {finding.found for finding in lint(patch(f"10.0.0.1 {many} 10.0.0.2 {many} 10.0.0.3"))}
    assert found >= {"'10.0.0.1'", "'10.0.0.2'", "'10.0.0.3'"}


def test_a_secret_at_any_column_is_found() -> None:
    for column in range(3_500, 4_100, 29):
        found = lint(patch("x " * (column // 2) + " AKIAABCDEFGHIJKLMNOP" + " x" * 3_000))
        assert [finding.code for finding in found] == ["secret"], column


def test_what_overlaps_a_secret_does_not_tell_it() -> None:
    found = lint(patch("fetch https://alice:hunter2hunter2@updates.corp.example.com/"))
    assert [finding.code for finding in found] == ["secret"]
    assert "hunter2" not in str(found)


def test_only_what_is_on_the_allow_list_reaches_events_the_record_and_the_status(
    write_module, new_patch, tmp_path, monkeypatch
) -> None:
    """Every text of a patch that is not on it holds a mark, and the marks are looked for."""
    node = write_module("def f():\n    return 'old'\n")
    fix = new_patch()

    def f() -> str:
        """MARK in a docstring."""
        return "MARK in a body"

    fix.replace(f"{node.__name__}:f")(f)
    fix.waivers = (Waiver(target=f"{node.__name__}:f", reason="MARK in a reason"),)
    fix.release = Release(nodes=("MARK",))
    make_key(tmp_path / "node.pem")
    livepatch.record_to(tmp_path / "record", key=tmp_path / "node.pem")
    try:
        with capture_logs() as logs:
            livepatch.check(fix)
            applied = livepatch.apply(fix)
            told = [str(applied.status()), json.dumps(applied.status().to_dict()), repr(fix), str(livepatch.verify())]
            applied.revert()
    finally:
        livepatch.record_to(None)
        structlog.reset_defaults()
    told += [json.dumps(logs, default=str), *(line.decode() for line in lines_of(tmp_path / "record"))]
    assert logs
    assert any(fix.id in each for each in told)
    assert [each for each in told if "MARK" in each] == []
    assert set(PUBLIC) <= set(vars(fix))
