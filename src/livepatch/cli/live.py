"""A look that is taken again and again, on one screen of a terminal."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from livepatch.cli.nodes import seconds
from livepatch.cli.output import Ink, Style, print_lines
from livepatch.errors import PatchError, shortened

if TYPE_CHECKING:
    from livepatch.pages.serving import Page, Place

__all__ = ["add_interval", "add_page", "place_of", "print_look", "shown", "watched"]

_HOME, _REST = "\x1b[H", "\x1b[J"
_ALONE, _BACK = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # a screen of its own, without a cursor


def add_interval(parser: argparse.ArgumentParser) -> None:
    """How often to look."""
    parser.add_argument(
        "--interval", type=seconds, default=1.0, metavar="SECONDS", help="how often to look (default: 1)"
    )


def add_page(parser: argparse.ArgumentParser) -> None:
    """Whether to serve a page instead, and where."""
    parser.add_argument(
        "--page",
        nargs="?",
        const="0",
        metavar="PORT",
        help="serve a page on 127.0.0.1, or on another loopback address as ADDRESS:PORT; by default on any port",
    )


def place_of(given: argparse.Namespace) -> Place:
    """Where the page is to be served.  Raises :class:`PatchError` for what is no place, or goes with no page."""
    from livepatch.pages.serving import Place

    if given.json or getattr(given, "once", False):
        raise PatchError(
            "a page is no output of the command",
            found="--page with --json or --once",
            expected="one of them",
            action="leave --page out; or ask the page for /status.json",
        )
    return Place.parse(given.page)


def shown(page: Page) -> bool:
    """Serve a page until interrupted, and say where it is."""
    with page:
        print_lines([page.address])
        try:
            page.serve()
        except KeyboardInterrupt:
            return True
    return True


def watched(given: argparse.Namespace, look: Callable[[bool], bool]) -> bool:
    """Look every so many seconds, until interrupted; what the last look that ended gave, at first true.

    `look` is told whether to print all there is: it is not where a terminal's screen is to be filled anew.
    """
    alone = sys.stdout.isatty() and not given.json
    fine = True
    if alone:
        sys.stdout.write(_ALONE)
    try:
        while True:
            if alone:
                sys.stdout.write(_HOME)
            fine = look(not alone)
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


def print_look(told: Iterable[tuple[Ink, str]], style: Style, *, whole: bool) -> None:
    """Print it: all of it, or as much as the screen has room for."""
    if whole:
        print_lines(style(ink, text) for ink, text in told)
        return
    size = shutil.get_terminal_size()
    shown = list(told)[: size.lines - 1]
    print_lines(f"{style(ink, shortened(text, size.columns))}\x1b[K" for ink, text in shown)
