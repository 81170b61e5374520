"""Many rollouts on a fleet of real nodes; they, controllers and the engine are killed at random: no third state.

``LIVEPATCH_FLEET_NODES`` and ``LIVEPATCH_FLEET_ROLLOUTS`` make it larger: 50 and 100 want a machine for themselves.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.examples.running import EXAMPLES, ROOT

from livepatch.errors import LivepatchError
from livepatch.node.client import Node
from livepatch.node.protocol import Hello

NODES = int(os.environ.get("LIVEPATCH_FLEET_NODES", "6"))
ROLLOUTS = int(os.environ.get("LIVEPATCH_FLEET_ROLLOUTS", "6"))
PATIENCE = 600.0
KINDS = ("good", "bad", "aborted", "unsigned")

PLAN = f"""\
[rollout]
id = "ROLLOUT"
promoters = ["alice"]
detection-minutes = 0.01
retraction-minutes = 0.01
max-unavailable = {NODES}

[[stage]]
name = "canary"
count = 2
soak-minutes = 0.1

[[stage]]
name = "all"
percent = 100
soak-minutes = 0.03

[[gate]]
metric = "well"
least = 1

[[gate]]
metric = "refused"
most = 0.25
stages = ["canary"]
"""


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(EXAMPLES / "fleet")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.delenv("LIVEPATCH_FLEET", raising=False)
    import fleet

    yield fleet
    for name in ("fleet", "network"):
        del sys.modules[name]


class Killer:
    """Ends a node, a controller or the engine without a word, again and again, and starts it again."""

    def __init__(self, fleet: Any, chance: random.Random, engine: Any) -> None:
        self.fleet, self.chance, self.engine, self.kills = fleet, chance, engine, Counter()
        self.ended, self.resting = threading.Event(), threading.Lock()
        self.thread = threading.Thread(target=self.run)
        self.failed: list[BaseException] = []

    def run(self) -> None:
        while not self.ended.wait(self.chance.uniform(0.5, 2.0)):
            try:
                with self.resting:
                    self.kill()
            except BaseException as error:
                self.failed.append(error)
                return

    def kill(self) -> None:
        if self.engine is not None and self.chance.random() < 0.15:
            self.engine.kill()
            time.sleep(self.chance.uniform(0.0, 3.0))
            self.engine.start()
            self.kills["engine"] += 1
            return
        if self.chance.random() < 0.3:
            name = self.chance.choice(["one", "two"])
            self.fleet.kill_controller(name)
            time.sleep(self.chance.uniform(0.0, 0.5))
            self.fleet.start_controller(name, lease=1.5)
            self.kills["controller"] += 1
            return
        chain, number = self.chance.choice(list(self.fleet.places.values()))
        chain.kill(number)
        time.sleep(self.chance.uniform(0.0, 0.5))
        chain.start(number)
        self.kills["node"] += 1
        until = time.monotonic() + PATIENCE  # or a slow machine would never have all of them up
        while not is_up(chain.store(number) / "control.sock") and time.monotonic() < until:
            time.sleep(0.2)


def is_up(socket: Path) -> bool:
    try:
        with Node(socket) as node:
            node.ask(Hello())
    except LivepatchError:
        return False
    return True


def settled(fleet: Any, rollout: str, patch: str) -> str:
    """How the rollout has ended, once every node is as that says: it has this patch alone, or none.

    By the nodes' own word, once those that were killed are back.  What was complete may be taken back still, if a node
    dies with it.
    """
    until = time.monotonic() + PATIENCE
    while True:
        phase, begun = fleet.ended(rollout, PATIENCE), time.monotonic()
        wanted = [patch] if phase == "complete" else []
        try:
            found = dict(fleet.patched())
            if all(patches == wanted for patches in found.values()) and fleet.status(rollout)["phase"] == phase:
                return phase
        except (RuntimeError, OSError) as error:
            found = {"": [str(error)]}
        assert time.monotonic() < until, (phase, found)
        time.sleep(max(0.2, 2 * (time.monotonic() - begun)))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["one file", "nats"])
def test_every_rollout_ends_everywhere_or_nowhere(example, tmp_path, request, monkeypatch, engine):
    store, server = str(tmp_path / "fleet.db"), None
    if engine == "nats":
        if not shutil.which("nats-server"):
            pytest.skip("no nats-server here: apt-get install nats-server")
        from tests.fleet.conftest import Server

        server = Server(tmp_path)
        request.addfinalizer(server.kill)
        store = f"{server.url}/storm"
    chance, endings = random.Random(engine), Counter()
    patches = example.Patches(tmp_path)
    settings = {"chain": 1, "block_time": 2.0, "guard": 0.3, "fleet_ttl": 30.0, "patience": PATIENCE}
    settings["pay_every"] = max(0.3, NODES / 125)  # who pays is not to take the processor from those who are paid
    with example.Fleet(tmp_path, patches.trust, store, NODES, **settings) as fleet:
        for name in ("one", "two"):
            fleet.start_controller(name, lease=1.5)
        killer = Killer(fleet, chance, server)
        monkeypatch.setattr(fleet, "status", patient(fleet.status))  # who asks may find that there is no engine
        killer.thread.start()
        try:
            for number in range(ROLLOUTS):
                kind = KINDS[number % len(KINDS)]
                name, rollout = f"{kind}-{number}", f"r-{number}"
                make = {"bad": patches.bad, "unsigned": patches.unsigned}.get(kind, patches.good)
                with killer.resting:
                    fleet.start(PLAN, make(name), rollout)
                if kind == "aborted":
                    time.sleep(chance.uniform(0.0, 8.0))
                    abort(example, fleet, rollout)
                phase = settled(fleet, rollout, name)
                endings[kind, phase] += 1
                assert phase == "reverted" or kind in ("good", "aborted")
                if phase == "complete":
                    abort(example, fleet, rollout)
                    assert settled(fleet, rollout, name) == "reverted"
                say(f"{engine}: {name}: {phase}: {fleet.status(rollout)['why']} {dict(killer.kills)}")
                assert not killer.failed
        finally:
            killer.ended.set()
            killer.thread.join()
        records = {name: recorded(example, chain.store(number)) for name, (chain, number) in fleet.places.items()}
    say(f"{engine}, {NODES} nodes: {dict(endings)} {dict(killer.kills)}")
    assert killer.kills["node"]
    assert killer.kills["controller"]
    assert killer.kills["engine"] or server is None
    assert any(records.values())
    assert {patch for each in records.values() for patch in each if patch.startswith("unsigned")} == set()


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def patient(call: Any) -> Any:
    """The call, made again while it fails."""

    def again(*arguments: object) -> Any:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return call(*arguments)
            except RuntimeError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)

    return again


def abort(example: Any, fleet: Any, rollout: str) -> None:
    patient(example.quietly)("rollout", "abort", rollout, "--store", fleet.store, "--wait", str(PATIENCE))


def recorded(example: Any, store: Any) -> set[str]:
    """The patches that the record of a node says that it has applied."""
    told = json.loads(example.quietly("audit", "show", store / "record", "--json"))
    done = [entry for entry in told["entries"] if (entry["event"], entry["phase"]) == ("applied", "done")]
    return {entry["patch"]["id"] for entry in done}
