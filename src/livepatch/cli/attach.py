"""``livepatch attach``: an agent for a process that runs without one."""

from __future__ import annotations

import argparse
from pathlib import Path

from livepatch.cli.nodes import seconds
from livepatch.cli.output import add_json, print_json, print_lines, visible
from livepatch.cli.trusting import add_trust, trust_of
from livepatch.errors import TrustError

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
    add_trust(parser)
    parser.add_argument("--unsigned", action="store_true", help="take files that nobody has signed: you vouch for all")
    parser.add_argument("--policy", metavar="FILE", help="rules in addition to those in force")
    parser.add_argument(
        "--guard", type=seconds, default=10.0, metavar="SECONDS", help="as for livepatch run (default: 10)"
    )
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
    from livepatch.node.boot import Given

    if (trust_of(given) is None) != given.unsigned:
        raise TrustError(
            "it is not said who answers for patches",
            found="a trust root and --unsigned" if given.unsigned else "no trust root",
            expected="one of the two",
            action="name the trust root with --trust, or vouch for every file yourself with --unsigned",
        )
    told = attach(
        given.pid,
        Given(
            store=_absolute(given.store),
            trust=_absolute(given.trust),
            state=_absolute(given.state),
            node=given.node,
            policy=_absolute(given.policy),
            guard_ms=round(given.guard * 1000),
        ),
        wait=given.wait,
    )
    if given.json:
        print_json(told)
    else:
        print_lines([visible(f"process {told['pid']} has an agent: --node {told['store']}")])
    return True


def _absolute(path: str | None) -> str:
    return "" if not path else str(Path(path).absolute())
