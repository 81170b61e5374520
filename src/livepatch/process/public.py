"""The public calls that bring a patch into the process: check and apply; and what pins a target.

A patched function may itself apply: its own call ends on the code that it began with.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from types import CellType, FunctionType
from typing import Any, NamedTuple

from livepatch.bundle.trust import refusal, require_admitted, unadmitted
from livepatch.compat.report import Report, by_weight
from livepatch.compat.windows import told_moment
from livepatch.contents.changes import Target
from livepatch.engine import code
from livepatch.engine.frames import Stuck
from livepatch.engine.locate import find
from livepatch.engine.modes import Mode, spelled_mode
from livepatch.engine.refusal import Refusal
from livepatch.errors import IncompatibleError, PatchError, ProtectedError, TrustError
from livepatch.govern.approving import approving_of, check_approvals
from livepatch.govern.policies import check_policy, policy_in_force
from livepatch.govern.recording import note
from livepatch.patch import Patch
from livepatch.process.applied import Applied
from livepatch.process.arguments import (
    check_bounds,
    check_consistency,
    check_hook,
    check_mode,
    check_patch,
    check_seconds,
    names_of,
)
from livepatch.process.examining import examine
from livepatch.process.fitting import unsuitable
from livepatch.process.live import Request, live
from livepatch.process.proving import prove
from livepatch.process.switching import Consistency
from livepatch.state.trial import boundary_findings

__all__ = ["Before", "apply", "apply_again", "check", "fingerprint", "opened"]


def check(
    patch: Patch | str | os.PathLike[str],
    *,
    timeout: float = 30.0,
    trust: object = None,
    policy: str | os.PathLike[str] | None = None,
    mode: Mode = "on",
    max_pause: float | None = None,
    max_rest: float | None = None,
    approvals: Iterable[str | os.PathLike[str]] = (),
    replaces: Iterable[str] = (),
) -> Report:
    """Say whether `patch` may go into this process, what it would touch and who calls that.  Never changes anything.

    What a patch built from two releases computes, it computes by running statements of these, apart from the live
    modules; what such a statement does besides binding names is done (docs/building.md).

    `patch` may be the path of a patch file.  Nothing of a file is compiled that nobody answers for (see
    :func:`livepatch.load`): its report says so, as a reason why it may not go in, and what its metadata tell.

    A migration that declares what it `touches` is tried in a forked child, on some of its objects (docs/state.md).

    `mode` is the one in which it would go in: what touches protected code may not in each (docs/compatibility.md).

    `max_pause`, `max_rest`, `policy`, `approvals`, `replaces`: see :func:`apply`.

    Raises :class:`TypeError` if it is no patch, :class:`BundleError` if the file is no patch file, :class:`TrustError`
    if it is not signed as the trust root asks that was passed, or for approvals that nobody can verify,
    :class:`PolicyError` if a policy cannot be read, and :class:`TransitionError` if another switch does not end, or
    drain, within `timeout` seconds.
    """
    mode = check_mode(mode)
    check_policy(policy)
    check_seconds("timeout", timeout)
    check_bounds(max_pause, max_rest)
    replaced = names_of("replaces", replaces)
    handed = check_approvals(approvals)
    given = patch
    patch = opened(given, trust, "checked")
    refused = refusal(patch, trust)
    if refused is not None:
        return _checked(patch, unadmitted(patch, refused, sys.modules))
    try:
        approving = approving_of(patch, handed, trust)
    except TrustError as error:
        note("checked", patch, error, file=_path_of(given))
        raise

    def body() -> Report:
        rules = policy_in_force(policy)
        live.wait_for_settled(timeout, max_pause)
        governed, found = examine(
            live, patch, replaced, callers=True, policy=rules, mode=mode, max_pause=max_pause, approving=approving
        )
        wrong = unsuitable(mode, found, live.state.stack.without(replaced), patch)
        more = [*([wrong] if wrong is not None else []), *(boundary_findings(patch) if governed.report.ok else ())]
        return _checked(patch, replace(governed.report, findings=by_weight([*governed.report.findings, *more])))

    return live.transact(timeout, body, max_rest=max_rest)


def _checked(patch: Patch, report: Report) -> Report:
    note("checked", patch, ok=report.ok, findings=[f"{each.severity} {each.code}" for each in report.findings])
    return report


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
    max_rest: float | None = None,
    on_stuck: Callable[[Stuck], object] | None = None,
    approvals: Iterable[str | os.PathLike[str]] = (),
) -> Applied:
    """Put `patch` into this process; with ``mode="off"`` dormant.  Returns once the new side is live.

    `patch` may be the path of a patch file.  One that came from a file is refused with :class:`TrustError`, before
    anything of it is compiled, unless somebody answers for it: with ``trust=livepatch.TrustRoot.load(path)``, those who
    signed it; ``trust=livepatch.UNSIGNED`` says that the caller does.

    `consistency` says what calls see that are under way meanwhile.  ``"chain"``: a call chain that has a function of
    one side on its stack, and a unit of work, stays on that side to its end; every other gets the new one.
    ``"quiescent"``: the switch waits for a moment in which none is under way.  ``"immediate"``: running functions end
    on the old side, and every call that they make gets the new one.  ``None`` is ``"immediate"`` for a patch that
    changes one body and nothing else but its docstring and annotations, and no data, and else ``"chain"``; but
    ``"quiescent"``, and the only one possible, where new code cannot use objects that the old side makes: then the
    switch waits for a moment without such an object, too.

    `timeout` is how many seconds to wait for another switch to end, or for a quiescent moment.  `replaces` names
    applied patches that this one takes the place of in the same step.  `max_pause`: how many seconds other threads may
    be held up at a time by searches of the whole heap, if some are needed; the patch is refused if an estimate is above
    it.  It is for this call, not for what drains, changes its mode or is reverted later, but for the search of objects
    that the side which comes then cannot use.
    `max_rest`: how many seconds to rest altogether, so that the threads of the process that work hardly notice; 20 by
    default, and with 0 it is done as soon as can be, and they wait for it.
    `policy` is the path of a TOML file with rules, in addition to those in force (docs/compatibility.md).
    `approvals` are the paths of approvals of this very patch, as ``livepatch approve`` writes them; rules say whose are
    needed, and `trust` whose count (docs/approvals.md).
    `on_stuck` is called, from a thread of livepatch's own, once for each call that keeps the old side and never leaves
    it by itself.

    Where a record is kept (:func:`livepatch.record_to`), the intent is on the disk before anything is done, and this
    raises :class:`AuditError` if it, or the result, cannot be written; so do a change of mode, revert and cancel.

    Raises :class:`IncompatibleError`, which carries the whole report, and of that kind :class:`ProtectedError`, which
    is a :class:`PolicyError` as well, if policy forbids the patch; :class:`PolicyError` for rules that cannot be read,
    :class:`TransitionError`, :class:`BundleError` for a file that is no patch file, or :class:`TypeError` and
    :class:`PatchError` for a wrong argument.  Whatever is raised, every live object is identical to what it was before.
    """
    check_bounds(max_pause, max_rest)
    asked = _Asked(mode, consistency, timeout, trust, policy, replaces, max_pause, on_stuck, approvals, max_rest)
    return _apply(patch, asked)


class _Asked(NamedTuple):
    """What was asked of an apply, unchecked."""

    mode: Mode = "on"
    consistency: Consistency | None = None
    timeout: float = 30.0
    trust: object = None
    policy: str | os.PathLike[str] | None = None
    replaces: Iterable[str] = ()
    max_pause: float | None = None
    on_stuck: Callable[[Stuck], object] | None = None
    approvals: Iterable[str | os.PathLike[str]] = ()
    max_rest: float | None = None


@dataclass(frozen=True, slots=True)
class Before:
    """What is known of a patch that went in before: when, and in whose place."""

    moment: datetime | None = None
    """That by which rules about times and ages are judged: they say when a patch may go in, not when it may stay."""
    stands_for: tuple[str, ...] = ()
    """The ids of patches that it replaced then."""


def apply_again(
    patch: Patch,
    before: Before,
    *,
    mode: Mode,
    trust: object,
    policy: str | os.PathLike[str] | None,
    replaces: Iterable[str],
    max_pause: float | None,
    approvals: Iterable[str | os.PathLike[str]],
    timeout: float,
) -> Applied:
    """Put in a patch that went in before, in a process before this one or while other modules were there.

    All is asked and compared as :func:`apply` does, and it raises what that raises.
    """
    asked = _Asked(mode, None, timeout, trust, policy, replaces, max_pause, None, approvals)
    return _apply(patch, asked, before)


def _apply(patch: Patch | str | os.PathLike[str], asked: _Asked, before: Before | None = None) -> Applied:
    mode, consistency, timeout, trust, policy, replaces, max_pause, on_stuck, approvals, max_rest = asked
    mode = check_mode(mode)
    check_consistency(consistency)
    check_seconds("timeout", timeout)
    check_hook("on_stuck", on_stuck)
    check_policy(policy)
    replaced = names_of("replaces", replaces)
    handed = check_approvals(approvals)
    given = patch
    patch = opened(given, trust, "applied")
    try:
        require_admitted(patch, trust)
        approving = approving_of(patch, handed, trust)
    except TrustError as error:
        note("applied", patch, error, file=_path_of(given))
        raise
    begun = time.perf_counter()
    approved = [f"{each.holder} ({each.role})" for each in approving.approvals]
    urgent = [each.reason for each in approving.approvals if each.emergency]
    said: dict[str, Any] = {name: told for name, told in (("approvals", approved), ("emergency", urgent)) if told}
    moment, stands_for = (before.moment, before.stands_for) if before is not None else (None, ())
    if before is not None:
        said["again"] = told_moment(moment) if moment is not None else True

    def body() -> Applied:
        live.announcing.intend(
            "applied", patch, flag=patch.flag, mode=spelled_mode(mode), replaces=list(replaced), **said
        )
        rules = policy_in_force(policy)
        live.wait_for_settled(timeout, max_pause)
        governed, found = examine(
            live,
            patch,
            replaced,
            callers=False,
            policy=rules,
            mode=mode,
            max_pause=max_pause,
            approving=approving,
            moment=moment,
        )
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
            live.put_in(
                patch,
                mode,
                replaced,
                request,
                report=report,
                found=found,
                begun=begun,
                on_stuck=on_stuck,
                stands_for=stands_for,
            )
        )

    return live.transact(timeout, body, patch.id, max_rest=max_rest)


# Who governs must act, and not who made the patch or runs the process.
_BY_POLICY = frozenset(
    {
        "activation-passed", "approvals-missing", "call-graph-missing", "cooling-off", "emergency-missing",
        "evidence-missing", "frozen", "outside-window", "owners-missing", "probes-missing",
        "protected-path", "protected-split",
    }
)  # fmt: skip


def _refusal(report: Report) -> IncompatibleError:
    by_policy = any(finding.code in _BY_POLICY for finding in report.errors)
    return ProtectedError(report) if by_policy else IncompatibleError(report)


def _path_of(given: Patch | str | os.PathLike[str]) -> str:
    """The path that was given, or nothing."""
    return "" if isinstance(given, Patch) else os.fspath(given)


def opened(patch: Patch | str | os.PathLike[str], trust: object, event: str) -> Patch:
    """The patch itself, or that in the file.

    Raises :class:`TypeError`, :class:`BundleError`, and :class:`TrustError`, which is recorded as that event.
    """
    if isinstance(patch, (str, os.PathLike)):
        from livepatch.bundle.load import load_for

        return load_for(event, patch, trust)
    check_patch(patch)
    return patch
