"""``livepatch flag``: switch patches in running nodes to another mode, now and at each of their starts."""

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

SUMMARY = "switch a patch in running nodes to another mode"
DESCRIPTION = """\
Switch the patch that has this FLAG to MODE: on, off, shadow, shadow(limit=0.05), split(5%),
split(5%, key=PARAMETER) or at(HEIGHT), in quotes.  It is in that mode again at the next
start."""
EXAMPLE = "livepatch flag cve-2026-1234 off --node /var/lib/client/livepatch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("flag", metavar="FLAG", help="the flag of the patch: its id, unless it has another")
    parser.add_argument("mode", metavar="MODE", help="the mode")
    add_node(parser)
    add_way(parser)
    parser.add_argument("--keep-going", action="store_true", help="ask the other nodes as well if one refuses")
    add_color(parser)
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Switch it.  Whether all nodes did."""
    from livepatch.node.protocol import Flag

    paths = found_nodes(given.node)
    if not given.yes:
        patches = [each for each in patches_of(paths) if each["flag"] == given.flag]
        confirmed(given, f"the patch behind {given.flag}", any(each["protected"] for each in patches))
    request = Flag(flag=given.flag, mode=given.mode, timeout=given.timeout, drain=given.wait)
    outcomes = ask_each(paths, asker(request, given), stop=not given.keep_going)
    return tell(given, outcomes, show_status, asked=len(paths))
