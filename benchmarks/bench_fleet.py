"""What a fleet costs: a step of the controller by the nodes that changed, and a simulated day by all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import replace

from measure import Bar, Column, Row, Table

from livepatch.fleet.controller import State, step
from livepatch.fleet.inventory import Inventory, Node
from livepatch.fleet.planning import Planned, plan
from livepatch.fleet.rollout import Judging, Rollout, RolloutPatch, Stage, Threshold
from livepatch.fleet.scenario import Scenario
from livepatch.fleet.simulate import simulate
from livepatch.fleet.standing import Command, Report

__all__ = ["tables"]

_CHANGED = 100  # nodes that report in one step
_FLAT = 1.5
_MOST_MINUTES = 5.0


def _planned(nodes: int) -> Planned:
    shares = (5, 30, 60, 90, 100)
    rollout = Rollout(
        id="r-1",
        patch=RolloutPatch(id="CVE-2026-1234", digest="", flag="f", package="nodeclient", versions=">=2.1"),
        stages=tuple(Stage(name=f"s{share}", soak=1800.0, percent=share) for share in shares),
        gates=(Threshold(metric="errors", most=0.01),),
        promoters=("alice",),
        detection=300.0,
        retraction=60.0,
        reach=3600.0,
        max_unavailable=nodes // 40,
        max_failed=0,
        judging=Judging(),
    )
    there = tuple(Node(id=f"n{number}", version="2.1.0") for number in range(nodes))
    return plan(rollout, Inventory(source="made up", nodes=there))


def _steps(rounds: int) -> Table:
    """One step in which so many nodes report, in fleets of several sizes, in turns."""
    sizes = (1_000, 10_000, 100_000)
    states = {}
    for size in sizes:
        planned = _planned(size)
        states[size] = (
            planned,
            step(planned, State.of(planned), [Command(kind="start", who="alice", order=0)], 0.0)[0],
        )
    taken: dict[tuple[int, int], list[float]] = {}
    for number in range(rounds):
        for size, (planned, state) in states.items():
            for changed in (_CHANGED, 10 * _CHANGED):
                every = size // changed
                reports = [
                    Report(node=f"n{index * every}", sequence=number + 1, order=0, condition="original")
                    for index in range(changed)
                ]
                begun = time.process_time()
                step(planned, state, reports, 1.0)
                taken.setdefault((size, changed), []).append((time.process_time() - begun) * 1e6 / changed)
    middle = {key: statistics.median(values) for key, values in taken.items()}
    least = middle[sizes[0], _CHANGED]
    rows = [
        Row(
            f"{changed:,} of {size:,} nodes",
            {"us a changed node": figure, "to the first": figure / least},
            None if (size, changed) == (sizes[0], _CHANGED) else Bar("to the first", _FLAT),
        )
        for (size, changed), figure in middle.items()
    ]
    return Table(
        "A step of the controller, by the nodes that changed",
        (Column("us a changed node", "{:.1f}"), Column("to the first", "{:.2f}")),
        rows,
    )


def _days(rounds: int) -> Table:
    """A day of a rollout, simulated whole, in which each node goes away twice."""
    sizes = (100, 1_000, 10_000)
    scenario = Scenario(away=2.0)
    taken: dict[int, list[float]] = {size: [] for size in sizes}
    events = {}
    plans = {size: _planned(size) for size in sizes}
    for number in range(rounds):
        for size, planned in plans.items():
            begun = time.process_time()
            found = simulate(planned, replace(scenario, nodes=size), seed=number, hours=24, whole=True)
            taken[size].append(time.process_time() - begun)
            events[size] = found.events
    seconds = {size: statistics.median(values) for size, values in taken.items()}
    hourly = {size: seconds[size] / size / 24 * 1e6 for size in sizes}
    rows = []
    for size in sizes:
        figures = {
            "minutes": seconds[size] / 60,
            "events": events[size],
            "us a node-hour": hourly[size],
            "to the first": hourly[size] / hourly[sizes[0]],
        }
        rows.append(Row(f"{size:,} nodes", figures, None if size == sizes[0] else Bar("to the first", _FLAT)))
    whole = Row("all of the largest", {"minutes": seconds[sizes[-1]] / 60}, Bar("minutes", _MOST_MINUTES))
    return Table(
        "A simulated day of a fleet, in processor time",
        (
            Column("minutes", "{:.3f}"),
            Column("events", "{:,.0f}"),
            Column("us a node-hour", "{:.1f}"),
            Column("to the first", "{:.2f}"),
        ),
        [*rows, whole],
    )


def tables(*, quick: bool = False) -> Iterator[Table]:
    yield _steps(5 if quick else 40)
    yield _days(1 if quick else 5)
