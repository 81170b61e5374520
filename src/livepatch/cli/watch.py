"""``livepatch watch``: how the patches of running nodes stand, again and again, on one screen."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from livepatch.cli.live import add_interval, add_page, place_of, print_look, shown, watched
from livepatch.cli.nodes import Outcome, add_node, ask_each, found_nodes, understood
from livepatch.cli.output import Ink, Style, add_color, add_json, print_json
from livepatch.cli.status import lines
from livepatch.errors import NodeError

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "show how the patches of running nodes stand, live"
DESCRIPTION = """\
Show what `livepatch status` prints on one screen, anew every second, until Ctrl-C.  Nodes
that start or end meanwhile come and go.  With --page it serves a page to this machine's
browsers instead, on a loopback address, that can be looked at and nothing else: patches,
what the probes have shown, what the rules say, and the newest entries of the record."""
EXAMPLE = """\
livepatch watch --node /var/lib/client/livepatch
livepatch watch --node /var/lib/client/livepatch --page 8080"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    add_node(parser)
    add_interval(parser)
    add_page(parser)
    parser.add_argument("--once", action="store_true", help="look once, and print that")
    add_color(parser)
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Show it, until interrupted.  Whether every node answered the last time."""
    if given.page is not None:
        return _page(given)
    look = _json if given.json else _text
    if given.once:
        found_nodes(given.node)  # or there is nothing to look at
        return look(given, whole=True)
    return watched(given, lambda whole: look(given, whole=whole))


def _page(given: argparse.Namespace) -> bool:
    from livepatch.node.looking import look
    from livepatch.node.page import page
    from livepatch.pages.serving import Page

    place = place_of(given)
    found_nodes(given.node)  # or there is nothing to look at
    return shown(Page(lambda: look(lambda: found_nodes(given.node)), page, place))


def _json(given: argparse.Namespace, *, whole: bool) -> bool:  # noqa: ARG001  # it is always whole
    outcomes = _asked(given.node)
    print_json({"nodes": [each.to_dict() for each in outcomes]})
    return bool(outcomes) and all(each.error is None for each in outcomes)


def _text(given: argparse.Namespace, *, whole: bool) -> bool:
    told, fine = _looked(given.node)
    print_look(told, Style(given.color), whole=whole)
    return fine


def _asked(places: list[str]) -> tuple[Outcome, ...]:
    """Those that there are now: while one looks, nodes start and end."""
    from livepatch.node.protocol import Status

    try:
        paths = found_nodes(places)
    except NodeError:
        return ()
    return ask_each(paths, lambda node: node.ask(Status()))


def _looked(places: list[str]) -> tuple[list[tuple[Ink, str]], bool]:
    now = datetime.now(UTC).strftime("%H:%M:%SZ")
    found: list[tuple[Ink, str]] = [("cyan", f"{now}  {', '.join(places)}"), ("plain", "")]
    outcomes = _asked(places)
    for each in outcomes:
        if each.result is not None:
            with understood():
                found += lines(each.result)
        else:
            found.append(("red", f"{each.path}: {each.error}"))
        found.append(("plain", ""))
    if not outcomes:
        found.append(("red", "there is no node"))
    return found, bool(outcomes) and all(each.error is None for each in outcomes)
