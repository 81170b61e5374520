"""``livepatch drill``: does this node take a patch, and how fast does it give a bad one back?"""

from __future__ import annotations

import argparse
from typing import Any

from livepatch.cli.drill_fleet import add_fleet, drill_fleet
from livepatch.cli.nodes import add_node, ask_each, asker, found_nodes, tell
from livepatch.cli.output import Style, add_color, add_json, print_lines
from livepatch.errors import PatchError

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "practise on running nodes: a harmless patch, and a bad one that is taken back"
DESCRIPTION = """\
Have each node apply two patches of livepatch's own, one after the other, to a module that is
made for it: a harmless one, and one that raises.  Both soak under the node's watchdog.  The
exit status is 0 if the first stayed and the second was taken back.  Nothing of the program
is changed, and nothing stays.  With --store, so many nodes of a fleet do that, each time
others; who misses the target is an alarm, on standard error and in the exit status."""
EXAMPLE = "livepatch drill --node /var/lib/client/livepatch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    add_node(parser, required=False)
    add_fleet(parser)
    add_color(parser)
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Hold it.  Whether it went well on all nodes."""
    from livepatch.node.protocol import Drill

    if bool(given.node) == bool(given.store):
        raise PatchError(
            "it is not said who is to practise",
            found="--node and --store" if given.node else "neither --node nor --store",
            expected="one of them",
            action="name nodes of this machine with --node, or a fleet with --store",
        )
    if given.store:
        return drill_fleet(given)
    paths = found_nodes(given.node)
    return tell(given, ask_each(paths, asker(Drill(), given)), _show, asked=len(paths), fine=_went_well)


def _went_well(told: dict[str, Any]) -> bool:
    return bool(told["ok"])


def _show(told: dict[str, Any], style: Style) -> None:
    went = style("green", "the drill went well") if told["ok"] else style("red", "the drill did not go well")
    print_lines([went])
    print_lines(style("plain", f"  {told[name]['text']}") for name in ("harmless", "bad"))
    if told["ok"]:
        times = f"{told['detect_seconds']:.3g} s to notice, {told['restore_seconds']:.3g} s to take back"
        print_lines([style("bold", f"  {times}; the probes are read every {told['interval']:g} s")])
