"""Measured calls: how often each function of a patch is called, how often it raises, and how long it takes.

Measuring is a mode like on and off, with a body that counts in place of the plain code.  Under ``Measured("off")`` it
is the side beneath that is measured, so that what comes later can be compared with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import FunctionType
from typing import Any, Literal

from livepatch.engine.code import kind_of
from livepatch.engine.functions import own
from livepatch.errors import PatchError, spelled

__all__ = ["Counts", "Measured", "MeasuredCalls", "counting"]


@dataclass(frozen=True, slots=True, repr=False)
class Measured:
    """On, or off, with every call of the patched functions counted and timed.

    `side` is ``"on"`` or ``"off"``: which side answers, and so is measured.  Raises :class:`TypeError` or
    :class:`PatchError`.
    """

    side: Literal["on", "off"] = "on"

    def __post_init__(self) -> None:
        if not isinstance(self.side, str):
            raise TypeError(f"side must be 'on' or 'off', not {spelled(self.side)}")
        if self.side not in ("on", "off"):
            raise PatchError(
                "side is unknown", found=spelled(self.side), expected="'on' or 'off'", action="give one of these sides"
            )

    def __str__(self) -> str:
        return f"measured({self.side})"

    __repr__ = __str__


@dataclass(frozen=True, slots=True)
class MeasuredCalls:
    """What has been counted of one target at one moment.

    `calls` have begun, and `ended` of them are over; `errors` of those raised an :class:`Exception`.  `seconds` is what
    the ended ones took in all.  Of a generator only `calls` is known: what it does, it does when it is gone through.
    """

    target: str
    calls: int
    ended: int
    errors: int
    seconds: float

    def to_dict(self) -> dict[str, object]:
        """The same for JSON."""
        return asdict(self)


class Counts:
    """The count of one target's calls, from any number of threads and event loops."""

    # Statements such as ``self.calls += 1`` need no lock: CPython lets other threads and signal handlers in only at
    # calls and at jumps back, and there is none in them.

    __slots__ = ("calls", "ended", "errors", "seconds")

    def __init__(self) -> None:
        self.calls = self.ended = self.errors = 0
        self.seconds = 0.0

    def snapshot(self, target: str) -> MeasuredCalls:
        """What has been counted until now."""
        return MeasuredCalls(target, self.calls, self.ended, self.errors, self.seconds)


def counting(inner: FunctionType, counts: Counts) -> FunctionType:
    """A function ``(*args, **kwargs)`` that gives, or raises, the very object that `inner` does, and counts.

    For coroutine functions it is a coroutine function; a call of one ends when it has been awaited to its end.
    """
    kind = kind_of(inner.__code__)
    made = _plain(inner, counts) if kind == "function" else _begun(inner, counts)
    if kind == "coroutine":
        made = _coroutine(inner, counts)
    # Code of its own, so that calls of it are told from those of any other function that counts.
    code = made.__code__.replace(co_name=inner.__code__.co_name, co_qualname=inner.__code__.co_qualname)
    own_one = FunctionType(code, made.__globals__, inner.__name__, None, made.__closure__)
    own_one.__qualname__ = inner.__qualname__
    own(own_one)
    return own_one


def _plain(inner: FunctionType, counts: Counts) -> FunctionType:
    now = time.perf_counter

    def measured(*args: Any, **kwargs: Any) -> Any:
        counts.calls += 1
        began = now()
        try:
            value = inner(*args, **kwargs)
        except BaseException as error:
            took = now() - began
            _failed(counts, error, took)
            raise
        took = now() - began
        counts.seconds += took
        counts.ended += 1
        return value

    return _as_function(measured)


def _coroutine(inner: FunctionType, counts: Counts) -> FunctionType:
    now = time.perf_counter

    async def measured(*args: Any, **kwargs: Any) -> Any:
        counts.calls += 1
        began = now()
        try:
            value = await inner(*args, **kwargs)
        except BaseException as error:
            took = now() - began
            _failed(counts, error, took)
            raise
        took = now() - began
        counts.seconds += took
        counts.ended += 1
        return value

    return _as_function(measured)


def _begun(inner: FunctionType, counts: Counts) -> FunctionType:
    def measured(*args: Any, **kwargs: Any) -> Any:
        counts.calls += 1
        return inner(*args, **kwargs)

    return _as_function(measured)


def _failed(counts: Counts, error: BaseException, took: float) -> None:
    counts.seconds += took
    counts.ended += 1
    if isinstance(error, Exception):  # a cancelled call, or one that ends the process, is no fault of its code
        counts.errors += 1


def _as_function(made: Callable[..., Any]) -> FunctionType:
    assert isinstance(made, FunctionType)
    return made
