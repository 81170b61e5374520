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
        self.action: recording.Action | None = None
        """What is being done.  Whoever ends it stores ``None``: in a store nothing can strike, as it can in a call."""

    def intend(self, event: str, patch: Patch, *, way_back: bool = False, **details: object) -> None:
        """Say what is about to be done.  Raises :class:`AuditError` if that cannot be written."""
        self.action = recording.begin(event, patch, way_back=way_back)
        if self.action is not None:
            self.action.intend(details)

    def done(self, details: Mapping[str, Any]) -> None:
        """Say that it is done.  Raises :class:`AuditError`, which takes it back as any failure does."""
        if self.action is not None:
            self.action.done(details)

    def failed(self, error: BaseException) -> None:
        """Say that everything was put back."""
        action, self.action = self.action, None
        if action is not None:
            action.failed(error)
