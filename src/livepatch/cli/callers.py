"""``livepatch callers``: who calls a function."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from livepatch.cli.graphs import add_source, edge_line, graph_of, named
from livepatch.cli.output import add_json, print_json, print_lines, visible
from livepatch.errors import counted

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "who calls a function, certainly and perhaps"
DESCRIPTION = """\
Name the places from which FUNCTION may be called: the certain ones first, then those of
which only a name is known.  FUNCTION is module:qualified.name."""
EXAMPLE = """\
livepatch callers nodeclient.peers:Connection.on_peers \\
    --package-dir site-packages --package nodeclient"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("function", metavar="FUNCTION", help="module:qualified.name")
    add_source(parser)
    parser.add_argument("--depth", type=int, default=1, metavar="N", help="callers of callers, as a tree; by default 1")
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Tell the callers."""
    graph = graph_of(given)
    names = named(graph, given.function)
    edges = [edge for name in names for edge in graph.callers(name) if edge.certain or not given.certain]
    if given.json:
        print_json({"function": given.function, "variants": list(names), "callers": [asdict(edge) for edge in edges]})
    elif given.depth > 1:
        for name in names:
            text = graph.to_text(name, callers=True, depth=given.depth, certain=given.certain)
            print_lines(visible(text).split("\n"))
    else:
        sure = sum(edge.certain for edge in edges)
        head = f"{given.function}: {counted(sure, 'certain caller')}, {len(edges) - sure} possible"
        print_lines([visible(head), *(visible(f"  {edge_line(edge, callers=True)}") for edge in edges)])
    return True
