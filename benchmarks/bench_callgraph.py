"""What a call graph costs: of the live modules of this process, and of made-up packages that grow.

Beside them PyCG and pyan, where they are installed, on the sources of one package.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

from measure import Bar, Column, Row, Table, quiet_collector

import livepatch
from livepatch.compat import callgraph
from livepatch.compat.callgraph import CallGraph, live_graph, source_graph, within

__all__ = ["tables"]

_MODULE = """\
from made import {before}


class Base{n}:
    def __init__(self, other):
        self.other = other

    def run(self, value):
        return self.step(value)

    def step(self, value):
        return helper{n}(value)

    @property
    def shown(self):
        return str(self.other)


class Derived{n}(Base{n}):
    def step(self, value):
        return super().step(value) + {before}.helper{b}(value)


def helper{n}(value, call=None):
    return call(value) if call else len(value)


def use{n}(thing):
    made = Derived{n}(thing)
    thing.close()
    for key, one in TABLE.items():
        one(key)
    return made.run(helper{n}(made.shown, lambda text: text.strip()))


TABLE = {{"helper": helper{n}, "use": use{n}}}
"""
_FUNCTIONS_A_MODULE = 8
_GROWTH = 1.5
"""How much more than n log n the time may grow between two sizes; the machine is shared."""


def _made(functions: int) -> dict[str, str]:
    count = max(1, functions // _FUNCTIONS_A_MODULE)
    tree = {"made/__init__.py": ""}
    for n in range(count):
        b = max(0, n - 1)
        tree[f"made/module{n}.py"] = _MODULE.format(n=n, b=b, before=f"module{b}")
    return tree


def _timed(action: Callable[[], object], times: int = 1) -> float:
    """The median of its processor time, in seconds."""
    taken = []
    for _ in range(times):
        begun = time.process_time()
        action()
        taken.append(time.process_time() - begun)
    return statistics.median(taken)


def _growth(*, quick: bool) -> Table:
    sizes = (500, 1_000, 2_000) if quick else (2_000, 20_000, 200_000)
    rows = []
    before: tuple[float, float] | None = None
    for size in sizes:
        tree = _made(size)
        graphs: list[CallGraph] = []
        with quiet_collector():
            seconds = _timed(lambda tree=tree, graphs=graphs: graphs.append(source_graph(tree)))
        functions = sum(info.kind not in {"outside", "class body", "module"} for info in graphs[0].functions.values())
        work = functions * math.log2(functions)
        figures = {"functions": float(functions), "s": seconds, "µs each": seconds / functions * 1e6}
        bar = None
        if before is not None:
            figures["to n log n"] = (seconds / before[1]) / (work / before[0])
            bar = Bar("to n log n", _GROWTH)
        rows.append(Row(f"{size:,} wanted", figures, bar))
        before = work, seconds
    columns = (
        Column("functions", "{:,.0f}"),
        Column("s", "{:.2f}"),
        Column("µs each", "{:.0f}"),
        Column("to n log n", "{:.2f}"),
    )
    return Table("The call graph of made-up packages, compiling included (processor time)", columns, rows)


def _live(*, quick: bool) -> Table:
    modules = within(
        sys.modules, ["livepatch"] if quick else ["livepatch", "asyncio", "json", "email", "http", "logging"]
    )
    callgraph._last.clear()
    cold = _timed(lambda: live_graph(modules))
    graph = live_graph(modules)
    again = _timed(lambda: live_graph(modules), 9)
    name = "livepatch.engine.sweep:sweep"
    callers = _timed(lambda: graph.callers(name), 9)
    reached = _timed(lambda: graph.reachable(["livepatch.process.public:apply"]), 3)
    callgraph._last.clear()
    tracemalloc.start()
    live_graph(within(modules, ["livepatch.engine"] if quick else ["livepatch"]))
    small, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    functions = sum(info.kind != "outside" for info in live_graph(modules).functions.values())
    rows = [
        Row(f"live_graph(), {functions:,} functions", {"ms": cold * 1e3}),
        Row("live_graph() again", {"ms": again * 1e3}, Bar("ms", 50)),
        Row("callers()", {"ms": callers * 1e3}, Bar("ms", 50)),
        Row("reachable()", {"ms": reached * 1e3}),
        Row("memory that a graph keeps", {"MB": small / 2**20}),
        Row("memory while it is worked out", {"MB": peak / 2**20}, Bar("MB", 300)),
    ]
    columns = (Column("ms", "{:.1f}"), Column("MB", "{:.1f}"))
    return Table("The call graph of live packages, livepatch among them (processor time)", columns, rows)


_PEERS = {
    "PyCG": ("pycg", ["-m", "pycg", "--package", "{root}", "--output", "{out}"]),
    "pyan": ("pyan", ["-m", "pyan", "--uses", "--no-defines", "--dot", "--file", "{out}"]),
}


def _peers(*, quick: bool) -> Table:
    """On the sources of livepatch's own command line and what it needs, each in a process of its own."""
    root = Path(livepatch.__file__).parent
    files = sorted(str(path) for path in (root / "compat").rglob("*.py"))[: 8 if quick else None]
    ours = "import sys; "
    ours += "from livepatch.compat.callgraph import source_graph as of; of({p: open(p).read() for p in sys.argv[1:]})"
    rows = []
    missing = []
    with tempfile.TemporaryDirectory() as out:
        commands = {"livepatch": ["-c", ours, *files]}
        for name, (module, arguments) in _PEERS.items():
            if importlib.util.find_spec(module) is None:
                missing.append(name)
                continue
            filled = [part.format(root=root.parent, out=Path(out) / name) for part in arguments]
            commands[name] = [*filled, *files]
        taken = {}
        for name, command in commands.items():
            begun = time.perf_counter()
            done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=600, check=False)
            if done.returncode:
                missing.append(f"{name} (failed: {done.stderr.strip().splitlines()[-1:]})")
            else:
                taken[name] = time.perf_counter() - begun
    own = taken.get("livepatch", math.nan)
    rows = [Row(name, {"s": seconds, "to livepatch": seconds / own}) for name, seconds in taken.items()]
    note = f"not measured, because not installed here: {', '.join(missing)}" if missing else ""
    columns = (Column("s", "{:.2f}"), Column("to livepatch", "{:.2f}"))
    return Table(f"The call graph of {len(files)} files, each in a fresh process", columns, rows, note)


def tables(*, quick: bool = False) -> Iterator[Table]:
    importlib.import_module("livepatch.process.public")  # a program to look into

    yield _live(quick=quick)
    yield _growth(quick=quick)
    yield _peers(quick=quick)
