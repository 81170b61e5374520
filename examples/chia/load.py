"""What flows through the two nodes all the while: blocks, transactions, requests of the RPC and of wallets."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from chia.consensus.constants import replace_str_to_bytes
from chia.protocols.outbound_message import NodeType
from chia.simulator.block_tools import test_constants
from chia.simulator.wallet_tools import WalletTool
from chia.util.config import load_config
from outside import Node, peer, until

SEEN = 40  # blocks: coins of older ones are not looked for
COINS = 5  # of a wallet that keeps to the limit


@dataclass
class Load:
    """The traffic, and what became of it."""

    a: Node
    b: Node
    pause: float = 1.0
    """Seconds between two blocks."""
    rest: float = 0.02
    """Seconds between two requests of who asks; there are two for each node."""
    requests: int = 0
    slowest: float = 0.0
    transactions: int = 0
    blocks: int = 0
    failed: list[str] = field(default_factory=list)
    spoilt: int = 0
    """Requests that failed while that was expected."""
    _expected: bool = False
    _spent: set[Any] = field(default_factory=set)
    _running: dict[str, list[asyncio.Task[None]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        config = load_config(self.a.folder / "chia", "config.yaml")
        overrides = config["network_overrides"]["constants"][config["selected_network"]]
        self._wallet = WalletTool(replace_str_to_bytes(test_constants, **overrides))
        self._payee = self._wallet.get_new_puzzlehash()
        self._follows = True

    async def farm(self) -> int:
        """Make a block with the transactions that wait.  Gives the height."""
        before = await self.a.height()
        await self.a.rpc.farm_block(self._payee, guarantee_tx_block=True)
        after = await self.a.height()
        if after <= before:
            raise RuntimeError(f"a block was lost: height {after} after {before}")
        if self._follows:

            async def followed() -> bool:
                return await self.b.height() >= after

            await until(followed, f"B has not followed to {after}")
        self.blocks += 1
        return after

    async def spend(self) -> Any:
        """A valid transaction that nobody has seen yet, of a coin that a block has paid."""
        records = await self.a.rpc.get_coin_records_by_puzzle_hash(
            self._payee, include_spent_coins=False, start_height=max(0, await self.a.height() - SEEN)
        )
        coin = next(each.coin for each in records if each.coin.name() not in self._spent)
        self._spent.add(coin.name())
        return self._wallet.generate_signed_transaction(coin.amount, self._payee, coin)

    async def _chain(self) -> None:
        """Transactions that A announces and B asks for, and blocks with them."""
        while True:
            spend = await self.spend()
            await self.a.rpc.push_tx(spend)
            if self._follows:
                await until(lambda spend=spend: self.b.waits(spend), "B has not got a transaction that it asked for")
            self.transactions += 1
            await self.farm()
            if self._follows and await self.b.waits(spend):
                raise RuntimeError("a block came without the transaction that waited")
            await asyncio.sleep(self.pause)

    async def _asked(self, what: str, ask: Callable[[], Awaitable[bool]]) -> None:
        began = time.monotonic()
        try:
            fine, told = await ask(), "another answer than expected"
        except (OSError, ValueError, TimeoutError) as error:
            fine, told = False, f"{type(error).__name__}: {error}"
        self.requests += 1
        self.slowest = max(self.slowest, time.monotonic() - began)
        if not fine and self._expected:
            self.spoilt += 1
        elif not fine:
            self.failed.append(f"{what}: {told}"[:300])

    async def _rpc(self, node: Node) -> None:
        async def state() -> bool:
            return bool((await node.rpc.get_blockchain_state())["sync"]["synced"])

        async def blocks() -> bool:
            return "metrics" in await node.rpc.fetch("get_block_count_metrics", {})

        async def coins() -> bool:
            top = await node.height()
            found = await node.rpc.get_coin_records_by_puzzle_hash(self._payee, start_height=max(0, top - 3))
            return bool(found)

        while True:
            await self._asked(f"{node.name} get_blockchain_state", state)
            await self._asked(f"{node.name} get_block_count_metrics", blocks)
            await self._asked(f"{node.name} get_coin_records_by_puzzle_hash", coins)
            await asyncio.sleep(self.rest)

    async def _wallets(self, node: Node) -> None:
        async with peer(node, NodeType.WALLET) as wallet:

            async def subscribe() -> bool:
                return await wallet.subscribe(COINS) == COINS

            while True:
                await self._asked(f"{node.name} register_for_coin_updates", subscribe)
                await asyncio.sleep(self.rest)

    def _begin(self, node: Node) -> None:
        self._running[node.name] = [asyncio.create_task(self._rpc(node)), asyncio.create_task(self._wallets(node))]

    async def _stop(self, name: str) -> None:
        tasks = self._running.pop(name, [])
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    @contextlib.asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """All of it, for as long as the block runs.  What broke the chain is raised at its end."""
        for node in (self.a, self.b):
            self._begin(node)
        self._running["chain"] = [asyncio.create_task(self._chain())]
        try:
            yield
        finally:
            for name in list(self._running):
                await self._stop(name)

    @contextlib.asynccontextmanager
    async def without_b(self) -> AsyncIterator[None]:
        """Nobody asks B for anything; A goes on making blocks."""
        await self._stop(self.b.name)
        await self._stop("chain")
        self._follows = False
        self._running["chain"] = [asyncio.create_task(self._chain())]
        try:
            yield
        finally:
            await self._stop("chain")
            self._follows = True
            self._running["chain"] = [asyncio.create_task(self._chain())]
            self._begin(self.b)

    @contextlib.contextmanager
    def expecting(self) -> Iterator[None]:
        """Requests that fail meanwhile are counted apart."""
        self._expected = True
        try:
            yield
        finally:
            self._expected = False

    def broken(self) -> str:
        """Why the traffic has stopped, if it has."""
        for tasks in self._running.values():
            for task in tasks:
                if task.done() and not task.cancelled() and task.exception() is not None:
                    return f"{type(task.exception()).__name__}: {task.exception()}"
        return ""
