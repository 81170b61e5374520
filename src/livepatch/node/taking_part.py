"""A node in a fleet: it follows the rollouts in the fleet's store, in a thread of its own, and says how it stands.

Nobody tells it anything: it looks into the store.  What it finds there can delay, and cannot inject: files are compared
with their digests, and verified by the node's own trust root as any other.  While the store cannot be used, the node
stays as it is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from livepatch.errors import LivepatchError, StateError, TransitionError
from livepatch.events import emit
from livepatch.fleet.cohorts import stage_of
from livepatch.fleet.drilling import Drill, Drilled, drill_in, tell
from livepatch.fleet.following import Member
from livepatch.fleet.keys import TOLD, measured_of
from livepatch.fleet.measured import Windows
from livepatch.fleet.state import names_in
from livepatch.fleet.terms import Terms, terms_in
from livepatch.fleet.wire import directive_in
from livepatch.govern.surroundings import version_of
from livepatch.node.members import Members
from livepatch.node.part import Hands, Part, present

if TYPE_CHECKING:
    from livepatch.fleet.standing import Directive
    from livepatch.fleet.state import Entry, Store
    from livepatch.node.fleet import Fleet
    from livepatch.node.watching import Watching

__all__ = ["WELL", "TakingPart"]

WELL = "well"
"""The metric that every node has: 1 if it breaks none of its own rules, else 0."""

_LOOK = 0.5  # seconds between two looks at the process while something may be asked of it
_AGAIN, _SELDOM = 0.5, 30.0  # seconds until the store is tried again: at first, and after a while
_RATE = 10  # reports in a second, at most: so sequences rise over a restart, even if what was kept is lost


class TakingPart:
    """Follows the rollouts of `fleet` as `node`, from :meth:`start` to :meth:`close`.

    `folder` is where it keeps how it stands, `hands` is what it may do, and `watching` gives what reads the node's
    probes, if anything does.
    """

    def __init__(
        self, fleet: Fleet, *, node: str, folder: Path, hands: Hands, watching: Callable[[], Watching | None]
    ) -> None:
        self._fleet = fleet
        self._node = node
        self._kept = Members(folder / "fleet")
        self._hands = hands
        self._watching = watching
        self._before: Mapping[str, Member] = {}
        self._terms: dict[str, Terms] = {}
        self._directives: dict[str, Directive] = {}
        self._parts: dict[str, Part] = {}
        self._windows: dict[str, Windows] = {}
        self._drills: set[str] = set()
        self._drilled: list[tuple[str, Drilled]] = []
        self._practising: list[threading.Thread] = []
        self._seen = 0
        self._read_until = time.monotonic()
        self._store: Store | None = None
        self._error = ""
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in a thread of its own.  A node has to start whatever its fleet's store is like."""
        try:
            self._before = self._kept.read()
        except StateError as error:
            emit("fleet_forgotten", level="error", node=self._node, found=error.found)
        self._thread = threading.Thread(target=self._run, name="livepatch-fleet", daemon=True)
        self._thread.start()

    def close(self, timeout: float = 5.0) -> None:
        """Follow no more.  What is in stays."""
        self._ended.set()
        self._let_go()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)
        for practising in self._practising:  # which would have the node watched when nobody watches any more
            practising.join(timeout)

    def status(self) -> dict[str, object]:
        """How it stands, as plain values."""
        rollouts = {name: part.member.condition for name, part in list(self._parts.items())}
        return {"store": str(self._fleet.where), "node": self._node, "error": self._error, "rollouts": rollouts}

    def _run(self) -> None:
        pause = _AGAIN
        while not self._ended.is_set():
            try:
                self._turn()
                pause = _AGAIN
            except Exception as error:  # noqa: BLE001  # whatever it is, the node goes on, and it is tried again
                if self._ended.is_set():
                    break
                self._tell(error)
                self._let_go()
                self._ended.wait(pause)
                pause = min(pause * 2, _SELDOM)
        self._let_go()

    def _turn(self) -> None:
        """Open the store if need be, do what is due, and wait for news."""
        store = self._store
        if store is None:
            store = self._store = self._fleet.where.opened(only=TOLD)
            self._hear(store.changes(f"{TOLD}/", self._seen))
        held_up: LivepatchError | None = None
        here = present(self._hands)
        for rollout, part in self._parts.items():
            directive = self._directives.get(rollout)
            if part.rests(directive, here):
                continue
            try:
                part.turn(store, directive)
            except (StateError, TransitionError) as error:  # of this rollout, and no reason to let others wait
                held_up = error
        self._keep()
        self._measure(store)
        while self._drilled:
            tell(store, self._drilled[0][0], self._node, self._drilled[0][1])
            self._drills.discard(self._drilled.pop(0)[0])
        if held_up is not None:
            self._tell(held_up)
        elif self._error:
            self._error = ""
            emit("fleet_followed", node=self._node, store=str(self._fleet.where))
        is_active = bool(self._drills) or any(part.is_active for part in self._parts.values())
        patience = min(self._fleet.poll, _LOOK) if is_active else self._fleet.poll
        self._hear(store.changes(f"{TOLD}/", self._seen, timeout=patience))

    def _tell(self, error: Exception) -> None:
        told = str(error) if isinstance(error, LivepatchError) else f"{type(error).__qualname__}: {error}"
        if told != self._error:
            emit("fleet_not_followed", level="error", node=self._node, reason=told)
        self._error = told

    def _let_go(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            try:
                store.close()
            except Exception as error:  # noqa: BLE001  # it is let go of all the same, and another is opened
                self._tell(error)

    # What it hears

    def _hear(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._seen = max(self._seen, entry.revision)
            names = names_in(entry.key)
            if len(names) != 3:
                continue
            try:
                self._take(entry, names[1], names[2])
            except StateError as error:
                emit("fleet_unreadable", level="error", node=self._node, rollout=names[1], found=error.found)

    def _take(self, entry: Entry, rollout: str, what: str) -> None:
        """A directive that cannot be read leaves the node as it is; terms never change."""
        if what == "directive" and entry.value is not None:
            self._directives[rollout] = directive_in(entry.value, rollout)
        elif what == "terms" and entry.value is not None and rollout not in self._terms:
            self._terms[rollout] = terms = terms_in(entry.value, rollout)
            self._take_up(terms)
        elif what == "drill" and entry.value is not None and rollout not in self._drills:
            drill = drill_in(entry.value, rollout)
            if drill.takes(self._node):
                self._drills.add(drill.id)
                practising = threading.Thread(
                    target=self._practise, args=(drill,), name="livepatch-fleet-drill", daemon=True
                )
                self._practising = [
                    each for each in (*self._practising, practising) if each is practising or each.is_alive()
                ]
                practising.start()

    def _practise(self, drill: Drill) -> None:
        """Hold a drill, beside what else is to be followed; the thread of the fleet says what came of it."""
        try:
            told = self._hands.operations().drill(lambda _: not self._ended.is_set())
            made = Drilled(ok=bool(told["ok"]), detect=told["detect_seconds"], restore=told["restore_seconds"])
        except Exception as error:  # noqa: BLE001  # whatever it is, it did not go well
            made = Drilled(ok=False, why=str(error) if isinstance(error, LivepatchError) else type(error).__qualname__)
        self._drilled.append((drill.id, made))

    def _take_up(self, terms: Terms) -> None:
        traits = {
            "region": (self._fleet.region,),
            "version": (version_of(terms.package),),
            "label": tuple(self._fleet.labels),
        }
        stage = stage_of(terms.rollout, terms.cuts, self._node, traits)
        if stage is None:
            return
        before = self._before.get(terms.rollout, Member(id=self._node, stage=stage))
        member = replace(
            before,
            id=self._node,
            stage=stage,
            consensus=terms.consensus,
            sequence=max(before.sequence, int(time.time() * _RATE)),
        )
        self._parts[terms.rollout] = Part(terms, member, self._hands, ttl=self._fleet.ttl)
        if terms.metrics:
            self._windows[terms.rollout] = Windows(terms.every)

    # What it says

    def _keep(self) -> None:
        try:
            self._kept.keep((rollout, part.member) for rollout, part in self._parts.items())
        except StateError as error:  # a full disk must not keep the node from taking a patch back
            self._tell(error)

    def _measure(self, store: Store) -> None:
        """Take over what the probes have shown since the last turn, and publish what is whole."""
        open_ones = {name: its for name, its in self._windows.items() if self._parts[name].is_measured}
        watching = self._watching() if open_ones else None
        began, self._read_until = self._read_until, time.monotonic()
        now, offset = time.time(), time.time() - time.monotonic()
        wanted = {metric for rollout in open_ones for metric in self._terms[rollout].metrics}
        if watching is not None and wanted:
            for series in watching.watchdog.series(wanted.__contains__).values():
                points = [each for each in series.since(began) if each.at <= self._read_until]
                for rollout, windows in open_ones.items():
                    if series.name in self._terms[rollout].metrics:
                        for point in points:
                            if point.value is not None:
                                windows.add(series.name, point.at + offset, float(point.value))
            if WELL in wanted and WELL not in watching.watchdog.probes:
                value = float(watching.status()["state"] != "breach")
                for rollout, windows in open_ones.items():
                    if WELL in self._terms[rollout].metrics:
                        windows.add(WELL, now, value)
        for rollout, windows in open_ones.items():
            if windows.is_news(now):
                store.put(measured_of(rollout, self._node), windows.encoded(), expected=None)
