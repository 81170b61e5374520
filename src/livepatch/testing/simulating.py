"""Callers on threads and in tasks while a patch goes in and out: did any of them see both of its sides?

A caller is asked once without the patch and once with it, before anything else.  From then on each of its answers must
be one of the two; a third one is a mixture, or an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from livepatch.engine.comparing import Outcome
from livepatch.engine.pace import resting
from livepatch.engine.units import unit_of_work
from livepatch.errors import ExpectationError, LivepatchError, PatchError, counted, spelled
from livepatch.patch import Patch
from livepatch.process.arguments import check_seconds
from livepatch.testing.guard import Guard
from livepatch.testing.probing import alike, check_probe, steady_answer, told, without_frames

__all__ = ["Callers", "Odd", "Simulated", "named_callers", "simulate"]

Callers = Callable[[], object] | Iterable[Callable[[], object]] | Mapping[str, Callable[[], object]]

_KEPT = 20  # odd answers that are told


@dataclass(frozen=True, slots=True, kw_only=True)
class Odd:
    """An answer that neither side gives: of which caller, where it ran, what it was, and what it should have been."""

    caller: str
    where: str
    answer: str
    off: str
    on: str

    def __str__(self) -> str:
        return f"{self.caller} ({self.where}): {self.answer}, neither {self.off} nor {self.on}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """What callers were answered while a patch went in and out `switches` times.  True if all was well.

    `calls` is how many calls each caller made on either side, without the patch and with it.  `mixed` is how many
    answers were values of neither side, `raised` how many were exceptions of neither; `odd` tells the first of them.
    `unmet` names the callers that were not answered by both sides, `troubles` what could not be switched, did not end,
    or is not as it was before.
    """

    patch: str
    switches: int
    calls: Mapping[str, tuple[int, int]]
    mixed: int
    raised: int
    odd: tuple[Odd, ...]
    unmet: tuple[str, ...]
    troubles: tuple[str, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Every caller was answered by both sides, none by anything else, and all is as it was before."""
        return not (self.mixed or self.raised or self.unmet or self.troubles) and bool(self.calls)

    def __bool__(self) -> bool:
        return self.ok

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, fit for JSON."""
        return {**asdict(self), "calls": {name: list(sides) for name, sides in self.calls.items()}, "ok": self.ok}

    def __str__(self) -> str:
        total = sum(off + on for off, on in self.calls.values())
        told = (
            f"{self.patch}: {counted(self.switches, 'switch').replace('switchs', 'switches')}, {counted(total, 'call')}"
            f", {self.mixed} mixed, {self.raised} raised"
        )
        rows = [*map(str, self.odd), *(f"{name} was not answered by both sides" for name in self.unmet)]
        return "\n  ".join([told, *rows, *self.troubles])


def named_callers(callers: Callers) -> dict[str, Callable[[], object]]:
    """The callers by name.  Raises :class:`TypeError`, and :class:`PatchError` if there is none."""
    if callable(callers):
        callers = [callers]
    if isinstance(callers, Mapping):
        named = dict(callers)
    elif isinstance(callers, Iterable):
        every = list(callers)
        named = {}
        for each in every:
            name = getattr(each, "__qualname__", type(each).__qualname__)
            named[name if name not in named else f"{name} {len(named) + 1}"] = each
    else:
        raise TypeError(f"callers must be functions without parameters, not {spelled(callers)}")
    for caller in named.values():
        check_probe("callers", caller)
    if not named:
        raise PatchError(
            "nobody calls",
            found="no caller",
            expected="at least one function that calls what the patch changes",
            action="pass callers=",
        )
    return named


def simulate(
    patch: Patch,
    *,
    callers: Callers,
    threads: int = 4,
    tasks: int = 4,
    switches: int = 20,
    timeout: float = 30.0,
    units: bool = True,
    **options: Any,
) -> Simulated:
    """Let `callers` call on `threads` threads, and in `tasks` asyncio tasks of one more, while the patch is switched.

    A caller takes nothing and returns plain values, or raises; a coroutine function runs in the tasks only.  It is one
    unit of work, so that all that it calls must be of one side; without `units`, only what is in one call chain must.
    `callers` is one, several, or a mapping from names.  The patch goes in, off, on and out, `switches` steps in all,
    and after each until every caller was answered by the side that is live; all that within `timeout` seconds.
    `options` are those of :func:`livepatch.apply`.

    Raises :class:`ExpectationError` if a caller cannot tell the sides apart, whatever `apply` raises before there is
    load, and :class:`TypeError` or :class:`PatchError` for a wrong argument.  The patch is taken out.
    """
    named = named_callers(callers)
    numbers = {"threads": threads, "tasks": tasks, "switches": switches}
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(f"{name} must be an int, not {spelled(number)}")
    check_seconds("timeout", timeout)
    asynchronous = {name for name, caller in named.items() if inspect.iscoroutinefunction(caller)}
    if min(numbers.values()) < 0 or switches < 2 or not (threads or tasks) or (asynchronous and not tasks):
        raise PatchError(
            "a simulation without load or without switches",
            found=", ".join(f"{name}={number}" for name, number in numbers.items()),
            expected="threads or tasks, tasks for coroutine functions, and 2 switches or more",
            action="pass other numbers",
        )
    if not threads or asynchronous == named.keys():
        threads = 0  # nothing for them to call
    load = _Load(patch, named, units=units)
    load.learn(options)
    begun = time.monotonic()
    with resting(0):
        made, troubles = load.run(threads, tasks, switches, begun + timeout, options)
    return load.result(made, troubles, time.monotonic() - begun)


@dataclass(slots=True)
class _Tally:
    off: int = 0
    on: int = 0


@dataclass(slots=True)
class _Load:
    """The callers at work, and what they were answered."""

    patch: Patch
    callers: dict[str, Callable[[], object]]
    units: bool
    answers: dict[str, tuple[Outcome, Outcome]] = field(default_factory=dict)
    tallies: dict[str, _Tally] = field(default_factory=dict)
    odd: list[Odd] = field(default_factory=list)
    mixed: int = 0
    raised: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def learn(self, options: dict[str, Any]) -> None:
        """Ask each caller once on either side, in peace."""
        off = {name: steady_answer(caller, name) for name, caller in self.callers.items()}
        with Guard() as guard:
            guard.apply(self.patch, **options)
            on = {name: steady_answer(caller, name) for name, caller in self.callers.items()}
        for name in self.callers:
            if alike(off[name], on[name]):
                raise ExpectationError(
                    f"caller {name} does not notice {self.patch.id}",
                    found=f"{told(off[name])} without it and with it",
                    expected="another answer with the patch, so that it can be told which side answered",
                    action="let it call what the patch changes, and return what that gives",
                )
            self.answers[name] = off[name], on[name]
            self.tallies[name] = _Tally()

    def run(
        self, threads: int, tasks: int, switches: int, until: float, options: dict[str, Any]
    ) -> tuple[int, list[str]]:
        """Switch under load; give how often, and what went wrong with it."""
        workers = [threading.Thread(target=self._on_thread, args=(i,), daemon=True) for i in range(threads)]
        if tasks:
            workers.append(threading.Thread(target=self._in_tasks, args=(tasks,), daemon=True))
        guard = Guard()
        troubles: list[str] = []
        made = 0
        for worker in workers:
            worker.start()
        try:
            for made in range(1, switches + 1):
                # In, off, on, out; the last one is out.
                step = made % 4 if made < switches else 0
                self._switch(guard, step, options)
                if not self._wait_for_answers(live=step in (1, 3), until=until):
                    break
        except LivepatchError as error:
            troubles.append(f"switch {made}: {error}")
        finally:
            self.over.set()
            for worker in workers:
                worker.join(max(until - time.monotonic(), 1.0))
        troubles += [f"{worker.name} does not end" for worker in workers if worker.is_alive()]
        return made, [*troubles, *guard.finish()]

    def _switch(self, guard: Guard, step: int, options: dict[str, Any]) -> None:
        applied = {each.id for each in guard.status()}
        if self.patch.id not in applied:
            if step in (1, 3):
                guard.apply(self.patch, **options)
        elif step == 0:
            guard.revert(self.patch.id)
        else:
            guard.flags[self.patch.flag] = "on" if step in (1, 3) else "off"

    def _wait_for_answers(self, *, live: bool, until: float) -> bool:
        """Wait until each caller was answered by the side that is live now; say whether that was in time."""
        side = "on" if live else "off"
        before = {name: getattr(tally, side) for name, tally in self.tallies.items()}
        while any(getattr(self.tallies[name], side) == count for name, count in before.items()):
            if time.monotonic() > until:
                return False
            time.sleep(0.0005)
        return True

    def _unit(self) -> contextlib.AbstractContextManager[object]:
        return unit_of_work() if self.units else contextlib.nullcontext()

    def _on_thread(self, number: int) -> None:
        names = [name for name, caller in self.callers.items() if not inspect.iscoroutinefunction(caller)]
        while not self.over.is_set():
            name = names[number % len(names)]
            number += 1
            try:
                with self._unit():
                    outcome = Outcome(self.callers[name]())
            except Exception as error:  # noqa: BLE001  # what it raises is its answer
                outcome = Outcome(None, without_frames(error))
            self._note(name, threading.current_thread().name, outcome)
            time.sleep(0)

    def _in_tasks(self, tasks: int) -> None:
        asyncio.run(self._all_tasks(tasks))

    async def _all_tasks(self, tasks: int) -> None:
        await asyncio.gather(*(self._in_task(number) for number in range(tasks)))

    async def _in_task(self, number: int) -> None:
        names = list(self.callers)
        where = f"task {number + 1}"
        while not self.over.is_set():
            name = names[number % len(names)]
            number += 1
            try:
                with self._unit():
                    value = self.callers[name]()
                    outcome = Outcome(await value if inspect.iscoroutine(value) else value)
            except Exception as error:  # noqa: BLE001  # likewise
                outcome = Outcome(None, without_frames(error))
            self._note(name, where, outcome)
            await asyncio.sleep(0)

    def _note(self, name: str, where: str, outcome: Outcome) -> None:
        off, on = self.answers[name]
        is_off = alike(outcome, off)
        is_on = not is_off and alike(outcome, on)
        with self.lock:
            if is_off:
                self.tallies[name].off += 1
            elif is_on:
                self.tallies[name].on += 1
            else:
                self.mixed += outcome.error is None
                self.raised += outcome.error is not None
                if len(self.odd) < _KEPT:
                    answers = (told(each) for each in (outcome, off, on))
                    self.odd.append(
                        Odd(caller=name, where=where, **dict(zip(("answer", "off", "on"), answers, strict=True)))
                    )

    def result(self, made: int, troubles: list[str], seconds: float) -> Simulated:
        """What came of it."""
        calls = {name: (tally.off, tally.on) for name, tally in self.tallies.items()}
        return Simulated(
            patch=self.patch.id,
            switches=made,
            calls=calls,
            mixed=self.mixed,
            raised=self.raised,
            odd=tuple(self.odd),
            unmet=tuple(name for name, sides in calls.items() if not all(sides)),
            troubles=tuple(troubles),
            seconds=seconds,
        )
