"""Two live Chia full nodes in one process, on loopback and offline: A makes blocks, B follows it as a peer.

Both are the real `chia-blockchain` 2.6.1, started by its own simulator.  The first start makes plots, half a minute;
they are kept below CHIA_SIM_HOME, by default a folder in the temporary directory.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

HOME = Path(os.environ.setdefault("CHIA_SIM_HOME", str(Path(tempfile.gettempdir()) / "chia-home"))).resolve()
HOME.mkdir(parents=True, exist_ok=True)
os.environ["HOME"], os.environ["CHIA_ROOT"] = str(HOME), str(HOME / ".chia" / "mainnet")  # before chia is imported

from chia.full_node.full_node_rpc_client import FullNodeRpcClient  # noqa: E402
from chia.simulator.block_tools import create_block_tools_async, test_constants  # noqa: E402
from chia.simulator.keyring import TempKeyring  # noqa: E402
from chia.simulator.setup_services import setup_full_node  # noqa: E402
from chia.simulator.simulator_protocol import FarmNewBlockProtocol  # noqa: E402
from chia.types.peer_info import PeerInfo  # noqa: E402

if TYPE_CHECKING:
    from chia.simulator.wallet_tools import WalletTool

__all__ = ["Network", "network"]

_SETTINGS = {"full_node.max_sync_wait": 0, "full_node.log_coins": False, "full_node.block_creation_timeout": 10}
_PLOTS = {"num_og_plots": 4, "num_pool_plots": 0, "num_non_keychain_plots": 0, "num_v2_plots": 0}
_PATIENCE = 60.0  # seconds


@dataclass
class Network:
    """The two nodes, a client of the RPC of each, and a wallet that the blocks of A pay."""

    a: Any
    b: Any
    rpc_a: FullNodeRpcClient
    rpc_b: FullNodeRpcClient
    wallet: WalletTool
    payee: Any
    spent: set[Any] = field(default_factory=set)

    @property
    def height(self) -> int:
        """That of A; 0 before the first block."""
        return self.a._api.full_node.blockchain.get_peak_height() or 0

    def connection(self, at: Any) -> Any:
        """The connection that the other node keeps open to this one, as `at` sees it."""
        return next(iter(at._api.full_node.server.all_connections.values()))

    async def farm(self, blocks: int = 1) -> int:
        """Make blocks with the transactions that wait at A; B has followed when this returns.  Gives the height."""
        for _ in range(blocks):
            await self.a._api.farm_new_transaction_block(FarmNewBlockProtocol(self.payee))
        chain = self.b._api.full_node.blockchain
        await until(lambda: chain.get_peak_height() == self.height, f"B at {chain.get_peak_height()}")
        return self.height

    async def spend(self) -> Any:
        """A valid transaction that nobody has seen yet, of a coin that a block has paid."""
        records = await self.rpc_a.get_coin_records_by_puzzle_hash(self.payee, include_spent_coins=False)
        coin = next(each.coin for each in records if each.coin.name() not in self.spent)
        self.spent.add(coin.name())
        return self.wallet.generate_signed_transaction(coin.amount, self.payee, coin)

    def waits(self, at: Any, spend: Any) -> bool:
        """Whether the transaction is in the mempool of that node."""
        return at._api.full_node.mempool_manager.get_spendbundle(spend.name()) is not None


async def until(holds: Any, otherwise: str, seconds: float = _PATIENCE) -> None:
    """Wait until it holds; :class:`TimeoutError` says otherwise."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not holds():
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError(otherwise)
        await asyncio.sleep(0.02)


@asynccontextmanager
async def network() -> AsyncIterator[Network]:
    """Start both nodes, B connected to A, and stop them in the end."""
    async with AsyncExitStack() as stack:
        keys = stack.enter_context(TempKeyring(populate=True))
        tools = [
            await stack.enter_async_context(
                create_block_tools_async(
                    constants=test_constants, keychain=keys, config_overrides=dict(_SETTINGS), **_PLOTS
                )
            )
            for _ in range(2)
        ]
        nodes = [
            await stack.enter_async_context(
                setup_full_node(tool.constants, f"{name}.db", "127.0.0.1", tool, simulator=name == "a", db_version=2)
            )
            for name, tool in zip("ab", tools, strict=True)
        ]
        clients = [
            await stack.enter_async_context(
                FullNodeRpcClient.create_as_context(
                    "127.0.0.1", node.rpc_server.listen_port, node.root_path, node.config
                )
            )
            for node in nodes
        ]
        a, b = (node._api.full_node for node in nodes)
        if not await b.server.start_client(PeerInfo("127.0.0.1", a.server.get_port()), b.on_connect):
            raise ConnectionError("B cannot connect to A")
        wallet = tools[0].get_farmer_wallet_tool()
        yield Network(*nodes, *clients, wallet=wallet, payee=wallet.get_new_puzzlehash())
