"""Transactions, blocks and votes as values, and how they look as JSON.  What cannot be read is a ValueError."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

MOST_TRANSACTIONS = 50
"""Transactions of one block."""

_NAME = re.compile(r"[a-z0-9-]{1,32}")
_HASH = re.compile(r"[0-9a-f]{64}")
_LARGEST = 2**53

Kind = Literal["prevote", "precommit"]


def digest(value: object) -> str:
    """The SHA-256 of a plain value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def name_in(value: object) -> str:
    """A name of an account or a node, read."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError("no name")
    return value


def number_in(value: object, least: int = 0) -> int:
    """A whole number, read."""
    if type(value) is not int or not least <= value <= _LARGEST:
        raise ValueError("no number")
    return value


def hash_in(value: object) -> str:
    """A hash, read."""
    if not isinstance(value, str) or not _HASH.fullmatch(value):
        raise ValueError("no hash")
    return value


def fields_in(value: object, *names: str) -> dict[str, Any]:
    """An object of JSON with just these fields, read."""
    if not isinstance(value, dict) or value.keys() != set(names):
        raise ValueError(f"no object of {', '.join(names)}")
    return value


@dataclass(frozen=True, slots=True)
class Transaction:
    """Moves an amount.  This chain has no signatures: whoever reaches a node's RPC speaks for every account."""

    sender: str
    receiver: str
    amount: int
    nonce: int

    @property
    def id(self) -> str:
        """What it is known by."""
        return digest(asdict(self))

    @classmethod
    def parse(cls, value: object) -> Transaction:
        """A transaction from JSON."""
        given = fields_in(value, "sender", "receiver", "amount", "nonce")
        amount = number_in(given["amount"], least=-_LARGEST)
        return cls(name_in(given["sender"]), name_in(given["receiver"]), amount, number_in(given["nonce"], least=1))


@dataclass(frozen=True, slots=True)
class Block:
    """Transactions in order, on top of a parent.  `root` sums up all balances after it."""

    height: int
    parent: str
    proposer: str
    root: str
    transactions: tuple[Transaction, ...]

    @property
    def hash(self) -> str:
        """What it is known by."""
        return digest(asdict(self))

    @classmethod
    def parse(cls, value: object) -> Block:
        """A block from JSON."""
        given = fields_in(value, "height", "parent", "proposer", "root", "transactions")
        transactions = given["transactions"]
        if not isinstance(transactions, list) or len(transactions) > MOST_TRANSACTIONS:
            raise ValueError("no transactions of a block")
        return cls(
            number_in(given["height"], least=1),
            hash_in(given["parent"]),
            name_in(given["proposer"]),
            hash_in(given["root"]),
            tuple(map(Transaction.parse, transactions)),
        )


@dataclass(frozen=True, slots=True)
class Vote:
    """A validator's word about a block, or about none if `block` is empty."""

    kind: Kind
    height: int
    round: int
    block: str
    validator: str
    seal: str = ""

    def sealed(self, key: bytes) -> Vote:
        """The vote with its seal.  One key for the whole network: enough for an example, and for nothing else."""
        told = f"{self.kind} {self.height} {self.round} {self.block} {self.validator}"
        seal = hmac.new(key, told.encode(), hashlib.sha256).hexdigest()
        return Vote(self.kind, self.height, self.round, self.block, self.validator, seal)

    @classmethod
    def parse(cls, value: object, key: bytes) -> Vote:
        """A vote from JSON, if its seal holds."""
        given = fields_in(value, "kind", "height", "round", "block", "validator", "seal")
        if given["kind"] not in ("prevote", "precommit"):
            raise ValueError("no kind of vote")
        vote = cls(
            given["kind"],
            number_in(given["height"], least=1),
            number_in(given["round"]),
            hash_in(given["block"]) if given["block"] else "",
            name_in(given["validator"]),
        ).sealed(key)
        if not hmac.compare_digest(vote.seal, hash_in(given["seal"])):
            raise ValueError("no seal of this network")
        return vote


@dataclass(frozen=True, slots=True)
class Proposal:
    """A block that a validator proposes in a round; `valid_round` is the one in which most wanted it, or -1."""

    round: int
    valid_round: int
    block: Block

    @classmethod
    def parse(cls, value: object) -> Proposal:
        """A proposal from JSON."""
        given = fields_in(value, "round", "valid_round", "block")
        return cls(number_in(given["round"]), number_in(given["valid_round"], least=-1), Block.parse(given["block"]))


@dataclass(frozen=True, slots=True)
class Committed:
    """A block with the votes that made it final."""

    block: Block
    votes: tuple[Vote, ...]

    @classmethod
    def parse(cls, value: object, key: bytes) -> Committed:
        """A final block from JSON.  Whether its votes are enough is for the consensus to say."""
        given = fields_in(value, "block", "votes")
        if not isinstance(given["votes"], list) or len(given["votes"]) > 100:
            raise ValueError("no votes of a block")
        return cls(Block.parse(given["block"]), tuple(Vote.parse(vote, key) for vote in given["votes"]))
