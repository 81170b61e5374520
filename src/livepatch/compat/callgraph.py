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
from os import PathLike
from pathlib import PurePosixPath
from types import CodeType, ModuleType
from typing import Protocol

from livepatch.compat.calls.answers import CallGraph, Reached
from livepatch.compat.calls.freshness import Snapshot
from livepatch.compat.calls.living import LiveProgram
from livepatch.compat.calls.model import Edge, FunctionInfo, Shape, Unknown, Use
from livepatch.compat.calls.program import Program
from livepatch.compat.calls.record import record
from livepatch.compat.calls.sources import SourceProgram
from livepatch.contents.parsing import compiled
from livepatch.engine.disk import body_of, sources_below
from livepatch.engine.namespaces import is_module
from livepatch.engine.pace import breathe

__all__ = [
    "CallGraph",
    "Edge",
    "FunctionInfo",
    "Reached",
    "Shape",
    "SourceTree",
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
    """The call graph of live modules; by default of all in ``sys.modules``.  Nothing of them is run or changed.

    What belongs to none of them is not looked into, and stands in the graph as ``outside``.  With `bodies` the calls
    that the modules themselves make are there too, where their files still give the code that is loaded.  The last
    graph is kept, and given again while no namespace, class, function or registry of those modules has changed.
    """
    given = sys.modules if modules is None else modules
    chosen = {name: module for name, module in list(given.items()) if is_module(module)}
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
    """The analysis makes objects by the hundred thousand, and drops them all by itself at its end.

    What is left is the graph.  It counts as old from then on: the collector would look at all of it at once as soon as
    it may, in the thread that makes the next object, and everything would stand still for that.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # else what somebody has set aside would be back, as CPython 3.12 does at start
            gc.freeze()
            gc.unfreeze()
        if was:
            gc.enable()


def _bodies(modules: Mapping[str, ModuleType]) -> dict[str, CodeType]:
    found = {}
    for name, module in modules.items():
        code = body_of(module)
        if code is not None:
            found[name] = code
    return found


class SourceTree(Protocol):
    """The files of a package: what is in each, and the module that each is."""

    @property
    def sources(self) -> Mapping[str, bytes]:
        """What is in the files, by path."""

    @property
    def modules(self) -> Mapping[str, str]:
        """The paths of modules, by name."""


def source_graph(tree: SourceTree | Mapping[str, bytes | str] | str | PathLike[str], package: str = "") -> CallGraph:
    """The call graph of source files: nothing of them is imported or run, only compiled by this interpreter.

    `tree` is a directory, or maps paths such as ``package/module.py`` to what is in them, or knows its modules.  Only
    what is in `package` is taken, if there is anything.  What does not compile is in ``left_out``.
    """
    files = _files(sources_below(tree) if isinstance(tree, (str, PathLike)) else tree)
    inside = {name: file for name, file in files.items() if name == package or name.startswith(f"{package}.")}
    codes: dict[str, CodeType] = {}
    left_out = []
    for name, (path, text) in sorted((inside or files).items()):
        breathe()
        try:
            codes[name] = compiled(text, path)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            left_out.append(path)
    packages = [name for name in codes if files[name][0].endswith("__init__.py")]
    with _without_collector():
        graph = _worked_out(SourceProgram(codes, packages))
    graph.left_out = tuple(left_out)
    return graph


def _files(tree: SourceTree | Mapping[str, bytes | str]) -> dict[str, tuple[str, bytes | str]]:
    """The path and text of each module."""
    if not isinstance(tree, Mapping):
        return {name: (path, tree.sources[path]) for name, path in tree.modules.items()}
    root = "src/" if any(path.startswith("src/") for path in tree) and "src/__init__.py" not in tree else ""
    found = {}
    for path, text in tree.items():
        if path.endswith(".py") and path.startswith(root):
            parts = list(PurePosixPath(path.removeprefix(root)).with_suffix("").parts)
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            if name:
                found[name] = path, text
    return found
