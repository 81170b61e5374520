"""How long a switch holds other threads up: gaps in a thread that only spins, beside the same without a switch."""

from __future__ import annotations

import gc
import math
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest import mock

from application import installed
from measure import Bar, Column, Row, Table

import livepatch
from livepatch.engine import pace

__all__ = ["tables"]

_FUNCTIONS = 100
_P99_MS = 1.0
_WORST_MS = 5.0
_GAP_NS = 50_000
_HEAPS = (0, 500_000, 2_000_000)


# The application: a module of some 1,500 lines

_HEAD = '''\
"""Made for a benchmark: the size and the habits of an ordinary module."""

from __future__ import annotations

import collections
import functools
import json
import logging
import os.path
from dataclasses import dataclass, field

log = logging.getLogger(__name__)
LIMIT = 4096
'''

_BODIES = (
    '''\
def {name}({self}transaction, *, limit=LIMIT):
    """Take a transaction in, unless it is larger than the limit."""
    size = len(transaction)
    if size > limit:
        log.debug("refused %d bytes, more than %d", size, limit)
        raise ValueError(f"{{size}} bytes in {name}, at most {{limit}}")
    return {number}, size
''',
    """\
def {name}({self}peers, default=None):
    # The longest list first: it is the one that is worth sending.
    best = collections.OrderedDict()
    for peer, blocks in sorted(peers.items(), key=lambda item: -len(item[1])):
        try:
            best[peer] = [block for block in blocks if block is not default]
        except TypeError:
            log.warning("peer %r sent %r", peer, blocks)
            continue
        else:
            if len(best) >= {number} + 1:
                break
    return best or default
""",
    '''\
def {name}({self}text, retries=3, timeout=1.5):
    """What a message says.

    More than one line of it may be broken.
    """
    found = {{}}
    while retries:
        retries -= 1
        with memoryview(text.encode()) as view:
            for i, byte in enumerate(view):
                found.setdefault(byte % 16, set()).add(i + {number})
        if sum(len(places) for places in found.values()) > timeout:
            return json.dumps({{str(key): sorted(value) for key, value in found.items()}})
    return os.path.join("{name}", *map(str, found))
''',
    """\
def {name}({self}*hashes, start=0):
    total = start
    for one in hashes:
        total = (total * 31 + hash(one) + {number}) & 0xFFFFFFFF
    yield total
""",
    """\
def {name}({self}key, value=None, *rest, options=()):
    def checked(other):
        if other is None or other == {number}:
            return dict(options).get("fallback", value)
        return other
    if rest:
        return [checked(each) for each in (value, *rest)]
    message = "%s of {name}" % (key,)
    return {{"key": key, "value": checked(value), "message": message,
            "options": dict(sorted(options))}}
""",
)

_CLASS = '''\
@dataclass
class {name}:
    """A room of ten methods."""

    held: list = field(default_factory=list)
'''


def _write(count: int) -> dict[str, str]:
    """An application of three times `count` functions, and a patch ``fix`` that replaces a third of them."""
    old: list[str] = [_HEAD]
    new: list[str] = [
        _HEAD.replace("LIMIT = 4096", "from {application} import LIMIT, log as log"),
        "import livepatch\nfix = livepatch.Patch('{distribution}', package='{distribution}', versions='==1.0')\n",
    ]
    for i in range(count * 3 // 2):
        cls = f"Room{i // 10}" if i % 20 >= 10 else ""
        if cls and i % 10 == 0:
            old.append(_CLASS.format(name=cls))
        text = _BODIES[i % len(_BODIES)]
        old.append(_indented(text.format(name=f"f{i}", self="self, " * bool(cls), number=i), cls))
        if i % 3 != 2:
            body = text.format(name=f"f{i}", self="self, " * bool(cls), number=i + 1_000)
            new.append(f"@fix.replace('{{application}}:{cls}{'.' * bool(cls)}f{i}')\n{body}")
    return {"application": "\n".join(old), "patch": "\n\n".join(new)}


def _indented(text: str, cls: str) -> str:
    return "".join(f"    {line}" if cls and line.strip() else line for line in text.splitlines(keepends=True))


@contextmanager
def _heap(objects: int) -> Iterator[None]:
    """A heap with so many more objects that the collector knows."""
    held = [[i] for i in range(objects)]
    yield
    del held


# The gaps


@dataclass(slots=True)
class _Gaps:
    """Times, in nanoseconds, for which a spinning thread stood still, in so many nanoseconds altogether.

    `held` are those for which the calling thread held it up: the processor time that this used meanwhile.
    """

    each: list[int]
    whole: int
    held: list[int] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """The gap, in ms, than which so great a share of the gaps is no longer."""
        return _percentile(self.each, share)

    def held_up(self, share: float) -> float:
        """The time, in ms, than which so great a share of the gaps is not longer for the caller's sake."""
        return _percentile(self.held, share)

    def weighted(self, share: float) -> float:
        """The gap, in ms, than which no longer one is met in so great a share of the time."""
        left = self.whole * (1 - share)
        for gap in sorted(self.each, reverse=True):
            left -= gap
            if left < 0:
                return gap / 1e6
        return 0.0


def _percentile(values: Sequence[int], share: float) -> float:
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)] / 1e6 if ordered else 0.0


