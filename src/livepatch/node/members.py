"""What a node keeps on its disk of the rollouts that it takes part in, so that a restart changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from livepatch.bundle.jsontext import Fields, read_object, refusing
from livepatch.errors import StateError
from livepatch.fleet.following import Member
from livepatch.fleet.standing import Condition
from livepatch.node.stored import read_file, telling
from livepatch.state.files import put

__all__ = ["Members"]

_CONDITIONS: tuple[Condition, ...] = ("original", "applied", "dormant", "armed", "failed")
_ROLLOUTS = 1000
_LARGEST = 1 << 20
_HIGHEST = 2**53
_JUMP = 1000  # reports that may have been sent since it was written
_REFUSE = refusing(
    StateError,
    "what the node has kept of rollouts cannot be read",
    "remove the file 'fleet' of the store: the node reports anew, and tries again what had failed",
)


class Members:
    """How the node stands in each rollout, in a file that is written whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = b""
        self._kept: tuple[tuple[str, Member], ...] = ()

    def read(self) -> Mapping[str, Member]:
        """What was kept, by rollout, as a new process begins with it.  Raises :class:`StateError`.

        Its next report has a higher sequence than any before, and it reads the newest directive anew, but none that is
        older than the one that it has followed.
        """
        data = read_file(self._path, _LARGEST)
        if data is None:
            return {}
        fields = read_object(data, most=_LARGEST, brackets=2 + _ROLLOUTS, refuse=_REFUSE)
        fields.exactly("type", "livepatch.fleet")
        fields.exactly("format", 1)
        found = dict(_member(each) for each in fields.records("rollouts", _ROLLOUTS))
        fields.end()
        return found

    def keep(self, members: Iterable[tuple[str, Member]]) -> None:
        """Keep that, if it is news.  Raises :class:`StateError`; then the file is as it was."""
        given = tuple(members)
        if given == self._kept:
            return
        rollouts = [
            {
                "rollout": rollout,
                "sequence": member.sequence // _JUMP * _JUMP,
                "order": member.order,
                "attempt": member.attempt,
                "condition": member.condition,
            }
            for rollout, member in given[-_ROLLOUTS:]
        ]
        data = json.dumps({"type": "livepatch.fleet", "format": 1, "rollouts": rollouts}).encode("ascii")
        if data != self._written:
            with telling(self._path):
                put(self._path, data)
            self._written = data
        self._kept = given


def _member(fields: Fields) -> tuple[str, Member]:
    rollout = fields.text("rollout", 128)
    told = fields.text("condition", 10)
    condition = next((each for each in _CONDITIONS if each == told), None)
    if condition is None:
        raise fields.error("condition", repr(told), " or ".join(_CONDITIONS))
    member = Member(
        id="",
        stage=0,
        sequence=fields.number("sequence", 0, _HIGHEST) + 2 * _JUMP,
        order=fields.number("order", -1, _HIGHEST) - 1,
        attempt=fields.number("attempt", -1, _HIGHEST),
        condition=condition,
    )
    fields.end()
    return rollout, replace(member, order=max(member.order, -1))
