"""What a fleet costs: a step of the controller by the nodes that changed, and a simulated day by all of them.

And how long it takes, on real processes and a real store, until a patch is off everywhere once the verdict is there.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

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


EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PLAN = """\
[rollout]
id = "ROLLOUT"
promoters = ["alice"]
detection-minutes = 1
retraction-minutes = 1
max-unavailable = 0

[[stage]]
name = "all"
percent = 100
soak-minutes = 60

[[gate]]
metric = "well"
least = 1
"""
_REVERT_BAR = 2.0  # seconds at p99
_PATIENCE = 600.0


class _Node:
    """A process with a module to be patched and an agent, and what it says."""

    def __init__(
        self, folder: Path, name: str, store: str, trust: Path, said: queue.Queue[tuple[str, list[str]]]
    ) -> None:
        path = os.pathsep.join([str(EXAMPLES / "node" / "1.0.0"), *filter(None, [os.environ.get("PYTHONPATH")])])
        script = Path(__file__).with_name("fleet_node.py")
        self.process = subprocess.Popen(
            [sys.executable, script, folder, name, store, trust],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._reading = threading.Thread(target=self._read, args=(name, said), daemon=True)
        self._reading.start()

    def _read(self, name: str, said: queue.Queue[tuple[str, list[str]]]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said.put((name, line.split()))

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reading.join()


def _all_say(said: queue.Queue[tuple[str, list[str]]], names: set[str], words: list[str]) -> list[float]:
    """Wait until all have said that, and give the moments at which they did."""
    left, moments, until = set(names), [], time.monotonic() + _PATIENCE
    while left:
        name, line = said.get(timeout=max(0.1, until - time.monotonic()))
        if line[0] == "error":
            raise RuntimeError(f"{name}: {' '.join(line)}")
        if line[: len(words)] == words and name in left:
            left.discard(name)
            moments.append(float(line[-1]) if len(line) > len(words) else 0.0)
    return moments


def _reverts_on(store: str, folder: Path, nodes: int, rounds: int) -> dict[str, list[float]]:
    """Roll a patch out to all at once, and abort; in turns with a key that the store tells everybody of."""
    sys.path.insert(0, str(EXAMPLES / "fleet"))
    from fleet import Fleet, Patches
    from livepatch.fleet.chronicle import passages
    from livepatch.fleet.opening import Where
    from livepatch.fleet.running import directive_of, send
    from livepatch.fleet.standing import Command
    from livepatch.fleet.steering import Steering

    patches = Patches(folder)
    shared = Fleet(folder, patches.trust, store, 0)
    shared.places = {f"n{number}": None for number in range(nodes)}
    said: queue.Queue[tuple[str, list[str]]] = queue.Queue()
    opened, ended = Where(store=store).opened(), threading.Event()
    steering = Steering(opened)

    def steer() -> None:
        while not ended.is_set():
            steering.turn(time.time())
            steering.wait(0.5)

    there = [_Node(folder, name, store, patches.trust, said) for name in shared.places]
    steerer = threading.Thread(target=steer, daemon=True)
    found: dict[str, list[float]] = {"told": [], "reverted": []}
    names = set(shared.places)
    try:
        _all_say(said, names, ["ready"])
        steerer.start()
        for number in range(rounds):
            rollout, patch = f"r-{number}", f"P-{number}"
            shared.start(PLAN, patches.good(patch), rollout)
            _all_say(said, names, ["applied", patch])
            begun = time.time()
            opened.put(f"told/beat/{number}", str(number).encode(), expected=None)
            found["told"] += [moment - begun for moment in _all_say(said, names, ["heard", str(number)])]
            send(opened, rollout, Command(kind="abort", who="anybody"))
            moments = _all_say(said, names, ["reverted", patch])
            verdict = next(each.at for each in passages(opened, rollout) if each.directive.phase == "aborting")
            found["reverted"] += [moment - verdict for moment in moments]
            while (its := directive_of(opened, rollout)) is None or its.phase != "reverted":
                time.sleep(0.05)
    finally:
        ended.set()
        with contextlib.suppress(RuntimeError):  # it was never started
            steerer.join(10)
        for each in there:
            each.end()
        opened.close()
        sys.path.remove(str(EXAMPLES / "fleet"))
    return found


def _reverts(nodes: int, rounds: int) -> Table:
    """From the verdict until the patch is off at each node, beside what the store takes to tell each of a key."""
    engines = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "file").mkdir()
        engines["one file"] = _reverts_on(str(folder / "file" / "fleet.db"), folder / "file", nodes, rounds)
    if shutil.which("nats-server"):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with _server(folder) as url:
                engines["NATS"] = _reverts_on(url, folder, nodes, rounds)
    rows = []
    for engine, found in engines.items():
        base = _at(found["told"], 0.99)
        for what, label in (("told", "a key is told"), ("reverted", "the patch is off")):
            figures = {
                "median s": statistics.median(found[what]),
                "p99 s": _at(found[what], 0.99),
                "most s": max(found[what]),
                "p99 to told": _at(found[what], 0.99) / base,
            }
            rows.append(Row(f"{engine}: {label}", figures, Bar("p99 s", _REVERT_BAR) if what == "reverted" else None))
    return Table(
        f"{nodes} processes, {rounds} rollouts: from the verdict until every node is back",
        (
            *(Column(name, "{:.3f}") for name in ("median s", "p99 s", "most s")),
            Column("p99 to told", "{:.2f}"),
        ),
        rows,
    )


def _at(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[str]:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    configuration = folder / "nats.conf"
    configuration.write_text(f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{folder / "data"}" }}\n')
    server = subprocess.Popen(["nats-server", "-c", str(configuration)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"nats://127.0.0.1:{port}/bench"
    finally:
        server.kill()
        server.wait()


def tables(*, quick: bool = False) -> Iterator[Table]:
    yield _steps(5 if quick else 40)
    yield _days(1 if quick else 5)
    yield _reverts(int(os.environ.get("LIVEPATCH_FLEET_NODES", "3" if quick else "50")), 1 if quick else 6)
