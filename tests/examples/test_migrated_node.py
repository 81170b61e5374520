"""The example of migrations runs as it lies there, from any folder, and shows what it says."""

from __future__ import annotations

from tests.examples.running import EXAMPLES, run

EXAMPLE = EXAMPLES / "migrated_node"


def test_data_goes_with_the_code_and_a_killed_process_leaves_nothing_half(tmp_path):
    done = run(EXAMPLE / "node.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.split(None, 1) for line in done.stdout.splitlines()] == [
        ["before:", "[7] known"],
        ["patched:", "set known taken"],
        ["status:", "peer-seen at version 1"],
        ["late:", "set taken"],
        ["reverted:", "[7, 8] known [9] known"],
        ["killed:", "-9 eve flood mallory"],
        ["found:", "before"],
        ["files:", "eve mallory"],
        ["patched:", "eve flood mallory flood ['eve', 'mallory']"],
        ["reverted:", "eve mallory ['eve', 'mallory']"],
    ]
