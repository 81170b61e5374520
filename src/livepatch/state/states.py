"""The versions of this process's state: what is in force, who needs it, and the way from one to another.

As with code there is one operation: what the applied patches that are on ask for is compared with what is in force.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from livepatch.compat.report import Finding
from livepatch.compat.rows import row
from livepatch.engine.stack import Slot
from livepatch.errors import LivepatchError, StateError
from livepatch.events import emit
from livepatch.patch import Patch
from livepatch.process.standing import Migrated
from livepatch.state.lazies import Toucher, activate, classes_of, lazy_findings, make_lazy, retire
from livepatch.state.migration import Migration
from livepatch.state.run import Run

if TYPE_CHECKING:
    from livepatch.state.directory import StateDirectory

__all__ = ["Prepared", "States"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """The migrations of one patch, and who takes up objects lazily."""

    patch_id: str = ""
    migrations: tuple[Migration, ...] = ()
    touchers: tuple[tuple[Migration, Toucher], ...] = ()


class States:
    """What is in force, by name, lowest version first.  Called with the process's one lock held."""

    def __init__(self) -> None:
        self._runs: dict[str, list[Run]] = {}
        self._done: list[Callable[[], None]] = []
        """The ways back from what the transaction under way has done."""
        self.directory: StateDirectory | None = None
        """Where what outlives the process is written down."""
        self.settling = False
        """Whether calls have ended, and the data is being brought to where they leave it."""
        self._troubled: dict[str, Run] = {}
        """What could neither go on nor back, by the name of the state."""
        self.interrupted = False
        """Whether a thread that did not come along to this child of a fork was in the middle of a transaction."""

    # What may be

    def version(self, name: str, *, durable: bool = False, without: Iterable[str] = ()) -> int | None:
        """The version in force, or ``None`` if nothing is known of that state."""
        gone = frozenset(without)
        runs = [run for run in self._runs.get(name, ()) if not run.holders or run.holders - gone]
        if runs:
            return runs[-1].migration.version
        return self.directory.versions.get(name) if durable and self.directory is not None else None

    def findings(self, patch: Patch, values: dict[Slot, object]) -> Iterator[Finding]:
        """Why the migrations of a patch may not be made, and how they will stand to the switch."""
        yield from lazy_findings(patch, values)
        reached: dict[str, int] = {}
        for migration in patch.migrations:
            known = self._known(migration)
            done = self.directory.done(migration) if self.directory is not None else None
            if known is not None or done is not None:
                by = known.patch_id if known is not None else f"{done.patch}, in a process before this" if done else ""
                yield row(
                    "info",
                    "migration-done",
                    migration,
                    f"state {migration.name} at version {migration.version}, by patch {by}",
                    "a lower version",
                    "nothing: up does not run again, and down when the last patch that needs it is taken out",
                )
            else:
                yield from self._refused(migration, reached.get(migration.name))
                if not migration.lazy:
                    yield row(
                        "info",
                        "migration-before-switch",
                        migration,
                        "a migration that is made before the switch, and taken back after that of a revert",
                        "old code that takes the data as up leaves it",
                        "see that it does, for as long as up and down run; else use lazy=True and "
                        "consistency='quiescent'",
                    )
            reached[migration.name] = migration.version

    def _known(self, migration: Migration) -> Run | None:
        for run in self._runs.get(migration.name, ()):
            if run.migration.version == migration.version:
                return run
        return None

    def _refused(self, migration: Migration, reached: int | None = None) -> Iterator[Finding]:
        now = reached or self.version(migration.name, durable=migration.durable)
        if migration.durable and self.directory is None:
            yield row(
                "error",
                "migration-without-directory",
                migration,
                "a durable migration in a process that has no state directory",
                "a place where it is written down what was done, so that a crash half-way is known",
                "call livepatch.recover(directory) when the process starts",
            )
            return
        unfinished = self._unfinished(migration)
        if unfinished:
            yield row(
                "error",
                "migration-unfinished",
                migration,
                unfinished,
                "data that is wholly at one version",
                "restart; if the data outlives the process, call livepatch.recover(directory, [patch]) with the patch "
                "that it was of",
            )
        elif now is not None and now > migration.version:
            yield row(
                "error",
                "migration-lower",
                migration,
                f"state {migration.name} at version {now}",
                f"a version below {migration.version}",
                "revert what raised it, or use the patch for that version",
            )
        elif now is not None and now != migration.version and not migration.comes_from(now):
            yield row(
                "error",
                "migration-unknown",
                migration,
                f"state {migration.name} at version {now}, from which this migration does not know the way",
                "version " + " or ".join(map(str, migration.follows)),
                "apply the migrations between first, or name the version in follows= if up takes it",
            )

    def _unfinished(self, migration: Migration) -> str:
        run = self._troubled.get(migration.name)
        if run is not None:
            return f"{run} could neither go on nor back: {run.trouble}"
        if migration.durable and self.directory is not None:
            return self.directory.unfinished(migration.name)
        return ""

    # Within a transaction

    def begin(self) -> None:
        """A transaction begins."""
        if self.interrupted:
            self.interrupted = False
            self.roll_back()
        self._done = []

    def prepare(self, patch: Patch, values: dict[Slot, object]) -> Prepared:
        """Get ready what a patch asks for; bodies of lazy migrations are written into `values`."""
        touchers = []
        for migration in patch.migrations:
            if migration.lazy:
                run = self._known(migration) or self._run(migration, patch.id)
                touchers.append((migration, Toucher(run, classes_of(migration, patch))))
        if touchers:
            make_lazy(values, tuple(toucher for _, toucher in touchers))
        return Prepared(patch.id, patch.migrations, tuple(touchers))

    def enter(self, prepared: Prepared, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Take the data up for a patch.

        Raises :class:`StateError`, or :class:`TransitionError` if it was `cancelled`.  Then the migration that failed
        is back where it came from, and the others are with :meth:`roll_back`.
        """
        for migration in prepared.migrations:
            run = self._known(migration)
            if run is not None:
                self._hold(run, run.holders | {prepared.patch_id})
            else:
                wrong = next(self._refused(migration), None)
                if wrong is not None:
                    raise StateError(
                        f"migration {migration} of patch {prepared.patch_id} may not be made",
                        found=wrong.found,
                        expected=wrong.expected,
                        action=wrong.action,
                    )
                run = self._raise(migration, prepared, cancelled)
            for lazy, toucher in prepared.touchers:
                if lazy is migration:
                    toucher.run = run
                    activate(toucher)

    def _raise(self, migration: Migration, prepared: Prepared, cancelled: Callable[[], bool]) -> Run:
        run = self._run(migration, prepared.patch_id)
        run.holders = frozenset({prepared.patch_id})
        done = self.directory.done(migration) if self.directory is not None else None
        if done is not None:
            run.adopt(saved=done.saved)
            self._push(run)
            self._done.append(lambda: self._pop(run))
            return run
        self._done.append(lambda: self._take_back(run))
        self._watched(run, lambda: run.up(cancelled))
        self._push(run)
        return run

    def _watched(self, run: Run, step: Callable[[], None]) -> None:
        try:
            step()
        finally:
            if run.trouble:
                self._troubled[run.migration.name] = run

    def _take_back(self, run: Run) -> None:
        if run not in self._runs.get(run.migration.name, ()):
            self._watched(run, run.abandon)
            return
        try:
            self._watched(run, run.down)
        except LivepatchError as error:
            self._leave_up(run, error)
            raise
        self._pop(run)

    def _leave_up(self, run: Run, error: LivepatchError) -> None:
        """Data that stays up though no patch asks for it: no other migration of it may be made, and no other waits."""
        run.trouble = run.trouble or f"it is still up, and no patch is applied that needs it: {error.found}"
        self._troubled[run.migration.name] = run
        self._pop(run)

    def _run(self, migration: Migration, patch_id: str) -> Run:
        done = self.directory.done(migration) if self.directory is not None else None
        return Run(migration, patch_id, self.directory, done.run if done is not None else "")

    def _push(self, run: Run) -> None:
        self._runs[run.migration.name] = [*self._runs.get(run.migration.name, ()), run]

    def _pop(self, run: Run) -> None:
        left = [each for each in self._runs.get(run.migration.name, ()) if each is not run]
        self._runs = {**self._runs, run.migration.name: left} if left else _without(self._runs, run.migration.name)
        retire(run)

    def _hold(self, run: Run, holders: frozenset[str]) -> None:
        before = run.holders
        if holders != before:
            run.holders = holders
            self._done.append(lambda: setattr(run, "holders", before))

    def reconcile(self, live: frozenset[str]) -> None:
        """Bring the data to what the patches that are `live` ask for: what none needs any more is taken down.

        Raises :class:`StateError`; then what failed is where it was, and the rest is with :meth:`roll_back`.
        """
        for run in self._reconciling(live):
            self._watched(run, run.up_to_date) if run.holders else self._lower(run)

    def _reconciling(self, live: frozenset[str]) -> Iterator[Run]:
        """What is to be brought up to date, as it has holders, or taken down; what lies above comes first."""
        for name in list(self._runs):
            above: frozenset[str] = frozenset()
            for run in reversed(self._runs.get(name, [])):
                # What lies beneath a version stays as long as that does.
                above = run.holders & live | above
                self._hold(run, above)
                if not above and run.migration.durable and self.directory is None:
                    self._pop(run)  # a child of a fork: its parent goes on with the data
                else:
                    yield run

    def _lower(self, run: Run) -> None:
        def undo() -> None:
            self._watched(run, run.up_again)
            if run not in self._runs.get(run.migration.name, ()):
                self._push(run)

        self._done.append(undo)
        try:
            self._watched(run, run.down)
        except BaseException:
            self._done.remove(undo)  # it has gone back by itself
            raise
        self._pop(run)

    def settle(self, live: frozenset[str]) -> None:
        """As :meth:`reconcile`, where nobody waits for it: what fails is logged, and told by the status."""
        done, self._done = self._done, []
        try:
            for run in self._reconciling(live):
                try:
                    self._watched(run, run.up_to_date) if run.holders else self._lower(run)
                except LivepatchError as error:
                    emit("not_reconciled", level="error", patch=run.patch_id, error=str(error)[:500])
                    if not run.holders:
                        self._leave_up(run, error)
        finally:
            self._done = done

    def roll_back(self) -> None:
        """Undo what the transaction has done.  Raises :class:`StateError` for what cannot be undone."""
        done, self._done = self._done, []
        for undo in reversed(done):
            undo()

    def after_fork(self, *, interrupted: bool) -> None:
        """In a child: what outlives processes is the parent's affair."""
        self.interrupted = self.interrupted or interrupted
        self.settling = False
        if self.directory is not None:
            self.directory.leave()
            self.directory = None
        for runs in self._runs.values():
            for run in runs:
                run.diary = None

    # At any time

    def told(self, patch_id: str) -> tuple[Migrated, ...]:
        """What is in force for a patch, and what stayed up that should not have."""
        every = dict.fromkeys([*(run for runs in list(self._runs.values()) for run in runs), *self._troubled.values()])
        return tuple(
            Migrated(
                name=run.migration.name,
                version=run.migration.version,
                lazy=run.migration.lazy,
                objects=run.count,
                trouble=run.trouble,
            )
            for run in every
            if patch_id in run.holders or (run.trouble and patch_id == run.patch_id)
        )


def _without(runs: Mapping[str, list[Run]], name: str) -> dict[str, list[Run]]:
    return {key: value for key, value in runs.items() if key != name}
