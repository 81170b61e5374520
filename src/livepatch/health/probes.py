"""Probes: what is read of a node, each with a name and a unit.

A probe gives a number, or ``None`` for what it cannot tell.  One that raises, hangs or gives anything else is unknown
as well, and holds up no other.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import queue
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from livepatch.errors import PatchError, spelled

__all__ = [
    "Count",
    "GcPause",
    "HealthProbe",
    "Heartbeat",
    "LoopLag",
    "Rate",
    "cpu",
    "fds",
    "head_lag",
    "late_votes",
    "missed_slots",
    "peers_lost",
    "process_probes",
    "rejected_messages",
    "rss",
    "threads",
]


class HealthProbe:
    """Something that is read again and again: `read` gives a number in `unit`, or ``None``.

    `read` takes nothing.  It may be a coroutine function; then it runs in `loop`, an asyncio event loop, by default the
    one that runs here.  A `quick` one never waits for anything, and is read in the watchdog's own thread.

    Raises :class:`TypeError` or :class:`PatchError`, each naming the argument.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], Any],
        unit: str = "",
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        quick: bool = False,
    ) -> None:
        for argument, value in (("name", name), ("unit", unit)):
            if not isinstance(value, str):
                raise TypeError(f"{argument} must be a str, not {spelled(value)}")
        if not name or len(name) > 200 or not name.isprintable() or set(name) & set("*?["):
            raise PatchError(
                "a probe cannot have that name",
                found=spelled(name),
                expected="1 to 200 characters that can be printed, without * ? [",
                action="give another name, such as 'rpc/latency'",
            )
        if not callable(read):
            raise TypeError(f"read must be a function that takes nothing, not {spelled(read)}")
        self.name = name
        self.unit = unit
        self.quick = quick
        self._read = read
        self._loop = loop
        self._answer: queue.SimpleQueue[tuple[Any, BaseException | None]] | None = None
        self._task: asyncio.Future[Any] | None = None
        if inspect.iscoroutinefunction(read):
            self._loop = loop if loop is not None else _loop_here(name)
        elif loop is not None:
            raise PatchError(
                f"probe {name} runs in no event loop",
                found="a plain function, and a loop",
                expected="a coroutine function",
                action="leave the loop out; the function is called in a thread of the watchdog",
            )

    def open(self) -> None:
        """The watchdog begins to read it."""

    def close(self) -> None:
        """Nobody reads it any more.  What still waits for an answer is woken."""
        if self._answer is not None:
            self._answer.put((None, asyncio.CancelledError()))
            if self._loop is not None and self._task is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._task.cancel)

    def read(self) -> Any:
        """The value now.  May raise anything."""
        if self._loop is None:
            return self._read()
        self._answer = answer = queue.SimpleQueue[tuple[Any, BaseException | None]]()
        self._loop.call_soon_threadsafe(self._begin, answer)
        try:
            value, error = answer.get()
        finally:
            self._answer = None
        if error is not None:
            raise error
        return value

    def _begin(self, answer: queue.SimpleQueue[tuple[Any, BaseException | None]]) -> None:
        """In the loop."""
        task = asyncio.ensure_future(self._read())
        self._task = task  # the loop alone does not keep it alive

        def done(task: asyncio.Future[Any]) -> None:
            if task.cancelled():
                answer.put((None, asyncio.CancelledError()))
            else:
                error = task.exception()
                answer.put((None if error is not None else task.result(), error))

        task.add_done_callback(done)

    def __repr__(self) -> str:
        return f"<livepatch probe {self.name}{f' in {self.unit}' if self.unit else ''}>"


def _loop_here(name: str) -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError as error:
        raise PatchError(
            f"probe {name} has no event loop",
            found="a coroutine function, and no loop that runs in this thread",
            expected="the loop in which it is to run",
            action="pass loop=",
        ) from error


class Count(HealthProbe):
    """How much a counter has grown since the last reading: `read` gives a total, such as of refused messages.

    A counter that falls was begun anew; that reading is unknown, as is the first.
    """

    _last: tuple[float, float] | None = None

    def read(self) -> float | None:
        """The growth since the last reading."""
        grown = self._grown()
        return None if grown is None else grown[0]

    def _grown(self) -> tuple[float, float] | None:
        """The growth, and the seconds that it took."""
        total = super().read()
        if total is None:
            return None
        now, last = time.monotonic(), self._last
        self._last = now, total
        if last is None or total < last[1] or now <= last[0]:
            return None
        return total - last[1], now - last[0]

    def open(self) -> None:
        """Begin anew."""
        self._last = None


class Rate(Count):
    """How much a counter grows in a second."""

    def read(self) -> float | None:
        """The growth in a second, on average since the last reading."""
        grown = self._grown()
        return None if grown is None else grown[0] / grown[1]


# Of the process


class _Cpu(Rate):
    def read(self) -> float | None:
        share = super().read()
        return None if share is None else 100 * share


def cpu() -> HealthProbe:
    """Processor time of this process, in percent of one processor."""
    return _Cpu("process/cpu", time.process_time, "%", quick=True)


def rss() -> HealthProbe:
    """Resident memory of this process, in bytes."""
    page = os.sysconf("SC_PAGE_SIZE")
    return HealthProbe("process/rss", lambda: int(_proc("statm").split()[1]) * page, "bytes", quick=True)