def _gaps_during(action: Callable[[], object]) -> _Gaps:
    gaps: list[int] = []
    held: list[int] = []
    going = [True]
    clock, of = time.perf_counter_ns, time.clock_gettime_ns
    caller = time.pthread_getcpuclockid(threading.get_ident())

    def spin() -> None:
        last, used = clock(), of(caller)
        while going:
            now = clock()
            if now - last >= _GAP_NS:
                gaps.append(now - last)
                held.append(of(caller) - used)
                now = clock()
            last, used = now, of(caller)

    gc.collect()  # what the application's import has left to collect is not the switch's
    spinner = threading.Thread(target=spin)
    spinner.start()
    time.sleep(0.02)
    gaps.clear()
    held.clear()
    begun = clock()
    try:
        action()
    finally:
        whole, mine = clock() - begun, len(gaps)
        going.clear()
        spinner.join()
    return _Gaps(gaps[: mine + 1], whole, held[: mine + 1])  # the gap that ends with the action is noted after it


def _steps_of(action: Callable[[], object]) -> _Gaps:
    """What `action` does between two breaths, on the clock of its own thread: the gaps without the machine's noise."""
    steps: list[int] = []
    seconds = time.thread_time

    def note(_: float = 0.0) -> None:
        steps.append(round((seconds() - pace._last[0]) * 1e9))
        pace._last[0] = seconds()

    gc.collect()
    with (
        mock.patch.object(pace, "REST", 0.0),
        mock.patch.object(pace, "is_alone", return_value=False),  # breathe, as it does beside others
        mock.patch.object(pace, "_clock", seconds),
        mock.patch.object(pace, "_last", [seconds()]),
        mock.patch.object(pace, "time", SimpleNamespace(sleep=note)),
    ):
        action()
        note()
    return _Gaps(steps, sum(steps))


def _steps(rounds: int) -> Table:
    during: dict[str, list[_Gaps]] = {}
    for _ in range(rounds):
        with installed(**_write(_FUNCTIONS)) as (_, patch):
            during.setdefault("check()", []).append(_steps_of(partial(livepatch.check, patch.fix)))
            during.setdefault("apply()", []).append(_steps_of(partial(livepatch.apply, patch.fix)))
            during.setdefault("revert()", []).append(_steps_of(partial(livepatch.revert, patch.fix.id)))
    return Table(
        f"Steps of a patch of {_FUNCTIONS} functions between two breaths, in processor time",
        _STEP_COLUMNS,
        [row for name, each in during.items() for row in _rows_of_steps(name, each)],
        "What other threads are held up by, on whatever machine.  A revert has few steps: its p99 is its worst.",
    )


def _rows_of_steps(name: str, rounds: Sequence[_Gaps]) -> Iterator[Row]:
    steps = _Gaps([step for each in rounds for step in each.each], sum(each.whole for each in rounds))
    figures = {
        "steps": len(steps.each) / len(rounds),
        "p50 ms": steps.percentile(0.5),
        "p99 ms": steps.percentile(0.99),
        "worst ms": steps.percentile(1),
        "took ms": statistics.median(each.whole for each in rounds) / 1e6,
    }
    yield Row(name, figures, Bar("p99 ms", _P99_MS))
    median = statistics.median(each.percentile(1) for each in rounds)
    yield Row(f"{name}, the worst of a round", {"worst ms": median}, Bar("worst ms", _WORST_MS))


