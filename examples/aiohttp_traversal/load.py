"""Real HTTP load from a process of its own: clients that keep their connections and check every answer.

    load.py HOST PORT SECONDS

Each client mixes JSON-RPC calls with snapshot downloads until a line comes on standard input or SECONDS
have passed. Then all is printed as one line of JSON, `{"connections": n, "requests": [[began, ended,
error], ...]}`, times in seconds of the monotonic clock and the error null where the answer was right.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from typing import Any

import aiohttp
from snapshots import FILES

CLIENTS = 16
PAUSE = 0.02  # seconds between a client's requests: load, but not a saturated machine


class WrongAnswerError(Exception):
    """The node answered, but not what a correct node answers."""


class Client:
    """One client of the node: it knows what it has seen, so it knows a wrong answer."""

    def __init__(self, session: aiohttp.ClientSession, seed: int) -> None:
        self.session = session
        self.height = 0
        self.hashes: dict[int, str] = {}
        self.random = random.Random(seed)  # noqa: S311 -- a mix of requests, not a secret
        self.requests: list[tuple[float, float, str | None]] = []

    async def run(self, until: asyncio.Event) -> None:
        """Send one request after the other until told to stop."""
        while not until.is_set():
            (request,) = self.random.choices(
                [self.get_height, self.get_block, self.send, self.download, self.miss],
                weights=[6, 6, 2, 8, 1],
            )
            began, error = time.monotonic(), None
            try:
                await request()
            except (aiohttp.ClientError, TimeoutError, WrongAnswerError) as failure:
                error = f"{request.__name__}: {type(failure).__name__}: {failure}"
            self.requests.append((began, time.monotonic(), error))
            await asyncio.sleep(self.random.uniform(0, 2 * PAUSE))

    async def get_height(self) -> None:
        """The height never falls."""
        height = await self._call("getHeight")
        expect(height >= self.height, f"height fell from {self.height} to {height}")
        self.height = height

    async def get_block(self) -> None:
        """A block is the one that was asked for, and follows the block before."""
        number = self.random.randint(0, self.height)
        block = await self._call("getBlock", number)
        expect(block["number"] == number, f"asked for block {number}, got {block['number']}")
        before = self.hashes.get(number - 1, block["parent_hash"])
        expect(block["parent_hash"] == before, f"block {number} does not follow block {number - 1}")
        self.hashes[number] = block["hash"]

    async def send(self) -> None:
        """A transaction is acknowledged by its hash."""
        expect(len(await self._call("sendTransaction", str(self.random.random()))) == 64, "no transaction hash")

    async def download(self) -> None:
        """A snapshot has exactly its bytes, also through a link that leads out of the directory."""
        name, content = self.random.choice(list(FILES.items()))
        async with self.session.get(f"/snapshots/{name}") as response:
            expect(response.status == 200, f"{name} gave status {response.status}")
            expect(await response.read() == content, f"{name} has other bytes")

    async def miss(self) -> None:
        """A snapshot that does not exist is refused politely."""
        async with self.session.get("/snapshots/state/9999.bin") as response:
            expect(response.status == 404, f"a missing snapshot gave status {response.status}")
            await response.read()  # or the connection could not be kept

    async def _call(self, method: str, *params: object) -> Any:
        call = {"jsonrpc": "2.0", "id": len(self.requests), "method": method, "params": params}
        async with self.session.post("/rpc", json=call) as response:
            expect(response.status == 200, f"{method} gave status {response.status}")
            answer = await response.json()
        expect("result" in answer and answer["id"] == call["id"], f"{method} gave {answer}")
        return answer["result"]


def expect(held: bool, otherwise: str) -> None:
    """Raise WrongAnswerError unless what was expected held."""
    if not held:
        raise WrongAnswerError(otherwise)


async def main(host: str, port: int, seconds: float) -> None:
    """Run all clients, then print what they met."""
    connections = 0

    async def count(*_: object) -> None:
        nonlocal connections
        connections += 1

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_create_end.append(count)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, stop.set)
    loop.call_later(seconds, stop.set)
    async with aiohttp.ClientSession(
        f"http://{host}:{port}",
        connector=aiohttp.TCPConnector(limit=CLIENTS, keepalive_timeout=60),
        timeout=aiohttp.ClientTimeout(total=5),
        trace_configs=[tracing],
    ) as session:
        clients = [Client(session, seed) for seed in range(CLIENTS)]
        await asyncio.gather(*(client.run(stop) for client in clients))
    requests = sorted(request for client in clients for request in client.requests)
    print(json.dumps({"connections": connections, "requests": requests}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
