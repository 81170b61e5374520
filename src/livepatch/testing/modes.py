"""A patch in the process in one way or another, for as long as a test runs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from livepatch.engine.modes import Mode, split
from livepatch.engine.units import unit_of_work
from livepatch.errors import ExpectationError, PatchError, spelled
from livepatch.patch import Patch
from livepatch.testing.guard import Guard, wait_until_settled

__all__ = ["NothingToDrainError", "enter", "unit_at_work"]

_WAIT = 10.0  # seconds


class NothingToDrainError(Exception):
    """The patch has no function whose calls could be under way at a switch."""


def enter(guard: Guard, patch: Patch, mode: str | Mode, **options: Any) -> None:
    """Bring the patch into the process as one of the words says, or in a mode of livepatch's own.

    ``off``, ``on``; ``split``: every second call on average is on the new side; ``transition``: the new side is live,
    and a unit of work that began before is not over; ``reverted``: it was in, and is out again.
    Raises what :func:`livepatch.apply` raises, and :class:`NothingToDrainError`.
    """
    if mode == "transition":
        guard.before_end(unit_at_work())
        # A single body would be replaced at once; whoever asks for a transition wants the one with two sides.
        applied = guard.apply(patch, **{"consistency": "chain", **options})
        if applied.status().drained:
            raise NothingToDrainError
    elif mode == "reverted":
        guard.apply(patch, **options).revert()
        if not wait_until_settled(_WAIT):
            raise ExpectationError(
                f"{patch.id} does not leave",
                found=str(guard.status() or "calls that are still on its side"),
                expected=f"no call on its side within {_WAIT:g} s",
                action="end what runs there before the test",
            )
    else:
        guard.apply(patch, mode=split(50) if mode == "split" else mode, **options)


@contextlib.contextmanager
def unit_at_work() -> Iterator[None]:
    """A unit of work of another thread, which began before and is over after."""
    begun, over = threading.Event(), threading.Event()

    def work() -> None:
        with unit_of_work():
            begun.set()
            over.wait()

    thread = threading.Thread(target=work, name="livepatch-testing-unit", daemon=True)
    thread.start()
    try:
        if not begun.wait(_WAIT):
            raise PatchError(
                "a thread does not begin",
                found=f"nothing within {_WAIT:g} s",
                expected=f"{spelled(thread.name)} at work",
                action="see what keeps threads from running",
            )
        yield
    finally:
        over.set()
        thread.join()
