"""The watchdog: a thread that reads the probes at an interval, keeps what they show, and asks who watches to look.

It needs neither the main thread nor an event loop.
"""

from __future__ import annotations

import collections
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, Self

from livepatch.errors import PatchError, spelled
from livepatch.events import emit
from livepatch.health.probes import HealthProbe
from livepatch.health.sampling import Sampler
from livepatch.health.series import Point, Series

__all__ = ["Watch", "Watchdog", "check_interval"]

_SHORTEST, _LONGEST = 0.01, 3600.0
_SHARE = 0.5  # of an interval that the reading of all probes may take


class Watch(Protocol):
    """Somebody who looks at each reading."""

    @property
    def over(self) -> bool:
        """Whether there is nothing more to look at."""

    def readings(self) -> Iterable[tuple[str, str, Point]]:
        """What it reads itself: name, unit and reading."""

    def look(self, now: float, *, hurry: bool) -> bool:
        """There are new readings, as of `now`.  In a `hurry`, put off what can wait; say whether any such was done."""

    def status(self) -> dict[str, Any]:
        """How it stands, as plain values."""

    def abandoned(self) -> None:
        """There will be no more: the watchdog has been stopped."""

    def left_behind(self) -> None:
        """In a child of a fork, at once: there will be no more here; who watches is the parent's."""


