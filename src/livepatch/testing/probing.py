"""What a probe answers: a function without parameters, or a coroutine function, that shows which side is live."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

from livepatch.engine.comparing import Outcome, compared, spelled_outcome
from livepatch.errors import ExpectationError, PatchError, spelled

__all__ = ["Probe", "alike", "answer_of", "check_probe", "steady_answer", "told"]

Probe = Callable[[], object]


def check_probe(argument: str, probe: object) -> None:
    """Raise :class:`TypeError` unless it can be called."""
    if not callable(probe):
        raise TypeError(f"{argument} must be a function without parameters, not {spelled(probe)}")


def answer_of(probe: Probe) -> Outcome:
    """What the probe gives or raises; a coroutine is run to its end in a loop of its own.

    Without its traceback: what holds the frames of a function looks like a call of it.  Raises :class:`PatchError` for
    a coroutine where a loop runs already.
    """
    try:
        value = probe()
        if inspect.iscoroutine(value):
            _must_be_run(value)
            value = asyncio.run(value)
        return Outcome(value)
    except _LoopRunsError:
        raise PatchError(
            "a probe that is a coroutine function cannot be asked from a coroutine",
            found="an event loop that runs in this thread",
            expected="a test that is a plain function, or a probe that is one",
            action="write the test as a plain function: each answer gets a loop of its own",
        ) from None
    except Exception as error:  # noqa: BLE001  # what a probe raises is its answer
        return Outcome(None, without_frames(error))


class _LoopRunsError(Exception):
    pass


def _must_be_run(coroutine: Coroutine[Any, Any, object]) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    coroutine.close()
    raise _LoopRunsError


def without_frames(error: BaseException) -> BaseException:
    """The exception, and all that led to it, without tracebacks."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        each = pending.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = None
            pending += [each.__cause__, each.__context__]
            pending += each.exceptions if isinstance(each, BaseExceptionGroup) else []
    return error


def alike(one: Outcome, other: Outcome) -> bool:
    """Whether two answers are the same: equal values of one type, or exceptions of one type and text."""
    return compared(one, other)[0]


def told(outcome: Outcome) -> str:
    """An answer in a few words."""
    return spelled_outcome(outcome)


def steady_answer(probe: Probe, name: str = "the probe") -> Outcome:
    """The answer, if the probe gives it twice.  Raises :class:`ExpectationError` if not."""
    first, second = answer_of(probe), answer_of(probe)
    same, why = compared(first, second)
    if not same:
        raise ExpectationError(
            f"{name} cannot tell the sides apart: it answers the same code in two ways",
            found=f"{told(first)}, then {told(second)}" + (f" ({why})" if why else ""),
            expected="equal answers as long as nothing is switched",
            action="let it make its objects anew, and return plain values",
        )
    return first
