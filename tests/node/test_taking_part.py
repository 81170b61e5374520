"""A node in a fleet: it does what the store says as far as that is signed, and reports how it stands."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from types import SimpleNamespace

import pytest
from tests.node.clients import ADMIT, FEE

import livepatch
from livepatch.bundle.envelope import read_bundle
from livepatch.bundle.trust import admitted
from livepatch.cli.main import main
from livepatch.errors import PatchError, StateError
from livepatch.fleet.cohorts import PLACES, Cut
from livepatch.fleet.keys import directive_key, measured_of, node_key, terms_key
from livepatch.fleet.measured import averages
from livepatch.fleet.onefile import OneFile
from livepatch.fleet.opening import Where
from livepatch.fleet.standing import Directive
from livepatch.fleet.terms import Terms
from livepatch.fleet.wire import encoded, report_in
from livepatch.govern import telling
from livepatch.node.part import Part
from livepatch.process.live import live

NOTHING = f"sha256:{'0' * 64}"


class Shared:
    """The fleet's store, as a controller uses it; and an agent that follows it."""

    def __init__(self, folder, client):
        self.folder, self.client = folder, client
        self.path = folder / "fleet.db"
        self.store = OneFile(self.path)
        self.order = 0
        self.agent = None

    def announce(self, file, rollout="r-1", patch="", **changes):
        data = file.read_bytes()
        digest = admitted(read_bundle(data), None, "").digest
        terms = Terms(
            rollout=rollout, patch=patch or file.stem, digest=digest, file=self.store.keep(data),
            package=self.client.package, plan=NOTHING, inventory=NOTHING, soaks=(60.0,),
            cuts=(Cut(below=PLACES, where={}),),
        )  # fmt: skip
        self.store.put(terms_key(rollout), dataclasses.replace(terms, **changes).encoded(), expected=0)

    def direct(self, phase="running", rollout="r-1", opened=1, **changes):
        self.order = changes.pop("order", self.order + 1)
        directive = Directive(rollout=rollout, phase=phase, order=self.order, opened=opened, **changes)
        self.store.put(directive_key(rollout), encoded(directive), expected=None)

    def start(self, **options):
        given = {"node": "n1", "poll": 0.05, "ttl": 30.0, **options.pop("fleet", {})}
        self.agent = livepatch.Agent(
            self.folder / "store", trust=self.client.root, fleet=livepatch.Fleet(str(self.path), **given), **options
        )
        return self.agent.start()

    def report(self, rollout="r-1"):
        entry = self.store.get(node_key(rollout, "n1"))
        return None if entry is None else report_in(entry.value, "n1")

    def reported(self, condition, order=None, rollout="r-1", why=""):
        """The report that says so, once there is one."""
        until = time.monotonic() + 30
        while True:
            report = self.report(rollout)
            right = report and report.condition == condition and report.order == (order or self.order)
            if right and why in report.why:
                return report
            assert time.monotonic() < until, (report, self.agent.standing())
            time.sleep(0.02)


@pytest.fixture
def shared(client, tmp_path, events):
    made = Shared(tmp_path, client)
    yield made
    if made.agent is not None:
        made.agent.close()
    made.store.close()


def test_a_node_applies_what_is_open_to_it_and_takes_it_back(shared, client):
    shared.announce(client.fix("A", ADMIT))
    shared.direct("planned", opened=0)
    shared.start()
    shared.reported("original")
    shared.direct(opened=0)
    shared.reported("original")
    assert client.module.admit(11) == "admitted"
    shared.direct()
    first = shared.reported("applied")
    assert client.module.admit(11) == "refused"
    shared.direct("aborting")
    assert shared.reported("original").sequence > first.sequence
    assert client.module.admit(11) == "admitted"
    done = [(e["event"], e["who"]) for e in telling.entries(shared.agent.about()["record"]["folder"])
            if e["phase"] == "done"]  # fmt: skip
    assert done == [("applied", "fleet"), ("reverted", "fleet")]
    assert shared.agent.standing()["fleet"]["rollouts"] == {"r-1": "original"}


