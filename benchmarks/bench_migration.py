"""Taking a million objects up and down while an asyncio server answers: its latencies, and the memory that it takes.

The server and the objects are one process; its clients are another, so that they wait for nothing but answers.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from application import installed
from measure import Bar, Column, Row, Table
from serving import COLUMNS, TOLD, Gate, Windows, compared, measured, served

import livepatch
from livepatch.engine.pace import Slices

__all__ = ["tables"]

_OBJECTS = {"thread": 1_000_000, "loop": 200_000}  # in the loop each takes ten times as long by the clock
_QUICK = 50_000
_TIMES_P99 = 1.5
_TIMES_MEMORY = 2.0

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


def _gated(gate: Gate) -> None:
    """Hold migrations up between two of their slices while the gate is shut."""
    pause = Slices.pause

    def gated(slices: Slices, worked: float) -> float:
        return max(pause(slices, worked), gate.shut_for)

    Slices.pause = gated  # type: ignore[method-assign]  # in this process, which measures and ends


async def _server(objects: int, how: str) -> None:
    """The process under test: answers, and between two marks of its own takes all objects up, and down."""
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

        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(0.05):
                peak[0] = max(peak[0], _rss() - base)

        threading.Thread(target=watch, daemon=True).start()
        windows: dict[str, Windows] = {}
        gate = Gate()
        _gated(gate)
        async with served() as asked:
            windows["up"] = await gate.during(switch, "on")
            assert all(type(peer.inbox) is tuple for peer in every[:: max(1, objects // 1000)])
            windows["down"] = await gate.during(switch, "off")
            assert all(type(peer.inbox) is list for peer in every[:: max(1, objects // 1000)])
            stop.set()
    print(json.dumps({"windows": windows, "state": state, "peak": peak[0], "asked": asked}))


def _distribution(module: str) -> str:
    return f"bench-application-{module.rpartition('_')[2]}"


def _measured(objects: int, how: str) -> list[Row]:
    found = measured(__file__, objects, how)
    memory = found["peak"] / found["state"]
    return [
        *compared(how, found["windows"], found["asked"], _TIMES_P99),
        Row(f"{how}: memory of the objects", {"memory ratio": memory}, Bar("memory ratio", _TIMES_MEMORY)),
    ]


def tables(*, quick: bool = False) -> Iterator[Table]:
    """Latencies of a server while objects are taken up and down, in a thread beside its loop, and in the loop."""
    columns = (*COLUMNS, Column("memory ratio", "{:.2f}"))
    note = (
        f"{TOLD} memory ratio: the largest that the objects and all that the migration keeps take, beside the objects "
        "alone."
    )
    for how, most in _OBJECTS.items():
        objects = min(most, _QUICK) if quick else most
        yield Table(f"An asyncio server while {objects:,} objects are migrated", columns, _measured(objects, how), note)


if __name__ == "__main__":
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    asyncio.run(_server(int(sys.argv[2]), sys.argv[3]))
