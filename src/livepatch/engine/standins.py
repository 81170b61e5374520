"""Stand-ins: functions that run one side of a live function while the live one itself chooses between sides."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any, TypeGuard

from livepatch.engine.functions import is_own, own
from livepatch.engine.gauge import Gauge
from livepatch.engine.stack import UNCHANGED

__all__ = ["StandIn", "calls_behind", "copies_of", "stand_in", "watch_code"]


@dataclass(frozen=True, slots=True)
class StandIn:
    """A function that runs one side, and a constant of the body that chooses."""

    function: FunctionType

    @property
    def codes(self) -> tuple[CodeType, ...]:
        """Frames of these are calls on that side."""
        return self.function.__code__, *calls_behind(self.function.__code__)

    def watch(self, gauge: Gauge, known: int) -> None:
        """Let `gauge` show calls of it, those that are about to begin as well.

        There are `known` references to its code, apart from those by calls.
        """
        gauge.add(self.function, 2)  # this object and the body's constants
        watch_code(gauge, self.function.__code__, known)


def stand_in(function: FunctionType, side: tuple[Any, ...], *, fresh: bool = False, remember: bool = False) -> StandIn:
    """A function that runs `side` (code, defaults and keyword defaults) as `function` would.

    If it is `fresh`, its calls share no code with those of any other function, so that they can be told apart;
    :func:`copies_of` tells what is to be `remember`-ed.
    """
    code, defaults, kwdefaults = side
    copy = _fresh(code) if fresh else code
    if remember:
        _remember(code, copy)
    made = FunctionType(
        copy,
        function.__globals__,
        function.__name__,
        function.__defaults__ if defaults is UNCHANGED else defaults,
        function.__closure__,
    )
    made.__kwdefaults__ = function.__kwdefaults__ if kwdefaults is UNCHANGED else kwdefaults
    made.__qualname__ = function.__qualname__
    own(made)
    return StandIn(made)


def calls_behind(code: CodeType) -> Iterator[CodeType]:
    """The code of what a call of `code` may leave running: generator expressions, and what it calls in its own place.

    Functions that the code makes are no part of it: what they do after it has returned are calls of their own.
    """
    return (behind for behind, _ in _behind(code))


def _behind(code: CodeType) -> Iterator[tuple[CodeType, object]]:
    """Likewise, each with what alone refers to it: the constants that it is one of, or the function whose it is."""
    for constant in code.co_consts:
        if _is_genexpr(constant):
            yield constant, code.co_consts
            yield from _behind(constant)
        elif isinstance(constant, FunctionType) and is_own(constant):
            yield constant.__code__, constant
            yield from _behind(constant.__code__)


def _is_genexpr(constant: object) -> TypeGuard[CodeType]:
    return isinstance(constant, CodeType) and constant.co_name == "<genexpr>"


# Copies outlive the transition that they were made for in the calls that run them.  By the id of what was copied: while
# the reference to that lives, the id is its own.
_copies: dict[int, tuple[weakref.ref[CodeType], list[weakref.ref[CodeType]]]] = {}


def copies_of(code: object) -> list[CodeType]:
    """The copies of a code object that are still in some call, or in a stand-in."""
    original, references = _copies.get(id(code), (None, []))
    if original is None or original() is not code:
        return []
    return [copy for reference in references if (copy := reference()) is not None]


def _fresh(code: CodeType) -> CodeType:
    """A copy with copies of its own of all that :func:`calls_behind` finds."""
    # A list first: a tuple that grows must not be met by a search for what refers to code.
    return code.replace(co_consts=(*[_fresh_constant(constant) for constant in code.co_consts],))


def _remember(code: CodeType, copy: CodeType) -> None:
    key = id(code)
    original = weakref.ref(code, lambda gone: _forget(key, gone))
    _copies[key] = original, [weakref.ref(each) for each in (*copies_of(code), copy)]


def _forget(key: int, original: weakref.ref[CodeType]) -> None:
    if key in _copies and _copies[key][0] is original:
        del _copies[key]


def _fresh_constant(constant: object) -> object:
    if _is_genexpr(constant):
        return _fresh(constant)
    if isinstance(constant, FunctionType) and is_own(constant):
        side = _fresh(constant.__code__), constant.__defaults__, constant.__kwdefaults__
        return stand_in(constant, side).function
    return constant


def watch_code(gauge: Gauge, code: CodeType, known: int) -> None:
    """Let `gauge` show calls of a live function's code, to which there are `known` references otherwise."""
    gauge.add(code, known)
    for behind, holder in _behind(code):
        gauge.add(behind, 1, holder)