def test_reports_of_what_may_change_expire_and_those_of_an_ending_stay(shared, client):
    def expiry():
        (row,) = shared.store._database.execute(
            "SELECT expires FROM entries WHERE key = ?", (node_key("r-1", "n1"),)
        ).fetchone()
        return row

    shared.announce(client.fix("A", ADMIT))
    shared.direct()
    shared.start(fleet={"ttl": 1.0})
    first = shared.reported("applied")
    assert expiry() < time.time() + 1.0
    until = time.monotonic() + 30
    while time.monotonic() < until - 28.8 or (shared.report() or first).sequence == first.sequence:
        assert time.monotonic() < until
        time.sleep(0.02)  # longer than a report lives, it is there again and again
    shared.direct("complete")
    shared.reported("applied")
    assert expiry() is None


def test_a_file_that_is_not_signed_as_the_node_asks_is_refused(shared, client):
    shared.announce(client.fix("A", ADMIT, signers="alice"))
    shared.direct()
    shared.start()
    shared.reported("failed", why="not signed as the trust root asks")
    assert client.module.admit(11) == "admitted"
    assert livepatch.status() == ()
    shared.direct()
    shared.reported("failed", why="not signed")  # what has failed stays as it is until it is told to try again
    shared.direct(attempt=1)
    shared.reported("failed", why="not signed")
    shared.direct("aborting", attempt=1)
    shared.reported("failed")


def test_a_store_that_has_other_bytes_delays_and_injects_nothing(shared, client):
    file = client.fix("A", ADMIT)
    shared.announce(file)
    evil = client.fix("evil", ADMIT, FEE).read_bytes()
    shared.store._database.execute("UPDATE files SET data = ?", (evil,))
    shared.direct()
    shared.start()
    shared.reported("original", order=-1, why="not the one that was put there")
    assert client.module.fee(3) == 3
    shared.store.keep(file.read_bytes())
    shared.reported("applied")
    assert client.module.admit(11) == "refused"
    assert client.module.fee(3) == 3


def test_another_signed_patch_than_the_rollout_s_is_not_applied(shared, client):
    shared.announce(client.fix("B", FEE), patch="A")
    shared.direct()
    shared.start()
    shared.reported("failed", why="holds another patch")
    assert client.module.fee(3) == 3


def test_a_file_that_is_not_there_yet_is_waited_for(shared, client):
    file = client.fix("A", ADMIT)
    shared.announce(file)
    shared.store._database.execute("DELETE FROM files")
    shared.direct()
    shared.start()
    shared.reported("original", order=-1, why="is not in the fleet's store")
    shared.store.keep(file.read_bytes())
    shared.reported("applied")


def test_a_node_that_is_cut_off_keeps_what_it_has_and_catches_up(shared, client, monkeypatch, events):
    shared.announce(client.fix("A", ADMIT))
    shared.direct()
    shared.start()
    shared.reported("applied")
    real, cut = Where.opened, [True]

    def opened(self, **options):
        if cut:
            raise StateError("the store cannot be used", found="nothing", expected="a store", action="wait")
        return real(self, **options)

    monkeypatch.setattr(Where, "opened", opened)
    shared.agent._now().fleet._let_go()  # as a server does that dies
    until = time.monotonic() + 10
    while not shared.agent.standing()["fleet"]["error"]:
        assert time.monotonic() < until
    shared.direct("aborting")
    time.sleep(0.3)
    assert client.module.admit(11) == "refused"
    cut.clear()
    shared.reported("original")
    assert client.module.admit(11) == "admitted"
    assert "livepatch.fleet_not_followed" in [each["event"] for each in events]
    while "livepatch.fleet_followed" not in [each["event"] for each in events]:  # told after the report
        assert time.monotonic() < until + 30
        time.sleep(0.02)


