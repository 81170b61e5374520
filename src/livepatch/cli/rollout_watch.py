"""``livepatch rollout status | watch``: how rollouts stand, once or live, on the terminal or as a page."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from livepatch.cli.live import add_interval, add_page, place_of, print_look, shown, watched
from livepatch.cli.output import Ink, Style, add_color, add_json, print_json, print_lines
from livepatch.cli.stores import add_store, opened
from livepatch.errors import counted

if TYPE_CHECKING:
    from livepatch.fleet.state import Store

__all__ = ["add_actions"]

_STATUS = """\
Shows how a rollout stands: its stages, the nodes that are not as they should be, the newest
judgement of the gates, and what has become of it so far.  Without ROLLOUT, each in a line."""
_WATCH = """\
Shows what `status` prints, anew every second, until Ctrl-C.  With --page it serves a page to
this machine's browsers instead, on 127.0.0.1 only, that can be looked at and nothing else."""
_INKS: dict[str, Ink] = {"complete": "green", "reverted": "yellow", "aborting": "red", "running": "cyan"}
_SHOWN = 20  # nodes, and lines of the record


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``status`` and ``watch``."""
    status = actions.add_parser("status", help="show how rollouts stand", description=_STATUS, allow_abbrev=False)
    status.add_argument("rollout", metavar="ROLLOUT", nargs="?", help="the rollout's id; all, if it is left out")
    watch = actions.add_parser("watch", help="show that live", description=_WATCH, allow_abbrev=False)
    watch.add_argument("rollout", metavar="ROLLOUT", help="the rollout's id")
    add_interval(watch)
    add_page(watch)
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

            place = place_of(given)
            overview(store, given.rollout)  # a name that is misspelt is told at once
            return shown(Page(store, given.rollout, host=place.host, port=place.port))
        return watched(given, lambda whole: _look(store, given, whole=whole))


def _look(store: Store, given: argparse.Namespace, *, whole: bool) -> bool:
    from livepatch.fleet.overview import overview

    told = overview(store, given.rollout)
    if given.json:
        print_json(told)
    else:
        print_look(_lines(told), Style(given.color), whole=whole)
    return True


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
