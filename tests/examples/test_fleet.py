"""The example fleet: a fix rolls out though its controller is killed, and what is bad or not signed stops by itself."""

from __future__ import annotations

import importlib
import shutil
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from tests.examples.running import EXAMPLES, ROOT, run


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module that the demo stands on."""
    monkeypatch.syspath_prepend(EXAMPLES / "fleet")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    monkeypatch.delenv("LIVEPATCH_FLEET", raising=False)
    yield importlib.import_module("fleet")
    for name in ("fleet", "network"):
        del sys.modules[name]


def plan(soak: float = 2.5, gate: str = "") -> str:
    text = (EXAMPLES / "fleet" / "demo.py").read_text()
    _, _, text = text.partition('PLAN = """\\\n')
    text = text.partition('"""')[0].replace("minutes = 0.02", "minutes = 0.01")
    return text.replace("SOAK", f"{soak / 60:.6f}") + gate


def everywhere(fleet: Any) -> set[tuple[str, ...]]:
    return {tuple(patches) for _, patches in fleet.patched()}


def test_a_fix_rolls_out_though_its_controller_is_killed(example, tmp_path):
    patches = example.Patches(tmp_path)
    head, _, rest = plan().partition('[[stage]]\nname = "half"')
    with example.Fleet(tmp_path, patches.trust, str(tmp_path / "fleet.db"), 2, block_time=0.3) as fleet:
        fleet.start_controller("one", lease=1.0)
        fleet.start(head + rest.partition("\n\n")[2], patches.good("POOL"), "good")
        fleet.wait("good", lambda told: told["opened"] == 1 and told["since"])
        assert sorted(everywhere(fleet)) == [(), ("POOL",)]
        fleet.kill_controller("one")
        fleet.start_controller("two", lease=1.0)
        assert fleet.ended("good") == "complete"
        assert everywhere(fleet) == {("POOL",)}


@pytest.mark.slow
def test_a_node_comes_up_with_its_patch_an_abort_takes_it_back_and_a_bad_one_stops_by_itself(example, tmp_path):
    patches = example.Patches(tmp_path)
    good, bad = patches.good("POOL"), patches.bad("POOL-2")
    with example.Fleet(tmp_path, patches.trust, str(tmp_path / "fleet.db"), 3, block_time=0.3) as fleet:
        fleet.start_controller("one", lease=1.0)
        fleet.start(plan(), good, "good")
        fleet.wait("good", lambda told: told["opened"] == 1 and told["since"])
        assert sorted(everywhere(fleet)) == [(), ("POOL",)]
        fleet.kill_controller("one")
        fleet.start_controller("two", lease=1.0)
        assert fleet.ended("good") == "complete"
        assert everywhere(fleet) == {("POOL",)}

        (first, number), *_ = fleet.places.values()
        first.kill(number)  # it comes up with its patch, and says so
        first.start(number)
        told = fleet.wait("good", lambda told: {each["state"] for each in told["nodes"]} == {"applied"})
        assert told["phase"] == "complete"

        example.quietly("rollout", "abort", "good", "--why", "enough", "--store", fleet.store)
        assert fleet.ended("good") == "reverted"
        assert everywhere(fleet) == {()}

        fleet.start(plan(), bad, "bad")
        assert fleet.ended("bad") == "reverted"
        told = fleet.status("bad")
        assert told["why"].startswith("refused is ")

        assert everywhere(fleet) == {()}


CONSENSUS = """
[rollout]
id = "ROLLOUT"
promoters = ["alice"]
detection-minutes = 0.01
retraction-minutes = 0.01
reach-minutes = 0.5
max-unavailable = 0

[[stage]]
name = "all"
percent = 100
soak-minutes = 0.03

[activation]
height = HEIGHT
readiness = 0.95
margin-blocks = 10
block-seconds = 0.3
"""


@pytest.mark.slow
def test_a_consensus_fix_is_dormant_on_all_nodes_and_live_from_one_height(example, tmp_path):
    patches = example.Patches(tmp_path)
    aborted, done = patches.rules("RULES-1"), patches.rules("RULES-2")
    with example.Fleet(tmp_path, patches.trust, str(tmp_path / "fleet.db"), 4, block_time=0.3) as fleet:
        fleet.start_controller("one", lease=1.0)
        (chain,) = fleet.chains
        for rollout, patch in (("aborted", aborted), ("done", done)):
            height = max(chain.heights()) + 250
            fleet.start(CONSENSUS.replace("HEIGHT", str(height)), patch, rollout, "consensus = true")
            fleet.wait(rollout, lambda told: {each["state"] for each in told["nodes"]} == {"armed"})
            assert max(chain.heights()) < height
            assert modes(fleet) == {(f"RULES-{1 if rollout == 'aborted' else 2}", f"at({height})")}
            if rollout == "aborted":  # before the height it can be called off everywhere
                example.quietly("rollout", "abort", rollout, "--why", "not yet", "--store", fleet.store)
                assert fleet.ended(rollout) == "reverted"
                assert modes(fleet) == set()
        chain.kill(2)  # it comes up with the height that it had been told
        chain.start(2)
        fleet.kill_controller("one")
        fleet.start_controller("two", lease=1.0)
        assert fleet.ended("done", 240) == "complete"
        assert {each["state"] for each in fleet.status("done")["nodes"]} == {"applied"}
        assert modes(fleet) == {("RULES-2", f"at({height})")}
        chain.wait_for_height(height + 5)
        blocks = [("block", {"height": number}) for number in range(height - 20, height + 5)]
        first, *others = (chain.ask_all(number, blocks) for number in range(4))
        assert all(each == first for each in others)  # nobody has gone another way


def modes(fleet: Any) -> set[tuple[str, str]]:
    """Which patches nodes have, and in which mode."""
    standing = [chain.operate(number, "status") for chain, number in fleet.places.values()]
    return {(patch["id"], patch["mode"]) for told in standing for patch in told["result"]["patches"]}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["one file", "nats"])
def test_the_whole_demo(tmp_path, request, engine):
    store = []
    if engine == "nats":
        if not shutil.which("nats-server"):
            pytest.skip("no nats-server here: apt-get install nats-server")
        from tests.fleet.conftest import Server

        server = Server(tmp_path)
        request.addfinalizer(server.kill)
        store = ["--store", f"{server.url}/demo"]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    done = run(EXAMPLES / "fleet" / "demo.py", "--nodes", "4", "--soak", "4", *store, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "complete: POOL on 4" in lines
    assert "reverted: POOL on 4" in lines  # the unsigned one
    assert any(line.startswith("reverted after ") and line.endswith(": no patch anywhere") for line in lines)
