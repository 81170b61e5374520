"""``livepatch watch``: how the patches of running nodes stand, again and again, on one screen."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from datetime import UTC, datetime

from livepatch.cli.nodes import Outcome, add_node, ask_each, found_nodes, seconds, understood
from livepatch.cli.output import Ink, Style, add_color, add_json, print_json, print_lines
from livepatch.cli.status import lines
from livepatch.errors import NodeError, shortened

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "show how the patches of running nodes stand, live"
DESCRIPTION = """\
Show what `livepatch status` prints on one screen, anew every second, until Ctrl-C.  Nodes
that start or end meanwhile come and go."""
EXAMPLE = "livepatch watch --node /var/lib/client/livepatch"

_HOME, _REST = "\x1b[H", "\x1b[J"
_ALONE, _BACK = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # a screen of its own, without a cursor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    add_node(parser)
    parser.add_argument(
        "--interval", type=seconds, default=1.0, metavar="SECONDS", help="how often to look (default: 1)"
    )
    parser.add_argument("--once", action="store_true", help="look once, and print that")
    add_color(parser)
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Show it, until interrupted.  Whether every node answered the last time."""
    look = _json if given.json else _text
    if given.once:
        found_nodes(given.node)  # or there is nothing to look at
        return look(given, whole=True)
    alone = sys.stdout.isatty() and not given.json
    fine = True
    if alone:
        sys.stdout.write(_ALONE)
    try:
        while True:
            if alone:
                sys.stdout.write(_HOME)
            fine = look(given, whole=not alone)
            if alone:
                sys.stdout.write(_REST)
                sys.stdout.flush()
            time.sleep(max(given.interval, 0.05))
    except KeyboardInterrupt:
        return fine
    finally:
        if alone:
            sys.stdout.write(_BACK)
            sys.stdout.flush()


def _json(given: argparse.Namespace, *, whole: bool) -> bool:  # noqa: ARG001  # it is always whole
    outcomes = _asked(given.node)
    print_json({"nodes": [each.to_dict() for each in outcomes]})
    return bool(outcomes) and all(each.error is None for each in outcomes)


def _text(given: argparse.Namespace, *, whole: bool) -> bool:
    """Print it: all of it, or as much as the screen has room for."""
    style = Style(given.color)
    told, fine = _looked(given.node)
    if whole:
        print_lines(style(ink, text) for ink, text in told)
    else:
        size = shutil.get_terminal_size()
        shown = told[: size.lines - 1]
        print_lines(f"{style(ink, shortened(text, size.columns))}\x1b[K" for ink, text in shown)
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
