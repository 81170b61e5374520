"""From the beginning of rollouts in a store to their end, by processes that know nothing but the store."""

from __future__ import annotations

import dataclasses

import pytest
from tests.fleet.rollouts import Begun, files, text_of
from tests.fleet.test_state import OnDisk
from tests.node.stores import patch_file

from livepatch.errors import BundleError, PolicyError, RolloutError, StateError
from livepatch.fleet.beginning import begin, flags_in, planned_in, terms_at
from livepatch.fleet.chronicle import judgements, passages
from livepatch.fleet.keys import directive_key, judged_key, lease_key, passed_key, rollouts_in, terms_key
from livepatch.fleet.overview import in_words, overview, stage_states
from livepatch.fleet.running import directive_of, retire, send
from livepatch.fleet.standing import Command, Directive
from livepatch.fleet.steering import Steering


@pytest.fixture
def engine(tmp_path):
    made = OnDisk(tmp_path)
    made.clock.now = 1_795_000_000.0
    yield made
    made.close()


def run(engine, begun, *steering, errors=0.001, turns=80):
    for number in range(turns):
        engine.wait(450.0)
        steering[number % len(steering)].turn(engine.clock())
        begun.turn(errors)
        directive = directive_of(begun.store, begun.rollout)
        if directive and directive.passed and directive.phase == "running":
            send(begun.store, begun.rollout, Command(kind="promote", who="bob", order=directive.order))
        if directive and directive.phase in ("complete", "reverted"):
            return directive
    raise AssertionError(directive)


def test_whoever_runs_takes_it_up_from_the_store_and_judges_by_what_nodes_have_published(engine):
    begun = Begun(engine.store(), engine.clock)
    assert rollouts_in(begun.store) == ("r-1",)
    steering = [Steering(engine.store()) for _ in range(2)]
    assert run(engine, begun, *steering).phase == "complete"
    assert flags_in(begun.store) == {"CVE-2026-1234": "r-1"}
    told = overview(begun.store, "r-1")
    assert [stage["state"] for stage in told["stages"]] == ["passed"] * 2
    assert sum(stage["applied"] for stage in told["stages"]) == 8
    assert [each["verdict"] for each in told["judged"]].count("fine") >= 6
    assert told["judged"][0]["answers"][0]["treated"].keys() <= {node.id for node in begun.planned.nodes}
    phases = [each["phase"] for each in told["record"]]
    assert (phases[0], phases[-1]) == ("running", "complete")
    assert in_words(told) == "rollout r-1: complete"


def test_harm_that_nodes_have_published_is_taken_back(engine):
    begun = Begun(engine.store(), engine.clock)
    assert run(engine, begun, Steering(engine.store()), errors=0.5).phase == "reverted"
    told = overview(begun.store, "r-1")
    assert told["why"] == "errors is 0.5, at most 0.01 is allowed"
    assert told["stages"][0]["state"] == "taken back"
    (look,) = [each for each in told["judged"] if each["verdict"] == "bad"]
    assert len(look["answers"][0]["treated"]) == 3


def test_nothing_that_was_measured_is_waited_for(engine):
    begun = Begun(engine.store(), engine.clock)
    begun.turn = lambda errors: [follower.turn() for follower in begun.followers]
    steering = Steering(engine.store())
    with pytest.raises(AssertionError):
        run(engine, begun, steering, turns=12)
    directive = directive_of(begun.store, "r-1")
    assert (directive.phase, directive.opened, directive.passed) == ("running", 1, False)


def test_several_rollouts_and_one_that_cannot_be_run_holds_up_no_other(engine):
    store = engine.store()
    one = Begun(store, engine.clock)
    broken = terms_at(store, "r-1")
    store.put(terms_key("r-3"), dataclasses.replace(broken, rollout="r-3").encoded(), expected=0)
    store.put(terms_key("r-4"), b"{}", expected=0)
    told = []
    steering = Steering(store, told=lambda rollout, tell: told.append((rollout, tell.what)))
    assert run(engine, one, steering).phase == "complete"
    assert run(engine, Begun(store, engine.clock, name="CVE-2026-2", rollout="r-2"), steering).phase == "complete"
    assert sorted(set(told)) == [("r-3", "cannot be run"), ("r-4", "cannot be run")]
    assert len(told) == 2
    only = Steering(store, ["r-2"])
    assert list(only.turn(engine.clock())) == ["r-2"]


def test_a_node_that_does_not_exist_any_more_counts_no_more(engine):
    begun = Begun(engine.store(), engine.clock)
    gone = begun.followers.pop(0)
    steering = Steering(engine.store())
    with pytest.raises(AssertionError):
        run(engine, begun, steering, turns=10)
    retire(begun.store, "r-1", gone.member.id, "mallory")
    with pytest.raises(AssertionError):
        run(engine, begun, steering, turns=5)
    retire(begun.store, "r-1", gone.member.id, "alice")
    directive = directive_of(begun.store, "r-1")
    send(begun.store, "r-1", Command(kind="resume", who="alice", order=directive.order))
    assert run(engine, begun, Steering(engine.store())).phase == "complete"
    told = overview(begun.store, "r-1")
    assert [node["state"] for node in told["nodes"] if node["id"] == gone.member.id] == ["retired"]


