"""The controller, step by step: a pure function, so these tests hold the clock and the network."""

from __future__ import annotations

import dataclasses

import pytest
from tests.fleet.plans import CONSENSUS, PLAN, inventory, planned, rollout

from livepatch.fleet.controller import State, step
from livepatch.fleet.following import Member
from livepatch.fleet.planning import plan
from livepatch.fleet.standing import Command, Directive, Gone, Height, Judge, Judged, Publish, Report, Retire, Tell

WHOLE = planned()
SOAK = 1800.0


class Run:
    """A rollout in which every node does at once what it is told, until a test says otherwise."""

    def __init__(self, whole=WHOLE):
        self.whole, self.now, self.state = whole, 0.0, State.of(whole)
        consensus = whole.rollout.activation is not None
        self.members = {n.id: Member(id=n.id, stage=s, consensus=consensus)
                        for n, s in zip(whole.nodes, whole.stages, strict=True)}  # fmt: skip
        self.told, self.asked, self.deaf, self.failing = [], [], set(), set()

    @property
    def directive(self):
        return self.state.directive

    def see(self, *observed):
        before = self.state.directive
        self.state, actions = step(self.whole, self.state, observed, self.now)
        self.told += [action for action in actions if isinstance(action, Tell)]
        self.asked += [action for action in actions if isinstance(action, Judge)]
        published = [action.directive for action in actions if isinstance(action, Publish)]
        assert published == ([self.state.directive] if before != self.state.directive else [])
        assert self.state.directive.revision == before.revision + len(published)
        return actions

    def command(self, kind, who="alice", **more):
        return self.see(Command(kind=kind, who=who, order=self.directive.order, **more))

    def follow(self, names=None):
        for name in names or self.members:
            if name in self.deaf:
                continue
            member, goal = self.members[name].follow(self.directive)
            if goal:
                failed = name in self.failing and goal == "applied"
                member = member.done("failed" if failed else goal, attempt=self.directive.attempt)
            self.members[name], report = member.report()
            self.see(report)

    def soak(self, verdict="fine", looks=4, **more):
        for _ in range(looks):
            self.now += SOAK / 4
            del self.asked[:]
            self.see()
            for question in self.asked:
                self.see(Judged(opened=question.opened, look=question.look, verdict=verdict, **more))

    def start(self):
        self.command("start")
        self.follow()
        return self

    def conditions(self):
        return {member.condition for member in self.members.values()}

    def of_stage(self, number):
        return [n for n, m in self.members.items() if m.stage == number]


def test_all_the_way():
    run = Run()
    assert run.see() == ()
    run.start()
    assert (run.directive.phase, run.directive.opened) == ("running", 1)
    assert sum(m.condition == "applied" for m in run.members.values()) == 10
    for opened in (2, 3):
        run.soak()
        assert run.directive.opened == opened
        run.follow()
    run.soak()
    assert run.directive.passed  # its promotion is to be approved
    run.soak()
    assert run.directive.opened == 3
    run.command("promote", who="mallory")
    assert (run.directive.opened, run.told[-1].what) == (3, "not permitted")
    run.command("promote", who="bob")
    run.follow()
    run.soak()
    run.follow()
    assert run.directive.opened == 5
    run.soak(looks=8)  # it soaks for twice as long as the others
    assert run.directive.phase == "complete"
    assert run.conditions() == {"applied"}


def test_looks_are_put_once_and_again_if_nobody_answers():
    run = Run().start()
    run.now += SOAK / 4 - 1
    assert run.see() == ()
    run.now += 1
    (question,) = run.see()
    assert (question.look, question.looks, question.since, question.until) == (1, 4, 0.0, SOAK / 4)
    assert run.see() == ()
    run.now += 30
    assert run.see() == (question,)
    run.now = SOAK  # nobody has looked for a long time: only the newest look is of use
    (question,) = run.see()
    assert (question.look, question.until) == (4, SOAK)
    run.see(Judged(opened=1, look=4, verdict="wait"))
    assert not run.directive.passed
    run.now = SOAK * 1.25
    (question,) = run.see()
    assert question.look == 5
    run.see(Judged(opened=1, look=5, verdict="fine", spent=1.0))
    assert run.directive.opened == 2
    assert run.directive.spent == 0.0


