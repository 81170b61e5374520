"""Run a node until it is told to stop: ``python -m minichain --config node.toml``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import socket
from pathlib import Path

import livepatch
from minichain import config
from minichain.node import Node


async def run(settings: config.Config, p2p: socket.socket | None, rpc: socket.socket | None) -> None:
    """Run a node until SIGTERM or SIGINT."""
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    node = Node(settings)
    async with agent_of(settings, node):  # what the node is wished to run is in before it opens its doors
        await node.start(p2p, rpc)
        await told.wait()
        await node.stop()


def agent_of(settings: config.Config, node: Node) -> livepatch.Agent | contextlib.nullcontext[None]:
    """What takes patches while the node runs, if it is told whose."""
    if not settings.trust:
        return contextlib.nullcontext()
    trust: object = livepatch.UNSIGNED
    if settings.trust != "UNSIGNED":
        trust = livepatch.TrustRoot.load(settings.trust, state=settings.data / "trust-state.json")
    return livepatch.Agent(
        settings.data / "patches",
        trust=trust,
        height=node.height_in_work,
        guard=settings.guard,
        name=settings.name,
        fleet=livepatch.Fleet(settings.fleet, ttl=settings.fleet_ttl) if settings.fleet else None,
        probes=node.probes() if settings.fleet else (),
    )


def main() -> None:
    """Read the command line, and run."""
    parser = argparse.ArgumentParser(prog="minichain", description="A node of a small chain, on 127.0.0.1 only.")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--p2p-fd", type=int, help="a listening socket, in place of the port")
    parser.add_argument("--rpc-fd", type=int, help="a listening socket, in place of the port")
    arguments = parser.parse_args()
    given = (arguments.p2p_fd, arguments.rpc_fd)
    p2p, rpc = (None if number is None else socket.socket(fileno=number) for number in given)
    asyncio.run(run(config.read(arguments.config), p2p, rpc))


if __name__ == "__main__":
    main()
