"""Taking a million objects up and down while an asyncio server answers: its latencies, and the memory that it takes.

The server and the objects are one process.  Its client is another, so that it waits for nothing but answers.  A machine
that does other things besides has better and worse seconds.  So each way is held up every other tenth of a second, and
its requests are compared with those of the tenths between; how much these differ among themselves is a row of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

from measure import Bar, Column, Row, Table

from livepatch.engine.pace import Slices

__all__ = ["tables"]

_OBJECTS = 1_000_000
_QUICK = 50_000
_TIMES_P99 = 1.5
_TIMES_MEMORY = 2.0
_TURN = 0.1  # seconds of a way, and of rest between
_EDGE = 0.01  # seconds before the end of a turn whose requests may belong to the next
_CONNECTIONS = 4
_THINK = 0.004  # seconds between an answer and the next question

_PEER = """\
class Peer:
    def __init__(self, number):
        self.name = f"peer-{number}"
        self.inbox = [number, number + 1, number + 2]
        self.score = number / 7

    def size(self):
        return len(self.inbox)
"""


def _rss() -> int:
    """The memory of this process, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


class _Gate:
    """Holds up the migration between two of its slices every other tenth of a second, and remembers when."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.windows: list[tuple[float, float, bool]] = []
        self.over = threading.Event()
        self.opens = 0.0
        pause = Slices.pause

        def gated(slices: Slices, worked: float) -> float:
            return max(pause(slices, worked), 0.0 if self.open.is_set() else self.opens - time.monotonic())

        Slices.pause = gated  # type: ignore[method-assign]  # in this process, which measures and ends

    def run(self) -> None:
        """Open and close until it is over."""
        while not self.over.is_set():
            for is_open in (True, False):
                begun = time.monotonic()
                self.opens = begun + _TURN
                (self.open.set if is_open else self.open.clear)()
                self.over.wait(_TURN)
                self.windows.append((begun, time.monotonic(), is_open))
        self.open.set()


def _server(objects: int, how: str) -> None:
    """The process under test: answers, and between two marks of its own takes all objects up, and down."""
    import asyncio

    from application import installed

    import livepatch

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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

    async def serve() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with installed(peers=_PEER) as (peers,):
            base = _rss()
            every = [peers.Peer(number) for number in range(objects)]
            state = _rss() - base
            peak = [0]
            fix = livepatch.Patch("MILLION", package=_distribution(peers.__name__), versions="==1.0")

            @fix.replace(f"{peers.__name__}:Peer.size")
            def size(self):  # noqa: ANN001, ANN202  # as in the target
                return len(self.inbox) + 0

            fix.migrate(
                "inbox",
                version=1,
                up=lambda peer: setattr(peer, "inbox", tuple(peer.inbox)),
                down=lambda peer: setattr(peer, "inbox", list(peer.inbox)),
                objects=lambda: every,
                loop=asyncio.get_running_loop() if how == "loop" else None,
            )
            applied = await asyncio.to_thread(livepatch.apply, fix, mode="off")  # the search for code is another table

            def switch(mode: str) -> None:
                applied.mode = mode  # type: ignore[assignment]  # on or off

            client = await asyncio.create_subprocess_exec(
                sys.executable, __file__, "client", str(port), stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            assert client.stdin is not None
            stop = threading.Event()

            def watch() -> None:
                while not stop.wait(0.05):
                    peak[0] = max(peak[0], _rss() - base)

            threading.Thread(target=watch, daemon=True).start()
            windows: dict[str, list[tuple[float, float, bool]]] = {}
            gate = _Gate()
            await asyncio.sleep(2)  # the first requests come to a server that is cold

            async def during(name: str, mode: str) -> None:
                gate.over.clear()
                gate.windows = windows[name] = []
                gating = threading.Thread(target=gate.run)
                gating.start()
                await asyncio.to_thread(switch, mode)
                gate.over.set()
                await asyncio.to_thread(gating.join)
                await asyncio.sleep(1)

            await during("up", "on")
            assert all(type(peer.inbox) is tuple for peer in every[:: max(1, objects // 1000)])
            await during("down", "off")
            assert all(type(peer.inbox) is list for peer in every[:: max(1, objects // 1000)])
            stop.set()
            told, _ = await client.communicate(b"\n")
            server.close()
        print(json.dumps({"windows": windows, "state": state, "peak": peak[0], "asked": json.loads(told)}))

    asyncio.run(serve())


def _distribution(module: str) -> str:
    return f"bench-application-{module.rpartition('_')[2]}"


def _client(port: int) -> None:
    """Ask again and again over several connections; tells when each question was put, and the seconds to its answer."""
    import asyncio

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


def _percentile(times: list[float], share: float) -> float:
    if not times:
        return float("nan")  # too few objects to be held up
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1e3


def _measured(objects: int, how: str) -> list[Row]:
    done = subprocess.run(
        [sys.executable, __file__, "server", str(objects), how], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found = json.loads(done.stdout.splitlines()[-1])
    rows = []
    for name, windows in found["windows"].items():
        busy, one, other = (_within(found["asked"], some) for some in (_busy(windows), *_quiet(windows)))
        ratios = [_percentile(times, 0.99) for times in (one, other)]
        figures = {"requests": len(one + other), **_figures(one + other), "p99 ratio": max(ratios) / min(ratios)}
        rows.append(Row(f"{how}: {name}, held up", figures))
        figures = {"requests": len(busy), "s": sum(end - begun for begun, end, _ in _busy(windows)), **_figures(busy)}
        figures["p99 ratio"] = figures["p99 ms"] / rows[-1].figures["p99 ms"]
        rows.append(Row(f"{how}: {name}", figures, Bar("p99 ratio", _TIMES_P99)))
    memory = found["peak"] / found["state"]
    rows.append(Row(f"{how}: memory of the objects", {"memory ratio": memory}, Bar("memory ratio", _TIMES_MEMORY)))
    return rows


_NEVER = (float("inf"), float("inf"), False)
_Windows = list[tuple[float, float, bool]]


def _busy(windows: _Windows) -> _Windows:
    return [each for each in windows if each[2]]


def _quiet(windows: _Windows) -> tuple[_Windows, _Windows]:
    quiet = [each for each in windows if not each[2]]
    return quiet[::2], quiet[1::2]


def _within(asked: list[tuple[float, float]], windows: _Windows) -> list[float]:
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


def tables(*, quick: bool = False) -> list[Table]:
    """Latencies of a server while objects are taken up and down, in a thread beside its loop, and in the loop."""
    objects = _QUICK if quick else _OBJECTS
    rows = [row for how in ("thread", "loop") for row in _measured(objects, how)]
    columns = [
        Column("requests", "{:.0f}"),
        Column("s", "{:.1f}"),
        Column("p50 ms", "{:.2f}"),
        Column("p99 ms", "{:.2f}"),
        Column("p99.9 ms", "{:.2f}"),
        Column("p99 ratio", "{:.2f}"),
        Column("memory ratio", "{:.2f}"),
    ]
    return [
        Table(
            f"An asyncio server while {objects:,} objects are migrated",
            columns,
            rows,
            "p99 ratio: beside the tenths of a second between, in which the migration is held up; of these, the worse "
            "half of them beside the better, taken in turn. memory ratio: the largest that the objects and all that "
            "the migration keeps take, beside the objects alone.",
        )
    ]


if __name__ == "__main__":
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    if sys.argv[1] == "server":
        _server(int(sys.argv[2]), sys.argv[3])
    else:
        _client(int(sys.argv[2]))
