"""What switching costs as a process grows: by functions, live objects, threads, coroutines, stack depth and patches.

In processor time of the thread that switches.  Each row stands beside the first of its table: what is asked is how it
grows.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from application import installed, write_functions
from measure import Column, Row, Table, median_ratio

import livepatch

__all__ = ["tables"]

_FUNCTIONS = (1, 3, 10, 30, 100, 300)
_OBJECTS = (10_000, 100_000, 1_000_000, 3_000_000)
_THREADS = (1, 10, 100, 1_000)
_COROUTINES = (1, 10, 100, 1_000, 10_000)
_DEPTHS = (1, 10, 100, 1_000, 5_000)
_PATCHES = (1, 3, 10, 30, 100)
_ACTIONS = ("check", "apply", "revert")
_RATIO = "apply, to the first"

_WAITING = """\
import asyncio

async def waits(event):
    await event.wait()
    return 1

def deep(depth, then):
    return then() if depth <= 1 else deep(depth - 1, then)

def f0(x):
    return x
"""
_PATCH = """\
import livepatch
fix = livepatch.Patch('{distribution}', package='{distribution}', versions='==1.0')

@fix.replace('{application}:f0')
def f0(x):
    return x + 1
"""
_PATCH_OF_COROUTINES = (
    _PATCH
    + """
@fix.replace('{application}:waits')
async def waits(event):
    await event.wait()
    return 2
