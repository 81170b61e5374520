"""Shadow runs: the old side answers, the new side runs beside it, and what differs is counted.

What a caller gets is what the old side gave, whatever the new side does, and at most `limit` seconds later than
without a shadow run.  A thread cannot be stopped, so a plain function's new side runs in a thread of its own that its
caller can leave behind; a coroutine's runs in a task of its own, which is cancelled.  One run at a time: while one is
under way, or has not ended though nobody waits for it any more, other calls are answered without.
"""

from __future__ import annotations

import sys
import threading
import time
from contextvars import Context, ContextVar, copy_context
from dataclasses import asdict, dataclass
from types import CoroutineType, FunctionType, TracebackType
from typing import Any, NamedTuple

from livepatch.engine.code import kind_of
from livepatch.engine.comparing import Outcome, compared, spelled_call, spelled_outcome
from livepatch.engine.lane import Lane
from livepatch.engine.modes import Shadow
from livepatch.errors import PatchError

__all__ = ["Difference", "Tallied", "Tally", "runner"]

_within: ContextVar[Tally | None] = ContextVar("livepatch_shadow_run", default=None)
"""Whose shadow run this code is part of: there, the same patch's functions are the new ones, and no run begins."""
_held: ContextVar[float] = ContextVar("livepatch_shadow_held", default=0.0)
"""Seconds that shadow runs have held this context up: no part of what the old side took."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A call to which the sides gave different answers, in short texts; `when` is in seconds since the epoch.

    Only plain values, and builtin containers of them, are shown; of anything else the type.
    """

    target: str
    when: float
    arguments: str
    old: str
    new: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Tallied:
    """What has been counted at one moment.

    `calls` is the sum of the counts from `same` to `unrepeatable`, but for calls that are under way.  The seconds are
    those of both sides in the runs that were compared.  `stuck_seconds` is how long a run has gone on that is over
    its limit, and 0 if there is none.
    """

    calls: int
    same: int
    both_raised_alike: int
    different: int
    raised: int
    slow: int
    skipped: int
    unrepeatable: int
    old_seconds: float
    new_seconds: float
    stuck_seconds: float
    kept: tuple[Difference, ...]

    def to_dict(self) -> dict[str, object]:
        """The same for JSON."""
        return {**asdict(self), "kept": [asdict(difference) for difference in self.kept]}


class _Call(NamedTuple):
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    old: Outcome
    old_seconds: float


class Tally:
    """The count of the shadow runs of one patch, from any number of threads and event loops.

    same: equal values of one type.  both_raised_alike: equal exceptions.  raised: only the new side raised.
    different: any other difference.  slow: over the limit, so not compared.  skipped: another run was under way,
    the share was used up, or no run was possible.  unrepeatable: an argument that can be read only once.
    """

    # Statements such as ``self.calls += 1`` need no lock: CPython lets other threads and signal handlers in only at
    # calls and at jumps back, and there is none in them.

    def __init__(self) -> None:
        self.calls = self.same = self.both_raised_alike = self.different = self.raised = 0
        self.slow = self.skipped = self.unrepeatable = 0
        self.old_seconds = self.new_seconds = 0.0
        self.kept: tuple[Difference, ...] = ()
        self._lane = Lane()

    def snapshot(self) -> Tallied:
        """What has been counted until now."""
        return Tallied(
            self.calls, self.same, self.both_raised_alike, self.different, self.raised, self.slow, self.skipped,
            self.unrepeatable, self.old_seconds, self.new_seconds, self.lane().overdue(), self.kept,
        )  # fmt: skip

    def lane(self) -> Lane:
        """Where runs take place; another one once that can make none any more."""
        if self._lane.is_lost():
            self._lane = Lane()
        return self._lane


