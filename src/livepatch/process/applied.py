"""What a patch in the process can be told: to switch, to go, how it stands; by its handle, its id or its flag.

A patched function may itself revert its patch: its own call ends on the code that it began with.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping

from livepatch.compat.report import Report
from livepatch.engine.measuring import MeasuredCalls
from livepatch.engine.modes import Mode, spelled_mode
from livepatch.errors import TransitionError
from livepatch.govern.recording import note
from livepatch.patch import Patch
from livepatch.process import standing
from livepatch.process.arguments import check_bounds, check_consistency, check_mode, check_seconds, check_text
from livepatch.process.live import Request, live
from livepatch.process.records import Record, unknown
from livepatch.process.standing import Status, Verification
from livepatch.process.switching import Consistency

__all__ = ["Applied", "Flags", "cancel", "flags", "revert", "status", "verify"]

# A look may have to go through the heap, which stops other threads: at most a fiftieth of the time goes into looking.
# But there is one every so many seconds.
_RARELY = 50
_SELDOM = 2.0
_WAIT = 30.0  # seconds that a call without a timeout of its own waits for another thread's switch


def revert(
    id: str,  # noqa: A002  # the patch's own word for it
    *,
    consistency: Consistency | None = None,
    timeout: float = 30.0,
    max_rest: float | None = None,
) -> Status:
    """Take out the patch with that id: the very objects that were there before come back.

    Patches may be taken out in any order; what remains decides.  Twice is harmless, and so is a revert while the apply
    is draining: it is turned round.  What others have changed in the meantime is left alone and named in the returned
    status, and objects that the new side made and the old one cannot use are counted in its `left`.  `consistency` is
    that of the apply unless it is given; with ``"quiescent"`` the revert waits until there is no such object.
    `max_rest`: see :func:`livepatch.apply`.

    Raises :class:`UnknownPatchError` for an id that was never applied, and :class:`TransitionError` if another patch
    requires this one, or another switch does not end within `timeout` seconds, and :class:`AuditError` if it cannot be
    recorded; then nothing has changed.
    """
    check_text("id", id)
    check_consistency(consistency)
    check_seconds("timeout", timeout)
    check_bounds(None, max_rest)

    def body() -> Status:
        gone = live.reverted.get(id)
        if gone is not None and id not in live.records:
            return gone
        return live.take_out(live.record(id), Request(consistency, timeout))

    return live.transact(timeout, body, id, max_rest=max_rest)


def cancel(id: str) -> None:  # noqa: A002  # the patch's own word for it
    """Take back the switch of that patch that is being made: one that waits or drains.  What was before is live again.

    An ``apply`` that waits for a quiescent moment raises :class:`TransitionError` in its own thread.  Raises
    :class:`TransitionError` itself if no switch of that patch is under way, and :class:`AuditError` if it cannot be
    recorded.
    """
    check_text("id", id)
    if live.busy_with == id:
        live.switching.cancelled = True
        return
    live.transact(_WAIT, lambda: live.cancel(id))


def status() -> tuple[Status, ...]:
    """Every applied patch, newest last."""
    records = live.records
    every = [live.status(records[layer.patch_id]) for layer in live.state.stack.layers if layer.patch_id in records]
    return tuple(each for each in every if each.state != "reverted")  # a revert may overtake the look


def verify() -> Verification:
    """Whether every target still is what the stack of patches says; the findings name who probably changed it.

    And whether the process has since imported a module that an applied patch would have changed.
    """
    found = standing.verified(live.state, sys.modules, live.imported_since())
    note(
        "verified",
        ok=found.ok,
        checked=found.checked,
        patches=list(live.records),
        findings=[f"{each.code} {each.target}" for each in found.findings],
    )
    return found


class Applied:
    """An applied patch: its mode, how it stands, and the way back."""

    def __init__(self, record: Record) -> None:
        self._record = record

    @property
    def id(self) -> str:
        """The patch's id."""
        return self._record.id

    @property
    def flag(self) -> str:
        """The name of its flag."""
        return self._record.flag

    @property
    def patch(self) -> Patch:
        """The patch itself."""
        return self._record.patch

    @property
    def report(self) -> Report:
        """The report on which the patch went in."""
        return self._record.report

    @property
    def switch_seconds(self) -> float:
        """How long the stores of the apply took."""
        return self._record.switch_seconds

    @property
    def mode(self) -> Mode:
        """``"on"``, ``"off"``, ``"shadow"``, or what ``split()`` or ``at()`` gave.  Setting it is one atomic switch.

        Raises :class:`PatchError` for another mode, :class:`PolicyError` for one that a patch of protected code may not
        have, :class:`UnknownPatchError` once reverted, :class:`TransitionError`, and :class:`AuditError` if it cannot
        be recorded; then nothing has changed.
        """
        layer = live.state.stack.layer(self.id)
        return layer.mode if layer is not None and self._is_applied() else "off"

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self.set_mode(mode)

    def set_mode(self, mode: Mode, *, timeout: float = _WAIT, only_from: Mode | None = None) -> None:
        """Set :attr:`mode`, and wait up to `timeout` seconds for another switch to end, or for a quiescent moment.

        Raises what that does, and :class:`TransitionError` if the mode is not `only_from` any more.
        """
        checked = check_mode(mode)
        check_seconds("timeout", timeout)

        def body() -> None:
            if not self._is_applied():
                raise unknown("patch", self.id, live.records)
            if only_from is not None and self.mode != only_from:
                raise TransitionError(
                    f"patch {self.id} has another mode",
                    found=f"mode {spelled_mode(self.mode)}, which somebody else has set",
                    expected=f"mode {spelled_mode(only_from)}",
                    action="look at who set it, and set the mode that it is to have",
                )
            live.set_mode(self._record, checked, Request(timeout=timeout))

        live.transact(timeout, body, self.id)

    @property
    def consistency(self) -> Consistency:
        """How the patch was switched, and is again unless a switch says otherwise."""
        return self._record.consistency

    @property
    def measured(self) -> tuple[MeasuredCalls, ...]:
        """What has been counted of each target under :class:`Measured`; costs next to nothing.  Else empty."""
        chooser = live.state.choosers.get(self.id) if self._is_applied() else None
        return () if chooser is None else tuple(each.snapshot(name) for name, each in list(chooser.counts.items()))

    @property
    def reverted(self) -> bool:
        """Whether it was taken out."""
        return not self._is_applied()

    @property
    def switching(self) -> bool:
        """Whether a switch of this patch is open: calls that began on the other side are still running."""
        return self.id in live.draining.about

    def status(self) -> Status:
        """How the patch stands now."""
        return live.status(self._record) if self._is_applied() else self._gone()

    def revert(
        self,
        *,
        consistency: Consistency | None = None,
        timeout: float = 30.0,
        max_rest: float | None = None,
    ) -> Status:
        """Take the patch out; see :func:`livepatch.revert`.  From any thread; twice is harmless."""
        check_consistency(consistency)
        check_seconds("timeout", timeout)
        check_bounds(None, max_rest)
        request = Request(consistency, timeout)
        return live.transact(
            timeout,
            lambda: live.take_out(self._record, request) if self._is_applied() else self._gone(),
            self.id,
            max_rest=max_rest,
        )

    def cancel(self) -> None:
        """Take back the switch of this patch that is draining; see :func:`livepatch.cancel`."""
        cancel(self.id)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds until no call is left on the other side; say whether that is so."""
        if timeout is not None:
            check_seconds("timeout", timeout)
        end = float("inf") if timeout is None else time.monotonic() + timeout
        look = _Looks(self)
        while not look.drained():
            left = end - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(look.pause, left))
        return True

    async def settled(self) -> None:
        """Wait, in asyncio, until no call is left on the other side."""
        import asyncio

        look = _Looks(self)
        while not look.drained():  # noqa: ASYNC110  # who ends it may be another thread, or no thread at all
            await asyncio.sleep(look.pause)

    def _is_applied(self) -> bool:
        return live.records.get(self.id) is self._record

    def _gone(self) -> Status:
        return live.status_of_gone(self._record)

    def __repr__(self) -> str:
        return f"<livepatch.Applied {self.id} {spelled_mode(self.mode) if self._is_applied() else 'reverted'}>"


class _Looks:
    """Sees again and again whether a patch is drained, the seldomer the longer a look takes."""

    def __init__(self, applied: Applied) -> None:
        self._applied = applied
        self.pause = 0.0005
        """Seconds to wait until the next look."""

    def drained(self) -> bool:
        begun = time.thread_time()  # its own: a busy machine makes a look no dearer for others
        if self._applied.id in live.draining.about:
            # A thread looks and ends it; a look of ours at the same time would only be in its way.
            self.pause = min(self.pause * 1.5, 0.01)
            return live.draining.ended_without_thread()
        drained = self._applied.status().drained
        self.pause = max(min(self.pause * 2, 0.1), min((time.thread_time() - begun) * _RARELY, _SELDOM))
        return drained


class Flags(Mapping[str, Mode]):
    """The flags of the applied patches: ``flags[name]`` is a mode, and setting it switches the patch."""

    def __getitem__(self, name: str) -> Mode:
        check_text("flag", name)
        layer = live.state.stack.layer(live.flagged(name).id)
        return layer.mode if layer is not None else "off"

    def __setitem__(self, name: str, mode: Mode) -> None:
        check_text("flag", name)
        checked = check_mode(mode)
        live.transact(_WAIT, lambda: live.set_mode(live.flagged(name), checked, Request()))

    def __iter__(self) -> Iterator[str]:
        return iter([record.flag for record in live.records.values()])

    def __len__(self) -> int:
        return len(live.records)

    def __contains__(self, name: object) -> bool:
        return any(record.flag == name for record in live.records.values())

    def __repr__(self) -> str:
        flags = {record.id: record.flag for record in live.records.values()}
        modes = {
            flags[layer.patch_id]: spelled_mode(layer.mode)
            for layer in live.state.stack.layers
            if layer.patch_id in flags
        }
        return f"<livepatch.flags {modes}>"


flags = Flags()
