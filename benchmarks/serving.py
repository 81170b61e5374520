"""An asyncio server under load, and work in its process that is held up every other tenth of a second.

A machine that does other things besides has better and worse seconds.  So the requests of the tenths in which the work
goes on are compared with those of the tenths between; how much these differ among themselves is a row of its own.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from measure import Bar, Column, Row

__all__ = ["COLUMNS", "TOLD", "Gate", "client", "compared", "measured", "served"]

_TURN = 0.1  # seconds of work, and of rest between
_EDGE = 0.01  # seconds before the end of a turn whose requests may belong to the next
_CONNECTIONS = 4
_THINK = 0.004  # seconds between an answer and the next question

Windows = list[tuple[float, float, bool]]

COLUMNS = (
    Column("requests", "{:.0f}"),
    Column("s", "{:.1f}"),
    Column("p50 ms", "{:.2f}"),
    Column("p99 ms", "{:.2f}"),
    Column("p99.9 ms", "{:.2f}"),
    Column("p99 ratio", "{:.2f}"),
)
"""Of the rows of :func:`compared`."""
TOLD = (
    "p99 ratio: beside the tenths of a second between, in which the work is held up; of these, the worse half of them "
    "beside the better, taken in turn."
)


class Gate:
    """Opens and closes every tenth of a second, and remembers when."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.windows: Windows = []
        self.over = threading.Event()
        self._opens = 0.0

    @property
    def shut_for(self) -> float:
        """How many seconds it stays shut from now on."""
        return 0.0 if self.open.is_set() else max(0.0, self._opens - time.monotonic())

    def run(self) -> None:
        """Open and close until it is over."""
        while not self.over.is_set():
            for is_open in (True, False):
                begun = time.monotonic()
                self._opens = begun + _TURN
                (self.open.set if is_open else self.open.clear)()
                self.over.wait(_TURN)
                self.windows.append((begun, time.monotonic(), is_open))
        self.open.set()

    async def during(self, work: Any, *arguments: object) -> Windows:
        """Have a thread do the work, gated; give the turns that it took."""
        self.over.clear()
        self.windows = []
        gating = threading.Thread(target=self.run)
        gating.start()
        try:
            await asyncio.to_thread(work, *arguments)
        finally:
            self.over.set()
            await asyncio.to_thread(gating.join)
        await asyncio.sleep(1)
        return self.windows


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while line := await reader.readline():
            asked = json.loads(line)
            total = sum(i * i for i in range(asked["work"]))
            writer.write(json.dumps({"number": asked["number"], "total": total}).encode() + b"\n")
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def served() -> AsyncIterator[list[tuple[float, float]]]:
    """A server in this loop with clients in another process; at the end the list has each question and its seconds."""
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    clients = await asyncio.create_subprocess_exec(
        sys.executable, __file__, str(port), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    asked: list[tuple[float, float]] = []
    await asyncio.sleep(2)  # the first requests come to a server that is cold
    yield asked
    told, _ = await clients.communicate(b"\n")
    asked += json.loads(told)
    server.close()


def client(port: int) -> None:
    """Ask again and again over several connections; tells when each question was put, and the seconds to its answer."""
    asked: list[tuple[float, float]] = []

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        number = 0
        while True:
            number += 1
            begun = time.monotonic()
            writer.write(json.dumps({"number": number, "work": 300}).encode() + b"\n")
            await reader.readline()
            asked.append((begun, time.monotonic() - begun))
            await asyncio.sleep(_THINK)

    async def main() -> None:
        asking = [asyncio.create_task(ask()) for _ in range(_CONNECTIONS)]
        await asyncio.to_thread(sys.stdin.readline)
        for each in asking:
            each.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    asyncio.run(main())
    print(json.dumps(asked))


def measured(file: str, *arguments: object) -> Any:
    """What a benchmark's file prints at last, run as a process of its own with ``server`` and these arguments."""
    done = subprocess.run(
        [sys.executable, file, "server", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def compared(way: str, windows: Mapping[str, Windows], asked: list[tuple[float, float]], most: float) -> list[Row]:
    """Two rows for each piece of work: the tenths in which it was held up, and those in which it went on."""
    rows = []
    for name, turns in windows.items():
        busy, one, other = (_within(asked, some) for some in (_busy(turns), *_quiet(turns)))
        ratios = [_percentile(times, 0.99) for times in (one, other)]
        figures = {"requests": len(one + other), **_figures(one + other), "p99 ratio": max(ratios) / min(ratios)}
        rows.append(Row(f"{way}: {name}, held up", figures))
        figures = {"requests": len(busy), "s": sum(end - begun for begun, end, _ in _busy(turns)), **_figures(busy)}
        figures["p99 ratio"] = figures["p99 ms"] / rows[-1].figures["p99 ms"]
        rows.append(Row(f"{way}: {name}", figures, Bar("p99 ratio", most)))
    return rows


def _percentile(times: list[float], share: float) -> float:
    if not times:
        return float("nan")  # too little work to be held up
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1e3


_NEVER = (float("inf"), float("inf"), False)


def _busy(windows: Windows) -> Windows:
    return [each for each in windows if each[2]]


def _quiet(windows: Windows) -> tuple[Windows, Windows]:
    quiet = [each for each in windows if not each[2]]
    return quiet[::2], quiet[1::2]


def _within(asked: list[tuple[float, float]], windows: Windows) -> list[float]:
    spans = iter(windows)
    begin, end, _ = next(spans, _NEVER)
    found = []
    for begun, took in sorted(asked):
        while begun > end - _EDGE:
            begin, end, _ = next(spans, _NEVER)
        if begun >= begin:
            found.append(took)
    return found


def _figures(times: list[float]) -> dict[str, float]:
    return {
        "p50 ms": _percentile(times, 0.5),
        "p99 ms": _percentile(times, 0.99),
        "p99.9 ms": _percentile(times, 0.999),
    }


if __name__ == "__main__":
    client(int(sys.argv[1]))
