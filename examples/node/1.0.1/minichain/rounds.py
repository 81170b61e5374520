"""How validators agree on a block: rounds of proposal, prevote and precommit, as in Tendermint (arXiv:1807.04938).

A validator that has precommitted to a block is locked on it, and prevotes another one only if more than two thirds
wanted that in a later round.  So two blocks of one height never both become final.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

from minichain.blocks import Block, Committed, Kind, Proposal, Vote
from minichain.consensus import proposer_of, quorum

_AHEAD = 20  # rounds beyond the own one whose votes are kept


class Timer(Protocol):
    """What can be called off."""

    def cancel(self) -> None:
        """Call it off."""


class Outside(Protocol):
    """What the rounds need of the node."""

    def propose(self) -> Block:
        """A block of its own for the height in work."""

    def is_valid(self, block: Block) -> bool:
        """Whether the rules allow it at the height in work."""

    def send(self, message: Proposal | Vote) -> None:
        """Tell all peers."""

    def commit(self, committed: Committed) -> None:
        """It is final."""

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call back."""


class Rounds:
    """The rounds of one height after the other.  A node that is no validator listens, and says nothing."""

    def __init__(self, validators: tuple[str, ...], me: str, key: bytes, timeout: float, outside: Outside) -> None:
        self.validators = validators
        self.height = 0
        """The height in work: that of the block to come."""
        self.round = 0
        self.said: list[Proposal | Vote] = []
        """What this node has said at this height, to be said again to those who missed it."""
        self._me, self._key, self._timeout, self._outside = me, key, timeout, outside
        self._timers: list[Timer] = []
        self._reset()

    def prepare(self, height: int) -> None:
        """Go to a height, and keep what others say of it until :meth:`begin`."""
        self.stop()
        self.height = height
        self._reset()

    def begin(self) -> None:
        """Begin with the first round of the height."""
        if self._step == "new":
            self._begin(0)

    def stop(self) -> None:
        """Wait for nothing any more."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def on_proposal(self, proposal: Proposal) -> None:
        """A peer proposes."""
        known = proposal.round in self._proposals
        right = proposal.block.proposer in self.validators
        if proposal.block.height == self.height and proposal.round <= self.round + _AHEAD and right and not known:
            self._proposals[proposal.round] = proposal
            self._look()

    def on_vote(self, vote: Vote) -> None:
        """A peer votes."""
        if vote.height == self.height and vote.round <= self.round + _AHEAD and vote.validator in self.validators:
            self._votes.setdefault((vote.round, vote.kind), {}).setdefault(vote.validator, vote)
            self._look()

    def _reset(self) -> None:
        self.round = 0
        self.said = []
        self._step = "new"
        self._proposals: dict[int, Proposal] = {}
        self._votes: dict[tuple[int, Kind], dict[str, Vote]] = {}
        self._locked: Proposal | None = None
        self._valid: Proposal | None = None
        self._waits: set[tuple[int, str]] = set()

    def _begin(self, round_: int) -> None:
        self.round, self._step = round_, "propose"
        if proposer_of(self.height, round_, self.validators) == self._me:
            wanted = self._valid
            proposal = Proposal(
                round_, wanted.round if wanted else -1, wanted.block if wanted else self._outside.propose()
            )
            self._say(proposal)
            self._proposals[round_] = proposal
        else:
            self._wait("propose", lambda: self._vote("prevote", ""))
        self._look()

    def _wait(self, step: str, then: Callable[[], None]) -> None:
        """Do something if the round is still in that step (or, for the last one, not over) when time is up."""
        if (self.round, step) in self._waits:
            return
        self._waits.add((self.round, step))
        height, round_ = self.height, self.round

        def call() -> None:
            if (self.height, self.round) == (height, round_) and step in (self._step, "precommit"):
                then()
                self._look()

        self._timers.append(self._outside.later(self._timeout * (1 + round_ / 2), call))

    def _say(self, message: Proposal | Vote) -> None:
        self.said.append(message)
        self._outside.send(message)

    def _vote(self, kind: Kind, block: str) -> None:
        self._step = kind
        if self._me in self.validators:
            vote = Vote(kind, self.height, self.round, block, self._me).sealed(self._key)
            self._votes.setdefault((self.round, kind), {})[self._me] = vote
            self._say(vote)

    def _has_quorum(self, round_: int, kind: Kind, block: str | None) -> bool:
        """Whether enough have voted for that block (empty: for none; ``None``: for anything)."""
        votes = self._votes.get((round_, kind), {}).values()
        return sum(block is None or vote.block == block for vote in votes) >= quorum(self.validators)

    def _look(self) -> None:
        """Do whatever the messages that are there allow."""
        while self._finish() or (self._step != "new" and (self._skip() or self._step_on())):
            pass

    def _finish(self) -> bool:
        for (round_, kind), votes in self._votes.items():
            wanted = Counter(vote.block for vote in votes.values() if vote.block) if kind == "precommit" else Counter()
            for block, count in wanted.items():
                known = next((each.block for each in self._proposals.values() if each.block.hash == block), None)
                if count >= quorum(self.validators) and known is not None and self._outside.is_valid(known):
                    final = tuple(vote for vote in votes.values() if (vote.round, vote.block) == (round_, block))
                    self._outside.commit(Committed(known, final))
                    return True
        return False

    def _skip(self) -> bool:
        """Join a later round in which one third is already: one of those at least is honest."""
        ahead: dict[int, set[str]] = {}
        for (round_, _), votes in self._votes.items():
            if round_ > self.round:
                ahead.setdefault(round_, set()).update(votes)
        for round_, names in ahead.items():
            if len(names) > len(self.validators) - quorum(self.validators):
                self._begin(round_)
                return True
        return False

    def _step_on(self) -> bool:
        proposal = self._proposals.get(self.round)
        if self._step == "propose" and proposal is not None and self._judge(proposal):
            return True
        if self._step == "prevote":
            if proposal is not None and self._has_quorum(self.round, "prevote", proposal.block.hash):
                self._locked = self._valid = proposal
                self._vote("precommit", proposal.block.hash)
                return True
            if self._has_quorum(self.round, "prevote", ""):
                self._vote("precommit", "")
                return True
            if self._has_quorum(self.round, "prevote", None):
                self._wait("prevote", lambda: self._vote("precommit", ""))
        if self._has_quorum(self.round, "precommit", ""):
            self._begin(self.round + 1)
            return True
        if self._has_quorum(self.round, "precommit", None):
            self._wait("precommit", lambda: self._begin(self.round + 1))
        return False

    def _judge(self, proposal: Proposal) -> bool:
        """Prevote for a proposal, or against it; not yet if the votes that it refers to are not there."""
        block, locked = proposal.block, self._locked
        right = proposer_of(self.height, self.round, self.validators) == block.proposer or proposal.valid_round >= 0
        if proposal.valid_round >= 0 and not self._has_quorum(proposal.valid_round, "prevote", block.hash):
            return False
        free = locked is None or locked.block.hash == block.hash or proposal.valid_round >= locked.round
        self._vote("prevote", block.hash if right and free and self._outside.is_valid(block) else "")
        return True
