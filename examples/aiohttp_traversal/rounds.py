"""What clients notice while the server of the demo is patched: the p99 of their requests, beside that of the rest.

    make demo-rounds

The patch goes in and out again and again, under the load of the demo. Requests that were in flight while `apply` ran
are set beside those of the seconds just before it, in which the server runs as it did before there was any patch. The
same is told of a thread that only sleeps for as long: what that seems to cost, the machine does by itself.
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
IDLE = 6.0  # seconds in which nothing is done, for comparison
LONGEST = 40.0  # seconds for a round, beyond which something hangs


class Silent(Story):
    """A story of which only the claims matter."""

    def tell(self, who: str, what: str) -> None:
        """Print nothing but what went wrong."""
        if who in {"stderr", "load"}:
            super().tell(who, what)


async def play(directory: Path, rounds: int, story: Story) -> tuple[list[Step], list[Request]]:
    """Patch and take back so many times; return what was done and what the clients met."""
    pauses: list[Step] = []
    lay_out(directory)
    limit = LONGEST * (rounds + 1)
    async with asyncio.timeout(limit), AsyncExitStack() as stack:
        server: Server = await stack.enter_async_context(serve(HERE / "server.py", directory, story))
        host, port = await server.started()
        load = Load(await stack.enter_async_context(process(HERE / "load.py", host, port, limit)))
        await asyncio.sleep(1.0)  # the clients connect
        for number in range(1, rounds + 1):
            await asyncio.sleep(QUIET)
            slept = await server.ask("pause", seconds=IDLE)
            pauses.append(Step("sleep", slept["began"], slept["ended"], slept["settled"]))
            await asyncio.sleep(QUIET)
            await server.switch("apply", "apply")
            await asyncio.sleep(1.0)
            await server.switch("revert", "revert")
            print(f"\r{number} of {rounds}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        requests, _ = await load.stop()  # in so long a time clients do let go of a connection they do not need
    return [*pauses, *server.switches], requests


def beside(steps: list[Step], requests: list[Request]) -> list[list[str]]:
    """The requests before steps of one name and those in flight during them, as two rows."""
    name = steps[0].name
    before = [
        request
        for step in steps
        for request in requests
        if step.began - QUIET <= request.began and request.ended < step.began
    ]
    during = [request for step in steps for request in in_flight(step, requests)]
    return [phase_row(f"before {name}", before), phase_row(f"in flight during {name}", during)]


def main() -> int:
    """Measure and print; 0 if every request was answered right and every switch was made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="how many times the patch goes in and out")
    rounds = parser.parse_args().rounds
    story = Silent()
    with tempfile.TemporaryDirectory() as directory:
        steps, requests = asyncio.run(play(Path(directory), rounds, story))
    rows = [
        row for name in ("sleep", "apply") for row in beside([each for each in steps if each.name == name], requests)
    ]
    print(table([["", "served", "failed", "p50 ms", "p99 ms"], *rows]))
    print()
    for first, second in (rows[:2], rows[2:]):
        print(f"  p99 {second[0]}, to {first[0]}: {float(second[4]) / float(first[4]):.2f}")
    for held, what in story.claims:
        if not held:
            print(f"  FAILED  {what}")
    return 0 if story.held and not any(request.error for request in requests) else 1


if __name__ == "__main__":
    sys.exit(main())
