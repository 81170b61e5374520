"""The state directory of a process: the journal of its migrations, and the checkpoints that must outlive it."""

from __future__ import annotations

import fcntl
import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from livepatch.errors import StateError
from livepatch.state.files import SYSTEM, Files, remove
from livepatch.state.folding import Came, Folded, fold, kept
from livepatch.state.journal import Journal
from livepatch.state.migration import Migration
from livepatch.state.run import Run

__all__ = ["StateDirectory"]

_ODD = re.compile(r"[^A-Za-z0-9._-]")


class StateDirectory:
    """One directory, which one process has at a time."""

    def __init__(self, path: Path, files: Files = SYSTEM) -> None:
        """Take the directory, which is made if it is not there.

        Raises :class:`StateError` if another process has it, or it cannot be read or written.  Then it is as it was,
        but for part of a record that a crash had left.
        """
        self.path = path
        self.files = files
        self.process = uuid.uuid4().hex
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                os.close(self._lock)
                raise StateError(
                    "another process has the state directory",
                    found=str(path),
                    expected="a directory of its own for each process",
                    action="end that process, or choose another directory",
                ) from error
        except OSError as error:
            raise StateError(
                "the state directory cannot be used",
                found=f"{path}: {error.strerror or error}",
                expected="a directory that this process may write to",
                action="choose another directory",
            ) from error
        try:
            for left in path.glob(".livepatch-*.tmp"):
                remove(left, files)  # what a crash has left of a file that was not yet there
            self.journal = Journal(path / "journal", files)
            if self.journal.is_large:
                self.journal.rewrite(kept(self.journal.records))
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def folded(self) -> Folded:
        """What the journal says now."""
        return fold(self.journal.records)

    @property
    def versions(self) -> Mapping[str, int]:
        """The version of each state that outlives processes."""
        return self.folded.versions

    def unfinished(self, name: str) -> str:
        """What of a state that outlives processes is neither wholly before nor wholly after; empty if nothing is."""
        found = [came for came in self.folded.unfinished if came.name == name and came.durable]
        return f"{found[-1]}, which is {found[-1].stage}" if found else ""

    def done(self, migration: Migration) -> Came | None:
        """What a process before this one has made of that state and version, of whichever patch, if it still holds."""
        if not migration.durable:
            return None
        every = self.folded.in_force(migration.name)
        return next((came for came in every if came.version == migration.version), None)

    def note(self, run: Run, kind: str, **fields: object) -> None:
        """Write down one step of a migration.  Raises :class:`StateError`."""
        key = self._key(run)
        record: dict[str, Any] = {"kind": kind, "run": key, **fields}
        if kind == "intent":
            migration = run.migration
            record |= {
                "patch": run.patch_id,
                "name": migration.name,
                "version": migration.version,
                "durable": migration.durable,
                "process": self.process,
                "was": self.versions.get(migration.name),
            }
        self.journal.add(record)

    def note_of(self, came: Came, kind: str, **fields: object) -> None:
        """Write down one step of a migration that a process before this one began."""
        self.journal.add({"kind": kind, "run": came.run, **fields})

    def _key(self, run: Run) -> str:
        """One for what outlives processes, wherever it is gone on with; else one for each process."""
        return run.key if run.migration.durable else f"{run.key}@{self.process}"

    def checkpoint_of(self, run: Run) -> Path:
        """Where the checkpoint of a migration is kept that must outlive the process."""
        return self.path / f"{_ODD.sub('_', run.key)}.checkpoint"

    def leave(self) -> None:
        """In a child of a fork: the files are the parent's, and so is the lock on them."""
        self.journal.close()
        os.close(self._lock)

    close = leave
