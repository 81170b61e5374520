"""What policy says: which code is protected, which is a protocol.  Read strictly, and only ever added to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

from livepatch.compat.approvals import ANYBODY, Demand, Emergency
from livepatch.compat.patterns import Pattern
from livepatch.compat.tables import LARGEST, Table
from livepatch.compat.windows import DAYS, Freeze, Window, told_moment
from livepatch.contents.claims import RoundTrip, round_trip_of
from livepatch.contents.ownership import ROLES
from livepatch.contents.words import APPROVERS, CLASSES, STATES
from livepatch.errors import PatchError, spelled

__all__ = ["LARGEST", "Policy", "Protected", "Protocol", "merged", "read_policy"]

_MOST_APPROVALS = 100
_MOST_DAYS = 3650


@dataclass(frozen=True, slots=True, kw_only=True)
class Protected:
    """Code that must be alike in all processes that work together, such as the consensus of a network.

    `source` says where the rule comes from, `reason` why it is there, and `approvals` how many people must have
    approved a patch that goes through all the same.
    """

    paths: tuple[Pattern, ...]
    source: str
    reason: str = ""
    approvals: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Code that other processes, or later ones, depend on: encoders and decoders of messages and of stored data."""

    paths: tuple[Pattern, ...]
    source: str
    reason: str = ""
    round_trips: tuple[RoundTrip, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """All rules that are in force.  It is true if there are some about code, so that a call graph is needed."""

    protected: tuple[Protected, ...] = ()
    protocols: tuple[Protocol, ...] = ()
    demands: tuple[Demand, ...] = ()
    windows: tuple[Window, ...] = ()
    freezes: tuple[Freeze, ...] = ()
    emergencies: tuple[Emergency, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.protected or self.protocols)

    def about_code(self) -> Policy:
        """The rules about code alone: none of who approves, and when."""
        return Policy(protected=tuple(replace(rule, approvals=0) for rule in self.protected), protocols=self.protocols)

    @property
    def packages(self) -> frozenset[str]:
        """The top-level packages that the rules are about."""
        paths = [*(rule.paths for rule in self.protected), *(rule.paths for rule in self.protocols)]
        return frozenset(pattern.package for each in paths for pattern in each)


def merged(policies: Iterable[Policy]) -> Policy:
    """The rules of all of them: what one protects, no other can lay open."""
    every = list(policies)
    return Policy(
        protected=tuple(rule for policy in every for rule in policy.protected),
        protocols=tuple(rule for policy in every for rule in policy.protocols),
        demands=tuple(rule for policy in every for rule in policy.demands),
        windows=tuple(rule for policy in every for rule in policy.windows),
        freezes=tuple(rule for policy in every for rule in policy.freezes),
        emergencies=tuple(rule for policy in every for rule in policy.emergencies),
    )


def read_policy(data: bytes, source: str) -> Policy:
    """The policy in the bytes of a TOML file.

    Raises :class:`PolicyError`, which says where in it and what is wrong: what is misspelt must not pass for a rule
    that is in force.
    """
    table = Table.read(data, source)
    policy = Policy(
        protected=table.tables("protected", _protected),
        protocols=table.tables("protocol", _protocol),
        demands=table.tables("approval", _demand),
        windows=table.tables("window", _window),
        freezes=table.tables("freeze", _freeze),
        emergencies=tuple(filter(None, [table.table("emergency", _emergency)])),
    )
    names = [demand.name for demand in policy.demands]
    for index, name in enumerate(names):
        if name in names[:index]:
            table.fail(f"approval[{index}].name", f"{spelled(name)} twice", "each name once")
    table.end()
    return policy


def _protected(table: Table) -> Protected:
    return Protected(
        paths=table.patterns("paths"),
        source=table.source,
        reason=table.text("reason"),
        approvals=table.count("approvals", _MOST_APPROVALS),
    )


def _protocol(table: Table) -> Protocol:
    return Protocol(
        paths=table.patterns("paths"),
        source=table.source,
        reason=table.text("reason"),
        round_trips=table.tables("round_trip", _round_trip),
    )


def _demand(table: Table) -> Demand:
    name = table.text("name")
    if not name:
        table.fail("name", "nothing", "a name such as 'consensus'")
    days = table.count("max-age-days", _MOST_DAYS)
    suites, owners, probes = table.names("evidence"), table.words("owners", ROLES), bool(table.flag("probes"))
    return Demand(
        name=name,
        source=table.source,
        reason=table.text("reason"),
        roles=table.counts("roles", (*APPROVERS, ANYBODY), _MOST_APPROVALS, needed=not (suites or owners or probes)),
        evidence=suites,
        owners=owners,
        probes=probes,
        protected=table.flag("protected"),
        state=table.words("state", STATES),
        classes=table.words("class", CLASSES),
        cooling_off=timedelta(hours=table.count("cooling-off-hours", 24 * _MOST_DAYS)),
        max_age=timedelta(days=days) if days else None,
    )


def _window(table: Table) -> Window:
    return Window(
        days=table.words("days", DAYS) or DAYS,
        begin=table.minutes("from"),
        until=table.minutes("to"),
        source=table.source,
    )


def _freeze(table: Table) -> Freeze:
    begin, until = table.moment("from"), table.moment("to")
    if until <= begin:
        table.fail("to", told_moment(until), f"a moment after {told_moment(begin)}")
    return Freeze(begin=begin, until=until, source=table.source, reason=table.text("reason"))


def _emergency(table: Table) -> Emergency:
    hours = table.count("max-age-hours", 24 * _MOST_DAYS)
    roles = table.counts("roles", (*APPROVERS, ANYBODY), _MOST_APPROVALS)
    return Emergency(roles=roles, source=table.source, max_age=timedelta(hours=hours or 24))


def _round_trip(table: Table) -> RoundTrip:
    encode, decode, values = table.text("encode"), table.text("decode"), table.text("values")
    try:
        return round_trip_of(encode, decode, values)
    except PatchError as error:
        key = str(error).split(" ", 1)[0]
        table.fail(key, error.found, error.expected)
