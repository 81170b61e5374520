"""What a call graph costs: of the live modules of this process, and of made-up packages that grow.

Beside them PyCG and pyan, where they are installed, on the sources of one package.  By itself, for any package that is
installed: its live graph once all of its modules are imported, and the peers on its files.

    bench_callgraph.py PACKAGE
"""

from __future__ import annotations

import dis
import gc
import importlib
import importlib.util
import json
import math
import pkgutil
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

from measure import Bar, Column, Row, Table, quiet_collector

import livepatch
from livepatch.compat import callgraph
from livepatch.compat.callgraph import CallGraph, live_graph, source_graph, within
from livepatch.engine.namespaces import bindings, functions_behind

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
    sizes = (500, 1_000, 2_000) if quick else (5_000, 20_000, 50_000, 100_000, 200_000)
    rows = []
    first: tuple[float, float] | None = None
    for size in sizes:
        done = _child([__file__, "--grow", str(size)])
        functions, seconds = map(float, done.out.split())
        work = functions * math.log2(functions)
        figures = {"functions": functions, "s": seconds, "µs each": seconds / functions * 1e6, "MB": done.megabytes}
        bar = None
        if first is not None:
            figures["to n log n"] = (seconds / first[1]) / (work / first[0])
            bar = Bar("to n log n", _GROWTH)
        first = first or (work, seconds)
        rows.append(Row(f"{size:,} wanted", figures, bar))
    columns = (
        Column("functions", "{:,.0f}"),
        Column("s", "{:.2f}"),
        Column("µs each", "{:.0f}"),
        Column("MB", "{:,.0f}"),
        Column("to n log n", "{:.2f}"),
    )
    title = "The call graph of made-up packages (processor time, compiling left out), each in a fresh process"
    return Table(title, columns, rows, "to n log n: how much more the time grew than n log n since the first row.")


def _grow(size: int) -> None:
    """Print how many functions a made-up package has, and how long its graph took beside compiling it."""
    tree = _made(size)
    with quiet_collector():
        compiling = _timed(lambda: [compile(text, path, "exec") for path, text in tree.items()])
        graphs: list[CallGraph] = []
        seconds = _timed(lambda: graphs.append(source_graph(tree)))
    functions = sum(info.kind not in {"outside", "class body", "module"} for info in graphs[0].functions.values())
    print(functions, seconds - compiling)


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


class _Done(NamedTuple):
    """What a process gave, and what it took."""

    status: int
    out: str
    last_error: str
    seconds: float
    """Of processor time."""
    megabytes: float
    """The most memory that it had at once."""


# A process starts with the peak of the one that made it, so a small one stands between.
_BETWEEN = """\
import os, sys
pid = os.posix_spawn(sys.executable, sys.argv[1:], os.environ)
_, status, used = os.wait4(pid, 0)
print(used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status) != 0)
"""


