"""``livepatch health``: whether running nodes are well."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from livepatch.cli.nodes import add_node, ask_each, asker, found_nodes, soak_line, tell
from livepatch.cli.output import Ink, Style, add_color, add_json, print_lines

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "lines", "run"]

SUMMARY = "tell whether running nodes are well"
DESCRIPTION = """\
Print what the probes of each node show, what its rules say of that, and how the patches stand
that soak.  The exit status is 0 if no rule is broken and nothing is unknown."""
EXAMPLE = "livepatch health --node /var/lib/client/livepatch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    add_node(parser)
    add_color(parser)
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Tell.  Whether all nodes are well."""
    from livepatch.node.protocol import Health

    paths = found_nodes(given.node)

    def show(told: dict[str, Any], style: Style) -> None:
        print_lines(style(ink, text) for ink, text in lines(told))

    def fine(told: dict[str, Any]) -> bool:
        return bool(told["state"] == "ok")

    return tell(given, ask_each(paths, asker(Health(), given)), show, asked=len(paths), fine=fine)


_INKS: dict[str, Ink] = {"ok": "green", "unknown": "yellow", "breach": "red", "rolled-back": "red", "failed": "red"}
_SHOWN = 5  # readings of a probe on one line


def lines(told: dict[str, Any]) -> Iterator[tuple[Ink, str]]:
    """What a node says of its health, line by line."""
    yield _INKS[told["state"]], f"{told['node']}, process {told['pid']}: {told['state']}"
    if not told["probes"]:
        yield "yellow", "  no probe is read, so nothing is known"
    elif not told["running"]:
        yield "yellow", "  the watchdog does not run"
    width = max((len(each["name"]) for each in told["probes"]), default=0)
    for each in told["probes"]:
        if each["value"] is None:
            yield "yellow", f"  {each['name']:<{width}}  unknown: {each['why'] or 'it gave nothing'}"
        else:
            shown = " ".join("?" if value is None else f"{value:.6g}" for value in each["values"][-_SHOWN:])
            yield "plain", f"  {each['name']:<{width}}  {shown} {each['unit']}".rstrip()
    for each in told["rules"]:
        yield _INKS[each["state"]], f"  {each['state']}: {each['probe']}: {each['why']} [{each['rule']}]"
    for each in told["soaks"]:
        yield _INKS.get((each["verdict"] or {"state": ""})["state"], "plain"), f"  {soak_line(each)}"
