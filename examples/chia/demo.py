"""Two real nodes take the fixes of a release while they run, refuse what they must, and give all of it back.

demo.py [--cycles N] [--max-rest SECONDS] [--folder DIR]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import home
from chia.protocols.outbound_message import NodeType
from desk import API, Patch, keys, made, say, worse
from load import Load
from outside import Node, Peer, peer, until

from cycles import cycles
from node import INTERVAL

HERE = Path(__file__).resolve().parent
MANY = 5_000  # coins to which the exploit subscribes
RPC = "chia.full_node.full_node_rpc_api"
SUBSCRIBES, TAKES_IN, CONNECTS = (
    f"{API}.register_for_coin_updates",
    f"{API}.respond_transaction",
    ("chia.full_node.full_node:FullNode.on_connect"),
)
REFUSED = {  # fixes of 2.7.0 as well, and what their refusal has to say
    "chia.consensus.block_body_validation:validate_block_body": "it is protected as chia.consensus.*",
    "chia.types.blockchain_format.proof_of_space:verify_and_get_quality_string": "protected code calls it: "
    "chia.consensus.pot_iterations:validate_pospace_and_get_required_iters -> ",
}


def see(what: str, seen: object, expected: object) -> None:
    """Print what was seen; :class:`SystemExit` if it is not what was expected."""
    print(f"{what}: {seen}", flush=True)
    if seen != expected:
        raise SystemExit(f"that was not expected: {what}: {seen} instead of {expected}")


class Attacker:
    """Who uses both holes of 2.6.1 on one node, by connections that stay open."""

    def __init__(self, node: Node, load: Load, wallet: Peer, flooder: Peer) -> None:
        self.node, self._load, self._wallet, self._flooder = node, load, wallet, flooder

    async def subscribed(self) -> int:
        """To how many coins a wallet can subscribe."""
        return await self._wallet.subscribe(MANY)

    async def taken_in(self, flooder: Peer | None = None, *, patience: float = 30.0) -> bool:
        """Whether the node takes in a transaction that it has not asked for."""
        spend = await self._load.spend()
        await (flooder or self._flooder).send(spend)
        try:
            await until(lambda: self.node.waits(spend), "not taken in", seconds=patience)
        except TimeoutError:
            return False
        return True

    async def tries(self, told: str, *, is_open: bool) -> None:
        """Try both."""
        name = self.node.name
        see(f"{name} {told}: coins that a wallet subscribes to, of {MANY}, the limit being {home.LIMIT}",
            await self.subscribed(), MANY if is_open else home.LIMIT)  # fmt: skip
        see(
            f"{name} {told}: takes in what it has not asked for",
            await self.taken_in(patience=30.0 if is_open else 3.0),
            is_open,
        )
        see(f"{name} {told}: still connected", (self._wallet.is_open, self._flooder.is_open), (True, True))


@contextlib.asynccontextmanager
async def attacker(node: Node, load: Load) -> AsyncIterator[Attacker]:
    """Connect to a node."""
    async with peer(node, NodeType.WALLET) as wallet, peer(node, NodeType.FULL_NODE) as flooder:
        yield Attacker(node, load, wallet, flooder)


async def consensus(folder: Path, where: str) -> None:
    """Fixes of consensus, signed and approved by all, are refused with the way to them, and nothing has changed."""
    for number, (target, why) in enumerate(REFUSED.items()):
        print(f"\n-- a patch of {target}", flush=True)
        patch = await made(folder, f"chia-2.7.0-consensus-{number}", [target])
        said = await say(f"apply {patch.options} {where} --yes", expected=1)
        text = " ".join(said.err.split())
        see("each node refuses it for what it is", text.count(f"{target}: found {why}"), 2)
    status = (await say(f"status {where} --json", quietly=True)).told
    see("patches in the nodes", [each["result"]["patches"] for each in status["nodes"]], [[], []])


async def bad(folder: Path, load: Load, name: str, function: str, line: str) -> None:
    """A patch that fits and harms is taken back by the node itself."""
    print(f"\n-- a bad patch: {line}", flush=True)
    tree = await asyncio.to_thread(worse, folder, RPC, function, line)
    patch = await made(folder, name, [f"{RPC}:FullNodeRpcApi.{function}"], tree)
    with load.expecting():
        spoilt = load.spoilt
        await say(
            f"apply {patch.options} --node {load.b.store} --soak 60 --before 8 --rules {HERE / 'health.toml'} --yes",
            expected=1,
        )
        await asyncio.sleep(0.5)
    print(f"requests that failed meanwhile: {load.spoilt - spoilt}", flush=True)
    command = f"audit show --node {load.b.store} --patch {name} --event rolled_back --json"
    told = (await say(command, quietly=True)).told["entries"][-1]["details"]
    see("detected and restored within two readings", told["detect_ms"] + told["restore_ms"] <= 2000 * INTERVAL, True)
    print(
        f"detected after {told['detect_ms'] / 1000:.2f} s, restored {told['restore_ms'] / 1000:.2f} s later", flush=True
    )


async def killed(load: Load, a: Node, b: Node, patch: Patch) -> None:
    """Kill -9, and the node comes back patched before anybody can ask it."""
    print("\n-- kill -9 of B", flush=True)
    async with load.without_b():
        await b.end(signal.SIGKILL)
        await load.farm()
        began = time.monotonic()
        await b.start(a.ready["port"])
        see("B answers again, and was patched before it did", b.ready["patched"], [patch.id])
        print(f"it took {time.monotonic() - began:.1f} s", flush=True)
        async with attacker(b, load) as again:
            see("the first wallet that asks it subscribes to", await again.subscribed(), home.LIMIT)
        top = await a.height()

        async def caught_up() -> bool:
            return await b.height() >= top

        await until(caught_up, "B does not follow")
    print(f"B has followed to {top}", flush=True)


async def main(folder: Path, count: int, max_rest: float | None) -> None:
    """All of it."""
    await keys(folder)
    print("\n-- a patch of two fixes of 2.7.0", flush=True)
    patch = await made(folder, "chia-2.7.0-peers", [SUBSCRIBES, TAKES_IN, CONNECTS])
    a, b = (Node(folder / name, max_rest) for name in "ab")
    where = f"--node {a.store} --node {b.store}"
    try:
        await a.start()
        await b.start(a.ready["port"])
        # The simulator looks at the whole chain for each block, so a long run makes fewer.
        load = Load(a, b, pause=4.0, rest=0.1) if count else Load(a, b)
        for _ in range(8):
            await load.farm()  # the first rewards can be spent
        async with load.flowing():
            if count:
                await cycles(load, patch, count)
            else:
                await story(folder, load, patch, where)
            see("the chain goes on", load.broken() or "yes", "yes")
        print(f"\n{load.blocks} blocks, {load.transactions} transactions, {load.requests} requests; "
              f"the slowest took {load.slowest:.2f} s", flush=True)  # fmt: skip
        for row in load.failed[:10]:
            print(f"failed: {row}")
        see("requests that failed otherwise", len(load.failed), 0)
    finally:
        await b.end()
        await a.end()


async def story(folder: Path, load: Load, patch: Patch, where: str) -> None:
    """What happens, in order."""
    a, b = load.a, load.b
    print("\n-- before", flush=True)
    async with attacker(a, load) as on_a:
        async with attacker(b, load) as on_b:
            for each in (on_a, on_b):
                await each.tries("of 2.6.1", is_open=True)
            await consensus(folder, where)
            print("\n-- the fix goes in", flush=True)
            await say(f"apply {patch.options} {where} --yes")
            await say(f"status {where} --verify")
            for each in (on_a, on_b):
                await each.tries("patched", is_open=False)
            async with peer(a, NodeType.FULL_NODE, version="2.5.0") as old:
                see("A patched: takes in what a peer before 2.6.0 answers with", await on_a.taken_in(old), True)
            see("functions of A that are other ones now", len((await a.identity())["changed"]), 3)
        await bad(folder, load, "bad-raises", "get_block_count_metrics",
                  "if time.monotonic_ns() // 1000 % 10 == 0: raise ValueError('one call in ten')")  # fmt: skip
        await bad(folder, load, "bad-slow", "get_coin_records_by_puzzle_hash", "time.sleep(0.2)")
        await killed(load, a, b, patch)
        print("\n-- and out again", flush=True)
        await say(f"revert {patch.id} {where}")
        async with attacker(b, load) as on_b:
            for each in (on_a, on_b):
                await each.tries("reverted", is_open=True)
    for node in (a, b):
        told = await node.identity()
        see(f"{node.name}: of {told['functions']} functions not the identical ones", told["changed"], [])
        see(f"{node.name}: names left behind", told["names"], [])
        await say(f"audit verify {node.store / 'record'}")
    status = (await say(f"status {where} --verify --json", quietly=True)).told
    see("patches in the nodes", [each["result"]["patches"] for each in status["nodes"]], [[], []])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--cycles", type=int, default=0, metavar="N", help="apply and revert so often, and nothing else"
    )
    parser.add_argument(
        "--max-rest", type=float, metavar="SECONDS", help="how long each change may rest for the node; 0: not at all"
    )
    parser.add_argument("--folder", type=Path, help="where to keep everything; by default nothing is kept")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        place = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        place.mkdir(parents=True, exist_ok=True)
        asyncio.run(main(place.resolve(), given.cycles, given.max_rest))
