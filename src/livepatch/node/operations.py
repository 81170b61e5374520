"""What may be done to this process for whoever asks its agent: the process and the store change together, or neither.

The order is always the same.  The file is put into the store; what is about to go in is on the disk as on trial; the
process is switched, with its intent in the record before and its result after; then the set that is wished for takes
the place of the one before.  If that fails, the switch is taken back.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from livepatch.bundle.trustroot import TrustRoot
from livepatch.compat.report import Report
from livepatch.engine.modes import Mode
from livepatch.engine.pace import resting
from livepatch.errors import LivepatchError, PatchError, StateError, TransitionError, UnknownPatchError
from livepatch.events import emit
from livepatch.node.modetext import read_mode, written_mode
from livepatch.node.restoring import Restoration
from livepatch.node.store import Installed, Store
from livepatch.node.wanted import Wish
from livepatch.process.applied import Applied, cancel
from livepatch.process.live import live
from livepatch.process.public import Before, apply, apply_again, check
from livepatch.process.records import Record
from livepatch.process.switching import Consistency
from livepatch.state.files import remove

if TYPE_CHECKING:
    from livepatch.health.rules import Rule
    from livepatch.node.soaking import Soaking
    from livepatch.node.watching import Watching

__all__ = ["Operations"]

_WAIT = 30.0  # seconds until a request that was cancelled has ended
_CLOSING = 5.0  # seconds that the end of the agent waits for calls in a patch that is taken back


@dataclass(frozen=True, slots=True)
class _Change:
    """The last change of what is wished for: about which patch, from what, to what."""

    about: str
    before: tuple[Wish, ...]
    after: tuple[Wish, ...]


@dataclass(slots=True, kw_only=True)
class Operations:
    """The store of this process, what it brings in, whom it trusts, and who tells the height."""

    store: Store
    restoration: Restoration
    trust: object
    policy: str | os.PathLike[str] | None = None
    height: Callable[[], int] | None = None
    max_pause: float | None = None
    max_rest: float | None = None
    watching: Callable[[], Watching]
    wake: Callable[[], object] = lambda: None
    """Says that there is something to keep."""
    soaking: list[Soaking] = field(default_factory=list)
    """What soaks, or has ended and is not kept yet."""
    _one: threading.Lock = field(default_factory=threading.Lock)
    _last: _Change | None = None

    def check(
        self, data: bytes, approvals: Sequence[bytes], mode: str, timeout: float, replaces: Sequence[str] = ()
    ) -> tuple[Installed, Report]:
        """What :func:`livepatch.check` says of a patch file.  It stays in the store only if it was there."""
        chosen = self._mode(mode)
        with self._changing(timeout), self._installed(data, approvals, keep=False) as (found, paths):
            report = check(
                found.path,
                timeout=timeout,
                trust=self.trust,
                policy=self.policy,
                mode=chosen,
                max_pause=self.max_pause,
                approvals=paths,
                replaces=replaces,
            )
            return found, report

    def apply(
        self,
        data: bytes,
        approvals: Sequence[bytes] = (),
        *,
        mode: str = "on",
        consistency: str = "",
        replaces: Sequence[str] = (),
        timeout: float = 30.0,
    ) -> tuple[Installed, Applied]:
        """What :func:`livepatch.apply` does, and from then on at every start.

        Raises what that raises, and :class:`StateError` if the store cannot be written; then the process, and what it
        is wished to run, are as they were.
        """
        chosen = self._mode(mode)
        with self._changing(timeout), self._installed(data, approvals, keep=True) as (found, paths):
            wish = found.wish(written_mode(chosen), replaces)
            gone = {found.id, *replaces}
            wishes = [*(each for each in self.store.wanted.patches if each.id not in gone), wish]
            replaced = [live.records[name] for name in replaces if name in live.records]
            before = [(record, Applied(record).mode) for record in replaced]
            applied: Applied | None = None
            try:
                with self._wishing(found.id, wishes):
                    applied = apply(
                        found.path,
                        mode=chosen,
                        consistency=cast("Consistency | None", consistency or None),
                        timeout=timeout,
                        trust=self.trust,
                        policy=self.policy,
                        replaces=replaces,
                        max_pause=self.max_pause,
                        approvals=paths,
                    )
            except BaseException:
                if applied is not None:
                    applied.revert(timeout=timeout)
                    for record, was in before:
                        self._back(record, was, timeout)
                raise
            self.restoration.follow(wish, applied.patch, applied)
            return found, applied

    def soak(
        self,
        data: bytes,
        approvals: Sequence[bytes] = (),
        *,
        during: float,
        before: float | None,
        rules: Sequence[Rule] = (),
        consistency: str = "",
        timeout: float = 30.0,
    ) -> Soaking:
        """What :func:`livepatch.soak` does, under the node's watchdog and by its rules too; wished for once it passes.

        Raises what that raises, and :class:`StateError` if the store cannot be written; then nothing has changed.
        """
        from livepatch.health.soak import soak
        from livepatch.node.soaking import Soaking

        known = set(self.store.installed())
        with self._changing(timeout), self._installed(data, approvals, keep=True) as (found, paths):
            watching = self.watching()
            try:
                watching.watchdog.start()
                made = soak(
                    found.path,
                    rules=(*watching.rules, *rules),
                    before=before,
                    during=during,
                    watchdog=watching.watchdog,
                    on_end=lambda _: self.wake(),
                    consistency=cast("Consistency | None", consistency or None),
                    timeout=timeout,
                    trust=self.trust,
                    policy=self.policy,
                    max_pause=self.max_pause,
                    approvals=paths,
                )
            except BaseException:
                watching.rest()
                raise
            begun = Soaking(soak=made, wish=found.wish("off"), found=found, is_new=found.file not in known)
            self.soaking.append(begun)
            return begun

    def drill(self, tell: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any]:
        """Practise, by the rules of the node; see :func:`livepatch.node.drill.drill`."""
        from livepatch.node.drill import drill

        return drill(self.watching(), tell, policy=self.policy, max_pause=self.max_pause)

    def end_soaks(self) -> None:
        """Nobody watches any more: what has not passed is taken back, and at no start does it go in."""
        cut = [each for each in self.soaking if not each.ended]
        self.soaking = [each for each in self.soaking if each.ended]
        for each in cut:
            each.take_back(_CLOSING)
            self._discard(each)

    def after_fork(self) -> None:
        """In a child, where nobody watches: what soaks goes out, and comes in again once it has passed."""
        cut, self.soaking = self.soaking, []
        if cut:
            threading.Thread(target=_take_back, args=(cut,), name="livepatch-soaking", daemon=True).start()

    def _keep_soaked(self) -> None:
        """Wish for what has passed, or was switched by somebody meanwhile; and forget what was taken back."""
        for each in [each for each in self.soaking if each.ended]:
            wish = each.wished()
            if wish is None:
                self._discard(each)
            else:
                with self.store.changing(self._with(wish)):
                    pass
                self._follow(wish.id)
                if each.soak.applied.reverted:  # by somebody, just now
                    self.leave(wish.id)
            self.soaking.remove(each)
            each.kept.set()
            self.watching().rest()

    def _with(self, wish: Wish) -> list[Wish]:
        """What is wished for and that, below what went in after it."""
        every = list(live.records)
        above = set(every[every.index(wish.id) + 1 :]) if wish.id in every else set()
        found = [each for each in self.store.wanted.patches if each.id != wish.id]
        place = next((index for index, each in enumerate(found) if each.id in above), len(found))
        return [*found[:place], wish, *found[place:]]

    def _discard(self, soaking: Soaking) -> None:
        if soaking.is_new:
            with contextlib.suppress(StateError):  # it stays, and harms nobody
                self.store.discard(soaking.found.file)

    def _back(self, record: Record, mode: Mode, timeout: float) -> None:
        """Put in anew what another had taken the place of."""
        origin = record.patch.origin
        by_root = origin is not None and isinstance(self.trust, TrustRoot)
        apply_again(
            record.patch,
            Before(stands_for=tuple(record.provides - {record.id})),
            mode=mode,
            trust=None if origin is None else self.trust,
            policy=self.policy,
            replaces=(),
            max_pause=self.max_pause,
            approvals=self.store.approvals_of(origin.digest) if origin is not None and by_root else (),
            timeout=timeout,
        )

    def switch(self, flag: str, mode: str, timeout: float) -> Applied:
        """What setting ``livepatch.flags[flag]`` does, and from then on at every start.

        Raises what that raises, and :class:`StateError` if the store cannot be written; then the mode is as it was.
        """
        chosen = self._mode(mode)
        with self._changing(timeout):
            applied = Applied(live.flagged(flag))
            was = applied.mode
            text = written_mode(chosen)
            wishes = [replace(each, mode=text) if each.id == applied.id else each for each in self.store.wanted.patches]
            if all(each.id != applied.id for each in wishes):
                applied.mode = chosen  # the program's own patch, which it applies itself at its next start
                return applied
            try:
                with self._wishing(applied.id, wishes):
                    applied.mode = chosen
            except BaseException:
                with contextlib.suppress(UnknownPatchError):
                    applied.mode = was
                raise
            self._follow(applied.id)
            return applied

    def revert(self, name: str, consistency: str, timeout: float) -> Applied | None:
        """What :func:`livepatch.revert` does, and at no start does it go in again; ``None`` if it was not in.

        Raises what that raises; and :class:`StateError` if the patch is out, and the set that is wished for could not
        be written: the way back is not taken back.
        """
        with self._changing(timeout):
            record = live.records.get(name)
            wished = any(each.id == name for each in self.store.wanted.patches)
            if record is None and not wished and name not in live.reverted:
                live.record(name)  # raises, and names those that there are
            applied = None if record is None else Applied(record)
            if applied is not None:
                applied.revert(consistency=cast("Consistency | None", consistency or None), timeout=timeout)
            self.restoration.forget(name)
            self.leave(name)
            return applied

    def leave(self, name: str) -> None:
        """Wish for that patch no more.  Raises :class:`StateError`; then it goes in again at the next start."""
        wishes = [each for each in self.store.wanted.patches if each.id != name]
        if len(wishes) == len(self.store.wanted.patches):
            return
        try:
            with self._wishing(name, wishes):
                pass
        except LivepatchError as error:
            emit("still_wished_for", level="error", patch=name, error=type(error).__qualname__)
            raise StateError(
                f"patch {name} is out of the process, and still in the set that goes in at the next start",
                found=error.found,
                expected=error.expected,
                action=f"{error.action}; then revert it again",
            ) from error

    def keep(self) -> None:
        """Let what is wished for follow what others did to its patches: the program, or a watchdog that took one back.

        Raises :class:`StateError` if that cannot be written, and :class:`TransitionError` if a request does not end.
        """
        with self._changing(_WAIT, keep=True):
            self._keep_soaked()
            before = self.store.wanted.patches
            gone = self.restoration.gone()
            if gone is None:
                raise TransitionError(
                    "patches are on their way in",
                    found="modules that have just been imported",
                    expected="a moment in which none are",
                    action="try again",
                )
            last, wishes = self._last, before
            if last is not None and last.about in gone and before == last.after:
                # Its switch was turned round, and what it had taken the place of is in again; or else it was reverted.
                wishes = tuple(each for each in last.before if each in before or each.id in live.records)
            now = tuple(_as_it_is(each) for each in wishes if each.id not in gone)
            if now == before:
                return
            with self.store.changing(now):
                pass
            for wish in {*before} ^ {*now}:
                self._follow(wish.id)
            emit("set_follows", gone=list(gone), patches=[f"{each.id} {each.mode}" for each in now])

    def cancel(self, name: str) -> None:
        """What :func:`livepatch.cancel` does, and what was wished for before is so again.

        Raises what that raises, and :class:`StateError` if the switch is taken back, and the store cannot be written.
        """
        switched = {*live.draining.about, name}
        cancel(name)
        with self._changing(_WAIT, keep=True):
            last, self._last = self._last, None
            # A switch that still waited has not changed what is wished for.
            if last is not None and last.about in switched and self.store.wanted.patches == last.after:
                with self.store.changing(last.before):
                    pass
                for wish in {*last.before} ^ {*last.after}:
                    self._follow(wish.id)

    def _follow(self, name: str) -> None:
        """Modules that come later get that patch as it is wished for now, or not at all."""
        wish = next((each for each in self.store.wanted.patches if each.id == name), None)
        record = live.records.get(name)
        if wish is None or record is None:
            self.restoration.forget(name)
        else:
            self.restoration.follow(wish, record.patch, Applied(record))

    def _mode(self, text: str) -> Mode:
        return read_mode(text, self.height)

    @contextlib.contextmanager
    def _wishing(self, about: str, wishes: Iterable[Wish]) -> Iterator[None]:
        """Wish for those once the block has brought the process there."""
        before = self.store.wanted.patches
        with self.store.changing(wishes):
            yield
        self._last = _Change(about, before, self.store.wanted.patches)

    @contextlib.contextmanager
    def _changing(self, timeout: float, *, keep: bool = False) -> Iterator[None]:
        """One request at a time: the store is read and written around it."""
        if not self._one.acquire(timeout=timeout):
            raise TransitionError(
                f"another request was still under way after {timeout:g} s",
                timeout=timeout,
                found="a request that changes the node",
                expected="one at a time",
                action="try again, or with a longer timeout; livepatch cancel ends a switch that waits",
            )
        try:
            if not keep:
                self._last = None
            with resting(self.max_rest):
                yield
        finally:
            self._one.release()

    @contextlib.contextmanager
    def _installed(
        self, data: bytes, approvals: Sequence[bytes], *, keep: bool
    ) -> Iterator[tuple[Installed, list[Path]]]:
        """The file and its approvals in the store; if the block raises, or they are not to be kept, not for longer.

        What was there before stays.
        """
        known = set(self.store.installed())
        found = self.store.install(data)
        approved = set(self.store.approvals_of(found.digest))
        kept = False
        paths: list[Path] = []
        try:
            for each in approvals:
                paths.append(self.store.keep_approval(found.digest, each))  # noqa: PERF401  # one may fail
            yield found, paths
            kept = keep
        finally:
            if not kept:
                for path in set(paths) - approved:
                    remove(path)
                if found.file not in known:
                    with contextlib.suppress(StateError):  # it stays, and harms nobody
                        self.store.discard(found.file)


def _take_back(cut: Iterable[Soaking]) -> None:
    for each in cut:
        each.take_back(_WAIT)


def _as_it_is(wish: Wish) -> Wish:
    """The wish for a patch in the mode that it has now; one that cannot be written stays as it was wished for."""
    record = live.records.get(wish.id)
    if record is None:
        return wish
    try:
        return replace(wish, mode=written_mode(Applied(record).mode))
    except PatchError:
        return wish
