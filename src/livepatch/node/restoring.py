"""What a node is wished to run goes in when it starts: at once where the modules are there, else as they are imported.

Nothing is taken over from the process before: each file is verified again, its before side compared, and the rules are
asked.  A patch that does not fit is set aside with the reason, and the others go in.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from livepatch.bundle.trust import check_trust
from livepatch.events import emit
from livepatch.govern.recording import note
from livepatch.loading import load_in_steps
from livepatch.node.arrivals import Arrivals, is_coming, is_there
from livepatch.node.entry import Entry, Standing
from livepatch.node.following import Follower
from livepatch.node.processes import announce
from livepatch.node.store import Store
from livepatch.node.stored import StoreView
from livepatch.node.wanted import Wish

if TYPE_CHECKING:
    from livepatch.node.entering import Entering
    from livepatch.patch import Patch
    from livepatch.process.applied import Applied

__all__ = ["Restoration"]

_START = 30.0  # seconds that a patch may wait for calls in flight at the start
_IMPORT = 2.0  # and within an import, which may itself be what those calls wait for
_PAUSE = 0.01
_LONGEST_PAUSE = 5.0
_PASSES = 5


@dataclass(slots=True)
class _Turns:
    """One thread at a time; whoever comes to it in the middle of its own turn is told so."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    owner: int = 0

    def take(self, seconds: float) -> bool:
        if self.owner == threading.get_ident() or not self.lock.acquire(timeout=seconds):
            return False
        self.owner = threading.get_ident()
        return True

    def give(self) -> None:
        self.owner = 0
        self.lock.release()


