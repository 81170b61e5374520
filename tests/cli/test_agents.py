"""What ``run`` and ``attach`` give a process: the agent that a call with the same arguments would make."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.signing import write_root

import livepatch
from livepatch.cli.agents import given_of
from livepatch.cli.main import parser
from livepatch.errors import PatchError, PolicyError, TrustError
from livepatch.node.given import Given

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {"run": ["--", "python", "client.py"], "attach": ["4711"]}


@pytest.fixture
def given(tmp_path, monkeypatch):
    """What a command has made of options, in a folder with a trust root and rules."""
    monkeypatch.chdir(tmp_path)
    write_root(tmp_path / "root.json", package="nodeclient")
    (tmp_path / "rules.toml").write_text('[[rule]]\nprobe = "process/fds"\nabove = 900\n')

    def made(*options: str, command: str = "run", trust: tuple[str, ...] = ("--trust", "root.json")) -> Given:
        words = [command, "--store", "store", *trust, *options, *COMMANDS[command]]
        return given_of(parser().parse_args(words), tmp_path / "store")

    return made


@pytest.mark.parametrize("command", COMMANDS)
def test_both_give_what_an_agent_takes(given, tmp_path, command):
    options = [
        "--node",
        "n1",
        "--guard",
        "3",
        "--probes",
        "livepatch.health.probes:process_probes",
        "--rules",
        "rules.toml",
    ]
    options += ["--interval", "0.5", "--height", "time:time", "--socket", "own.sock", "--uid", "5", "--uid", "6"]
    options += ["--max-pause", "0.25", "--max-rest", "0", "--fleet", "fleet.db", "--region", "eu"]
    options += ["--label", "a b", "--label", "c"]
    handed = Given.parse(given(*options, command=command).to_text())
    agent = handed.agent()
    held = agent._given
    assert (held.place, held.name, held.guard) == (tmp_path / "store", "n1", 3.0)
    assert held.watching.watchdog.probes == ("process/cpu", "process/rss", "process/fds", "process/threads", "gc/pause")
    assert (held.watching.rules, held.watching.watchdog.interval) == ((livepatch.Rule("process/fds", above=900),), 0.5)
    assert held.height is time.time
    assert (held.socket, held.uids, held.max_pause, held.max_rest) == (tmp_path / "own.sock", {5, 6}, 0.25, 0.0)
    assert held.fleet == livepatch.Fleet(str(tmp_path / "fleet.db"), region="eu", labels=["a b", "c"])
    with agent:
        assert agent.health()["state"] in ("unknown", "ok")


def test_without_options_it_is_the_agent_of_before(given, tmp_path):
    held = given().agent()._given
    assert (held.watching, held.height, held.fleet, held.policy, held.max_pause, held.max_rest) == (None,) * 6
    assert (held.socket, held.uids) == (tmp_path / "store" / "control.sock", frozenset())


def test_the_trust_root_in_the_store_is_that_of_both_by_default(given, tmp_path):
    (tmp_path / "store").mkdir()
    with pytest.raises(TrustError, match=r"no trust\.json in the store"):
        given(trust=())
    write_root(tmp_path / "store" / "trust.json", package="nodeclient")
    for command in COMMANDS:
        assert given(trust=(), command=command).trust == str(tmp_path / "store" / "trust.json")
    assert given(trust=("--unsigned",)).trust == ""


def test_a_server_of_a_fleet_is_an_address_and_its_files_are_paths(given, tmp_path):
    options = ["--fleet", "tls://h:4222/b", "--ca", "ca.pem", "--certificate", "c.pem", "--store-key", "k.pem"]
    assert given(*options, "--credentials", "n.creds").joined() == livepatch.Fleet(
        "tls://h:4222/b",
        ca=str(tmp_path / "ca.pem"),
        certificate=str(tmp_path / "c.pem"),
        key=str(tmp_path / "k.pem"),
        credentials=str(tmp_path / "n.creds"),
    )


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        (["--rules", "rules.toml"], PatchError, "--rules without --probes"),
        (["--rules", "missing.toml"], PolicyError, "missing.toml"),
        (["--probes", "a:b", "--rules", "missing.toml"], PolicyError, "missing.toml"),
        (["--probes", "process"], PatchError, "--probes is no name"),
        (["--height", "client:"], PatchError, "--height is no name"),
        (["--interval", "0.001"], PatchError, "0.01 to 3600 s"),
        (["--label", "x"], PatchError, "no --fleet"),
        (["--store-key", "x"], PatchError, "no --fleet"),
    ],
)
def test_what_does_not_go_together_is_told_before_anything_is_started(given, command, options, error, told):
    with pytest.raises(error) as caught:
        given(*options, command=command)
    assert told in str(caught.value)


def attached(tmp_path: Path, handed: Given) -> dict:
    """What comes of it in a process that is attached to, by what runs there."""
    code = "import sys; from livepatch.node.attaching import begin; begin(*sys.argv[1:])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    word = tmp_path / "word.json"
    subprocess.run([sys.executable, "-c", code, handed.to_text(), str(word)], env=environment, timeout=300, check=True)
    return json.loads(word.read_bytes())


def test_a_process_that_is_attached_to_gets_that_agent(given, tmp_path):
    (tmp_path / "attachops.py").write_text(
        "from livepatch.health.probes import fds\n\ndef made():\n    return [fds()]\n"
    )
    handed = given("--probes", "attachops:made", "--node", "n1", command="attach")
    told = attached(tmp_path, handed)
    assert (told["node"], told["store"]) == ("n1", str(tmp_path / "store"))
    told = attached(tmp_path, given("--probes", "attachops:others", command="attach"))
    assert (told["kind"], "no others in" in told["found"]) == ("PatchError", True)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_label_of_two_lines_is_not_two_labels(given, command, capsys):
    with pytest.raises(SystemExit):
        given("--fleet", "fleet.db", "--label", "a\nb", command=command)
    assert "not in one line" in capsys.readouterr().err
