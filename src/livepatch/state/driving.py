"""Long work of a migration, step by step, in slices between which the node answers."""

from __future__ import annotations

import collections
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
    slices = Slices()
    told = _clock()
    while True:
        begun = _clock()
        if _slice(steps, budget, where):
            return
        now = _clock()
        if now - told >= _TOLD:
            progress()
            told = now
        if cancelled():
            raise TransitionError(
                "the switch was cancelled before it was made",
                found="a call of cancel() while a migration was under way",
                expected="time for it to end",
                action="apply it again when it suits",
            )
        slices.rest(now - begun)


def _slice(steps: Steps, budget: float, loop: Any) -> bool:
    """Run one slice; whether that was the last."""

    def run() -> bool:
        end = _clock() + budget
        for _ in steps:  # noqa: SIM110  # a clock, and no condition on the items
            if _clock() >= end:
                return False
        return True

    if loop is None or _is_running_here(loop):
        return run()
    return _in(loop, run)


def _is_running_here(loop: Any) -> bool:
    import asyncio

    return asyncio._get_running_loop() is loop  # noqa: SLF001  # for the authors of loops


def _in(loop: Any, run: Callable[[], bool]) -> bool:
    """Run something in a loop of another thread, and wait for it."""
    outcome: collections.deque[tuple[bool, BaseException | None]] = collections.deque(maxlen=1)
    state = {"given up": False, "begun": False}
    guard, done = threading.Lock(), threading.Event()

    def slice_in_loop() -> None:
        with guard:
            if state["given up"]:
                return
            state["begun"] = True
        try:
            outcome.append((run(), None))
        except BaseException as error:  # noqa: BLE001  # it is raised where the slice is waited for
            outcome.append((False, error))
        finally:
            done.set()

    try:
        loop.call_soon_threadsafe(slice_in_loop)
    except RuntimeError as error:
        raise _no_loop(str(error)) from error
    until = _clock() + _DEAF
    while not done.wait(_LOOK):
        with guard:
            if not state["begun"] and (not loop.is_running() or _clock() >= until):
                state["given up"] = True
                raise _no_loop("it does not run" if not loop.is_running() else f"no answer for {_DEAF:g} s")
    last, failed = outcome[0]
    if failed is not None:
        raise failed
    return last


def _no_loop(why: str) -> LoopGoneError:
    return LoopGoneError(
        "the event loop of the migration does not take its slices",
        found=why,
        expected="a loop that runs, in another thread than that which applies the patch",
        action="await asyncio.to_thread(livepatch.apply, fix) from the loop that loop= names",
    )
