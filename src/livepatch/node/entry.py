"""How each patch of the set that is wished for stands in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from livepatch.engine.modes import Mode, spelled_mode
from livepatch.node.wanted import Wish
from livepatch.patch import Patch

if TYPE_CHECKING:
    from livepatch.process.applied import Applied

__all__ = ["Entry", "Standing", "StandingState"]

StandingState = Literal["applied", "waiting", "aside", "retired", "gone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What has become of one patch of the set that is wished for.

    ``applied``: it is in; `waits_for` are modules that it changes too, and that the process has not imported; `lacks`
    those that came later and could not get it, for the `reason`.
    ``waiting``: the process has imported none of its modules to the end, or calls in flight hold it up.
    ``aside``: it does not fit, and is not in; `reason` says why, and `codes` are those of the report.
    ``retired``: the installed version is another and has what the patch brings.  ``gone``: somebody has reverted it.
    """

    id: str
    digest: str
    file: str
    mode: str
    state: StandingState
    reason: str = ""
    codes: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


@dataclass(slots=True)
class Entry:
    """One patch of the set, as it stands, and what is needed to bring it in."""

    wish: Wish
    patch: Patch | None = None
    modules: frozenset[str] = frozenset()
    """The modules that it changes, but for those that it brings."""
    applied: Applied | None = None
    state: StandingState = "waiting"
    reason: str = ""
    codes: tuple[str, ...] = ()
    absent: frozenset[str] = frozenset()
    """The modules that were not there when it went in last."""
    lacks: frozenset[str] = frozenset()
    """The modules that came since, and could not get it."""
    due: bool = False
    """Whether it is to be tried although nothing has come."""
    held_up: bool = False
    """Whether it waits for a patch that has to be in first."""
    mode: Mode | None = None
    """The mode in which it was when it was last taken out to go in anew."""

    @classmethod
    def of(cls, wish: Wish, patch: Patch) -> Entry:
        """What is known of a patch once its file was read."""
        edited = [edit.module for edit in patch.edits if edit.whole is None]
        obstacles = [each.target.partition(":")[0] for each in patch.obstacles]
        return cls(wish, patch, frozenset([*edited, *obstacles]))

    def went_in(self, there: frozenset[str]) -> None:
        """It went in, where those modules were there to their end; others may have come in the meantime, or half."""
        self.lacks = frozenset()
        self.state, self.reason, self.codes, self.mode = "applied", "", (), None
        self.absent = self.modules - there

    def standing(self) -> Standing:
        """The same for others."""
        return Standing(
            id=self.wish.id,
            digest=self.wish.digest,
            file=self.wish.file,
            mode=spelled_mode(self.applied.mode) if self.applied is not None else self.wish.mode,
            state=self.state,
            reason=self.reason,
            codes=self.codes,
            waits_for=tuple(sorted(self.absent)) if self.state in ("applied", "waiting") else (),
            lacks=tuple(sorted(self.lacks)),
        )
