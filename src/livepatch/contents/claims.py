"""What a patch claims of itself beyond its changes, for whoever governs: what it waives, and what round trips show."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from livepatch.errors import PatchError, spelled

__all__ = [
    "MOST_VALUES",
    "RoundTrip",
    "Waiver",
    "check_path",
    "check_plain_function",
    "check_reason",
    "check_target",
    "round_trip_of",
]

MOST_VALUES = 1000
"""Values of one round trip: each is encoded twice and decoded three times while a patch waits to go in."""

_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d<]\w*(\.([^\W\d]\w*|<locals>|<lambda>))*")
_LONGEST = 500  # characters of a reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """The author has looked: no protected code calls `target`, whatever names make it seem so; `reason` says why."""

    target: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrip:
    """What either side encodes, the other decodes.

    `encode` and `decode` are ``"module:qualified.name"`` of functions of one argument, or such functions themselves;
    `values` are examples for `encode`, or the name of where the program has them.
    """

    encode: str | Callable[..., object]
    decode: str | Callable[..., object]
    values: str | tuple[object, ...]

    @property
    def in_code(self) -> bool:
        """Whether it holds live objects, which no file can."""
        return not all(isinstance(part, str) for part in (self.encode, self.decode, self.values))


def check_path(argument: str, value: str) -> str:
    """``"module:qualified.name"``, which the program can be asked for.  Raises :class:`PatchError`."""
    if not _PATH.fullmatch(value) or len(value) > _LONGEST:
        raise PatchError(f"{argument} names nothing", found=spelled(value), expected="'package.module:name'")
    return value


def check_target(value: str) -> str:
    """``"module:qualified.name"``, as ``__qualname__`` has it.  Raises :class:`PatchError`."""
    if not _TARGET.fullmatch(value) or len(value) > _LONGEST:
        raise PatchError("target names nothing", found=spelled(value), expected="'package.module:Class.method'")
    return value


def check_reason(value: object) -> str:
    """Why something is waived.  Raises :class:`PatchError`, or :class:`TypeError` if it is no text."""
    if not isinstance(value, str):
        raise TypeError(f"reason must be a str, not {spelled(value)}")
    if not value.strip() or len(value) > _LONGEST:
        raise PatchError(
            "reason is no reason",
            found=spelled(value),
            expected=f"why no protected code calls the target, in 1 to {_LONGEST} characters",
        )
    return value


def round_trip_of(encode: object, decode: object, values: object) -> RoundTrip:
    """A round trip, if it is one.  Raises :class:`PatchError` or :class:`TypeError`, each naming the argument."""
    given: str | tuple[object, ...]
    if isinstance(values, str):
        given = check_path("values", values)
    elif isinstance(values, Iterable) and not isinstance(values, (bytes, bytearray, dict)):
        given = tuple(values)
        if not 0 < len(given) <= MOST_VALUES:
            raise PatchError(
                "values are no examples", found=f"{len(given)} of them", expected=f"1 to {MOST_VALUES} values"
            )
    else:
        raise TypeError(f"values must be values for encode, or 'module:name' of such, not {spelled(values)}")
    return RoundTrip(encode=_function("encode", encode), decode=_function("decode", decode), values=given)


def _function(argument: str, value: object) -> str | Callable[..., object]:
    if isinstance(value, str):
        return check_path(argument, value)
    if not callable(value):
        raise TypeError(f"{argument} must be a function of one argument, or 'module:name' of one, not {spelled(value)}")
    check_plain_function(argument, value)
    return value


def check_plain_function(argument: str, function: Callable[..., object]) -> None:
    """Raise :class:`PatchError` for what gives no value when it is called, but something that still has to run."""
    if (
        inspect.iscoroutinefunction(function)
        or inspect.isgeneratorfunction(function)
        or inspect.isasyncgenfunction(function)
    ):
        raise PatchError(
            f"{argument} gives no value when it is called",
            found="a coroutine function or a generator function",
            expected="a plain function, which gives the value",
            action="wrap it in one that runs it to its end",
        )
