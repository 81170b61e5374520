"""The pace of preparation: small steps, and between them the interpreter belongs to the other threads.

A thread that computes gives way only after the interpreter's switch interval (5 ms), and every other thread stands
still until then.  So whatever takes longer than a step breathes on its way.

Breathing alone is not enough beside a thread that serves requests: it lets go of the interpreter at each system call,
and would wait for a step each time.  So while others work, a courteous thread rests many times as long as it works.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["Slices", "breathe", "courteous", "is_alone", "others_work", "paced", "resting", "urgent"]

T = TypeVar("T")

STEP = 0.0004
"""Seconds of work between two breaths.  One step more may begin before the next look at the clock."""

REST = 50.0
"""Seconds of rest for each second of work, while other threads have a little work to do; more if they have more."""

# A server that is busy for a share b of the time answers in a time in proportion to 1 / (1 - b).  Whatever is taken
# from it costs its clients the more, the busier it is, and less is taken in proportion; up to so great a share.
_BUSIEST = 0.75
_NEWEST = 0.2  # how much the last breath counts in that share, which goes up and down with each request

MOST_REST = 20.0
"""Seconds that are rested in one piece of work altogether, at most: the more it was, the shorter the next rest."""
_LONGEST = 0.05  # the longest single rest, in seconds: after a step that could not be split
_SHORTER = 0.5  # of a step, while others have work to do: the time for which one of their system calls is delayed
_SHARE = 0.4  # of REST: after a slice of long work, for whose rests there is no bound

# Others have work to do if they use so great a share of one processor in the time of a breath.
_BUSY = 0.05

# Long enough that the waiting thread has the lock before this one asks for it again; a sleep of 0 may be over by then.
_NAP = 1e-6

_clock = time.perf_counter
_last = [0.0]


class _Courtesy(threading.local):
    """Whether this thread rests while others work, and what it knows of them."""

    resting = False
    usual = MOST_REST
    """How many seconds its pieces of work rest at most, unless one says otherwise."""
    most = MOST_REST
    """How many seconds the piece in hand rests altogether at most."""
    rested = 0.0
    worked = 0.0
    """The thread's own processor time at the end of its last breath."""
    beside = False
    """Whether others had work to do in its last breath."""
    share = 0.0
    """Of the time, how much others worked in its breaths."""
    urgent = False
    """Whether it gives way to nobody."""


_mine = _Courtesy()


@contextmanager
def courteous(most: float | None = None) -> Iterator[None]:
    """Let this thread rest at its breaths inside, for as long as others have work to do; `most` seconds altogether.

    Without `most` it is what :func:`resting` says; 0 is for who cannot wait.  Not where it runs an event loop: what
    waits for that would wait for the rests as well.
    """
    limit = _mine.usual if most is None else most
    if _mine.resting or not limit or _mine.urgent or not REST or _runs_a_loop():
        yield
        return
    _mine.resting, _mine.rested, _mine.worked, _mine.beside = True, 0.0, time.thread_time(), False
    _mine.share, _mine.most = 0.0, limit
    try:
        yield
    finally:
        _mine.resting = _mine.beside = False


@contextmanager
def resting(most: float | None) -> Iterator[None]:
    """Let each courteous piece of work of this thread inside rest for `most` seconds altogether; ``None``: as outside.

    0 is for who means to disturb, as a test does that switches again and again under load.
    """
    before = _mine.usual
    _mine.usual = before if most is None else most
    try:
        yield
    finally:
        _mine.usual = before


@contextmanager
def urgent() -> Iterator[None]:
    """Neither rest nor breathe inside: what is done to end a fault is not to wait for the threads that are at fault."""
    before, _mine.urgent = _mine.urgent, True
    try:
        yield
    finally:
        _mine.urgent = before


def breathe(*, now: bool = False) -> None:
    """Let other threads run, if the last breath was a step ago; otherwise cheap enough for every turn of a loop.

    `now` is for before and after what cannot be done in small steps.  One clock serves all threads: a thread can only
    have had the interpreter since the last breath of any.
    """
    if _mine.urgent:
        return
    passed = _clock() - _last[0]
    if now or passed >= STEP or (_mine.beside and passed >= STEP * _SHORTER):
        if not is_alone():
            if _mine.resting:
                _rest(passed)
            else:
                time.sleep(_NAP)
        _last[0] = _clock()


def is_alone() -> bool:
    """Whether no other thread can be waiting for the interpreter."""
    return len(sys._current_frames()) == 1


def others_work() -> bool:
    """Whether, as far as a courteous thread has seen at its last breath, others have work to do."""
    return _mine.beside


def _rest(passed: float) -> None:
    worked, others = _processor_times()
    begun = time.perf_counter()
    nap = _NAP
    if _mine.beside:
        # What this thread was interrupted for in its step was no work of its own; nor what it did before all this.
        step = min(worked - _mine.worked, passed)
        times = REST / (1 - min(_mine.share, _BUSIEST))
        nap = max(nap, min(step * times * (1 - _mine.rested / _mine.most), _LONGEST))
    time.sleep(nap)
    took = time.perf_counter() - begun
    _mine.rested += nap if nap > _NAP else 0.0
    _mine.worked, others_now = _processor_times()
    share = (others_now - others) / took
    _mine.beside = share > _BUSY
    _mine.share += (share - _mine.share) * _NEWEST


def _processor_times() -> tuple[float, float]:
    """The processor time that this thread has used, and the other threads of the process together; in seconds."""
    mine = time.thread_time()
    return mine, time.process_time() - mine


def _runs_a_loop() -> bool:
    asyncio: Any = sys.modules.get("asyncio.events")
    if asyncio is not None and asyncio._get_running_loop() is not None:  # for the authors of loops
        return True
    in_trio_run: Any = getattr(sys.modules.get("trio.lowlevel"), "in_trio_run", None)
    return in_trio_run is not None and bool(in_trio_run())


def _others_time() -> float:
    return _processor_times()[1]


class Slices:
    """Work that may take minutes, in slices: between two, others have the interpreter, and a rest if they have work.

    `others` gives the processor time of those others in seconds: by default, of all threads but that which asks.
    """

    def __init__(self, others: Callable[[], float] = _others_time) -> None:
        self._others = others
        self._beside = False
        self._begun = self._had = 0.0

    def rest(self, worked: float) -> None:
        """After a slice of so many seconds."""
        if not is_alone():
            time.sleep(self.pause(worked))
            self.rested()

    def pause(self, worked: float) -> float:
        """How many seconds to rest, from now on, after a slice of so many seconds."""
        self._begun, self._had = time.perf_counter(), self._others()
        return max(_NAP, min(worked * REST * _SHARE, _LONGEST)) if self._beside else _NAP

    def rested(self) -> None:
        """The rest is over."""
        took = time.perf_counter() - self._begun
        self._beside = self._others() - self._had > took * _BUSY


def paced(items: Iterable[T]) -> Iterator[T]:
    """The items, with a breath before each of them that is due."""
    for item in items:
        breathe()
        yield item
