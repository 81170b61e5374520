"""Units of work: what begins inside one sees one side to its end, however many calls it makes.

Between two flips lies an *epoch*.  A unit belongs to the epoch in which it begins, and each epoch counts its units that
are at work.  A context variable carries the unit into what it starts: asyncio tasks, ``asyncio.to_thread``, and
whatever else copies its context.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Final, TypeVar, overload

__all__ = [
    "Epoch",
    "Unit",
    "after_fork",
    "current",
    "entering",
    "epochs_at_work",
    "now",
    "passed",
    "unit_of_work",
]

F = TypeVar("F", bound=Callable[..., Any])


class Epoch:
    """The time between two flips.  Each has the next number.  `units` has one item for each unit that is at work."""

    __slots__ = ("number", "units")

    def __init__(self, number: int) -> None:
        self.number = number
        self.units: list[None] = []  # to append and to pop is one step each, which += on a number is not

    def __repr__(self) -> str:
        return f"<epoch {self.number}>"


now: Final[list[Epoch]] = [Epoch(0)]
"""The epoch that has begun last.  A flip stores the next one together with all else that it stores."""

_past: Final[list[Epoch]] = []


def passed(epoch: Epoch) -> None:
    """An epoch has ended; it is remembered as long as units of it are at work."""
    _past[:] = [*(other for other in _past if other.units), epoch]


def epochs_at_work() -> list[Epoch]:
    """The epoch that is now, and those before it that have units at work."""
    return [*(epoch for epoch in _past if epoch.units), now[0]]


def after_fork() -> None:
    """In a child: units of other threads and tasks ended with them."""
    mine: list[Epoch] = []
    unit = _unit.get()
    while unit is not None:
        mine += [] if unit.epoch is None else [unit.epoch]
        unit = unit.outer
    for epoch in epochs_at_work():
        epoch.units[:] = [None] * sum(epoch is other for other in mine)


entering: Final[list[Callable[[], Epoch | None]]] = []
"""While a transition is open, what says in which epoch the calls that lead to a new unit are at home."""


class Unit:
    """One unit at work.  `epoch` is ``None`` once it has ended; `outer` is the unit in which it began."""

    __slots__ = ("choices", "epoch", "outer")

    def __init__(self, epoch: Epoch, outer: Unit | None) -> None:
        self.epoch: Epoch | None = epoch
        self.outer = outer
        self.choices: dict[object, bool] = {}
        """Which side the unit is on, by what decides it: a mode that decides call by call decides once for a unit."""


_unit: ContextVar[Unit | None] = ContextVar("livepatch.unit_of_work", default=None)


def current() -> Unit | None:
    """The unit at work in this context; one that has ended counts no more, but that around it may."""
    unit = _unit.get()
    while unit is not None and unit.epoch is None:
        unit = unit.outer
    return unit


def _begin() -> tuple[Unit, Token[Unit | None]]:
    outer = current()
    home = outer.epoch if outer is not None else entering[0]() if entering else None
    epoch = home if home is not None else now[0]
    epoch.units.append(None)
    while home is None and now[0] is not epoch:
        # A flip came between the look and the count, and may have found the epoch without a unit.
        epoch.units.pop()
        epoch = now[0]
        epoch.units.append(None)
    unit = Unit(epoch, outer)
    if outer is not None:
        unit.choices = outer.choices
    return unit, _unit.set(unit)


def _end(unit: Unit, token: Token[Unit | None]) -> None:
    epoch, unit.epoch = unit.epoch, None
    if epoch is not None:
        epoch.units.pop()
    with contextlib.suppress(ValueError):  # begun in one context and ended in another, as generators do
        _unit.reset(token)


class _UnitOfWork:
    """A context manager, also an asynchronous one, and a decorator; may be entered again and again."""

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        self._begun: dict[int, tuple[Unit, Token[Unit | None]]] = {}

    def __enter__(self) -> None:
        unit, token = _begin()
        self._begun[id(unit)] = unit, token

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Several tasks may share one of these: the unit of this context is the one that ends, if it began here.
        begun = self._begun.pop(id(_unit.get()), None)
        _end(*(begun if begun is not None else self._begun.popitem()[1]))

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __call__(self, function: F) -> F:
        return _decorated(function)


@overload
def unit_of_work() -> _UnitOfWork: ...
@overload
def unit_of_work(function: F, /) -> F: ...
def unit_of_work(function: F | None = None, /) -> _UnitOfWork | F:
    """Mark one piece of the program's work, such as one message, block or request: it never sees two sides of a fix.

    Use it as ``with unit_of_work():``, ``async with unit_of_work():``, or as a decorator of a function or coroutine
    function, with or without parentheses.  Whatever is called inside, by any number of calls, gets the side that was
    live when the unit began, until it ends.  A unit inside another is part of it.

    Tasks that are started inside belong to it (asyncio, trio, anyio, ``asyncio.to_thread``), until the unit ends.  A
    thread pool's ``submit`` does not copy the context: give it ``contextvars.copy_context().run`` and the function.

    Raises :class:`TypeError` for a generator function: its body runs in the context of whoever asks for the next item.
    """
    return _UnitOfWork() if function is None else _decorated(function)


def _decorated(function: F) -> F:
    if not callable(function):
        raise TypeError(f"unit_of_work decorates functions, not a {type(function).__qualname__}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"unit_of_work cannot decorate {function.__qualname__}, which is a generator function: between two items "
            "the unit would be open in its consumer; decorate the function that consumes it"
        )
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def as_coroutine(*args: Any, **kwargs: Any) -> Any:
            unit, token = _begin()
            try:
                return await function(*args, **kwargs)
            finally:
                _end(unit, token)

        return as_coroutine  # type: ignore[return-value]  # called as the function is

    @functools.wraps(function)
    def as_function(*args: Any, **kwargs: Any) -> Any:
        unit, token = _begin()
        try:
            return function(*args, **kwargs)
        finally:
            _end(unit, token)

    return as_function  # type: ignore[return-value]  # called as the function is