class Restoration:
    """Brings the patches of a store in, and those that wait as their modules come, until it is closed.

    `trust` is asked about each file and `policy`, the path of a file of rules, about each patch, as in
    :func:`livepatch.apply`; rules about times and ages by the moment at which the patch first went in.  `height` is the
    function that gives the node's height, for the mode ``at(…)``.
    """

    def __init__(
        self,
        store: StoreView,
        *,
        trust: object = None,
        policy: str | os.PathLike[str] | None = None,
        height: object = None,
        max_pause: float | None = None,
    ) -> None:
        self._store = store
        self._made: Entering | None = None
        self._how: dict[str, Any] = {
            "store": store,
            "trust": check_trust(trust),
            "policy": policy,
            "height": height,
            "max_pause": max_pause,
        }
        self._entries: dict[str, Entry] = {}
        self._turns = _Turns()
        self._arrivals = Arrivals(self.come)
        self._thread: threading.Thread | None = None
        self._thread_lock = threading.Lock()
        self._closed = False
        self._again = False
        self._wishes: tuple[Wish, ...] | None = None
        """What a process that does not have the store was brought to run last."""
        self._leaving: tuple[Entry, ...] = ()
        self._announced: tuple[Standing, ...] | None = None
        self._follower: Follower | None = None
        _open.add(self)

    @property
    def _entering(self) -> Entering:
        """What brings patches in.  The machinery for it is loaded once there is one: a node may have none for long."""
        if self._made is None:
            load_in_steps()
            from livepatch.node.entering import Entering

            self._made = Entering(**self._how)
        return self._made

    # The start

    def start(self, wishes: Iterable[Wish], just_come: str = "") -> tuple[Standing, ...]:
        """Bring in what can go in now, in order, and have the rest follow; before the node opens its doors.

        `just_come` is a module whose import is ending now, if this is called within it.  Nothing is raised for a patch
        that cannot go in: what is returned says what has become of each.
        """
        given = tuple(wishes)
        self._wishes = None if isinstance(self._store, Store) else given
        for wish in given:
            self._entries[wish.id] = self._entering.opened(wish)
        self._arrivals.await_(name for entry in self._entries.values() for name in entry.modules)
        for entry in self._entries.values():
            entry.due = True
        self._settle(_IMPORT if just_come else _START, just_come)
        found = self.standings()
        level = "error" if any(each.state == "aside" for each in found) else "info"
        told = {
            state: [each.id for each in found if each.state == state]
            for state in ("applied", "waiting", "aside", "retired")
        }
        if isinstance(self._store, Store) and self._store.fell:
            told["without"] = [each.id for each in self._store.fell]
        emit("restored", level=level, store=str(self._store.path), **told)
        note("restored", None, None, **told)
        self._announce()
        return found

    # What comes later

    def follow(self, wish: Wish, patch: Patch, applied: Applied) -> None:
        """A patch went in while the node runs: those of its modules that come later are to get it as well."""
        entry = Entry.of(wish, patch)
        entry.applied = applied
        entry.went_in(frozenset(name for name in entry.modules if is_there(name)))
        self._entries = {
            **{name: each for name, each in self._entries.items() if name not in (wish.id, *wish.replaces)},
            wish.id: entry,
        }
        self._arrivals.await_(entry.modules)
        if any(name in sys.modules for name in entry.absent):
            entry.due = True  # its import had begun
            self._hand_over()
        self._announce()

    def forget(self, patch_id: str) -> None:
        """A patch is wished for no more: what comes later does not get it."""
        self._entries = {name: each for name, each in self._entries.items() if name != patch_id}
        self._announce()

    def follow_store(self) -> None:
        """From here on this process, which does not have the store, runs what is wished for, soon after it is."""
        if self._follower is None and not self._closed:
            self._follower = Follower(self._store.path, self.catch_up)
            self._follower.start()

    def catch_up(self, wishes: Iterable[Wish]) -> bool:
        """Bring the process to run those: what is not wished for any more goes out, what is new goes in, modes move.

        What a new one replaces goes out in the same step, and stays if that does not go in.  Gives whether all is done;
        what cannot be done says in its standing why not.
        """
        given = tuple(wishes)
        if not self._turns.take(_START):
            return False
        try:
            before = self._entries
            self._entries = {wish.id: self._entry_for(wish) for wish in given}
            self._arrivals.await_(name for entry in self._entries.values() for name in entry.modules)
            kept = {id(entry) for entry in self._entries.values()}
            left = [*self._leaving, *(entry for entry in before.values() if id(entry) not in kept)]
            staying = {name for wish in given for name in (wish.id, *wish.replaces)}
            for each in reversed(left):
                if each.wish.id not in staying:
                    self._entering.let_go(each)
        finally:
            self._turns.give()
        self._settle(_START)
        self._leaving = tuple(each for each in left if _is_in(each.wish.id) and each.wish.id not in self._entries)
        moved = [self._entering.switch(entry) for entry in self._entries.values()]
        is_done = all(moved) and not self._leaving
        if is_done:
            self._wishes = given
        self._announced = None
        self._announce()
        return is_done

    def _entry_for(self, wish: Wish) -> Entry:
        known = self._entries.get(wish.id)
        if known is not None and known.wish.file == wish.file:
            known.wish = wish
            return known
        entry = self._entering.opened(wish)
        entry.due = True
        return entry

    def _announce(self) -> None:
        """Say to whoever asks which patches this process runs."""
        found = self.standings()
        if found == self._announced:
            return
        self._announced = found
        try:
            announce(self._store.path, self._wishes, found)
        except OSError as error:
            emit("not_announced", level="warning", store=str(self._store.path), error=error.strerror or str(error))

    def standings(self) -> tuple[Standing, ...]:
        """What has become of each patch so far, in order."""
        return tuple(entry.standing() for entry in list(self._entries.values()))

    def gone(self) -> tuple[str, ...] | None:
        """The ids of patches that were in, and that somebody has taken out since.

        ``None`` while some are on their way in, for which others may be out for a moment.
        """
        if not self._turns.take(_PAUSE):
            return None
        try:
            entries = list(self._entries.values())
            return tuple(each.wish.id for each in entries if each.applied is not None and not _is_in(each.wish.id))
        finally:
            self._turns.give()

    def close(self) -> None:
        """Bring in no more.  What is in stays."""
        self._closed = True
        self._arrivals.close()
        if self._follower is not None:
            self._follower.close()

    def come(self, module: str) -> None:
        """That module has been imported, but for what is done here: nothing raised here may make its import fail."""
        try:
            self._settle(_IMPORT, module)
            self._announce()
        except Exception as error:  # noqa: BLE001  # a fault of ours must not become one of the program
            emit("restoring_failed", level="error", module=module, error=f"{type(error).__qualname__}: {error}")

    def _settle(self, seconds: float, just_come: str = "") -> None:
        """Bring in what can go in, and leave the rest to a thread if it need only wait."""
        if self._closed or not self._entries:
            return
        if self._turns.take(seconds):
            try:
                for _ in range(_PASSES):  # what goes in may import modules of what was looked at before
                    self._again = False
                    for entry in list(self._entries.values()):
                        self._look_at(entry, seconds, just_come)
                    if not self._again:
                        break
            finally:
                self._turns.give()
        else:
            self._again = True
            for entry in self._entries.values():
                entry.due = entry.due or just_come in entry.modules
        if any(entry.due for entry in self._entries.values()):
            self._hand_over()

    def _look_at(self, entry: Entry, seconds: float, just_come: str) -> None:
        if entry.patch is None or entry.state in ("aside", "retired", "gone"):
            return
        come = frozenset(name for name in entry.modules if is_there(name, just_come))
        if not (entry.due or entry.held_up or come & entry.absent):
            return
        if any(is_coming(name) for name in entry.modules - come):
            entry.due = True  # its import ends soon, and is told of or looked for
            return
        entry.due = False
        if entry.applied is not None and not _is_in(entry.wish.id):
            entry.state, entry.reason = "gone", "it was reverted"
            return
        if entry.state == "waiting" and not come:
            if not self._entering.is_contained(entry):
                entry.absent = entry.modules
            return
        before = self._before(entry)
        entry.held_up = bool(before)
        if before:
            entry.reason = f"it goes in after {', '.join(before)}"
            return
        self._entering.bring_in(entry, self._above(entry), come, seconds)

    def _before(self, entry: Entry) -> list[str]:
        """The patches that have to be in first, and are not, but may be later."""
        assert entry.patch is not None
        found = []
        for each in self._entries.values():
            if each is entry:
                break
            provides = {each.wish.id, *each.wish.replaces}
            needed = bool(provides & set(entry.patch.requires)) or bool(each.modules & entry.modules)
            if needed and (
                each.due or each.held_up or (each.state == "waiting" and provides & set(entry.patch.requires))
            ):
                found.append(each.wish.id)
        return found

    def _above(self, entry: Entry) -> list[Entry]:
        """The patches that are in and lie on it: they change modules that it changes, or require it."""
        every = list(self._entries.values())
        return [
            each
            for each in every[every.index(entry) + 1 :]
            if _is_in(each.wish.id)
            and each.patch is not None
            and (each.modules & entry.modules or entry.wish.id in each.patch.requires)
        ]

    # What need only wait

    def _hand_over(self) -> None:
        with self._thread_lock:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._go_on, name="livepatch-restoring", daemon=True)
                self._thread.start()

    def _go_on(self) -> None:
        pause = _PAUSE
        while not self._closed:
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)
            self.come("")
            with self._thread_lock:
                if not any(entry.due for entry in self._entries.values()):
                    self._thread = None
                    return

    def _after_fork(self) -> None:
        """In a child: whoever had a turn did not come along."""
        self._turns = _Turns()
        self._thread = None
        self._thread_lock = threading.Lock()
        for entry in self._entries.values():
            if entry.state == "waiting" and any(map(is_there, entry.modules)):
                entry.due = True  # a thread that did not come along was bringing it in
        if any(entry.due for entry in self._entries.values()):
            self._hand_over()
        self._wishes = tuple(entry.wish for entry in self._entries.values())
        self._announced, self._follower = None, None
        self.follow_store()


def _is_in(patch_id: str) -> bool:
    from livepatch.node.entering import is_in

    return is_in(patch_id)


_open: weakref.WeakSet[Restoration] = weakref.WeakSet()


def _after_fork() -> None:
    for each in list(_open):
        each._after_fork()  # noqa: SLF001  # for this file alone


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
