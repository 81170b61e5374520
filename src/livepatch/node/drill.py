"""A drill: a harmless patch and a bad one soak under the node's own watchdog, on a module made for it.

Nothing of the program is patched, and nothing of it is wished for.  What is shown is that this process can be patched,
that its watchdog runs, and how long it takes to notice and to take back what does harm.
"""

from __future__ import annotations

import linecache
import sys
import threading
from collections.abc import Callable, Mapping
from types import ModuleType, TracebackType
from typing import Any, Self

from livepatch.errors import NodeError
from livepatch.events import emit
from livepatch.govern.recording import note
from livepatch.govern.surroundings import version_of
from livepatch.health.rules import Rule
from livepatch.health.soak import soak
from livepatch.health.soaking import Soaked
from livepatch.node.watching import Watching
from livepatch.patch import Patch

__all__ = ["MODULE", "drill"]

MODULE = "_livepatch_drill"
_SOURCE = 'def answer():\n    return "old"\n'
_STAYS, _MOST = 4, 60  # readings that the harmless one is watched for, and that the bad one has at most
_CALLS = 20  # in an interval
_LOOK = 0.25  # seconds between two looks at what soaks
_one = threading.Lock()


def drill(watching: Watching, tell: Callable[[Mapping[str, Any]], bool], **how: Any) -> dict[str, Any]:
    """Hold a drill, and give what came of it as plain values; `how` are options of :func:`livepatch.apply`.

    `tell` is told how each patch stands; once it gives false, the drill ends.  Takes about seven intervals of the
    watchdog.  ``ok`` is whether the harmless one stayed, the bad one was taken back, and all was as before.

    Raises what an apply raises where this process cannot be patched or no patch may go in now, and :class:`NodeError`
    if a drill is under way already.  No patch of it stays, whatever happens.
    """
    if not _one.acquire(blocking=False):
        raise NodeError(
            "a drill is under way already",
            found="one that has not ended",
            expected="one at a time",
            action="wait for its end",
        )
    try:
        with _Ground(watching.watchdog.interval / _CALLS):
            harmless = _soaked(watching, tell, "livepatch-drill-harmless", _harmless, _STAYS, how)
            bad = _soaked(watching, tell, "livepatch-drill-bad", _bad, _MOST, how)
    finally:
        watching.rest()
        _one.release()
    told = {
        "ok": harmless.ok and bad.outcome == "rolled-back" and harmless.verified and bad.verified,
        "interval": watching.watchdog.interval,
        "detect_seconds": bad.detect_seconds,
        "restore_seconds": bad.restore_seconds,
        "harmless": {**harmless.to_dict(), "text": str(harmless)},
        "bad": {**bad.to_dict(), "text": str(bad)},
    }
    short = {"detect_ms": _milliseconds(bad.detect_seconds), "restore_ms": _milliseconds(bad.restore_seconds)}
    emit("drilled", level="info" if told["ok"] else "error", ok=told["ok"], **short)
    note("drilled", None, None, ok=told["ok"], harmless=harmless.outcome, bad=bad.outcome, **short)
    return told


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e3, 1)


def _harmless() -> str:
    return "old"


def _bad() -> str:
    raise RuntimeError("this is a drill")


def _soaked(
    watching: Watching,
    tell: Callable[[Mapping[str, Any]], bool],
    name: str,
    body: Callable[[], str],
    readings: int,
    how: Mapping[str, Any],
) -> Soaked:
    patch = Patch(name, package="livepatch", versions=f"=={version_of('livepatch')}")
    patch.replace(f"{MODULE}:answer")(body)
    watching.watchdog.start()
    during = readings * watching.watchdog.interval
    rule = Rule(f"{MODULE}:answer/errors", above=0.5)
    made = soak(patch, rules=[rule], during=during, watchdog=watching.watchdog, **how)
    try:
        while not made.over:
            if not tell({"id": name, "soak": made.status()}):
                raise NodeError(
                    "the drill was ended",
                    found="nobody who waits for it",
                    expected="who asked for it, or an agent that runs",
                    action="hold another",
                )
            made.wait(_LOOK)
        assert made.outcome is not None
        return made.outcome
    finally:
        if not made.applied.reverted:
            made.applied.revert()


class _Ground:
    """The module, and a thread that calls its function every so many seconds."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="livepatch-drill", daemon=True)
        self._module = ModuleType(MODULE)

    def _run(self) -> None:
        while not self._end.wait(self._every):
            try:
                self._module.answer()
            except RuntimeError:  # what the bad one is for
                continue

    def __enter__(self) -> Self:
        file = f"<{MODULE}>"
        linecache.cache[file] = len(_SOURCE), None, _SOURCE.splitlines(keepends=True), file
        exec(compile(_SOURCE, file, "exec"), self._module.__dict__)  # noqa: S102  # the text above
        sys.modules[MODULE] = self._module
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        del sys.modules[MODULE], linecache.cache[f"<{MODULE}>"]