class _Run:
    """One call of which the old side has answered, and the new side is asked.  Making one needs the slot."""

    __slots__ = ("args", "began", "context", "deadline", "done", "kwargs", "lane", "mode", "new", "old", "old_seconds",
                 "open", "tally", "target")  # fmt: skip

    def __init__(self, beside: _Beside, lane: Lane, call: _Call) -> None:
        self.tally, self.mode, self.target, self.new = beside.tally, beside.mode, beside.target, beside.new
        self.lane = lane
        self.args, self.kwargs, self.old, self.old_seconds = call
        self.open = [None]  # whoever takes it out counts the run: popping is one step, also between threads
        self.done = threading.Lock()
        self.done.acquire()
        self.context = copy_context()
        self.context.run(_within.set, self.tally)
        self.began = time.monotonic()
        self.deadline = lane.deadline = self.began + self.mode.limit

    def closes(self) -> bool:
        """Whether the one who asks, and nobody else, counts the run."""
        try:
            self.open.pop()
        except IndexError:
            return False
        return True

    def left(self) -> float:
        """Seconds for which the caller may still be held up."""
        return max(0.0, self.deadline - time.monotonic())

    def make(self) -> None:
        """In the thread: call the new side, compare, count.  Never raises."""
        try:
            self.context.run(self._call)
        except BaseException:  # noqa: BLE001  # there is nobody to tell but the count
            if self.closes():
                self.tally.skipped += 1
        self.end()

    def _call(self) -> None:
        began = time.perf_counter()
        try:
            new = Outcome(self.new(*self.args, **self.kwargs))
        except BaseException as error:  # noqa: BLE001  # SystemExit too: it is no caller's
            new = Outcome(None, error)
        self.count(new, time.perf_counter() - began)
        if type(new.value) is CoroutineType:
            new.value.close()  # or it would warn that it was never awaited
        del new  # its exception knows this frame: a cycle, which would keep the arguments

    async def make_soon(self) -> None:
        """In a task: await the new side, compare, count.  Raises only :class:`KeyboardInterrupt`."""
        began = time.perf_counter()
        try:
            new = Outcome(await self.new(*self.args, **self.kwargs))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  # cancelled too: that is where the task ends
            new = Outcome(None, error)
        self.count(new, time.perf_counter() - began)
        del new  # see above

    def end(self, task: Any = None) -> None:
        """Let go of what the call was about, so that the caller is again the last who has it, and let the next in."""
        if task is not None and not task.cancelled():
            task.exception()  # or it would be logged that nobody asked
        self.args, self.kwargs, self.old = (), {}, Outcome(None)
        self.context = Context()
        self.lane.leave(time.monotonic() - self.began)
        self.done.release()

    def count(self, new: Outcome, seconds: float) -> None:
        """Compare what the new side gave and count it, unless the caller has gone on meanwhile."""
        tally, old = self.tally, self.old
        same, note = compared(old, new)
        difference = None
        if not same and len(tally.kept) < self.mode.keep:
            told = spelled_call(self.args, self.kwargs), spelled_outcome(old), spelled_outcome(new)
            difference = Difference(self.target, time.time(), *told, note)
        if not self.closes():
            return
        tally.old_seconds += self.old_seconds
        tally.new_seconds += seconds
        if same and old.error is None:
            tally.same += 1
        elif same:
            tally.both_raised_alike += 1
        elif old.error is None and new.error is not None:
            tally.raised += 1
        else:
            tally.different += 1
        if difference is not None:
            tally.kept = (*tally.kept, difference)


@dataclass(frozen=True, slots=True)
class _Beside:
    """What runs beside a function, within which bounds, and where it is counted."""

    new: FunctionType
    mode: Shadow
    tally: Tally
    target: str

    def begin(self, call: _Call) -> _Run | None:
        """A run that may be made now, its slot taken; ``None``: none, and it is counted why."""
        lane = self.tally.lane()
        if not lane.enter(self.mode):
            self.tally.skipped += 1
            return None
        try:
            if not any(map(_read_once, (*call.args, *call.kwargs.values()))):
                return _Run(self, lane, call)
        except BaseException:
            lane.leave(0.0)
            raise
        lane.leave(0.0)
        self.tally.unrepeatable += 1
        return None

    def call(self, call: _Call) -> None:
        """Have the new side of a plain function called, and wait for that within the limit."""
        try:
            run = self.begin(call)
            if run is None:
                return
            try:
                run.lane.hand_over(run.make)
            except BaseException:
                run.lane.leave(0.0)
                raise
        except Exception:  # noqa: BLE001  # no thread, memory or stack left: the caller's answer stands
            self.tally.skipped += 1
            return
        traceback = _traceback_of(call.old)
        try:
            if not run.done.acquire(timeout=run.left()) and run.closes():
                self.tally.slow += 1
        finally:
            if run.closes():  # a signal handler raised
                self.tally.skipped += 1
            _held.set(_held.get() + time.monotonic() - run.began)
            if call.old.error is not None:  # the new side may have raised the very same object
                call.old.error.__traceback__ = traceback

    async def call_soon(self, call: _Call) -> None:
        """Have the new side of a coroutine function awaited in a task, and wait for that within the limit."""
        try:
            asyncio: Any = sys.modules["asyncio"]
            caller = asyncio.current_task()  # None, or raises, under anything else that drives coroutines
            run = None if caller is None else self.begin(call)
            if run is None:
                self.tally.skipped += caller is None
                return
            # A task of its own, and no eager one: the new side's context variables stay its own, and it sees neither
            # the exception that its caller handles nor its caller's cancellation.
            made = {"loop": caller.get_loop(), "name": "livepatch-shadow", "context": run.context}
            try:
                run.lane.task = task = asyncio.Task(run.make_soon(), **made)
                task.add_done_callback(run.end)
            except BaseException:
                run.lane.leave(0.0)
                raise
        except Exception:  # noqa: BLE001  # no asyncio, no memory or stack left: the caller's answer stands
            self.tally.skipped += 1
            return
        traceback = _traceback_of(call.old)
        try:
            await asyncio.wait({task}, timeout=run.left())
            if not task.done() and run.closes():
                self.tally.slow += 1
        finally:
            if run.closes():  # the caller was cancelled
                self.tally.skipped += 1
            if not run.lane.is_lost():
                task.cancel()
            _held.set(_held.get() + time.monotonic() - run.began)
            if call.old.error is not None:  # the new side may have raised the very same object
                call.old.error.__traceback__ = traceback


