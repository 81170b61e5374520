"""Peers over TCP: a versioned handshake, gossip of transactions and votes, and blocks for those who lag behind."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, Protocol

from livepatch import peers
from minichain import wire
from minichain.blocks import Committed, Proposal, Transaction, Vote, name_in, number_in

VERSION = 1
"""The version of the handshake."""
PATIENCE = 5.0
"""Seconds that a peer has for its handshake."""
BACKLOG = 4 << 20
"""Bytes that may wait for a peer to read them."""
PAGE = 20
"""Blocks of one answer."""
MOST_ASKED = 20
"""Answers with blocks that a peer gets in one second."""


def words() -> tuple[str, ...]:
    """What this release speaks."""
    return ("blocks/1", "blocks/2", "tx/1")


class Local(Protocol):
    """What connections need of the node."""

    name: str
    network: str
    key: bytes
    speaker: peers.Speaker

    def height(self) -> int:
        """Of the newest block."""

    def blocks(self, start: int, most: int | None = None) -> list[Committed]:
        """The blocks from a height on."""

    def on_transaction(self, transaction: Transaction) -> None:
        """A peer hands a transaction on."""

    def on_message(self, message: Proposal | Vote) -> None:
        """A peer proposes or votes."""

    def on_blocks(self, blocks: list[Committed]) -> None:
        """A peer sends blocks that are final."""


class Connection:
    """One peer.  Whatever it sends wrongly ends the connection, and nothing else."""

    def __init__(self, local: Local, writer: asyncio.StreamWriter) -> None:
        self.name = ""
        self.peer = peers.SILENT
        self.closed_for = ""
        self.asked = 0
        self.second = 0
        self._local = local
        self._writer = writer

    def send(self, kind: str, **fields: object) -> None:
        """Send a message, unless the peer does not read."""
        if self._writer.is_closing():
            return
        if self._writer.transport.get_write_buffer_size() > BACKLOG:
            self.close("does not read")
            return
        self._writer.write(wire.encode({"kind": kind, **fields}))

    def close(self, why: str) -> None:
        """End it."""
        self.closed_for = self.closed_for or why
        self._writer.close()

    async def run(self, reader: asyncio.StreamReader, accept: Callable[[Connection], bool]) -> None:
        """Shake hands, and handle what comes until the end."""
        try:
            self.send("hello", version=VERSION, network=self._local.network, name=self._local.name, **self._said())
            self._on_hello(await asyncio.wait_for(wire.receive(reader), PATIENCE))
            if not accept(self):
                self.close("is connected already")
            while not self._writer.is_closing():
                self._handle(await wire.receive(reader))
        except (ValueError, KeyError, TypeError) as error:
            self.close(f"{type(error).__name__}: {error}"[:200])
        except (EOFError, OSError, asyncio.TimeoutError):  # noqa: UP041  # it is another one before Python 3.11
            self.close("is gone")
        finally:
            self._writer.close()

    def _said(self) -> dict[str, object]:
        """What goes along with each hello and each status, always at the same rhythm."""
        return {"livepatch": self._local.speaker.announce().text}

    def _on_hello(self, message: dict[str, Any]) -> None:
        if message["kind"] != "hello" or message["version"] != VERSION:
            raise ValueError("another handshake")
        if message["network"] != self._local.network:
            raise ValueError("another network")
        self.name = name_in(message["name"])
        self._on_said(message)

    def _on_said(self, message: dict[str, Any]) -> None:
        self.peer = peers.read(message.get("livepatch"))  # PeerError is a ValueError
        if self._local.speaker.terms(self.peer).relation == "apart":
            raise ValueError("lacks what this node requires")

    def _handle(self, message: dict[str, Any]) -> None:
        handler = getattr(self, f"on_{message['kind']}", None)
        if handler is None:
            raise ValueError("an unknown kind of message")
        handler(message)

    def say_status(self) -> None:
        """Tell the peer how far this node is."""
        self.send("status", height=self._local.height(), **self._said())

    def on_status(self, message: dict[str, Any]) -> None:
        """The peer tells how far it is."""
        self._on_said(message)
        if number_in(message["height"]) > self._local.height():
            self.send("get_blocks", start=self._local.height() + 1)

    def on_get_blocks(self, message: dict[str, Any]) -> None:
        """The peer asks for blocks."""
        now = int(time.monotonic())
        self.asked, self.second = (self.asked + 1 if now == self.second else 1), now
        if self.asked > MOST_ASKED:
            raise ValueError("asks for blocks too often")
        blocks = self._local.blocks(number_in(message["start"]), PAGE)
        told = [asdict(block) for block in blocks]
        if self.peer.speaks("blocks/2"):
            self.send("page", blocks=told, more=len(told) == PAGE)
        else:
            self.send("blocks", blocks=told)

    def on_blocks(self, message: dict[str, Any]) -> None:
        """The peer sends blocks."""
        self._local.on_blocks([Committed.parse(block, self._local.key) for block in message["blocks"]])

    def on_page(self, message: dict[str, Any]) -> None:
        """The peer sends some of the blocks that it was asked for."""
        self.on_blocks(message)
        if message["more"] is True:
            self.send("get_blocks", start=self._local.height() + 1)

    def on_tx(self, message: dict[str, Any]) -> None:
        """The peer hands a transaction on."""
        self._local.on_transaction(Transaction.parse(message["tx"]))

    def on_proposal(self, message: dict[str, Any]) -> None:
        """The peer proposes."""
        self._local.on_message(Proposal.parse(message["proposal"]))

    def on_vote(self, message: dict[str, Any]) -> None:
        """The peer votes."""
        self._local.on_message(Vote.parse(message["vote"], self._local.key))


class Peers:
    """All connections of a node.  Of two nodes, the one whose name comes first calls the other."""

    def __init__(self, local: Local) -> None:
        self._local = local
        self._connections: dict[str, Connection] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.refused = 0

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._connections.values()))

    def __len__(self) -> int:
        return len(self._connections)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle a peer that called."""
        with contextlib.suppress(asyncio.CancelledError):  # the node stops, and nobody waits for this task
            await self._run(reader, writer)

    def call(self, port: int) -> None:
        """Keep a connection to a peer, for as long as the node runs."""
        task = asyncio.create_task(self._keep(port))
        self._tasks.add(task)

    def tell(self, kind: str, but: str = "", **fields: object) -> None:
        """Send to all peers."""
        for connection in self:
            if connection.name != but:
                connection.send(kind, **fields)

    async def close(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()
        for connection in self:
            connection.close("this node stops")
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, port: int) -> None:
        while True:
            with contextlib.suppress(OSError):
                await self._run(*await asyncio.open_connection("127.0.0.1", port))
            await asyncio.sleep(0.3)

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self._local, writer)
        await connection.run(reader, self._accept)
        if connection.closed_for != "is gone":
            self.refused += 1
        if self._connections.get(connection.name) is connection:
            del self._connections[connection.name]

    def _accept(self, connection: Connection) -> bool:
        if connection.name in self._connections or connection.name == self._local.name:
            return False
        self._connections[connection.name] = connection
        connection.say_status()
        return True
