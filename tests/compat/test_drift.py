"""What lies around the patched code: the interpreter and the other distributions."""

from __future__ import annotations

import pytest

from livepatch.compat.drift import drift_findings, names_of_needed
from livepatch.contents.edits import Needs


def told(needs: Needs, python: str = "3.12.1", **installed: str | None) -> list[tuple[str, str]]:
    rows = list(drift_findings("app", needs, python, installed))
    assert all(row.severity == "warning" and row.expected and row.action for row in rows)
    return [(row.code, row.found) for row in rows]


@pytest.mark.parametrize(
    ("python", "needs", "differs"),
    [
        ("3.12.1", ">=3.11", False),
        ("3.12.1", "<3.12", True),
        ("3.15.0", ">=3.15", False),
        ("3.12.1", "", False),
    ],
)
def test_the_interpreter(python: str, needs: str, differs: bool):
    assert [code for code, _ in told(Needs(python=needs), python)] == ["python-unsupported"] * differs


@pytest.mark.parametrize(
    ("version", "before", "after", "found"),
    [
        ("2.1", "dep>=2", "dep>=2", []),
        ("2.1", "dep", "dep", []),
        ("2.1", "dep>=2", "dep>=3", ["dep 2.1, which the old release was content with"]),
        ("2.1", "", "dep>=3", ["dep 2.1"]),
        ("2.1", "dep>=3", "", ["dep 2.1"]),
        ("2.1", "dep>=3", "dep>=4", ["dep 2.1"]),
        ("3.0rc1", "dep>=2", "dep>=2", []),
        (None, "dep", "dep", ["no dep in this process's environment"]),
        ("of today", "dep>=3", "dep>=3", []),
        ("2.1", 'dep>=3; python_version < "3"', 'dep>=3; python_version < "3"', []),
        ("2.1", 'dep>=3; python_version >= "3"', "dep>=2", ["dep 2.1"]),
    ],
)
def test_a_dependency(version: str | None, before: str, after: str, found: list[str]):
    needs = Needs(before=(before,) * bool(before), after=(after,) * bool(after))
    assert told(needs, dep=version) == [("dependency-differs", each) for each in found]


def test_whose_versions_have_to_be_known():
    needs = Needs(before=("a>1", 'b; sys_platform == "none"'), after=("c", "a>2"))
    assert names_of_needed(needs) == {"a", "c"}
