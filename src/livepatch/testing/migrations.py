"""Rehearsals of migrations, for the tests of a patch: up and down give the same, up twice is up, and nothing more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from livepatch.errors import PatchError, StateError
from livepatch.patch import Patch
from livepatch.state.digests import digest_of
from livepatch.state.migration import Migration
from livepatch.state.saved import Saved
from livepatch.state.ways import Begun, Ways

__all__ = ["Rehearsed", "rehearse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """What a migration does to objects; each is named by its number.  True if all is as it should be.

    `beyond`: what ``touches=`` does not declare; `twice`: objects that a second ``up`` changes; `not_back`: objects
    that are others after ``up`` and ``down``.  `failed` says what raised.
    """

    migration: str
    objects: int
    beyond: tuple[str, ...] = ()
    twice: tuple[int, ...] = ()
    not_back: tuple[int, ...] = ()
    failed: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Nothing is wrong, and there was something to try."""
        return bool(self.objects) and not (self.beyond or self.twice or self.not_back or self.failed)

    def __bool__(self) -> bool:
        return self.ok


def rehearse(patch: Patch, objects: Iterable[object] | None = None) -> tuple[Rehearsed, ...]:
    """Make each migration of `patch` on its objects, or on those that are given, and take it back; here and now.

    The objects are really changed, and are as before if the migration is right.  What a migration would change without
    objects, and what outlives the process, cannot be compared: raises :class:`PatchError` for such a one.
    """
    return tuple(_rehearsed(migration, objects) for migration in patch.migrations)


def _rehearsed(migration: Migration, objects: Iterable[object] | None) -> Rehearsed:
    given = migration.objects if objects is None else objects
    if given is None:
        raise PatchError(
            f"migration {migration} cannot be rehearsed",
            found="no objects" if not migration.durable else "data that outlives the process",
            expected="objects to compare before and after",
            action="pass objects=",
        )
    notes = _Notes()
    saved = Saved(migration.checkpoint, f"rehearsal-{id(notes)}") if migration.checkpoint is not None else None
    ways = Ways(migration, saved, every=True)
    try:
        count = 0
        for number, item in enumerate(given):
            notes.take(number, item, ways)
            count += 1
    finally:
        if saved is not None:
            saved.close()
    return Rehearsed(
        migration=str(migration),
        objects=count,
        beyond=tuple(notes.beyond),
        twice=tuple(notes.twice),
        not_back=tuple(notes.not_back),
        failed=tuple(notes.failed),
    )


class _Notes:
    def __init__(self) -> None:
        self.beyond: list[str] = []
        self.twice: list[int] = []
        self.not_back: list[int] = []
        self.failed: list[str] = []

    def take(self, number: int, item: object, ways: Ways) -> None:
        """Up, up again, and down."""
        before = digest_of(item)
        begun = ways.begin(item)
        if not self._run(number, ways.up(begun)):
            ways.half_back(begun)
            return
        once = digest_of(item)
        if self._run(number, ways.up(Begun(item, None, None))) and digest_of(item) != once:
            self.twice.append(number)
        if self._run(number, ways.down(item)) and digest_of(item) != before:
            self.not_back.append(number)

    def _run(self, number: int, steps: Iterator[None]) -> bool:
        try:
            for _ in steps:
                pass
        except StateError as error:
            self.beyond.append(f"object {number}: {error.found}")
            return False
        except Exception as error:  # noqa: BLE001  # the author's code may fail in any way
            self.failed.append(f"object {number}: {type(error).__qualname__}: {error}")
            return False
        return True
