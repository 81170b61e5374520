"""``livepatch status``: how the patches of running nodes stand."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from livepatch.cli.nodes import add_node, ask_each, asker, found_nodes, tell
from livepatch.cli.output import Ink, Style, add_color, add_json, print_lines
from livepatch.errors import counted

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "lines", "run"]

SUMMARY = "tell how the patches of running nodes stand"
DESCRIPTION = """\
Print each applied patch, newest last, and what of the set that is wished for the node does
not run.  With --verify each place is compared with what the patches say it holds, and with
--probes the node asks the regression probes of its patches, of those that were taken out as
well, whether the holes are closed: in itself where a probe is declared safe for that, else in
a scratch process with the same patches."""
EXAMPLE = 'livepatch status --node "/var/lib/*/livepatch" --verify'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    add_node(parser)
    parser.add_argument("--verify", action="store_true", help="say whether every place still holds what it should")
    parser.add_argument(
        "--probes", action="store_true", help="ask the node's regression probes whether holes are closed"
    )
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="SECONDS", help="how long each probe may take; by default 30"
    )
    add_color(parser)
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Tell.  Whether all nodes answer, and whether all places and probes that were asked for are as they should be."""
    from livepatch.node.client import Node
    from livepatch.node.protocol import Probes, Status, Verify

    paths = found_nodes(given.node)
    status = asker(Status(), given)

    def ask(node: Node) -> dict[str, Any]:
        told = status(node)
        if given.verify:
            told["verified"] = node.ask(Verify())
        if given.probes:
            told["probed"] = node.ask(Probes(timeout=given.timeout))
        return told

    def show(told: dict[str, Any], style: Style) -> None:
        print_lines(style(ink, text) for ink, text in lines(told))

    def fine(told: dict[str, Any]) -> bool:
        return all(told[each]["ok"] for each in ("verified", "probed") if each in told)

    return tell(given, ask_each(paths, ask), show, asked=len(paths), fine=fine)


_STATES = {
    "applied": "in",
    "waiting": "waiting",
    "aside": "set aside",
    "retired": "retired",
    "gone": "reverted by the program",
}
_INKS: dict[str, Ink] = {"aside": "red", "retired": "plain"}


def lines(told: dict[str, Any]) -> Iterator[tuple[Ink, str]]:
    """What a node says of itself, line by line."""
    since = datetime.fromtimestamp(told["started"], UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    yield "bold", f"{told['node']}, process {told['pid']}, since {since}, Python {told['python']}"
    patches = told["patches"]
    if not patches:
        yield "plain", "  no patch is applied"
    for patch in patches:
        worry = patch["foreign"] or patch["left"] or patch["troubles"] or not patch["drained"]
        yield "yellow" if worry else "green", f"  {patch['text']}"
    applied = {patch["id"] for patch in patches}
    for each in told["wanted"]:
        if each["id"] not in applied:
            reason = f": {each['reason']}" if each["reason"] else ""
            awaited = f" for {', '.join(each['waits_for'])}" if each["waits_for"] else ""
            yield _INKS.get(each["state"], "yellow"), f"  {each['id']}: {_STATES[each['state']]}{awaited}{reason}"
    for each in told["fell"]:
        yield "red", f"  {each['id']}: left out since {each['at']}: the process died too soon after it had gone in"
    for each in told["processes"]:
        runs = ", ".join(f"{name} {how}" for name, how in each["standings"].items()) or "no patch"
        yield (
            "yellow" if each["lags"] else "plain",
            f"  process {each['pid']}: {runs}" + (", and lags behind" if each["lags"] else ""),
        )
    verified = told.get("verified")
    if verified is not None:
        yield (
            "green" if verified["ok"] else "red",
            f"  {verified['checked']} places looked at" + (": all as the patches say" if verified["ok"] else ""),
        )
        for finding in verified["findings"]:
            yield "red", f"    {finding['target']}: found {finding['found']}; expected {finding['expected']}"
    probed = told.get("probed")
    if probed is not None:
        count = counted(len(probed["outcomes"]), "probe")
        yield "green" if probed["ok"] else "red", f"  {count} asked" + (": all as it should be" if probed["ok"] else "")
        for each in probed["outcomes"]:
            where = "the node itself" if each["where"] == "live" else "a scratch process"
            why = f" ({each['why']})" if each["why"] else ""
            yield "plain", f"    {each['patch_id']}/{each['probe']}: {each['verdict']}, in {where}{why}"
        for finding in probed["findings"]:
            yield (
                "red" if finding["severity"] == "error" else "yellow",
                f"    {finding['target']}: found {finding['found']}; do: {finding['action']}",
            )