def test_an_answer_to_another_question_changes_nothing():
    run = Run().start()
    run.soak(looks=1)
    before = run.state
    run.see(Judged(opened=1, look=1, verdict="bad"), Judged(opened=2, look=4, verdict="bad"))
    assert run.state == before
    run.soak(looks=3)
    opened = run.directive
    assert opened.opened == 2
    run.see(Judged(opened=1, look=5, verdict="bad"))
    assert run.directive == opened


def test_a_bad_verdict_takes_it_back_everywhere():
    run = Run().start()
    run.soak()
    run.follow()
    run.soak("bad", looks=1, why="latency")
    assert (run.directive.phase, run.directive.why) == ("aborting", "latency")
    cut_off = run.of_stage(0)[0]
    run.deaf.add(cut_off)
    run.follow()
    assert run.directive.phase == "aborting"  # one may still have it
    run.see(Gone(node=cut_off, sequence=99))
    assert run.directive.phase == "aborting"
    run.deaf.clear()
    run.follow()
    assert run.members[cut_off].condition == "original"
    run.see(dataclasses.replace(run.members[cut_off].report()[1], sequence=100))
    assert run.directive.phase == "reverted"
    assert run.conditions() == {"original"}
    run.command("resume")
    assert run.directive.phase == "reverted"


def test_a_node_that_never_said_that_it_has_the_patch_has_to_say_that_it_has_not():
    run = Run()
    run.command("start")
    quiet = run.of_stage(0)[0]
    run.members[quiet] = run.members[quiet].follow(run.directive)[0].done("applied")  # and its report is lost
    run.see(Command(kind="abort", who="anybody"))
    run.follow(run.of_stage(0)[1:])
    assert run.directive.phase == "aborting"
    run.follow([quiet])
    assert run.directive.phase == "reverted"


def test_a_late_report_of_before_is_no_answer_to_an_abort():
    run = Run()
    run.command("start")
    first = run.of_stage(0)[0]
    late = Report(node=first, sequence=50, order=run.directive.order, condition="original")
    run.see(Command(kind="abort", who="anybody"), late)
    run.follow(run.of_stage(0)[1:])
    assert run.directive.phase == "aborting"


def test_pause_and_resume():
    run = Run().start()
    run.command("pause", who="anybody", why="dinner")
    assert (run.directive.paused, run.directive.why) == (True, "anybody: dinner")
    run.soak()
    assert (run.directive.opened, run.directive.passed) == (1, True)
    stale = Command(kind="pause", who="anybody", order=run.directive.order)
    run.command("resume", who="mallory")
    assert run.directive.paused
    run.command("resume")
    assert not run.directive.paused
    assert run.directive.opened == 2
    run.see(stale)  # a duplicate that comes late
    assert not run.directive.paused
    assert run.told[-1].what == "command came too late"


def test_a_verdict_may_pause_and_a_pause_does_not_keep_a_bad_one_from_taking_it_back():
    run = Run().start()
    run.soak("bad", looks=1, on_failure="pause", why="budget")
    assert (run.directive.phase, run.directive.paused, run.directive.why) == ("running", True, "budget")
    run.soak("bad", looks=1)
    assert run.directive.phase == "aborting"


