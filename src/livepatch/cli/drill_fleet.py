"""``livepatch drill --store``: a small cohort of a fleet practises, once or on a schedule."""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from livepatch.cli.nodes import seconds
from livepatch.cli.output import Style, print_lines, visible
from livepatch.cli.stores import add_store, opened
from livepatch.errors import PatchError, StateError

if TYPE_CHECKING:
    from livepatch.fleet.inventory import Inventory
    from livepatch.fleet.state import Store

__all__ = ["add_fleet", "drill_fleet"]

_LOOK = 0.2  # seconds between two looks at what nodes have said


def add_fleet(parser: argparse.ArgumentParser) -> None:
    """Add what a drill on a fleet takes."""
    add_store(parser)
    parser.add_argument("--inventory", metavar="FILE", help="with --store: the nodes of the fleet, a JSON file")
    parser.add_argument(
        "--count",
        type=int,
        default=3,
        metavar="N",
        help="with --store: how many practise, each time others (default: 3)",
    )
    parser.add_argument(
        "--target",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="with --store: in which a node has to notice the bad patch and be back (default: 30)",
    )
    parser.add_argument(
        "--wait", type=seconds, default=120.0, metavar="SECONDS", help="with --store: for answers (default: 120)"
    )
    parser.add_argument("--every", type=seconds, metavar="SECONDS", help="with --store: again and again, until Ctrl-C")


def drill_fleet(given: argparse.Namespace) -> bool:
    """Hold it.  Whether no node has missed the target, any time."""
    from livepatch.fleet.reading import read_inventory

    if not given.inventory or given.count < 1:
        raise PatchError(
            "a drill on a fleet has nodes",
            found="no --inventory" if not given.inventory else f"--count {given.count}",
            expected="the nodes of the fleet, and how many of them practise",
            action="name the file with --inventory, and give a --count from 1",
        )
    inventory = read_inventory(Path(given.inventory))
    if given.every is None:
        return _held(given, inventory)
    fine = True
    with suppress(KeyboardInterrupt):
        while True:
            begun = time.monotonic()
            fine = _held_in_time(given, inventory) and fine
            time.sleep(max(0.0, given.every - (time.monotonic() - begun)))
    return fine


def _held_in_time(given: argparse.Namespace, inventory: Inventory) -> bool:
    """One of a schedule: what keeps it from being held is an alarm, and no reason not to hold the next."""
    try:
        return _held(given, inventory)
    except StateError as error:
        from livepatch.events import emit

        emit("drill_missed", level="error", reason=error.found)
        sys.stderr.write(f"livepatch drill: ALARM: not held: {visible(str(error))}\n")
        return False


def _held(given: argparse.Namespace, inventory: Inventory) -> bool:
    with opened(given) as store:
        return _practised(store, given, inventory)


def _practised(store: Store, given: argparse.Namespace, inventory: Inventory) -> bool:
    from livepatch.events import emit
    from livepatch.fleet.drilling import Drill, ask, drilled, missed

    name = datetime.now(UTC).strftime("drill-%Y%m%dT%H%M%S.%fZ")
    nodes = [node.id for node in inventory.nodes]
    drill = Drill.of(name, nodes, given.count)
    cohort = [node for node in nodes if drill.takes(node)]
    ask(store, drill, ttl=max(given.wait, 1.0))
    until = time.monotonic() + given.wait
    while (found := drilled(store, name)).keys() < set(cohort) and time.monotonic() < until:
        time.sleep(_LOOK)
    late = missed(cohort, found, given.target)
    rows: list[dict[str, Any]] = [
        {
            "node": node,
            "detect_seconds": found[node].detect if node in found else None,
            "restore_seconds": found[node].restore if node in found else None,
            "missed": late.get(node),
        }
        for node in cohort
    ]
    if given.json:
        print_lines(
            [json.dumps({"drill": name, "target": given.target, "ok": not late, "nodes": rows}, sort_keys=True)]
        )
    else:
        style = Style(given.color)
        print_lines([style("bold", name), *(style("red" if row["missed"] else "green", _line(row)) for row in rows)])
    for node, why in late.items():
        emit("drill_missed", level="error", drill=name, node=node)
        sys.stderr.write(f"livepatch drill: ALARM: {visible(node)}: {visible(why)}\n")
    return not late


def _line(row: dict[str, Any]) -> str:
    if row["missed"]:
        return f"  {row['node']}: {row['missed']}"
    return f"  {row['node']}: {row['detect_seconds']:.3g} s to notice, {row['restore_seconds']:.3g} s to take back"
