"""Approvals that were handed in for a patch: which of them count, by the trust root."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from livepatch.bundle.jsontext import refusing
from livepatch.bundle.trust import Unsigned, check_trust
from livepatch.compat.approvals import Approval, Approving, Evidence
from livepatch.compat.windows import moment_of
from livepatch.contents.identity import canonical
from livepatch.contents.words import APPROVERS, AUTHOR
from livepatch.errors import TrustError, counted, spelled
from livepatch.patch import Patch

if TYPE_CHECKING:
    from livepatch.bundle.approval import Statement
    from livepatch.bundle.evidence import TestResult

__all__ = ["approving_of", "check_approvals"]

_PAYLOAD = 1 << 20  # bytes of what an envelope holds
_LARGEST = 2 << 20  # bytes of a file
_MOST = 100
_REFUSE = refusing(TrustError, "no readable approval", "get the file anew from whoever approved the patch")


def check_approvals(approvals: object) -> tuple[Path, ...]:
    """What was passed as ``approvals``: paths of files.  Raises :class:`TypeError`."""
    if isinstance(approvals, (str, bytes, os.PathLike)) or not isinstance(approvals, Iterable):
        raise TypeError(f"approvals must be an iterable of paths, not {spelled(approvals)}")
    given = tuple(approvals)
    for each in given:
        if not isinstance(each, (str, os.PathLike)):
            raise TypeError(f"approvals must be an iterable of paths, not one with {spelled(each)}")
    if len(given) > _MOST:
        raise TypeError(f"approvals must be at most {_MOST} paths, not {len(given)}")
    return tuple(map(Path, given))


def approving_of(patch: Patch, paths: Iterable[Path], trust: object) -> Approving:
    """The approvals in those files that are of this very patch and by keys of the trust root.

    What does not count is told in words.  Raises :class:`TrustError` for a file that is no approval, and for approvals
    that nobody can verify.
    """
    paths = list(paths)
    root = check_trust(trust)
    if root is None or isinstance(root, Unsigned):
        if not paths:
            return Approving()
        raise TrustError(
            "approvals cannot be verified",
            found=f"{counted(len(paths), 'approval')}, and no trust root",
            expected="a trust root, which says whose approvals count",
            action="pass trust=livepatch.TrustRoot.load(path)",
        )
    if paths and patch.origin is None:
        raise TrustError(
            "approvals are for patch files",
            found=f"{counted(len(paths), 'approval')} for a patch that was made in this process",
            expected="a patch that was loaded from the file that was approved",
            action="save it, have the file signed and approved, and load that",
        )
    # A process that applies what it made itself needs none of these.
    from livepatch.bundle.approval import approval_in
    from livepatch.bundle.disk import read_for_trust
    from livepatch.bundle.envelope import read_envelope
    from livepatch.bundle.evidence import EVIDENCE_TYPE, evidence_in
    from livepatch.bundle.signing import holders_of
    from livepatch.bundle.trustroot import clock

    now = clock()
    root.must_be_current(now)
    role_of = {keyid: name for name in APPROVERS if name in root.roles for keyid in root.roles[name].keyids}
    found: list[Approval] = []
    ran: list[Evidence] = []
    idle: list[str] = []
    for path in paths:
        envelope = read_envelope(read_for_trust(path, _LARGEST, "the approval"), payload=_PAYLOAD, refuse=_REFUSE)
        held = holders_of(envelope, role_of, root.keys)
        if envelope.payload_type == EVIDENCE_TYPE:
            tested = evidence_in(envelope)
            wrong = "" if patch.origin is not None and patch.origin.digest in tested.digests else "of another patch"
            wrong = wrong or ("" if tested.suites else "which names no suite")
            if not wrong and held:
                ran += _evidence(tested, held.values())
        else:
            statement = approval_in(envelope)
            wrong = _wrong(statement, patch, now)
            if not wrong:
                found += [_approval(statement, holder, role_of[keyid]) for keyid, holder in held.items()]
        if wrong or not held:
            name = path.name if path.name.isprintable() else spelled(path.name)
            idle.append(f"{name}, {wrong or 'by no key that may approve'}")
    authors = root.roles[AUTHOR].keyids
    signed = patch.origin.signed if patch.origin is not None else None
    signers = root.verify(signed, now).signers.get(AUTHOR, ()) if signed is not None else ()
    return Approving(
        approvals=tuple(dict.fromkeys(found)),
        evidence=tuple(dict.fromkeys(ran)),
        holders={
            name: tuple(dict.fromkeys(root.keys[keyid].name for keyid in root.roles[name].keyids))
            for name in APPROVERS
            if name in root.roles
        },
        authors=frozenset(root.keys[keyid].name for keyid in authors if keyid in signers),
        idle=tuple(idle),
    )


def _evidence(tested: TestResult, holders: Iterable[str]) -> Iterator[Evidence]:
    for holder in holders:
        for suite in tested.suites:
            yield Evidence(holder=holder, suite=suite, result=tested.result)


def _wrong(statement: Statement, patch: Patch, now: str) -> str:
    assert patch.origin is not None
    if statement.digest != patch.origin.digest:
        return f"of another patch: {statement.patch} ({statement.digest[:19]}…)"
    if (statement.patch, canonical(statement.package)) != (patch.id, canonical(patch.package)):
        # Whoever signed that was shown another name than that of the file.
        return f"which calls the patch {statement.patch} of {statement.package}"
    if statement.expires and now >= statement.expires:
        return f"which expired at {statement.expires}"
    return ""


def _approval(statement: Statement, holder: str, role: str) -> Approval:
    return Approval(
        holder=holder,
        role=role,
        made=moment_of(statement.made),
        decision=statement.decision,
        emergency=statement.emergency,
        reason=statement.reason,
    )
