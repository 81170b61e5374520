"""The public calls: check, apply, switch, revert, and how things stand.

A patched function may itself apply and revert: its own call ends on the code that it began with.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from types import CellType, FunctionType

from livepatch.bundle.trust import is_admitted, require_admitted, unadmitted
from livepatch.compat.report import Report, by_weight
from livepatch.engine import code
from livepatch.engine.frames import Stuck
from livepatch.engine.locate import find
from livepatch.engine.modes import Mode, spelled_mode
from livepatch.engine.refusal import Refusal
from livepatch.errors import IncompatibleError, PatchError, ProtectedError
from livepatch.govern.policies import check_policy, policy_in_force
from livepatch.patch import Patch, Target
from livepatch.process import standing
from livepatch.process.arguments import (
    check_consistency,
    check_hook,
    check_mode,
    check_patch,
    check_seconds,
    check_text,
    names_of,
)
from livepatch.process.fitting import unsuitable
from livepatch.process.live import Request, live, unknown
from livepatch.process.proving import prove
from livepatch.process.records import Record
from livepatch.process.standing import Status, Verification
from livepatch.process.switching import Consistency

__all__ = ["Applied", "Flags", "apply", "cancel", "check", "fingerprint", "flags", "revert", "status", "verify"]

# A look may have to go through the heap, which stops other threads: at most a fiftieth of the time goes into looking.
# But there is one every so many seconds.
_RARELY = 50
_SELDOM = 2.0
_WAIT = 30.0  # seconds that a call without a timeout of its own waits for another thread's switch


def check(
    patch: Patch | str | os.PathLike[str],
    *,
    timeout: float = 30.0,
    trust: object = None,
    policy: str | os.PathLike[str] | None = None,
    mode: Mode = "on",
    max_pause: float | None = None,
) -> Report:
    """Say whether `patch` may go into this process, what it would touch and who calls that.  Never changes anything.

    What a patch built from two releases computes, it computes by running statements of these, apart from the live
    modules; what such a statement does besides binding names is done (docs/building.md).

    `patch` may be the path of a patch file.  Nothing of a file is compiled that nobody answers for (see
    :func:`livepatch.load`): its report says so, as a reason why it may not go in, and what its metadata tell.

    `mode` is the one in which it would go in: what touches protected code may not in each (docs/compatibility.md).

    `max_pause`, `policy`: see :func:`apply`.  Raises :class:`TypeError` if it is no patch, :class:`BundleError` if the
    file is no patch file, :class:`PolicyError` if a policy cannot be read, and :class:`TransitionError` if another
    switch does not end, or drain, within `timeout` seconds.
    """
    mode = check_mode(mode)
    check_policy(policy)
    check_seconds("timeout", timeout)
    if max_pause is not None:
        check_seconds("max_pause", max_pause)
    patch = _opened(patch, trust)
    if not is_admitted(patch, trust):
        return unadmitted(patch, sys.modules)

    def body() -> Report:
        rules = policy_in_force(policy)
        live.wait_for_settled(timeout, max_pause)
        governed, found = live.examine(patch, (), callers=True, policy=rules, mode=mode, max_pause=max_pause)
        wrong = unsuitable(mode, found, live.state.stack, patch)
        if wrong is None:
            return governed.report
        return replace(governed.report, findings=by_weight([*governed.report.findings, wrong]))

    return live.transact(timeout, body)


def fingerprint(target: str | FunctionType) -> str:
    """The pin of the live function at ``"module:qualified.name"``, for ``replace(…, expect=…)``.

    It covers the code in memory and plain default values, and holds for this Python version and ``-O`` setting.
    Raises :class:`PatchError` if there is no such function; changes nothing.
    """
    if isinstance(target, FunctionType):
        return code.fingerprint(target)
    found = find(Target.parse(target), sys.modules)
    if isinstance(found, Refusal):
        raise PatchError(
            f"{target} has no fingerprint", found=found.found, expected=found.expected, action=found.action
        )
    if found.function is not None:
        return code.fingerprint(found.function)
    return code.fingerprint(FunctionType(found.code, {}, closure=tuple(CellType() for _ in found.code.co_freevars)))


def apply(
    patch: Patch | str | os.PathLike[str],
    *,
    mode: Mode = "on",
    consistency: Consistency | None = None,
    timeout: float = 30.0,
    trust: object = None,
    policy: str | os.PathLike[str] | None = None,
    replaces: Iterable[str] = (),
    max_pause: float | None = None,
    on_stuck: Callable[[Stuck], object] | None = None,
) -> Applied:
    """Put `patch` into this process; with ``mode="off"`` dormant.  Returns once the new side is live.

    `patch` may be the path of a patch file.  One that came from a file is refused with :class:`TrustError`, before
    anything of it is compiled, unless somebody answers for it: ``trust=livepatch.UNSIGNED`` says that the caller does.

    `consistency` says what calls see that are under way meanwhile.  ``"chain"``: a call chain that has a function of
    one side on its stack, and a unit of work, stays on that side to its end; every other gets the new one.
    ``"quiescent"``: the switch waits for a moment in which none is under way.  ``"immediate"``: running functions end
    on the old side, and every call that they make gets the new one.  ``None`` is ``"immediate"`` for a patch that
    changes one body and nothing else but its docstring and annotations, and else ``"chain"``; but ``"quiescent"``, and
    the only one possible, where new code cannot use objects that the old side makes: then the switch waits for a moment
    without such an object, too.

    `timeout` is how many seconds to wait for another switch to end, or for a quiescent moment.  `replaces` names
    applied patches that this one takes the place of in the same step.  `max_pause`: how many seconds other threads may
    be held up at a time by searches of the whole heap, if some are needed; the patch is refused if an estimate is above
    it.  It is for this call, not for what drains, changes its mode or is reverted later.
    `policy` is the path of a TOML file with rules, in addition to those in force (docs/compatibility.md).
    `on_stuck` is called, from a thread of livepatch's own, once for each call that keeps the old side and never leaves
    it by itself.

    Raises :class:`IncompatibleError`, which carries the whole report and is a :class:`PolicyError` as well if policy
    forbids the patch, :class:`PolicyError` for rules that cannot be read, :class:`TransitionError`,
    :class:`BundleError` for a file that is no patch file, or :class:`TypeError` and :class:`PatchError` for a wrong
    argument.  Whatever is raised, every live object is identical to what it was before.
    """
    mode = check_mode(mode)
    check_consistency(consistency)
    check_seconds("timeout", timeout)
    if max_pause is not None:
        check_seconds("max_pause", max_pause)
    check_hook("on_stuck", on_stuck)
    check_policy(policy)
    replaced = names_of("replaces", replaces)
    patch = _opened(patch, trust)
    require_admitted(patch, trust)
    begun = time.perf_counter()

    def body() -> Applied:
        rules = policy_in_force(policy)
        live.wait_for_settled(timeout, max_pause)
        governed, found = live.examine(patch, replaced, callers=False, policy=rules, mode=mode, max_pause=max_pause)
        report = governed.report
        if not report.ok:
            raise _refusal(report)
        if governed.round_trips:
            report = prove(live, patch, governed, found, timeout)
            if not report.ok:
                raise _refusal(report)
        live.check_replacing(replaced, mode, protected=report.protected)
        request = Request(consistency, timeout, max_pause)
        return Applied(
            live.put_in(patch, mode, replaced, request, report=report, found=found, begun=begun, on_stuck=on_stuck)
        )

    return live.transact(timeout, body, patch.id)


# Who governs must act, and not who made the patch or runs the process.
_BY_POLICY = frozenset(
    {"activation-passed", "approvals-missing", "call-graph-missing", "protected-path", "protected-split"}
)


def _refusal(report: Report) -> IncompatibleError:
    by_policy = any(finding.code in _BY_POLICY for finding in report.errors)
    return ProtectedError(report) if by_policy else IncompatibleError(report)


def _opened(patch: Patch | str | os.PathLike[str], trust: object) -> Patch:
    """The patch itself, or that in the file.  Raises :class:`TypeError` or :class:`BundleError`."""
    if isinstance(patch, (str, os.PathLike)):
        from livepatch.bundle.load import load

        return load(patch, trust=trust)
    check_patch(patch)
    return patch


def revert(id: str, *, consistency: Consistency | None = None, timeout: float = 30.0) -> Status:  # noqa: A002  # the patch's own word for it
    """Take out the patch with that id: the very objects that were there before come back.

    Patches may be taken out in any order; what remains decides.  Twice is harmless, and so is a revert while the apply
    is draining: it is turned round.  What others have changed in the meantime is left alone and named in the returned
    status, and objects that the new side made and the old one cannot use are counted in its `left`.  `consistency` is
    that of the apply unless it is given; with ``"quiescent"`` the revert waits until there is no such object.

    Raises :class:`UnknownPatchError` for an id that was never applied, and :class:`TransitionError` if another patch
    requires this one, or another switch does not end within `timeout` seconds; then nothing has changed.
    """
    check_text("id", id)
    check_consistency(consistency)
    check_seconds("timeout", timeout)

    def body() -> Status:
        gone = live.reverted.get(id)
        if gone is not None and id not in live.records:
            return gone
        return live.take_out(live.record(id), Request(consistency, timeout))

    return live.transact(timeout, body, id)


def cancel(id: str) -> None:  # noqa: A002  # the patch's own word for it
    """Take back the switch of that patch that is being made: one that waits or drains.  What was before is live again.

    An ``apply`` that waits for a quiescent moment raises :class:`TransitionError` in its own thread.  Raises
    :class:`TransitionError` itself if no switch of that patch is under way.
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
    return standing.verified(live.state, sys.modules, live.imported_since())


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
        have, :class:`UnknownPatchError` once reverted, and :class:`TransitionError`; then nothing has changed.
        """
        layer = live.state.stack.layer(self.id)
        return layer.mode if layer is not None and self._is_applied() else "off"

    @mode.setter
    def mode(self, mode: Mode) -> None:
        checked = check_mode(mode)

        def body() -> None:
            if not self._is_applied():
                raise unknown("patch", self.id, live.records)
            live.set_mode(self._record, checked, Request())

        live.transact(_WAIT, body, self.id)

    def status(self) -> Status:
        """How the patch stands now."""
        return live.status(self._record) if self._is_applied() else self._gone()

    def revert(self, *, consistency: Consistency | None = None, timeout: float = 30.0) -> Status:
        """Take the patch out; see :func:`livepatch.revert`.  From any thread; twice is harmless."""
        check_consistency(consistency)
        check_seconds("timeout", timeout)
        request = Request(consistency, timeout)
        return live.transact(
            timeout,
            lambda: live.take_out(self._record, request) if self._is_applied() else self._gone(),
            self.id,
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
