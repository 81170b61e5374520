"""Who calls whom: in the live process, from the code objects and namespaces that are loaded, or in a source tree.

An edge is *certain* if what is called there can only be that function, as far as the program shows; any other function
that it could be is a *possible* edge.  A call that leads nobody knows where is told as such.  Nothing of the program is
run, imported or changed.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from types import CodeType, ModuleType

from livepatch.compat.calls.answers import CallGraph, Reached
from livepatch.compat.calls.freshness import Snapshot
from livepatch.compat.calls.living import LiveProgram
from livepatch.compat.calls.model import Edge, FunctionInfo, Shape, Unknown, Use
from livepatch.compat.calls.program import Program
from livepatch.compat.calls.record import record
from livepatch.compat.calls.sources import SourceProgram
from livepatch.engine.disk import body_of
from livepatch.engine.pace import breathe

__all__ = [
    "CallGraph",
    "Edge",
    "FunctionInfo",
    "Reached",
    "Shape",
    "Unknown",
    "Use",
    "live_graph",
    "source_graph",
    "within",
]

_last: list[tuple[Snapshot, CallGraph]] = []
"""The graph of the last question, while the process is as it was."""


def within(modules: Mapping[str, ModuleType], packages: Iterable[str]) -> dict[str, ModuleType]:
    """Those modules that are one of the packages, or in one."""
    tops = tuple(packages)
    return {
        name: module
        for name, module in list(modules.items())
        if any(name == top or name.startswith(f"{top}.") for top in tops)
    }


def live_graph(modules: Mapping[str, ModuleType] | None = None, *, bodies: bool = True) -> CallGraph:
    """The call graph of live modules; by default of all in ``sys.modules``.

    What belongs to none of them is not looked into, and stands in the graph as ``outside``.  With `bodies` the calls
    that the modules themselves make are there too, where their files still give the code that is loaded.  The last
    graph is kept, and given again while no namespace, class, function or registry of those modules has changed.
    """
    chosen = dict(sys.modules if modules is None else modules)
    for snapshot, graph in _last:
        if snapshot.still_holds(chosen, bodies=bodies):
            return graph
    snapshot = Snapshot(chosen, bodies=bodies)
    with _without_collector():
        graph = _worked_out(LiveProgram(chosen, _bodies(chosen) if bodies else {}))
    _last[:] = [(snapshot, graph)]
    return graph


def _worked_out(program: Program) -> CallGraph:
    program.work_out()
    graph = CallGraph(record(program))
    program.forget()
    return graph


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """The analysis makes objects by the hundred thousand, and drops them all by itself at its end."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _bodies(modules: Mapping[str, ModuleType]) -> dict[str, CodeType]:
    found = {}
    for name, module in modules.items():
        code = body_of(module)
        if code is not None:
            found[name] = code
    return found


def source_graph(tree: Mapping[str, bytes | str], package: str = "") -> CallGraph:
    """The call graph of source files: `tree` maps paths, such as ``package/module.py``, to what is in them.

    Of the files only those of `package` are taken, if it is given.  They are compiled by this interpreter, and nothing
    is imported or run.  Files that do not compile are left out: see :func:`unreadable`.
    """
    codes: dict[str, CodeType] = {}
    packages = set()
    for path, text in sorted(tree.items()):
        breathe()
        name, is_package = _module_name(path)
        if not name or (package and name != package and not name.startswith(f"{package}.")):
            continue
        try:
            codes[name] = compile(text, path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        if is_package:
            packages.add(name)
    with _without_collector():
        return _worked_out(SourceProgram(codes, packages))


def _module_name(path: str) -> tuple[str, bool]:
    parts = list(PurePosixPath(path).with_suffix("").parts)
    if PurePosixPath(path).suffix != ".py":
        return "", False
    if parts[-1] == "__init__":
        return ".".join(parts[:-1]), True
    return ".".join(parts), False
