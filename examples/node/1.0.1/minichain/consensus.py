"""The rules that every node must apply alike: which transactions and blocks are valid, and what they come to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from minichain.blocks import MOST_TRANSACTIONS, Block, Committed, Transaction, digest

GENESIS = "0" * 64
"""The parent of the first block."""


class InvalidError(ValueError):
    """The rules forbid it."""


@dataclass(frozen=True, slots=True)
class Account:
    """What the ledger knows of an account."""

    balance: int = 0
    nonce: int = 0


Ledger = Callable[[str], Account]
"""Gives the account of a name; one that nobody has heard of is empty."""


@dataclass(frozen=True, slots=True)
class Tip:
    """Where the chain stands: the block that is final, and the root after it."""

    height: int
    block: str
    root: str


def check_transaction(transaction: Transaction, sender: Account) -> None:
    """Raise :class:`InvalidError` unless the sender may make it."""
    if transaction.nonce != sender.nonce + 1:
        raise InvalidError("nonce is not the next one")
    if not 0 < transaction.amount <= sender.balance:
        raise InvalidError("amount is not between 1 and the balance")


def execute(transactions: Iterable[Transaction], ledger: Ledger) -> dict[str, Account]:
    """The accounts that the transactions change, as they are afterwards.  Raises :class:`InvalidError`."""
    changed: dict[str, Account] = {}
    for transaction in transactions:
        _move(transaction, changed, ledger)
    return changed


def choose(waiting: Iterable[Transaction], ledger: Ledger) -> tuple[Transaction, ...]:
    """Those of the waiting transactions that make the next block: what is not valid waits on."""
    chosen: list[Transaction] = []
    changed: dict[str, Account] = {}
    for transaction in waiting:
        try:
            _move(transaction, changed, ledger)
        except InvalidError:
            continue
        chosen.append(transaction)
        if len(chosen) == MOST_TRANSACTIONS:
            break
    return tuple(chosen)


def _move(transaction: Transaction, changed: dict[str, Account], ledger: Ledger) -> None:
    sender = changed.get(transaction.sender) or ledger(transaction.sender)
    check_transaction(transaction, sender)
    changed[transaction.sender] = Account(sender.balance - transaction.amount, transaction.nonce)
    receiver = changed.get(transaction.receiver) or ledger(transaction.receiver)
    changed[transaction.receiver] = Account(receiver.balance + transaction.amount, receiver.nonce)


def root_after(root: str, changed: dict[str, Account]) -> str:
    """The root after changes."""
    return digest([root, sorted((name, account.balance, account.nonce) for name, account in changed.items())])


def make_block(waiting: Iterable[Transaction], tip: Tip, proposer: str, ledger: Ledger) -> Block:
    """The next block, of those that wait."""
    chosen = choose(waiting, ledger)
    return Block(tip.height + 1, tip.block, proposer, root_after(tip.root, execute(chosen, ledger)), chosen)


def check_block(block: Block, tip: Tip, ledger: Ledger) -> dict[str, Account]:
    """The accounts that the block changes.  Raises :class:`InvalidError` unless it may be the next one."""
    if (block.height, block.parent) != (tip.height + 1, tip.block):
        raise InvalidError("block is not the next one")
    changed = execute(block.transactions, ledger)
    if block.root != root_after(tip.root, changed):
        raise InvalidError("root is another one")
    return changed


def proposer_of(height: int, round_: int, validators: tuple[str, ...]) -> str:
    """Whose turn it is to propose."""
    return validators[(height + round_) % len(validators)]


def quorum(validators: tuple[str, ...]) -> int:
    """How many votes decide: more than two thirds."""
    return len(validators) * 2 // 3 + 1


def check_final(committed: Committed, validators: tuple[str, ...]) -> None:
    """Raise :class:`InvalidError` unless enough validators have committed to the block in one round."""
    by_round: dict[int, set[str]] = {}
    for vote in committed.votes:
        about = (vote.kind, vote.height, vote.block) == ("precommit", committed.block.height, committed.block.hash)
        if about and vote.validator in validators:
            by_round.setdefault(vote.round, set()).add(vote.validator)
    if max(map(len, by_round.values()), default=0) < quorum(validators):
        raise InvalidError("too few votes")
