"""The long form: the fix goes into both nodes and out again, so many times, while everything flows."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import home
from chia.protocols.outbound_message import NodeType
from outside import peer

from livepatch.node.client import Node
from livepatch.node.protocol import Apply, Revert

if TYPE_CHECKING:
    from desk import Patch
    from load import Load
    from outside import Node as Real

MANY = 50  # coins to which a wallet subscribes at each turn
PATIENCE = 300.0  # seconds for calls in flight to end, on a machine that does much else


async def cycles(load: Load, patch: Patch, count: int) -> None:
    """Apply and revert `count` times; tell heights, failed requests and memory on the way, and where it ends."""
    parts = tuple(file.read_bytes() for file in (patch.file, *patch.approvals))
    apply = Apply(mode="on", consistency="", replaces=(), timeout=60.0, drain=PATIENCE)
    revert = Revert(id=patch.id, consistency="", timeout=60.0, drain=PATIENCE)
    began, longest, done = time.monotonic(), 0.0, 0
    nodes = (load.a, load.b)
    try:
        async with peer(load.a, NodeType.WALLET) as on_a, peer(load.b, NodeType.WALLET) as on_b:
            while done < count and not load.broken():
                if done % max(1, count // 20) == 0:
                    await _tell(load, done, time.monotonic() - began)
                for request, files, agreed in ((apply, parts, home.LIMIT), (revert, (), MANY)):
                    start = time.monotonic()
                    await asyncio.gather(*(asyncio.to_thread(_ask, node, request, files) for node in nodes))
                    longest = max(longest, time.monotonic() - start)
                    for wallet in (on_a, on_b):
                        found = await wallet.subscribe(MANY)
                        if found != agreed:
                            raise SystemExit(f"cycle {done}: a wallet subscribes to {found} coins instead of {agreed}")
                done += 1
        for node in nodes:
            told = await node.identity()
            print(
                f"{node.name}: of {told['functions']} functions not the identical ones: {told['changed']}", flush=True
            )
    finally:
        await _tell(load, done, time.monotonic() - began)
        print(f"the longest change of both nodes took {longest:.2f} s", flush=True)


def _ask(node: Real, request: Any, files: tuple[bytes, ...]) -> None:
    with Node(node.store / "control.sock") as asked:
        told = asked.ask(request, files)
    status = told.get("status")
    if status is not None and not status["drained"]:
        raise RuntimeError(f"{node.name} still drains: {status['text']}")


async def _tell(load: Load, cycle: int, seconds: float) -> None:
    heights = [await node.height() for node in (load.a, load.b)]
    memory = " ".join(f"{node.memory():.0f}" for node in (load.a, load.b))
    print(
        f"cycle {cycle}: {seconds:.0f} s, heights {heights}, {load.blocks} blocks, {load.transactions} transactions, "
        f"{load.requests} requests of which {len(load.failed)} failed, slowest {load.slowest:.2f} s, {memory} MB",
        flush=True,
    )
