"""What policy says: which code is protected, which is a protocol.  Read strictly, and only ever added to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from livepatch.compat.patterns import Pattern
from livepatch.compat.tables import LARGEST, Table
from livepatch.contents.claims import RoundTrip, round_trip_of
from livepatch.errors import PatchError

__all__ = ["LARGEST", "Policy", "Protected", "Protocol", "merged", "read_policy"]

_MOST_APPROVALS = 100


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
    """All rules that are in force."""

    protected: tuple[Protected, ...] = ()
    protocols: tuple[Protocol, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.protected or self.protocols)

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
    )
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


def _round_trip(table: Table) -> RoundTrip:
    encode, decode, values = table.text("encode"), table.text("decode"), table.text("values")
    try:
        return round_trip_of(encode, decode, values)
    except PatchError as error:
        key = str(error).split(" ", 1)[0]
        table.fail(key, error.found, error.expected)
