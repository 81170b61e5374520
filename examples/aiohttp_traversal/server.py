"""The RPC face of a small node: JSON-RPC at `/rpc`, chain snapshots for other nodes at `/snapshots/`.

    server.py DIRECTORY

DIRECTORY holds `snapshots/`, which is served with symbolic links followed, and whatever lies beside it.

What an operator's agent would do in such a process, it does on commands: lines of JSON on standard input,
answered on standard output. livepatch's events go to standard error, as lines of JSON too.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Literal

import structlog
from aiohttp import web
from aiohttp.web_urldispatcher import StaticResource
from chain import Chain
from fixes import traversal

import livepatch

BLOCK_SECONDS = 0.25
CHAIN: web.AppKey[Chain] = web.AppKey("chain", Chain)

structlog.configure(
    processors=[structlog.processors.JSONRenderer(default=str)],
    logger_factory=structlog.PrintLoggerFactory(sys.stderr),
)


async def rpc(request: web.Request) -> web.Response:
    """Answer one JSON-RPC 2.0 call."""
    chain = request.app[CHAIN]
    call = await request.json()
    match call:
        case {"method": "getHeight"}:
            result: object = chain.height
        case {"method": "getBlock", "params": [int(number)]} if 0 <= number <= chain.height:
            result = chain.blocks[number].as_json()
        case {"method": "sendTransaction", "params": [str(transaction)]}:
            result = chain.send(transaction)
        case _:
            error = {"code": -32602, "message": "no such method or block"}
            return web.json_response({"jsonrpc": "2.0", "id": call.get("id"), "error": error})
    return web.json_response({"jsonrpc": "2.0", "id": call.get("id"), "result": result})


async def grow(app: web.Application) -> None:
    """Seal a block every BLOCK_SECONDS."""
    while True:
        await asyncio.sleep(BLOCK_SECONDS)
        app[CHAIN].seal()


def code_now() -> list[int]:
    """Return the identities of the live code objects that the fix is about, without holding on to them."""
    return [id(StaticResource._handle.__code__), id(StaticResource.url_for.__code__)]


class Operator:
    """What the operator of this process can ask for; each method is one command."""

    def __init__(self) -> None:
        self._applied: Any = None

    def identity(self) -> dict[str, Any]:
        """Say which process this is, which code it runs and what is applied to it."""
        applied = [str(each) for each in livepatch.status()]
        return {"pid": os.getpid(), "code": code_now(), "applied": applied}

    def check(self, max_rest: float | None = None) -> dict[str, Any]:
        """Ask whether the fix fits this process."""
        report = livepatch.check(traversal, max_rest=max_rest)
        return {"ok": report.ok, "report": str(report)}

    def pause(self, seconds: float) -> dict[str, Any]:
        """Do nothing, for comparison."""
        time.sleep(seconds)
        return {}

    def apply(self, max_rest: float | None = None) -> dict[str, Any]:
        """Switch the process over to the fix."""
        self._applied = livepatch.apply(traversal, max_rest=max_rest)
        return {}

    def mode(self, mode: Literal["on", "off"]) -> dict[str, Any]:
        """Move the fix's flag."""
        livepatch.flags[traversal.flag] = mode
        return {}

    def revert(self) -> dict[str, Any]:
        """Take the fix back."""
        livepatch.revert(traversal.id)
        return {}

    def timed(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command, between two readings of the monotonic clock, which all processes share."""
        perform = getattr(self, command.pop("do"))
        began = time.monotonic()
        try:
            answer = perform(**command)
        except livepatch.LivepatchError as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        ended = time.monotonic()
        # The call returns once the other side is live; calls that began before may take until now to finish.
        done = self._applied is not None and self._applied.wait(5.0)
        return {"began": began, "ended": ended, "settled": time.monotonic(), "done": done, **answer}


async def obey(operator: Operator) -> None:
    """Carry out commands until standard input ends, in a thread, so that requests are served meanwhile."""
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    async for line in commands:
        answer = await asyncio.to_thread(operator.timed, json.loads(line))
        print(json.dumps(answer), flush=True)


async def main(directory: Path) -> None:
    """Serve until standard input ends."""
    app = web.Application()
    app[CHAIN] = Chain()
    app.router.add_post("/rpc", rpc)
    app.router.add_static("/snapshots", directory / "snapshots", follow_symlinks=True)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    growing = asyncio.create_task(grow(app))
    host, port = runner.addresses[0][:2]
    gc.freeze()  # as a long-lived server does once it is up
    print(json.dumps({"host": host, "port": port}), flush=True)
    try:
        await obey(Operator())
    finally:
        growing.cancel()
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
