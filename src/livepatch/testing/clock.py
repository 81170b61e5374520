"""A clock that stands still until a test moves it: the source of a height, of an epoch, or of any number that grows."""

from __future__ import annotations

import threading

from livepatch.errors import PatchError, spelled

__all__ = ["FakeClock"]


class FakeClock:
    """Gives a number when called, as ``livepatch.at(height, source=clock)`` asks for one; in whatever unit it counts.

    From any thread.  Raises :class:`TypeError` for what is no whole number, and :class:`PatchError` for a step back
    with :meth:`advance`; then it stands where it stood.
    """

    def __init__(self, now: int = 0) -> None:
        self._now = _number("now", now)
        self._lock = threading.Lock()

    def __call__(self) -> int:
        """Where it stands."""
        return self._now

    def set(self, now: int) -> None:
        """Stand at `now`, also before where it stood: a chain that is rolled back."""
        with self._lock:
            self._now = _number("now", now)

    def advance(self, by: int = 1) -> int:
        """Go on, and give where it stands then."""
        if _number("by", by) < 0:
            raise PatchError(
                "a clock does not advance backwards",
                found=spelled(by),
                expected="0 or more",
                action="use set() for a step back",
            )
        with self._lock:
            self._now += by
            return self._now

    def __repr__(self) -> str:
        return f"<livepatch.testing.FakeClock {self._now}>"


def _number(argument: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{argument} must be an int, not {spelled(value)}")
    return value