def test_a_node_that_fails_is_harm_and_more_than_may_fail_takes_it_back():
    run = Run()
    run.failing.add(run.of_stage(0)[0])
    run.start()
    assert run.directive.phase == "aborting"
    assert run.directive.why == "1 node failed, 0 may"
    run = Run(plan(rollout(PLAN.replace("max-unavailable = 2", "max-unavailable = 2\nmax-failed = 1")), inventory()))
    run.failing.add(run.of_stage(0)[0])
    run.start()
    assert run.directive.since == 0.0
    run.soak()
    run.follow()
    run.soak()
    run.follow()
    run.soak()
    run.command("promote")
    for _ in range(2):
        run.follow()
        run.soak(looks=8)
    run.follow()
    assert run.directive.phase == "finishing"  # never complete while a node is without it
    run.failing.clear()
    run.command("resume")  # failed nodes try again
    run.follow()
    assert run.directive.phase == "complete"


def test_too_many_unavailable():
    run = Run().start()
    outside = run.of_stage(4)[:3]
    run.see(*(Gone(node=name, sequence=5) for name in outside))
    run.soak()
    assert (run.directive.opened, run.directive.passed) == (1, True)  # it does not go on
    run.see(Report(node=outside[0], sequence=6, order=1, condition="original"))
    assert run.directive.opened == 2
    run = Run().start()
    run.see(*(Gone(node=name, sequence=5) for name in run.of_stage(0)[:2]))
    assert run.directive.phase == "running"
    run.see(Gone(node=run.of_stage(0)[2], sequence=5))
    assert run.directive.phase == "aborting"


def test_nobody_waits_for_ever_for_a_stage_and_a_retired_node_counts_nowhere():
    run = Run()
    silent = run.of_stage(0)[0]
    run.deaf.add(silent)
    run.start()
    assert run.directive.since is None
    run.now = 3601.0
    run.see()
    assert run.directive.paused
    run.see(Retire(node=silent, who="mallory"))
    assert run.directive.since is None
    run.see(Retire(node=silent, who="alice"))
    assert run.directive.since == 3601.0
    run.see(Report(node=silent, sequence=9, order=1, condition="failed"))
    assert run.directive.phase == "running"


def test_what_is_gone_comes_back_by_a_newer_report_only():
    run = Run().start()
    name = run.of_stage(0)[0]
    index = WHOLE.index[name]
    run.see(Gone(node=name, sequence=0))
    assert not run.state.book.seen[index].gone  # it was about an older report
    run.see(Gone(node=name, sequence=1))
    assert run.state.book.seen[index].gone
    run.see(Report(node=name, sequence=1, order=1, condition="applied"))
    assert run.state.book.seen[index].gone
    run.see(Report(node=name, sequence=2, order=1, condition="applied"))
    assert not run.state.book.seen[index].gone


def test_an_unknown_node_is_told_and_counts_nowhere():
    run = Run().start()
    before = run.state
    run.see(Report(node="stranger", sequence=1, order=1, condition="failed"))
    assert run.state == before
    assert run.told[-1].what == "unknown node"


def test_a_step_changes_nothing_of_what_it_is_given():
    run = Run()
    before, kept = run.state, list(run.state.book.seen)
    run.start()
    assert list(before.book.seen) == kept
    assert before.directive == Directive(rollout="r-1")


def test_a_controller_that_takes_over_goes_on_from_what_is_published():
    run = Run().start()
    run.soak(looks=2)
    reports = [
        Report(node=m.id, sequence=m.sequence, order=m.order, condition=m.condition) for m in run.members.values()
    ]
    run.state = State.of(WHOLE, run.directive)
    run.see(*reports)
    assert run.directive.look == 2
    run.soak(looks=2)
    assert run.directive.opened == 2
    run.see(Command(kind="abort", who="anybody"))
    run.state = State.of(WHOLE, run.directive)
    run.see(*reports)
    assert run.directive.phase == "aborting"
    run.follow()
    assert run.directive.phase == "reverted"


