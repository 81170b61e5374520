"""Which call graph a command asks: that of sources, or of a package that is imported into the command's own process."""

from __future__ import annotations

import argparse
import importlib
import os
import sys

from livepatch.cli.output import aside, in_line
from livepatch.compat.callgraph import CallGraph, Edge, live_graph, source_graph, within
from livepatch.errors import BundleError

__all__ = ["add_source", "edge_line", "graph_of", "named"]

_SHOWN = 8


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which program is meant."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--package-dir",
        metavar="DIR",
        help="read sources: a tree, or a folder that pip has installed into; nothing of them is run",
    )
    which.add_argument(
        "--import",
        dest="import_",
        metavar="MODULE",
        help="import this module here, which runs it, and read the live objects of its package",
    )
    parser.add_argument("--package", metavar="NAME", help="with --package-dir: the distribution, as pip knows it")
    parser.add_argument("--whole", action="store_true", help="with --import: look into every module that is loaded")
    parser.add_argument("--certain", action="store_true", help="leave out calls that are only possible")


def graph_of(given: argparse.Namespace) -> CallGraph:
    """The graph that is meant.  Raises :class:`BundleError`."""
    if given.import_:
        return _imported(given.import_, whole=given.whole)
    from livepatch.bundle.trees import open_tree

    if not given.package:
        raise BundleError(
            "which package of the directory is meant is not said",
            found="--package-dir alone",
            expected="the name of the distribution beside it",
            action="give --package NAME",
        )
    graph = source_graph(open_tree(given.package_dir, given.package))
    for path in graph.left_out:
        sys.stderr.write(f"livepatch {given.name}: left out, because it does not compile: {in_line(path)}\n")
    return graph


def _imported(name: str, *, whole: bool) -> CallGraph:
    if os.getcwd() not in sys.path:  # noqa: PTH109  # as `python -m` has it
        sys.path.insert(0, os.getcwd())  # noqa: PTH109  # as `python -m` has it
    try:
        with aside():
            importlib.import_module(name)
    except Exception as error:
        raise BundleError(
            f"the module {name} cannot be imported",
            found=f"{type(error).__name__}: {error}",
            expected="a module that can be imported in this environment",
            action="correct the name, or run the command with the interpreter of the package",
        ) from error
    return live_graph(None if whole else within(sys.modules, [name.partition(".")[0]]))


def named(graph: CallGraph, name: str) -> tuple[str, ...]:
    """The functions that a name of the command line means.  Raises :class:`BundleError` if there are none."""
    found = graph.variants(name)
    if found:
        return found
    last = name.rpartition(":")[2].rpartition(".")[2]
    near = sorted(one for one in graph.functions if one.rpartition(":")[2].rpartition(".")[2].partition("#")[0] == last)
    shown = ", ".join(near[:_SHOWN]) + (f" and {len(near) - _SHOWN} more" if len(near) > _SHOWN else "")
    raise BundleError(
        "there is no such function in the graph",
        found=name,
        expected=f"module:qualified.name{f', such as {shown}' if near else ''}",
        action="correct the name; `livepatch graph --json` lists them all",
    )


def edge_line(edge: Edge, *, callers: bool) -> str:
    """One edge as a line of text."""
    other = edge.caller if callers else edge.callee
    perhaps = "" if edge.certain else "perhaps, "
    return f"{other}  ({perhaps}{edge.how}, {edge.file}:{edge.line})"
