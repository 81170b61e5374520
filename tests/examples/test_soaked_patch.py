"""The node lets a bad patch soak, and a good one: it runs as it lies there."""

from __future__ import annotations

from tests.examples.running import EXAMPLES, run


def test_the_bad_one_is_taken_back_and_the_good_one_stays(tmp_path):
    done = run(EXAMPLES / "soaked_patch" / "node.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.strip() for line in done.stdout.splitlines()] == [
        "flawed:      admitted",
        "CVE-2026-1234: rolled-back",
        "loop/lag was beyond 0.15 s",
        "admitted",
        "CVE-2026-1234.2: passed",
        "refused",
    ], done.stderr
    assert "detected in" in done.stderr
    events = [line.split("livepatch.")[1].split()[0] for line in done.stderr.splitlines() if "livepatch." in line]
    assert events.count("breach") == 1
