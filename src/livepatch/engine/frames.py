"""Calls in flight: frames that still run a given code, on threads' stacks or suspended."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType

from livepatch.engine.stacks import visit_frames

__all__ = ["InFlight", "in_flight", "is_referenced"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """One frame: the function, where it stands, and what holds it (a thread, or the kind of suspended object)."""

    function: str
    file: str
    line: int
    holder: str

    def __str__(self) -> str:
        return f"{self.function} at {self.file}:{self.line} ({self.holder})"


def _references(codes: Mapping[int, CodeType], key: int) -> int:
    return sys.getrefcount(codes[key])


_ONLY_HERE = _references({0: compile("", "<livepatch>", "exec", dont_inherit=True)}, 0)


def is_referenced(codes: Mapping[int, CodeType], key: int, held: int) -> bool:
    """Whether anything else refers to ``codes[key]`` than `codes` itself and `held` references.  Constant time.

    A frame that runs the code does, so what is not referenced is not in flight.
    """
    return _references(codes, key) - _ONLY_HERE - held > 0


def in_flight(codes: Collection[CodeType]) -> tuple[InFlight, ...]:
    """All frames that run one of `codes`.  Looks through the stacks, and through the heap for what is suspended."""
    wanted = {id(code) for code in codes}
    if not wanted:
        return ()
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    found: list[InFlight] = []

    def note(frame: FrameType, ident: int) -> None:
        if id(frame.f_code) in wanted:
            found.append(_describe(frame, f"thread {names.get(ident, ident)}"))

    visit_frames(note)
    # All objects are never listed: a tuple that another thread is still making must not get a second holder.
    for item in gc.get_referrers(*codes):
        if type(item) in _SUSPENDABLE:
            suspended = _frame_of(item)
            if suspended is not None and id(suspended.f_code) in wanted and not _running(item):
                found.append(_describe(suspended, f"suspended {type(item).__name__}"))
    return tuple(found)


_SUSPENDABLE = (GeneratorType, CoroutineType, AsyncGeneratorType)


def _frame_of(item: object) -> FrameType | None:
    for attribute in ("gi_frame", "cr_frame", "ag_frame"):
        frame = getattr(item, attribute, None)
        if frame is not None:
            return frame  # type: ignore[no-any-return]  # the three attributes hold frames
    return None


def _running(item: object) -> bool:
    return any(getattr(item, attribute, False) for attribute in ("gi_running", "cr_running", "ag_running"))


def _describe(frame: FrameType, holder: str) -> InFlight:
    return InFlight(
        function=frame.f_code.co_qualname, file=frame.f_code.co_filename, line=frame.f_lineno or 0, holder=holder
    )
