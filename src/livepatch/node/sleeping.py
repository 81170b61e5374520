"""A process that imports none of the modules that the node's patches change: it looks, and loads no machinery for that.

Many that a node starts are small tools.  What applies patches takes longer to load than such a tool to run.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from livepatch.errors import LivepatchError
from livepatch.events import emit
from livepatch.node.arrivals import Arrivals
from livepatch.node.following import Follower
from livepatch.node.wanted import Wish

__all__ = ["Awake", "Sleeper"]

_PATIENCE = 30.0  # seconds for which an import waits while another thread wakes the process


class Awake(Protocol):
    """Who brings patches in, once somebody does."""

    def come(self, module: str) -> None:
        """That module has been imported."""


class Sleeper:
    """Waits for the first module that a patch changes, and then has `wake` bring in what is wished for, once.

    `wake` is given the module, or an empty text if one is there already.
    """

    def __init__(self, store: Path, wake: Callable[[str], Awake]) -> None:
        self._store, self._wake = store, wake
        self._arrivals = Arrivals(self._come)
        self._follower = Follower(store, self._look)
        self._waking = threading.RLock()
        self._awake: Awake | None = None
        self._is_up = False
        _all.add(self)

    def start(self) -> None:
        """Look once, at once, and then now and then."""
        self._follower.look()
        self._follower.start()

    def _look(self, wishes: tuple[Wish, ...]) -> bool:
        names = [name for wish in wishes for name in wish.modules]
        if any(not wish.modules for wish in wishes) or any(name in sys.modules for name in names):
            self._come("")
        else:
            self._arrivals.await_(names)
        return True

    def _come(self, module: str) -> None:
        if not self._waking.acquire(timeout=_PATIENCE):
            emit("restoring_failed", level="error", module=module, error="another thread was still at it")
            return
        try:
            if self._is_up:
                if self._awake is not None:
                    self._awake.come(module)
                return
            self._is_up = True
            self._follower.close()
            self._awake = self._wake(module)
        except Exception as error:  # noqa: BLE001  # a fault of ours must not become one of the program's import
            told = str(error) if isinstance(error, LivepatchError) else f"{type(error).__qualname__}: {error}"
            emit("restoring_failed", level="error", module=module, error=told)
        finally:
            self._waking.release()

    def _after_fork(self) -> None:
        self._waking = threading.RLock()
        if not self._is_up:
            self._follower = Follower(self._store, self._look)
            self._follower.start()


_all: weakref.WeakSet[Sleeper] = weakref.WeakSet()


def _after_fork() -> None:
    for each in list(_all):
        each._after_fork()  # noqa: SLF001  # for this file alone


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
