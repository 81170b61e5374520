"""A switch where there is no room for it: too deep a stack, too little memory.  It is made, or nothing has changed."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from livepatch.errors import LivepatchError
from livepatch.patch import Patch
from livepatch.testing.children import in_child
from livepatch.testing.guard import Guard
from livepatch.testing.probing import without_frames

__all__ = ["little_memory", "low_stack"]

_ROOM = (12, 25, 50, 100, 200, 400)  # frames that are left when the switch begins
_SPARE = (0, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26)  # bytes that may be had beside those that the process has


def low_stack(patch: Patch, options: dict[str, Any]) -> tuple[str, int]:
    """Apply and revert just below the recursion limit; what was wrong then, and how often it was refused."""
    refused = 0
    for room in _ROOM:
        wrong, was_refused = _with_room(room, patch, options)
        refused += was_refused
        if wrong:
            return f"with {room} frames left: {wrong}", refused
    return "", refused


def _with_room(room: int, patch: Patch, options: dict[str, Any]) -> tuple[str, bool]:
    guard = Guard()
    guard.before_apply(patch)
    depth = sys.getrecursionlimit() - room
    error = _at_depth(depth, lambda: guard.apply(patch, **options))
    changed = guard.differences() if error is not None else ()
    back = _at_depth(depth, lambda: guard.revert(patch.id)) if error is None else None
    troubles = guard.finish()
    for each in (error, back):
        if each is not None and not isinstance(each, (RecursionError, LivepatchError)):
            return f"{type(each).__qualname__}: {each}", True
    return next(iter((*changed, *troubles)), ""), (error or back) is not None


def _at_depth(depth: int, function: Callable[[], object]) -> BaseException | None:
    """Call it from so deep a stack, on a thread of its own; give what it raises."""
    met: list[BaseException] = []

    def descend(left: int) -> None:
        if left > 0:
            descend(left - 1)
        else:
            function()

    def run() -> None:
        try:
            descend(depth - 8)
        except BaseException as error:  # noqa: BLE001  # also what is no Exception is an answer
            met.append(without_frames(error))

    thread = threading.Thread(target=run, name="livepatch-testing-deep")
    thread.start()
    thread.join()
    return met[0] if met else None


def little_memory(patch: Patch, options: dict[str, Any], timeout: float) -> tuple[str, int]:
    """Apply and revert in children that may have little memory; what was wrong then, and how often it was refused.

    Each child may take `timeout` seconds.  Raises :class:`ImportError` on a platform that sets no such limits.
    """
    import resource

    refused = 0
    for spare in _SPARE:
        ended = in_child(lambda spare=spare: _with(spare, patch, options, resource), timeout)  # type: ignore[misc]
        if ended.died or "raised" in ended.value:
            return f"with {spare >> 10} KiB to spare: {ended.died or ended.value['raised']}", refused
        refused += bool(ended.value["refused"])
        if ended.value["wrong"]:
            return f"with {spare >> 10} KiB to spare: {ended.value['wrong']}", refused
    return "", refused


def _with(spare: int, patch: Patch, options: dict[str, Any], resource: Any) -> dict[str, object]:
    """In the child."""
    guard = Guard()
    guard.before_apply(patch)
    gc.collect()
    refused = ""
    try:
        with _limited(spare, resource):
            guard.apply(patch, **options)
            guard.revert(patch.id)
    except (MemoryError, LivepatchError, OSError) as error:
        # A thread that cannot be started, or a file that cannot be read, is short of memory, too.
        refused = type(error).__qualname__
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        refused = type(error).__qualname__
    changed = guard.differences() if not guard.status() else ()
    troubles = guard.finish()
    return {"refused": refused, "wrong": next(iter((*changed, *troubles)), "")}


@contextlib.contextmanager
def _limited(spare: int, resource: Any) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  # no objects beside those that are needed
        pages = int(file.read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
