"""A durable migration that a process before this one began: back by what was saved, or on to its end."""

from __future__ import annotations

from collections.abc import Callable

from livepatch.errors import StateError
from livepatch.state.directory import StateDirectory
from livepatch.state.driving import drive
from livepatch.state.folding import Came
from livepatch.state.migration import Migration
from livepatch.state.run import Run
from livepatch.state.saved import SavedWhole
from livepatch.state.ways import WHOLE, Ways, said

__all__ = ["go_back", "go_on"]


def go_back(came: Came, migration: Migration, directory: StateDirectory) -> None:
    """Bring back what was saved before the migration began.  Twice is harmless.

    Raises :class:`StateError`; then the migration is as open as before.
    """
    saved = Run(migration, came.patch, directory, came.run).saved
    assert isinstance(saved, SavedWhole)
    if not saved.is_aside:
        _guarded(came, "restore", lambda: saved.restore(WHOLE))
    directory.note_of(came, "undone")
    saved.close()


def go_on(came: Came, migration: Migration, directory: StateDirectory) -> bool:
    """Run ``up``, or ``down``, once more to its end; whether the data is up then.  If ``up`` fails again, it goes back.

    Raises :class:`StateError`; then the migration is as open as before.
    """
    ways = Ways(migration, None)
    if came.lowering:
        _guarded(came, "down", lambda: drive(ways.down(WHOLE), migration.budget, migration.loop))
        directory.note_of(came, "undone")
        return False
    begun = ways.begin(WHOLE)
    try:
        _guarded(came, "up", lambda: drive(ways.up(begun), migration.budget, migration.loop))
    except StateError:
        if ways.half_back(begun):
            raise
        directory.note_of(came, "undone")
        return False
    directory.note_of(came, "done", objects=1)
    return True


def _guarded(came: Came, what: str, step: Callable[[], object]) -> None:
    try:
        step()
    except Exception as error:
        raise StateError(
            f"{came} is still open",
            found=f"{what} fails: {said(error)}",
            expected=f"that {what} takes the data as the crash has left it",
            action="see to what it says, and call recover again",
        ) from error
