"""A node: its parts, and how they work together in one event loop."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict

import livepatch
from livepatch import peers
from livepatch.health import probes
from minichain import consensus, p2p
from minichain.blocks import Block, Committed, Proposal, Transaction, Vote, name_in, number_in
from minichain.config import Config
from minichain.mempool import Mempool
from minichain.metrics import Metrics
from minichain.rounds import Rounds
from minichain.rpc import LARGEST_HEAD, Rpc
from minichain.storage import Storage

STATUS_EVERY = 0.5
"""Seconds between two messages about how far a node is."""


class Node:
    """One node of the network.  It is what connections and rounds see of the outside."""

    def __init__(self, config: Config) -> None:
        config.data.mkdir(parents=True, exist_ok=True)
        self.config = config
        self.name = config.name
        self.key = bytes.fromhex(config.network_key)
        secret = bytes.fromhex(config.secret) or None
        self.speaker = peers.Speaker(p2p.words, package="minichain", secret=secret)
        self.mempool = Mempool()
        self.storage = Storage(config.data / "chain.sqlite", config.genesis, self.key)
        self.network = self.storage.network
        self.peers = p2p.Peers(self)
        self.rounds = Rounds(config.validators, self.name, self.key, config.round_timeout, self)
        self.metrics = self._gauges()
        self.rpc = Rpc(self._methods(), self.metrics.text)
        self._servers: list[asyncio.Server] = []
        self._status: asyncio.Task[None] | None = None
        self._next: asyncio.TimerHandle | None = None
        self._committed_at = time.time()
        self._same: list[str] = []

    async def start(self, p2p_socket: socket.socket | None = None, rpc_socket: socket.socket | None = None) -> None:
        """Open the doors; on 127.0.0.1, or on sockets that somebody has opened already."""
        for serve, port, given in (
            (self.peers.serve, self.config.p2p, p2p_socket),
            (self.rpc.serve, self.config.rpc, rpc_socket),
        ):
            where = {"sock": given} if given is not None else {"host": "127.0.0.1", "port": port}
            self._servers.append(await asyncio.start_server(serve, limit=LARGEST_HEAD, **where))  # type: ignore[arg-type]
        for port in self.config.peers:
            self.peers.call(port)
        self._status = asyncio.create_task(self._say_status())
        self.rounds.prepare(self.height() + 1)
        self.rounds.begin()

    async def stop(self) -> None:
        """Close the doors, say goodbye, and leave the chain as it is."""
        for server in self._servers:
            server.close()
        if self._status is not None:
            self._status.cancel()
        if self._next is not None:
            self._next.cancel()
        self.rounds.stop()
        await self.peers.close()
        self.storage.close()

    async def _say_status(self) -> None:
        while True:
            await asyncio.sleep(STATUS_EVERY)
            for connection in self.peers:
                connection.say_status()
            self._tell_operator()
            for message in self.rounds.said:
                self.send(message)

    def height_in_work(self) -> int:
        """The height that counts for patches that wait for one."""
        return self.rounds.height

    def _tell_operator(self) -> None:
        """Log which peers have the same patches live, if it is news: whoever reaches the RPC need not know."""
        same = sorted(each.name for each in self.peers if self.speaker.terms(each.peer).same_patches)
        if same != self._same:
            sys.stderr.write(f"the same patches as in {', '.join(same) or 'no peer'}\n")
        self._same = same

    # What rounds ask for

    def propose(self) -> Block:
        """A block of what waits."""
        with livepatch.unit_of_work():
            return consensus.make_block(self.mempool, self.storage.tip(), self.name, self.storage.account)

    def is_valid(self, block: Block) -> bool:
        """Whether it may be the next one."""
        try:
            with livepatch.unit_of_work():  # one block, one side of a fix
                consensus.check_block(block, self.storage.tip(), self.storage.account)
        except consensus.InvalidError:
            return False
        return True

    def send(self, message: Proposal | Vote) -> None:
        """Tell all peers."""
        kind = "vote" if isinstance(message, Vote) else "proposal"
        self.peers.tell(kind, **{kind: asdict(message)})

    def commit(self, committed: Committed) -> None:
        """Store a block that is final, and go on to the next height after a while."""
        self._store(committed)
        self._next = self.later(self.config.block_time, self.rounds.begin)

    def later(self, seconds: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        """Call back."""
        return asyncio.get_running_loop().call_later(seconds, call)

    def _store(self, committed: Committed) -> None:
        with livepatch.unit_of_work():
            changed = consensus.check_block(committed.block, self.storage.tip(), self.storage.account)
        self.storage.add(committed, changed)
        self.mempool.forget(committed.block.transactions, committed.block.height)
        self._committed_at = time.time()
        self.rounds.prepare(committed.block.height + 1)
        if self._next is not None:
            self._next.cancel()

    # What connections ask for

    def height(self) -> int:
        """Of the newest block."""
        return self.storage.tip().height

    def blocks(self, start: int, most: int | None = None) -> list[Committed]:
        """The blocks from a height on."""
        return self.storage.blocks(start, most)

    def on_message(self, message: Proposal | Vote) -> None:
        """A peer proposes or votes."""
        if isinstance(message, Vote):
            self.rounds.on_vote(message)
        else:
            self.rounds.on_proposal(message)

    def on_blocks(self, blocks: list[Committed]) -> None:
        """Take over blocks that others have made final.  Raises ValueError for others."""
        for committed in blocks:
            if committed.block.height == self.height() + 1:
                consensus.check_final(committed, self.config.validators)
                self._store(committed)
        self.rounds.begin()

    def on_transaction(self, transaction: Transaction) -> str:
        """Take a transaction in, and hand it on if it is new."""
        answer = self.mempool.add(transaction, self.storage.account(transaction.sender))
        if answer == "taken":
            self.peers.tell("tx", tx=asdict(transaction))
        return answer

    # What users ask for

    def _methods(self) -> dict[str, Callable[..., object]]:
        return {
            "status": self._rpc_status,
            "peers": self._rpc_peers,
            "account": lambda name: asdict(self.storage.account(name_in(name))),
            "block": self._rpc_block,
            "send": self._rpc_send,
        }

    def _rpc_status(self) -> dict[str, object]:
        tip = self.storage.tip()
        return {
            "name": self.name,
            "height": tip.height,
            "block": tip.block,
            "root": tip.root,
            "round": self.rounds.round,
            "waiting": len(self.mempool),
            "peers": len(self.peers),
            "speaks": list(self.speaker.announce().words),
        }

    def _rpc_peers(self) -> dict[str, object]:
        said = {}
        for connection in self.peers:
            terms = self.speaker.terms(connection.peer)
            said[connection.name] = {
                "speaks": list(connection.peer.words),
                "common": sorted(terms.common),
                "relation": terms.relation,
            }
        return said

    def _rpc_block(self, height: int) -> dict[str, object] | None:
        found = self.storage.blocks(number_in(height, least=1), 1)
        return {"hash": found[0].block.hash, **asdict(found[0].block)} if found else None

    def _rpc_send(self, **transaction: object) -> str:
        parsed = Transaction.parse(transaction)
        sender = self.storage.account(parsed.sender)
        if parsed.nonce == sender.nonce + 1:
            try:
                consensus.check_transaction(parsed, sender)
            except consensus.InvalidError as error:
                return f"refused: {error}"
        return self.on_transaction(parsed)

    # What those ask for who watch over the node

    def probes(self) -> list[livepatch.HealthProbe]:
        """What shows whether it is well."""
        return [
            probes.Count("refused", lambda: self.mempool.refused, "transactions", quick=True),
            livepatch.HealthProbe("block_age", lambda: time.time() - self._committed_at, "s", quick=True),
        ]

    def _gauges(self) -> Metrics:
        metrics = Metrics()
        metrics.gauge("height", "of the newest block", lambda: float(self.height()))
        metrics.gauge("block_age_seconds", "since the newest block", lambda: time.time() - self._committed_at)
        metrics.gauge("round", "of the height in work", lambda: float(self.rounds.round))
        metrics.gauge("peers", "that are connected", lambda: float(len(self.peers)))
        metrics.gauge(
            "peers_refused", "connections that ended for what the peer sent", lambda: float(self.peers.refused)
        )
        metrics.gauge("mempool_transactions", "that wait", lambda: float(len(self.mempool)))
        metrics.gauge("mempool_refused", "transactions that were refused", lambda: float(self.mempool.refused))
        metrics.gauge("rpc_calls", "that were answered", lambda: float(self.rpc.calls))
        return metrics
