"""The example of protected code runs as it lies there, from any folder, and refuses what it says."""

from __future__ import annotations

from tests.examples.running import EXAMPLES, run

EXAMPLE = EXAMPLES / "protected_node"


def test_each_step_answers_as_it_should(tmp_path):
    done = run(EXAMPLE / "node.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    pairs = (line.split(":", 1) for line in done.stdout.splitlines())
    source = EXAMPLE / "livepatch.toml"
    way = "protected code calls it: nodeclient.consensus:is_valid -> nodeclient.rewards:reward"
    assert {name: answer.strip() for name, answer in pairs} == {
        "rpc": "True",
        "answers": "no such block",
        "reward": f"{way} (every node must judge a block alike; {source})",
        "split": f"{way} (every node must judge a block alike; {source})",
        "before": "True",
        "on": "mode 'on' after at(3000), whose height is not reached",
        "after": "False",
        "hasty": "example 2, encoded by the old side and decoded by the new gives 16777216",
        "wire": "1200",
        "reverted": "True True",
    }
