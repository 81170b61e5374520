"""What health costs: a watchdog while nothing happens, a judgement, and a measured call beside the plain one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping

from application import installed
from measure import Bar, Column, Loop, Row, Table, call_loop, take_turns

import livepatch
from livepatch.health import probes
from livepatch.health.judge import Window, judge
from livepatch.health.series import Point, Series

__all__ = ["tables"]

_MOST_IDLE = 0.1  # percent of one processor, at an interval of a second
_FUNCTIONS = "def plain():\n    pass\n\ndef measured():\n    pass\n"
_PATCH = """
import livepatch
fix = livepatch.Patch('{distribution}', package='{distribution}', versions='==1.0')
@fix.replace('{functions}:measured')
def measured():
    return None
"""


def _idle(seconds: float) -> Table:
    """The processor time of the watchdog's threads, by their own clock; the shares are of an interval of a second."""
    kinds: dict[str, tuple[probes.HealthProbe, ...]] = {
        "the process, 5 probes": probes.process_probes(),
        "and 5 of the program's own": (
            *probes.process_probes(),
            *(livepatch.HealthProbe(f"own/{number}", time.monotonic) for number in range(5)),
        ),
    }
    rows = []
    for name, given in kinds.items():
        with livepatch.Watchdog(given, interval=0.02) as watchdog:
            time.sleep(0.1)
            before, count = time.process_time(), _readings(watchdog)
            threading.Event().wait(seconds)
            spent, read = time.process_time() - before, _readings(watchdog) - count
        figures = {"us a reading": spent / read * 1e6, "% of a processor": spent / read * 100}
        rows.append(Row(name, figures, Bar("% of a processor", _MOST_IDLE)))
    return Table(
        "A watchdog while nothing happens",
        (Column("us a reading", "{:.0f}"), Column("% of a processor", "{:.4f}")),
        rows,
    )


def _readings(watchdog: livepatch.Watchdog) -> int:
    return len(watchdog.series()["gc/pause"].points)


def _judgements(rounds: int) -> Table:
    points = tuple(Point(float(number), 1.0 + number % 7 / 100) for number in range(3661))
    series = {"x": Series("x", "s", points)}
    rows = []
    for rule in (livepatch.Rule("x", above=5), livepatch.Rule("x", times=1.5), livepatch.Rule("x", shifts="up")):
        begun = time.thread_time()
        for _ in range(rounds):
            judge(series, [rule], Window(60.0, 1.0, (0.0, 60.0)), 3660.0)
        rows.append(Row(str(rule), {"ms": (time.thread_time() - begun) / rounds * 1e3}))
    return Table("One rule over an hour of readings, one a second", (Column("ms", "{:.2f}"),), rows)


def _batch() -> Iterator[Mapping[str, Loop]]:
    with installed(functions=_FUNCTIONS, patch=_PATCH) as (functions, patch):
        applied = livepatch.apply(patch.fix, mode=livepatch.Measured("on"))
        try:
            yield {
                "a plain call": call_loop("f()", {"f": functions.plain}),
                "a measured call": call_loop("f()", {"f": functions.measured}),
            }
        finally:
            applied.revert()


def _calls(batches: int, turns: int) -> Table:
    timed = take_turns((loops for _ in range(batches) for loops in _batch()), turns)
    rows = [Row(name, {"ns": timed.ns(name)}) for name in ("a plain call", "a measured call")]
    note = "A patch that has settled is called as if it had never been measured."
    return Table("A call of an empty function", (Column("ns", "{:.0f}"),), rows, note)


def tables(*, quick: bool) -> Iterator[Table]:
    """Idle, judging, measuring."""
    yield _idle(0.5 if quick else 10.0)
    yield _judgements(5 if quick else 50)
    yield _calls(1 if quick else 6, 5 if quick else 40)
