"""Reading the probes: all of them, each in its time, and none holds up another.

Probes are read one after the other in one thread.  If one of them takes long, that thread is left to it, and another
goes on with the rest.  A probe that has not come back is not asked again, so there are never more threads left behind
than probes.
"""

from __future__ import annotations

import collections
import math
import queue
import threading
import time
from collections.abc import Iterable

from livepatch.errors import PatchError, spelled
from livepatch.health.probes import HealthProbe
from livepatch.health.series import Point

__all__ = ["Sampler", "checked"]

_PATIENCE = 0.25  # of the time for all: then another thread goes on with the rest


def checked(probes: object) -> tuple[HealthProbe, ...]:
    """The probes.  Raises :class:`TypeError` for what is none, :class:`PatchError` for two of one name."""
    if isinstance(probes, (str, bytes)) or not isinstance(probes, Iterable):
        raise TypeError(f"probes must be livepatch.HealthProbe objects, not {spelled(probes)}")
    every = tuple(probes)
    names: set[str] = set()
    for probe in every:
        if not isinstance(probe, HealthProbe):
            raise TypeError(f"probes must hold livepatch.HealthProbe objects, not {spelled(probe)}")
        if probe.name in names:
            raise PatchError(
                "two probes have one name",
                found=spelled(probe.name),
                expected="names that differ, so that rules can tell them apart",
                action="give one of them another name",
            )
        names.add(probe.name)
    return every


class _Round:
    """One reading of all probes."""

    def __init__(self, probes: Iterable[HealthProbe]) -> None:
        self.waiting = collections.deque(probes)
        self.answers: dict[str, tuple[float | None, str]] = {}
        self.came = threading.Semaphore(0)


class Sampler:
    """Reads probes, a round at a time."""

    def __init__(self, probes: Iterable[HealthProbe]) -> None:
        self.probes = checked(probes)
        self._busy: set[str] = set()
        """The names of probes that have not come back."""
        self._worker: _Worker | None = None
        self._opened: list[HealthProbe] = []

    def open(self) -> None:
        """Begin.  What a probe raises here makes it one that cannot be read."""
        for probe in self.probes:
            probe.open()
            self._opened.append(probe)

    def close(self) -> None:
        """End, and wake what can be woken."""
        while self._opened:
            self._opened.pop().close()
        self._leave()

    def _leave(self) -> None:
        """Let the thread end as soon as it comes back."""
        if self._worker is not None:
            self._worker.jobs.put(None)
            self._worker = None

    def sample(self, within: float) -> dict[str, Point]:
        """A reading of every probe, in at most about `within` seconds.  Never raises.

        One that has not answered by then is unknown, and what it answers later is dropped.
        """
        made = _Round([probe for probe in self.probes if not probe.quick and probe.name not in self._busy])
        slow = len(made.waiting)
        if slow and not self._work(made):
            slow = 0
        for probe in self.probes:
            if probe.quick:
                made.answers[probe.name] = _read(probe)
        self._await(made, slow, within)
        now, answers = time.monotonic(), dict(made.answers)
        late = None, f"no answer within {within:.3g} s"
        return {p.name: Point(now, *answers.get(p.name, late)) for p in self.probes}

    def _await(self, made: _Round, slow: int, within: float) -> None:
        end = time.monotonic() + within
        came = 0
        while came < slow:
            left = end - time.monotonic()
            if made.came.acquire(timeout=max(0.0, min(left, within * _PATIENCE))):
                came += 1
            elif left <= 0:
                made.waiting.clear()
                if self._worker is not None and self._worker.reading:
                    self._leave()
                return
            elif made.waiting:
                self._leave()
                if not self._work(made):
                    return

    def _work(self, made: _Round) -> bool:
        """Let a thread read what waits; whether there is one."""
        if self._worker is None:
            worker = _Worker(self._busy)
            try:
                threading.Thread(target=worker.run, name="livepatch-probes", daemon=True).start()
            except RuntimeError:  # no more threads
                made.waiting.clear()
                return False
            self._worker = worker
        self._worker.jobs.put(made)
        return True


class _Worker:
    """What one thread does: round after round, until it is told to end."""

    def __init__(self, busy: set[str]) -> None:
        self.jobs: queue.SimpleQueue[_Round | None] = queue.SimpleQueue()
        self.reading = False
        self._busy = busy

    def run(self) -> None:
        """In the thread."""
        while (made := self.jobs.get()) is not None:
            # Told to end while it was in a probe, it leaves the rest to the thread that has taken over.
            while made.waiting and self.jobs.empty():
                self._read_one(made)

    def _read_one(self, made: _Round) -> None:
        try:
            probe = made.waiting.popleft()
        except IndexError:
            return  # another thread was faster
        self.reading = True
        self._busy.add(probe.name)
        answer = _read(probe)
        self._busy.discard(probe.name)
        self.reading = False
        made.answers[probe.name] = answer
        made.came.release()


def _read(probe: HealthProbe) -> tuple[float | None, str]:
    try:
        value = probe.read()
    except BaseException as error:  # noqa: BLE001  # somebody's code, in a thread of ours
        return None, f"raised {type(error).__qualname__}"
    if value is None:
        return None, "no value"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None, f"gave {spelled(value)}"
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    return (number, "") if math.isfinite(number) else (None, f"gave {spelled(value)}")
