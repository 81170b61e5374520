"""What switching costs: the stores of a patch beside a bare C-level loop, and the whole of check, apply and revert."""

from __future__ import annotations

import collections
import gc
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from types import CodeType, FunctionType, ModuleType
from typing import Any
from unittest import mock

from application import installed, write_functions
from measure import Bar, Column, Row, Table, median_ratio

import livepatch
from livepatch.compat import checks
from livepatch.engine import plan, survey, transition
from livepatch.engine.commit import commit, slot_of
from livepatch.engine.stack import Write

__all__ = ["tables"]

_MOST_STORES = 500
_MOST_US = 100.0
_MOST_RATIO = 2.0
_CURVE = (1, 10, 100, 500)
_CHECKED = 20

# Where one apply() spends its time: the functions in it that are timed.
_PARTS: dict[str, Callable[..., Any]] = {
    "survey": survey.survey,
    "judge": checks.judge,
    "plan": plan.plan,
    "switch": transition.switch,
}


class Believed:
    """Stands where the engine keeps its record of the stack in force."""

    stack: object = None


@contextmanager
def _application(count: int) -> Iterator[tuple[list[FunctionType], livepatch.Patch]]:
    """An application of `count` functions and a patch for all of them."""
    with installed(**write_functions(count)) as (application, patch):
        yield [getattr(application, f"f{i}") for i in range(count)], patch.fix


def _bare_loop(functions: Sequence[FunctionType], codes: Sequence[CodeType]) -> float:
    """Seconds for the stores alone, as plainly as the interpreter can do them without running bytecode in between."""
    names = ["__code__"] * len(functions)
    gc.disable()  # as commit() does where a collection could run inside
    begun = time.perf_counter()
    collections.deque(map(setattr, functions, names, codes), maxlen=0)
    took = time.perf_counter() - begun
    gc.enable()
    return took


def _python_loop(functions: Sequence[FunctionType], codes: Sequence[CodeType]) -> float:
    begun = time.perf_counter()
    for function, code in zip(functions, codes, strict=True):
        function.__code__ = code
    return time.perf_counter() - begun


def _stores(rounds: int) -> Table:
    """The stores of a large patch, as apply() reports them and with all of commit() around them."""
    bare, python, reported, committed = [], [], [], []
    with _application(_MOST_STORES) as (functions, patch):
        old = [function.__code__ for function in functions]
        livepatch.apply(patch).revert()
        for _ in range(rounds):
            applied = livepatch.apply(patch, consistency="immediate")  # by the stores alone
            reported.append(applied.switch_seconds)
            new = [function.__code__ for function in functions]
            applied.revert()
            bare.append(_bare_loop(functions, new))
            _bare_loop(functions, old)
            python.append(_python_loop(functions, new))
            _python_loop(functions, old)
            slots = [slot_of(function, "__code__") for function in functions]
            forth = [Write(slot, a, b) for slot, a, b in zip(slots, old, new, strict=True)]
            back = [Write(slot, b, a) for slot, a, b in zip(slots, old, new, strict=True)]
            begun = time.perf_counter()
            commit(forth, (Believed(), "stack", None))
            committed.append(time.perf_counter() - begun)
            commit(back, (Believed(), "stack", None))
        assert all(function.__code__ is code for function, code in zip(functions, old, strict=True))
    us, ratio = "µs", "to bare loop"

    def row(name: str, seconds: list[float], bar: Bar | None = None) -> Row:
        return Row(name, {us: statistics.median(seconds) * 1e6, ratio: median_ratio(seconds, bare)}, bar)

    return Table(
        f"The stores of a patch of {_MOST_STORES} functions",
        (Column(us, "{:.1f}"), Column(ratio, "{:.2f}")),
        (
            row("bare deque(map(setattr, …))", bare),
            row("Applied.switch_seconds", reported, Bar(ratio, _MOST_RATIO)),
            row("Applied.switch_seconds, absolute", reported, Bar(us, _MOST_US)),
            row("commit(), preparation of its stores included", committed),
            row("Python `for` loop, which others see half done", python),
        ),
    )


@contextmanager
def _parts_timed(spent: dict[str, float]) -> Iterator[None]:
    """Add up, in `spent`, the seconds within each part, under whatever name one of our modules calls it."""
    ours = [module for name, module in sys.modules.items() if name.startswith("livepatch.")]

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[part] = spent.get(part, 0.0) + time.perf_counter() - begun

        return call

    with ExitStack() as stack:
        for part, function in _PARTS.items():
            stopwatch = timed(part, function)
            for module, name in [(m, n) for m in ours for n, value in vars(m).items() if value is function]:
                stack.enter_context(mock.patch.object(module, name, stopwatch))
        yield


