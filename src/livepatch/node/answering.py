"""From a request to its answer, in plain values: what is asked of the node's operations, and what is told of them."""

from __future__ import annotations

import dataclasses
import sys
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from livepatch.errors import NodeError
from livepatch.govern.recording import acting_as
from livepatch.loading import load_in_steps
from livepatch.node.connection import Peer, Tell
from livepatch.node.protocol import (
    Apply,
    Cancel,
    Check,
    Doctor,
    Drill,
    Flag,
    Health,
    Hello,
    Probes,
    Readings,
    Request,
    Revert,
    Soak,
    Status,
    Verify,
)

if TYPE_CHECKING:
    from livepatch.compat.report import Finding
    from livepatch.health.rules import Rule
    from livepatch.node.operations import Operations
    from livepatch.node.soaking import Soaking
    from livepatch.process import standing
    from livepatch.process.applied import Applied

__all__ = ["Asked", "answer"]

_LOOK = 0.25  # seconds between two looks at what drains
_KEPT = 5.0  # seconds until the store is written
_RARELY = 20  # times as long as a look takes is waited at least until the next


class Asked(Protocol):
    """What is asked: the agent."""

    @property
    def operations(self) -> Operations:
        """What may be done."""

    def about(self) -> dict[str, Any]:
        """Who the node is."""

    def standing(self) -> dict[str, Any]:
        """What else there is to tell than applied patches: what waits, and what was set aside."""

    def examine(self) -> tuple[Finding, ...]:
        """What could keep the process from being patched."""

    def health(self) -> dict[str, Any]:
        """Whether the node is well."""

    def readings(self, span: float) -> dict[str, Any]:
        """What its probes have shown in the last so many seconds."""


def answer(node: Asked, request: Request, parts: tuple[bytes, ...], peer: Peer, tell: Tell) -> Mapping[str, Any]:
    """Do what is asked, in the name of who asks.  Raises what that raises."""
    with acting_as(peer.name):
        match request:
            case Hello():
                return node.about()
            case Status():
                return {**node.about(), **node.standing(), "patches": [_plain(each) for each in _applied()]}
            case Verify():
                load_in_steps()
                from livepatch.process.applied import verify

                verified = verify()
                findings = [dataclasses.asdict(each) for each in verified.findings]
                return {"ok": verified.ok, "checked": verified.checked, "findings": findings}
            case Probes(timeout=timeout):
                return {**node.about(), **_probed(timeout)}
            case Doctor():
                found = node.examine()
                ok = all(each.severity != "error" for each in found)
                return {**node.about(), "ok": ok, "findings": [dataclasses.asdict(each) for each in found]}
            case Health():
                return node.health()
            case Readings(span=span):
                return node.readings(span)
            case _:
                return _change(node.operations, request, parts, tell)


_probing = threading.Lock()


def _probed(timeout: float) -> dict[str, Any]:
    """What the regression probes find that this process knows; one look at a time, for each may start processes."""
    load_in_steps()
    from livepatch.probing.probe import probe

    if not _probing.acquire(blocking=False):
        raise NodeError(
            "the probes are being asked",
            found="another request of the same kind",
            expected="one at a time",
            action="wait for its answer, and ask again",
        )
    try:
        return probe(timeout=timeout).to_dict()
    finally:
        _probing.release()


def _change(
    operations: Operations,
    request: Drill | Check | Apply | Soak | Flag | Revert | Cancel,
    parts: tuple[bytes, ...],
    tell: Tell,
) -> Mapping[str, Any]:
    match request:
        case Drill():
            return operations.drill(tell)
        case Check(mode=mode, replaces=replaces, timeout=timeout):
            found, report = operations.check(parts[0], parts[1:], mode, timeout, replaces)
            return {"digest": found.digest, "file": found.file, "report": report.to_dict()}
        case Apply():
            found, applied = operations.apply(
                parts[0],
                parts[1:],
                mode=request.mode,
                consistency=request.consistency,
                replaces=request.replaces,
                timeout=request.timeout,
            )
            return {
                "digest": found.digest,
                "file": found.file,
                "report": applied.report.to_dict(),
                "switch_us": round(applied.switch_seconds * 1e6, 1),
                **_drained(applied, request.drain, tell),
            }
        case Soak():
            begun = operations.soak(
                parts[0],
                parts[1:],
                during=request.during,
                before=request.before,
                rules=_rules(request.rules),
                consistency=request.consistency,
                timeout=request.timeout,
            )
            return _soaked(begun, tell)
        case Flag(flag=flag, mode=mode, timeout=timeout):
            return _drained(operations.switch(flag, mode, timeout), request.drain, tell)
        case Revert(id=name, consistency=consistency, timeout=timeout):
            gone = operations.revert(name, consistency, timeout)
            return {"id": name, "status": None} if gone is None else _drained(gone, request.drain, tell)
        case Cancel(id=name):
            operations.cancel(name)
            return {"id": name}


def _applied() -> tuple[standing.Status, ...]:
    """Every applied patch; none where nothing is loaded by which there could be one."""
    if "livepatch.process.applied" not in sys.modules:
        return ()
    from livepatch.process.applied import status

    return status()


def _plain(status: standing.Status) -> dict[str, Any]:
    """A status as plain values, and in the words that people read."""
    return {**status.to_dict(), "text": str(status)}


def _rules(text: str) -> tuple[Rule, ...]:
    if not text:
        return ()
    from livepatch.health.rules import rules_in

    return rules_in(text.encode(), "the request")


def _soaked(begun: Soaking, tell: Tell) -> dict[str, Any]:
    """What came of a soak, once it is over and the set that is wished for follows; meanwhile how it stands is told."""
    soak = begun.soak
    while True:
        looked = time.monotonic()
        over = soak.over
        told = {"id": soak.id, "status": _plain(soak.applied.status()), "soak": soak.status()}
        if over or not tell(told):
            break
        time.sleep(max(_LOOK, (time.monotonic() - looked) * _RARELY))
    return {
        **told,
        "digest": begun.found.digest,
        "file": begun.found.file,
        "report": soak.applied.report.to_dict(),
        "text": str(soak.outcome),
        "kept": over and begun.kept.wait(_KEPT),
    }


def _drained(applied: Applied, seconds: float, tell: Tell) -> dict[str, Any]:
    """How it stands once no call is left on the other side, or so many seconds are over; meanwhile that is told."""
    end = time.monotonic() + seconds
    while True:
        begun = time.monotonic()
        status = applied.status()
        told = {"id": applied.id, "status": _plain(status)}
        now = time.monotonic()
        if status.drained or now >= end or not tell(told):
            return told
        time.sleep(min(max(_LOOK, (now - begun) * _RARELY), max(end - now, 0)))
