"""What an agent has while it runs: store, record, watchdog, socket, what brings patches in; all of it or nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from livepatch.govern import recording
from livepatch.loading import load_in_steps
from livepatch.node.control import Answer, Control
from livepatch.node.restoring import Restoration
from livepatch.node.store import Store

if TYPE_CHECKING:
    from livepatch.node.fleet import Fleet
    from livepatch.node.keeping import Keeper
    from livepatch.node.operations import Operations
    from livepatch.node.taking_part import TakingPart
    from livepatch.node.watching import Watching

__all__ = ["Given", "Running"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What an agent was made with, checked."""

    place: Path
    trust: object
    policy: str | os.PathLike[str] | None
    height: Callable[[], int] | None
    socket: Path | None
    uids: frozenset[int]
    guard: float
    max_pause: float | None
    max_rest: float | None
    name: str
    watching: Watching | None
    fleet: Fleet | None = None


class Running:
    """What an agent has while it runs; made as a whole, or not at all.

    The socket is there first, so that it is known that it can be had before anything goes in.
    """

    def __init__(self, given: Given, answer: Answer) -> None:
        self.record: dict[str, str] = {}
        self._recording: recording.Recording | None = None
        self._control: Control | None = None
        self.store = Store(given.place, guard=given.guard)
        how: _How = {
            "trust": given.trust,
            "policy": given.policy,
            "height": given.height,
            "max_pause": given.max_pause,
        }
        self.restoration = Restoration(self.store, **how)
        self._how, self._max_rest = how, given.max_rest
        self._operations: Operations | None = None
        self.keeper: Keeper | None = None
        self._loading = threading.Lock()
        self._watching = given.watching
        self.fleet: TakingPart | None = None
        try:
            if recording.in_use() is None:
                self._recording = recording.record_to(self.store.record_folder, key=self.store.key_file)
            kept = recording.in_use()
            if kept is not None:
                self.record = {"folder": kept.folder, "key": kept.key}
            if given.socket is not None:
                self._control = Control(given.socket, answer, uids={0, os.geteuid(), *given.uids})
            if self._watching is not None:
                self._watching.watchdog.start()
            with self.store.restoring() as wishes:
                self.restoration.start(wishes)
            if wishes:
                self.operations  # noqa: B018  # from here on what is done to them is kept
            if given.fleet is not None:
                self.fleet = self._taking_part(given.fleet, given)
                self.fleet.start()
        except BaseException:
            for each in reversed(self.restoration.standings()):
                if each.state == "applied":
                    from livepatch.process.applied import revert

                    revert(each.id)
            self.close(well=True)
            raise

    @property
    def watching(self) -> Watching:
        """Whether the node is well.  Without probes there is no thread that reads them until a patch soaks."""
        with self._loading:
            if self._watching is None:
                from livepatch.node.watching import Watching

                self._watching = Watching()
            return self._watching

    @property
    def operations(self) -> Operations:
        """What may be done.  What that needs is loaded when it is first asked for: a node may do nothing for months."""
        with self._loading:
            if self._operations is None:
                load_in_steps()
                from livepatch.node.keeping import Keeper
                from livepatch.node.operations import Operations

                self._operations = Operations(
                    store=self.store,
                    restoration=self.restoration,
                    watching=lambda: self.watching,
                    max_rest=self._max_rest,
                    **self._how,
                )
                self.keeper = Keeper(self._operations.keep)
                self._operations.wake = self.keeper.wake
            return self._operations

    def _taking_part(self, fleet: Fleet, given: Given) -> TakingPart:
        from livepatch.node.part import Hands
        from livepatch.node.taking_part import TakingPart

        hands = Hands(
            operations=lambda: self.operations,
            standings=self.restoration.standings,
            fallen=lambda: self.store.wanted.fallen,
            height=given.height,
            soaks=given.watching is not None and bool(given.watching.rules),
        )
        node = fleet.node or given.name
        return TakingPart(fleet, node=node, folder=given.place, hands=hands, watching=lambda: self._watching)

    def close(self, *, well: bool) -> None:
        """Let go of it all."""
        if self.fleet is not None:
            self.fleet.close()
        if self._control is not None:
            self._control.close()
        if self._operations is not None:
            self._operations.end_soaks()
        if self._watching is not None:
            self._watching.watchdog.stop()
        if self.keeper is not None:
            self.keeper.close()
        self.restoration.close()
        if self._recording is not None and recording.in_use() is self._recording:
            recording.record_to(None)
        self.store.close(well=well)

    def after_fork(self) -> None:
        """In a child, which has neither store nor socket, and where none of the threads are."""
        if self.keeper is not None:
            self.keeper.after_fork()
        if self._operations is not None:
            self._operations.after_fork()


class _How(TypedDict):
    """By what patches go in, for whoever brings them in."""

    trust: object
    policy: str | os.PathLike[str] | None
    height: Callable[[], int] | None
    max_pause: float | None
