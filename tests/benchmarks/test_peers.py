"""The cases of benchmarks/peers.py: livepatch masters them, and the table in the docs is of these cases."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "peers.py"


def rows(text: str) -> dict[str, list[str]]:
    return {
        cells[0]: cells[1:] for line in re.findall(r"^\| (.*) \|$", text, re.MULTILINE) for cells in [line.split(" | ")]
    }


def test_the_table_in_the_docs_is_of_these_cases():
    names = re.findall(r'^@case\("([^"]+)"', (ROOT / "benchmarks" / "peers_cases.py").read_text(), re.MULTILINE)
    first, _, meaning = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8").partition("| case |")
    table = rows(first)
    marks = {name: cells for name, cells in table.items() if set(cells) <= {"✓", "✗"}}
    assert list(marks) == names
    assert {cells[0] for cells in marks.values()} == {"✓"}
    assert table["version"]
    assert list(rows(meaning)) == names


@pytest.mark.slow
def test_livepatch_masters_them_and_reload_does_not():
    done = subprocess.run(
        [sys.executable, SCRIPT, "livepatch", "importlib.reload", "unittest.mock", "wrapt", "--why"],
        capture_output=True, text=True, check=True, timeout=600,
    )  # fmt: skip
    marks = {name: cells for name, cells in rows(done.stdout).items() if set(cells) <= {"✓", "✗"}}
    assert {cells[0] for cells in marks.values()} == {"✓"}, done.stdout
    assert marks["aliases"][1:] == ["✗"] * 3
    assert marks["super()"][1:] == ["✓", "✓", "✗"]
    assert marks["threads"][1:] == ["✗"] * 3
