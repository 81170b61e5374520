"""One patch of the set that is wished for goes into this process, or is set aside with the reason."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from livepatch.bundle.load import load_for
from livepatch.bundle.trust import Unsigned
from livepatch.bundle.trustroot import TrustRoot
from livepatch.compat.versions import version_findings
from livepatch.compat.windows import moment_of
from livepatch.engine.functions import held_by
from livepatch.engine.modes import Mode, spelled_mode
from livepatch.engine.sourced import NO_HARM, survey_edits
from livepatch.errors import IncompatibleError, LivepatchError, StateError, TransitionError, shortened
from livepatch.events import emit
from livepatch.govern.recording import note
from livepatch.node.arrivals import is_there
from livepatch.node.entry import Entry
from livepatch.node.store import Store
from livepatch.node.stored import StoreView
from livepatch.node.upgraded import brings_nothing_new
from livepatch.node.wanted import Wish
from livepatch.patch import Patch
from livepatch.process import distribution
from livepatch.process.applied import Applied
from livepatch.process.live import live
from livepatch.process.public import Before, apply_again

__all__ = ["Entering", "is_in"]

_REASON = 1000
_OTHER_CODE = {
    "version-out-of-range",
    "before-differs",
    "upgraded-on-disk",
    "value-differs-from-before",
    "exists-already",
}
"""What a report says where the fix may be there already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entering:
    """By what patches go in: who answers for files, the rules, and what gives the node's height."""

    store: StoreView
    trust: Unsigned | TrustRoot | None
    policy: str | os.PathLike[str] | None
    height: object
    max_pause: float | None

    def opened(self, wish: Wish) -> Entry:
        """What is known of a patch before anything of the process is asked."""
        try:
            patch = load_for("restored", self.store.path_of(wish.file), self.trust)
            assert patch.origin is not None
            if (patch.id, patch.origin.digest) != (wish.id, wish.digest):
                raise StateError(
                    "the store is not in order",
                    found=f"{patch.id} ({patch.origin.digest}) in the file of {wish.id}",
                    expected=wish.digest,
                    action="install the patch file again, and apply that",
                )
        except LivepatchError as error:
            entry = Entry(wish)
            self._set_aside(entry, error)
            return entry
        return Entry.of(wish, patch)

    def is_contained(self, entry: Entry) -> bool:
        """Whether the package is of another version; then what became of the patch is told."""
        patch = entry.patch
        assert patch is not None
        installed = distribution.look_up(patch.package, (), {})
        findings = [
            each for each in version_findings(patch.package, patch.versions, installed) if each.severity == "error"
        ]
        if not findings:
            return False
        entry.codes = tuple(each.code for each in findings)
        if findings[0].code != "version-out-of-range" or not self._retire(entry):
            entry.state = "aside"
            entry.reason = f"found {findings[0].found}, expected {findings[0].expected}"
            self._tell(entry)
        return True

    def _retire(self, entry: Entry) -> bool:
        """Whether what is installed has all that the patch brings; then that is told."""
        patch = entry.patch
        assert patch is not None
        if not brings_nothing_new(patch):
            return False
        installed = distribution.look_up(patch.package, (), {}).installed
        entry.state = "retired"
        entry.reason = f"{patch.package} {installed} is installed, and has what the patch brings"
        self._tell(entry)
        return True

    def bring_in(self, entry: Entry, above: list[Entry], come: frozenset[str], seconds: float) -> None:
        """Put it in, anew if it is in, now that the modules `come` are there.  What becomes of it stands in the entry.

        `above` are those that are in and lie on it.  `seconds` is how long calls in flight may hold it up.
        """
        try:
            entry.applied = self._applied(entry, seconds)
        except TransitionError as error:
            entry.due, entry.reason = True, shortened(str(error), _REASON)
            return
        except IncompatibleError as error:
            if any(name in sys.modules for name in entry.modules - come):
                entry.due = True  # half of a module may have been met, whose import has begun meanwhile
                return
            codes = {each.code for each in error.report.errors}
            if (
                entry.applied is not None
                and (above or codes == {"values-replaced"})
                and _fits(entry.patch, come & entry.absent)
            ):
                self._out_and_in(entry, above, come, seconds)
            elif entry.applied is not None:
                entry.lacks |= come & entry.absent
                entry.absent -= come
                self._set_aside(entry, error)
            elif not codes & _OTHER_CODE or not self._retire(entry):
                self._set_aside(entry, error)
            return
        except Exception as error:  # noqa: BLE001  # one patch that meets a fault keeps neither the others nor the node
            self._set_aside(entry, error)
            return
        entry.went_in(come)

    def _applied(self, entry: Entry, seconds: float) -> Applied:
        patch, wish, again = entry.patch, entry.wish, entry.applied
        assert patch is not None
        if isinstance(self.store, Store) and not self.store.goes_in_late(seconds):
            raise TransitionError(
                "another thread changes what is wished for",
                timeout=seconds,
                found="a change under way",
                expected="one at a time",
                action="nothing: it is tried again",
            )
        there = again is not None and is_in(wish.id)
        mode: Mode = entry.mode if entry.mode is not None else wish.mode_of(self.height)
        if again is not None and there:
            mode = again.mode
        return apply_again(
            patch,
            Before(moment_of(wish.since) if wish.since else None, wish.replaces),
            mode=mode,
            trust=self.trust,
            policy=self.policy,
            replaces=tuple(name for name in dict.fromkeys((wish.id, *wish.replaces)) if is_in(name)),
            max_pause=self.max_pause,
            approvals=self._approvals(wish),
            timeout=seconds,
        )

    def _out_and_in(self, entry: Entry, above: list[Entry], come: frozenset[str], seconds: float) -> None:
        """Take it out, with what lies on it, and bring all of it in anew: what it brings cannot be compared otherwise.

        For that moment the old side is live.
        """
        every = [entry, *above]
        try:
            for each in reversed(every):
                assert each.applied is not None
                each.mode = each.applied.mode
                each.applied.revert(timeout=seconds)
        except LivepatchError as error:
            entry.reason = shortened(str(error), _REASON)
        for each in every:
            if is_in(each.wish.id):
                continue
            try:
                each.applied = self._applied(each, seconds)
                each.went_in(frozenset(name for name in each.modules if name in come or is_there(name)))
            except TransitionError as error:
                each.applied, each.state = None, "waiting"
                each.due, each.reason = True, shortened(str(error), _REASON)
            except Exception as error:  # noqa: BLE001  # likewise
                each.applied = None
                self._set_aside(each, error)

    def switch(self, entry: Entry) -> bool:
        """Bring it into the mode that is wished for.  Whether that is so, or cannot be."""
        applied = entry.applied
        if applied is None or not is_in(entry.wish.id):
            return True
        try:
            if spelled_mode(applied.mode) != entry.wish.mode:
                applied.mode = entry.wish.mode_of(self.height)
        except TransitionError as error:
            entry.reason = shortened(str(error), _REASON)
            return False
        except LivepatchError as error:
            self._set_aside(entry, error)
        return True

    def let_go(self, entry: Entry) -> None:
        """Take it out, if it is in and can be."""
        if entry.applied is None:
            return
        try:
            entry.applied.revert()
        except LivepatchError as error:
            emit("not_followed", level="error", patch=entry.wish.id, reason=shortened(str(error), _REASON))

    def _approvals(self, wish: Wish) -> tuple[Path, ...]:
        return self.store.approvals_of(wish.digest) if isinstance(self.trust, TrustRoot) else ()

    def _set_aside(self, entry: Entry, error: Exception) -> None:
        rows = error.report.errors if isinstance(error, IncompatibleError) else ()
        entry.reason = shortened(
            "; ".join(f"{each.code} {each.target}: found {each.found}, expected {each.expected}" for each in rows)
            or (str(error) if isinstance(error, LivepatchError) else f"{type(error).__qualname__}: {error}"),
            _REASON,
        )
        entry.codes = tuple(each.code for each in rows)
        if entry.applied is None:
            entry.state = "aside"
        self._tell(entry)

    def _tell(self, entry: Entry) -> None:
        level = "info" if entry.state == "retired" else "error"
        emit("not_restored", level=level, patch=entry.wish.id, state=entry.state, reason=entry.reason)
        note("not_restored", entry.wish.id, state=entry.state, reason=entry.reason)


def is_in(patch_id: str) -> bool:
    """Whether this process runs with that patch."""
    return patch_id in live.records


def _fits(patch: Patch | None, modules: frozenset[str]) -> bool:
    """Whether those modules run what the patch was made for, as far as functions tell."""
    assert patch is not None
    edits = [each for each in patch.edits if each.module in modules]
    obstacles = [each for each in patch.obstacles if each.target.partition(":")[0] in modules]
    found = survey_edits(patch.id, edits, obstacles, dict(sys.modules), held_by, statements=False)
    return all(refusal.code in NO_HARM for _, refusal in found.notes)
