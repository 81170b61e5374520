"""The chain and the ledger, in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from minichain.blocks import Committed, digest
from minichain.consensus import GENESIS, Account, Tip

_TABLES = """
create table if not exists blocks
    (height integer primary key, hash text not null, root text not null, data text not null);
create table if not exists accounts (name text primary key, balance integer not null, nonce integer not null);
"""


class Storage:
    """Blocks that are final, and the accounts after them.  A block is stored whole or not at all."""

    def __init__(self, path: Path, genesis: Mapping[str, int], key: bytes) -> None:
        self._key = key
        self._genesis = digest(sorted(genesis.items()))
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.executescript("pragma journal_mode = wal; pragma synchronous = normal;" + _TABLES)
        if self.tip().height == 0:
            with self._database:
                self._database.executemany("insert or ignore into accounts values (?, ?, 0)", genesis.items())

    @property
    def network(self) -> str:
        """What nodes of one network have in common."""
        return self._genesis

    def tip(self) -> Tip:
        """Where the chain stands."""
        row = self._database.execute("select height, hash, root from blocks order by height desc limit 1").fetchone()
        return Tip(*row) if row else Tip(0, GENESIS, self._genesis)

    def account(self, name: str) -> Account:
        """What the ledger knows of an account."""
        row = self._database.execute("select balance, nonce from accounts where name = ?", (name,)).fetchone()
        return Account(*row) if row else Account()

    def add(self, committed: Committed, changed: Mapping[str, Account]) -> None:
        """Store a block and what it changes."""
        block = committed.block
        rows = [(name, account.balance, account.nonce) for name, account in changed.items()]
        self._database.execute("begin")
        with self._database:
            data = json.dumps(asdict(committed))
            self._database.execute(
                "insert into blocks values (?, ?, ?, ?)", (block.height, block.hash, block.root, data)
            )
            self._database.executemany("insert or replace into accounts values (?, ?, ?)", rows)

    def blocks(self, start: int, most: int | None = None) -> list[Committed]:
        """The blocks from a height on."""
        query = "select data from blocks where height >= ? order by height limit ?"
        rows = self._database.execute(query, (start, -1 if most is None else most))
        return [Committed.parse(json.loads(data), self._key) for (data,) in rows]

    def close(self) -> None:
        """Close the file."""
        self._database.close()
