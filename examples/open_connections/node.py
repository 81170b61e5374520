"""A node with open connections takes a fix that counts on them what nobody counted before."""

import asyncio
import sys
from pathlib import Path

import structlog

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from fixes import fix  # noqa: E402  # the path comes first
from nodeclient.connection import Connection, Frame  # noqa: E402

import livepatch  # noqa: E402

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


async def main() -> None:
    """Send transactions before, under and after the fix."""
    peers = [Connection("a"), Connection("b")]  # open long before there is a fix
    print("flawed:  ", await peers[0].on_transaction(Frame(b"unasked")))

    for finding in livepatch.check(fix, max_pause=1.0).findings:
        if finding.code == "shadow-variable":
            print("check:   ", f"{finding.target.rpartition('.')[2]}: {finding.found}")
    applied = await asyncio.to_thread(livepatch.apply, fix)
    asked = Frame(b"asked")
    await peers[0].request_transaction()
    print("asked:   ", await peers[0].on_transaction(asked))
    print("again:   ", await peers[1].on_transaction(asked))
    print("unasked: ", await peers[1].on_transaction(Frame(b"unasked")))
    await asyncio.gather(*(peers[1].request_transaction() for _ in range(3)))
    print("expected:", [peer.expected for peer in peers])

    await asyncio.to_thread(applied.revert)
    print("reverted:", await peers[0].on_transaction(Frame(b"unasked")), [vars(peer) for peer in peers])


asyncio.run(main())
