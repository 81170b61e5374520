"""Whether a node is well: what its agent says of probes and rules, over the socket and on a screen."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
import warnings

import pytest
from tests.cli.test_nodes import run  # noqa: F401  # the fixture
from tests.node.clients import ADMIT, FEE
from tests.test_fork import in_child

import livepatch
from livepatch.errors import BundleError, NodeError, PatchError, PolicyError, StateError
from livepatch.govern import audit, telling
from livepatch.health.judge import Judged, Verdict
from livepatch.health.probes import HealthProbe
from livepatch.node import drill
from livepatch.node.client import Node
from livepatch.node.control import Control
from livepatch.node.protocol import Health, Soak, request_bytes
from livepatch.node.store import Store
from livepatch.node.stored import StoreView
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
        made.append(
            livepatch.Agent(tmp_path / "store", trust=client.root, probes=probes, **{"interval": TICK, **given})
        )
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
    before = set(threading.enumerate())  # those of a process that another test is still letting go of are no matter

    def watching():
        return [each for each in threading.enumerate() if each.name == "livepatch-watchdog" and each not in before]

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


# Soaks


def wished(agent):
    return [(each.id, each.mode) for each in StoreView(agent.store.path).wanted.patches]


def files(agent):
    return list((agent.store.path / "patches").iterdir())


@pytest.fixture
def agent(make, lag):
    return make(lag.probe, rules=[livepatch.Rule("head_lag", above=3, in_a_row=1)])


def test_what_passes_is_wished_for_from_then_on(agent, client, tmp_path, events):
    soak = agent.soak(client.fix("A", ADMIT), during=0.2)
    assert wished(agent) == []
    assert agent.health()["soaks"][0]["patch"] == "A"
    assert soak.wait(20).ok
    until(lambda: wished(agent) == [("A", "on")])
    assert client.module.admit(11) == "refused"
    until(lambda: [each.id for each in agent.standings] == ["A"])
    agent.close()
    livepatch.revert("A")
    with livepatch.Agent(tmp_path / "store", trust=client.root):
        assert client.module.admit(11) == "refused"
        livepatch.revert("A")


def test_what_is_rolled_back_is_forgotten(agent, lag, client, events):
    soak = agent.soak(client.fix("A", ADMIT), during=600)
    until(lambda: soak.stage == "live")
    assert client.module.admit(11) == "refused"
    lag.value = 10
    assert soak.wait(20).outcome == "rolled-back"
    assert client.module.admit(11) == "admitted"
    until(lambda: files(agent) == [])
    assert wished(agent) == []
    assert livepatch.status() == ()


def test_the_end_of_the_agent_takes_back_what_has_not_passed(agent, client, events):
    soak = agent.soak(client.fix("A", ADMIT), during=600)
    until(lambda: soak.stage == "live")
    store = agent.store
    agent.close()
    assert soak.over
    assert livepatch.status() == ()
    assert StoreView(store.path).wanted.patches == ()
    assert list((store.path / "patches").iterdir()) == []


def test_a_death_meanwhile_brings_it_back_at_no_start(client, tmp_path, events):
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads that other tests have left
        child = os.fork()
    if child == 0:
        try:
            probe = HealthProbe("head_lag", lambda: 0, quick=True)
            agent = livepatch.Agent(tmp_path / "store", trust=client.root, probes=[probe], interval=TICK, guard=0.0)
            agent.start()
            agent.apply(client.fix("B", FEE))
            soak = agent.soak(client.fix("A", ADMIT), during=600, rules=[livepatch.Rule("head_lag", above=3)])
            until(lambda: soak.stage == "live" and client.module.admit(11) == "refused")
            os.write(writer, b"live")
            time.sleep(60)
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read(4) == b"live"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with livepatch.Agent(tmp_path / "store", trust=client.root) as agent:
        assert client.module.admit(11) == "admitted"
        assert client.module.fee(2) == 4
        assert wished(agent) == [("B", "on")]
        assert agent.apply(client.fix("A", ADMIT)).status().state == "settled"  # and it can be had anew
        livepatch.revert("A")
        livepatch.revert("B")


def test_what_somebody_sets_meanwhile_ends_the_soak_and_is_kept(agent, client, events):
    soak = agent.soak(client.fix("A", ADMIT), during=600)
    until(lambda: soak.stage == "live")
    agent.flag("A", "split(50%)")
    assert soak.wait(20).outcome == "failed"
    until(lambda: wished(agent) == [("A", "split(50%)")])
    agent.revert("A")
    assert wished(agent) == []


def test_a_revert_meanwhile_ends_the_soak(agent, client, events):
    soak = agent.soak(client.fix("A", ADMIT), during=600)
    agent.revert("A")
    assert soak.wait(20).outcome == "failed"
    until(lambda: files(agent) == [])
    assert wished(agent) == []


def test_what_went_in_meanwhile_stays_above_it(agent, client, events):
    soak = agent.soak(client.fix("A", ADMIT), during=0.5)
    agent.apply(client.fix("B", FEE))
    assert soak.wait(20).ok
    until(lambda: wished(agent) == [("A", "on"), ("B", "on")])
    agent.revert("A")
    agent.revert("B")


def test_calls_are_measured_without_a_probe_of_the_agent(make, client, events):
    agent = make()
    rules = [livepatch.Rule("*/errors", above=0.5, within=60)]
    soak = agent.soak(client.fix("A", ADMIT), during=0.2, rules=rules)
    assert agent.health()["running"]
    while not soak.over:
        client.module.admit(1)
        time.sleep(0.001)
    assert soak.outcome.ok
    until(lambda: wished(agent) == [("A", "on")])
    until(lambda: not agent.health()["running"])  # nothing is left to read
    agent.revert("A")


def test_what_cannot_soak_changes_nothing(agent, client, events):
    fix = client.fix("A", ADMIT)
    for expected, path, given in (
        (PatchError, fix, {"during": 0}),
        (PatchError, fix, {"before": -1}),
        (PatchError, fix, {"rules": [livepatch.Rule("other", above=3)]}),
        (PatchError, fix, {"rules": [livepatch.Rule("head_lag", plus=3)], "before": TICK}),
        (TypeError, fix, {"rules": 5}),
        (PolicyError, fix, {"rules": "/nowhere.toml"}),
        (BundleError, "/nowhere.lpatch", {}),
    ):
        with pytest.raises(expected):
            agent.soak(path, **given)
        assert (wished(agent), files(agent), livepatch.status()) == ([], [], ())
        assert agent.health()["soaks"] == []


def test_without_a_rule_nothing_soaks_and_nothing_reads(make, client, events):
    agent = make()
    with pytest.raises(PatchError, match="no rules"):
        agent.soak(client.fix("A", ADMIT), during=1)
    assert files(agent) == []
    assert not agent.health()["running"]


def test_a_full_disk_is_tried_again(agent, client, events, monkeypatch):
    soak = agent.soak(client.fix("A", ADMIT), during=0.1)
    full, written = True, Store._write

    def write(self, wanted):
        if full:
            raise StateError("full", found="no room", expected="room", action="make room")
        written(self, wanted)

    monkeypatch.setattr(Store, "_write", write)
    monkeypatch.setattr("livepatch.node.keeping._AGAIN", 0.02)
    assert soak.wait(20).ok
    until(lambda: any(each["event"] == "livepatch.set_does_not_follow" for each in events))
    full = False
    until(lambda: wished(agent) == [("A", "on")])
    agent.revert("A")


# From another terminal


def test_the_command_waits_for_the_end_and_says_which(agent, lag, client, run, tmp_path, events):  # noqa: F811
    fix, rules = client.fix("A", ADMIT), tmp_path / "rules.toml"
    rules.write_text('[[rule]]\nprobe = "head_lag"\nabove = 100\n')
    soak = ("apply", fix, "--node", agent.socket, "--before", "0", "--rules", rules)
    assert run(*soak, "--soak", "0.2").startswith("A: passed after ")
    assert wished(agent) == [("A", "on")]
    run("revert", "A", "--node", agent.socket)
    lag.value = 5
    told = run(*soak, "--soak", "600", status=1)
    assert told.startswith("A: rolled-back after ")
    assert "detected in" in told
    found = json.loads(run(*soak, "--soak", "600", "--json", status=1))["nodes"][0]["result"]
    assert (found["soak"]["stage"], found["kept"], found["status"]["state"]) == ("rolled-back", True, "reverted")
    assert wished(agent) == []


def test_a_node_tells_how_a_soak_stands_until_its_end(agent, client, events):
    told = []
    with Node(agent.socket) as node:
        found = node.ask(Soak(during=0.6), (client.fix("A", ADMIT).read_bytes(),), on_progress=told.append)
    assert [each["soak"]["stage"] for each in told][-1] in ("baseline", "live")
    assert found["soak"]["stage"] == "passed"
    assert found["soak"]["outcome"]["verified"]
    agent.revert("A")


@pytest.mark.slow
def test_a_client_that_goes_leaves_the_soak(agent, client, events):
    with Node(agent.socket) as node:
        request = Soak(during=0.5)
        node._socket.sendall(request_bytes(request, (client.fix("A", ADMIT).read_bytes(),)))
        until(lambda: agent.health()["soaks"])
    until(lambda: wished(agent) == [("A", "on")])
    agent.revert("A")


@pytest.mark.slow
def test_one_node_that_takes_it_back_spares_the_others(agent, lag, client, run, tmp_path, events):  # noqa: F811
    (tmp_path / "two").mkdir(mode=0o700)
    second = Control(tmp_path / "two" / "control.sock", agent._running._control._answer, uids=[os.geteuid()])
    try:
        lag.value = 5
        fix = client.fix("A", ADMIT)
        asked = ("apply", fix, "--node", tmp_path, "--soak", "600", "--before", "0")
        told = run(*asked, status=1)
        assert told.count("A: rolled-back") == 1
        assert "nothing was done to 1 other node" in told
        assert run(*asked, "--keep-going", status=1).count("A: rolled-back") == 2
    finally:
        second.close()


@pytest.mark.parametrize(
    "options",
    [
        ("--soak", "0"),
        ("--soak", "5", "--mode", "off"),
        ("--soak", "5", "--replaces", "B"),
        ("--before", "5"),
        ("--rules", "rules.toml"),
        ("--soak", "5", "--rules", "/nowhere.toml"),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_anybody_is_asked(run, events, options):  # noqa: F811
    run("apply", "fix.lpatch", "--node", "/nowhere", *options, status=2)


def test_rules_of_a_request_are_read_as_strictly_as_a_file(agent, client, events):
    with Node(agent.socket) as node, pytest.raises(PolicyError):
        node.ask(Soak(during=1, rules="[[rule]]\nprobe = 'head_lag'"), (client.fix("A", ADMIT).read_bytes(),))
    assert files(agent) == []


def test_a_child_that_is_forked_meanwhile_takes_it_out(agent, client, events):
    soak = agent.soak(client.fix("A", ADMIT), during=600)
    until(lambda: soak.stage == "live")
    assert client.module.admit(11) == "refused"
    in_child(lambda: until(lambda: client.module.admit(11) == "admitted"))
    assert client.module.admit(11) == "refused"


# Drills


@pytest.fixture
def calm(make):
    """An agent whose interval has room for many calls, on a busy machine, too."""
    return make(interval=0.1)


def test_a_drill_shows_how_fast_a_bad_patch_goes(calm, run, events):  # noqa: F811
    found = json.loads(run("drill", "--node", calm.socket, "--json"))["nodes"][0]["result"]
    assert found["ok"]
    assert (found["harmless"]["outcome"], found["bad"]["outcome"]) == ("passed", "rolled-back")
    assert found["bad"]["readings"] >= 2
    assert found["detect_seconds"] > 0 < found["restore_seconds"]
    assert livepatch.status() == ()
    assert drill.MODULE not in sys.modules
    assert (wished(calm), files(calm)) == ([], [])
    record, key = calm.store.record_folder, calm.about()["record"]["key"]
    calm.close()
    assert audit.verify(record, key=key)
    noted = [each["details"] for each in telling.entries(record) if each["event"] == "drilled"]
    assert [each["ok"] for each in noted] == [True]
    assert noted[0]["detect_ms"] == round(found["detect_seconds"] * 1e3, 1)


@pytest.mark.slow
def test_a_drill_is_told_in_words(calm, run, events):  # noqa: F811
    told = run("drill", "--node", calm.socket)
    assert told.startswith("the drill went well\n")
    assert "s to take back; the probes are read every 0.1 s" in told


def test_a_drill_in_which_the_bad_patch_stays_fails(agent, run, events, monkeypatch):  # noqa: F811
    monkeypatch.setattr(drill, "_bad", drill._harmless)
    monkeypatch.setattr(drill, "_MOST", 3)
    assert run("drill", "--node", agent.socket, status=1).startswith("the drill did not go well\n")
    assert livepatch.status() == ()


def test_a_drill_that_nobody_waits_for_leaves_nothing(make, events):
    agent = make()
    with pytest.raises(NodeError, match="was ended"):
        agent.operations.drill(lambda _: False)
    assert livepatch.status() == ()
    assert drill.MODULE not in sys.modules
    assert not agent.health()["running"]


def test_one_drill_at_a_time(agent, events):
    refused = []

    def tell(_):
        with pytest.raises(NodeError, match="under way") as caught:
            agent.drill()
        refused.append(caught)
        return True

    with contextlib.suppress(NodeError):
        agent.operations.drill(lambda each: tell(each) and False)
    assert refused