def fds() -> HealthProbe:
    """Open file descriptors of this process."""
    # The listing has one open itself.
    return HealthProbe("process/fds", lambda: len(os.listdir("/proc/self/fd")) - 1, "descriptors", quick=True)  # noqa: PTH208  # names alone


def threads() -> HealthProbe:
    """Threads of this process, those of C code too."""
    # The name of the process stands in brackets, and may hold anything.
    return HealthProbe(
        "process/threads", lambda: int(_proc("stat").rpartition(")")[2].split()[17]), "threads", quick=True
    )


def _proc(name: str) -> str:
    return Path(f"/proc/self/{name}").read_text(encoding="utf-8", errors="replace")


class GcPause(HealthProbe):
    """The longest pause for a garbage collection since the last reading, in seconds; 0 if there was none."""

    def __init__(self) -> None:
        super().__init__("gc/pause", self._take, "s", quick=True)
        self._began = 0.0
        self._longest = 0.0

    def open(self) -> None:
        """Begin to be told of collections."""
        self._longest = 0.0
        if self._told not in gc.callbacks:
            gc.callbacks.append(self._told)

    def close(self) -> None:
        """Be told no more."""
        if self._told in gc.callbacks:
            gc.callbacks.remove(self._told)

    def _told(self, phase: str, _: object) -> None:
        now = time.perf_counter()
        if phase == "start":
            self._began = now
        elif self._began:
            self._longest = max(self._longest, now - self._began)

    def _take(self) -> float:
        longest, self._longest = self._longest, 0.0
        return longest


class LoopLag(HealthProbe):
    """The longest time since the last reading in which an asyncio event loop came to nothing that was due, in seconds.

    By default it is the loop that runs here.  It is asked every `every` seconds, by default 0.05, and what it comes too
    late by is its lag; while it stands still, so is the time for which it has been standing.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop | None = None, *, every: float = 0.05, name: str = "loop/lag"
    ) -> None:
        super().__init__(name, self._take, "s", quick=True)
        if isinstance(every, bool) or not isinstance(every, (int, float)):
            raise TypeError(f"every must be a number of seconds, not {spelled(every)}")
        if not 0.001 <= every <= 60:
            raise PatchError(
                "every is no time between two looks at a loop",
                found=spelled(every),
                expected="0.001 to 60 s",
                action="give another number of seconds",
            )
        self._asked_loop = loop if loop is not None else _loop_here(name)
        self._every = every
        self._run = object()
        self._last: float | None = None
        self._longest = 0.0

    def open(self) -> None:
        """Begin to ask the loop.  Raises :class:`RuntimeError` for one that is closed."""
        self._last, self._longest = None, 0.0
        self._run = run = object()
        self._asked_loop.call_soon_threadsafe(self._beat, run)

    def close(self) -> None:
        """Ask it no more."""
        self._run = object()

    def _beat(self, run: object) -> None:
        """In the loop."""
        if run is not self._run:
            return  # of before it was closed
        now = time.monotonic()
        if self._last is not None:
            self._longest = max(self._longest, now - self._last - self._every)
        self._last = now
        self._asked_loop.call_later(self._every, self._beat, run)

    def _take(self) -> float | None:
        last = self._last
        if last is None:
            return None
        longest, self._longest = self._longest, 0.0
        return max(longest, time.monotonic() - last - self._every, 0.0)


class Heartbeat(HealthProbe):
    """How long ago the program last called :meth:`beat`, in seconds: for a main loop of any kind."""

    def __init__(self, name: str = "main/heartbeat") -> None:
        super().__init__(name, self._age, "s", quick=True)
        self._last: float | None = None

    def beat(self) -> None:
        """Say that the program has come by here.  Costs next to nothing, from any thread."""
        self._last = time.monotonic()

    def _age(self) -> float | None:
        return None if self._last is None else time.monotonic() - self._last


def process_probes() -> tuple[HealthProbe, ...]:
    """All that can be read of the process itself: cpu, rss, fds, threads, gc/pause."""
    return cpu(), rss(), fds(), threads(), GcPause()


# Of a chain's consensus, under the names by which rules speak of them


def head_lag(read: Callable[[], Any], **options: Any) -> HealthProbe:
    """By how many blocks this node's head is behind that of its peers: `read` gives that."""
    return HealthProbe("head_lag", read, "blocks", **options)


def missed_slots(read: Callable[[], Any], **options: Any) -> HealthProbe:
    """How many slots this validator has missed since the last reading: `read` gives the total."""
    return Count("missed_slots", read, "slots", **options)


def late_votes(read: Callable[[], Any], **options: Any) -> HealthProbe:
    """How many votes came too late since the last reading: `read` gives the total."""
    return Count("late_votes", read, "votes", **options)


def rejected_messages(read: Callable[[], Any], **options: Any) -> HealthProbe:
    """How many messages peers have rejected since the last reading: `read` gives the total."""
    return Count("rejected_messages", read, "messages", **options)


def peers_lost(read: Callable[[], Any], **options: Any) -> HealthProbe:
    """How many peers were lost since the last reading: `read` gives the total."""
    return Count("peers_lost", read, "peers", **options)
