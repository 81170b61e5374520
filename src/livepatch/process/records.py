"""What belongs to an applied patch besides its layer, and the callbacks around its switches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from livepatch.compat.report import Report
from livepatch.contents.ownership import NOBODY, Owners
from livepatch.contents.probes import Probe
from livepatch.engine.caches import Cache
from livepatch.engine.frames import InFlight, Stuck
from livepatch.engine.modes import Mode
from livepatch.engine.outliving import Outliving
from livepatch.engine.shadow_variables import Shadows
from livepatch.errors import TransitionError, UnknownPatchError
from livepatch.events import emit
from livepatch.govern.tripwires import tripped
from livepatch.patch import Patch
from livepatch.process.standing import Phase, Status
from livepatch.process.switching import Consistency
from livepatch.state.states import Prepared

__all__ = ["Known", "Moment", "Record", "call_back", "may_apply", "unknown"]

Moment = Literal["pre_apply", "post_apply", "pre_revert", "post_revert"]


@dataclass(frozen=True, slots=True)
class Known:
    """A patch that was applied here, with the probes that it carried then."""

    patch: Patch
    probes: tuple[Probe, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """What belongs to an applied patch besides its layer.  `switch_seconds`: how long the stores of its apply took.

    `provides` are the ids that it satisfies for patches that require them: its own, and those that it replaced.
    """

    patch: Patch
    id: str
    flag: str
    summary: str
    report: Report
    caches: tuple[Cache, ...]
    sources: dict[str, str]
    switch_seconds: float
    consistency: Consistency = "immediate"
    requires: tuple[str, ...] = ()
    provides: frozenset[str] = frozenset()
    callbacks: Mapping[str, Callable[[], object]] = field(default_factory=dict)
    on_stuck: Callable[[Stuck], object] | None = None
    outliving: Outliving = field(default_factory=Outliving)
    max_pause: float | None = None
    shadows: Shadows = field(default_factory=Shadows)
    prepared: Prepared = field(default_factory=Prepared)
    owners: Owners = NOBODY

    def imported_since(self, modules: Mapping[str, object]) -> tuple[str, ...]:
        """The modules that the patch would change, and that the process has imported, unchanged, since it went in."""
        absent = [finding.target for finding in self.report.findings if finding.code == "not-in-process"]
        return tuple(name for name in absent if modules.get(name) is not None)

    def gone(self, foreign: tuple[str, ...] = (), left: tuple[str, ...] = ()) -> Status:
        """How the patch stands once it is taken out."""
        return self.standing("reverted", "off", (), foreign, left)

    def standing(
        self,
        state: Phase,
        mode: Mode,
        frames: tuple[InFlight, ...],
        foreign: tuple[str, ...],
        left: tuple[str, ...] = (),
    ) -> Status:
        """How the patch stands."""
        return Status(
            id=self.id,
            flag=self.flag,
            summary=self.summary,
            state=state,
            mode=mode,
            targets=self.report.targets,
            frames=frames,
            foreign=foreign,
            left=left,
            protected=self.report.protected,
            waived=self.report.waived,
            tripped=tripped(self.id),
            owners=self.owners,
        )


def may_apply(patch: Patch) -> None:
    """Ask the patch's ``pre_apply``.  Raises :class:`TransitionError` if it raises."""
    ask = patch.callbacks.get("pre_apply")
    if ask is None:
        return
    try:
        ask()
    except Exception as error:
        raise TransitionError(
            f"pre_apply of patch {patch.id} refused",
            found=f"{type(error).__qualname__}: {error}",
            expected="that it returns",
            action="see to what it says, and apply the patch again",
        ) from error


def call_back(patch_id: str, callbacks: Mapping[str, Callable[[], object]], moment: Moment) -> None:
    """Call what a patch wants called at that moment.  What it raises is logged, and nothing else."""
    function = callbacks.get(moment)
    if function is None:
        return
    try:
        function()
    except Exception as error:  # noqa: BLE001  # the author's code may fail in any way
        emit("callback_failed", level="error", patch=patch_id, moment=moment, error=type(error).__qualname__)


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownPatchError:
    """The error for a name that nothing applied has."""
    return UnknownPatchError(
        f"no {kind} {name!r} in this process",
        found=", ".join(sorted(known)) or "none at all",
        expected=f"an applied {kind}",
        action="correct the name, or apply the patch, again if it was reverted; "
        "livepatch status, or livepatch.status(), lists patches",
    )