"""
)

Taken = dict[str, list[float]]


def _spent(action: Callable[[], Any]) -> tuple[float, Any]:
    """The processor time of this thread that it takes, in seconds, and what it gives."""
    begun = time.thread_time()
    done = action()
    return time.thread_time() - begun, done


def _cycle(patch: livepatch.Patch, taken: Taken) -> None:
    def take(name: str, action: Callable[[], Any]) -> Any:
        seconds, done = _spent(action)
        taken.setdefault(name, []).append(seconds)
        return done

    take("check", lambda: livepatch.check(patch))
    applied = take("apply", lambda: livepatch.apply(patch))
    take("revert", applied.revert)
    applied.wait(60)


def _table(title: str, what: str, measured: dict[int, Taken], note: str = "") -> Table:
    """One row for each size."""
    smallest = min(measured)
    rows = []
    for size, taken in measured.items():
        figures: dict[str, float] = {what: size}
        figures |= {f"{name} ms": statistics.median(taken[name]) * 1e3 for name in _ACTIONS}
        figures[_RATIO] = median_ratio(taken["apply"], measured[smallest]["apply"])
        rows.append(Row(f"{size:,}", figures))
    columns = [*(Column(f"{name} ms", "{:.2f}") for name in _ACTIONS), Column(_RATIO, "{:.2f}")]
    return Table(f"A switch by {title}", columns, rows, note, curve=what)


def _growing(
    sizes: tuple[int, ...], rounds: int, grown: Callable[[int], Any], patch: livepatch.Patch
) -> dict[int, Taken]:
    """Turns of cycles at each size.  `grown` is a context in which the process has that size."""
    measured: dict[int, Taken] = {size: {} for size in sizes}
    livepatch.apply(patch).revert()
    for size in sizes:
        with grown(size):
            gc.collect()
            for _ in range(rounds):
                _cycle(patch, measured[size])
    return measured


def _by_functions(sizes: tuple[int, ...], rounds: int) -> Table:
    measured: dict[int, Taken] = {}
    for size in sizes:
        with installed(**write_functions(size)) as (_, patch):
            livepatch.apply(patch.fix).revert()
            measured[size] = {}
            for _ in range(rounds):
                _cycle(patch.fix, measured[size])
    return _table("number of functions", "functions", measured)


class _Plain:
    __slots__ = ("next",)


@contextmanager
def _objects(size: int) -> Iterator[None]:
    held = [_Plain() for _ in range(size)]
    for one in held:
        one.next = held
    yield


@contextmanager
def _threads(size: int) -> Iterator[None]:
    ended = threading.Event()
    begun = [threading.Thread(target=ended.wait) for _ in range(size)]
    for each in begun:
        each.start()
    try:
        yield
    finally:
        ended.set()
        for each in begun:
            each.join()


def _simple(
    sizes: tuple[int, ...], rounds: int, grown: Callable[[int], Any], title: str, what: str, note: str
) -> Table:
    with installed(application=_WAITING, patch=_PATCH) as (_, patch):
        return _table(title, what, _growing(sizes, rounds, grown, patch.fix), note)


def _by_coroutines(sizes: tuple[int, ...], rounds: int) -> Table:
    """Tasks that wait in the function that is patched: the switch has to find each, and each keeps the old side."""
    measured: dict[int, Taken] = {size: {} for size in sizes}
    with installed(application=_WAITING, patch=_PATCH_OF_COROUTINES) as (application, patch):

        async def at(size: int) -> None:
            for _ in range(rounds):
                event = asyncio.Event()
                tasks = [asyncio.create_task(application.waits(event)) for _ in range(size)]
                await asyncio.sleep(0)
                taken = measured[size]

                async def take(name: str, action: Callable[[], Any], taken: Taken = taken) -> Any:
                    seconds, made = await asyncio.to_thread(_spent, action)
                    taken.setdefault(name, []).append(seconds)
                    return made

                await take("check", lambda: livepatch.check(patch.fix))
                applied = await take("apply", lambda: livepatch.apply(patch.fix))
                event.set()
                assert set(await asyncio.gather(*tasks)) == {1}  # they end as they began
                await asyncio.to_thread(applied.wait, 60)
                await take("revert", applied.revert)

        livepatch.apply(patch.fix).revert()
        for size in sizes:
            asyncio.run(at(size))
    note = "They wait in the function that is patched; reverted once they have ended."
    return _table("suspended coroutines", "coroutines", measured, note)


def _by_depth(sizes: tuple[int, ...], rounds: int) -> Table:
    with installed(application=_WAITING, patch=_PATCH) as (application, patch):
        livepatch.apply(patch.fix).revert()
        measured: dict[int, Taken] = {}
        for size in sizes:
            taken = measured[size] = {}
            for _ in range(rounds):
                _deep(application, size, lambda taken=taken: _cycle(patch.fix, taken))
    return _table("stack depth", "frames", measured, "Of the thread that switches.")


def _deep(application: Any, depth: int, then: Callable[[], Any]) -> None:
    """Call it so many frames deep, in a thread that has room for them."""
    before, size = sys.getrecursionlimit(), threading.stack_size()
    sys.setrecursionlimit(max(before, depth + 5_000))
    threading.stack_size(256 * 1024 * 1024)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            application.deep(depth, then)
        except BaseException as error:  # noqa: BLE001  # told where somebody sees it
            failed.append(error)

    try:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(size)
        sys.setrecursionlimit(before)
    if failed:
        raise failed[0]


def _by_patches(sizes: tuple[int, ...], rounds: int) -> Table:
    """Patches of one function that lie on each other; the cycle is that of one more."""
    most = max(sizes)
    one = "fix{i} = livepatch.Patch('{distribution}-{i}', package='{distribution}', versions='==1.0')\n\n"
    one += "@fix{i}.replace('{application}:f0')\ndef f0(x):\n    return x + {i}\n\n"
    source = "import livepatch\n" + "".join(one.replace("{i}", str(i)) for i in range(most + 1))
    measured: dict[int, Taken] = {}
    with installed(application=_WAITING, patch=source) as (_, patch), ExitStack() as stack:
        livepatch.apply(patch.fix0).revert()
        applied = 0
        for size in sizes:
            while applied < size:
                made = livepatch.apply(getattr(patch, f"fix{applied}"))
                stack.callback(made.revert)
                applied += 1
            measured[size] = {}
            for _ in range(rounds):
                _cycle(getattr(patch, f"fix{most}"), measured[size])
    return _table("patches stacked", "patches", measured, "Of one function; what is switched is one more on top.")


def tables(*, quick: bool = False) -> Iterator[Table]:
    """A table for each of the six."""
    rounds = 3 if quick else 9

    def some(sizes: tuple[int, ...]) -> tuple[int, ...]:
        return sizes[:3] if quick else sizes

    yield _by_functions(some(_FUNCTIONS), rounds)
    note = "Of a class of their own, which nothing of the patch is about."
    yield _simple(some(_OBJECTS), rounds, _objects, "live objects", "objects", note)
    note = "They wait for an event."
    yield _simple(some(_THREADS), rounds, _threads, "threads", "threads", note)
    yield _by_coroutines(some(_COROUTINES), rounds)
    yield _by_depth(some(_DEPTHS), rounds)
    yield _by_patches(some(_PATCHES), rounds)
