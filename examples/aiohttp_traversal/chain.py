"""A chain just real enough to ask questions about: blocks linked by hash, a new one every few moments."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Block:
    """One block; its hash is over everything else in it."""

    number: int
    parent_hash: str
    transactions: tuple[str, ...]

    @property
    def hash(self) -> str:
        """The SHA-256 of the block's canonical JSON."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def as_json(self) -> dict[str, object]:
        """Return the block as the RPC gives it."""
        return {**asdict(self), "hash": self.hash}


class Chain:
    """A chain that starts with a genesis block and grows by sealing what was sent to it."""

    def __init__(self) -> None:
        self.blocks = [Block(0, "0" * 64, ())]
        self._pending: list[str] = []

    @property
    def height(self) -> int:
        """The number of the newest block."""
        return self.blocks[-1].number

    def send(self, transaction: str) -> str:
        """Queue a transaction for the next block and return its hash."""
        self._pending.append(transaction)
        return hashlib.sha256(transaction.encode()).hexdigest()

    def seal(self) -> Block:
        """Seal what is queued into the next block."""
        block = Block(self.height + 1, self.blocks[-1].hash, tuple(self._pending))
        self._pending.clear()
        self.blocks.append(block)
        return block
