"""A node with an agent.  It runs until it is ended, and takes patches from another terminal: python node.py FOLDER."""

import asyncio
import sys
from pathlib import Path

import structlog

RELEASES = Path(__file__).resolve().parents[1] / "built_patch"
sys.path.insert(0, str(RELEASES / "2.1.0"))  # what pip would have installed

from nodeclient.peers import Connection  # noqa: E402  # the path comes first

import livepatch  # noqa: E402

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


async def main(folder: Path) -> None:
    """Answer a flood of peers again and again, and tell whenever the answer is another one."""
    flood = [f"198.51.100.{i % 256}:{i}" for i in range(5_000)]
    agent = livepatch.Agent(
        folder / "store",
        trust=livepatch.TrustRoot.load(folder / "trust.json", state=folder / "trust-state.json"),
        name="node-1",
        guard=1.0,  # short, since this is a demonstration
    )
    answered = ""
    async with agent:  # what the node is wished to run is in when the block begins
        while True:
            answer = Connection("203.0.113.9").on_peers(flood)
            if answer != answered:
                print(f"a flood of peers is {answer}", flush=True)
            answered = answer
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    try:
        asyncio.run(main(Path(sys.argv[1])))
    except KeyboardInterrupt:
        print("ended in good order", flush=True)
