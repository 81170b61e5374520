"""The demo is a promise to newcomers: it runs, and every claim that it prints held."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[2] / "examples" / "aiohttp_traversal" / "demo.py"


def installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


@pytest.mark.skipif(
    installed("aiohttp") != "3.9.1", reason="needs aiohttp 3.9.1, which has the flaw; `make demo` installs it"
)
def test_the_demo_holds_all_it_promises():
    done = subprocess.run(
        [sys.executable, DEMO], capture_output=True, text=True, timeout=90, check=False, env=os.environ.copy()
    )
    assert done.returncode == 0, done.stdout + done.stderr
    claims = [line.split(maxsplit=1) for line in done.stdout.splitlines() if line.startswith(("  ok ", "  FAILED"))]
    assert len(claims) >= 15
    assert {verdict for verdict, _ in claims} == {"ok"}
    assert done.stderr == ""
