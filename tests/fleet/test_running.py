"""Rollouts on a real store: controllers that die, stores that fail, and hostile entries; every ending is one of two."""

from __future__ import annotations

import random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.fleet.plans import PLAN, inventory, rollout
from tests.fleet.test_state import OnDisk, OnServer

from livepatch.errors import RolloutError, StateError
from livepatch.fleet.following import Member
from livepatch.fleet.judging import Series
from livepatch.fleet.keys import command_key, commands_of, directive_key, flag_key, node_key
from livepatch.fleet.planning import plan
from livepatch.fleet.running import Controller, Follower, directive_of, send
from livepatch.fleet.standing import Command, Directive, Report
from livepatch.fleet.wire import command_in, directive_in, encoded, report_in

TEXT = PLAN.partition('[[gate]]\nmetric = "latency"')[0].replace("count = 10", "count = 3")
WHOLE = plan(rollout(TEXT.replace("max-unavailable = 2", "max-unavailable = 1")), inventory(40))


class Failing:
    """A store that fails now and then: before it has done anything, or after it has, and nobody knows which."""

    def __init__(self, store, chance, share):
        self.store, self.chance, self.share = store, chance, share

    def __getattr__(self, name):
        real = getattr(self.store, name)

        def call(*arguments, **options):
            before, after = self.chance.random() < self.share, self.chance.random() < self.share
            if before:
                raise StateError("lost", found="x", expected="x", action="x")
            done = real(*arguments, **options)
            if after:
                raise StateError("lost", found="x", expected="x", action="x")
            return done

        return call


class Fleet:
    def __init__(self, engine, seed=1, share=0.0, errors=0.001):
        self.engine, self.chance, self.errors = engine, random.Random(seed), errors
        self.store = engine.store()
        self.failing = Failing(self.store, self.chance, share) if share else self.store
        self.told = []
        self.controllers = [self.controller(), self.controller()]
        rows = zip(WHOLE.nodes, WHOLE.stages, strict=True)
        self.followers = [
            Follower("r-1", Member(id=n.id, stage=s), self.failing, lambda goal, _: goal, ttl=2000.0) for n, s in rows
        ]

    def controller(self):
        def measure(asked):
            return Series(treated={"errors": {"n": self.errors}})

        for _ in range(50):
            try:
                return Controller(WHOLE, self.failing, measure=measure, told=self.told.append)
            except StateError:
                continue
        raise AssertionError("the store never answers")

    @property
    def directive(self):
        return directive_of(self.store, "r-1") or Directive(rollout="r-1")

    def command(self, kind, who="alice"):
        send(self.store, "r-1", Command(kind=kind, who=who, order=self.directive.order))

    def turn(self, number, seconds):
        self.engine.wait(seconds)
        for each in (self.controllers[number], *self.followers, self.controllers[number]):
            try:
                each.turn(self.engine.clock()) if isinstance(each, Controller) else each.turn()
            except StateError:
                continue

    def conditions(self):
        return {follower.member.condition for follower in self.followers}

    def run(self, turns=60, seconds=450.0):
        for number in range(turns):
            self.turn(number % 2, seconds)
            directive = self.directive
            if directive.passed and directive.phase == "running":
                self.command("promote")
            if directive.phase in ("complete", "reverted"):
                break
        return self.directive.phase


@pytest.fixture
def engine(tmp_path):
    made = OnDisk(tmp_path)
    yield made
    made.close()


def test_all_the_way_with_two_controllers_that_take_turns(engine):
    fleet = Fleet(engine)
    assert fleet.run(turns=2) == "planned"
    fleet.command("start")
    assert fleet.run() == "complete"
    assert fleet.conditions() == {"applied"}
    assert fleet.store.entries(commands_of("r-1")) == []


def test_harm_is_taken_back_everywhere(engine):
    fleet = Fleet(engine, errors=0.5)
    fleet.command("start")
    assert fleet.run() == "reverted"
    assert fleet.directive.why == "errors is 0.5, at most 0.01 is allowed"
    assert fleet.conditions() == {"original"}


def test_while_one_holds_the_lease_the_other_does_nothing(engine):
    fleet = Fleet(engine)
    one, other = fleet.controllers
    assert one.turn(0.0) is not None
    assert other.turn(0.0) is None
    one.release()
    assert other.turn(0.0) is not None


def test_a_flag_is_for_one_rollout(engine):
    store = engine.store()
    store.put(flag_key("CVE-2026-1234"), b"r-0", expected=0)
    with pytest.raises(RolloutError) as caught:
        Controller(WHOLE, store, measure=lambda _: Series(treated={}))
    assert caught.value.found
    assert [entry.key for entry in store.entries("")] == ["flags/CVE-2026-1234"]


def test_what_cannot_be_read_is_told_and_is_nothing(engine):
    fleet = Fleet(engine)
    for key in (node_key("r-1", "n1"), command_key("r-1", "x")):
        fleet.store.put(key, b'{"type": "report"}', expected=None)
    fleet.controllers[0].turn(0.0)
    assert [told.what for told in fleet.told] == ["unreadable", "unreadable"]
    assert fleet.directive == Directive(rollout="r-1")