def _spend(action: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    result = action()
    return time.perf_counter() - begun, result


def _parts(rounds: int) -> Table:
    whole: list[float] = []
    parts: dict[str, list[float]] = {part: [] for part in _PARTS}
    with _application(_MOST_STORES) as (_, patch):
        livepatch.apply(patch).revert()
        for _ in range(rounds):
            spent: dict[str, float] = {}
            with _parts_timed(spent):
                took, applied = _spend(lambda: livepatch.apply(patch))
            applied.revert()
            whole.append(took)
            for part, seconds in parts.items():
                seconds.append(spent.get(part, 0.0))
    rest = [total - sum(parts[part][i] for part in parts) for i, total in enumerate(whole)]
    rows = [
        Row(name, {"ms": statistics.median(taken) * 1e3, "share": median_ratio(taken, whole)})
        for name, taken in {**parts, "the rest": rest, "apply()": whole}.items()
    ]
    return Table(
        f"Where apply() of a patch of {_MOST_STORES} functions spends its time",
        (Column("ms", "{:.2f}"), Column("share", "{:.1%}")),
        rows,
        "survey: targets found, new sides compiled, other holders searched. judge: the findings. plan: the writes.\n"
        "switch: the writes made.",
    )


def _compiling(patch_source: str) -> float:
    return _spend(lambda: compile(patch_source, "<patch>", "exec"))[0]


def _curve(rounds: int) -> Table:
    """How the whole cycle grows with the number of functions."""
    rows = []
    for count in _CURVE:
        taken: dict[str, list[float]] = {}
        with _application(count) as (_, patch):
            livepatch.apply(patch).revert()
            for _ in range(rounds):
                _cycle(patch, taken)
        figures = {f"{name} ms": statistics.median(seconds) * 1e3 for name, seconds in taken.items()}
        figures["apply, each"] = figures["apply ms"] / count
        rows.append(Row(f"{count} function{'s' * (count > 1)}", figures))
    ms = [Column(f"{name} ms", "{:.2f}") for name in ("check", "apply", "off", "on", "revert")]
    return Table(
        "The whole cycle by number of functions, on the caller's clock",
        (*ms, Column("apply, each", "{:.2f}")),
        rows,
        f"{_modules()} modules in the process; check() looks for callers in them, and apply() for copies.",
    )


def _cycle(patch: livepatch.Patch, taken: dict[str, list[float]]) -> None:
    def take(name: str, action: Callable[[], Any]) -> Any:
        seconds, result = _spend(action)
        taken.setdefault(name, []).append(seconds)
        return result

    take("check", lambda: livepatch.check(patch))
    applied = take("apply", lambda: livepatch.apply(patch))
    take("off", lambda: setattr(applied, "mode", "off"))
    take("on", lambda: setattr(applied, "mode", "on"))
    take("revert", applied.revert)


def _modules() -> int:
    return sum(isinstance(module, ModuleType) for module in sys.modules.values())


def _checking(rounds: int) -> Table:
    """check() of a patch of ordinary size, beside compiling its source, which no check can do without."""
    checked, compiled = [], []
    with _application(_CHECKED) as (_, patch):
        source = write_functions(_CHECKED)["patch"]
        livepatch.check(patch)
        for _ in range(rounds):
            checked.append(_spend(lambda: livepatch.check(patch))[0])
            compiled.append(_compiling(source))
    return Table(
        f"check() of a patch of {_CHECKED} functions",
        (Column("ms", "{:.2f}"), Column("to compile()", "{:.1f}")),
        [
            Row(name, {"ms": statistics.median(seconds) * 1e3, "to compile()": median_ratio(seconds, compiled)})
            for name, seconds in {"check()": checked, "compile() of the patch's source": compiled}.items()
        ],
    )


def _longest_wait(action: Callable[[], Any]) -> float:
    """The longest time, in seconds, that another thread, which only wants to run, was kept from it during `action`."""
    waits = [0.0]
    done = threading.Event()

    def run() -> None:
        last = time.perf_counter()
        while not done.is_set():
            time.sleep(0)
            now = time.perf_counter()
            waits.append(now - last)
            last = now

    other = threading.Thread(target=run)
    other.start()
    time.sleep(0.005)
    waits.clear()
    try:
        action()
    finally:
        done.set()
        other.join()
    return max(waits)


def _there_and_back(patch: livepatch.Patch) -> None:
    livepatch.apply(patch).revert()


def _count_for(seconds: float) -> None:
    end = time.perf_counter() + seconds
    count = 0
    while time.perf_counter() < end:
        count += 1


def _waits(rounds: int) -> Table:
    """What other threads feel: they share the interpreter with apply() as with any thread that computes."""
    to_busy = "to busy thread"
    rows = []
    for count in (_CHECKED, _MOST_STORES):
        busy, checked, applied, reverted = [], [], [], []
        with _application(count) as (_, patch):
            seconds = _spend(partial(_there_and_back, patch))[0]
            for _ in range(rounds):
                busy.append(_longest_wait(partial(_count_for, seconds)))
                checked.append(_longest_wait(partial(livepatch.check, patch)))
                applied.append(_longest_wait(partial(livepatch.apply, patch)))
                reverted.append(_longest_wait(partial(livepatch.revert, patch.id)))
        parts = {"check()": checked, "apply()": applied, "revert()": reverted, "a thread that counts": busy}
        rows += [
            Row(
                f"{name}, {count} functions" if waits is not busy else f"{name} for as long",
                {"ms": statistics.median(waits) * 1e3, to_busy: median_ratio(waits, busy)},
            )
            for name, waits in parts.items()
        ]
    return Table(
        "The longest that another thread waits for the interpreter meanwhile",
        (Column("ms", "{:.1f}"), Column(to_busy, "{:.2f}")),
        rows,
        f"The interpreter takes turns every {sys.getswitchinterval() * 1e3:g} ms.",
    )


def tables(*, quick: bool = False) -> Iterator[Table]:
    rounds = 3 if quick else 15
    yield _stores(rounds)
    yield _parts(rounds)
    yield _curve(rounds)
    yield _checking(rounds)
    yield _waits(rounds)
