"""To whom a patch is given out, as its file says: in which channel, in which revision, until when, to which nodes.

It lies in the file beside the edits, so signatures cover it.  A trust root is compared with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from livepatch.contents.identity import check_name
from livepatch.errors import PatchError, spelled

__all__ = ["ANYONE", "CHANNEL", "LARGEST", "Release", "check_expires", "is_moment"]

CHANNEL = "stable"
LARGEST = 2**31 - 1
"""The largest revision of a patch, and version of a trust root."""

_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_NODES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What a patch file says of its own giving out.  Raises :class:`PatchError` or :class:`TypeError`.

    `channel` must be that of the trust root.  `revision` counts the files that were given out under one patch id: a
    process that remembers a higher one refuses a lower.  After `expires`, a moment of UTC such as
    ``"2027-03-31T00:00:00Z"``, the file is refused; empty: as long as the trust root holds.  `nodes` are the names of
    the only nodes that may take it; empty: any.
    """

    channel: str = CHANNEL
    revision: int = 1
    expires: str = ""
    nodes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        values: tuple[tuple[str, object, type], ...] = (
            ("channel", self.channel, str),
            ("revision", self.revision, int),
            ("expires", self.expires, str),
            ("nodes", self.nodes, tuple),
            *(("nodes", node, str) for node in self.nodes),
        )
        for name, value, kind in values:
            if type(value) is not kind:
                raise TypeError(f"{name} must be of type {kind.__name__}, not {spelled(value)}")
        check_name("channel", self.channel)
        if not 1 <= self.revision <= LARGEST:
            raise PatchError(
                "no revision",
                found=spelled(self.revision),
                expected=f"a number from 1 to {LARGEST}",
                action="count the files that were given out under this id, from 1",
            )
        check_expires(self.expires)
        for node in self.nodes:
            check_name("nodes", node)
        if len(self.nodes) > _NODES or len(set(self.nodes)) != len(self.nodes):
            raise PatchError(
                "no nodes",
                found="a node twice, or too many",
                expected=f"at most {_NODES}, each once",
                action="name each node once; without nodes, any may take the file",
            )


def is_moment(text: str) -> bool:
    """Whether it is a moment of UTC, such as ``2027-03-31T00:00:00Z``.  Two of them compare as texts do."""
    if not _MOMENT.fullmatch(text):
        return False
    try:
        datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")
    except ValueError:
        return False
    return True


def check_expires(text: str) -> None:
    """Raise :class:`PatchError` unless it is a moment, or empty."""
    if text and not is_moment(text):
        raise PatchError(
            "expires is no moment",
            found=spelled(text),
            expected="a moment of UTC such as '2027-03-31T00:00:00Z'",
            action="write the moment in UTC, with a Z at its end",
        )


ANYONE = Release()
"""The first revision in the stable channel, for any node, for as long as the trust root holds."""