class Watchdog:
    """Reads `probes` every `interval` seconds, in a thread of its own, and keeps the last `keep` readings of each.

    It runs inside ``with``, or between :meth:`start` and :meth:`stop`.  Hand it to :func:`livepatch.soak`, and what was
    read before a patch is the baseline with which it is compared.  A child of a fork has none; start another there.

    Raises :class:`TypeError` or :class:`PatchError`, each naming the argument.
    """

    def __init__(self, probes: Iterable[HealthProbe] = (), *, interval: float = 1.0, keep: int = 3600) -> None:
        check_interval(interval)
        if isinstance(keep, bool) or not isinstance(keep, int):
            raise TypeError(f"keep must be an int, not {spelled(keep)}")
        if not 10 <= keep <= 1_000_000:
            raise PatchError(
                "keep is no number of readings",
                found=spelled(keep),
                expected="10 to 1000000",
                action="give the number of readings to keep of each probe",
            )
        self.interval = float(interval)
        self._keep = keep
        self._sampler = Sampler(probes)
        self._lock = threading.Lock()
        self._units: dict[str, str] = {probe.name: probe.unit for probe in self._sampler.probes}
        self._points: dict[str, collections.deque[Point]] = {}
        self._watches: list[Watch] = []
        self._thread: threading.Thread | None = None
        self._end = threading.Event()
        self._begun: float | None = None

    @property
    def probes(self) -> tuple[str, ...]:
        """The names of the probes."""
        return tuple(probe.name for probe in self._sampler.probes)

    @property
    def running(self) -> bool:
        """Whether its thread reads."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def begun(self) -> float | None:
        """Since when it has been reading, by ``time.monotonic()``; ``None`` if it is not."""
        return self._begun if self.running else None

    def start(self) -> None:
        """Begin to read.  Twice is harmless.  Raises what the opening of a probe or a thread does; then it rests."""
        with self._lock:
            if self.running:
                return
            self._end = threading.Event()
            thread = threading.Thread(target=self._run, args=(self._end,), name="livepatch-watchdog", daemon=True)
            try:
                self._sampler.open()
                self._begun = time.monotonic()
                thread.start()
            except BaseException:  # a probe of the program's, or no more threads
                self._sampler.close()
                raise
            self._thread = thread
            _running.add(self)

    def stop(self) -> None:
        """End.  What it still watches is told, and left as it is.  From any thread; twice is harmless."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._end.set()
        if thread is None:
            return
        if thread is not threading.current_thread():
            thread.join(timeout=self.interval + 1.0)
        self._sampler.close()
        for watch in self._take_watches():
            watch.abandoned()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def series(self, covered: Callable[[str], bool] | None = None) -> dict[str, Series]:
        """What has been read, by name; if asked so, only of names that are `covered`."""
        with self._lock:
            return {
                name: Series(name, self._units[name], tuple(points))
                for name, points in self._points.items()
                if covered is None or covered(name)
            }

    def status(self) -> dict[str, Any]:
        """How it stands, as plain values: the newest reading of each probe, and what it watches."""
        now = time.monotonic()
        probes = [
            {
                "name": each.name,
                "unit": each.unit,
                "value": each.points[-1].value if each.points else None,
                "why": each.points[-1].why if each.points else "nothing yet",
                "age": round(now - each.points[-1].at, 3) if each.points else None,
            }
            for each in ({name: Series(name, self._units[name]) for name in self.probes} | self.series()).values()
        ]
        watches = [watch.status() for watch in list(self._watches)]
        return {"running": self.running, "interval": self.interval, "probes": probes, "watches": watches}

    def attach(self, watch: Watch) -> None:
        """Let somebody look at each reading.  Raises :class:`PatchError` if it does not run."""
        with self._lock:
            if self.running:
                self._watches.append(watch)
                return
        raise PatchError(
            "the watchdog does not run",
            found="one that was not started, or has been stopped",
            expected="one that reads its probes",
            action="start it, or use it in a with statement",
        )

    def _take_watches(self) -> list[Watch]:
        with self._lock:
            watches, self._watches = self._watches, []
        return watches

    def _run(self, end: threading.Event) -> None:
        rest = self.interval
        while not end.wait(rest):
            begun = time.monotonic()
            try:
                self._read()
            except Exception as error:  # noqa: BLE001  # no memory left, say: the next reading may be
                emit("watch_failed", level="error", error=type(error).__qualname__)
            # What has been read is an interval apart; but what is read after a switch tells of nothing before it.
            now = time.monotonic()
            rest = max(self.interval - (now - begun), self.interval * _SHARE)
            hurry = False
            for watch in list(self._watches):  # one of them may take its time, and then the others are looked at again
                hurry = self._look(watch, now, hurry=hurry) or hurry

    def _read(self) -> None:
        read: dict[str, Point] = self._sampler.sample(self.interval * _SHARE)
        self._note(read)
        for watch in list(self._watches):
            try:
                own = list(watch.readings())
            except Exception as error:  # noqa: BLE001  # as in _look
                emit("watch_failed", level="error", error=type(error).__qualname__)
                continue
            self._note({name: point for name, _, point in own}, {name: unit for name, unit, _ in own})

    def _note(self, points: Mapping[str, Point], units: Mapping[str, str] | None = None) -> None:
        with self._lock:
            self._units.update(units or {})
            for name, point in points.items():
                self._points.setdefault(name, collections.deque(maxlen=self._keep)).append(point)

    def _look(self, watch: Watch, now: float, *, hurry: bool) -> bool:
        took_its_time = False
        try:
            took_its_time = watch.look(now, hurry=hurry)
        except BaseException as error:  # noqa: BLE001  # one that fails, or exits, must not end the watch over the others
            emit("watch_failed", level="error", error=type(error).__qualname__)
        if watch.over:
            with self._lock:
                self._watches = [each for each in self._watches if each is not watch]
                if not self._watches:  # what they have read themselves would stay for ever
                    self._points = {name: self._points[name] for name in self.probes if name in self._points}
        return took_its_time

    def after_fork(self) -> None:
        """In a child, where the thread is not."""
        self._lock = threading.Lock()
        watches, self._thread, self._watches = self._watches, None, []
        for watch in watches:
            watch.left_behind()

    def __repr__(self) -> str:
        return f"<livepatch watchdog of {len(self.probes)} probes, {'running' if self.running else 'stopped'}>"


def check_interval(interval: object) -> None:
    """Raise :class:`TypeError` or :class:`PatchError` unless it is a time between two readings."""
    if isinstance(interval, bool) or not isinstance(interval, (int, float)):
        raise TypeError(f"interval must be a number of seconds, not {spelled(interval)}")
    if not _SHORTEST <= interval <= _LONGEST:
        raise PatchError(
            "interval is no time between two readings",
            found=spelled(interval),
            expected=f"{_SHORTEST:g} to {_LONGEST:g} s",
            action="give another number of seconds",
        )


_running: weakref.WeakSet[Watchdog] = weakref.WeakSet()


def _after_fork() -> None:
    for each in list(_running):
        each.after_fork()
    _running.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
