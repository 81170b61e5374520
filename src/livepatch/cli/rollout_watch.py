"""``livepatch rollout status | watch``: how rollouts stand, once or live, on the terminal or as a page."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from livepatch.cli.nodes import seconds
from livepatch.cli.output import Ink, Style, add_color, add_json, print_json, print_lines
from livepatch.cli.stores import add_store, opened
from livepatch.errors import counted, shortened

if TYPE_CHECKING:
    from livepatch.fleet.state import Store

__all__ = ["add_actions"]

_STATUS = """\
Shows how a rollout stands: its stages, the nodes that are not as they should be, the newest
judgement of the gates, and what has become of it so far.  Without ROLLOUT, each in a line."""
_WATCH = """\
Shows what `status` prints, anew every second, until Ctrl-C.  With --page it serves a page to
this machine's browsers instead, on 127.0.0.1 only, that can be looked at and nothing else."""
_HOME, _REST = "\x1b[H", "\x1b[J"
_ALONE, _BACK = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_INKS: dict[str, Ink] = {"complete": "green", "reverted": "yellow", "aborting": "red", "running": "cyan"}
_SHOWN = 20  # nodes, and lines of the record


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``status`` and ``watch``."""
    status = actions.add_parser("status", help="show how rollouts stand", description=_STATUS, allow_abbrev=False)
    status.add_argument("rollout", metavar="ROLLOUT", nargs="?", help="the rollout's id; all, if it is left out")
    watch = actions.add_parser("watch", help="show that live", description=_WATCH, allow_abbrev=False)
    watch.add_argument("rollout", metavar="ROLLOUT", help="the rollout's id")
    watch.add_argument(
        "--interval", type=seconds, default=1.0, metavar="SECONDS", help="how often to look (default: 1)"
    )
    watch.add_argument(
        "--page", type=int, nargs="?", const=0, metavar="PORT", help="serve a page on 127.0.0.1; by default any port"
    )
    for each in (status, watch):
        add_store(each)
        add_color(each)
        add_json(each)
    status.set_defaults(act=_status)
    watch.set_defaults(act=_watch)


def _status(given: argparse.Namespace) -> bool:
    from livepatch.fleet.keys import rollouts_in
    from livepatch.fleet.overview import in_words, overview

    with opened(given) as store:
        if given.rollout:
            _look(store, given, whole=True)
            return True
        every = [overview(store, each) for each in rollouts_in(store)]
    if given.json:
        print_json({"rollouts": every})
        return True
    style = Style(given.color)
    print_lines([style(_INKS.get(each["phase"], "plain"), in_words(each)) for each in every] or ["there is no rollout"])
    return True


def _watch(given: argparse.Namespace) -> bool:
    with opened(given) as store:
        if given.page is not None:
            from livepatch.fleet.overview import overview
            from livepatch.fleet.serving import Page

            overview(store, given.rollout)  # a name that is misspelt is told at once
            with Page(store, given.rollout, port=given.page) as page:
                print_lines([page.address])
                try:
                    page.serve()
                except KeyboardInterrupt:
                    return True
        return _live(store, given)


def _live(store: Store, given: argparse.Namespace) -> bool:
    alone = sys.stdout.isatty() and not given.json
    if alone:
        sys.stdout.write(_ALONE)
    try:
        while True:
            if alone:
                sys.stdout.write(_HOME)
            _look(store, given, whole=not alone)
            if alone:
                sys.stdout.write(_REST)
                sys.stdout.flush()
            time.sleep(max(given.interval, 0.05))
    except KeyboardInterrupt:
        return True
    finally:
        if alone:
            sys.stdout.write(_BACK)
            sys.stdout.flush()


def _look(store: Store, given: argparse.Namespace, *, whole: bool) -> None:
    from livepatch.fleet.overview import overview

    told = overview(store, given.rollout)
    if given.json:
        print_json(told)
        return
    style, found = Style(given.color), list(_lines(told))
    if whole:
        print_lines(style(ink, text) for ink, text in found)
        return
    size = shutil.get_terminal_size()
    print_lines(f"{style(ink, shortened(text, size.columns))}\x1b[K" for ink, text in found[: size.lines - 1])


def _lines(told: dict[str, Any]) -> Iterator[tuple[Ink, str]]:
    from livepatch.fleet.overview import in_words

    patch = told["patch"]
    yield _INKS.get(told["phase"], "bold"), in_words(told)
    steered = "; a controller acts" if told["steered"] else "; no controller acts: livepatch rollout run"
    steered = "" if told["phase"] in ("complete", "reverted") else steered
    yield "plain", f"  patch {patch['id']} for {patch['package']}{steered}"
    for number, stage in enumerate(told["stages"], 1):
        counts = ", ".join(
            f"{stage[name]} {word}"
            for name, word in (("applied", "with it"), ("dormant", "dormant"), ("armed", "armed"),
                               ("original", "without"), ("failed", "failed"), ("silent", "silent"),
                               ("retired", "retired"))
            if stage[name]
        )  # fmt: skip
        ink: Ink = "green" if stage["state"] == "passed" else "red" if stage["failed"] else "plain"
        yield ink, f"  {number}. {stage['name']}: {stage['state']}; {counted(stage['nodes'], 'node')}: {counts}"
    if told["judged"]:
        last = told["judged"][-1]
        yield "bold", f"  stage {last['opened']}, look {last['look']} of {told['looks']}: {last['verdict']}"
        for answer in last["answers"]:
            yield "red" if answer["verdict"] == "bad" else "plain", f"    {answer['why']}"
    odd = [each for each in told["nodes"] if each["why"] or each["state"] in ("failed", "silent")]
    for node in odd[:_SHOWN]:
        yield "yellow", f"  {node['id']}: {node['state']}{_because(node)}"
    if len(odd) > _SHOWN:
        yield "yellow", f"  and {len(odd) - _SHOWN} more"
    for each in told["record"][-_SHOWN:]:
        moment = datetime.fromtimestamp(each["at"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        paused = ", paused" if each["paused"] else ""
        why = f": {each['why']}" if each["why"] else ""
        yield "plain", f"  {moment} {each['phase']}{paused}, stage {each['opened']}, look {each['look']}{why}"


def _because(told: dict[str, Any]) -> str:
    return f": {told['why']}" if told["why"] else ""
