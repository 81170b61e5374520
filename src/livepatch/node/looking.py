"""What several running nodes tell of themselves, asked at one time: for the page, and in plain values."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from livepatch.errors import AuditError, LivepatchError, NodeError
from livepatch.govern.telling import newest
from livepatch.node.client import Node
from livepatch.node.failures import plain
from livepatch.node.protocol import Health, Readings, Status

__all__ = ["look"]

_PATIENCE = 3.0  # seconds that a node has for an answer: the page has others to show
_AT_ONCE = 8  # nodes that are asked
_ENTRIES = 20


def look(found: Callable[[], Iterable[Path]], *, span: float = 600.0) -> dict[str, Any]:
    """What each node says whose control socket is `found` now, with its probes' readings of the last `span` seconds.

    One that does not answer has an ``error`` in place of the rest.
    """
    try:
        paths = tuple(found())
    except NodeError:
        paths = ()  # the last one has ended
    with ThreadPoolExecutor(min(_AT_ONCE, max(len(paths), 1)), "livepatch-look") as pool:
        nodes = list(pool.map(lambda path: _asked(path, span), paths))
    return {"at": time.time(), "nodes": nodes}


def _asked(path: Path, span: float) -> dict[str, Any]:
    told: dict[str, Any] = {"where": str(path), "error": None}
    try:
        with Node(path, margin=_PATIENCE) as node:
            told |= {"status": node.ask(Status()), "health": node.ask(Health())}
            told |= _part("readings", lambda: node.ask(Readings(span=span)))  # the last: an older node ends here
    except LivepatchError as error:
        return {**told, "error": plain(error)}
    return told | _part("record", lambda: _entries(told["status"].get("record")))


def _part(name: str, ask: Callable[[], object]) -> dict[str, Any]:
    """One part of what is told, or why it is not."""
    try:
        return {name: ask()}
    except LivepatchError as error:
        return {name: None, f"no_{name}": str(error)}


def _entries(record: object) -> list[dict[str, Any]]:
    """The newest entries of a node's record, from its own files: they are not for everybody whom the node answers."""
    folder = record.get("folder") if isinstance(record, Mapping) else None
    if not isinstance(folder, str):
        raise AuditError(
            "the node keeps no record",
            found="no folder of one",
            expected="a record",
            action="see livepatch.record_to",
        )
    return newest(folder, _ENTRIES)
