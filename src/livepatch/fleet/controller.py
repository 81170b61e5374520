"""The controller: what follows from what is observed.  One pure step, which costs what the changed nodes cost.

Any number of processes may run it; one of them holds the lease and publishes.  Whatever comes twice, late or in another
order changes nothing: reports have sequences, answers name what was asked, commands name the order that they are about.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from livepatch.errors import counted
from livepatch.fleet.counting import Book, Seen, Tally
from livepatch.fleet.planning import Planned
from livepatch.fleet.standing import (
    Action,
    Command,
    Directive,
    Gone,
    Height,
    Judge,
    Judged,
    Observation,
    Publish,
    Report,
    Retire,
    Tell,
)

__all__ = ["State", "step"]

_ASK_AGAIN = 30.0  # seconds after which a question is put again
_TOLERANCE = 1e-9  # of weight and time: both are floats
_TO_GO_ON = ("start", "resume", "promote")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How a rollout stands, for a controller: the directive, the nodes, the chain's height, and what it has asked.

    One that takes over begins with the published directive, and is told of the nodes by their reports again.  Nothing
    goes on before it has heard of the nodes: each has to report once.
    """

    directive: Directive
    book: Book
    height: int = -1
    asked: tuple[int, int, float] | None = None

    @classmethod
    def of(cls, planned: Planned, directive: Directive | None = None) -> State:
        """Nothing is known of the nodes yet.  Without a published directive the rollout has not begun."""
        directive = directive or Directive(rollout=planned.rollout.id)
        book = Book.opened(planned)
        if directive.phase in ("aborting", "reverted"):
            book = book.taking_back(directive.order)
        return cls(directive=directive, book=book)


def step(
    planned: Planned, state: State, observations: Iterable[Observation], now: float
) -> tuple[State, tuple[Action, ...]]:
    """What the state becomes, and what is to be done.  `now` is in seconds of the epoch.

    What is given stays as it is.  Actions may be repeated by later steps; doing one twice is harmless.
    """
    turn = _Turn(planned, state, now)
    reports = []
    for observation in observations:
        if isinstance(observation, (Report, Gone, Retire)):
            reports.append(observation)
        else:
            turn.note_nodes(reports)
            reports = []
            turn.note(observation)
    turn.note_nodes(reports)
    for _ in range(2 * len(planned.cuts) + 4):  # each stage is opened and reached at most once
        before = turn.directive
        turn.go_on()
        if turn.directive == before:
            break
    return turn.ended(state)


