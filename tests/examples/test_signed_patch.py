"""The example of a signed patch runs as it lies there and shows what its README says."""

from __future__ import annotations

from tests.examples.running import EXAMPLES, run

EXAMPLE = EXAMPLES / "signed_patch" / "node.py"


def test_the_node_takes_the_patch_once_all_have_signed(tmp_path):
    done = run(EXAMPLE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert {line for line in lines if line.startswith("  status ")} == {"  status 0"}
    assert "refused:  operator: 0 of 1" in lines
    assert [line for line in lines if line.startswith(("flawed", "patched", "reverted"))] == [
        "flawed:   taken",
        "patched:  refused, offence 1",
        "reverted: taken",
    ]
