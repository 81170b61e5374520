"""``livepatch attach``: an agent for a process that runs without one."""

from __future__ import annotations

import argparse
from pathlib import Path

from livepatch.cli.agents import add_agent, given_of
from livepatch.cli.nodes import seconds
from livepatch.cli.output import add_json, print_json, print_lines, visible

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "bring an agent into a process that runs without one (CPython 3.14)"
DESCRIPTION = """\
Start an agent in the process PID, which runs CPython 3.14 or later: the same as this
command.  What its store is wished to run goes in, and from then on the other commands
reach it by --node.  It lasts for as long as the process."""
EXAMPLE = "livepatch attach 4711 --store /var/lib/client/livepatch --trust trust.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("pid", metavar="PID", type=_pid, help="the process")
    parser.add_argument("--store", required=True, metavar="DIR", help="the node's directory; it is made if missing")
    add_agent(parser)
    parser.add_argument(
        "--wait", type=seconds, default=30.0, metavar="SECONDS", help="how long the process may take (default: 30)"
    )
    add_json(parser)


def _pid(text: str) -> int:
    if not text.isdecimal() or not 1 < int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is no process")
    return int(text)


def run(given: argparse.Namespace) -> bool:
    """Start it.  What is in the way is raised."""
    from livepatch.node.attaching import attach

    told = attach(given.pid, given_of(given, Path(given.store).absolute()), wait=given.wait)
    if given.json:
        print_json(told)
    else:
        print_lines([visible(f"process {told['pid']} has an agent: --node {told['store']}")])
    return True
