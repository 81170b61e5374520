"""What the clients of an asyncio server notice while a patch goes in: their latencies."""

from __future__ import annotations

import asyncio
import json
import sys

from application import installed, write_functions
from measure import Table
from serving import COLUMNS, TOLD, Gate, Windows, compared, measured, served

import livepatch
from livepatch.engine import pace

__all__ = ["tables"]

_FUNCTIONS = 100
_ROUNDS = 4
_TIMES_P99 = 1.1


def _gated(gate: Gate) -> None:
    """Hold a switch up in its rests while the gate is shut."""
    rest = pace._rest  # in this process, which measures and ends

    def gated(passed: float) -> None:
        rest(passed)
        while (shut := gate.shut_for) > 0:
            pace.time.sleep(shut)

    pace._rest = gated


async def _server(functions: int, rounds: int) -> None:
    """The process under test: answers, while a patch of so many functions goes in so many times."""
    windows: Windows = []
    gate = Gate()
    _gated(gate)
    with installed(**write_functions(functions)) as (_, patch):
        async with served() as asked:
            for _ in range(rounds):
                windows += await gate.during(livepatch.apply, patch.fix)
                livepatch.revert(patch.fix.id)  # some milliseconds of work: too short for a p99
    print(json.dumps({"windows": {"apply": windows}, "asked": asked}))


def tables(*, quick: bool = False) -> list[Table]:
    """Latencies of a server while a patch is applied by a thread beside its loop."""
    functions = _FUNCTIONS // 10 if quick else _FUNCTIONS
    found = measured(__file__, functions, 1 if quick else _ROUNDS)
    return [
        Table(
            f"An asyncio server while a patch of {functions} functions goes in",
            COLUMNS,
            compared("in a thread", found["windows"], found["asked"], _TIMES_P99),
            TOLD,
        )
    ]


if __name__ == "__main__":
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    asyncio.run(_server(int(sys.argv[2]), int(sys.argv[3])))
