"""What a patch claims of itself beyond its changes: what it waives, and what examples of messages and data show."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from livepatch.contents.files import read_at_most
from livepatch.errors import PatchError, spelled

__all__ = [
    "MOST_VALUES",
    "RoundTrip",
    "Snapshot",
    "Waiver",
    "check_path",
    "check_plain_function",
    "check_reason",
    "check_target",
    "round_trip_of",
    "snapshot_of",
]

MOST_VALUES = 1000
"""Values of one round trip: each is encoded twice and decoded three times while a patch waits to go in."""

_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d<]\w*(\.([^\W\d]\w*|<locals>|<lambda>))*")
_LONGEST = 500  # characters of a reason
_LARGEST = 64 * 2**20  # bytes of all files together that a patch holds as examples


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Data that is there already: both sides load it, and load what they store of it.

    `load` and `store` are ``"module:qualified.name"`` of functions of one argument, or such functions themselves;
    `store` gives what `load` takes, and is empty if nothing is to be stored.  `examples` are what `load` takes, or the
    name of where the program has them.  `rollback`: what the new side stores the old one must load.
    """

    load: str | Callable[..., object]
    examples: str | tuple[object, ...]
    store: str | Callable[..., object] = ""
    rollback: bool = False

    @property
    def in_code(self) -> bool:
        """Whether it holds live objects, which no file can."""
        return not all(isinstance(part, str) for part in (self.load, self.examples, self.store))


def check_path(argument: str, value: str) -> str:
    """``"module:qualified.name"``, which the program can be asked for.  Raises :class:`PatchError`."""
    if not _PATH.fullmatch(value) or len(value) > _LONGEST:
        raise PatchError(
            f"{argument} names nothing",
            found=spelled(value),
            expected="'package.module:name'",
            action="name a function of a module",
        )
    return value


def check_target(value: str) -> str:
    """``"module:qualified.name"``, as ``__qualname__`` has it.  Raises :class:`PatchError`."""
    if not _TARGET.fullmatch(value) or len(value) > _LONGEST:
        raise PatchError(
            "target names nothing",
            found=spelled(value),
            expected="'package.module:Class.method'",
            action="name the function or method that the patch changes",
        )
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
            action="say the reason in a sentence",
        )
    return value


def round_trip_of(encode: object, decode: object, values: object) -> RoundTrip:
    """A round trip, if it is one.  Raises :class:`PatchError` or :class:`TypeError`, each naming the argument."""
    given = _examples("values", values, "encode")
    return RoundTrip(encode=_function("encode", encode), decode=_function("decode", decode), values=given)


def snapshot_of(load: object, examples: object, store: object, rollback: object) -> Snapshot:
    """Examples of data, if they are such.  Raises :class:`PatchError` or :class:`TypeError`, naming the argument."""
    if not isinstance(rollback, bool):
        raise TypeError(f"rollback must be True or False, not {spelled(rollback)}")
    if rollback and store is None:
        raise PatchError(
            "rollback promises that the old side loads what the new one stores",
            found="no store=",
            expected="the function that stores",
            action="give it, or promise nothing",
        )
    given = _examples("examples", examples, "load")
    if not isinstance(given, str):
        given = _with_contents(given)
    return Snapshot(
        load=_function("load", load),
        examples=given,
        store="" if store is None else _function("store", store),
        rollback=rollback,
    )


def _examples(argument: str, values: object, function: str) -> str | tuple[object, ...]:
    if isinstance(values, str):
        return check_path(argument, values)
    if not isinstance(values, Iterable) or isinstance(values, (bytes, bytearray, dict)):
        raise TypeError(f"{argument} must be values for {function}, or 'module:name' of such, not {spelled(values)}")
    given = tuple(values)
    if not 0 < len(given) <= MOST_VALUES:
        raise PatchError(
            f"{argument} are no examples",
            found=f"{len(given)} of them",
            expected=f"1 to {MOST_VALUES} values",
            action="give some values that the node exchanges or stores",
        )
    return given


def _with_contents(examples: tuple[object, ...]) -> tuple[object, ...]:
    """The examples with the bytes of each file in place of its path: what is compared stays what was meant."""
    left = _LARGEST
    found: list[object] = []
    for example in examples:
        if not isinstance(example, Path):
            found.append(example)
            continue
        try:
            data = read_at_most(example, left)
            if data is None:
                raise ValueError("no regular file")
        except (OSError, ValueError) as error:
            raise PatchError(
                "an example cannot be read",
                found=f"{spelled(str(example))}: {getattr(error, 'strerror', None) or error}",
                expected="a file",
                action="correct the path",
            ) from error
        left -= len(data)
        if left < 0:
            raise PatchError(
                "the examples are too large",
                found=f"{example}, with which they exceed {_LARGEST} bytes",
                expected="examples that are loaded while a patch waits to go in",
                action="give smaller ones, or load= a function that reads the file itself",
            )
        found.append(data)
    return tuple(found)


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
