"""What the next start of a process finds in its state directory: all before, all after, or a step to go on with."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from livepatch.errors import LivepatchError, StateError, shortened, spelled
from livepatch.events import emit
from livepatch.patch import Patch
from livepatch.process.live import live
from livepatch.state.directory import StateDirectory
from livepatch.state.files import SYSTEM, Files
from livepatch.state.folding import Came
from livepatch.state.migration import Migration
from livepatch.state.resuming import go_back, go_on
from livepatch.state.states import States

__all__ = ["Recovered", "Recovery", "recover", "recover_states"]

Outcome = Literal["before", "after", "open"]
_WAIT = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """One migration that a process before this one has not taken back.

    `outcome` is how its data is now: wholly ``before`` it, wholly ``after`` it, or still ``open``.  `told` says what
    was found and done, and for an open one what to do.
    """

    patch: str
    name: str
    version: int
    outcome: Outcome
    told: str

    def __str__(self) -> str:
        return f"{self.name} {self.version} of patch {self.patch}: {self.outcome}, {self.told}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What :func:`livepatch.recover` found and did; true if nothing is left open.

    `versions` are those of every state that outlives the process.
    """

    directory: str
    versions: dict[str, int]
    migrations: tuple[Recovered, ...] = ()
    torn: bool = False
    """Whether a crash had left part of a record, which was cut off."""

    @property
    def ok(self) -> bool:
        """All data is wholly before or wholly after each migration."""
        return all(each.outcome != "open" for each in self.migrations)

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        states = ", ".join(f"{name} at version {version}" for name, version in sorted(self.versions.items()))
        head = f"{self.directory}: {states or 'no state on record'}"
        return "\n".join([head, *(f"  {each}" for each in self.migrations)])


def recover(directory: str | os.PathLike[str], patches: Iterable[Patch] = ()) -> Recovery:
    """Take `directory` as the state directory of this process, and bring to an end what a crash has left half-way.

    To be called when the process starts, before anything uses the data.  Every migration writes down there what it is
    about to do.  A migration that was under way is taken back by its checkpoint if it has one, or else gone on with;
    for either its functions are needed, which are those of the patch of the same id in `patches`.  Without that patch
    it is left open, and says so; then no other migration of that state may be made.

    Raises :class:`StateError` if another process has the directory, or its journal is damaged; then nothing has
    changed.
    """
    if not isinstance(directory, (str, os.PathLike)):
        raise TypeError(f"directory must be a path, not {spelled(directory)}")
    known = {patch.id: patch for patch in _patches(patches)}
    path = Path(directory)
    return live.transact(_WAIT, lambda: recover_states(live.states, path, known))


def _patches(patches: object) -> list[Patch]:
    if not isinstance(patches, Iterable):
        raise TypeError(f"patches must be patches, not {spelled(patches)}")
    given = list(patches)
    for patch in given:
        if not isinstance(patch, Patch):
            raise TypeError(f"patches must hold patches, not {spelled(patch)}")
    return given


def recover_states(states: States, path: Path, patches: Mapping[str, Patch], files: Files = SYSTEM) -> Recovery:
    """The same for any states; called with the process's lock held."""
    mine = states.directory
    if mine is None:
        mine = StateDirectory(path, files)
    elif mine.path.resolve() != path.resolve():
        raise StateError(
            "this process has a state directory already",
            found=str(mine.path),
            expected="one for each process",
            action="recover that one",
        )
    try:
        done = tuple(_brought_to_an_end(came, mine, patches) for came in reversed(list(mine.folded.runs.values())))
    except BaseException:
        if mine is not states.directory:
            mine.close()
        raise
    states.directory = mine
    recovery = Recovery(
        directory=str(path),
        versions=dict(mine.versions),
        migrations=tuple(each for each in reversed(done) if each is not None),
        torn=mine.journal.torn,
    )
    emit(
        "recovered",
        level="info" if recovery.ok else "error",
        states=recovery.versions,
        migrations=len(recovery.migrations),
        open=sum(each.outcome == "open" for each in recovery.migrations),
        torn=recovery.torn,
    )
    return recovery


def _brought_to_an_end(came: Came, directory: StateDirectory, patches: Mapping[str, Patch]) -> Recovered | None:
    if came.process == directory.process or came.ended:
        return None

    def told(outcome: Outcome, text: str) -> Recovered:
        return Recovered(patch=came.patch, name=came.name, version=came.version, outcome=outcome, told=text)

    if not came.durable:
        directory.note_of(came, "undone")
        if came.stage == "stuck":
            return told("before", f"its data is gone with the process that had it; it could not go back: {came.told}")
        return told("before", "its data is gone with the process that had it")
    if came.stage == "before":
        directory.note_of(came, "undone")
        return told("before", "it had not begun to change anything")
    if came.stage == "after":
        return told("after", f"apply patch {came.patch}, which does not run up again, or keep what suits its data")
    migration = _migration_of(came, patches)
    if migration is None:
        return told("open", f"{_said(came)}; call recover with patch {came.patch}, which has this migration")
    try:
        if _goes_back(came, migration):
            go_back(came, migration, directory)
            return told("before", f"{_said(came)}; what was saved before it is brought back")
        is_up = go_on(came, migration, directory)
    except LivepatchError as error:
        return told("open", f"{_said(came)}; {shortened(str(error), 500)}")
    if came.lowering:
        return told("before", f"{_said(came)}; down was gone on with to its end")
    if not is_up:
        return told("before", f"{_said(came)}; up failed again, and down has taken the data back")
    return told("after", f"{_said(came)}; up was gone on with to its end")


def _goes_back(came: Came, migration: Migration) -> bool:
    """Whether what was saved is brought back: on the way down not if that would undo what the program did since."""
    checkpoint = migration.checkpoint
    if not came.saved or checkpoint is None:
        return False
    return not came.lowering or checkpoint.on_revert or migration.down is None


def _migration_of(came: Came, patches: Mapping[str, Patch]) -> Migration | None:
    patch = patches.get(came.patch)
    every = patch.migrations if patch is not None else ()
    return next((m for m in every if (m.name, m.version, m.durable) == (came.name, came.version, True)), None)


def _said(came: Came) -> str:
    if came.stage == "stuck":
        return f"it could neither go on nor back: {came.told}"
    return f"its process ended while {'down' if came.lowering else 'up'} ran"
