"""A simulated fleet: the controller, the cohorts, the nodes' part and the judging of a real one, in simulated time.

What is simulated is the rest: the clock, the network, the store, what nodes measure, and what the patch does to them.
Only what changes something is an event, so that a quiet node costs nothing: a report that says what the one before said
is not sent, and a node is taken for gone when the first one would be missed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from livepatch.fleet.clockwork import Clockwork
from livepatch.fleet.controller import State, step
from livepatch.fleet.following import Member
from livepatch.fleet.judging import Series, judge
from livepatch.fleet.planning import Planned
from livepatch.fleet.scenario import Scenario, metrics_for
from livepatch.fleet.simulated import Moment, Outcome, Watch
from livepatch.fleet.standing import Command, Directive, Gone, Height, Judge, Observation, Publish, Report

__all__ = ["simulate"]

_TICK = 30.0  # seconds between two steps of the controller when nothing comes
_BATCH = 1.0  # seconds for which it gathers what comes
_LOOKING = 5.0  # seconds that a judgement takes
_MOST_COMPARED = 500  # nodes on either side
_DAY = 86400.0
_HOUR = 3600.0
_ENDINGS = ("complete", "reverted")


def simulate(
    planned: Planned,
    scenario: Scenario,
    *,
    seed: int,
    hours: float = 24 * 7,
    whole: bool = False,
    height: int = 0,
    course: list[Moment] | None = None,
) -> Outcome:
    """Simulate a rollout, from its start to its ending or for so many hours; if `whole`, for all of them.

    A pause is an ending here: nobody resumes.  The same arguments give the same outcome, on every machine.  `height` is
    the chain's at the beginning.  A list as `course` gets what happens, in order.  Raises :class:`PolicyError` if the
    plan compares nodes and scipy is not installed.
    """
    world = _World(planned, scenario, seed, height, course)
    world.begin()
    world.clock.run(hours * _HOUR, (lambda: False) if whole else world.ended)
    return world.watch.outcome(world.state.directive, world.clock.now, world.clock.done)


class _World:
    """All that is simulated.  Nodes go by their index in the plan."""

    def __init__(
        self, planned: Planned, scenario: Scenario, seed: int, height: int, course: list[Moment] | None = None
    ) -> None:
        self.planned, self.scenario, self.network = planned, scenario, scenario.network
        self.clock = Clockwork()
        self.chance = random.Random(f"{seed} world")  # noqa: S311  # a simulation has to be repeatable
        self.state = State.of(planned)
        consensus = planned.rollout.activation is not None
        rows = list(zip(planned.nodes, planned.stages, strict=True))
        self.members = [Member(id=node.id, stage=stage, consensus=consensus) for node, stage in rows]
        self.of_stage: list[list[int]] = [[] for _ in planned.cuts]
        for index, (_, stage) in enumerate(rows):
            self.of_stage[stage].append(index)
        self.byzantine = frozenset(self._drawn(scenario.byzantine))
        self.away: dict[int, int] = {}  # who cannot be reached, and for how many reasons
        self.halted: set[int] = set()
        self.waiting: list[Observation] = []
        self.due = False
        self.first_height = height
        self.metrics = metrics_for(planned.rollout, scenario)
        self.levels = {
            metric.name: [metric.usual * math.exp(self.chance.gauss(0, metric.spread)) for _ in rows]
            for metric in self.metrics
        }
        honest = [index not in self.byzantine for index in range(len(rows))]
        self.watch = Watch(planned, honest=honest, effect=scenario, course=course)

    def _drawn(self, share: float) -> list[int]:
        return self.chance.sample(range(len(self.members)), round(share * len(self.members)))

    def _delay(self) -> float:
        return self.network.delay * math.exp(self.chance.gauss(0, 0.5))

    def begin(self) -> None:
        if self.scenario.away:
            for index in range(len(self.members)):
                self.clock.after(self.chance.expovariate(self.scenario.away / _DAY), self.go_away, index)
        for partition in self.scenario.partitions:
            self.clock.after(partition.begin, self.part, partition.share, partition.length)
        if self.scenario.takeovers:
            self.clock.after(self.chance.expovariate(self.scenario.takeovers / _DAY), self.take_over)
        for index in range(len(self.members)):
            self.send(self.heard, index)
        self.clock.after(0.0, self.tick)
        self.command("start")

    def ended(self) -> bool:
        return self.state.directive.phase in _ENDINGS or self.state.directive.paused

    # The controller

    def see(self, *observed: Observation) -> None:
        """What reaches the controller is gathered for a moment."""
        self.waiting += observed
        if not self.due:
            self.due = True
            self.clock.after(_BATCH, self.turn)

    def tick(self) -> None:
        """Time goes by; once it has ended, nothing is due any more."""
        activation = self.planned.rollout.activation
        self.see(*([Height(height=self.height())] if activation else []))
        if not self.ended():
            self.clock.after(_TICK, self.tick)

    def height(self) -> int:
        its = self.planned.rollout.activation
        return self.first_height + (int(self.clock.now / its.block_seconds) if its else 0)

    def turn(self) -> None:
        self.due, observed, self.waiting = False, self.waiting, []
        before = self.state.directive
        self.state, actions = step(self.planned, self.state, observed, self.clock.now)
        for action in actions:
            if isinstance(action, Publish):
                self.published(before, action.directive)
            elif isinstance(action, Judge):
                self.clock.after(_LOOKING, self.answer, action)

    def take_over(self) -> None:
        """Another controller: it knows the directive, and what the store has of every node."""
        kept = self.state.book.seen
        self.state = State.of(self.planned, self.state.directive)
        for index, node in enumerate(self.planned.nodes):
            seen = kept[index]
            if seen.sequence:
                self.see(Report(node=node.id, sequence=seen.sequence, order=seen.order, condition=seen.condition))
            if seen.gone:
                self.see(Gone(node=node.id, sequence=seen.sequence))
        self.clock.after(self.chance.expovariate(self.scenario.takeovers / _DAY), self.take_over)

    def command(self, kind: str) -> None:
        who = self.planned.rollout.promoters[0]
        made = Command(kind="start" if kind == "start" else "promote", who=who, order=self.state.directive.order)
        self.see(made)

    def published(self, before: Directive, now: Directive) -> None:
        """Whoever has to do something about it is told, or finds out by itself."""
        self.watch.published(before, now, self.clock.now)
        stage = self.planned.rollout.stages[now.opened - 1] if now.opened else None
        if now.passed and not before.passed and stage and stage.promotion == "approved":
            self.clock.after(self.scenario.approval, self.command, "promote")
        if now.order == before.order:
            return
        if now.phase == "aborting" or now.height != before.height or now.attempt != before.attempt:
            reached = [index for its in self.of_stage[: now.opened] for index in its]
        else:
            reached = self.of_stage[now.opened - 1]
        for index in reached:
            self.send(self.read, index)
        if now.height is not None and now.height != before.height:
            its = self.planned.rollout.activation
            assert its is not None
            blocks = max(0, now.height - self.first_height)
            self.clock.after(max(0.0, blocks * its.block_seconds - self.clock.now), self.activate)

    def answer(self, asked: Judge) -> None:
        """Measure, and judge by the code that judges a real fleet."""
        seen = self.state.book.seen
        present = [index for index in range(len(self.members)) if index not in self.away]
        treated = [index for index in present if seen[index].condition == "applied"]
        untreated = [index for index in present if seen[index].condition == "original"]
        sides = [self.measured(side[:_MOST_COMPARED]) for side in (treated, untreated)]
        found = judge(self.planned.rollout, asked, Series(treated=sides[0], untreated=sides[1]))
        self.see(found.observed())

    def measured(self, nodes: list[int]) -> dict[str, dict[str, float]]:
        """What these nodes say, over the time of a look."""
        found: dict[str, dict[str, float]] = {}
        for metric in self.metrics:
            levels, values = self.levels[metric.name], {}
            for index in nodes:
                value = levels[index] * math.exp(self.chance.gauss(0, metric.noise))
                if self.members[index].condition == "applied" and index not in self.byzantine:
                    value *= metric.factor
                if index in self.byzantine:
                    value *= self.chance.choice((0.1, 10.0))
                values[self.members[index].id] = value
            found[metric.name] = values
        return found

    # The network, and nodes that come and go

    def send(self, arrives: Callable[[int], None], index: int) -> None:
        """A message to or from a node.  One that is lost is made good at the next poll."""
        lost = self.chance.random() < self.network.loss
        after = self._delay() + (self.chance.uniform(0, self.network.poll) if lost else 0.0)
        self.clock.after(after, arrives, index)

    def go_away(self, index: int) -> None:
        self.cut(index)
        self.clock.after(self.chance.expovariate(1 / max(self.scenario.absence, 1.0)), self.come_back, index)

    def come_back(self, index: int) -> None:
        self.mend(index)
        self.clock.after(self.chance.expovariate(self.scenario.away / _DAY), self.go_away, index)

    def part(self, share: float, length: float) -> None:
        for index in self._drawn(share):
            self.cut(index)
            self.clock.after(length, self.mend, index)

    def cut(self, index: int) -> None:
        self.away[index] = self.away.get(index, 0) + 1
        if self.away[index] == 1:
            self.clock.after(self.network.ttl, self.missed, index, self.members[index].sequence)

    def missed(self, index: int, sequence: int) -> None:
        if index in self.away and self.members[index].sequence == sequence:
            self.see(Gone(node=self.members[index].id, sequence=sequence))

    def mend(self, index: int) -> None:
        self.away[index] -= 1
        if not self.away[index]:
            del self.away[index]
            self.send(self.read, index)
            self.send(self.heard, index)

    # A node

    def read(self, index: int) -> None:
        """It reads the directive.  One that is cut off does so when it is back."""
        if index in self.away:
            return
        directive = self.state.directive
        member, goal = self.members[index].follow(directive)
        changed, self.members[index] = member != self.members[index], member
        if goal:
            self.clock.after(self.network.applying, self.finish, index, directive.attempt)
        elif changed:
            self.send(self.heard, index)

    def finish(self, index: int, attempt: int) -> None:
        """It has done what it was doing, though nobody may hear of it, and reads the directive again."""
        member = self.members[index]
        if not member.doing:
            return  # it has been started anew meanwhile
        refuses = member.doing in ("applied", "dormant") and self.chance.random() < self.scenario.effect.refused
        condition = "failed" if refuses else member.doing
        if condition == "armed" and self.height() >= (self.state.directive.height or 0):
            condition = "applied"
        self.become(index, member.done(condition, attempt=attempt))
        if condition == "applied":
            self.suffer(index)
        self.send(self.heard, index)
        self.read(index)

    def become(self, index: int, member: Member) -> None:
        self.members[index] = member
        if index not in self.byzantine:
            self.watch.became(index, member.condition, self.clock.now)

    def suffer(self, index: int) -> None:
        """What the patch does to a node that has it, sooner or later."""
        effect = self.scenario.effect
        if index in self.byzantine:
            return
        for rate, what in ((effect.stops, self.stop), (effect.trips, self.trip)):
            if rate:
                self.clock.after(self.chance.expovariate(rate / _HOUR), what, index)

    def stop(self, index: int) -> None:
        """It stops, and stays so until somebody starts it again; then it runs without the patch."""
        if self.members[index].condition != "applied" or index in self.halted:
            return
        self.halted.add(index)
        self.watch.halted(index, self.clock.now)
        self.cut(index)
        self.clock.after(max(self.scenario.absence, self.network.ttl), self.restart, index)

    def restart(self, index: int) -> None:
        self.halted.discard(index)
        self.watch.started(index, self.clock.now)
        self.become(index, self.members[index].done("failed", attempt=self.state.directive.attempt))
        self.mend(index)

    def trip(self, index: int) -> None:
        """Its own health rules take the patch back."""
        member = self.members[index]
        if member.condition == "applied" and not member.doing and index not in self.halted:
            self.become(index, member.done("failed", attempt=self.state.directive.attempt))
            self.send(self.heard, index)

    def activate(self) -> None:
        """The height is reached: armed nodes change over, whether anybody can reach them or not."""
        if self.state.directive.height is None:
            return
        for index, member in enumerate(self.members):
            if member.condition == "armed" and not member.doing:
                self.become(index, member.done("applied"))
                self.suffer(index)
                self.send(self.heard, index)

    def heard(self, index: int) -> None:
        """Its report arrives, or is made good when it is back."""
        if index not in self.away:
            self.members[index], report = self.members[index].report()
            self.see(report)
