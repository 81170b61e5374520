"""A shell that asks what could come next is told, by argcomplete."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("argcomplete")

ASK = """
import os, sys
os.dup2(1, 8)
from livepatch.cli.main import main
main()
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("livepatch reve", {"revert "}),
        ("livepatch revert A --y", {"--yes "}),
        ("livepatch apply x --consistency q", {"quiescent "}),
    ],
)
def test_commands_options_and_values_are_completed(line, expected):
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"}
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **asked, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert set(done.stdout.split("\n")) == expected
