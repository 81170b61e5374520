"""What others get of a record: its entries, and what proves that they are in it."""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from livepatch.errors import AuditError, spelled
from livepatch.govern import merkle
from livepatch.govern.audit import Audit, read_parts
from livepatch.govern.entries import Checkpoint, is_checkpoint, parse
from livepatch.govern.files import segments
from livepatch.govern.notes import Note, Verifier

__all__ = ["consistency", "entries", "evidence", "newest"]

_END = 256 * 1024  # bytes at the end of a file in which its newest entries are looked for


def entries(folder: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """The entries of a record that can be read, in their order.  Whether it holds, verify() says."""
    for part in read_parts(Path(folder)):
        for line in part.lines:
            if not is_checkpoint(line):
                try:
                    yield parse(line)
                except AuditError:
                    continue


def newest(folder: str | os.PathLike[str], most: int) -> list[dict[str, Any]]:
    """The newest entries that can be read, in their order, of a record of any size.  Whether it holds, verify() says.

    Raises :class:`AuditError` if it cannot be read.
    """
    found: list[dict[str, Any]] = []
    for segment in reversed(segments(Path(folder))):
        lines = segment.read_end(_END).split(b"\n")[:-1]  # behind the last newline there is at most half a line
        for line in reversed(lines):
            if len(found) >= most:
                return found[::-1]
            with contextlib.suppress(AuditError):
                if not is_checkpoint(line):
                    found.append(parse(line))
    return found[::-1]


def evidence(folder: str | os.PathLike[str], picked: Iterable[dict[str, Any]], found: Audit) -> dict[str, Any]:
    """Entries, each with its line and the RFC 9162 proof that the line is beneath the newest checkpoint.

    Raises :class:`AuditError` if files are missing: a proof needs all lines.
    """
    lines, hashes = _all(folder, found)
    signed = Checkpoint.parse(Note.parse(found.checkpoint).text)
    told = []
    for entry in picked:
        index = entry["index"]
        if not index < len(lines) or parse(lines[index]) != entry:
            raise AuditError(
                "an entry stands in another line than it says",
                found=f"one that says that it is line {index}",
                expected="an entry as livepatch writes it",
                action="see livepatch audit verify --deep",
            )
        proof = merkle.inclusion_proof(hashes[: signed.size], index) if index < signed.size else None
        told.append(
            {
                "entry": entry,
                "line": lines[index].decode("ascii"),
                "inclusion": None if proof is None else [base64.b64encode(each).decode() for each in proof],
            }
        )
    return {"origin": found.origin, "key": found.key, "checkpoint": found.checkpoint, "entries": told}


def consistency(folder: str | os.PathLike[str], note: bytes, found: Audit) -> dict[str, Any]:
    """The RFC 9162 proof that the newest checkpoint goes on from the one in a note.

    Raises :class:`AuditError` if it does not, or if files are missing.
    """
    kept = Note.parse(note)
    signed = kept.signed_by([Verifier.parse(found.key)])
    first, second = Checkpoint.parse(kept.text), Checkpoint.parse(Note.parse(found.checkpoint).text)
    if not signed or first.origin != found.origin:
        raise AuditError(
            "the checkpoint is not one of this record",
            found=f"a note of {spelled(first.origin)}" + ("" if signed else ", without a signature of the node"),
            expected=f"one of {found.origin}, signed by {found.key}",
            action="give a checkpoint of this very record",
        )
    hashes = _all(folder, found)[1][: second.size]
    proof = merkle.consistency_proof(hashes, first.size) if 0 < first.size <= second.size else []
    if not merkle.is_consistent(first.size, second.size, first.root, second.root, proof):
        raise AuditError(
            "the record does not go on from that checkpoint",
            found=f"one of {first.size} lines of {first.origin}",
            expected=f"an older one of this record, which has {second.size} lines of {second.origin}",
            action="see livepatch audit verify --checkpoint",
        )
    return {
        "origin": found.origin,
        "key": found.key,
        "from": str(kept),
        "to": found.checkpoint,
        "consistency": [base64.b64encode(each).decode() for each in proof],
    }


def _all(folder: str | os.PathLike[str], found: Audit) -> tuple[list[bytes], list[bytes]]:
    if found.first:
        raise AuditError(
            "a proof needs every line of the record",
            found=f"the lines from {found.first} on",
            expected="all files",
            action="put the files that were taken elsewhere back beside the others, in a copy",
        )
    parts = read_parts(Path(folder))
    return [line for part in parts for line in part.lines], [each for part in parts for each in part.hashes]
