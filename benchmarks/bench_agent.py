"""What an agent costs a process that does nothing else: memory, time of the processor, and time until it answers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

from measure import Bar, Column, Row, Table

__all__ = ["tables"]

_CLIENT = """
import asyncio, json, logging, pathlib, sqlite3, ssl
from cryptography.hazmat.primitives.asymmetric import ed25519
"""
_ROWS = {
    "the client alone": "",
    "with an agent": "agent = livepatch.Agent(folder, trust=livepatch.UNSIGNED).start()",
    "that was told to check a patch": """
agent = livepatch.Agent(folder, trust=livepatch.UNSIGNED).start()
from livepatch.errors import LivepatchError
try:
    agent.operations.check(b'no patch', [], 'on', 1.0)
except LivepatchError:
    pass
""",
}
_SCRIPT = """
import sys, time
{client}
def megabytes():
    with open('/proc/self/status') as file:
        return next(int(line.split()[1]) for line in file if line.startswith('VmRSS')) / 1024
import structlog
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
import livepatch, tempfile
with tempfile.TemporaryDirectory() as folder:
    before = megabytes()
    begun = time.perf_counter()
    {row}
    took = time.perf_counter() - begun
    grown = megabytes() - before
    used, begun = time.process_time(), time.perf_counter()
    time.sleep({seconds})
    share = (time.process_time() - used) / (time.perf_counter() - begun)
    print([grown, took * 1e3, share * 100])
"""


def _run(row: str, seconds: float) -> tuple[float, float, float]:
    """MB more than before, milliseconds of the start, and the percentage of a processor while nothing is asked."""
    text = _SCRIPT.format(
        client=_CLIENT.strip(), row="\n    ".join(row.strip().splitlines()) or "pass", seconds=seconds
    )
    done = subprocess.run([sys.executable, "-c", text], check=True, capture_output=True, text=True)
    grown, took, share = json.loads(done.stdout)
    return grown, took, share


def tables(*, quick: bool = False) -> Iterator[Table]:
    seconds = 2.0 if quick else 20.0
    rows = []
    for name, row in _ROWS.items():
        grown, took, share = _run(row, seconds)
        figures = {"MB more": grown, "start ms": took, "% of a processor": share}
        bar = Bar("MB more", 15.0) if name == "with an agent" else None
        rows.append(Row(name, figures, bar))
    columns = (Column("MB more", "{:.1f}"), Column("start ms", "{:.0f}"), Column("% of a processor", "{:.4f}"))
    yield Table("An agent that nobody asks, each in a fresh process", columns, rows)
