"""Commands that ask running nodes: which, what they print, what their status is, and when they ask a person first."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.node.clients import ADMIT, FEE, WAIT
from tests.node.conftest import client, events  # noqa: F401  # fixtures

import livepatch
from livepatch.cli.main import main
from livepatch.cli.nodes import progress_of
from livepatch.node.control import Control
from livepatch.node.stored import StoreView
from livepatch.process.live import live

pytestmark = pytest.mark.usefixtures("events")


@pytest.fixture
def nodes(tmp_path):
    made = tmp_path / "nodes"
    made.mkdir()
    return made


@pytest.fixture
def agent(client, nodes):  # noqa: F811  # the fixture
    with livepatch.Agent(nodes / "one", trust=client.root, height=lambda: 0) as made:
        yield made


@pytest.fixture
def second(agent, nodes):
    """Another node: the same process answers for it."""
    (nodes / "two").mkdir(mode=0o700)
    answer = agent._running._control._answer
    made = Control(nodes / "two" / "control.sock", answer, uids=[os.geteuid()])
    yield nodes / "two"
    made.close()


@pytest.fixture
def run(capsys):
    """Runs a command: its status, and what it printed and complained of."""

    def call(*arguments: object, status: int = 0) -> str:
        capsys.readouterr()
        assert main([str(each) for each in arguments]) == status
        told = capsys.readouterr()
        return told.out if status == 0 else told.out + told.err

    return call


def wished(store: Path) -> list[tuple[str, str]]:
    return [(each.id, each.mode) for each in StoreView(store).wanted.patches]


def test_a_patch_comes_and_goes(run, agent, client, nodes):  # noqa: F811
    fix, store = client.fix("A", ADMIT), nodes / "one"
    assert run("check", fix, "--node", store).startswith(f"patch A for {client.package} ==1.0 fits this process\n")
    assert "A: settled, on, 1 target" in run("apply", fix, "--node", store)
    assert client.module.admit(11) == "refused"
    told = run("status", "--node", store)
    assert told.startswith(f"one, process {os.getpid()}, since 20")
    assert "\n  A: settled, on, 1 target\n" in told
    assert "A: settled, off" in run("flag", "A", "off", "--node", agent.socket)
    assert wished(store) == [("A", "off")]
    assert "A: settled, at(5)" in run("flag", "A", "at(5)", "--node", f"{nodes}/*")
    assert "A: reverted, off, 1 target" in run("revert", "A", "--node", nodes)
    assert "no patch is applied" in run("watch", "--node", store, "--once")
    assert json.loads(run("watch", "--node", store, "--once", "--json"))["nodes"][0]["result"]["patches"] == []
    assert "there is no node" in run("watch", "--node", nodes / "nowhere", "--once", status=3)
    assert "A: not in the process" in run("revert", "A", "--node", nodes)
    assert wished(store) == []


def test_a_patch_takes_the_place_of_another_that_is_named(run, agent, client, nodes):  # noqa: F811
    run("apply", client.fix("A", ADMIT), "--node", nodes)
    better = client.fix("B", ADMIT, FEE)
    assert "changed-in-memory" in run("apply", better, "--node", nodes, status=1)
    assert "changed-in-memory" in run("check", better, "--node", nodes, status=1)
    run("check", better, "--node", nodes, "--replaces", "A")
    assert "B: settled, on" in run("apply", better, "--node", nodes, "--replaces", "A")
    assert wished(nodes / "one") == [("B", "on")]
    assert "B: settled, on" in run("apply", better, "--node", nodes, "--replaces", "B")
    assert "replaces-unknown" in run("apply", client.fix("C", ADMIT), "--node", nodes, "--replaces", "A", status=1)
    assert wished(nodes / "one") == [("B", "on")]


def test_a_node_asks_its_own_probes(run, agent, client, nodes, monkeypatch):  # noqa: F811
    monkeypatch.setattr(live, "known", {})  # other tests' patches are none of ours
    run("apply", client.fix("A", ADMIT, probed=True), "--node", nodes)
    told = run("status", "--node", nodes, "--probes")
    assert "  1 probe asked: all as it should be\n    A/size: fixed, in the node itself\n" in told
    run("flag", "A", "off", "--node", nodes)
    told = run("status", "--node", nodes, "--probes", status=1)
    assert "    A/size: vulnerable, in the node itself" in told
    assert "found the hole is open, since the patch is switched off; do: switch the patch on" in told
    assert "A/size" not in run("status", "--node", nodes)
    assert not json.loads(run("status", "--node", nodes, "--probes", "--json", status=1))["nodes"][0]["result"][
        "probed"
    ]["ok"]


def test_json_says_all_of_it(run, agent, client, nodes):  # noqa: F811
    fix = client.fix("A", ADMIT)
    report = json.loads(run("check", fix, "--node", nodes, "--json"))["nodes"][0]["result"]["report"]
    assert report["ok"]
    done = json.loads(run("apply", fix, "--node", nodes, "--json", "--mode", "split(100%)"))
    assert done["nodes"][0]["node"] == str(agent.socket)
    assert done["nodes"][0]["result"]["status"]["mode"] == "split(100%)"
    told = json.loads(run("status", "--node", nodes, "--verify", "--json"))["nodes"][0]["result"]
    assert told["patches"][0]["id"] == "A"
    assert told["verified"]["ok"]
    assert json.loads(run("flag", "A", "off", "--node", nodes, "--json"))["nodes"][0]["result"]["id"] == "A"
    assert json.loads(run("doctor", "--node", nodes, "--json"))["nodes"][0]["result"]["ok"]
    assert json.loads(run("revert", "A", "--node", nodes, "--json"))["nodes"][0]["result"]["status"]["drained"]


def test_statuses(run, agent, client, nodes):  # noqa: F811
    refused = client.fix("A", ADMIT, signers="alice")
    told = run("apply", refused, "--node", nodes, status=1)
    assert "livepatch apply: the patch file is not signed as the trust root asks" in told
    assert "there is no node" in run("status", "--node", nodes / "nowhere", status=3)
    (nodes / "no.lpatch").write_text("nothing")
    assert "this is no livepatch file" in run("apply", nodes / "no.lpatch", "--node", nodes, status=2)
    assert "mode is unknown" in run("flag", "A", "half", "--node", nodes, status=2)
    assert "no flag 'A'" in run("flag", "A", "on", "--node", nodes, status=1)
    assert "there is no switch of A" in run("cancel", "A", "--node", nodes, status=1)
    told = json.loads(run("revert", "never", "--node", nodes, "--json", status=1).partition("\nlivepatch revert:")[0])
    assert told["nodes"][0]["error"]["kind"] == "UnknownPatchError"
    for wrong in (
        ["apply", "fix.lpatch"],
        ["status"],
        ["check", "fix.lpatch"],
        ["check", "fix.lpatch", "--node", str(nodes), "--trust", "trust.json"],
        ["apply", "fix.lpatch", "--node", "x", "--wait", "-1"],
        ["audit", "show"],
        ["audit", "show", "folder", "--node", "x"],
    ):
        with pytest.raises(SystemExit) as ended:
            main(wrong)
        assert ended.value.code == 2


def test_what_policy_forbids_is_refused_with_its_reason(run, agent, client, nodes):  # noqa: F811
    with livepatch.protect(client.package):
        told = run("apply", client.fix("A", ADMIT), "--node", nodes, "--yes", status=1)
    assert "[protected-path]" in told
    assert wished(nodes / "one") == []


def test_somebody_says_yes_to_what_touches_protected_code(run, agent, client, nodes, monkeypatch):  # noqa: F811
    new = client.fix("A", ADMIT)
    with livepatch.protect(client.package):
        compatible = client.fix("B", ADMIT, compatible_with=">=1.0")
        told = run("apply", compatible, "--node", nodes, "--mode", "at(5)", status=2)
        assert "nobody said yes" in told
        assert livepatch.status() == ()
        run("apply", compatible, "--node", nodes, "--mode", "at(5)", "--yes")
        assert "nobody said yes" in run("revert", "B", "--node", nodes, status=2)
        assert "nobody said yes" in run("flag", "B", "off", "--node", nodes, status=2)

        class Terminal:
            def isatty(self):
                return True

            def readline(self):
                return "y\n"

        monkeypatch.setattr(sys, "stdin", Terminal())
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        run("revert", "B", "--node", nodes)
    assert new.exists()
    assert livepatch.status() == ()


def test_none_gets_it_if_it_does_not_fit_one(run, agent, second, client, nodes):  # noqa: F811
    fix = client.fix("A", ADMIT)
    told = run("check", fix, "--node", nodes)
    assert told.count("fits this process") == 2
    assert f"{second / 'control.sock'}:" in told
    shutil.rmtree(second)
    second.mkdir()
    left = Control(second / "control.sock", lambda *_: {"report": {}}, uids=[os.geteuid()])
    try:
        told = run("apply", fix, "--node", nodes, status=3)
    finally:
        left.close()
    assert "nothing was done to 1 other node" in told
    assert livepatch.status() == ()


def test_one_behind_another_and_none_behind_one_that_fails(run, agent, second, client, nodes):  # noqa: F811
    fix = client.fix("A", ADMIT)
    told = run("apply", fix, "--node", nodes, status=1)  # both are this process, so the second has it already
    assert "A: settled, on" in told
    assert "already-applied" in told
    assert [each.id for each in livepatch.status()] == ["A"]
    told = run("flag", "B", "off", "--node", nodes, status=1)
    assert "nothing was done to 1 other node" in told
    told = run("revert", "A", "--node", nodes)
    assert told.count("A: ") == 2


def test_the_doctor_looks_before_there_is_a_node(run, tmp_path, client):  # noqa: F811
    told = run("doctor")
    assert "could be patched" in told
    store = tmp_path / "store"
    with livepatch.Agent(store, trust=client.root):
        pass
    (store / "node.key").chmod(0o640)
    told = run("doctor", "--store", store, status=1)
    assert "error: [key-readable]" in told
    assert json.loads(run("doctor", "--json", "--store", tmp_path / "none"))["ok"]


def test_the_record_of_a_node_is_read_where_it_lies(run, agent, client, nodes):  # noqa: F811
    run("apply", client.fix("A", ADMIT), "--node", nodes)
    assert "holds" in run("audit", "verify", "--node", nodes)
    told = run("audit", "show", "--node", nodes, "--event", "applied")
    assert "applied done A by user" in told


def test_what_drains_is_shown_on_a_terminal_and_cancelled(run, agent, client, nodes, monkeypatch, capsys):  # noqa: F811
    caller = threading.Thread(target=client.module.wait)
    caller.start()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    fix = client.fix("A", ADMIT, WAIT)
    try:
        assert main(["apply", str(fix), "--node", str(nodes), "--consistency", "chain", "--wait", "0.4", "--yes"]) == 0
        told = capsys.readouterr()
        assert "still on the other side" in told.err
        assert "A: draining" in told.out
        run("cancel", "A", "--node", nodes)
    finally:
        client.module.gate.set()
        caller.join()
    assert client.module.admit(11) == "admitted"
    assert wished(nodes / "one") == []


def test_a_node_that_works_for_long_says_so_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    show = progress_of(argparse.Namespace(json=False))
    show({"at_work_ms": 21_400})
    assert "the node is at work, for 21 s by now" in capsys.readouterr().err


def test_a_way_back_that_is_cancelled_is_wished_for_again(run, agent, client, nodes):  # noqa: F811
    run("apply", client.fix("A", ADMIT, WAIT), "--node", nodes, "--consistency", "chain")
    caller = threading.Thread(target=client.module.wait)
    caller.start()
    try:
        assert "A: draining" in run("revert", "A", "--node", nodes, "--wait", "0")
        assert wished(nodes / "one") == []
        run("cancel", "A", "--node", nodes)
        assert wished(nodes / "one") == [("A", "on")]
        assert client.module.admit(11) == "refused"
    finally:
        client.module.gate.set()
        caller.join()


def test_watch_looks_again_until_interrupted(agent, nodes):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "90", "LINES": "24"}
    command = [sys.executable, "-m", "livepatch", "watch", "--node", str(nodes), "--interval", "0.05"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as watching:
        assert watching.stdout is not None
        seen = 0
        for line in watching.stdout:
            seen += line.startswith(f"one, process {os.getpid()}")
            if seen == 3:
                break
        agent.close()
        assert any(line == "there is no node\n" for line in watching.stdout)
        agent.start()
        for _ in range(2):  # with the second, a look at the node has ended: its status is that of the command
            assert any(line.startswith(f"one, process {os.getpid()}") for line in watching.stdout)
        watching.send_signal(2)
        watching.stdout.read()
        assert watching.wait(20) == 0


def test_nothing_that_a_node_says_steers_the_terminal(run, nodes):
    status = {"patches": [], "wanted": [], "fell": [], "node": "\x1b[2Jone", "pid": 1, "started": 0, "python": "3"}
    status["processes"] = [{"pid": 7, "lags": True, "standings": {"A": "waiting \x1b[2Jon"}}]
    control = Control(nodes / "odd.sock", lambda *_: status, uids=[os.geteuid()])
    try:
        told = run("status", "--node", nodes)
        assert "\x1b" not in told
        assert "process 7: A waiting" in told
        assert "and lags behind" in told
    finally:
        control.close()


def test_a_node_that_says_something_else_is_told_of(run, nodes):
    control = Control(nodes / "odd.sock", lambda *_: {"patches": 5}, uids=[os.geteuid()])
    try:
        assert "is not understood" in run("status", "--node", nodes, status=3)
    finally:
        control.close()


def test_a_second_look_at_a_patch_in_the_way_of_another(run, agent, client, nodes):  # noqa: F811
    run("apply", client.fix("A", FEE), "--node", nodes)
    client.module.fee.__code__ = (lambda size: 7).__code__
    assert "foreign" not in run("status", "--node", nodes)
    assert "expected what patch A put there" in run("status", "--node", nodes, "--verify", status=1)