def test_one_that_takes_over_opens_nothing_before_it_has_heard_of_the_nodes():
    run = Run().start()
    run.see(*(Gone(node=name, sequence=5) for name in run.of_stage(4)[:3]))
    run.soak()
    assert run.directive.passed
    reports = [run.members[name].report()[1] for name in run.members if name not in run.of_stage(4)[:3]]
    run.state = State.of(WHOLE, run.directive)
    run.see()
    assert run.directive.opened == 1
    run.see(*reports)
    assert run.directive.opened == 1  # three are still missing
    run.see(Report(node=run.of_stage(4)[0], sequence=9, order=1, condition="original"))
    assert run.directive.opened == 2


def test_what_is_complete_stays_so_for_one_that_has_heard_of_nobody_and_not_for_one_that_knows_better():
    run = Run()
    complete = Directive(rollout="r-1", phase="complete", opened=5, order=5, revision=9)
    run.state = State.of(WHOLE, complete)
    run.see()
    assert run.directive == complete
    run.see(Report(node="n1", sequence=1, order=5, condition="applied"))
    assert run.directive == complete
    run.see(Report(node="n2", sequence=1, order=5, condition="original"))
    assert run.directive.phase == "finishing"


def test_a_rollout_that_has_not_begun_can_be_aborted():
    run = Run()
    run.command("abort")
    assert run.directive.phase == "reverted"
    run.command("start")
    assert run.directive.phase == "reverted"


def test_a_start_that_comes_twice_starts_once():
    run = Run()
    start = Command(kind="start", who="alice", order=0)
    run.see(start, start)
    assert run.directive.opened == 1


# Consensus


@pytest.fixture
def chain():
    return Run(plan(rollout(CONSENSUS), inventory()))


def test_a_consensus_change_is_dormant_then_armed_then_active_at_its_height(chain):
    chain.start()
    assert chain.conditions() == {"dormant"}
    assert chain.directive.height is None
    chain.now += SOAK
    chain.see(Height(height=1200))
    assert chain.directive.height == 2000
    chain.follow()
    assert chain.conditions() == {"armed"}
    chain.see(Height(height=1899))
    assert chain.directive.phase == "running"
    chain.see(Height(height=1900), Height(height=1000))
    assert chain.directive.phase == "finishing"
    chain.command("abort")
    assert (chain.directive.phase, chain.told[-1].what) == ("finishing", "too late to abort")
    chain.members = {n: m.done("applied") for n, m in chain.members.items()}
    chain.follow()
    assert chain.directive.phase == "complete"


@pytest.mark.parametrize(("silent", "ends"), [(20, "finishing"), (21, "aborting")])
def test_readiness_is_counted_by_weight_before_the_point_of_no_return(chain, silent, ends):
    chain.deaf.update(list(chain.members)[:silent])
    chain.start()
    chain.now += SOAK
    chain.see(Height(height=1800))
    chain.follow()
    chain.see(Height(height=1950))
    assert chain.directive.phase == ends


def test_nodes_that_do_not_know_the_height_are_not_ready(chain):
    chain.start()
    chain.now += SOAK
    chain.see(Height(height=1800))
    chain.deaf.update(list(chain.members)[:21])
    chain.follow()
    chain.see(Height(height=1950))
    assert chain.directive.phase == "aborting"
    assert "89.5% of the weight was ready" in chain.directive.why


def test_after_the_height_nothing_is_taken_back_though_nobody_looked_in_time(chain):
    chain.start()
    chain.now += SOAK
    chain.see(Height(height=1800))
    chain.see(Height(height=2000), Command(kind="abort", who="alice"))
    assert chain.directive.phase == "finishing"


def test_failures_after_the_height_do_not_keep_it_from_ending(chain):
    chain.start()
    chain.now += SOAK
    chain.see(Height(height=1800))
    failed = Report(node=next(iter(chain.members)), sequence=99, order=2, condition="failed")
    chain.see(Height(height=2000), failed)
    assert chain.directive.phase == "finishing"


def test_an_active_node_does_not_follow_a_message_back():
    member = Member(id="n", stage=0, consensus=True, condition="applied")
    assert member.follow(Directive(rollout="r", order=5, phase="aborting", opened=1))[1] is None
