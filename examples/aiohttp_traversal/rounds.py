"""What clients notice while the server of the demo is patched: the p99 of their requests, beside that of the rest.

    make demo-rounds

The patch goes in and out again and again, under the load of the demo. Requests that were in flight while `apply` ran
are set beside those of the seconds just before it, in which the server runs as it did before there was any patch.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from console import Load, Server, Step, process, serve
from demo import HERE
from results import Request, in_flight, phase_row, table
from snapshots import lay_out
from story import Story

QUIET = 4.0  # seconds between two switches
LONGEST = 20.0  # seconds for a round, beyond which something hangs


class Silent(Story):
    """A story of which only the claims matter."""

    def tell(self, who: str, what: str) -> None:
        """Print nothing but what went wrong."""
        if who in {"stderr", "load"}:
            super().tell(who, what)


async def play(directory: Path, rounds: int, story: Story) -> tuple[list[Step], list[Request]]:
    """Patch and take back so many times; return the switches and what the clients met."""
    lay_out(directory)
    limit = LONGEST * (rounds + 1)
    async with asyncio.timeout(limit), AsyncExitStack() as stack:
        server: Server = await stack.enter_async_context(serve(HERE / "server.py", directory, story))
        host, port = await server.started()
        load = Load(await stack.enter_async_context(process(HERE / "load.py", host, port, limit)))
        await asyncio.sleep(1.0)  # the clients connect
        for number in range(1, rounds + 1):
            await asyncio.sleep(QUIET)
            await server.switch("apply", "apply")
            await asyncio.sleep(1.0)
            await server.switch("revert", "revert")
            print(f"\r{number} of {rounds}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        requests, _ = await load.stop()  # in so long a time clients do let go of a connection they do not need
    return server.switches, requests


def main() -> int:
    """Measure and print; 0 if every request was answered right and every switch was made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="how many times the patch goes in and out")
    rounds = parser.parse_args().rounds
    story = Silent()
    with tempfile.TemporaryDirectory() as directory:
        switches, requests = asyncio.run(play(Path(directory), rounds, story))
    applies = [step for step in switches if step.name == "apply"]
    before = [
        request for step in applies for request in requests if step.began - QUIET <= request.began
        and request.ended < step.began
    ]  # fmt: skip
    during = [request for step in applies for request in in_flight(step, requests)]
    rows = [phase_row("before apply", before), phase_row("in flight during apply", during)]
    print(table([["", "served", "failed", "p50 ms", "p99 ms"], *rows]))
    print(f"\n  p99 while the patch goes in, beside before: {float(rows[1][4]) / float(rows[0][4]):.2f}")
    for held, what in story.claims:
        if not held:
            print(f"  FAILED  {what}")
    return 0 if story.held and not any(request.error for request in requests) else 1


if __name__ == "__main__":
    sys.exit(main())
