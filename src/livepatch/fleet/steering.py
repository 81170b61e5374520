"""A process that runs controllers, one for each rollout in the store; where it holds the lease, it acts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from livepatch.errors import LivepatchError
from livepatch.fleet.beginning import planned_in, terms_at
from livepatch.fleet.keys import HEARD, rollouts_in
from livepatch.fleet.running import LEASE, Controller, directive_of
from livepatch.fleet.standing import Directive, Tell
from livepatch.fleet.state import Store

__all__ = ["ENDED", "Steering"]

ENDED = ("complete", "reverted")
"""The phases in which nothing is left to do."""

_PAUSE = 0.05  # seconds between two turns at least: reports that come one by one are taken in together


class Steering:
    """Runs the rollouts of those ids; without any, all that are in the store, and those that come.

    `told` is handed what people should know, and of which rollout.
    """

    def __init__(
        self,
        store: Store,
        rollouts: Iterable[str] = (),
        *,
        told: Callable[[str, Tell], None] = lambda *_: None,
        lease: float = LEASE,
    ) -> None:
        self._store = store
        self._named = tuple(rollouts)
        self._told = told
        self._lease = lease
        self._controllers: dict[str, Controller] = {}
        self._refused: dict[str, str] = {}
        self._seen = 0

    def turn(self, now: float) -> dict[str, Directive | None]:
        """A turn of each controller.  How the rollouts stand that there are; ``None`` for one that has not begun.

        What is wrong with one rollout is told once, and holds up no other.  Raises :class:`StateError` if the store
        cannot be used.
        """
        found: dict[str, Directive | None] = {}
        for rollout in self._named or rollouts_in(self._store):
            try:
                controller = self._controllers.get(rollout)
                if controller is None:
                    controller = self._controllers[rollout] = self._taken_up(rollout)
                found[rollout] = controller.turn(now) or directive_of(self._store, rollout)
                self._refused.pop(rollout, None)
            except LivepatchError as error:
                found[rollout] = None
                if self._refused.get(rollout) != str(error):
                    self._refused[rollout] = str(error)
                    self._told(rollout, Tell(what="cannot be run", about={"error": str(error)}))
        return found

    def wait(self, seconds: float) -> None:
        """Wait until nodes or people have said something, so many seconds at most.  Raises :class:`StateError`."""
        began = time.monotonic()
        changes = self._store.changes(f"{HEARD}/", self._seen, timeout=seconds)
        self._seen = max([self._seen, *(entry.revision for entry in changes)])
        time.sleep(max(0.0, _PAUSE - (time.monotonic() - began)))

    def release(self) -> None:
        """Let other processes act at once."""
        for controller in self._controllers.values():
            controller.release()

    def _taken_up(self, rollout: str) -> Controller:
        planned = planned_in(self._store, terms_at(self._store, rollout))
        return Controller(planned, self._store, told=lambda tell: self._told(rollout, tell), lease=self._lease)
