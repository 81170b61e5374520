"""A node that lets two patches soak while it serves: the bad one is taken back, the good one stays."""

import asyncio
import sys
from pathlib import Path

import structlog
from fixes import good, slow
from nodeclient.mempool import Mempool

import livepatch
from livepatch.health import probes

HERE = Path(__file__).resolve().parent
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


async def serve(pool: Mempool) -> None:
    """Transactions come in, on and on."""
    while True:
        pool.admit(b"transaction")
        await asyncio.sleep(0.001)


async def main() -> None:
    """Serve, and let one patch after the other soak."""
    pool, huge = Mempool(), bytes(1_000_000)
    serving = asyncio.create_task(serve(pool))
    rules = livepatch.load_rules(HERE / "health.toml")
    with livepatch.Watchdog([probes.LoopLag(), *probes.process_probes()], interval=0.1) as watchdog:
        print("flawed:     ", pool.admit(huge))
        for fix in (slow, good):
            soak = livepatch.soak(fix, rules=rules, before=1.0, during=2.0, watchdog=watchdog)
            outcome = await soak.settled()
            print(f"{outcome.id}: {outcome.outcome}")
            for reason in outcome.verdict.reasons if not outcome.ok else ():
                print(f"  {reason.probe} was beyond {reason.limit:g} {reason.unit}")
            print("            ", pool.admit(huge))
            print(outcome, file=sys.stderr)
    serving.cancel()


asyncio.run(main())
