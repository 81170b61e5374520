"""Long work of a migration, step by step, in slices between which the node answers."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

from livepatch.engine.pace import Slices
from livepatch.errors import StateError, TransitionError, spelled

__all__ = ["LoopGoneError", "Steps", "called", "drive"]

Steps = Iterator[None]

_clock = time.perf_counter
_TOLD = 1.0  # seconds between two events of progress
_LOOK = 0.2  # seconds after which it is looked whether the loop that was asked still runs
_DEAF = 30.0  # seconds after which a loop that has not begun with a slice is given up


class LoopGoneError(StateError):
    """The event loop that is to take the slices does not run, or not any more."""


def called(function: Callable[..., object], *args: object) -> Generator[None, None, object]:
    """The steps of a call: one, or of a generator function as many as it yields; gives what it returns."""
    result = function(*args)
    if inspect.isgenerator(result):
        yield from result
        return None
    if inspect.isawaitable(result) or inspect.isasyncgen(result):
        getattr(result, "close", lambda: None)()
        raise StateError(
            "a function of the migration gave something to await",
            found=spelled(result),
            expected="a plain function, which has done its work when it returns",
            action="make it one; in asyncio, pass loop= and its slices run between those of other tasks",
        )
    return result


def drive(
    steps: Steps,
    budget: float,
    loop: Any = None,
    *,
    cancelled: Callable[[], bool] = lambda: False,
    progress: Callable[[], None] = lambda: None,
) -> None:
    """Run through `steps` in slices of `budget` seconds, here or in an asyncio event loop.

    Raises what a step raises, and :class:`TransitionError` if it is `cancelled` between two slices.
    """
    where = loop() if callable(loop) and not hasattr(loop, "call_soon_threadsafe") else loop
    if where is not None and not _is_running_here(where):
        _Within(where, steps, budget, cancelled).run(progress)
        return
    slices = Slices()
    told = _clock()
    while True:
        begun = _clock()
        if _slice(steps, budget):
            return
        now = _clock()
        if now - told >= _TOLD:
            progress()
            told = now
        if cancelled():
            raise _cancelled()
        slices.rest(now - begun)


def _slice(steps: Steps, budget: float) -> bool:
    """Run one slice; whether that was the last."""
    end = _clock() + budget
    for _ in steps:  # noqa: SIM110  # a clock, and no condition on the items
        if _clock() >= end:
            return False
    return True


def _is_running_here(loop: Any) -> bool:
    import asyncio

    return asyncio._get_running_loop() is loop  # noqa: SLF001  # for the authors of loops


class _Within:
    """Slices that the loop of another thread takes between its other work, each asking for the next.

    Were they asked for one by one from here, the two threads would take the interpreter from each other at each.
    """

    def __init__(self, loop: Any, steps: Steps, budget: float, cancelled: Callable[[], bool]) -> None:
        self._loop, self._steps, self._budget, self._cancelled = loop, steps, budget, cancelled
        self._slices = Slices(time.process_time)  # between two slices, all that the process does is others' work
        self._taking = threading.Lock()
        self._over = threading.Event()
        self._given_up = False
        self._failed: BaseException | None = None
        self._last = _clock()

    def run(self, progress: Callable[[], None]) -> None:
        """Have them taken, and wait for the last.  When this returns or raises, none is under way or to come."""
        try:
            self._loop.call_soon_threadsafe(self._take)
        except RuntimeError as error:
            raise _no_loop(str(error)) from error
        told = _clock()
        try:
            while not self._over.wait(_LOOK):
                if _clock() - told >= _TOLD:
                    progress()
                    told = _clock()
                with self._taking:
                    self._require_loop()
        finally:
            with self._taking:
                self._given_up = True
        if self._failed is not None:
            raise self._failed

    def _require_loop(self) -> None:
        if self._over.is_set():
            return
        if not self._loop.is_running():
            raise _no_loop("it does not run")
        if _clock() - self._last >= _DEAF:
            raise _no_loop(f"no answer for {_DEAF:g} s")

    def _take(self) -> None:
        with self._taking:
            if self._given_up:
                return
            try:
                self._slices.rested()
                begun = _clock()
                if _slice(self._steps, self._budget):
                    self._over.set()
                    return
                self._last = _clock()
                if self._cancelled():
                    raise _cancelled()
                self._loop.call_later(self._slices.pause(self._last - begun), self._take)
            except BaseException as error:  # noqa: BLE001  # it is raised where the slices are waited for
                self._failed = error
                self._over.set()


def _cancelled() -> TransitionError:
    return TransitionError(
        "the switch was cancelled before it was made",
        found="a call of cancel() while a migration was under way",
        expected="time for it to end",
        action="apply it again when it suits",
    )


def _no_loop(why: str) -> LoopGoneError:
    return LoopGoneError(
        "the event loop of the migration does not take its slices",
        found=why,
        expected="a loop that runs, in another thread than that which applies the patch",
        action="await asyncio.to_thread(livepatch.apply, fix) from the loop that loop= names",
    )
