"""``livepatch graph``: who calls whom."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from livepatch.cli.graphs import add_source, edge_line, graph_of, named
from livepatch.cli.output import add_json, print_json, print_lines, visible
from livepatch.compat.callgraph import CallGraph
from livepatch.errors import counted

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "the call graph of a package, from its sources or live"
DESCRIPTION = """\
Tell who calls whom in a package.  Without --root and --path: how large the graph is, or
all of it with --json or --dot.  The status is 1 if there is no path."""
EXAMPLE = """\
livepatch graph --import nodeclient --package nodeclient \\
    --path nodeclient.rpc:serve nodeclient.consensus:judge"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    add_source(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--root", metavar="FUNCTION", help="what is called from there, directly or not")
    what.add_argument(
        "--path", nargs=2, metavar=("FROM", "TO"), help="a shortest path, of certain calls if there is one"
    )
    parser.add_argument(
        "--depth", type=int, default=3, metavar="N", help="how deep the tree of --root is; by default 3"
    )
    parser.add_argument("--dot", action="store_true", help="print a graph for Graphviz")
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Tell the graph.  Whether there is a path, if one was asked for."""
    graph = graph_of(given)
    if given.path:
        return _path(graph, given)
    roots = named(graph, given.root) if given.root else None
    chosen = None if roots is None else list(graph.reachable(roots, certain=given.certain))
    if given.json:
        print_json(graph.to_dict(chosen, certain=given.certain))
    elif given.dot:
        print_lines([visible(graph.to_dot(chosen, certain=given.certain))])
    elif roots is not None:
        for root in roots:
            print_lines(visible(graph.to_text(root, depth=given.depth, certain=given.certain)).split("\n"))
    else:
        print_lines([_size(graph)])
    return True


def _size(graph: CallGraph) -> str:
    functions = [info for info in graph.functions.values() if info.kind != "outside"]
    sites = graph.sites()
    return (
        f"{counted(len(functions), 'function')}, {counted(sites.certain, 'certain call')}, {sites.possible} possible, "
        f"{sites.unknown} that lead nobody knows where"
    )


def _path(graph: CallGraph, given: argparse.Namespace) -> bool:
    starts, goals = named(graph, given.path[0]), named(graph, given.path[1])
    path = graph.path(starts, goals, certain=given.certain)
    if given.json:
        print_json({"path": None if path is None else [asdict(edge) for edge in path]})
    elif path is None:
        print_lines([visible(f"no path from {given.path[0]} to {given.path[1]}")])
    elif given.dot:
        names = [starts[0], *(name for edge in path for name in (edge.caller, edge.callee))] if path else [starts[0]]
        print_lines([visible(graph.to_dot(names, certain=given.certain))])
    else:
        first = path[0].caller if path else starts[0]
        print_lines([visible(first), *(visible(f"  {edge_line(edge, callers=False)}") for edge in path)])
    return path is not None