def test_what_has_ended_is_left_alone_until_somebody_says_something(engine):
    store = engine.store()
    begun = Begun(store, engine.clock)
    steering = Steering(engine.store())
    assert run(engine, begun, steering).phase == "complete"
    assert store.get(lease_key("r-1")) is None
    fresh = Steering(engine.store())
    for each in (steering, fresh):
        each.turn(engine.clock())
        each.wait(0.0)
    assert fresh._controllers == {}
    written = max(entry.revision for entry in store.entries(""))
    for _ in range(3):
        engine.wait(100)
        assert steering.turn(engine.clock())["r-1"].phase == fresh.turn(engine.clock())["r-1"].phase == "complete"
    assert max(entry.revision for entry in store.entries("")) == written
    send(store, "r-1", Command(kind="abort", who="anybody"))
    fresh.wait(1.0)
    assert fresh.turn(engine.clock())["r-1"].phase == "aborting"
    begun.turn()
    fresh.wait(1.0)
    assert fresh.turn(engine.clock())["r-1"].phase == "reverted"
    send(store, "r-1", Command(kind="abort", who="anybody"))
    late = Steering(engine.store())  # which finds what was said before it came
    assert late.turn(engine.clock())["r-1"].phase == "reverted"
    assert list(late._controllers) == ["r-1"]


# How one begins


def refused(store, given, who="alice", kind=RolloutError):
    before = {entry.key: entry.value for entry in store.entries("")}
    with pytest.raises(kind) as caught:
        begin(store, given, who=who)
    assert caught.value.found
    assert caught.value.expected
    assert caught.value.action
    assert {entry.key: entry.value for entry in store.entries("")} == before
    return str(caught.value)


def test_what_must_not_start_is_refused_and_leaves_nothing(engine):
    store, good = engine.store(), files()
    assert "no promoter" in refused(store, good, who="mallory")
    assert "another one than the plan's" in refused(store, dataclasses.replace(good, patch=patch_file("other")))
    assert "another one than the plan's" in refused(store, files(plan=text_of(patch_file("other")).encode()))
    short = dataclasses.replace(good, plan=good.plan.replace(b"soak-minutes = 30", b"soak-minutes = 1"))
    assert "too short" in refused(store, short)
    refused(store, dataclasses.replace(good, patch=b"nothing"), kind=BundleError)
    refused(store, dataclasses.replace(good, plan=b"nothing"), kind=PolicyError)
    refused(store, dataclasses.replace(good, inventory=b"nothing"), kind=PolicyError)
    assert rollouts_in(store) == ()


def test_twice_is_harmless_and_another_of_the_same_id_or_flag_is_refused(engine):
    store = engine.store()
    begun = Begun(store, engine.clock)
    Steering(store).turn(engine.clock())
    begin(store, files(), who="bob")
    assert "another rollout of that id" in refused(store, files(nodes=9))
    assert "a flag is for one rollout" in refused(store, files(rollout="r-2"))
    assert run(engine, begun, Steering(engine.store())).phase == "complete"


def test_what_is_in_the_store_has_to_agree(engine):
    store = engine.store()
    Begun(store, engine.clock)
    terms = terms_at(store, "r-1")
    assert planned_in(store, terms).rollout.id == "r-1"
    with pytest.raises(StateError, match="there is no rollout"):
        terms_at(store, "r-2")
    for changes in (
        {"cuts": terms.cuts[:1], "soaks": terms.soaks[:1]},
        {"digest": f"sha256:{'1' * 64}"},
        {"metrics": ()},
    ):
        with pytest.raises(StateError, match="cannot be taken up"):
            planned_in(store, dataclasses.replace(terms, **changes))
    with pytest.raises(StateError, match="cannot be taken up"):
        planned_in(store, dataclasses.replace(terms, plan=f"sha256:{'0' * 64}"))


# What people see


def test_what_cannot_be_read_is_left_out_of_what_people_see(engine):
    begun = Begun(engine.store(), engine.clock)
    run(engine, begun, Steering(engine.store()), errors=0.5)
    looks, passed = len(judgements(begun.store, "r-1")), len(passages(begun.store, "r-1"))
    for key in (judged_key("r-1", 9, 9), passed_key("r-1", 999)):
        begun.store.put(key, b'{"type": "judgement"}', expected=None)
    assert (len(judgements(begun.store, "r-1")), len(passages(begun.store, "r-1"))) == (looks, passed)


def test_a_directive_whose_publisher_died_is_in_the_record_all_the_same(engine):
    begun = Begun(engine.store(), engine.clock)
    Steering(engine.store()).turn(engine.clock())
    begun.store.delete(passed_key("r-1", 1), expected=None)
    engine.wait(100)
    Steering(engine.store()).turn(engine.clock())
    assert passages(begun.store, "r-1")[0].directive.revision == 1


@pytest.mark.parametrize(
    ("changes", "states"),
    [
        ({"phase": "planned"}, ["waits", "waits", "waits"]),
        ({"phase": "running", "opened": 1}, ["opens", "waits", "waits"]),
        ({"phase": "running", "opened": 2, "since": 5.0}, ["passed", "soaks", "waits"]),
        ({"phase": "running", "opened": 2, "since": 5.0, "passed": True}, ["passed", "passed", "waits"]),
        ({"phase": "complete", "opened": 3}, ["passed", "passed", "passed"]),
        ({"phase": "aborting", "opened": 2}, ["taken back", "taken back", "waits"]),
    ],
)
def test_what_has_become_of_each_stage(changes, states):
    assert stage_states(Directive(rollout="r-1", **changes), 3) == states


def test_a_node_that_follows_another_order_is_behind(engine):
    begun = Begun(engine.store(), engine.clock)
    steering = Steering(engine.store())
    steering.turn(engine.clock())
    begun.followers[0].turn()
    send(begun.store, "r-1", Command(kind="abort", who="anybody"))
    steering.turn(engine.clock())
    told = overview(begun.store, "r-1")
    first = begun.followers[0].member.id
    assert {node["id"]: (node["state"], node["behind"]) for node in told["nodes"]}[first][1]
    begun.store.put(directive_key("r-1"), b"{}", expected=None)
    with pytest.raises(StateError):
        overview(begun.store, "r-1")
