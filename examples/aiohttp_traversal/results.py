"""What the load saw, phase by phase, and how long each switch took."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from story import milliseconds

if TYPE_CHECKING:
    from console import Server, Step


@dataclass(frozen=True, slots=True)
class Request:
    """One request of the load."""

    began: float
    ended: float
    error: str | None


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch between two switches, in which the exploit either works or does not."""

    name: str
    began: float
    ended: float
    vulnerable: bool

    def holds(self, request: Request) -> bool:
        """Whether the whole request lies in this phase."""
        return self.began <= request.began and request.ended <= self.ended


def table(rows: list[list[str]]) -> str:
    """Lay out rows below a heading, the first column to the left and numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(f"  {line}" for line in [lines[0], "-" * len(lines[0]), *lines[1:]])


def phase_row(name: str, requests: list[Request]) -> list[str]:
    """Sum up the load of one phase."""
    failed = sum(request.error is not None for request in requests)
    times = [(request.ended - request.began) * 1e3 for request in requests]
    centiles = statistics.quantiles(times, n=100, method="inclusive") if len(times) > 1 else times * 99
    p50, p99 = (f"{centiles[at]:.1f}" for at in (49, 98)) if times else ("-", "-")
    return [name, str(len(requests) - failed), str(failed), p50, p99]


def in_flight(step: Step, requests: list[Request]) -> list[Request]:
    """The requests that were under way at some time of a step."""
    return [each for each in requests if each.began <= step.ended and each.ended >= step.began]


def print_results(server: Server, phases: list[Phase], requests: list[Request]) -> None:
    """Print what the load saw of it all, and how long each step took."""
    steps = [*server.checks, *server.switches]
    rows = [
        ["phase", "served", "failed", "p50 ms", "p99 ms"],
        *(phase_row(phase.name, [each for each in requests if phase.holds(each)]) for phase in phases),
        *(phase_row(f"in flight during {step.name}", in_flight(step, requests)) for step in steps),
    ]
    print(f"\n{table(rows)}\n")
    rows = [["step", "the writes", "the whole call", "settled after"]]
    writes = times_of_writes(server.switches, server.events)
    for step in steps:
        whole, settled = milliseconds(step.ended - step.began), milliseconds(step.settled - step.began)
        rows.append([step.name, writes.get(step, "-"), whole, settled if step in server.switches else ""])
    print(f"{table(rows)}\n")


def times_of_writes(switches: list[Step], events: list[dict[str, Any]]) -> dict[Step, str]:
    """Find how long the writes of each switch took: the library sends one event a switch, in their order."""
    reported = [float(event["switch_us"]) / 1e6 for event in events if "switch_us" in event]
    return {switch: milliseconds(seconds) for switch, seconds in zip(switches, reported, strict=False)}
