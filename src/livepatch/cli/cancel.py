"""``livepatch cancel``: take back a switch that waits or drains."""

from __future__ import annotations

import argparse
from typing import Any

from livepatch.cli.nodes import add_node, ask_each, asker, found_nodes, tell
from livepatch.cli.output import Style, add_color, add_json, print_lines

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "take back a switch that running nodes are making"
DESCRIPTION = """\
Take back the switch of the patch with this ID that waits for a quiescent moment, or still
drains: what was before is live again."""
EXAMPLE = "livepatch cancel CVE-2026-1234 --node /var/lib/client/livepatch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("id", metavar="ID", help="the id of the patch")
    add_node(parser)
    add_color(parser)
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Take it back.  Whether all nodes did."""
    from livepatch.node.protocol import Cancel

    paths = found_nodes(given.node)

    def show(told: dict[str, Any], style: Style) -> None:
        print_lines([style("green", f"{told['id']}: what was before is live again")])

    return tell(given, ask_each(paths, asker(Cancel(id=given.id), given)), show, asked=len(paths))