class _Turn:
    """One step, while it is taken."""

    def __init__(self, planned: Planned, state: State, now: float) -> None:
        self.planned = planned
        self.rollout = planned.rollout
        self.directive = state.directive
        self.book = state.book
        self.height = state.height
        self.asked = state.asked
        self.now = now
        self.actions: list[Action] = []

    def ended(self, state: State) -> tuple[State, tuple[Action, ...]]:
        directive = self.directive
        if directive != state.directive:
            directive = replace(directive, revision=state.directive.revision + 1)
            self.actions.insert(0, Publish(directive=directive))
        new = State(directive=directive, book=self.book, height=self.height, asked=self.asked)
        return new, tuple(self.actions)

    def tell(self, what: str, /, **about: object) -> None:
        self.actions.append(Tell(what=what, about=about))

    # What is observed

    def note_nodes(self, observed: list[Report | Gone | Retire]) -> None:
        changed: dict[int, Seen] = {}
        for each in observed:
            index = self.planned.index.get(each.node)
            if index is None:
                self.tell("unknown node", node=each.node)
                continue
            seen = changed.get(index, self.book.seen[index])
            if seen.retired:
                continue
            if isinstance(each, Retire):
                if self.permitted(each.who, "retire"):
                    changed[index] = replace(seen, retired=True)
            elif isinstance(each, Gone):
                if each.sequence >= seen.sequence:
                    changed[index] = replace(seen, sequence=each.sequence, gone=True)
            elif each.sequence > seen.sequence:
                # A node that is told of two orders says the newest, so what it says is about all before.
                changed[index] = Seen(sequence=each.sequence, order=each.order, condition=each.condition)
        self.book = self.book.noted(changed.items(), self.planned)

    def note(self, observed: Command | Judged | Height | Observation) -> None:
        if isinstance(observed, Command):
            self.command(observed)
        elif isinstance(observed, Judged):
            self.judged(observed)
        elif isinstance(observed, Height):
            self.height = max(self.height, observed.height)

    def permitted(self, who: str, what: str) -> bool:
        if who in self.rollout.promoters:
            return True
        self.tell("not permitted", who=who, what=what, expected=" or ".join(self.rollout.promoters))
        return False

    def command(self, given: Command) -> None:
        directive = self.directive
        if given.kind == "abort":
            self.abort(f"{given.who}: {given.why or 'no reason given'}")
            return
        if given.order != directive.order:
            self.tell(
                "command came too late", command=given.kind, who=given.who, order=given.order, now=directive.order
            )
            return
        if given.kind in _TO_GO_ON and not self.permitted(given.who, given.kind):
            return
        live = directive.phase in ("running", "finishing")
        if given.kind == "start" and directive.phase == "planned":
            self.open_next()
        elif given.kind == "pause" and live:
            self.pause(f"{given.who}: {given.why or 'no reason given'}")
        elif given.kind == "resume" and live:
            began = self.now if directive.since is None else directive.began
            self.order(paused=False, attempt=directive.attempt + 1, began=began, why=f"resumed by {given.who}")
        elif given.kind == "promote" and directive.phase == "running" and directive.passed and not directive.paused:
            self.promote()
        else:
            self.tell("command does not fit", command=given.kind, who=given.who, phase=directive.phase)

    def judged(self, given: Judged) -> None:
        directive = self.directive
        if directive.phase != "running" or directive.since is None:
            return
        if given.opened != directive.opened or given.look <= directive.look:
            return
        spent = max(directive.spent, given.spent)
        self.directive = replace(directive, look=given.look, spent=spent)
        if given.verdict == "bad" and given.on_failure == "abort":
            self.abort(given.why)
        elif given.verdict == "bad":
            self.pause(given.why)
        elif given.verdict == "fine":
            self.directive = replace(self.directive, passed=given.look >= self.rollout.judging.looks)

    # What follows from it

    def go_on(self) -> None:
        phase = self.directive.phase
        if phase == "aborting":
            there = self.book.over(self.directive.opened)
            if there.back == there.size:
                self.directive = replace(self.directive, phase="reverted")
        elif phase == "running":
            self.consensus() if self.rollout.activation else self.running()
        elif phase in ("finishing", "complete"):
            self.finishing()

    def harmed(self, there: Tally) -> bool:
        """Whether more nodes have failed than may, so that the rollout is aborted."""
        if there.failed <= self.rollout.max_failed:
            return False
        self.abort(f"{counted(there.failed, 'node')} failed, {self.rollout.max_failed} may")
        return True

    def running(self) -> None:
        directive, there = self.directive, self.book.over(self.directive.opened)
        if self.harmed(there):
            return
        if there.gone > self.rollout.max_unavailable:
            # Whether the patch has stopped them or the network has: nobody knows, and unknown is no.
            self.abort(
                f"{counted(there.gone, 'node')} of the open stages unavailable, {self.rollout.max_unavailable} may be"
            )
            return
        if directive.since is None:
            self.reach(reached=not there.waiting)
            return
        if directive.passed:
            stage = self.rollout.stages[directive.opened - 1]
            fleet = self.book.over(len(self.planned.cuts))
            # One that has just taken over has not heard of those that are gone either.
            held = fleet.gone + fleet.unheard > self.rollout.max_unavailable
            if stage.promotion == "automatic" and not directive.paused and not held:
                self.promote()
            return
        self.ask()

    def reach(self, *, reached: bool) -> None:
        directive = self.directive
        assert directive.began is not None
        if reached:
            self.directive = replace(directive, since=self.now)
        elif self.now > directive.began + self.rollout.reach and not directive.paused:
            self.pause("some nodes of the stage have not got the patch in time")

    def ask(self) -> None:
        """Put the question of the newest look that is due."""
        directive, looks = self.directive, self.rollout.judging.looks
        assert directive.since is not None
        every = self.rollout.stages[directive.opened - 1].soak / looks
        due = math.floor((self.now - directive.since) / every + _TOLERANCE)
        if due <= directive.look:
            return
        if self.asked and self.asked[:2] == (directive.opened, due) and self.now < self.asked[2] + _ASK_AGAIN:
            return
        self.asked = (directive.opened, due, self.now)
        until = directive.since + every * due
        asked = Judge(
            opened=directive.opened,
            look=due,
            looks=looks,
            spent=directive.spent,
            since=directive.since,
            until=until,
        )
        self.actions.append(asked)

    def consensus(self) -> None:
        """A dormant change: ready by weight, then armed with its height, then beyond the point of no return."""
        directive, its, there = self.directive, self.rollout.activation, self.book.over(len(self.planned.cuts))
        assert its is not None
        enough = its.readiness * there.weight * (1 - _TOLERANCE)
        if directive.height is not None and self.height >= its.height:
            self.directive = replace(directive, phase="finishing")  # some have changed over already
        elif self.harmed(there):
            return
        elif self.height >= its.height - its.margin:
            if directive.height is not None and there.armed >= enough:
                self.directive = replace(directive, phase="finishing")
            else:
                share = there.armed / there.weight if there.weight else 0.0
                self.abort(
                    f"at height {self.height} {share:.1%} of the weight was ready, {its.readiness:.1%} has to be"
                )
        elif directive.since is None:
            self.reach(reached=there.ready >= enough and there.weight > 0)
        elif directive.height is None and not directive.paused:
            stage = self.rollout.stages[0]
            passed = self.now >= directive.since + stage.soak and there.ready >= enough
            self.directive = replace(directive, passed=passed)
            if passed and stage.promotion == "automatic":
                self.promote()

    def finishing(self) -> None:
        there = self.book.over(len(self.planned.cuts))
        if self.rollout.activation is None and self.harmed(there):
            return
        before = self.directive.phase == "complete"  # and one that has just taken over has heard of nobody
        done = there.applied + (there.unheard if before else 0) == there.size
        self.directive = replace(self.directive, phase="complete" if done else "finishing")

    # What is done about it

    def order(self, **changes: object) -> None:
        """Change what nodes have to follow."""
        self.directive = replace(self.directive, order=self.directive.order + 1, **changes)  # type: ignore[arg-type]

    def open_next(self) -> None:
        self.order(
            phase="running",
            opened=self.directive.opened + 1,
            began=self.now,
            since=None,
            look=0,
            spent=0.0,
            passed=False,
            why="",
        )

    def promote(self) -> None:
        its = self.rollout.activation
        if its is not None:
            if self.directive.height is None:
                self.order(height=its.height)
        elif self.directive.opened < len(self.planned.cuts):
            self.open_next()
        else:
            self.directive = replace(self.directive, phase="finishing", why="")

    def pause(self, why: str) -> None:
        self.directive = replace(self.directive, paused=True, why=why)

    def abort(self, why: str) -> None:
        phase = self.directive.phase
        if phase in ("aborting", "reverted"):
            return
        its, chosen = self.rollout.activation, self.directive.height
        if its and (phase in ("finishing", "complete") or (chosen is not None and self.height >= chosen)):
            self.tell("too late to abort", why=why, expected="another activation that undoes it, at a later height")
            return
        self.order(phase="aborting", paused=False, why=why)
        self.book = self.book.taking_back(self.directive.order)
