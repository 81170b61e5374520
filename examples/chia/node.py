"""One Chia full node in a process of its own, with an agent in it: node.py FOLDER [--follows PORT] [--max-rest SECONDS]

It is the real `chia-blockchain` 2.6.1, started by its own simulator, on loopback and offline.  Without PORT it makes
blocks when its RPC is asked to; with PORT it follows the node that listens there.  What it keeps, the chain and the
store of patches, is in FOLDER, so it goes on where it was killed.  It makes plots at its first start, half a minute;
they are kept below CHIA_SIM_HOME, by default a folder in the temporary directory.

SIGUSR1 has it write down which functions of chia are not as they were before the agent began.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from types import FunctionType
from typing import Any

import home  # first: chia reads its folder when it is imported
import structlog
from chia.server.ws_connection import WSChiaConnection
from chia.simulator.block_tools import create_block_tools_async, test_constants
from chia.simulator.keyring import TempKeyring
from chia.simulator.setup_services import setup_full_node
from chia.simulator.ssl_certs import get_next_nodes_certs_and_keys, get_next_private_ca_cert_and_key
from chia.types.peer_info import PeerInfo

import livepatch
from livepatch.health import probes

HERE = Path(__file__).resolve().parent
SETTINGS = {
    "full_node.max_sync_wait": 0,
    "full_node.log_coins": False,
    "full_node.block_creation_timeout": 10,
    "full_node.max_subscribe_items": home.LIMIT,
    "full_node.trusted_max_subscribe_items": home.LIMIT,
}
PLOTS = {"num_og_plots": 4, "num_pool_plots": 0, "num_non_keychain_plots": 0, "num_v2_plots": 0}
INTERVAL = 1.0  # seconds between two readings of the probes


class Originals:
    """What the functions of chia were.  Code is referred to weakly: a reference more would look like a call."""

    def __init__(self) -> None:
        functions = [each for each in gc.get_objects() if type(each) is FunctionType]
        self._was = [
            (each, weakref.ref(each.__code__), each.__defaults__, each.__kwdefaults__)
            for each in functions
            if str(each.__module__).partition(".")[0] == "chia"
        ]

    def told(self) -> dict[str, Any]:
        """How many there are, and which are other ones by now."""
        changed = [
            f"{function.__module__}:{function.__qualname__}"
            for function, code, defaults, keyword in self._was
            if function.__code__ is not code()
            or function.__defaults__ is not defaults
            or function.__kwdefaults__ is not keyword
        ]
        lent = [name for name in ("expected_mempool_responses",) if name in vars(WSChiaConnection)]
        return {"functions": len(self._was), "changed": sorted(set(changed)), "names": lent}


@contextlib.asynccontextmanager
async def chia(folder: Path, follows: int | None) -> AsyncIterator[Any]:
    """The node, with its doors open."""
    if follows is not None:  # the first ones are the other node's: with the same, both would be the same peer
        get_next_nodes_certs_and_keys(), get_next_private_ca_cert_and_key()
    with TempKeyring(populate=True) as keys:
        async with create_block_tools_async(
            constants=test_constants, root_path=folder, keychain=keys, config_overrides=dict(SETTINGS), **PLOTS
        ) as tools:
            started = setup_full_node(
                tools.constants, "chain.db", home.HOST, tools, simulator=follows is None, db_version=2, reuse_db=True
            )
            async with started as service:
                node = service._api.full_node
                if follows is not None and not await node.server.start_client(
                    PeerInfo(home.HOST, follows), node.on_connect
                ):
                    raise ConnectionError(f"nobody listens at port {follows}")
                yield service


def behind(node: Any) -> int | None:
    """How many blocks a node is behind the highest that a peer has told it of."""
    best = node.sync_store.get_heaviest_peak()
    return None if best is None else max(0, best.height - (node.blockchain.get_peak_height() or 0))


async def main(folder: Path, follows: int | None, max_rest: float | None) -> None:
    """Come up with the patches that are wished for, then open the doors; run until told to end, or left alone."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    originals = Originals()
    loop.add_signal_handler(signal.SIGUSR1, lambda: home.write(folder / home.IDENTITY, originals.told()))
    node: Any = None
    agent = livepatch.Agent(
        folder / "store",
        trust=livepatch.TrustRoot.load(folder.parent / "trust.json", state=folder / "trust-state.json"),
        policy=HERE / "rules.toml",
        probes=[
            *probes.process_probes(),
            probes.LoopLag(),
            probes.head_lag(lambda: None if node is None or follows is None else behind(node)),
        ],
        interval=INTERVAL,
        guard=3.0,  # short, since this is a demonstration
        max_rest=max_rest,
        name=folder.name,
    )
    async with agent:
        patched = [status.id for status in livepatch.status()]  # before anybody can ask the node anything
        async with chia(folder / "chia", follows) as service:
            node = service._api.full_node
            ports = {"port": node.server.get_port(), "rpc": service.rpc_server.listen_port}
            home.write(folder / home.READY, {"pid": os.getpid(), "patched": patched, **ports})
            parent = os.getppid()
            while not ended.is_set() and os.getppid() == parent:  # nobody is left who could end it
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), 1.0)


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--follows", type=int)
    parser.add_argument("--max-rest", type=float)
    given = parser.parse_args()
    folder = given.folder.resolve()
    (folder / "chia").mkdir(parents=True, exist_ok=True)
    asyncio.run(main(folder, given.follows, given.max_rest))