def runner(old: FunctionType, new: FunctionType, mode: Shadow, tally: Tally, target: str) -> FunctionType:
    """A function ``(*args, **kwargs)`` that gives what `old` gives, runs `new` beside it and counts in `tally`.

    It returns, or raises, the very object that `old` did.  What `old` raises beyond :class:`Exception` goes through
    at once.  For coroutine functions it is a coroutine function.  Within a shadow run of the same tally it calls
    `new`, so that the functions of one patch meet each other's new sides; within that of another one, `old`.

    Raises :class:`PatchError` if the functions are of any other kind.
    """
    kinds = {kind_of(old.__code__), kind_of(new.__code__)}
    beside = _Beside(new, mode, tally, target)
    if kinds == {"function"}:
        return _plain(old, beside)
    if kinds == {"coroutine"}:
        return _coroutine(old, beside)
    raise PatchError(
        f"{target} cannot run in shadow: shadow needs functions that return once",
        found=" and ".join(sorted(kinds)),
        expected="functions, or coroutine functions",
        action="leave it out of what is declared pure, or use split",
    )


def _plain(old: FunctionType, beside: _Beside) -> FunctionType:
    new, tally = beside.new, beside.tally

    def shadowed(*args: Any, **kwargs: Any) -> Any:
        inside = _within.get()
        if inside is not None:
            return new(*args, **kwargs) if inside is tally else old(*args, **kwargs)
        held, began = _held.get(), time.perf_counter()
        try:
            value = old(*args, **kwargs)
        except Exception as error:
            seconds = time.perf_counter() - began - (_held.get() - held)
            tally.calls += 1
            beside.call(_Call(args, kwargs, Outcome(None, error), seconds))
            raise
        seconds = time.perf_counter() - began - (_held.get() - held)
        tally.calls += 1
        beside.call(_Call(args, kwargs, Outcome(value), seconds))
        return value

    assert isinstance(shadowed, FunctionType)
    return shadowed


def _coroutine(old: FunctionType, beside: _Beside) -> FunctionType:
    new, tally = beside.new, beside.tally

    async def shadowed(*args: Any, **kwargs: Any) -> Any:
        inside = _within.get()
        if inside is not None:
            return await (new(*args, **kwargs) if inside is tally else old(*args, **kwargs))
        held, began = _held.get(), time.perf_counter()
        try:
            value = await old(*args, **kwargs)
        except Exception as error:
            seconds = time.perf_counter() - began - (_held.get() - held)
            tally.calls += 1
            await beside.call_soon(_Call(args, kwargs, Outcome(None, error), seconds))
            raise
        seconds = time.perf_counter() - began - (_held.get() - held)
        tally.calls += 1
        await beside.call_soon(_Call(args, kwargs, Outcome(value), seconds))
        return value

    assert isinstance(shadowed, FunctionType)
    return shadowed


def _traceback_of(outcome: Outcome) -> TracebackType | None:
    return None if outcome.error is None else outcome.error.__traceback__


def _read_once(value: object) -> bool:
    """Whether reading it uses it up: iterators, files, streams, coroutines.  Runs none of its code."""
    kind = type(value)
    if kind is CoroutineType:
        return True
    return any("__next__" in vars(base) or "__anext__" in vars(base) for base in kind.__mro__)