def test_a_directive_that_cannot_be_read_stops_everything_and_changes_nothing(engine):
    fleet = Fleet(engine)
    fleet.command("start")
    fleet.turn(0, 1.0)
    fleet.store.put(directive_key("r-1"), b"{}", expected=None)
    kept = [follower.member for follower in fleet.followers]
    for each in fleet.followers:
        with pytest.raises(StateError, match="cannot be read"):
            each.turn()
    assert [follower.member for follower in fleet.followers] == kept
    engine.wait(60)
    with pytest.raises(StateError):
        fleet.controllers[1].turn(60.0)


def test_a_node_that_cannot_do_it_tries_again(engine):
    fleet = Fleet(engine)
    fleet.command("start")
    fleet.controllers[0].turn(0.0)
    number = WHOLE.stages.index(0)
    first = fleet.followers[number]

    def fail(goal, directive):
        raise OSError("full")

    broken = Follower("r-1", first.member, fleet.store, fail, ttl=60.0)
    with pytest.raises(OSError, match="full"):
        broken.turn()
    assert broken.member == first.member
    assert first.turn() == "applied"


@settings(max_examples=2, deadline=None, phases=[Phase.generate])
@given(seed=st.integers(0, 10_000), errors=st.sampled_from([0.001, 0.5]), abort=st.booleans())
def test_a_store_that_fails_changes_no_ending(tmp_path_factory, seed, errors, abort):
    endings(tmp_path_factory.mktemp("store"), seed, errors, abort)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10_000), errors=st.sampled_from([0.001, 0.5]), abort=st.booleans())
def test_a_store_that_fails_changes_no_ending_many_times(tmp_path_factory, seed, errors, abort):
    endings(tmp_path_factory.mktemp("store"), seed, errors, abort)


def endings(folder, seed, errors, abort):
    engine = OnDisk(folder)
    fleet = Fleet(engine, seed=seed, share=0.05, errors=errors)
    fleet.command("start")
    fleet.run(turns=fleet.chance.randrange(1, 25))
    fleet.controllers[fleet.chance.randrange(2)] = fleet.controller()  # one has died
    if abort:
        send(fleet.store, "r-1", Command(kind="abort", who="anybody"))
    fleet.failing.share = 0.0
    phase = fleet.run(turns=120)
    if fleet.directive.paused:
        fleet.command("resume")
        phase = fleet.run(turns=120)
    assert phase in ("complete", "reverted"), fleet.directive
    fleet.turn(0, 1.0)
    assert fleet.conditions() == ({"applied"} if phase == "complete" else {"original"})
    assert phase == "reverted" or errors < 0.01
    engine.close()


def test_the_same_on_a_nats_server(nats_server):
    engine = OnServer(nats_server)
    fleet = Fleet(engine, errors=0.5)
    fleet.command("start")
    assert fleet.run() == "reverted"
    assert fleet.conditions() == {"original"}
    engine.close()


# What stands in the store


DIRECTIVE = Directive(
    rollout="r-1", revision=7, order=3, phase="running", paused=True, opened=2, attempt=1,
    began=1_795_000_000.125, look=1, spent=0.25, passed=True, height=99, why="because of ä [and more {[",
)  # fmt: skip


def test_what_is_written_is_read_again():
    read = directive_in(encoded(DIRECTIVE), "r-1")
    assert read == Directive(
        **{**{n: getattr(DIRECTIVE, n) for n in Directive.__slots__}, "why": "because of \\xe4 [and more {["}
    )
    plain = Directive(rollout="r-1")
    assert directive_in(encoded(plain), "r-1") == plain
    report = Report(node="ä", sequence=1, order=-1, condition="failed", why="refused", height=7)
    assert report_in(encoded(report), "ä") == report
    command = Command(kind="abort", who="alice", why="x")
    assert command_in(encoded(command)) == command


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"r-1"', b'"r-2"'),
        (b'"running"', b'"walking"'),
        (b'"opened":2', b'"opened":-2'),
        (b'"opened":2', b'"opened":2.5'),
        (b'"opened":2', b'"opened":true'),
        (b'"opened":2', b'"opened":2,"opened":3'),
        (b'"opened":2', b'"opened":2,"more":3'),
        (b'"opened":2,', b""),
        (b'"format":1', b'"format":2'),
        (b'"directive"', b'"report"'),
        (b'"paused":true', b'"paused":1'),
        (b'"spent":250000', b'"spent":1000001'),
        (b'"because', b'"\xff'),
        (b'"because', b'"' + b"x" * 5000),
    ],
)
def test_a_directive_is_read_strictly(old, new):
    data = encoded(DIRECTIVE)
    assert old in data
    with pytest.raises(StateError) as caught:
        directive_in(data.replace(old, new, 1), "r-1")
    assert caught.value.found
    assert caught.value.expected
    assert caught.value.action
