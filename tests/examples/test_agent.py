"""The example of an agent runs as it lies there: an operator patches a node, which is then killed."""

from __future__ import annotations

from tests.examples.running import EXAMPLES, run

EXAMPLE = EXAMPLES / "agent" / "demo.py"


def test_the_node_takes_the_patch_over_its_socket_and_comes_up_with_it_after_a_kill(tmp_path):
    done = run(EXAMPLE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert {line for line in lines if line.startswith("  status ")} == {"  status 0"}, done.stdout
    assert [line for line in lines if line.startswith("node: ")] == [
        "node: a flood of peers is taken",
        "node: a flood of peers is refused, offence 1",
        "node: killed",
        "node: a flood of peers is refused, offence 1",
        "node: a flood of peers is taken",
        "node: a flood of peers is refused, offence 1",
        "node: a flood of peers is taken",
        "node: ended in good order",
    ]
    assert any(line.startswith("  CVE-2026-1234: settled, on") for line in lines)