def test_a_store_that_can_neither_be_read_nor_closed_is_let_go_of(shared, client, monkeypatch):
    shared.announce(client.fix("A", ADMIT))
    shared.direct()
    shared.start()
    shared.reported("applied")
    taking_part = shared.agent._now().fleet
    held = taking_part._store

    def lost(*_, **__):
        raise AttributeError("'NoneType' object has no attribute '_add_writer'")  # as a client library did

    monkeypatch.setattr(held, "changes", lost)
    monkeypatch.setattr(held, "close", lost)
    until = time.monotonic() + 10
    while taking_part._store in (held, None):
        assert time.monotonic() < until
        time.sleep(0.02)
    shared.direct("aborting")
    shared.reported("original")
    monkeypatch.undo()
    held.close()


def test_a_node_starts_whatever_its_fleet_s_store_is_like(client, tmp_path, events):
    (tmp_path / "fleet.db").write_text("no database, but a text that is long enough to be taken for one" * 20)
    with livepatch.Agent(tmp_path / "store", trust=client.root, fleet=str(tmp_path / "fleet.db")) as agent:
        agent.apply(client.fix("A", ADMIT))
        assert client.module.admit(11) == "refused"


def test_after_a_restart_it_goes_on_and_follows_nothing_that_is_older(shared, client):
    shared.announce(client.fix("A", ADMIT))
    shared.direct(order=5)
    shared.start()
    first = shared.reported("applied")
    shared.agent.close()
    livepatch.revert("A")  # as if the process had ended here
    shared.direct("aborting", order=4)  # somebody replays what was
    shared.start()
    time.sleep(0.5)
    assert client.module.admit(11) == "refused"
    shared.direct("running", order=6)
    assert shared.reported("applied").sequence > first.sequence
    shared.direct("aborting", order=7)
    shared.reported("original")


def test_what_was_refused_is_not_tried_again_after_a_restart(shared, client):
    shared.announce(client.fix("A", ADMIT, signers="alice"))
    shared.direct()
    shared.start()
    shared.reported("failed", why="not signed")
    shared.agent.close()
    shared.start()
    shared.direct()
    shared.reported("failed")
    kinds = [e["event"] for e in telling.entries(shared.agent.about()["record"]["folder"])]
    assert kinds.count("refused") <= 1


def test_what_is_taken_back_at_the_node_has_failed(shared, client):
    shared.announce(client.fix("A", ADMIT))
    shared.direct()
    shared.start()
    shared.reported("applied")
    shared.agent.revert("A")
    shared.reported("failed", why="taken back at the node")
    shared.direct(attempt=1)
    shared.reported("applied")
    shared.agent.flag("A", "off")
    shared.reported("dormant", why="somebody has set the mode off")
    shared.direct("aborting", attempt=1)
    shared.reported("original")
    assert livepatch.status() == ()


def test_a_patch_that_goes_in_anew_has_not_failed(shared, client):
    shared.announce(client.fix("A", ADMIT))
    shared.direct()
    shared.start()
    shared.reported("applied")
    record = live.records.pop("A")  # as while a module that it changes has come
    time.sleep(1.2)
    live.records["A"] = record
    shared.direct()
    shared.reported("applied")
    assert shared.report().why == ""


def test_another_patch_of_the_same_id_is_left_alone(shared, client):
    shared.announce(client.fix("A", ADMIT))
    other = client.fix("B", FEE)
    shared.start()
    shared.agent.apply(other)
    shared.announce(client.fix("C", ADMIT), rollout="r-2", patch="B")
    shared.direct(rollout="r-2", opened=0)
    shared.reported("original", rollout="r-2")
    assert client.module.fee(3) == 6


