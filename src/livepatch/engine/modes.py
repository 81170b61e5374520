"""The guard modes of a patch, as values: off, on, split, shadow, at, measured.

A mode says which side a call gets; dispatch code asks it.  Modes are compared by value and never change, so another
percentage is another mode.  Nothing here knows of patches, stacks or threads.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
import operator
import os
import struct
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Final, Literal, SupportsIndex

from livepatch.engine.measuring import Measured
from livepatch.errors import PatchError, spelled

__all__ = [
    "MODES",
    "At",
    "Measured",
    "Mode",
    "Shadow",
    "Split",
    "as_shadow",
    "at",
    "check_mode",
    "is_off",
    "is_on",
    "place_of",
    "spelled_mode",
    "split",
]

MODES: Final = ("on", "off", "shadow")
"""The modes that are plain words; ``"shadow"`` means ``Shadow()``."""

_KEYS = "a str, bytes, int, bool, float, None, UUID, enum member, IP address, or a tuple of those"
_LONGEST = 60.0  # seconds that one call may be held up by a shadow run: more is a mistake


@dataclass(frozen=True, slots=True, repr=False)
class Split:
    """A share of the calls, `percent` of 100, gets the new side.  Made by :func:`split`, which explains the rest.

    Raises :class:`TypeError` or :class:`PatchError`, each naming the argument.
    """

    percent: float
    key: Callable[..., object] | str | None = None
    seed: str | None = None
    _bare: bool = field(init=False, compare=False)
    _turns: Iterator[int] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        _check_number("percent", self.percent)
        if not 0 <= self.percent <= 100:
            raise PatchError(
                "percent is no share",
                found=spelled(self.percent),
                expected="0 to 100",
                action="give a share of the calls in percent",
            )
        if self.seed is not None and not isinstance(self.seed, str):
            raise TypeError(f"seed must be a str or None, not {spelled(self.seed)}")
        _check_key(self.key)
        object.__setattr__(self, "_bare", callable(self.key) and _takes_nothing(self.key))
        # Not from 0: where each process makes a few calls only, all of them would decide alike.
        object.__setattr__(self, "_turns", itertools.count(int.from_bytes(os.urandom(6), "big")))

    def chooses(self, args: tuple[object, ...], kwargs: dict[str, object], names: tuple[str, ...], flag: str) -> bool:
        """Whether the call gets the new side: :meth:`picks` of its :meth:`key_of`, which 0 and 100 need not ask for."""
        if not 0 < self.percent < 100:
            return self.percent == 100
        return self.picks(self.key_of(args, kwargs, names), flag)

    def key_of(self, args: tuple[object, ...], kwargs: dict[str, object], names: tuple[str, ...]) -> object:
        """The key of a call, for :meth:`picks`; `names` are the function's positional parameters, in order.

        Without a key, each asking takes the next turn: ask once for what shall decide once.  Raises
        :class:`PatchError` if the call does not give the parameter that the key names, and whatever the key raises.
        """
        key = self.key
        if key is None:
            return _Turn(next(self._turns))
        if not isinstance(key, str):
            return key() if self._bare else key(*args, **kwargs)
        if key in names[: len(args)]:
            return args[names.index(key)]
        if key in kwargs:
            return kwargs[key]
        raise PatchError(
            f"the call does not give {key}, by which {self} decides",
            found=f"parameters {', '.join((*names[: len(args)], *kwargs)) or 'none'}",
            expected=f"a value for {key}",
            action="name a parameter that every call gives, or use a callable as key",
        )

    def picks(self, value: object, default_seed: str) -> bool:
        """Whether the new side gets the calls with that key: always the same answer for the same key and seed.

        A greater percentage picks all that a smaller one picked.  0 picks none and 100 all, whatever the key;
        else :class:`TypeError` if `value` is nothing that a key may be.
        """
        if not 0 < self.percent < 100:
            return self.percent == 100
        if isinstance(value, _Turn):
            return value.place() < self.percent
        return place_of(default_seed if self.seed is None else self.seed, value) < self.percent

    def __str__(self) -> str:
        parts = [_short(self.percent) + "%"]
        if self.key is not None:
            parts.append(f"key={self.key if isinstance(self.key, str) else _called(self.key)}")
        if self.seed is not None:
            parts.append(f"seed={self.seed!r}")
        return f"split({', '.join(parts)})"

    __repr__ = __str__  # a key's own repr is somebody's code


@dataclass(frozen=True, slots=True, repr=False)
class At:
    """Dormant until ``source()`` reaches `height`.  Made by :func:`at`, which explains the rest.

    Raises :class:`TypeError` or :class:`PatchError`, each naming the argument.
    """

    height: int
    source: Callable[[], int]

    def __post_init__(self) -> None:
        if isinstance(self.height, bool) or not isinstance(self.height, int):
            raise TypeError(f"height must be an int, not {spelled(self.height)}")
        if self.height < 0:
            raise PatchError(
                "height is no height",
                found=spelled(self.height),
                expected="0 or more",
                action="give the height from which on the patch is in force",
            )
        if not callable(self.source):
            raise TypeError(f"source must be callable with no argument, not {spelled(self.source)}")
        _check_plain_call("source", self.source)

    def reached(self) -> bool:
        """Whether the source is at the height now, or above it.

        Raises :class:`TypeError` if the source gives no int, and whatever the source raises.
        """
        now: object = self.source()
        if isinstance(now, bool) or not isinstance(now, SupportsIndex):
            raise TypeError(f"the source of {self} must give an int, not {spelled(now)}")
        return operator.index(now) >= self.height

    def __str__(self) -> str:
        return f"at({self.height})"

    __repr__ = __str__


@dataclass(frozen=True, slots=True)
class Shadow:
    """The old side answers, and the new side runs beside it on functions that the patch declares pure.

    `limit` is the number of seconds that one call may be held up by the new side's run, `share` how much of the wall
    clock all of them may take (above 0, up to 1), and `keep` how many differences are kept to look at.

    Raises :class:`TypeError` or :class:`PatchError`, each naming the argument.
    """

    limit: float = 0.01
    share: float = 0.1
    keep: int = 10

    def __post_init__(self) -> None:
        _check_number("limit", self.limit)
        _check_number("share", self.share)
        if not 0 < self.limit <= _LONGEST:
            raise PatchError(
                "limit is no time to wait",
                found=spelled(self.limit),
                expected="above 0 s, up to 60 s",
                action="say how many seconds a call may be compared",
            )
        if not 0 < self.share <= 1:
            raise PatchError(
                "share is no share",
                found=spelled(self.share),
                expected="above 0, up to 1",
                action="say which share of the calls is compared; 1.0 is all of them",
            )
        if isinstance(self.keep, bool) or not isinstance(self.keep, int):
            raise TypeError(f"keep must be an int, not {spelled(self.keep)}")
        if not 0 <= self.keep <= 1000:
            raise PatchError(
                "keep is no count",
                found=spelled(self.keep),
                expected="0 to 1000 differences",
                action="say how many differences are kept",
            )

    def __str__(self) -> str:
        usual = Shadow()
        parts = [
            f"{name}={value!r}"
            for name, value in (("limit", self.limit), ("share", self.share), ("keep", self.keep))
            if value != getattr(usual, name)
        ]
        return f"shadow({', '.join(parts)})" if parts else "shadow"


Mode = Literal["on", "off", "shadow"] | Split | At | Shadow | Measured


def split(percent: float, key: Callable[..., object] | str | None = None, seed: str | None = None) -> Split:
    """A share of the calls gets the new side: `percent` of 100, as an int or float.

    `key` says who is asked for: a callable that gets the call's arguments (or nothing, if it takes nothing, as does the
    ``get`` of a context variable), or the name of a parameter of the patched function.  Calls with equal keys
    get the same side, in every process; a greater percentage moves none back.  Without a key each decision is
    one of its own, and the share holds over a few hundred of them.  Patches take different samples unless they
    have the same `seed`.

    Raises :class:`TypeError` or :class:`PatchError`, each naming the argument.
    """
    return Split(percent, key, seed)


def at(height: int, source: Callable[[], int]) -> At:
    """The old side until ``source()`` is `height` or more, such as the height of a chain; then the new side.

    The source is asked again and again: if it falls below the height, as in a reorganisation, the old side is back.

    Raises :class:`TypeError` or :class:`PatchError`, each naming the argument.
    """
    return At(height, source)


def check_mode(mode: object) -> Mode:
    """The mode that `mode` is.  Raises :class:`TypeError` or :class:`PatchError`, both naming what there is."""
    if isinstance(mode, (Split, At, Shadow, Measured)):
        return mode
    made = "livepatch.split(…), livepatch.at(…), livepatch.Shadow(…) or livepatch.Measured(…)"
    possible = f"'on', 'off', 'shadow', {made}"
    if not isinstance(mode, str):
        raise TypeError(f"mode must be {possible}, not {spelled(mode)}")
    for word in MODES:
        if mode == word:
            return word
    raise PatchError("mode is unknown", found=spelled(mode), expected=possible, action="give one of these modes")


def as_shadow(mode: Mode) -> Shadow | None:
    """The shadow mode that `mode` is or, as the word, means; ``None`` for any other."""
    if mode == "shadow":
        return Shadow()
    return mode if isinstance(mode, Shadow) else None


def is_on(mode: Mode) -> bool:
    """Whether every call gets the new side, be it measured or not."""
    return mode == "on" or (isinstance(mode, Measured) and mode.side == "on")


def is_off(mode: Mode) -> bool:
    """Whether no call gets the new side, be they measured or not."""
    return mode == "off" or (isinstance(mode, Measured) and mode.side == "off")


def spelled_mode(mode: Mode) -> str:
    """A mode in a few characters: ``on``, ``split(5%)``, ``at(1200)``, ``shadow``."""
    return str(mode)


def place_of(seed: str, key: object) -> float:
    """Where a key stands between 0 and 100 (never 100): the same in every process, on every platform and version.

    Keys of different types stand in different places, ``1`` and ``"1"`` as well as ``1`` and ``True``.  Raises
    :class:`TypeError` if `key` is nothing that a key may be.
    """
    state = _seeded(seed).copy()
    state.update(_encoded(key))
    digest = state.digest()
    # 53 bits are what a float holds exactly: with all 64 the greatest would be rounded up to 100.
    return (int.from_bytes(digest, "big") >> 11) * 100 / 2**53


class _Turn:
    """The key of a call for which no key was asked: its turn in a sequence that spreads evenly, and yet is well mixed.

    Of each 256 turns one falls into each of 256 strata, in an order that is mixed anew for each block, so the share
    holds exactly and no rhythm of the calls (every second one, a retry) falls in step with it.
    """

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def place(self) -> float:
        block, stratum = divmod(self.number, 256)
        block += os.getpid()  # a child after fork goes on with its parent's count, and shall not decide alike
        mixed = _mixed(block)
        for shift in (0, 16, 32):  # three rounds, each of which maps the 256 strata onto themselves
            stratum = ((stratum ^ (mixed >> shift & 255)) * (mixed >> (shift + 8) & 255 | 1)) & 255
            stratum ^= stratum >> 4
        within = (block * 0x9E3779B9 & 0xFFFFFFFF) / 2**32
        return (stratum + within) * 100 / 256


def _mixed(number: int) -> int:
    """64 bits of which each depends on all of `number`: the finaliser of SplitMix64 (Steele, Lea, Flood, 2014)."""
    number = (number + 0x9E3779B97F4A7C15) * 0xBF58476D1CE4E5B9 & 2**64 - 1
    number = (number ^ number >> 30) * 0x94D049BB133111EB & 2**64 - 1
    return number ^ number >> 31


@functools.lru_cache(maxsize=256)
def _seeded(seed: str) -> hashlib.blake2b:
    state = hashlib.blake2b(digest_size=8, person=b"livepatch.split", usedforsecurity=False)
    state.update(_encoded(seed))
    return state


def _encoded(key: object) -> bytes:
    """A key as bytes that no other key has: a letter for its type, its length, its content."""
    kind = type(key)
    letter, encode = _ENCODINGS[kind if kind in _ENCODINGS else _kind_of(key)]
    content = encode(key)
    return b"%c%d:%b" % (letter, len(content), content)


# Methods are the types' own, because a subclass may have made them something else.
_ENCODINGS: Final[dict[object, tuple[bytes, Callable[[Any], bytes]]]] = {
    str: (b"s", lambda key: str.encode(key, "utf-8", "surrogatepass")),
    bytes: (b"y", lambda key: bytes.__getitem__(key, slice(None))),
    int: (b"i", lambda key: b"%x" % int.__index__(key)),  # the decimal digits of a long int are limited
    bool: (b"b", lambda key: b"1" if key else b"0"),
    type(None): (b"n", lambda _: b""),
    float: (b"f", lambda key: b"nan" if math.isnan(key) else struct.pack(">d", float.__add__(key, 0.0))),  # -0.0 is 0.0
    tuple: (b"t", lambda key: b"".join(map(_encoded, tuple.__iter__(key)))),
    "Flag": (b"e", lambda key: _encoded(type(key).__qualname__) + _encoded(key.value)),
    "Enum": (b"e", lambda key: _encoded(type(key).__qualname__) + _encoded(key.name)),
    "UUID": (b"u", lambda key: key.bytes),
    "IPv4Address": (b"a", lambda key: key.packed),
    "IPv6Address": (b"a", lambda key: key.packed + str.encode(key.scope_id or "")),
}
_IMPORTED: Final = (
    ("enum", "Flag"),
    ("enum", "Enum"),
    ("uuid", "UUID"),
    ("ipaddress", "IPv4Address"),
    ("ipaddress", "IPv6Address"),
)


def _kind_of(key: object) -> object:
    """Which of the encodings is for a key whose type is none of the builtin ones."""
    # An enum member may be a str or int too, so it is asked for first.  What nobody imported, no key is made of.
    for module, name in _IMPORTED:
        if module in sys.modules and isinstance(key, getattr(sys.modules[module], name)):
            return name
    for kind in (str, bytes, int, float, tuple):
        if isinstance(key, kind):
            return kind
    raise TypeError(f"a key must be {_KEYS}, not {spelled(key)}")


def _check_number(argument: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{argument} must be an int or a float, not {spelled(value)}")


def _check_key(key: object) -> None:
    if key is None:
        return
    if isinstance(key, str):
        if not key.isidentifier():
            raise PatchError(
                "key names no parameter",
                found=spelled(key),
                expected="such as 'peer_id', or a callable",
                action="name a parameter of the patched functions, or give a function of their arguments",
            )
    elif not callable(key):
        raise TypeError(f"key must be a callable, the name of a parameter or None, not {spelled(key)}")
    else:
        _check_plain_call("key", key)


def _check_plain_call(argument: str, function: Callable[..., object]) -> None:
    import inspect

    if inspect.iscoroutinefunction(function):
        raise PatchError(
            f"{argument} is a coroutine function",
            found=f"async def {_called(function)}",
            expected="a plain callable",
            action="let it read a value that is there already",
        )


def _takes_nothing(function: Callable[..., object]) -> bool:
    import inspect

    if isinstance(function, BuiltinFunctionType) and isinstance(function.__self__, ContextVar):
        return True  # its only parameter is a default, and no argument of a call is meant as one
    try:
        return not inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False  # native, with no signature to look at


def _called(function: Callable[..., object]) -> str:
    """The name of a callable, asked of none but the interpreter's own types."""
    if isinstance(function, MethodType):
        function = function.__func__
    if isinstance(function, (FunctionType, BuiltinFunctionType)):
        return function.__qualname__
    return spelled(function)


def _short(number: float) -> str:
    return str(int(number)) if number == int(number) else repr(float(number))
