"""The ways of one object of a migration: up, down, and back from where up has failed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from livepatch.errors import StateError, shortened
from livepatch.state.digests import Picture, digests_of, picture_of, place_digest
from livepatch.state.driving import called
from livepatch.state.migration import Migration
from livepatch.state.saved import Saved, SavedWhole
from livepatch.state.touches import beyond

__all__ = ["WHOLE", "Begun", "Ways", "said"]

_MOST_TOLD = 5
_SAMPLED = 8  # objects that are compared with what is declared, and then each whose number is a power of two


class _Whole:
    def __repr__(self) -> str:
        return "the data"


WHOLE: Final = _Whole()
"""Stands for all the data of a migration that does not go from object to object."""


@dataclass(frozen=True, slots=True)
class Begun:
    """An object that up is about to change: what it looked like, as far as it is known."""

    item: object
    picture: Picture | None
    digests: dict[str, str] | None


class Ways:
    """What a migration does with one object, or with all the data at once."""

    def __init__(self, migration: Migration, saved: Saved | SavedWhole | None, *, every: bool = False) -> None:
        self._migration = migration
        self._saved = saved
        self._every = every  # whether each object is compared with what is declared, and not some
        self._count = 0

    def begin(self, item: object) -> Begun:
        """Save what up will change, and look at the object.  Raises before anything of it has changed."""
        self._count += 1
        sampled = self._every or self._count <= _SAMPLED or self._count & (self._count - 1) == 0
        digests = self._digests(item) if sampled and self._migration.touches is not None else None
        if self._saved is not None:
            self._saved.save(item)
        return Begun(item, picture_of(item) if item is not WHOLE else None, digests)

    def up(self, begun: Begun) -> Iterator[None]:
        """Take it up, and see whether it is as it should be then."""
        item = begun.item
        yield from called(self._migration.up, *_arguments(item))
        yield from self._checked(item)
        if begun.digests is not None:
            self._compare(begun.digests, self._digests(item), item)

    def down(self, item: object) -> Iterator[None]:
        """Take it down; then what was saved comes back, which may be more than down can know."""
        migration = self._migration
        if migration.down is not None:
            yield from called(migration.down, *_arguments(item))
        checkpoint = migration.checkpoint
        if self._saved is not None and checkpoint is not None and (checkpoint.on_revert or migration.down is None):
            restored = self._saved.restore(item)
        else:
            restored = False
        if migration.down is None and not restored:
            raise StateError(
                "there is no way down",
                found=f"nothing that was saved of {_named(item)}, and no down",
                expected="one of them",
                action="restart with data of before, or give the migration a down",
            )

    def up_again(self, item: object) -> Iterator[None]:
        """Take up what was taken down, or what a down that failed has left."""
        if self._saved is not None and not self._saved.has(item):
            self._saved.save(item)
        yield from called(self._migration.up, *_arguments(item))

    def is_new(self, item: object) -> Iterator[bool]:
        """The steps of the question whether an object has the new form already, as far as ``check`` tells."""
        if self._migration.check is None:
            yield False
            return
        answer = yield from called(self._migration.check, item)  # type: ignore[misc]  # its own steps yield nothing
        yield bool(answer)

    def back(self, item: object) -> str:
        """Take back what was taken up, right after; gives what fails at it."""
        try:
            if self._migration.down is not None:
                for _ in called(self._migration.down, *_arguments(item)):
                    pass
            if self._saved is not None:
                self._saved.restore(item)
        except Exception as error:  # noqa: BLE001  # the author's code may fail in any way
            return f"{_named(item)} could not be taken back: {said(error)}"
        return ""

    def half_back(self, begun: Begun) -> str:
        """Take back what up has failed on; gives what fails at it.

        ``down`` may not know what is half-way.  That does not matter where what was saved comes back afterwards, nor
        where up had not begun with the object.
        """
        item = begun.item
        untouched = begun.picture is not None and begun.picture.is_of(item)
        failed = ""
        try:
            if self._migration.down is not None:
                for _ in called(self._migration.down, *_arguments(item)):
                    pass
        except Exception as error:  # noqa: BLE001  # the author's code may fail in any way
            failed = f"down: {said(error)}"
        try:
            if self._saved is not None and self._saved.restore(item):
                return ""
        except Exception as error:  # noqa: BLE001  # likewise
            failed += ("; " if failed else "") + f"restore: {said(error)}"
        if not failed or (untouched and begun.picture is not None and begun.picture.is_of(item)):
            return ""
        return f"{_named(item)}, on which up failed, could not be taken back: {failed}"

    def _checked(self, item: object) -> Iterator[None]:
        if self._migration.check is None:
            return
        answer = yield from called(self._migration.check, *_arguments(item))
        if answer is not None and not answer:
            raise StateError(
                "check says that the data is not as up should have left it",
                found=f"something false for {_named(item)}",
                expected="something true, or None",
                action="correct up, or check",
            )

    def _digests(self, item: object) -> dict[str, str]:
        touches = self._migration.touches
        places = {place: place_digest(place) for place in touches.places} if touches is not None else {}
        return places if item is WHOLE else places | digests_of(item)

    def _compare(self, before: dict[str, str], after: dict[str, str], item: object) -> None:
        touches = self._migration.touches
        crossed = list(beyond(touches, before, after)) if touches is not None else []
        if crossed:
            raise StateError(
                "up goes beyond what touches= declares",
                found=f"of {_named(item)}: {'; '.join(crossed[:_MOST_TOLD])}",
                expected="changes of what it modifies or archives only",
                action="correct up, or declare what it does",
            )


def said(error: BaseException) -> str:
    """An error in a few words."""
    return shortened(f"{type(error).__qualname__}: {error}", 200)


def _arguments(item: object) -> tuple[object, ...]:
    return () if item is WHOLE else (item,)


def _named(item: object) -> str:
    return "the data" if item is WHOLE else f"an object of {type(item).__module__}.{type(item).__qualname__}"
