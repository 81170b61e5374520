"""Probes after each switch: a thread of livepatch's own asks them, once it has been made."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from livepatch.errors import LivepatchError
from livepatch.events import emit
from livepatch.probing.probe import probe
from livepatch.probing.probed import Probed
from livepatch.process.arguments import check_hook, check_seconds
from livepatch.process.live import live as here
from livepatch.replaying.folders import is_over
from livepatch.replaying.within import IN_SCRATCH

__all__ = ["probe_after_switches"]


class _Prober:
    """Probes when something was switched: once for all that was switched while it probed."""

    def __init__(self, on_probed: Callable[[Probed], object] | None, live: bool, timeout: float) -> None:  # as probe()
        self._on_probed = on_probed
        self._live = live
        self._timeout = timeout
        self._lock = threading.Lock()
        self._wanted = self._running = False

    def heard(self, switched: bool) -> None:
        """A transaction has ended."""
        if not switched:
            return
        with self._lock:
            self._wanted = True
            if self._running:
                return
            self._running = True
        try:
            threading.Thread(target=self._run, name="livepatch-probes", daemon=True).start()
        except RuntimeError:  # no more threads, or the interpreter is going down
            with self._lock:
                self._running = False
            emit("not_probed", level="error", error="RuntimeError")

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._wanted:
                    self._running = False
                    return
                self._wanted = False
            try:
                probed = probe(live=self._live, timeout=self._timeout)
                if self._on_probed is not None:
                    self._on_probed(probed)
            except Exception as error:  # noqa: BLE001  # the program's own hook may fail in any way
                if is_over():
                    return
                self._tell(error)

    def _tell(self, error: Exception) -> None:
        reason = {"reason": str(error)} if isinstance(error, LivepatchError) else {}
        emit("not_probed", level="error", error=type(error).__qualname__, **reason)

    def after_fork(self) -> None:
        """In a child, where the thread is not."""
        self._lock = threading.Lock()
        self._wanted = self._running = False


_probers: list[_Prober] = []


def probe_after_switches(
    on: bool = True,
    *,
    on_probed: Callable[[Probed], object] | None = None,
    live: bool = True,
    timeout: float = 30.0,
) -> None:
    """Ask all known probes after each apply, revert, cancel and change of mode from now on; with ``False`` no more.

    A thread of livepatch's own asks, as :func:`livepatch.probe` does with the same `live` and `timeout`, once for what
    was switched meanwhile; the call that switched waits for nothing.  `on_probed` is called there with what was found;
    events and the record have it, too, and an event ``livepatch.not_probed`` says if nothing could be.  Raises
    :class:`TypeError` or :class:`PatchError` for a wrong argument; then it stays as it was.  In a scratch process it
    does nothing.
    """
    for name, value in (("on", on), ("live", live)):
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be True or False, not of type {type(value).__qualname__}")
    check_hook("on_probed", on_probed)
    check_seconds("timeout", timeout)
    for prober in _probers:
        here.listeners.remove(prober.heard)
    _probers.clear()
    if on and IN_SCRATCH not in os.environ:
        _probers.append(_Prober(on_probed, live, timeout))
        here.listeners.append(_probers[0].heard)


def _after_fork() -> None:
    for prober in _probers:
        prober.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