def _count_for(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


_STEP_COLUMNS = (
    Column("steps", "{:.0f}"),
    Column("p50 ms", "{:.2f}"),
    Column("p99 ms", "{:.2f}"),
    Column("worst ms", "{:.2f}"),
    Column("took ms", "{:.0f}"),
)
_COLUMNS = (
    Column("gaps", "{:.0f}"),
    Column("p50 ms", "{:.2f}"),
    Column("p99 ms", "{:.2f}"),
    Column("worst ms", "{:.2f}"),
    Column("p99 of time", "{:.2f}"),
    Column("held p99", "{:.2f}"),
    Column("held worst", "{:.2f}"),
    Column("took ms", "{:.0f}"),
)


def _rows(name: str, rounds: Sequence[_Gaps], *, barred: bool = False) -> Iterator[Row]:
    """The gaps of all rounds together; the worst of every round is in the worst of all."""
    gaps = _Gaps(
        [gap for each in rounds for gap in each.each],
        sum(each.whole for each in rounds),
        [held for each in rounds for held in each.held],
    )
    figures = {
        "gaps": len(gaps.each) / len(rounds),
        "p50 ms": gaps.percentile(0.5),
        "p99 ms": gaps.percentile(0.99),
        "worst ms": gaps.percentile(1),
        "p99 of time": gaps.weighted(0.99),
        "held p99": gaps.held_up(0.99),
        "held worst": gaps.held_up(1),
        "took ms": statistics.median(each.whole for each in rounds) / 1e6,
    }
    yield Row(name, figures, Bar("held p99", _P99_MS) if barred else None)
    if barred:
        median = statistics.median(each.held_up(1) for each in rounds)
        yield Row(f"{name}, the worst of a round", {"held worst": median}, Bar("held worst", _WORST_MS))


def _during(objects: int, rounds: int) -> Table:
    """Gaps during each call of a cycle; every round has an application and a patch that were never seen before."""
    during: dict[str, list[_Gaps]] = {}
    lines = blocks = 0
    with _heap(objects):
        blocks = sys.getallocatedblocks()
        for _ in range(rounds):
            with installed(**_write(_FUNCTIONS)) as (application, patch):
                lines = _lines(application)
                during.setdefault("check()", []).append(_gaps_during(partial(livepatch.check, patch.fix)))
                applied = _gaps_during(partial(livepatch.apply, patch.fix))
                during.setdefault("apply()", []).append(applied)
                during.setdefault("revert()", []).append(_gaps_during(partial(livepatch.revert, patch.fix.id)))
            seconds = applied.whole / 1e9
            during.setdefault("no call at all, for as long", []).append(_gaps_during(partial(time.sleep, seconds)))
            during.setdefault("a thread that counts, for as long", []).append(
                _gaps_during(partial(_count_for, seconds))
            )
    return Table(
        f"Gaps of a spinning thread beside a patch of {_FUNCTIONS} functions, with {blocks:,} blocks in the heap",
        _COLUMNS,
        [row for name, each in during.items() for row in _rows(name, each, barred="()" in name)],
        f"The application has {lines:,} lines.  Gaps of {_GAP_NS / 1e3:g} µs and more, of {rounds} rounds together.\n"
        "held: the processor time that the caller used in a gap; the rest of it is the machine's doing, and where\n"
        "other processes keep the spinning thread from running, several steps fall into one gap.\n"
        "p99 of time: no longer gap is met in 99 % of the time.  Most of what a call takes are\n"
        "its rests: beside a thread that works it rests many times as long as it works itself.",
    )


def _lines(module: ModuleType) -> int:
    assert module.__file__ is not None
    return len(Path(module.__file__).read_text(encoding="utf-8").splitlines())


def _first() -> str:
    """The first apply of a process: it also loads what livepatch imports on first use."""
    return f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\nimport bench_pauses\nbench_pauses.first()"


def first() -> None:
    """Print the gaps of one apply in a fresh process."""
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with installed(**_write(_FUNCTIONS)) as (_, patch):
        gaps = _gaps_during(lambda: livepatch.apply(patch.fix))
        print(gaps.whole, *gaps.each)
        print(*gaps.held)


def _in_fresh_processes(rounds: int) -> Table:
    found = []
    for _ in range(rounds):
        done = subprocess.run([sys.executable, "-c", _first()], check=True, capture_output=True, text=True)
        each, held = (list(map(int, line.split())) for line in done.stdout.splitlines())
        found.append(_Gaps(each[1:], each[0], held))
    return Table("The first apply of each of as many fresh processes", _COLUMNS, list(_rows("apply()", found)))


def tables(*, quick: bool = False) -> Iterator[Table]:
    rounds, beside = (2, 1) if quick else (7, 3)  # beside a thread that works each takes the longest rests there are
    heaps = _HEAPS[:2] if quick else _HEAPS
    with installed(**_write(_FUNCTIONS)) as (_, patch):
        livepatch.apply(patch.fix).revert()  # loads what is imported on first use
    yield _steps(rounds)
    for objects in heaps:
        yield _during(objects, beside)
    yield _in_fresh_processes(beside)