def _child(arguments: list[str], folder: Path | None = None) -> _Done:
    """Run the interpreter with these arguments."""
    command = [sys.executable, "-I", "-S", "-c", _BETWEEN, sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    *errors, last = done.stderr.splitlines()
    seconds, peak = map(float, last.split())
    scale = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, kibibytes elsewhere
    return _Done(done.returncode, done.stdout, "".join([e for e in errors if e.strip()][-1:]), seconds, peak / scale)


_OURS = """\
import pathlib, sys
from livepatch.compat.callgraph import source_graph
graph = source_graph({path: pathlib.Path(path).read_bytes() for path in sys.argv[1:]})
print(len({(edge.caller, edge.callee) for name in graph.functions for edge in graph.callees(name) if edge.certain}))
"""
# Its wheel has a folder of another name than its own imports have, which matters where file names tell cases apart.
_PYCG = "import sys, PyCG; sys.modules['pycg'] = PyCG; import pycg.__main__ as it; it.main()"
_PEERS = {
    "PyCG": ("PyCG", ["-c", _PYCG, "--package", "{package}", "--output", "{out}"]),
    "pyan": ("pyan", ["-m", "pyan", "--uses", "--no-defines", "--dot", "--root", "{root}", "--file", "{out}"]),
}


def _peers(folder: Path, *, most: int | None = None) -> Table:
    """On the files of one package, each in a process of its own."""
    files = [str(path.relative_to(folder.parent)) for path in sorted(folder.rglob("*.py"))][:most]
    notes = []
    done: dict[str, tuple[_Done, int]] = {}
    with tempfile.TemporaryDirectory() as place:
        commands = {"livepatch": ["-c", _OURS, *files]}
        for name, (module, arguments) in _PEERS.items():
            if importlib.util.find_spec(module) is None:
                notes.append(f"{name} is not installed here.")
                continue
            known = {"root": folder.parent, "package": folder.name, "out": Path(place) / name}
            commands[name] = [*(part.format(**known) for part in arguments), *files]
        for name, command in commands.items():
            one = _child(command, folder.parent)
            if one.status:
                notes.append(f"{name} failed after {one.seconds:.1f} s: {one.last_error}")
            else:
                done[name] = one, _edges(one.out, Path(place) / name)
    own = done["livepatch"][0].seconds if "livepatch" in done else math.nan
    rows = [
        Row(name, {"s": one.seconds, "to livepatch": one.seconds / own, "MB": one.megabytes, "edges": float(edges)})
        for name, (one, edges) in done.items()
    ]
    columns = (
        Column("s", "{:.2f}"),
        Column("to livepatch", "{:.2f}"),
        Column("MB", "{:,.0f}"),
        Column("edges", "{:,.0f}"),
    )
    notes.append("Edges: pairs of a caller and what it calls or uses; of livepatch's the certain ones alone.")
    notes.append("Listing them is included.")
    title = f"The call graph of {len(files)} files of {folder.name}, each in a fresh process (processor time)"
    return Table(title, columns, rows, "\n".join(notes))


def _edges(out: str, file: Path) -> int:
    """How many edges there are in what a tool has written."""
    if not file.exists():
        return int(out)
    text = file.read_text()
    return sum(map(len, json.loads(text).values())) if text.startswith("{") else text.count("->")


def _of_a_node(package: str) -> Table:
    """Of all modules of a package that can be imported, as a node has them."""
    top = importlib.import_module(package)
    for found in pkgutil.walk_packages(top.__path__, f"{package}.", onerror=lambda _: None):
        if "test" not in found.name:
            try:
                importlib.import_module(found.name)
            except (Exception, SystemExit) as error:  # noqa: BLE001  # a script, or it needs what is not there
                print(f"left out: {found.name} ({type(error).__name__})", file=sys.stderr)
    modules = within(sys.modules, [package])
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cold = _timed(lambda: live_graph(modules))
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
    again = _timed(lambda: live_graph(modules), 9)
    graph = live_graph(modules)
    functions = sum(info.kind not in {"outside", "class body", "module"} for info in graph.functions.values())
    walked = _timed(lambda: _walk(modules), 3)
    rows = [
        Row(f"live_graph(), {functions:,} functions", {"ms": cold * 1e3}, Bar("ms", 3_000)),
        Row("live_graph() again", {"ms": again * 1e3}, Bar("ms", 50)),
        Row("memory while it is worked out", {"MB": memory}, Bar("MB", 300)),
        Row("dis over the same code objects, for comparison", {"ms": walked * 1e3}),
    ]
    columns = (Column("ms", "{:,.1f}"), Column("MB", "{:,.0f}"))
    return Table(f"The live call graph of {package}, {len(modules)} modules (processor time)", columns, rows)


def _walk(modules: Mapping[str, ModuleType]) -> int:
    """Look at each instruction of each function and class body there, as the least that reading them can be."""
    left = [f.__code__ for _, _, value in bindings(modules) for f in functions_behind(value)]
    seen: set[int] = set()
    count = 0
    for code in left:
        if id(code) not in seen:
            seen.add(id(code))
            count += sum(1 for _ in dis.get_instructions(code))
            left += [inner for inner in code.co_consts if isinstance(inner, CodeType)]
    return count


def tables(*, quick: bool = False) -> Iterator[Table]:
    importlib.import_module("livepatch.process.public")  # a program to look into

    yield _live(quick=quick)
    yield _growth(quick=quick)
    yield _peers(Path(livepatch.__file__).parent, most=20 if quick else None)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--grow"]:
        _grow(int(sys.argv[2]))
    elif len(sys.argv) == 2:
        for build in (_of_a_node, lambda name: _peers(Path(str(importlib.import_module(name).__file__)).parent)):
            print(f"{build(sys.argv[1])}\n", flush=True)
    else:
        sys.exit(__doc__)