def test_a_rollout_that_was_taken_back_takes_no_turns_until_its_patch_is_there_again(shared, client, monkeypatch):
    fix = client.fix("A", ADMIT)
    shared.announce(fix)
    shared.direct()
    shared.start()
    shared.reported("applied")
    shared.direct("reverted")
    shared.reported("original")
    turns = []
    turn = Part.turn

    def counted(self, *arguments):
        turns.append(self.terms.rollout)
        turn(self, *arguments)

    monkeypatch.setattr(Part, "turn", counted)
    shared.announce(client.fix("B", FEE), rollout="r-2")
    shared.direct(rollout="r-2", opened=0)
    shared.reported("original", rollout="r-2")
    turns.clear()
    shared.direct(rollout="r-2", opened=0)
    shared.reported("original", rollout="r-2")
    assert set(turns) == {"r-2"}
    shared.agent.apply(fix)  # by hand: that is for people to see
    shared.reported("applied", order=2)


def test_a_node_with_rules_guards_itself(shared, client):
    reading = [0.0]
    probe = livepatch.HealthProbe("errors", lambda: reading[0], quick=True)
    rules = [livepatch.Rule("errors", above=1.0)]
    shared.announce(client.fix("A", ADMIT))
    shared.direct()
    shared.start(probes=[probe], rules=rules, interval=0.05)
    shared.reported("applied")
    reading[0] = 5.0
    shared.reported("failed", why="rolled-back")
    assert client.module.admit(11) == "admitted"


def test_a_consensus_change_lies_dormant_until_its_height(shared, client):
    height = [10]
    shared.announce(client.fix("A", ADMIT), consensus=True)
    shared.direct()
    shared.start(height=lambda: height[0])
    assert shared.reported("dormant").height == 10
    assert client.module.admit(11) == "admitted"
    shared.direct(height=20)
    shared.reported("armed")
    assert client.module.admit(11) == "admitted"
    height[0] = 20
    shared.reported("applied")
    assert client.module.admit(11) == "refused"
    shared.direct("aborting", height=20)
    shared.reported("applied")  # nodes that go back alone would leave the chain


def test_what_it_measures_is_published_while_a_stage_is_open(shared, client):
    probe = livepatch.HealthProbe("errors", lambda: 0.25, quick=True)
    shared.announce(client.fix("A", ADMIT), metrics=("errors", "well", "unknown"), every=0.1)
    begun = time.time()
    shared.start(probes=[probe, livepatch.HealthProbe("other", lambda: 1.0)], interval=0.05)
    shared.direct("planned", opened=0)
    shared.reported("original")
    assert shared.store.get(measured_of("r-1", "n1")) is None
    shared.direct(opened=0)
    until = time.monotonic() + 10
    found = {}
    while found.keys() != {"errors", "well"}:
        entry = shared.store.get(measured_of("r-1", "n1"))
        found = averages(entry.value, begun, time.time()) if entry else {}
        assert time.monotonic() < until
    assert found == {"errors": 0.25, "well": 1.0}


def test_what_cannot_be_read_leaves_the_node_as_it_is(shared, client, events):
    shared.announce(client.fix("A", ADMIT))
    shared.direct()
    shared.start()
    shared.reported("applied")
    shared.store.put(directive_key("r-1"), b"{}", expected=None)
    shared.store.put(terms_key("r-2"), b"{}", expected=None)
    shared.store.put("told/x", b"?", expected=None)
    until = time.monotonic() + 10
    while [each["event"] for each in events].count("livepatch.fleet_unreadable") < 2:
        assert time.monotonic() < until
        time.sleep(0.02)
    assert client.module.admit(11) == "refused"
    shared.direct("aborting")
    shared.reported("original")


def test_a_node_that_a_rollout_is_not_about_takes_no_part(shared, client):
    cut = Cut(below=PLACES, where={"region": ("eu",), "label": ("spare",)})
    shared.announce(client.fix("A", ADMIT), cuts=(cut,))
    shared.announce(client.fix("B", FEE), rollout="r-2", cuts=(dataclasses.replace(cut, where={"version": ("1.0",)}),))
    shared.direct()
    shared.direct(rollout="r-2")
    shared.start(fleet={"region": "eu", "labels": ["other"]})
    shared.reported("applied", rollout="r-2")
    assert shared.report() is None
    assert client.module.admit(11) == "admitted"


