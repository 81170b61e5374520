"""``livepatch rollout start, run, status, watch, pause, resume, promote, abort, retire``: status, text and JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from tests.fleet.plans import as_json, inventory
from tests.fleet.rollouts import TEXT, text_of
from tests.node.stores import patch_file

from livepatch.cli.main import main
from livepatch.fleet.following import Member
from livepatch.fleet.onefile import OneFile
from livepatch.fleet.planning import plan
from livepatch.fleet.reading import read_inventory, read_plan
from livepatch.fleet.running import Follower, directive_of
from livepatch.fleet.steering import Steering

QUICK = (
    TEXT.replace("= 30", "= 0.02").replace("minutes = 5", "minutes = 0.01").replace("minutes = 1\n", "minutes = 0.01\n")
)
QUICK = QUICK.replace('promotion = "approved"\n', "").replace(
    'metric = "errors"\nmost = 0.01', 'metric = "well"\nleast = 1'
)


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIVEPATCH_FLEET", "fleet.db")
    patch = patch_file("CVE-2026-1234")
    (tmp_path / "fix.lpatch").write_bytes(patch)
    (tmp_path / "plan.toml").write_text(text_of(patch))
    (tmp_path / "nodes.json").write_text(as_json(inventory(8)))
    return tmp_path


def call(capsys, *words):
    status = main(["rollout", *words])
    return status, capsys.readouterr()


START = ("start", "plan.toml", "--inventory", "nodes.json", "--patch", "fix.lpatch", "--as", "alice")


class Steered:
    """A controller in a thread, and nodes that do at once what they are told."""

    def __init__(self, folder):
        self.store, self.ended = OneFile(folder / "fleet.db"), threading.Event()
        planned = plan(read_plan(folder / "plan.toml"), read_inventory(folder / "nodes.json"))
        rows = zip(planned.nodes, planned.stages, strict=True)
        self.followers = [
            Follower("r-1", Member(id=node.id, stage=stage), self.store, lambda goal, _: goal, ttl=60)
            for node, stage in rows
        ]
        self.steering = Steering(self.store)
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.ended.wait(0.05):
            self.turn()

    def turn(self):
        self.steering.turn(time.time())
        for follower in self.followers:
            follower.turn()

    def __enter__(self):
        self.turn()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        self.store.close()


def test_a_rollout_is_begun_once_and_by_a_promoter(fleet, capsys):
    status, printed = call(capsys, *START[:-1], "mallory")
    assert status == 1
    assert "who is no promoter" in printed.err
    status, printed = call(capsys, *START)
    assert (status, printed.out) == (0, "rollout r-1 may start, on 8 nodes; livepatch rollout run takes it up\n")
    status, printed = call(capsys, *START, "--json")
    assert (status, json.loads(printed.out)) == (0, {"rollout": "r-1", "who": "alice", "nodes": 8})
    (fleet / "nodes.json").write_text(as_json(inventory(9)))
    assert call(capsys, *START)[0] == 1
    (fleet / "fix.lpatch").write_bytes(b"nothing")
    assert call(capsys, *START)[0] == 2


def test_where_the_store_is_has_to_be_said_and_has_to_be_one(fleet, capsys, monkeypatch):
    monkeypatch.delenv("LIVEPATCH_FLEET")
    status, printed = call(capsys, "status")
    assert status == 2
    assert "no --store, and no $LIVEPATCH_FLEET" in printed.err
    for store in ("http://x", "nowhere/fleet.db"):
        assert call(capsys, "status", "--store", store)[0] == 2
    status, printed = call(capsys, "status", "--store", "new.db")
    assert (status, printed.out) == (0, "there is no rollout\n")


def test_what_is_said_is_taken_up_or_refused(fleet, capsys):
    assert call(capsys, *START)[0] == 0
    status, printed = call(capsys, "pause", "r-1", "--wait", "0.2")
    assert status == 3
    assert "no controller has taken it up" in printed.err
    with Steered(fleet) as steered:
        assert call(capsys, "pause", "r-1", "--as", "carol", "--why", "look [at] it")[1].out == "r-1: running, paused\n"
        status, printed = call(capsys, "resume", "r-1", "--as", "carol")
        assert status == 1
        assert "refused" in printed.err
        assert call(capsys, "resume", "r-1", "--as", "bob")[1].out == "r-1: running\n"
        assert call(capsys, "promote", "r-1", "--as", "bob")[0] == 1  # it has not passed
        assert call(capsys, "retire", "r-1", "n1", "--as", "carol")[0] == 1
        assert call(capsys, "retire", "r-1", "nobody", "--as", "alice")[0] == 1
        assert call(capsys, "retire", "r-1", "n1", "--as", "alice")[1].out == "r-1: n1 counts no more\n"
        status, printed = call(capsys, "abort", "r-1", "--as", "carol", "--why", "a bad feeling", "--json")
        assert status == 0
        assert json.loads(printed.out)["phase"] in ("aborting", "reverted")
        status, printed = call(capsys, "status", "r-1", "--json")
        told = json.loads(printed.out)
        assert told["why"] == "carol: a bad feeling"
        assert "carol: look [at] it" in [each["why"] for each in told["record"]]
        assert [node["state"] for node in told["nodes"] if node["id"] == "n1"] == ["retired"]
        until = time.monotonic() + 60
        while directive_of(steered.store, "r-1").phase != "reverted" and time.monotonic() < until:
            time.sleep(0.05)
    status, printed = call(capsys, "status", "r-1")
    assert printed.out.startswith("rollout r-1: reverted: carol: a bad feeling\n")
    assert "  1. canary: taken back; 3 nodes:" in printed.out
    status, printed = call(capsys, "status")
    assert printed.out == "rollout r-1: reverted: carol: a bad feeling\n"
    for action in ("status", "watch", "abort"):
        status, printed = call(capsys, action, "r-9")
        assert status == 2
        assert "there is no rollout r-9" in printed.err


def started(*words):
    command = [sys.executable, "-m", "livepatch", "rollout", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ})


def test_a_process_steers_a_rollout_to_its_end_and_says_how_it_ended(fleet, capsys):
    (fleet / "plan.toml").write_text(text_of((fleet / "fix.lpatch").read_bytes(), text=QUICK))
    assert call(capsys, *START)[0] == 0
    running = started("run", "r-1", "--json", "--lease", "1")
    steered = Steered(fleet)
    until = time.monotonic() + 60
    while directive_of(steered.store, "r-1") is None and time.monotonic() < until:
        time.sleep(0.05)
    for follower in steered.followers:
        follower.turn()
    assert call(capsys, "abort", "r-1")[0] == 0
    while running.poll() is None and time.monotonic() < until:
        for follower in steered.followers:
            follower.turn()
        time.sleep(0.05)
    if running.poll() is None:
        running.kill()
    out, err = running.communicate()
    assert (running.returncode, err) == (1, "")
    phases = [json.loads(line)["phase"] for line in out.splitlines()]
    assert phases[-1] == "reverted"
    status, printed = call(capsys, "run", "r-1")  # it has ended
    assert printed.err == ""
    assert status == 1
    assert call(capsys, "run", "r-9")[0] == 2
    steered.store.close()


def test_a_process_that_is_told_to_end_lets_another_act_at_once(fleet, capsys):
    assert call(capsys, *START)[0] == 0
    running = started("run", "--lease", "600")
    store = OneFile(fleet / "fleet.db")
    until = time.monotonic() + 60
    while directive_of(store, "r-1") is None:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert Steering(store).turn(time.time())["r-1"].phase == "running"
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate()
    assert (running.returncode, err) == (0, "")
    assert "r-1: running, stage 1 opens" in out
    with Steered(fleet):
        assert call(capsys, "abort", "r-1")[0] == 0
    store.close()


def test_it_is_watched_until_somebody_has_seen_enough(fleet, capsys):
    assert call(capsys, *START)[0] == 0
    watching = started("watch", "r-1", "--json", "--interval", "0.1")
    first = json.JSONDecoder()
    text = ""
    while True:
        text += watching.stdout.readline()
        try:
            told, _ = first.raw_decode(text)
            break
        except ValueError:
            continue
    assert told["rollout"] == "r-1"
    watching.send_signal(signal.SIGINT)
    watching.communicate()
    assert watching.returncode == 0


def test_the_page_is_served_by_command(fleet, capsys):
    import urllib.request

    assert call(capsys, *START)[0] == 0
    serving = started("watch", "r-1", "--page")
    address = serving.stdout.readline().strip()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(address, timeout=60) as answer:
        assert b"r-1" in answer.read()
    serving.send_signal(signal.SIGINT)
    serving.communicate()
    assert serving.returncode == 0
