"""``livepatch watch``: how the patches of running nodes stand, again and again, on one screen."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from livepatch.cli.nodes import add_node, ask_each, found_nodes, seconds
from livepatch.cli.output import Ink, Style, add_color, print_lines
from livepatch.cli.status import lines
from livepatch.errors import shortened

__all__ = ["DESCRIPTION", "SUMMARY", "add_arguments", "run"]

SUMMARY = "show how the patches of running nodes stand, live"
DESCRIPTION = """\
Show what `livepatch status` prints on one screen, anew every second, until Ctrl-C.  Nodes
that start or end meanwhile come and go."""

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


def run(given: argparse.Namespace) -> bool:
    """Show it, until interrupted.  Whether every node answered the last time."""
    style = Style(given.color)
    if given.once:
        told, fine = _looked(given.node, found_nodes(given.node))
        print_lines(style(ink, text) for ink, text in told)
        return fine
    alone = sys.stdout.isatty()
    fine = True
    if alone:
        sys.stdout.write(_ALONE)
    try:
        while True:
            told, fine = _looked(given.node, found_nodes(given.node))
            size = shutil.get_terminal_size()
            shown = [style(ink, shortened(text, size.columns)) for ink, text in told[: size.lines - 1]]
            if alone:
                sys.stdout.write(_HOME)
                print_lines(f"{line}\x1b[K" for line in shown)
                sys.stdout.write(_REST)
                sys.stdout.flush()
            else:
                print_lines([*shown, ""])
            time.sleep(max(given.interval, 0.05))
    except KeyboardInterrupt:
        return fine
    finally:
        if alone:
            sys.stdout.write(_BACK)
            sys.stdout.flush()


def _looked(places: list[str], paths: tuple[Path, ...]) -> tuple[list[tuple[Ink, str]], bool]:
    from livepatch.node.protocol import Status

    now = datetime.now(UTC).strftime("%H:%M:%SZ")
    found: list[tuple[Ink, str]] = [("cyan", f"{now}  {', '.join(places)}"), ("plain", "")]
    fine = True
    for each in ask_each(paths, lambda node: node.ask(Status())):
        if each.result is not None:
            found += lines(each.result)
        else:
            fine = False
            found.append(("red", f"{each.path}: {each.error}"))
        found.append(("plain", ""))
    return found, fine
