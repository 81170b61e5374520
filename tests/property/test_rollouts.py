"""Whatever the network, the nodes and the controllers do: a rollout ends on all nodes, or on none.

Nodes read any directive that was ever published, in any order; reports are lost, late, in another order, and come
twice; controllers die, and two of them act at once; nodes fail, and are cut off.  Then the network is healed.
"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.fleet.plans import PLAN, inventory, rollout

from livepatch.fleet.controller import State, step
from livepatch.fleet.following import Member, wanted
from livepatch.fleet.planning import plan
from livepatch.fleet.standing import Command, Gone, Judge, Judged, Publish

TEXT = PLAN.replace("max-unavailable = 2", "max-unavailable = 1\nmax-failed = 1").replace("count = 10", "count = 3")
WHOLE = plan(rollout(TEXT + "\n[judging]\nlooks = 2\nnodes = 3\n"), inventory(40))
NODES = range(len(WHOLE.nodes))
NODE = st.sampled_from(NODES)


class Rollouts(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.store = [State.of(WHOLE).directive]  # every directive that was ever published
        self.controllers = [State.of(WHOLE), State.of(WHOLE)]
        self.members = [Member(id=n.id, stage=s) for n, s in zip(WHOLE.nodes, WHOLE.stages, strict=True)]
        self.reading = {}  # what a node that is busy has read
        self.under_way = []  # reports that may come, or never
        self.failing = set()
        self.questions = []

    @initialize(begun=st.sampled_from([True, True, True, False]))
    def it_is_started(self, begun):
        if begun:
            self.see(0, Command(kind="start", who="alice", order=0))

    def see(self, controller, *observed):
        state, actions = step(WHOLE, self.controllers[controller], observed, self.now)
        for action in actions:
            if isinstance(action, Publish):
                if action.directive.revision != self.store[-1].revision + 1:
                    # Compare-and-set has failed: another one was quicker.  It begins anew with what is published.
                    self.controllers[controller] = State.of(WHOLE, self.store[-1])
                    return
                self.store.append(action.directive)
            elif isinstance(action, Judge):
                self.questions.append(action)
        self.controllers[controller] = state

    def read(self, node, directive):
        member, goal = self.members[node].follow(directive)
        self.members[node] = member
        if goal:
            self.reading[node] = directive

    def finish(self, node):
        member = self.members[node]
        if not member.doing:
            return
        failed = node in self.failing and member.doing == "applied"
        attempt = self.reading.pop(node).attempt
        self.members[node] = member.done("failed" if failed else member.doing, attempt=attempt)

    def report(self, node):
        self.members[node], report = self.members[node].report()
        self.under_way.append(report)
        return report

    @rule(minutes=st.sampled_from([0, 1, 10, 15, 30, 70]), controller=st.sampled_from([0, 1]))
    def time_goes_by(self, minutes, controller):
        self.now += 60.0 * minutes
        self.see(controller)

    @rule(
        kind=st.sampled_from(["start", "start", "pause", "resume", "promote", "promote"]),
        who=st.sampled_from(["alice", "alice", "mallory"]),
        data=st.data(),
        controller=st.sampled_from([0, 1]),
    )
    def somebody_commands(self, kind, who, data, controller):
        newest = self.store[-1].order
        order = data.draw(st.sampled_from([newest, newest, max(0, newest - 1)]))
        self.see(controller, Command(kind=kind, who=who, order=order))

    @rule(controller=st.sampled_from([0, 1]))
    def somebody_aborts(self, controller):
        if self.store[-1].opened > 2 or self.now > 6000:
            self.see(controller, Command(kind="abort", who="anybody"))

    @rule(data=st.data(), nodes=st.sets(NODE, max_size=40))
    def nodes_read(self, data, nodes):
        directive = data.draw(st.sampled_from([self.store[-1], self.store[-1], *self.store[-4:]]))
        for node in nodes:
            self.read(node, directive)

    @rule(nodes=st.sets(NODE, max_size=40))
    def nodes_get_ready(self, nodes):
        for node in nodes:
            self.finish(node)

    @rule(nodes=st.sets(NODE, max_size=40))
    def nodes_report(self, nodes):
        for node in nodes:
            self.report(node)

    @rule(data=st.data(), controller=st.sampled_from([0, 1]), again=st.booleans())
    def reports_come(self, data, controller, again):
        if not self.under_way:
            return
        coming = data.draw(st.permutations(range(len(self.under_way))).map(lambda order: order[:12]))
        self.see(controller, *(self.under_way[number] for number in coming))
        if not again:
            self.under_way = [each for number, each in enumerate(self.under_way) if number not in coming]

    @rule()
    def reports_are_lost(self):
        del self.under_way[:]

    @rule(node=NODE, controller=st.sampled_from([0, 1]), behind=st.sampled_from([0, 0, 1]))
    def a_node_is_not_heard_of(self, node, controller, behind):
        self.see(controller, Gone(node=WHOLE.nodes[node].id, sequence=self.members[node].sequence - behind))

    @rule(node=NODE)
    def a_node_cannot_take_it(self, node):
        self.failing.add(node)

    @rule(controller=st.sampled_from([0, 1]))
    def a_controller_dies(self, controller):
        self.controllers[controller] = State.of(WHOLE, self.store[-1])

    @rule(verdict=st.sampled_from(["fine", "fine", "fine", "wait", "bad"]), controller=st.sampled_from([0, 1]))
    def an_answer_comes(self, verdict, controller):
        if self.questions:
            asked = self.questions[-1]
            self.see(controller, Judged(opened=asked.opened, look=asked.look, verdict=verdict))

    @invariant()
    def directives_only_go_forward(self):
        for older, newer in itertools.pairwise(self.store[-3:]):
            assert newer.revision == older.revision + 1
            assert newer.order >= older.order
            assert newer.opened >= older.opened
            if older.phase in ("aborting", "reverted"):
                assert newer.phase in ("aborting", "reverted")

    @invariant()
    def no_node_has_it_whose_turn_has_not_come(self):
        opened = self.store[-1].opened
        for member in self.members:
            assert member.condition != "applied" or member.stage < opened

    @invariant()
    def an_ending_is_no_ending_before_all_are_there(self):
        if self.store[-1].phase == "reverted":
            assert all(member.condition != "applied" and not member.doing for member in self.members)
        if self.store[-1].phase == "complete":
            assert all(member.condition == "applied" for member in self.members)

    def a_good_hour(self, nodes=NODES):
        """These nodes are reached and answer, and what is asked is answered well."""
        self.now += 600.0
        del self.questions[:]
        for node in nodes:
            self.finish(node)
            self.read(node, self.store[-1])
            self.finish(node)
        self.controllers[0] = State.of(WHOLE, self.store[-1])  # what the other one has published, it reads
        self.see(0, *map(self.report, NODES))
        if self.store[-1].passed:
            self.see(0, Command(kind="promote", who="alice", order=self.store[-1].order))
        self.see(0)
        for asked in self.questions:
            self.see(0, Judged(opened=asked.opened, look=asked.look, verdict="fine"))

    @rule(hours=st.integers(1, 8), missing=st.sets(NODE, max_size=1))
    def it_goes_well_for_a_while(self, hours, missing):
        for _ in range(hours):
            self.a_good_hour([node for node in NODES if node not in missing])

    def teardown(self):
        """The network is healed, and everybody goes on: it ends."""
        self.failing.clear()
        del self.under_way[:]
        for _ in range(60):
            if self.store[-1].phase in ("complete", "reverted", "planned"):
                break
            self.a_good_hour()
            if self.store[-1].paused or any(member.condition == "failed" for member in self.members):
                self.see(0, Command(kind="resume", who="alice", order=self.store[-1].order))
        assert self.store[-1].phase in ("complete", "reverted", "planned"), self.store[-1]
        self.an_ending_is_no_ending_before_all_are_there()
        for node in NODES:  # whoever was cut off reads the last word now
            self.finish(node)
            self.read(node, self.store[-1])
            self.finish(node)
            goal = wanted(self.store[-1], self.members[node].stage, consensus=False)
            assert self.members[node].condition in (goal, "failed")


TestRollouts = Rollouts.TestCase
TestRollouts.settings = settings(
    max_examples=20, stateful_step_count=30, deadline=None, phases=[Phase.explicit, Phase.generate]
)


@pytest.mark.slow
class TestManyRollouts(Rollouts.TestCase):
    settings = settings(max_examples=400, stateful_step_count=60, deadline=None)
