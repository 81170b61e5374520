"""What policy says: which code is protected, which is a protocol.  Read strictly, and only ever added to."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from livepatch.compat.patterns import Pattern
from livepatch.contents.claims import RoundTrip, round_trip_of
from livepatch.errors import PatchError, PolicyError, spelled

__all__ = ["LARGEST", "Policy", "Protected", "Protocol", "merged", "read_policy"]

LARGEST = 256 << 10
"""Bytes of a policy file."""

_MOST = 1000  # items of one list
_LONGEST = 300  # characters of a reason
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
    if len(data) > LARGEST:
        _fail(source, "", f"{len(data)} bytes or more", f"{LARGEST} bytes or fewer")
    try:
        tables = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise PolicyError(
            f"{source} is no readable policy",
            found=f"{error}"[:200],
            expected="TOML in UTF-8",
            action="correct the file",
        ) from error
    table = _Table(source, "", tables)
    policy = Policy(
        protected=table.tables("protected", _protected),
        protocols=table.tables("protocol", _protocol),
    )
    table.end()
    return policy


def _fail(source: str, where: str, found: str, expected: str) -> NoReturn:
    raise PolicyError(
        f"{source} is no policy{f': {where}' if where else ''}",
        found=found,
        expected=expected,
        action="correct the file; nothing is applied while a rule cannot be read",
    )


class _Table:
    """One table of the file: each key is asked for once, and what is left over is an error."""

    def __init__(self, source: str, where: str, values: dict[str, Any]) -> None:
        self.source = source
        self.where = where
        self._left = dict(values)
        self._known: list[str] = []

    def _take(self, key: str) -> Any:
        self._known.append(key)
        return self._left.pop(key, None)

    def fail(self, key: str, found: str, expected: str) -> NoReturn:
        _fail(self.source, f"{self.where}.{key}".strip("."), found, expected)

    def tables(self, key: str, read: Callable[[_Table], Any]) -> tuple[Any, ...]:
        """An array of tables, each as `read` reads it."""
        values = self._take(key)
        if values is None:
            return ()
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            self.fail(key, _kind(values), f"an array of tables: [[{f'{self.where}.{key}'.strip('.')}]]")
        self._bound(key, values)
        found = []
        for index, value in enumerate(values):
            inner = _Table(self.source, f"{self.where}.{key}[{index}]".strip("."), value)
            found.append(read(inner))
            inner.end()
        return tuple(found)

    def patterns(self, key: str) -> tuple[Pattern, ...]:
        """A list of patterns, one or more."""
        values = self._take(key)
        if not isinstance(values, list) or not values:
            self.fail(key, "nothing" if values is None else _kind(values), "a list of patterns, one or more")
        self._bound(key, values)
        found = []
        for index, value in enumerate(values):
            try:
                found.append(Pattern(value))
            except TypeError:
                self.fail(f"{key}[{index}]", _kind(value), "a text such as 'package.consensus.*'")
            except PolicyError as error:
                self.fail(f"{key}[{index}]", error.found, error.expected)
        return tuple(found)

    def text(self, key: str) -> str:
        """A text in one line, perhaps empty."""
        value = self._take(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            self.fail(key, _kind(value), "a text")
        if len(value) > _LONGEST or not value.isprintable():
            self.fail(key, spelled(value), f"a text of {_LONGEST} characters or fewer, in one line")
        return value

    def count(self, key: str, most: int) -> int:
        """A whole number from 0."""
        value = self._take(key)
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, int):
            self.fail(key, _kind(value), "a whole number")
        if not 0 <= value <= most:
            self.fail(key, spelled(value), f"0 to {most}")
        return value

    def end(self) -> None:
        """Nothing is left."""
        for key in self._left:
            self.fail(key, "an unknown key", "one of " + ", ".join(self._known))

    def _bound(self, key: str, values: list[Any]) -> None:
        if len(values) > _MOST:
            self.fail(key, f"{len(values)} items", f"{_MOST} items or fewer")


def _kind(value: object) -> str:
    kinds = {dict: "a table", list: "a list", str: "a text", bool: "true or false", int: "a whole number"}
    return "an empty list" if value == [] else kinds.get(type(value), f"a {type(value).__name__}")


def _protected(table: _Table) -> Protected:
    return Protected(
        paths=table.patterns("paths"),
        source=table.source,
        reason=table.text("reason"),
        approvals=table.count("approvals", _MOST_APPROVALS),
    )


def _protocol(table: _Table) -> Protocol:
    return Protocol(
        paths=table.patterns("paths"),
        source=table.source,
        reason=table.text("reason"),
        round_trips=table.tables("round_trip", _round_trip),
    )


def _round_trip(table: _Table) -> RoundTrip:
    encode, decode, values = table.text("encode"), table.text("decode"), table.text("values")
    try:
        return round_trip_of(encode, decode, values)
    except PatchError as error:
        key = str(error).split(" ", 1)[0]
        table.fail(key, error.found, error.expected)
