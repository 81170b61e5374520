"""Rollouts by real processes on a real store, which are killed at random: every one ends on all nodes, or on none."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.fleet.plans import as_json, inventory

from livepatch.fleet.onefile import OneFile
from livepatch.fleet.running import directive_of, send
from livepatch.fleet.standing import Command

NODES = 8
PLAN = """\
[rollout]
id = "ROLLOUT"
promoters = ["alice"]
detection-minutes = 0.005
retraction-minutes = 0.005
reach-minutes = 5
max-unavailable = 8

[patch]
id = "CVE-2026-1234"
digest = "sha256:DIGEST"
flag = "FLAG"
package = "nodeclient"
versions = ">=2.1"
can-halt = false

[[stage]]
name = "two"
count = 2
soak-minutes = 0.02

[[stage]]
name = "all"
percent = 100
soak-minutes = 0.02

[[gate]]
metric = "errors"
most = 0.01
""".replace("DIGEST", "ab" * 32)

CONTROLLER = """
import sys, time
from pathlib import Path
from livepatch.errors import StateError
from livepatch.fleet.judging import Series
from livepatch.fleet.onefile import OneFile
from livepatch.fleet.planning import plan
from livepatch.fleet.reading import read_inventory, read_plan
from livepatch.fleet.running import Controller
folder, errors = Path(sys.argv[1]), float(sys.argv[2])
planned = plan(read_plan(folder / "plan.toml"), read_inventory(folder / "nodes.json"))
controller = Controller(planned, OneFile(folder / "fleet.db"),
                        measure=lambda asked: Series(treated={"errors": {"n": errors}}))
while True:
    try:
        controller.turn(time.time())
    except StateError:
        pass
    time.sleep(0.1)
"""

# The patch is a file of its own; what the node has kept is another, written whole or not at all.
NODE = """
import dataclasses, json, os, sys, time
from pathlib import Path
from livepatch.errors import StateError
from livepatch.fleet.following import Member
from livepatch.fleet.onefile import OneFile
from livepatch.fleet.running import Follower
folder, name, stage, rollout = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
kept, patch = folder / f"{name}.json", folder / f"{name}.patched"
told = json.loads(kept.read_text()) if kept.exists() else {"sequence": 0, "order": -1, "attempt": -1}
# It cannot know what the last turn before its death came to: it looks how it stands, and reads the directive anew.
member = Member(id=name, stage=stage, sequence=told["sequence"] + 100, order=-1, attempt=told["attempt"],
                condition="applied" if patch.exists() else "original")
def do(wanted, directive):
    if wanted == "applied":
        patch.touch()
    else:
        patch.unlink(missing_ok=True)
    return wanted
follower = Follower(rollout, member, OneFile(folder / "fleet.db"), do, ttl=30)
while True:
    try:
        follower.turn()
    except StateError:
        pass
    new = kept.with_suffix(".new")
    new.write_text(json.dumps({key: getattr(follower.member, key) for key in told}))
    os.replace(new, kept)
    time.sleep(0.1)
"""


class Processes:
    def __init__(self):
        self.running = {}

    def start(self, name, script, *arguments):
        command = [sys.executable, "-c", script, *map(str, arguments)]
        self.running[name] = (subprocess.Popen(command, stderr=subprocess.PIPE), script, arguments)

    def restart(self, name):
        process, script, arguments = self.running[name]
        assert process.poll() is None, process.stderr.read().decode()
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()
        self.start(name, script, *arguments)

    def end(self):
        for process, _, _ in self.running.values():
            process.kill()
            process.wait()
            process.stderr.close()


def ending(folder: Path, rollout: str, flag: str, errors: float, chance: random.Random) -> str:
    from livepatch.fleet.planning import plan
    from livepatch.fleet.reading import read_inventory, read_plan

    (folder / "plan.toml").write_text(PLAN.replace("ROLLOUT", rollout).replace("FLAG", flag))
    (folder / "nodes.json").write_text(as_json(inventory(NODES)))
    planned = plan(read_plan(folder / "plan.toml"), read_inventory(folder / "nodes.json"))
    store, processes = OneFile(folder / "fleet.db"), Processes()
    try:
        for number in range(2):
            processes.start(f"controller-{number}", CONTROLLER, folder, errors)
        for node, stage in zip(planned.nodes, planned.stages, strict=True):
            processes.start(node.id, NODE, folder, node.id, stage, rollout)
        send(store, rollout, Command(kind="start", who="alice", order=0))
        until = time.monotonic() + 120
        while time.monotonic() < until:
            name = chance.choice(list(processes.running))
            processes.restart(name)
            time.sleep(chance.uniform(0.2, 1.0))
            directive = directive_of(store, rollout)
            if directive and directive.phase in ("complete", "reverted"):
                break
        assert directive is not None
        assert directive.phase in ("complete", "reverted"), directive
        patched = {path.stem for path in folder.glob("*.patched")}
        assert patched == ({node.id for node in planned.nodes} if directive.phase == "complete" else set())
        return directive.phase
    finally:
        processes.end()
        store.close()


@pytest.mark.slow
@pytest.mark.parametrize("errors", [0.001, 0.5])
def test_processes_that_are_killed_leave_no_third_state(tmp_path, errors):
    chance = random.Random(errors)
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        phase = ending(folder, f"r-{number}", f"flag-{number}", errors, chance)
        assert phase == ("reverted" if errors > 0.01 else "complete")
