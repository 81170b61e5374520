"""The example of a signed patch runs as it lies there and shows what its README says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "signed_patch" / "node.py"


def test_the_node_takes_the_patch_once_all_have_signed(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLE],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert {line for line in lines if line.startswith("  status ")} == {"  status 0"}
    assert "refused:  operator: 0 of 1" in lines
    assert [line for line in lines if line.startswith(("flawed", "patched", "reverted"))] == [
        "flawed:   taken",
        "patched:  refused, offence 1",
        "reverted: taken",
    ]
