"""One migration in this process: which objects it has taken up, and the ways up, back and down.

Whatever fails on the way goes back to where it came from.  What cannot go back either is told exactly, in the error, in
an event, and in the state directory if there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from livepatch.errors import LivepatchError, StateError, TransitionError, counted, shortened
from livepatch.events import emit
from livepatch.govern.recording import note
from livepatch.state.driving import LoopGoneError, Steps, drive
from livepatch.state.files import SYSTEM, Files
from livepatch.state.migration import Migration, reference_to
from livepatch.state.once import Once
from livepatch.state.saved import Saved, SavedWhole
from livepatch.state.ways import WHOLE, Begun, Ways, said

__all__ = ["Diary", "Run"]

_PASSES = 3  # times that the objects are gone through before a switch, for those that came meanwhile
_MOST_TOLD = 5
_SWEPT = 1024  # objects from which on those that are gone are looked for, each time that they have doubled

Reference = Callable[[], object]


class Diary(Protocol):
    """Where the steps of migrations are written down, so that the next start of the process knows them."""

    files: Files

    def note(self, run: Run, kind: str, **fields: object) -> None:
        """Write down one step.  Raises :class:`StateError` if it cannot be."""

    def checkpoint_of(self, run: Run) -> Path:
        """Where a checkpoint that must outlive the process is kept."""


class Run:
    """One migration of a patch, and what it has done in this process."""

    def __init__(self, migration: Migration, patch_id: str, diary: Diary | None = None, key: str = "") -> None:
        self.migration = migration
        self.patch_id = patch_id
        self.key = key or f"{patch_id}-{migration.name}-{migration.version}"
        """What it is known by to the diary: that of another patch, if a process before this one made it for that."""
        self.diary = diary
        self.holders: frozenset[str] = frozenset()
        """The patches that need the state to be as this left it."""
        self.trouble = ""
        """What was not done that should have been; empty if all is well."""
        self.behind = False
        """Whether objects of the old side may have come since the last pass."""
        self._open = self._was_open = False
        self._downed: list[Reference] = []
        self._touched: dict[int, Reference] = {}
        self._only: dict[int, Reference] | None = None
        self._half: Begun | None = None
        self._once = Once()
        self._saved = _store(self)
        self._ways = Ways(migration, self._saved)

    @property
    def count(self) -> int:
        """How many objects are taken up; those that have died since are among them."""
        return len(self._touched)

    @property
    def saved(self) -> Saved | SavedWhole | None:
        """What a checkpoint has saved."""
        return self._saved

    def __str__(self) -> str:
        return f"migration {self.migration} of patch {self.patch_id}"

    # Up

    def up(self, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Take the data up.  Raises :class:`StateError` or :class:`TransitionError`; then it is back, or told."""
        with self._recorded("up"):
            self._up(cancelled)

    def _up(self, cancelled: Callable[[], bool]) -> None:
        self._note("intent")
        self._downed = []
        try:
            if self.migration.lazy:
                self._begin_lazy()
            else:
                self._drive(self._ups(), cancelled)
                self.behind = self.migration.objects is not None and not self.migration.objects.once
        except BaseException as error:
            self._fail("up", error, self._backs(), self._undone)
            raise
        # A record that fails may be on the disk all the same, so to go back for it could make it untrue.
        self._note_quietly("done", objects=self.count)

    def _undone(self) -> None:
        self._only = None
        self.behind = False
        if self._note_quietly("undone") or not isinstance(self._saved, SavedWhole):
            self.close()
        else:
            self._saved.set_aside()

    def up_to_date(self) -> None:
        """Take up what the old side has made since the last pass.

        Raises :class:`StateError`; then none of them is taken up, or it is told, and the others stay as they are.
        """
        if not self.behind:
            return
        self.behind = False
        known = self.count
        try:
            self._drive(self._pass())
        except BaseException as error:
            self.trouble = f"objects that came while up ran are not taken up: {said(error)}"
            self._fail("up", error, self._backs(known))
            raise

    def abandon(self) -> None:
        """Take back what a thread has begun that is no more.  Raises :class:`StateError` for what cannot be."""
        if self._half is None and not self._touched:
            return
        self._fail("up", KeyboardInterrupt("a thread that did not come along to a child"), self._backs(), self._undone)

    def adopt(self, *, saved: bool) -> None:
        """It has been done by a process before this one, and is in force; whether that `saved` what it changed."""
        if not saved:
            self._saved = None
            self._ways = Ways(self.migration, None)
        self._touched[id(WHOLE)] = _always(WHOLE)

    def _begin_lazy(self) -> None:
        if self.migration.objects is not None:
            self._only = {id(item): reference_to(item) for item in self.migration.objects}
        self._open = True

    def _ups(self) -> Steps:
        if self.migration.objects is None:
            yield from self._one_up(WHOLE)
            return
        self._note("up")
        for _ in range(_PASSES):
            known = self.count
            yield from self._pass()
            if self.migration.objects.once or self.count == known:
                break

    def _pass(self) -> Steps:
        for item in self.migration.objects or ():
            if not self._has(item):
                yield from self._one_up(item)
            yield
        if self._saved is not None:
            self._saved.complete()

    def _one_up(self, item: object) -> Steps:
        begun = self._ways.begin(item)
        if item is WHOLE:
            self._note("up", saved=self._saved is not None)
        self._half = begun
        yield from self._ways.up(begun)
        self._touched[id(item)] = _always(WHOLE) if item is WHOLE else reference_to(item)
        self._half = None

    # Lazy

    def touch(self, item: object) -> None:
        """Take an object up, if it has not been and belongs to a lazy migration.  From any thread, once.

        Raises :class:`StateError` if ``up`` fails; then the object is as it was, or told, and other objects go on.
        """
        if not self._wants(item):
            return
        with self._once.of(item) as is_mine:
            if is_mine and self._wants(item):
                self._take_up(item)
            elif is_mine is None and self._wants(item):
                raise self._not_up(item, "up has failed for it in another thread")

    def _take_up(self, item: object) -> None:
        begun: Begun | None = None
        try:
            begun = self._ways.begin(item)
            for _ in self._ways.up(begun):
                pass
        except Exception as error:
            told = self._ways.half_back(begun) if begun is not None else ""
            if told:
                self._tell_stuck([told])
            raise self._not_up(item, said(error), told) from error
        self._touched[id(item)] = reference_to(item)
        if not self._open:  # taken down meanwhile, under calls that go on
            self._touched.pop(id(item), None)
            self._ways.back(item)
        count = self.count
        if count >= _SWEPT and count & (count - 1) == 0:
            self._sweep()

    def _sweep(self) -> None:
        """Forget objects that are gone: a node makes and drops connections for months."""
        for key, reference in list(self._touched.items()):
            if reference() is None and self._touched.get(key) is reference:
                self._touched.pop(key, None)

    def _wants(self, item: object) -> bool:
        if self._has(item) or not self._open:
            return False
        if self._only is None:
            return True
        known = self._only.get(id(item))
        return known is not None and known() is item

    def _not_up(self, item: object, found: str, told: str = "") -> StateError:
        return StateError(
            f"{self} fails for an object of {type(item).__qualname__}",
            found="; ".join(filter(None, (found, told))),
            expected="that up returns",
            action="revert the patch, and correct up",
        )

    # Down

    def down(self) -> None:
        """Take the data down again.  Raises :class:`StateError`; then it is up again, or told."""
        with self._recorded("down"):
            self._down()

    def _down(self) -> None:
        self._was_open = self._open
        self._open = False
        self._downed = []
        try:
            self._note("down")
            self._drive(self._downs(self._downed))
        except BaseException as error:
            self._fail("down", error, self._ups_again(), self._up_again)
            raise
        self._undone()

    def up_again(self) -> None:
        """Undo a :meth:`down`, one that was interrupted as well.  Raises :class:`StateError` for what cannot be."""
        self._note_quietly("up")
        self._fail("down", KeyboardInterrupt("the switch was undone"), self._ups_again(), self._up_again)

    def _up_again(self) -> None:
        self._open = self._was_open
        self._note_quietly("done", objects=self.count)

    def _downs(self, downed: list[Reference]) -> Steps:
        yield from self._made_since()
        while self._touched:
            reference = self._touched.popitem()[1]
            item = reference()
            if item is not None:
                downed.append(reference)  # before: what fails is taken up again as well
                yield from self._ways.down(item)
                if self._saved is not None:
                    self._saved.forget(item)
            yield

    def _made_since(self) -> Steps:
        """Count what the new side has made as taken up, where ``check`` tells that it has the new form."""
        migration, objects = self.migration, self.migration.objects
        if migration.check is None or migration.down is None or objects is None or objects.once or migration.lazy:
            return
        for item in objects:
            if not self._has(item):
                for answer in self._ways.is_new(item):
                    if answer:
                        self._touched[id(item)] = reference_to(item)
            yield

    def _ups_again(self) -> Iterator[str]:
        """The way from a down to where it came from; gives what fails on it."""
        while self._downed:
            reference = self._downed.pop()
            item = reference()
            if item is None:
                continue
            try:
                for _ in self._ways.up_again(item):
                    yield ""
                self._touched[id(item)] = reference
            except Exception as error:  # noqa: BLE001  # the author's code may fail in any way
                yield f"up again, after down: {said(error)}"
            yield ""

    # Back from where it failed

    def _backs(self, down_to: int = 0) -> Iterator[str]:
        """The way back from a failed up, last object first, until so many are left; gives what fails on it."""
        half, self._half = self._half, None
        if half is not None:
            yield self._ways.half_back(half)
        if not down_to:
            self._open = False
        while self.count > down_to:
            item = self._touched.popitem()[1]()
            yield self._ways.back(item) if item is not None else ""

    def _fail(
        self, way: str, error: BaseException, back: Iterator[str], then: Callable[[], None] | None = None
    ) -> None:
        """Go `back` after an error, and do something `then`.

        Raises :class:`StateError` unless the error itself says enough; if it could not go back, it tells so.
        """
        done = self.count
        told: list[str] = []

        def steps() -> Steps:
            for each in back:
                if each:
                    told.append(each)
                yield

        way_back = steps()
        try:
            drive(way_back, self.migration.budget, self.migration.loop)
        except LoopGoneError:
            drive(way_back, self.migration.budget)  # nothing runs there that it could be in the way of
        if told:
            self._tell_stuck(told)
            raise StateError(
                f"{self} failed on the way {way}, and could not go back everywhere",
                found=f"{said(error)}; then {self.trouble}",
                expected="that it goes through, or back",
                action=self._way_on(),
            ) from error
        if then is not None:
            then()
        if not isinstance(error, Exception) or isinstance(error, TransitionError):
            return
        found = said(error)
        if isinstance(error, LivepatchError):
            found = f"{str(error).partition('; found:')[0]}: {error.found}"
        raise StateError(
            f"{self} failed on the way {way}, and everything is as it was before",
            found=f"{found}, after {counted(done, 'object')}" if self.migration.objects is not None else found,
            expected=(isinstance(error, LivepatchError) and error.expected) or f"that {way} returns",
            action=(isinstance(error, LivepatchError) and error.action) or f"correct {way}, and try again",
        ) from error

    def _tell_stuck(self, told: list[str]) -> None:
        more = f"; and {len(told) - _MOST_TOLD} more" if len(told) > _MOST_TOLD else ""
        self.trouble = "; ".join(told[:_MOST_TOLD]) + more
        self._note_quietly("stuck", told=self.trouble, number=len(told))
        self._emit("migration_stuck", level="error", number=len(told))

    def _way_on(self) -> str:
        told = "see to what is named, then restart, or bring the data back from a copy of your own"
        return f"{told}; livepatch.recover() tells it again" if self.diary is not None else told

    # The rest

    @contextmanager
    def _recorded(self, way: str) -> Iterator[None]:
        """Tell the record of this process, if there is one, what came of it: the intent is that of the switch."""
        migration, before = self.migration, self.count
        told: dict[str, Any] = {
            "migration": migration.name,
            "version": migration.version,
            "way": way,
            "lazy": migration.lazy,
        }
        try:
            yield
        except BaseException as error:
            note("migrated", self.patch_id, error, **told)
            raise
        note("migrated", self.patch_id, objects=max(before, self.count), **told)

    def close(self) -> None:
        """Let go of what was saved: the data stays as it is."""
        if self._saved is not None:
            self._saved.close()

    def _has(self, item: object) -> bool:
        known = self._touched.get(id(item))
        return known is not None and known() is item

    def _drive(self, steps: Steps, cancelled: Callable[[], bool] = lambda: False) -> None:
        drive(steps, self.migration.budget, self.migration.loop, cancelled=cancelled, progress=self._progress)

    def _progress(self) -> None:
        self._note_quietly("progress", objects=self.count)
        self._emit("migrating", objects=self.count)

    def _emit(self, event: str, *, level: str = "info", **fields: object) -> None:
        migration = self.migration
        emit(event, level=level, patch=self.patch_id, migration=migration.name, version=migration.version, **fields)

    def _note(self, kind: str, **fields: object) -> None:
        if self.diary is not None:
            self.diary.note(self, kind, **fields)

    def _note_quietly(self, kind: str, **fields: object) -> bool:
        """Write down what has happened in any case, or let the next start find the step before; whether it is."""
        try:
            self._note(kind, **fields)
        except StateError as error:
            self._emit("state_not_written", level="error", error=shortened(str(error), 300))
            return False
        return True


def _store(run: Run) -> Saved | SavedWhole | None:
    migration, diary = run.migration, run.diary
    checkpoint = migration.checkpoint
    files = diary.files if diary is not None else SYSTEM
    if checkpoint is None:
        return None
    if not migration.is_whole:
        return Saved(checkpoint, run.key, files)
    place = checkpoint.place / f"{run.key}.checkpoint" if checkpoint.place is not None else None
    if place is None and migration.durable and diary is not None:
        place = diary.checkpoint_of(run)
    return SavedWhole(checkpoint, place, files)


def _always(item: object) -> Reference:
    return lambda: item
