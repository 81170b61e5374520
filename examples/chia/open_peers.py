"""The fix of `respond_transaction` goes into two live nodes with a connection open between them, and out again.

Chia 2.6.1 takes in whatever transaction a peer sends, asked for or not.  The body of 2.7.0 counts what it has asked for
on the connection, in an attribute that connections made before the fix lack.  livepatch builds the patch from the two
releases and gives those connections the attribute; blocks and transactions flow all the while.

    open_peers.py [CYCLES]
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

import chia
from chia.protocols.full_node_protocol import RespondTransaction
from chia.protocols.outbound_message import make_msg
from chia.protocols.protocol_message_types import ProtocolMessageTypes
from network import Network, network, until

import livepatch

OLD, NEW = Path(chia.__file__).parent.parent, "chia-blockchain==2.7.0"  # what is installed, and what pip fetches
TARGET = "chia.full_node.full_node_api:FullNodeAPI.respond_transaction"


async def flood(net: Network) -> bool:
    """B sends A a transaction that A has not asked for.  Whether A takes it in."""
    spend = await net.spend()
    await net.connection(net.b).send_message(
        make_msg(ProtocolMessageTypes.respond_transaction, RespondTransaction(spend))
    )
    try:
        await until(lambda: net.waits(net.a, spend), "not taken", seconds=1.5)
    except TimeoutError:
        return False
    return True


async def traffic(net: Network, stop: asyncio.Event) -> tuple[int, int]:
    """Transactions that A announces and B asks for, and blocks with them, until told to stop.  Counts of both."""
    sent = 0
    while not stop.is_set():
        spend = await net.spend()
        await net.rpc_a.push_tx(spend)
        await until(lambda spend=spend: net.waits(net.b, spend), "B has not got a transaction that it asked for")
        sent += 1
        await net.farm()
        if net.waits(net.b, spend):
            raise RuntimeError("a block came without the transaction that waited")
    return sent, net.height


async def main(cycles: int) -> None:
    """Show the flaw, close it, open it again."""
    fix = livepatch.build(OLD, NEW, package="chia-blockchain", only=[TARGET])
    for entry in fix.plan:
        if entry.verdict != "left-out":
            print(f"{entry.verdict:6} {entry.target} ({entry.what}){f': {entry.why}' if entry.why else ''}")
    async with network() as net:
        await net.farm(4)  # the first rewards can be spent
        peers: list[Any] = [net.connection(node) for node in (net.a, net.b)]
        say("2.6.1 takes in what nobody asked for", await flood(net), expected=True)
        stop = asyncio.Event()
        flowing = asyncio.create_task(traffic(net, stop))
        for _ in range(cycles):
            applied = await asyncio.to_thread(livepatch.apply, fix)
            await applied.settled()
            print(applied.status())
            say("  takes it in", await flood(net), expected=False)
            peers[0].expected_mempool_responses += 1  # as 2.7.0 does when it asks an old peer for its mempool
            say("  takes one that it expects of an open peer", await flood(net), expected=True)
            say("  takes a second", await flood(net), expected=False)
            await asyncio.to_thread(applied.revert)
            await applied.settled()
            say("  reverted, takes it in", await flood(net), expected=True)
            left = [hasattr(peer, "expected_mempool_responses") for peer in peers]
            say("  attribute left behind", any(left), expected=False)
            if flowing.done():
                break
        stop.set()
        sent, height = await flowing
        print(f"{sent} transactions and {height} blocks meanwhile")
        say("everything as before", bool(livepatch.verify()), expected=True)
        say("the same connections", [net.connection(node) for node in (net.a, net.b)] == peers, expected=True)


def say(what: str, seen: bool, *, expected: bool) -> None:
    """Print what was seen; :class:`SystemExit` if it is not what was expected."""
    print(f"{what}: {'yes' if seen else 'no'}", flush=True)
    if seen is not expected:
        raise SystemExit(f"that was not expected: {what.strip()}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
