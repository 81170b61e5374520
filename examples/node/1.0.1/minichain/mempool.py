"""The transactions that wait for a block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from minichain.blocks import Transaction
from minichain.consensus import Account

CAPACITY = 200
"""Transactions that may wait."""
LIFETIME = 10
"""Blocks for which a transaction waits."""
MOST_OF_ONE = 20
"""Transactions of one sender that may wait."""


class Mempool:
    """Waiting transactions, in the order in which they came."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[Transaction, int]] = {}  # each with the height up to which it waits
        self._height = 0
        self.refused = 0

    def add(self, transaction: Transaction, sender: Account) -> str:
        """Take a transaction in: ``taken``, ``known``, or why it is refused."""
        if transaction.id in self._waiting:
            return "known"
        if transaction.nonce <= sender.nonce:
            return self._refuse("old nonce")
        if len(self._waiting) >= CAPACITY:
            return self._refuse("the pool is full")
        if sum(waiting.sender == transaction.sender for waiting in self) >= MOST_OF_ONE:
            return self._refuse("too many of this sender")
        self._waiting[transaction.id] = transaction, self._height + LIFETIME
        return "taken"

    def _refuse(self, why: str) -> str:
        self.refused += 1
        return f"refused: {why}"

    def forget(self, transactions: Iterable[Transaction], height: int) -> None:
        """Drop what is in the block of that height, what is older, and what has waited too long."""
        self._height = height
        newest: dict[str, int] = {}
        for transaction in transactions:
            newest[transaction.sender] = max(transaction.nonce, newest.get(transaction.sender, 0))
        self._waiting = {
            name: (waiting, until)
            for name, (waiting, until) in self._waiting.items()
            if until > height and waiting.nonce > newest.get(waiting.sender, 0)
        }

    def __iter__(self) -> Iterator[Transaction]:
        return iter(sorted((waiting for waiting, _ in self._waiting.values()), key=lambda each: each.nonce))

    def __len__(self) -> int:
        return len(self._waiting)
