"""What `import livepatch` costs a fresh process, beside `import structlog`."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from measure import Bar, Column, Row, Table, median_ratio

__all__ = ["tables"]

_MOST = 1.3
_PEER = "import structlog"
_ROWS = {
    "import livepatch": "import livepatch",
    _PEER: "import structlog",
    "livepatch.Patch, first use": "import livepatch; livepatch.Patch",
    "livepatch.apply, first use": "import livepatch; livepatch.apply",
    "nothing": "pass",
}


def _run(statement: str) -> tuple[float, float]:
    """Milliseconds that the statement took in a fresh process, and that the whole process took."""
    text = f"from time import perf_counter as clock\nbegun = clock()\n{statement}\nprint(clock() - begun)"
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", text], check=True, capture_output=True, text=True)
    return float(done.stdout) * 1e3, (time.perf_counter() - begun) * 1e3


def tables(*, quick: bool = False) -> Iterator[Table]:
    inside: dict[str, list[float]] = {name: [] for name in _ROWS}
    whole: dict[str, list[float]] = {name: [] for name in _ROWS}
    for statement in _ROWS.values():
        _run(statement)  # writes what the interpreter caches
    order = list(_ROWS)
    for _ in range(5 if quick else 25):
        order.append(order.pop(0))
        for name in order:
            took, process = _run(_ROWS[name])
            inside[name].append(took)
            whole[name].append(process)
    rows = []
    for name in _ROWS:
        figures = {
            "import ms": statistics.median(inside[name]),
            "to structlog": median_ratio(inside[name], inside[_PEER]),
            "process ms": statistics.median(whole[name]),
            "process to structlog": median_ratio(whole[name], whole[_PEER]),
        }
        rows.append(Row(name, figures, Bar("to structlog", _MOST) if name == "import livepatch" else None))
    columns = (
        Column("import ms", "{:.1f}"),
        Column("to structlog", "{:.2f}"),
        Column("process ms", "{:.1f}"),
        Column("process to structlog", "{:.2f}"),
    )
    yield Table("Importing, each time in a fresh process", columns, rows)
