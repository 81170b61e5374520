"""Peers, what they have sent, and the file of those that are banned."""

from __future__ import annotations

from pathlib import Path

PEERS: list[Peer] = []


class Peer:
    """One open connection."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: list[int] = []

    def take(self, transaction: int) -> str:
        """Take a transaction, which is looked for in all that came before: that is the flaw."""
        if transaction in self.seen:
            return "known"
        self.seen.append(transaction)
        return "taken"


def banned(folder: Path) -> list[str]:
    """The names of banned peers: one in each line of each file."""
    return [line for file in sorted(folder.glob("*.bans")) for line in file.read_text().splitlines()]
