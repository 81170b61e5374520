"""What others do to the nodes: their RPC, a wallet that subscribes to coins, a peer that sends transactions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest import mock

import aiohttp
import home
from chia.apis import StubMetadataRegistry
from chia.full_node.full_node_api import FullNodeAPI
from chia.protocols.full_node_protocol import RespondTransaction
from chia.protocols.outbound_message import NodeType, make_msg
from chia.protocols.protocol_message_types import ProtocolMessageTypes
from chia.protocols.shared_protocol import default_capabilities
from chia.protocols.wallet_protocol import RegisterForCoinUpdates
from chia.server import ws_connection
from chia.server.server import ssl_context_for_client
from chia.server.ssl_context import chia_ssl_ca_paths
from chia.simulator.simulator_full_node_rpc_client import SimulatorFullNodeRpcClient
from chia.ssl.create_ssl import generate_ca_signed_cert
from chia.util.config import load_config
from chia_rs.sized_bytes import bytes32
from chia_rs.sized_ints import uint32
from cryptography import x509
from cryptography.hazmat.primitives import hashes

HERE = Path(__file__).resolve().parent
PATIENCE = 180.0  # seconds for a start: plots may have to be made


async def until(holds: Any, otherwise: str, seconds: float = 180.0) -> None:
    """Wait until it holds, which may be a coroutine function; :class:`TimeoutError` says otherwise."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        found = holds()
        if await found if asyncio.iscoroutine(found) else found:
            return
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError(otherwise)
        await asyncio.sleep(0.02)


class Node:
    """A node as it is seen from outside: its process, its RPC, its control socket."""

    def __init__(self, folder: Path, max_rest: float | None = None) -> None:
        self.folder, self.name, self.max_rest = folder, folder.name, max_rest
        self.process: asyncio.subprocess.Process | None = None
        self.ready: dict[str, Any] = {}
        self.rpc: Any = None
        self._closing = contextlib.AsyncExitStack()

    @property
    def store(self) -> Path:
        """What the CLI is told by --node."""
        return self.folder / "store"

    async def start(self, follows: int | None = None) -> None:
        """Start the process, and wait until its doors are open."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / home.READY).unlink(missing_ok=True)
        with (self.folder / "log").open("ab") as log:
            command = [sys.executable, HERE / "node.py", self.folder, *(["--follows", str(follows)] if follows else [])]
            command += ["--max-rest", str(self.max_rest)] if self.max_rest is not None else []
            self.process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, cwd=self.folder)
        await until(self._is_ready, f"{self.name} does not come up; see {self.folder / 'log'}", PATIENCE)
        self.ready = json.loads((self.folder / home.READY).read_text(encoding="utf-8"))
        root = self.folder / "chia"
        client = SimulatorFullNodeRpcClient.create_as_context(
            home.HOST, self.ready["rpc"], root, load_config(root, "config.yaml")
        )
        self.rpc = await self._closing.enter_async_context(client)

    def _is_ready(self) -> bool:
        if self.process is not None and self.process.returncode is not None:
            raise RuntimeError(f"{self.name} ended with status {self.process.returncode}; see {self.folder / 'log'}")
        return (self.folder / home.READY).exists()

    async def end(self, how: int = signal.SIGTERM) -> None:
        """End the process by a signal, and wait for it."""
        await self._closing.aclose()
        if self.process is None or self.process.returncode is not None:
            return
        self.process.send_signal(how)
        try:
            await asyncio.wait_for(self.process.wait(), 30)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    async def height(self) -> int:
        """That of its chain."""
        peak = (await self.rpc.get_blockchain_state())["peak"]
        return 0 if peak is None else int(peak.height)

    async def waits(self, spend: Any) -> bool:
        """Whether the transaction is in its mempool."""
        try:
            return await self.rpc.get_mempool_item_by_tx_id(spend.name()) is not None
        except ValueError:  # as the RPC says that it has none
            return False

    async def identity(self) -> dict[str, Any]:
        """Which functions are not as they were before its agent began, by its own look."""
        file = self.folder / home.IDENTITY
        file.unlink(missing_ok=True)
        assert self.process is not None
        self.process.send_signal(signal.SIGUSR1)
        await until(file.exists, f"{self.name} does not tell of its functions")
        told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return told

    def memory(self) -> float:
        """Its resident memory in MB."""
        assert self.process is not None
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="utf-8").split()[1]
        return int(pages) * 4096 / 1e6


class Peer:
    """A connection to a node by the protocol of peers and wallets."""

    def __init__(self, connection: Any, draining: asyncio.Task[None]) -> None:
        self.connection, self._draining = connection, draining

    @property
    def is_open(self) -> bool:
        """Whether the node still has it."""
        return not self.connection.closed

    async def subscribe(self, coins: int) -> int:
        """Subscribe to so many coins.  To how many the node agrees."""
        ids = [bytes32(number.to_bytes(32, "big")) for number in range(1, coins + 1)]
        answer = await self.connection.call_api(
            FullNodeAPI.register_for_coin_updates, RegisterForCoinUpdates(ids, uint32(0)), timeout=30
        )
        if answer is None:
            raise ConnectionError("a subscription was not answered")
        return len(answer.coin_ids)

    async def send(self, spend: Any) -> None:
        """Send a transaction, asked for or not."""
        await self.connection.send_message(
            make_msg(ProtocolMessageTypes.respond_transaction, RespondTransaction(spend))
        )


@contextlib.asynccontextmanager
async def peer(node: Node, kind: NodeType, version: str = "2.6.1") -> AsyncIterator[Peer]:
    """Connect to a node, as a peer of that kind and release."""
    root = node.folder / "chia"
    config = load_config(root, "config.yaml")
    authority, authority_key = chia_ssl_ca_paths(root, config)
    own = node.folder / f"{kind.name.lower()}-{id(object())}"
    cert, key = own.with_suffix(".crt"), own.with_suffix(".key")
    generate_ca_signed_cert(authority.read_bytes(), authority_key.read_bytes(), cert, key)
    context = ssl_context_for_client(authority, authority_key, cert, key)
    peer_id = bytes32(x509.load_pem_x509_certificate(cert.read_bytes()).fingerprint(hashes.SHA256()))
    async with aiohttp.ClientSession() as session:
        url = f"wss://{home.HOST}:{node.ready['port']}/ws"
        socket = await session.ws_connect(url, autoclose=True, autoping=True, ssl=context, max_msg_size=50_000_000)
        connection = ws_connection.WSChiaConnection.create(
            kind, socket, mock.Mock(), 0, logging.getLogger("outside"), True, None, None, peer_id, 100, 100,
            local_capabilities_for_handshake=default_capabilities[kind],
            stub_metadata_for_type=StubMetadataRegistry,
        )  # fmt: skip
        with mock.patch.object(ws_connection, "__version__", version):
            await connection.perform_handshake(config["full_node"]["selected_network"], 0, kind)
        if connection.incoming_message_task is not None:
            connection.incoming_message_task.cancel()  # nothing that the node asks is answered
        draining = asyncio.create_task(_drained(connection))
        try:
            yield Peer(connection, draining)
        finally:
            draining.cancel()
            await connection.close()


async def _drained(connection: Any) -> None:
    while True:
        await connection.incoming_queue.get()
