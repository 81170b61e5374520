"""Patch a live server while it works: CVE-2024-23334 in aiohttp 3.9.1, under load, and back again.

    make demo

Three processes: a node's RPC server, the clients that load it, and this driver, which plays both the
attacker and the operator. The attacker never stops trying, over one connection opened before the patch. The
exit status is 0 only if everything that is said to have happened did.
"""

from __future__ import annotations

import asyncio
import platform
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

from attacker import Attacker, Attempt
from console import Load, Server, Step, process, serve
from load import CLIENTS
from results import Phase, Request, print_results
from snapshots import EXPLOITS, SECRET, lay_out
from story import Story

HERE = Path(__file__).resolve().parent
LEAST_LOAD = 50  # requests a second, below which the demo would show nothing
LIMIT = 120.0  # seconds after which everything is stopped and the demo has failed
REST = 5.0  # seconds that a check or an apply may rest for the clients' sake; left alone, 20 on a slow machine


def tell_round(story: Story, attempts: list[Attempt], *, brief: bool) -> None:
    """Tell how one round of the exploit went: spelling by spelling, or in a line."""
    attempts = sorted(attempts, key=lambda attempt: EXPLOITS.index(attempt.path))
    if brief:
        statuses = ", ".join(str(attempt.status) for attempt in attempts)
        read = sum(attempt.leaked for attempt in attempts)
        story.tell("exploit", f"the same {len(attempts)} paths: {statuses}; {read} read the key")
        return
    for attempt in attempts:
        outcome = f"READ {SECRET}" if attempt.leaked else "refused"
        story.tell("exploit", f"GET {attempt.path:<37} {attempt.status}  {outcome}")


async def perform(story: Story, directory: Path) -> tuple[Server, Attacker, list[Phase], list[Request]]:
    """Play the story; return what happened, still to be judged."""
    lay_out(directory)
    phases: list[Phase] = []
    async with asyncio.timeout(LIMIT), AsyncExitStack() as stack:
        server = await stack.enter_async_context(serve(HERE / "server.py", directory, story))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        host, port = await server.started()
        first = await server.ask("identity")
        story.tell("server", f"process {first['pid']} serves http://{host}:{port}")
        load = Load(await stack.enter_async_context(process(HERE / "load.py", host, port, LIMIT)))
        story.tell("load", f"process {load.pid}: {CLIENTS} clients that check every answer")
        attacker = Attacker(*await asyncio.open_connection(host, port))
        attack = tasks.create_task(attacker.run())
        await asyncio.sleep(0.7)  # the clients connect

        async def phase(name: str, seconds: float, *, vulnerable: bool, brief: bool = False) -> None:
            began = time.monotonic()
            tell_round(story, await attacker.next_round(), brief=brief)
            await asyncio.sleep(seconds)
            phases.append(Phase(name, began, time.monotonic(), vulnerable))

        await phase("before", 3.0, vulnerable=True)
        await server.check(max_rest=REST)
        unchanged = (await server.ask("identity"))["code"] == first["code"]
        story.claim(unchanged, "check changed nothing")

        await server.switch("apply", "apply", max_rest=REST)
        await phase("patched", 4.0, vulnerable=False)
        await server.switch("flag off", "mode", mode="off")
        await phase("flag off", 1.5, vulnerable=True, brief=True)
        await server.switch("flag on", "mode", mode="on")
        await phase("flag on", 1.5, vulnerable=False, brief=True)
        await server.switch("revert", "revert")
        await phase("reverted", 3.0, vulnerable=True)

        last = await server.ask("identity")
        story.claim(last["pid"] == first["pid"], "one server process from beginning to end")
        story.claim(last["code"] == first["code"], "after the revert the functions run their original code objects")
        story.claim(last["applied"] == [], "after the revert nothing is applied")
        requests, connections = await load.stop()
        story.tell("load", f"stopped after {len(requests)} requests over {connections} connections")
        story.claim(connections == CLIENTS, f"each of {CLIENTS} clients kept its one connection throughout")
        attack.cancel()
    return server, attacker, phases, requests


def judge(story: Story, server: Server, attacker: Attacker, phases: list[Phase], requests: list[Request]) -> None:
    """Hold what happened against what was promised."""
    failures = [request.error for request in requests if request.error]
    for error in failures[:5]:
        story.tell("load", f"FAILED {error}")
    story.claim(not failures, f"all {len(requests)} requests of the load were answered, and answered right")
    least = min(sum(phase.holds(each) for each in requests) / (phase.ended - phase.began) for phase in phases)
    story.claim(least > LEAST_LOAD, f"the load never fell below {LEAST_LOAD} requests a second (least: {least:.0f})")
    reported = [event for event in server.events if "switch_us" in event]
    story.claim(len(reported) == len(server.switches), "every switch sent one event that says how long its writes took")
    for phase, (opened, closed) in zip(phases, settled_spans(server.switches), strict=True):
        tried = [each for each in attacker.attempts if opened <= each.began and each.ended <= closed]
        wrong = sum(each.leaked != phase.vulnerable for each in tried)
        refused_otherwise = {each.status for each in tried if not each.leaked} - {403, 404}
        outcome = "read the key" if phase.vulnerable else "was refused with 403 or 404"
        story.claim(
            len(tried) >= len(EXPLOITS) and not wrong and not refused_otherwise,
            f"{phase.name}: each of {len(tried)} exploits {outcome}",
        )


def settled_spans(switches: list[Step]) -> list[tuple[float, float]]:
    """Return the spans that no switch touches: from the end of each to the beginning of the next."""
    edges = [(0.0, 0.0), *((switch.began, switch.ended) for switch in switches), (float("inf"), float("inf"))]
    return [(earlier[1], later[0]) for earlier, later in pairwise(edges)]


async def main() -> int:
    """Play, judge, print; 0 if everything held."""
    story = Story()
    print(f"CVE-2024-23334 in aiohttp {version('aiohttp')}, live, on Python {platform.python_version()}\n")
    try:
        with tempfile.TemporaryDirectory() as directory:
            server, attacker, phases, requests = await perform(story, Path(directory))
    except* (TimeoutError, EOFError, OSError, ValueError) as broken:
        for error in broken.exceptions:
            story.tell("demo", f"broke off: {type(error).__name__}: {error}")
        story.claim(False, "the demo ran to its end")
    else:
        judge(story, server, attacker, phases, requests)
        print_results(server, phases, requests)
    for held, what in story.claims:
        print(f"  {'ok    ' if held else 'FAILED'}  {what}")
    verdict = "Everything held" if story.held else "NOT everything held"
    print(f"\n{verdict}, in {time.monotonic() - story.started:.0f} s")
    return 0 if story.held else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
