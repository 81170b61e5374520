"""The example of approvals runs as it lies there, at any time of the day, and is refused and let in as it says."""

from __future__ import annotations

import re

from tests.examples.running import EXAMPLES, run

EXAMPLE = EXAMPLES / "approvals" / "node.py"


def test_the_patch_goes_in_when_enough_have_approved_it_and_it_cannot_wait(tmp_path):
    done = run(EXAMPLE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert {line for line in lines if line.startswith("  status ")} == {"  status 0"}
    told = [
        line for line in lines if line.startswith(("refused:", "overrides:", "applied:", "flawed:", "patched:", "rev"))
    ]
    expected = [
        r"refused:   approvals-missing: rule review .*: security-reviewer: 0 of 2; operator: 0 of 1",
        r"refused:   outside-window: .*Z, outside of the windows of livepatch\.toml",
        r"refused:   approvals-missing: .*: security-reviewer: 1 of 2; not counted: that of alice, an author.*",
        r"refused:   outside-window: .*",
        r"refused:   outside-window: .*",
        r"flawed:    taken",
        r"overrides: outside-window kept",
        r"applied:   .*: settled, on, 9 targets, watched by node operations, call the security team",
        r"patched:   refused, offence 1",
        r"reverted:  taken",
    ]
    assert len(told) == len(expected)
    for line, pattern in zip(told, expected, strict=True):
        assert re.fullmatch(pattern, line), line
