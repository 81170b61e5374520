"""What could keep a process from being patched, judged before there is a patch: facts in, findings out.  Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from livepatch.compat.checks import interpreter_findings
from livepatch.compat.report import Finding, by_weight
from livepatch.compat.rows import row
from livepatch.engine.environment import Environment

__all__ = ["NEWEST", "Facts", "Folder", "Trusted", "diagnose"]

NEWEST = (3, 15)
"""The newest Python that livepatch is tested with."""
_SOON = 30  # days
_ROOM = 64 << 20  # bytes
_MANY = 1000  # objects


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """The directory of a store: its path, whether it can be written to, how many bytes are free, the key's mode."""

    path: str
    writable: bool
    free: int
    key_mode: int | None = None
    died: tuple[str, ...] = ()
    """What the process before may have died of, and this one began without."""
    aside: tuple[str, ...] = ()
    """What is wished for and set aside: it is not in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """A trust root: until when it is valid, and the days that are left of that; below 0 if it has expired."""

    package: str
    version: int
    expires: str
    days: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a process.  What is ``None`` there is not; `vouches`: files need no signature.

    `uids` are users besides its own and root that may control it.
    """

    environment: Environment
    frozen: int = 0
    store: Folder | None = None
    trust: Trusted | None = None
    vouches: bool = False
    policy: str = ""
    """Why the rules cannot be read."""
    recorded: bool = True
    uids: tuple[int, ...] = ()


def diagnose(facts: Facts) -> tuple[Finding, ...]:
    """The findings, errors first."""
    return by_weight([*_interpreter(facts), *_store(facts.store), *_trust(facts), *_control(facts)])


def _interpreter(facts: Facts) -> Iterator[Finding]:
    environment = facts.environment
    yield from interpreter_findings(environment)
    if environment.python[:2] > NEWEST:
        yield row(
            "warning",
            "interpreter-untested",
            "",
            "CPython " + ".".join(map(str, environment.python)),
            f"CPython 3.11 to {'.'.join(map(str, NEWEST))}",
            "update livepatch, or try each patch on a process of the same kind first",
        )
    if environment.audit_hooked:
        yield row(
            "info",
            "audit-hook",
            "",
            "an audit hook, which runs between the stores to functions",
            "no audit hook",
            "nothing; the functions are switched by one shared cell",
        )
    if facts.frozen > _MANY:
        yield row(
            "info",
            "heap-frozen",
            "",
            f"{facts.frozen} objects that gc.freeze() hides",
            "objects that a search of the heap meets",
            "expect a search for what is suspended to take longer, once",
        )


def _store(store: Folder | None) -> Iterator[Finding]:
    if store is None:
        return
    if not store.writable:
        yield row(
            "error",
            "store-unwritable",
            store.path,
            "a store that this process may not write to",
            "a directory of its own, of mode 0700",
            "see to its owner and mode, or remount it",
        )
    elif store.free < _ROOM:
        yield row(
            "warning",
            "store-full",
            store.path,
            f"{store.free >> 20} MiB free",
            f"{_ROOM >> 20} MiB or more",
            "make room: what cannot be written down is not applied",
        )
    if store.key_mode is not None and store.key_mode & 0o077:
        yield row(
            "error",
            "key-readable",
            store.path,
            f"the node's key with mode {store.key_mode:04o}",
            "mode 0600",
            "chmod 600 it; if others may have read it, remove it, so that the node makes another, and tell who "
            "verifies its record",
        )
    if store.died:
        yield row(
            "warning",
            "died-on-trial",
            store.path,
            f"a process before this one that died too soon after these went in: {', '.join(store.died)}",
            "that it lives on",
            "find out why it died; apply them again if they were not the cause",
        )
    if store.aside:
        yield row(
            "warning",
            "set-aside",
            store.path,
            f"that these are wished for, and not in: {', '.join(store.aside)}",
            "each of them in, or waiting for its modules",
            "see the reason in livepatch status; mend it and apply the file again, or revert the patch",
        )


def _trust(facts: Facts) -> Iterator[Finding]:
    trust = facts.trust
    if facts.vouches:
        yield row(
            "warning",
            "trust-unsigned",
            "",
            "an agent that takes files which nobody has signed",
            "a trust root",
            "start it with trust=livepatch.TrustRoot.load(path)",
        )
    if trust is not None and trust.days <= _SOON:
        told = f"version {trust.version} of the trust root, valid until {trust.expires}"
        do = "get the next version and put it in place with livepatch trust rotate"
        if trust.days <= 0:
            yield row("error", "trust-expired", trust.package, told, "one that is still valid", do)
        else:
            longer = f"one that is valid for more than {_SOON} days"
            yield row("warning", "trust-expiring", trust.package, told, longer, do)
    if facts.policy:
        yield row(
            "error",
            "policy-unreadable",
            "",
            facts.policy,
            "rules that can be read: one that is not known could not be kept",
            "correct the file; livepatch policy test tells what it says",
        )


def _control(facts: Facts) -> Iterator[Finding]:
    if not facts.recorded:
        yield row(
            "warning",
            "not-recorded",
            "",
            "a process that keeps no record of what is done to it",
            "a record",
            "start it with an agent, or with livepatch.record_to",
        )
    if facts.uids:
        yield row(
            "info",
            "others-control",
            "",
            f"users who may control this node as well: {', '.join(map(str, facts.uids))}",
            "its own user and root",
            "nothing, if that is meant",
        )
