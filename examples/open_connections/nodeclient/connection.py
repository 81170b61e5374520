"""Connections to peers, open for weeks."""

from __future__ import annotations

import asyncio


class Frame:
    """A message on its way.  Thousands are in flight, so that each is kept small."""

    __slots__ = ("body",)

    def __init__(self, body: bytes) -> None:
        self.body = body


class Connection:
    """An open connection.  The peer may send what nobody asked for: that is the flaw."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def request_transaction(self) -> None:
        """Ask the peer for a transaction."""
        await asyncio.sleep(0)

    async def on_transaction(self, frame: Frame) -> str:
        """Take a transaction that the peer has sent."""
        await asyncio.sleep(0)
        return "taken" if frame.body else "empty"
