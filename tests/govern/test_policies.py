"""Where rules come from: files, installed packages, calls; and that none of them can take another's away."""

from __future__ import annotations

import os
import sys

import pytest
from tests.graphs import graph

import livepatch
from livepatch.govern import policies
from livepatch.govern.policies import policy_in_force

RULE = "[[protected]]\npaths = ['pkg.{}']\n"


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    """A working directory of its own, and no rule of the machine's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(policies.VARIABLE, raising=False)
    monkeypatch.setattr(policies, "_shipped", {})
    return tmp_path


def protected(path: str | None = None) -> list[str]:
    return [str(pattern) for rule in policy_in_force(path).protected for pattern in rule.paths]


def test_the_file_of_the_working_directory_is_read_each_time(apart):
    assert protected() == []
    (apart / "livepatch.toml").write_text(RULE.format("a"))
    assert protected() == ["pkg.a"]
    (apart / "livepatch.toml").write_text(RULE.format("b"))
    assert protected() == ["pkg.b"]


def test_the_file_that_the_environment_names_is_read_instead_and_must_be_there(apart, monkeypatch):
    (apart / "livepatch.toml").write_text(RULE.format("a"))
    monkeypatch.setenv(policies.VARIABLE, str(apart / "other.toml"))
    with pytest.raises(livepatch.PolicyError, match=r"LIVEPATCH_POLICY=.*No such file"):
        policy_in_force()
    (apart / "other.toml").write_text(RULE.format("b"))
    assert protected() == ["pkg.b"]


def test_an_argument_adds_to_what_there_is(apart):
    (apart / "livepatch.toml").write_text(RULE.format("a"))
    (apart / "mine.toml").write_text(RULE.format("b"))
    with livepatch.protect("pkg.c"):
        assert protected("mine.toml") == ["pkg.c", "pkg.a", "pkg.b"]
    with pytest.raises(livepatch.PolicyError, match=r"nowhere\.toml"):
        protected("nowhere.toml")


@pytest.mark.parametrize("what", ["directory", "pipe", "unreadable"])
def test_what_is_no_file_is_told_and_waits_for_nobody(apart, what):
    path = apart / "livepatch.toml"
    if what == "directory":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.write_text("[[protectd]]")
    with pytest.raises(livepatch.PolicyError):
        policy_in_force()


def test_an_unreadable_policy_refuses_every_patch(apart, write_module, write_fix):
    m = write_module("def f(): return 'old'")
    fix = write_fix(f"{m.__name__}:f", "def f(): return 'new'")
    (apart / "livepatch.toml").write_text("[[protected]]\npaths = ['a']\naproval = 2\n")
    for call in (livepatch.check, livepatch.apply):
        with pytest.raises(livepatch.PolicyError, match="an unknown key"):
            call(fix)
    assert m.f() == "old"
    assert livepatch.status() == ()
    (apart / "livepatch.toml").unlink()
    assert livepatch.apply(fix)


def test_a_policy_argument_refuses_what_it_protects(apart, write_module, write_fix, monkeypatch):
    m = write_module("def f(): return 'old'")
    monkeypatch.setattr(
        "livepatch.process.examining.graph_of_process", lambda *_: graph(f"{m.__name__}:f -> {m.__name__}:f")
    )
    fix = write_fix(f"{m.__name__}:f", "def f(): return 'new'")
    path = apart / "mine.toml"
    path.write_text(f"[[protected]]\npaths = ['{m.__name__}']\n")
    assert [f.code for f in livepatch.check(fix, policy=path).errors] == ["protected-path"]
    with pytest.raises(livepatch.PolicyError, match=r"mine\.toml"):
        livepatch.apply(fix, policy=path)
    with pytest.raises(TypeError, match="policy must be the path"):
        livepatch.apply(fix, policy={"protected": []})  # type: ignore[arg-type]
    assert livepatch.apply(fix)


def test_a_rule_that_names_nothing_is_told(apart, write_module, write_fix, monkeypatch):
    m = write_module("def f(): return 'old'")
    monkeypatch.setattr(
        "livepatch.process.examining.graph_of_process", lambda *_: graph(f"{m.__name__}:f -> {m.__name__}:f")
    )
    fix = write_fix(f"{m.__name__}:f", "def f(): return 'new'")
    (apart / "livepatch.toml").write_text(RULE.format("consenus"))
    report = livepatch.check(fix)
    assert report.ok
    (row,) = [f for f in report.findings if f.code == "rule-matches-nothing"]
    assert (row.severity, row.target) == ("warning", "pkg.consenus")
    assert "livepatch.toml" in row.found


# What packages ship


def ship(folder, value: str, package: str = "shipping", rules: str = RULE.format("shipped")) -> None:
    info = folder / "shipping-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shipping\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[livepatch.policy]\nrules = {value}\n")
    home = folder.joinpath(*package.split("."))
    home.mkdir(parents=True)
    (home / "__init__.py").write_text("raise SystemExit('nothing of it may be run')\n")
    (home / "rules.toml").write_text(rules)


@pytest.mark.parametrize("package", ["shipping", "shipping.inner"])
def test_a_package_ships_rules_and_none_of_it_is_run(apart, monkeypatch, package):
    ship(apart, f"{package}:rules.toml", package)
    monkeypatch.syspath_prepend(str(apart))
    assert protected() == ["pkg.shipped"]
    (rule,) = policy_in_force().protected
    assert rule.source == "shipping, rules.toml"
    assert "shipping" not in sys.modules


def test_an_operators_file_only_adds_to_them(apart, monkeypatch):
    ship(apart, "shipping:rules.toml")
    monkeypatch.syspath_prepend(str(apart))
    (apart / "livepatch.toml").write_text("[[protected]]\npaths = ['pkg.shipped']\napprovals = 0\n")
    assert protected() == ["pkg.shipped", "pkg.shipped"]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("shipping", "is not named"),
        ("shipping:rules", "is not named"),
        ("shipping:gone.toml", "is not there"),
        ("nowhere_at_all:rules.toml", "is not there"),
    ],
)
def test_an_entry_point_that_leads_nowhere_is_told(apart, monkeypatch, value, told):
    ship(apart, value)
    monkeypatch.syspath_prepend(str(apart))
    with pytest.raises(livepatch.PolicyError, match=told):
        policy_in_force()


def test_a_shipped_file_that_is_no_policy_is_told(apart, monkeypatch):
    ship(apart, "shipping:rules.toml", rules="[[protected]]\n")
    monkeypatch.syspath_prepend(str(apart))
    with pytest.raises(livepatch.PolicyError, match=r"shipping, rules\.toml is no policy: protected\[0\]\.paths"):
        policy_in_force()
