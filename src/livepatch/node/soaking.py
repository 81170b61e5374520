"""Patches that soak in a node: not wished for until they have passed, so that no start brings them in before."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

from livepatch.errors import LivepatchError, PatchError
from livepatch.events import emit
from livepatch.govern.recording import acting_as
from livepatch.health.soaking import Soak
from livepatch.node.modetext import written_mode
from livepatch.node.stored import Installed
from livepatch.node.wanted import Wish

__all__ = ["Soaking"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Soaking:
    """A soak, the wish for its patch once it has passed, and its file."""

    soak: Soak
    wish: Wish
    found: Installed
    is_new: bool
    """Whether the file came into the store for it."""
    kept: threading.Event = field(default_factory=threading.Event)
    """Set once the set that is wished for follows what came of it."""

    @property
    def ended(self) -> bool:
        """Whether it has come to an end."""
        return self.soak.outcome is not None

    def take_back(self, timeout: float) -> None:
        """Take the patch out, for nobody watches any more.  An event says so if that cannot be done in time."""
        try:
            with acting_as("agent"):
                self.soak.applied.revert(timeout=timeout)
        except LivepatchError as error:
            emit("not_rolled_back", level="error", patch=self.wish.id, error=type(error).__qualname__)

    def wished(self) -> Wish | None:
        """What is to be wished for now that it has ended: its patch as it is, or nothing if that is out."""
        if self.soak.applied.reverted:
            return None
        try:
            return replace(self.wish, mode=written_mode(self.soak.applied.mode))
        except PatchError as error:  # somebody has set a mode that cannot be kept
            emit("not_kept", level="error", patch=self.wish.id, found=error.found)
            return None
