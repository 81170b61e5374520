"""``livepatch revert``: a patch goes out of running nodes, and into them no more."""

from __future__ import annotations

import argparse

from livepatch.cli.nodes import (
    add_node,
    add_way,
    ask_each,
    asker,
    confirmed,
    found_nodes,
    patches_of,
    show_status,
    tell,
)
from livepatch.cli.output import add_color, add_json

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "take a patch out of running nodes"
DESCRIPTION = """\
Take the patch with this ID out of running nodes: the very objects that were there before
come back, and it does not go in at the next start.  All nodes are asked, whatever one of
them says."""
EXAMPLE = "livepatch revert CVE-2026-1234 --node /var/lib/client/livepatch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("id", metavar="ID", help="the id of the patch")
    add_node(parser)
    parser.add_argument(
        "--consistency",
        choices=("immediate", "chain", "quiescent"),
        help="what calls see that are under way; by default that of the apply",
    )
    add_way(parser)
    add_color(parser)
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Take it out.  Whether all nodes did."""
    from livepatch.node.protocol import Revert

    paths = found_nodes(given.node)
    if not given.yes:
        patches = [each for each in patches_of(paths) if each["id"] == given.id]
        confirmed(given, f"patch {given.id}", any(each["protected"] for each in patches))
    request = Revert(id=given.id, consistency=given.consistency or "", timeout=given.timeout, drain=given.wait)
    return tell(given, ask_each(paths, asker(request, given)), show_status, asked=len(paths))
