"""A rollout on a real store: the controller's turn, and a node's.

Both are called again and again by whoever runs them, and both may be killed at any moment: what counts is in the store.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from livepatch.errors import RolloutError, StateError
from livepatch.fleet.controller import State, step
from livepatch.fleet.following import Member, Wanted
from livepatch.fleet.judging import Series, judge
from livepatch.fleet.planning import Planned
from livepatch.fleet.standing import Command, Condition, Directive, Gone, Judge, Observation, Publish, Tell
from livepatch.fleet.state import ABSENT, Entry, Lease, Store, key_of
from livepatch.fleet.wire import command_in, directive_in, encoded, report_in

__all__ = ["Controller", "Follower", "directive_of", "send"]

_LEASE = 15.0  # seconds


def _key(rollout: str, *names: str) -> str:
    return key_of("rollouts", rollout, *names)


def directive_of(store: Store, rollout: str) -> Directive | None:
    """How a rollout stands; ``None`` if nobody has started it.  Raises :class:`StateError`."""
    entry = store.get(_key(rollout, "directive"))
    return None if entry is None or entry.value is None else directive_in(entry.value, rollout)


def send(store: Store, rollout: str, command: Command) -> None:
    """Tell the controllers of a rollout what is wanted.  Raises :class:`StateError`."""
    store.put(_key(rollout, "commands", secrets.token_hex(8)), encoded(command), expected=ABSENT)


class Controller:
    """One of any number of controllers of a rollout: whichever holds the lease acts.

    `measure` gives what nodes have measured over the time of a look; `told` is handed what people should know.
    Raises :class:`RolloutError` if another rollout has used the flag.
    """

    def __init__(
        self,
        planned: Planned,
        store: Store,
        *,
        measure: Callable[[Judge], Series],
        told: Callable[[Tell], None] = lambda _: None,
    ) -> None:
        self._planned = planned
        self._rollout = planned.rollout.id
        self._store = store
        self._measure = measure
        self._told = told
        self._lease = Lease(store, _key(self._rollout, "lease"), secrets.token_hex(8), ttl=_LEASE)
        self._nodes = {_key(self._rollout, "nodes", node.id): node.id for node in planned.nodes}
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
        if not self._lease.acquire():
            self._state = None
            return None
        try:
            return self._turn(now)
        except BaseException:
            self._state = None
            raise

    def release(self) -> None:
        """Let another controller act at once."""
        self._state = None
        self._lease.release()

    def _turn(self, now: float) -> Directive | None:
        state = self._state or self._taken_over()
        changes = self._store.changes(_key(self._rollout) + "/", self._seen)
        commands = [entry.key for entry in changes if entry.value and "/commands/" in entry.key]
        observed = [*self._judged, *(each for entry in changes for each in self._observed(entry, state))]
        new, actions = step(self._planned, state, observed, now)
        for action in actions:
            if isinstance(action, Publish):
                revision = self._store.put(
                    _key(self._rollout, "directive"), encoded(action.directive), expected=self._published
                )
                if revision is None:
                    self._state = None  # another one was quicker; begin anew with what it has published
                    return None
                self._published = revision
        self._state, self._judged = new, []
        self._seen = max([self._seen, *(entry.revision for entry in changes)])
        for key in commands:
            self._store.delete(key, expected=None)
        for action in actions:
            if isinstance(action, Judge):
                self._judged.append(judge(self._planned.rollout, action, self._measure(action)).observed())
            elif isinstance(action, Tell):
                self._told(action)
        return new.directive

    def _taken_over(self) -> State:
        entry = self._store.get(_key(self._rollout, "directive"))
        self._published, self._seen, self._judged = (entry.revision if entry else ABSENT), 0, []
        directive = directive_in(entry.value, self._rollout) if entry and entry.value else None
        return State.of(self._planned, directive)

    def _observed(self, entry: Entry, state: State) -> list[Observation]:
        """What a change in the store says; what cannot be read is told, and is nothing."""
        node = self._nodes.get(entry.key)
        try:
            if node is not None and entry.value is None:
                return [Gone(node=node, sequence=state.book.seen[self._planned.index[node]].sequence)]
            if node is not None and entry.value is not None:
                return [report_in(entry.value, node)]
            if "/commands/" in entry.key and entry.value is not None:
                return [command_in(entry.value)]
        except StateError as error:
            self._told(Tell(what="unreadable", about={"key": entry.key, "found": error.found}))
        return []

    def _claim(self, flag: str) -> None:
        """A flag is for one rollout, for ever."""
        key, mine = key_of("flags", flag), self._rollout.encode()
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
            member, goal = self.member.follow(directive)
            if goal:  # if that raises, the next turn finds the node as it was, and tries again
                member = member.done(self._do(goal, directive), attempt=directive.attempt)
            self.member = member
        self.member, report = self.member.report()
        key = _key(self._rollout, "nodes", self.member.id)
        self._store.put(key, encoded(report), expected=None, ttl=self._ttl)
        return self.member.condition
