"""A failure at a step of a switch, so that a test can see what a program does when one fails."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

from livepatch.engine.commit import commit
from livepatch.engine.plan import plan
from livepatch.engine.transition import Transition
from livepatch.errors import ExpectationError, PatchError, spelled
from livepatch.process.announcing import Announcing
from livepatch.process.examining import examine

__all__ = ["STEPS", "Fault", "InjectedFaultError", "fail_at"]


class InjectedFaultError(Exception):
    """The failure that a test has asked for.  No code of the library knows it."""


@dataclass(frozen=True, slots=True)
class _Step:
    function: Callable[..., Any]
    event: str  # of a profile function: at the beginning, or when all of it is done

    @property
    def code(self) -> CodeType:
        return self.function.__code__


_STEPS = {
    "examine": _Step(examine, "return"),
    "plan": _Step(plan, "return"),
    "stage": _Step(Transition.stage, "return"),
    "store": _Step(commit, "return"),
    "flip": _Step(Transition.flip, "return"),
    "finish": _Step(Announcing.done, "call"),
}
STEPS = tuple(_STEPS)
"""The steps of a switch, in order; ``stage`` and ``flip`` are those of a transition only."""


class Fault:
    """A failure that is to come.  `reached`: whether it has."""

    def __init__(self, step: str, error: BaseException) -> None:
        self.step = step
        self.error = error
        self.reached = False

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:  # noqa: ARG002  # a profile function
        """Raise at the step, once."""
        step = _STEPS[self.step]
        if frame.f_code is step.code and event == step.event and not self.reached:
            self.reached = True
            raise self.error


@contextmanager
def fail_at(step: str, *, error: BaseException | None = None) -> Iterator[Fault]:
    """Let the next switch that this thread makes inside fail at that one of :data:`STEPS`, after what it does.

    ``examine``: the patch fits, and nothing was made yet.  ``plan``: it is known what to write.  ``stage``: bodies that
    choose are in place.  ``store``: all stores are made.  ``flip``: the new side is live.  ``finish``: the switch is
    made, and not yet recorded.  Whatever step it is, the library puts everything back and raises `error`, by default an
    :class:`InjectedFaultError`.

    Uses the thread's profile function, and sets another one aside meanwhile.  Raises :class:`PatchError` for an unknown
    step, and at its end :class:`ExpectationError` if the step was not reached.
    """
    if step not in _STEPS:
        raise PatchError(
            "there is no such step",
            found=spelled(step),
            expected=f"one of {', '.join(STEPS)}",
            action="correct the name",
        )
    fault = Fault(step, error if error is not None else InjectedFaultError(f"injected at {step}"))
    before = sys.getprofile()
    sys.setprofile(fault)
    try:
        yield fault
    finally:
        sys.setprofile(before)
    if not fault.reached:
        raise ExpectationError(
            f"nothing reached the step {step}",
            found="a switch without it, or none in this thread",
            expected="a switch inside the block, and for stage and flip one with calls or units under way",
            action="make the switch inside; for a transition, pass consistency='chain' and keep a unit of work open",
        )
