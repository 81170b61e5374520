"""The example of open connections runs as it lies there, and connections are as before when the fix is out."""

from __future__ import annotations

from tests.examples.running import EXAMPLES, run


def test_open_connections_count_under_the_fix_and_are_as_before_after_it(tmp_path):
    done = run(EXAMPLES / "open_connections" / "node.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    pairs = [line.split(":", 1) for line in done.stdout.splitlines()]
    assert {answer.strip() for name, answer in pairs if name == "check"} == {
        "expected: each object gets expected when it is first read: 0; there are 2 objects now",
        "on_transaction: its code attaches by name, to whatever object it has at hand: looked_at",
    }
    assert {name: answer.strip() for name, answer in pairs if name != "check"} == {
        "flawed": "taken",
        "asked": "taken",
        "again": "refused, seen before",
        "unasked": "refused, nobody asked",
        "expected": "[0, 3]",
        "reverted": "taken [{'name': 'a'}, {'name': 'b'}]",
    }
