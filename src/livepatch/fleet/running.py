"""A rollout on a real store: the controller's turn, and a node's.

Both are called again and again by whoever runs them, and both may be killed at any moment: what counts is in the store.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

from livepatch.errors import RolloutError, StateError
from livepatch.fleet.chronicle import keep_judgement, keep_passed
from livepatch.fleet.controller import State, step
from livepatch.fleet.following import Member, Wanted
from livepatch.fleet.judging import Series, judge
from livepatch.fleet.keys import (
    command_key,
    commands_of,
    directive_key,
    flag_key,
    heard_of,
    lease_key,
    measured_of,
    node_key,
    retired_key,
)
from livepatch.fleet.measured import averages, series_of
from livepatch.fleet.planning import Planned
from livepatch.fleet.standing import (
    Command,
    Condition,
    Directive,
    Gone,
    Height,
    Judge,
    Observation,
    Publish,
    Report,
    Retire,
    Tell,
)
from livepatch.fleet.state import ABSENT, Entry, Lease, Store
from livepatch.fleet.wire import command_in, directive_in, encoded, report_in, retired_in

__all__ = ["LEASE", "Controller", "Follower", "directive_of", "retire", "send"]

LEASE = 15.0
"""Seconds for which a controller that is not heard of any more keeps others from acting."""


def directive_of(store: Store, rollout: str) -> Directive | None:
    """How a rollout stands; ``None`` if nobody has started it.  Raises :class:`StateError`."""
    entry = store.get(directive_key(rollout))
    return None if entry is None or entry.value is None else directive_in(entry.value, rollout)


def send(store: Store, rollout: str, command: Command) -> None:
    """Tell the controllers of a rollout what is wanted.  Raises :class:`StateError`."""
    store.put(command_key(rollout, secrets.token_hex(8)), encoded(command), expected=ABSENT)


def retire(store: Store, rollout: str, node: str, who: str) -> None:
    """Say that a node does not exist any more, so that a rollout ends without it.  Raises :class:`StateError`."""
    store.put(retired_key(rollout, node), encoded(Retire(node=node, who=who)), expected=None)


class Controller:
    """One of any number of controllers of a rollout: whichever holds the lease, of `lease` seconds, acts.

    `measure` gives what nodes have measured over the time of a look, by default what they have published in the store;
    `told` is handed what people should know.  Raises :class:`RolloutError` if another rollout has used the flag.
    """

    def __init__(
        self,
        planned: Planned,
        store: Store,
        *,
        measure: Callable[[Judge], Series] | None = None,
        told: Callable[[Tell], None] = lambda _: None,
        lease: float = LEASE,
    ) -> None:
        self._planned = planned
        self._rollout = planned.rollout.id
        self._store = store
        self._measure = measure or self._measured
        self._told = told
        self._lease = Lease(store, lease_key(self._rollout), secrets.token_hex(8), ttl=lease)
        self._renewing = lease / 3
        self._renewed: float | None = None
        self._nodes = {node_key(self._rollout, node.id): node.id for node in planned.nodes}
        self._retired = {retired_key(self._rollout, node.id): node.id for node in planned.nodes}
        self._sources = {measured_of(self._rollout, node.id): node.id for node in planned.nodes}
        self._commands = commands_of(self._rollout)
        self._heights: dict[str, int] = {}
        self._judged: list[Observation] = []
        self._state: State | None = None
        self._published = ABSENT
        self._seen = 0
        self._claim(planned.rollout.patch.flag)

    def turn(self, now: float) -> Directive | None:
        """Take in what has changed, and do what follows.  How the rollout stands; ``None`` while another one acts.

        `now` is in seconds of the epoch.  Call it every few seconds.  Raises :class:`StateError` if the store cannot be
        used, and :class:`PolicyError` if nodes cannot be compared here; the next turn goes on from what is published.
        """
        try:
            if not self._acting(now):
                self._state = None
                return None
            return self._turn(now)
        except BaseException:
            self._state = self._renewed = None
            raise

    def release(self) -> None:
        """Let another controller act at once."""
        self._state = self._renewed = None
        self._lease.release()

    def _acting(self, now: float) -> bool:
        """Whether the lease is held; it is renewed long before it ends, and not at every turn."""
        if self._renewed is not None and 0 <= now - self._renewed < self._renewing:
            return True
        self._renewed = now if self._lease.acquire() else None
        return self._renewed is not None

    def _turn(self, now: float) -> Directive | None:
        state = self._state or self._taken_over(now)
        changes = self._store.changes(heard_of(self._rollout), self._seen)
        commands = [entry.key for entry in changes if entry.value and entry.key.startswith(self._commands)]
        observed = [*self._judged, *(each for entry in changes for each in self._observed(entry, state))]
        new, actions = step(self._planned, state, [*observed, *self._height()], now)
        for action in actions:
            if isinstance(action, Publish):
                revision = self._store.put(
                    directive_key(self._rollout), encoded(action.directive), expected=self._published
                )
                if revision is None:
                    self._state = self._renewed = None  # another one was quicker; begin anew with what it has published
                    return None
                self._published = revision
                keep_passed(self._store, action.directive, now)
        self._state, self._judged = new, []
        self._seen = max([self._seen, *(entry.revision for entry in changes)])
        for key in commands:
            self._store.delete(key, expected=None)
        for action in actions:
            if isinstance(action, Judge):
                judgement = judge(self._planned.rollout, action, self._measure(action))
                keep_judgement(self._store, self._rollout, judgement, now)
                self._judged.append(judgement.observed())
            elif isinstance(action, Tell):
                self._told(action)
        return new.directive

    def _taken_over(self, now: float) -> State:
        entry = self._store.get(directive_key(self._rollout))
        self._published, self._seen, self._judged = (entry.revision if entry else ABSENT), 0, []
        directive = directive_in(entry.value, self._rollout) if entry and entry.value else None
        if directive is not None:
            keep_passed(self._store, directive, now)  # the one that has published it may have died before it could
        return State.of(self._planned, directive)

    def _observed(self, entry: Entry, state: State) -> list[Observation]:
        """What a change in the store says; what cannot be read is told, and is nothing."""
        node, retired = self._nodes.get(entry.key), self._retired.get(entry.key)
        try:
            if node is not None and entry.value is None:
                return [Gone(node=node, sequence=state.book.seen[self._planned.index[node]].sequence)]
            if node is not None and entry.value is not None:
                return [self._noted(report_in(entry.value, node))]
            if retired is not None and entry.value is not None:
                return [retired_in(entry.value, retired)]
            if entry.key.startswith(self._commands) and entry.value is not None:
                return [command_in(entry.value)]
        except StateError as error:
            self._told(Tell(what="unreadable", about={"key": entry.key, "found": error.found}))
        return []

    def _noted(self, report: Report) -> Report:
        if report.height is not None:
            self._heights[report.node] = report.height
        return report

    def _height(self) -> Iterator[Height]:
        """How high the chain is: as high as nodes with half of the weight that has spoken say, or higher."""
        if self._planned.rollout.activation is None or not self._heights:
            return
        told = [
            (height, self._planned.nodes[self._planned.index[node]].weight) for node, height in self._heights.items()
        ]
        half, above = sum(weight for _, weight in told) / 2, 0.0
        for height, weight in sorted(told, reverse=True):
            above += weight
            if above >= half and above > 0:
                yield Height(height=height)
                return

    def _measured(self, asked: Judge) -> Series:
        """What the nodes have published of that time; those that have failed, or went back, are on neither side."""
        assert self._state is not None
        sides: tuple[list[tuple[str, dict[str, float]]], list[tuple[str, dict[str, float]]]] = ([], [])
        for entry in self._store.entries(measured_of(self._rollout)):
            node = self._sources.get(entry.key)
            if node is None or entry.value is None:
                continue
            index = self._planned.index[node]
            is_open, seen = self._planned.stages[index] < asked.opened, self._state.book.seen[index]
            if seen.retired or seen.condition != ("applied" if is_open else "original"):
                continue
            try:
                sides[not is_open].append((node, averages(entry.value, asked.since, asked.until)))
            except StateError as error:
                self._told(Tell(what="unreadable", about={"key": entry.key, "found": error.found}))
        return series_of(*sides)

    def _claim(self, flag: str) -> None:
        """A flag is for one rollout, for ever."""
        key, mine = flag_key(flag), self._rollout.encode()
        if self._store.put(key, mine, expected=ABSENT) is None:
            entry = self._store.get(key)
            if entry is None or entry.value != mine:
                raise RolloutError(
                    f"rollout {self._rollout} must not start: a flag is for one rollout",
                    found=f"flag {flag}, which another rollout has used",
                    expected="a flag that no rollout has used",
                    action="build the patch with another --flag, and give this rollout a new id",
                )


class Follower:
    """A node's part: it reads the directive, does what it says, and reports.

    `do` applies, arms or takes back the patch, whatever that takes, and returns how the node stands then: ``"failed"``
    if it could not.  `member` is what the node has kept from before; keep :attr:`member` on disk after every turn.
    A report lives for `ttl` seconds; then the node is taken for gone.
    """

    def __init__(
        self, rollout: str, member: Member, store: Store, do: Callable[[Wanted, Directive], Condition], *, ttl: float
    ) -> None:
        self.member = member
        self._rollout = rollout
        self._store = store
        self._do = do
        self._ttl = ttl

    def turn(self) -> Condition:
        """Follow the newest directive, and report.  Raises :class:`StateError`; then the node stays as it is."""
        directive = directive_of(self._store, self._rollout)
        if directive is not None:
            self.follow(directive)
        self.report()
        return self.member.condition

    def follow(self, directive: Directive) -> None:
        """Do what a directive says.  If that raises, the next one finds the node as it was, and it is tried again."""
        member, goal = self.member.follow(directive)
        if goal:
            member = member.done(self._do(goal, directive), attempt=directive.attempt)
        self.member = member

    def report(self, *, why: str = "", height: int | None = None) -> None:
        """Say how the node stands.  Raises :class:`StateError`."""
        self.member, report = self.member.report(why=why, height=height)
        self._store.put(node_key(self._rollout, self.member.id), encoded(report), expected=None, ttl=self._ttl)
