"""Validators of the example agree on one block a height, whatever the network does to their messages."""

from __future__ import annotations

import heapq
import importlib
import itertools
import random
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from tests.examples.running import EXAMPLES

RELEASES = EXAMPLES / "node"
NAMES = tuple("abcd")


@pytest.fixture
def minichain(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(RELEASES / "1.0.0")
    yield importlib.import_module("minichain.rounds")
    for name in [name for name in sys.modules if name.partition(".")[0] == "minichain"]:
        del sys.modules[name]


class World:
    """A clock, and a network that loses, delays and mixes up messages until it gets better."""

    def __init__(self, rounds: ModuleType, seed: int, better: float) -> None:
        self.random = random.Random(seed)
        self.better = better
        self.now = 0.0
        self.order = itertools.count()
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.nodes = {name: Validator(self, rounds, name) for name in NAMES}

    def later(self, seconds: float, call: Callable[[], None]) -> Call:
        entry = Call(call)
        heapq.heappush(self.queue, (self.now + seconds, next(self.order), entry))
        return entry

    def run(self, until: float) -> None:
        while self.queue and self.queue[0][0] <= until:
            self.now, _, call = heapq.heappop(self.queue)
            call()
        self.now = until


class Call:
    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def __call__(self) -> None:
        if self.call is not None:
            self.call()

    def cancel(self) -> None:
        self.call = None


class Validator:
    def __init__(self, world: World, rounds: ModuleType, name: str) -> None:
        self.world, self.name = world, name
        self.blocks = sys.modules["minichain.blocks"]
        self.final: list[Any] = []
        self.made = itertools.count()
        self.rounds = rounds.Rounds(NAMES, name, b"key", 1.0, self)
        self.rounds.prepare(1)
        world.later(0, self.rounds.begin)
        world.later(0.5, self.again)

    def propose(self) -> Any:
        root = self.blocks.digest([self.name, next(self.made)])  # another one each time
        return self.blocks.Block(len(self.final) + 1, "0" * 64, self.name, root, ())

    def is_valid(self, block: Any) -> bool:
        return block.height == len(self.final) + 1

    def later(self, seconds: float, call: Callable[[], None]) -> Any:
        return self.world.later(seconds, call)

    def send(self, message: Any) -> None:
        for other in self.world.nodes.values():
            bad = self.world.now < self.world.better
            if other is self or (bad and self.world.random.random() < 0.5):
                continue
            delay = self.world.random.random() * (3.0 if bad else 0.05)
            self.world.later(delay, lambda other=other: other.take(message))

    def take(self, message: Any) -> None:
        if isinstance(message, self.blocks.Vote):
            self.rounds.on_vote(message)
        else:
            self.rounds.on_proposal(message)

    def commit(self, committed: Any) -> None:
        self.final.append(committed)
        self.rounds.prepare(len(self.final) + 1)
        self.world.later(0.1, self.rounds.begin)

    def again(self) -> None:
        """What a status brings about: messages once more, and blocks for those who are behind."""
        for message in self.rounds.said:
            self.send(message)
        for other in self.world.nodes.values():
            if len(other.final) > len(self.final) and self.world.random.random() < 0.3:
                self.commit(other.final[len(self.final)])
        self.world.later(0.5, self.again)


def check_agreement(world: World) -> int:
    """The heights that all have, each with one block."""
    chains = [[each.block.hash for each in node.final] for node in world.nodes.values()]
    for chain in chains:
        assert chain == max(chains, key=len)[: len(chain)]
    return min(map(len, chains))


@pytest.mark.parametrize("seed", range(6))
def test_no_two_blocks_of_one_height_and_progress_once_messages_arrive(minichain, seed):
    world = World(minichain, seed, better=30.0)
    world.run(30.0)
    before = check_agreement(world)
    world.run(60.0)
    assert check_agreement(world) >= before + 5


@pytest.mark.slow
def test_no_two_blocks_of_one_height_in_many_bad_networks(minichain):
    for seed in range(300):
        world = World(minichain, seed, better=60.0)
        world.run(60.0)
        check_agreement(world)


def test_what_a_block_is_final_by_is_counted_once_for_each_validator_and_round(minichain):
    blocks, consensus = sys.modules["minichain.blocks"], sys.modules["minichain.consensus"]
    block = blocks.Block(1, "0" * 64, "a", "1" * 64, ())

    def vote(name: str, round_: int = 0, kind: str = "precommit", about: str = block.hash) -> Any:
        return blocks.Vote(kind, 1, round_, about, name).sealed(b"key")

    enough = tuple(map(vote, "abc"))
    consensus.check_final(blocks.Committed(block, enough), NAMES)
    for few in (
        enough[:2],
        (*enough[:2], enough[0]),
        (*enough[:2], vote("c", 1)),
        (*enough[:2], vote("c", kind="prevote")),
        (*enough[:2], vote("c", about="2" * 64)),
        (*enough[:2], vote("z")),
    ):
        with pytest.raises(ValueError, match="too few votes"):
            consensus.check_final(blocks.Committed(block, few), NAMES)


class Listener:
    """What one validator says, and nothing that happens by itself."""

    def __init__(self, minichain: ModuleType, name: str) -> None:
        self.said: list[Any] = []
        self.final: list[Any] = []
        self.rounds = minichain.Rounds(NAMES, name, b"key", 1.0, self)
        self.rounds.prepare(1)
        self.rounds.begin()

    def propose(self) -> Any:
        raise AssertionError("not its turn")

    def is_valid(self, block: Any) -> bool:
        return True

    def send(self, message: Any) -> None:
        self.said.append((message.kind, message.round, message.block))

    def commit(self, committed: Any) -> None:
        self.final.append(committed)
        self.rounds.prepare(2)

    def later(self, seconds: float, call: Callable[[], None]) -> Call:
        return Call(call)


def test_a_locked_validator_wants_another_block_only_if_most_wanted_it_later(minichain):
    blocks = sys.modules["minichain.blocks"]

    def block(proposer: str) -> Any:
        return blocks.Block(1, "0" * 64, proposer, blocks.digest(proposer), ())

    def votes(kind: str, round_: int, about: str, names: str) -> None:
        for name in names:
            listener.rounds.on_vote(blocks.Vote(kind, 1, round_, about, name).sealed(b"key"))

    first, second = block("b"), block("c")  # whose turn it is at height 1, in rounds 0 and 1
    listener = Listener(minichain, "a")
    listener.rounds.on_proposal(blocks.Proposal(0, -1, first))
    votes("prevote", 0, first.hash, "bc")
    assert listener.said == [("prevote", 0, first.hash), ("precommit", 0, first.hash)]  # locked

    votes("precommit", 0, "", "bcd")
    assert listener.rounds.round == 1
    listener.rounds.on_proposal(blocks.Proposal(1, -1, second))
    assert listener.said[2:] == [("prevote", 1, "")]
    votes("prevote", 1, second.hash, "bcd")  # but all others want it
    assert listener.said[3:] == [("precommit", 1, second.hash)]

    votes("precommit", 1, "", "bcd")
    listener.rounds.on_proposal(blocks.Proposal(2, 0, first))  # what most wanted before that
    assert listener.said[4:] == [("prevote", 2, "")]
    assert listener.final == []


def test_a_vote_counts_once_and_with_its_seal_only(minichain):
    blocks = sys.modules["minichain.blocks"]
    listener = Listener(minichain, "a")
    block = blocks.Block(1, "0" * 64, "b", "1" * 64, ())
    listener.rounds.on_proposal(blocks.Proposal(0, -1, block))
    for name in "bbbzb":
        listener.rounds.on_vote(blocks.Vote("precommit", 1, 0, block.hash, name).sealed(b"key"))
    assert listener.final == []
    listener.rounds.on_vote(blocks.Vote("precommit", 1, 0, block.hash, "c").sealed(b"key"))
    listener.rounds.on_vote(blocks.Vote("precommit", 1, 0, block.hash, "d").sealed(b"key"))
    assert [each.block for each in listener.final] == [block]

    sealed = blocks.Vote("precommit", 1, 0, block.hash, "c").sealed(b"key")
    plain = {name: getattr(sealed, name) for name in ("kind", "height", "round", "block", "validator", "seal")}
    assert blocks.Vote.parse(plain, b"key") == sealed
    for changed in ({"validator": "d"}, {"round": 1}, {"block": ""}, {"kind": "prevote"}, {"seal": "0" * 64}):
        with pytest.raises(ValueError, match="no seal"):
            blocks.Vote.parse({**plain, **changed}, b"key")
