"""What the transaction that is being made has announced to the record, if there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from livepatch.govern import recording
from livepatch.patch import Patch

__all__ = ["Announcing"]


class Announcing:
    """One action at a time: its intent is on the disk before it is made, its result before anybody is told of it."""

    def __init__(self) -> None:
        self._action: recording.Action | None = None

    def intend(self, event: str, patch: Patch, *, way_back: bool = False, **details: object) -> None:
        """Say what is about to be done.  Raises :class:`AuditError` if that cannot be written."""
        self._action = recording.begin(event, patch, way_back=way_back)
        if self._action is not None:
            self._action.intend(details)

    def done(self, details: Mapping[str, Any]) -> None:
        """Say that it is done.  Raises :class:`AuditError`, which takes it back as any failure does."""
        if self._action is not None:
            self._action.done(details)

    def failed(self, error: BaseException) -> None:
        """Say that everything was put back."""
        action, self._action = self._action, None
        if action is not None:
            action.failed(error)

    def over(self) -> None:
        """The transaction is over; or this is a child, in which its thread is not."""
        self._action = None
