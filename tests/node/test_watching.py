"""Whether a node is well: what its agent says of probes and rules, over the socket and on a screen."""

from __future__ import annotations

import json
import threading
import time

import pytest
from tests.cli.test_nodes import run  # noqa: F401  # the fixture

import livepatch
from livepatch.errors import PatchError
from livepatch.health.judge import Judged, Verdict
from livepatch.health.probes import HealthProbe
from livepatch.node.client import Node
from livepatch.node.protocol import Health
from livepatch.node.watching import told

TICK = 0.02  # seconds between two readings


def until(holds, seconds=20.0):
    """Wait for something that a thread does."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


class Lag:
    """A probe of which a test says what it shows."""

    def __init__(self, value=0.0):
        self.value = value
        self.probe = HealthProbe("head_lag", lambda: self.value, "blocks", quick=True)


@pytest.fixture
def lag():
    return Lag()


@pytest.fixture
def make(client, tmp_path):
    """Makes an agent, which is closed at the end."""
    made = []

    def agent(*probes, **given):
        made.append(livepatch.Agent(tmp_path / "store", trust=client.root, probes=probes, interval=TICK, **given))
        return made[-1].start()

    yield agent
    for each in made:
        each.close()


def test_a_node_is_well_as_long_as_its_rules_hold(make, lag, run, events):  # noqa: F811
    agent = make(lag.probe, rules=[livepatch.Rule("head_lag", above=3)])
    until(lambda: agent.health()["state"] == "ok")
    with Node(agent.socket) as node:
        found = node.ask(Health())
    assert (found["probes"][0]["unit"], found["probes"][0]["values"][-1]) == ("blocks", 0.0)
    assert found["node"] == "store"
    assert found["rules"][0]["state"] == "ok"
    assert "head_lag  0 0" in run("health", "--node", agent.socket)
    lag.value = 5
    until(lambda: agent.health()["state"] == "breach")
    assert "breach: head_lag: 5, 5 is above 3" in run("health", "--node", agent.socket, status=1)
    lag.value = None
    until(lambda: agent.health()["probes"][0]["value"] is None)
    assert "head_lag  unknown" in run("health", "--node", agent.socket, status=1)
    printed = json.loads(run("health", "--node", agent.socket, "--json", status=1))
    assert printed["nodes"][0]["result"]["probes"][0]["value"] is None


def test_a_node_that_reads_nothing_is_not_known_to_be_well(make, run, events):  # noqa: F811
    agent = make()
    assert agent.health()["state"] == "unknown"
    assert "nothing is known" in run("health", "--node", agent.socket, status=1)


def test_the_watchdog_lives_as_long_as_the_agent(make, lag, events):
    def watching():
        return [each for each in threading.enumerate() if each.name == "livepatch-watchdog"]

    agent = make(lag.probe)
    assert len(watching()) == 1
    agent.close()
    assert watching() == []
    agent.start()  # and once more
    until(lambda: agent.health()["probes"][0]["value"] == 0.0)


def test_what_a_probe_raises_when_it_is_opened_leaves_nothing_behind(client, tmp_path, events):
    class Broken(HealthProbe):
        def open(self):
            raise RuntimeError("there is no loop")

    agent = livepatch.Agent(tmp_path / "store", trust=client.root, probes=[Broken("broken", lambda: 0)])
    with pytest.raises(RuntimeError, match="no loop"):
        agent.start()
    assert not agent.socket.exists()
    with livepatch.Agent(tmp_path / "store", trust=client.root):  # the store is free
        pass


def test_rules_that_need_a_soak_say_nothing_of_a_node(make, lag, events):
    rules = [livepatch.Rule("head_lag", plus=3), livepatch.Rule("*/errors", above=0.1)]
    agent = make(lag.probe, rules=rules)
    until(lambda: agent.health()["state"] == "ok")
    assert agent.health()["rules"] == []


def test_rules_may_be_a_file(make, lag, tmp_path, events):
    (tmp_path / "rules.toml").write_text('[[rule]]\nprobe = "head_lag"\nbelow = 1\n')
    agent = make(lag.probe, rules=tmp_path / "rules.toml")
    until(lambda: agent.health()["state"] == "breach")


@pytest.mark.parametrize(
    ("expected", "given"),
    [
        (TypeError, {"probes": 5}),
        (TypeError, {"probes": None}),
        (TypeError, {"probes": [object()]}),
        (TypeError, {"rules": 5}),
        (TypeError, {"rules": livepatch.Rule("head_lag", above=3)}),
        (TypeError, {"rules": [object()]}),
        (PatchError, {"rules": [livepatch.Rule("head_lag", above=3)]}),
        (PatchError, {"interval": 0.0}),
        (TypeError, {"interval": "1"}),
    ],
)
def test_a_wrong_argument_is_refused(tmp_path, expected, given):
    with pytest.raises(expected):
        livepatch.Agent(tmp_path / "store", trust=livepatch.UNSIGNED, **given)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("state", "value", "rule", "soak", "running"),
    [
        ("ok", 1.0, "ok", "ok", True),
        ("ok", 1.0, "ok", None, True),
        ("unknown", None, "ok", "ok", True),
        ("unknown", 1.0, "unknown", "ok", True),
        ("unknown", 1.0, "ok", "unknown", True),
        ("unknown", 1.0, "ok", "ok", False),
        ("breach", None, "breach", "ok", True),
        ("breach", 1.0, "unknown", "breach", True),
    ],
)
def test_what_is_unknown_or_broken_anywhere_is_so_for_the_node(state, value, rule, soak, running):
    status = {
        "running": running,
        "interval": 1.0,
        "probes": [{"name": "p", "value": value}],
        "watches": [{"verdict": None if soak is None else {"state": soak, "judged": []}}],
    }
    verdict = Verdict("ok", (Judged(rule="r", probe="p", state=rule, why=""),))
    assert told(status, verdict)["state"] == state
