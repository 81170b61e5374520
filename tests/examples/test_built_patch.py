"""The example of a built patch runs as it lies there, from any folder, and does what its README says."""

from __future__ import annotations

import json

from tests.examples.running import EXAMPLES, run

EXAMPLE = EXAMPLES / "built_patch"


def said(stdout: str) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in stdout.splitlines() if not line.startswith(" "))
    return {name: answer.strip() for name, answer in pairs}


def test_each_step_answers_as_it_should(tmp_path):
    done = run(EXAMPLE / "node.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert said(done.stdout) == {
        "flawed": "taken",
        "fits": "True",
        "patched": "refused, offence 1",
        "again": "refused, offence 2",  # the open connection remembers: it has got the attribute that it lacked
        "small": "taken",
        "bytes": "refused",  # by a limit whose own text has not changed
        "reverted": "taken",
        "verified": "True",
    }


def test_the_plan_says_what_became_of_each_difference(tmp_path):
    done = run(EXAMPLE / "node.py", cwd=tmp_path)
    rows = [line.split(maxsplit=2)[:2] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert {target: verdict for verdict, target in rows} == {
        "nodeclient.limits:MAX_BYTES": "needed",
        "nodeclient.limits:MAX_PEERS": "taken",
        "nodeclient.peers:Connection.__init__": "taken",
        "nodeclient.peers:Connection.offences": "needed",
        "nodeclient.peers:Connection.on_peers": "taken",
        "nodeclient.peers:MAX_BYTES": "needed",
        "nodeclient.peers:MAX_PEERS": "needed",
        "nodeclient.peers:TooManyPeersError": "taken",
        "nodeclient.peers:_check": "taken",
        "nodeclient:__version__": "left-out",
    }


def test_the_commands_make_show_and_check_the_same_patch(tmp_path):
    old, new = EXAMPLE / "2.1.0", EXAMPLE / "2.1.1"
    file = tmp_path / "fix.lpatch"
    done = run("-m", "livepatch", "build", old, new, "--package", "nodeclient", "-o", file, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shown = run("-m", "livepatch", "show", file, "--json", cwd=tmp_path)
    assert json.loads(shown.stdout)["id"] == "nodeclient-2.1.0-to-2.1.1"
    assert run("-m", "livepatch", "check", file, "--package-dir", old, cwd=tmp_path).returncode == 0
    assert run("-m", "livepatch", "check", file, "--package-dir", new, cwd=tmp_path).returncode == 1


def test_it_is_no_patch_for_the_newer_release(tmp_path):
    script = (
        f"import sys; sys.path.insert(0, {str(EXAMPLE / '2.1.1')!r})\n"
        "import json, livepatch, nodeclient.peers\n"
        f"fix = livepatch.build({str(EXAMPLE / '2.1.0')!r}, {str(EXAMPLE / '2.1.1')!r}, package='nodeclient')\n"
        "print(json.dumps(sorted({f.code for f in livepatch.check(fix).errors})))\n"
    )
    done = run("-c", script, cwd=tmp_path)
    assert json.loads(done.stdout.splitlines()[-1]) == ["before-differs", "version-out-of-range"], done.stderr