def test_a_fleet_needs_a_trust_root_and_a_store(tmp_path, client):
    with pytest.raises(PatchError, match="trust root"):
        livepatch.Agent(tmp_path, trust=livepatch.UNSIGNED, fleet="fleet.db")
    with pytest.raises(TypeError, match="fleet must be"):
        livepatch.Agent(tmp_path, trust=client.root, fleet=5)
    for wrong in ({"store": 5}, {"store": "x", "labels": "spare"}, {"store": "x", "labels": [5]}):
        with pytest.raises(TypeError):
            livepatch.Fleet(**wrong)
    for wrong in ({"store": ""}, {"store": "x", "ttl": 0.5}, {"store": "x", "poll": 1e9}):
        with pytest.raises(PatchError) as caught:
            livepatch.Fleet(**wrong)
        assert caught.value.found
        assert caught.value.action


def test_a_node_practises_when_a_drill_takes_it_and_says_how_long_it_took(shared, client, capsys):
    shared.announce(client.fix("A", ADMIT))
    shared.direct()
    shared.start(probes=[livepatch.HealthProbe("x", lambda: 1.0, quick=True)], interval=0.05)
    shared.reported("applied")
    inventory = shared.folder / "nodes.json"
    inventory.write_text('{"nodes": [{"id": "n1", "version": "1.0"}]}')
    words = ["drill", "--store", str(shared.path), "--inventory", str(inventory), "--json"]
    assert main([*words, "--target", "60"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"]
    assert told["nodes"][0]["restore_seconds"] > 0
    assert client.module.admit(11) == "refused"  # nothing of the program's has changed
    assert main([*words, "--target", "0", "--wait", "0.2"]) == 1  # while it practises
    printed = capsys.readouterr()
    assert not json.loads(printed.out)["ok"]
    assert "ALARM: n1: " in printed.err
    inventory.write_text('{"nodes": [{"id": "nobody", "version": "1.0"}]}')
    assert main([*words, "--wait", "0.2"]) == 1
    assert "ALARM: nobody: it has not answered" in capsys.readouterr().err
    assert main(["drill"]) == 2
    assert main(["drill", "--store", str(shared.path)]) == 2
    shared.agent.close()
    assert not [each for each in threading.enumerate() if each.name in ("livepatch-fleet-drill", "livepatch-watchdog")]


def test_a_drill_that_cannot_be_held_is_an_alarm_and_the_next_is_held(shared, client, capsys, monkeypatch):
    inventory = shared.folder / "nodes.json"
    inventory.write_text('{"nodes": [{"id": "n1", "version": "1.0"}]}')
    words = ["drill", "--store", str(shared.path), "--inventory", str(inventory), "--target", "60"]
    aside = shared.path.with_suffix(".aside")
    shared.store.close()
    shared.path.rename(aside)
    shared.path.write_text("no database, but a text that is long enough to be taken for one" * 20)
    assert main(words) == 2
    capsys.readouterr()
    turns, sleep = [], time.sleep

    def back(seconds):
        if seconds < 1:  # it waits for answers
            return sleep(seconds)
        turns.append(capsys.readouterr())
        if len(turns) == 1:
            aside.replace(shared.path)
            shared.store = OneFile(shared.path)
            shared.start(probes=[livepatch.HealthProbe("x", lambda: 1.0, quick=True)], interval=0.05)
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr("livepatch.cli.drill_fleet.time", SimpleNamespace(monotonic=time.monotonic, sleep=back))
    assert main([*words, "--every", "60"]) == 1
    assert "ALARM: not held" in turns[0].err
    assert "to notice" in turns[1].out
    assert turns[1].err == ""
