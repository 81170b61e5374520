"""The attacker: reads a key that the server must not serve, as often as it is let."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from snapshots import EXPLOITS, SECRET

PAUSE = 0.01  # seconds between two attempts


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request of the attacker."""

    began: float
    ended: float
    path: str
    status: int
    leaked: bool


class Attacker:
    """Tries every spelling of the exploit in turn, over one connection that stays open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._tried = asyncio.Condition()
        self.attempts: list[Attempt] = []

    async def run(self) -> None:
        """Attack until cancelled. Raises asyncio.IncompleteReadError if the server drops the connection."""
        while True:
            for path in EXPLOITS:
                await self._try(path)
                await asyncio.sleep(PAUSE)

    async def _try(self, path: str) -> None:
        began = time.monotonic()
        # By hand: a well-behaved client would resolve the dots before it sends the path.
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: node\r\n\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        (length,) = (line for line in head.split("\r\n") if line.startswith("content-length:"))
        body = await self._reader.readexactly(int(length.partition(":")[2]))
        leaked = SECRET.encode() in body
        async with self._tried:
            self.attempts.append(Attempt(began, time.monotonic(), path, int(head.split()[1]), leaked))
            self._tried.notify_all()

    async def next_round(self) -> list[Attempt]:
        """Wait until every spelling was tried once more, from now on."""
        done = len(self.attempts) + 1  # the one under way began before
        async with self._tried:
            await self._tried.wait_for(lambda: len(self.attempts) >= done + len(EXPLOITS))
        return self.attempts[done : done + len(EXPLOITS)]
