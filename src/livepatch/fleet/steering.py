"""A process that runs controllers, one for each rollout in the store; where it holds the lease, it acts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from livepatch.errors import LivepatchError
from livepatch.fleet.beginning import planned_in, terms_at
from livepatch.fleet.keys import HEARD, commands_of, rollouts_in
from livepatch.fleet.running import LEASE, Controller, directive_of
from livepatch.fleet.standing import Directive, Tell
from livepatch.fleet.state import Store, names_in

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
        self._ended: dict[str, Directive] = {}
        self._news: set[str] = set()
        self._seen: int | None = None

    def turn(self, now: float) -> dict[str, Directive | None]:
        """A turn of each controller.  How the rollouts stand that there are; ``None`` for one that has not begun.

        What is wrong with one rollout is told once, and holds up no other.  Raises :class:`StateError` if the store
        cannot be used.
        """
        if self._seen is None:  # what was there before is no news
            self._seen = max((entry.revision for entry in self._store.changes(f"{HEARD}/", 0)), default=0)
        found: dict[str, Directive | None] = {}
        for rollout in self._named or rollouts_in(self._store):
            try:
                found[rollout] = self._resting(rollout) or self._turned(rollout, now)
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
        seen = self._seen or 0
        changes = self._store.changes(f"{HEARD}/", seen, timeout=seconds)
        self._news |= {names_in(entry.key)[1] for entry in changes}
        self._seen = max([seen, *(entry.revision for entry in changes)])
        time.sleep(max(0.0, _PAUSE - (time.monotonic() - began)))

    def release(self) -> None:
        """Let other processes act at once."""
        for controller in self._controllers.values():
            controller.release()

    def _resting(self, rollout: str) -> Directive | None:
        """How it stands if it has ended and nobody has said anything since: it costs nothing then."""
        if rollout in self._news:
            return None
        its = self._ended.get(rollout)
        if its is None and rollout not in self._controllers:
            its = directive_of(self._store, rollout)
            if its is None or its.phase not in ENDED or self._store.entries(commands_of(rollout)):
                return None
            self._ended[rollout] = its
        return its

    def _turned(self, rollout: str, now: float) -> Directive | None:
        self._news.discard(rollout)
        self._ended.pop(rollout, None)
        controller = self._controllers.get(rollout)
        if controller is None:
            controller = self._controllers[rollout] = self._taken_up(rollout)
        own = controller.turn(now)
        directive = own or directive_of(self._store, rollout)
        if directive is not None and directive.phase in ENDED:
            self._ended[rollout] = directive
            if own is not None:
                controller.release()
        return directive

    def _taken_up(self, rollout: str) -> Controller:
        planned = planned_in(self._store, terms_at(self._store, rollout))
        return Controller(planned, self._store, told=lambda tell: self._told(rollout, tell), lease=self._lease)
