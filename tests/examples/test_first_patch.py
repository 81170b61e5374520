"""The smallest complete example runs as it lies there, from any folder."""

from __future__ import annotations

import json

from tests.examples.running import EXAMPLES, run

NODE = EXAMPLES / "first_patch" / "node.py"


def test_each_step_answers_as_it_should(tmp_path):
    done = run(NODE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answers = dict(line.split(":", 1) for line in done.stdout.splitlines() if ":" in line)
    said = {name: answer.strip() for name, answer in answers.items()}
    assert said["flawed"] == "admitted"
    assert said["patched"] == "refused"
    assert said["flag off"] == "admitted"
    assert said["flag on"] == "refused"
    assert said["reverted"] == "admitted"
    assert said["the very code of before"] == "True"


def test_its_events_go_to_standard_error_and_each_switch_has_one(tmp_path):
    done = run(NODE, cwd=tmp_path)
    events = [line.split("livepatch.")[1].split()[0] for line in done.stderr.splitlines()]
    assert events == ["applied", "mode_changed", "mode_changed", "reverted"]
    assert "livepatch." not in done.stdout


def test_its_patch_fits_only_the_version_that_it_names(tmp_path):
    script = (
        "import json, nodeclient.mempool, livepatch, fixes\n"
        "fix = livepatch.Patch('OTHER', package='nodeclient', versions='<2.1')\n"
        "fix.replace('nodeclient.mempool:Mempool.admit')(fixes.admit)\n"
        "print(json.dumps([[f.code for f in livepatch.check(p).errors] for p in (fixes.fix, fix)]))\n"
    )
    done = run("-c", f"import sys; sys.path.insert(0, {str(NODE.parent)!r})\n{script}", cwd=tmp_path)
    assert json.loads(done.stdout) == [[], ["version-out-of-range"]], done.stderr
