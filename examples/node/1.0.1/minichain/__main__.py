"""Run a node until it is told to stop: ``python -m minichain --config node.toml``."""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
from pathlib import Path

from minichain import config
from minichain.admin import Admin
from minichain.node import Node


async def run(settings: config.Config, p2p: socket.socket | None, rpc: socket.socket | None) -> None:
    """Run a node until SIGTERM or SIGINT."""
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    node = Node(settings)
    admin = Admin(settings.data / "admin.sock", settings.trust, node.height_in_work, node.same_patches)
    if settings.admin:
        await admin.start()
    await node.start(p2p, rpc)
    await told.wait()
    await admin.stop()
    await node.stop()


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
