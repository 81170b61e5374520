"""Does a record hold?  One pass over its lines; only where something is wrong, they are looked at one by one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from livepatch.errors import AuditError, counted, spelled
from livepatch.govern import files, merkle
from livepatch.govern.entries import (
    AFTER,
    FIRST,
    Checkpoint,
    Opening,
    checkpoints_among,
    is_checkpoint,
    note_of,
    parse,
)
from livepatch.govern.merkle import Frontier
from livepatch.govern.notes import Note, Verifier

__all__ = ["Audit", "Flaw", "Part", "verify"]

Kind = Literal[
    "edited", "deleted", "inserted", "reordered", "spliced", "forged-checkpoint", "truncated", "rewritten",
    "missing-file", "clock-set-back", "torn-end", "unsigned-end",
]  # fmt: skip
Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """What does not hold, and where: lines `first` to `last` of the record (from 0), and a `line` (from 1) of a `file`.

    An ``error`` is something that livepatch does not write; a ``warning`` is what a crash or the machine's clock does.
    """

    what: Kind
    severity: Severity = "error"
    first: int
    last: int
    file: str = ""
    line: int = 0
    found: str
    expected: str

    def __str__(self) -> str:
        lines = f"line {self.first}" if self.first == self.last else f"lines {self.first} to {self.last}"
        where = f" ({self.file}:{self.line})" if self.file else ""
        return f"{self.severity}: [{self.what}] {lines}{where}: found {self.found}; expected {self.expected}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What :func:`verify` found.  True if the record holds.

    `size` counts lines, and `entries` those of them that say what was done.  `checkpoint` is the newest one, as a
    signed note: kept elsewhere, it shows later whether this record was cut short or written anew.  `unfinished` are the
    indexes of intents without a result (looked for with ``deep=True`` only), `covered` how many lines are signed.
    """

    folder: str
    origin: str
    key: str
    trusted: bool
    """The key was given by the caller; else it is the one that the record itself names."""
    first: int
    size: int
    entries: int
    covered: int
    checkpoint: str
    flaws: tuple[Flaw, ...]
    deep: bool
    checkpoints: int = 0
    """How many signatures of the record's own checkpoints were verified."""
    witnesses: tuple[str, ...] = ()
    unfinished: tuple[int, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Nothing is there that livepatch does not write."""
        return not any(flaw.severity == "error" for flaw in self.flaws)

    def __bool__(self) -> bool:
        return self.ok

    def to_dict(self) -> dict[str, Any]:
        """As plain values, fit for JSON."""
        return {**asdict(self), "ok": self.ok, "flaws": [asdict(flaw) for flaw in self.flaws]}

    def __str__(self) -> str:
        state = "holds" if self.ok else "does not hold"
        told = f"the record of {self.origin} {state}: {counted(self.entries, 'entry').replace('entrys', 'entries')}"
        told += f", {self.covered} of {counted(self.size, 'line')} signed"
        lines = [told, *map(str, self.flaws)]
        if not self.trusted:
            lines.append("the key is the one that the record names itself; pass the node's own to know who signed")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a record, read: its lines with their hashes, and what comes after the last newline."""

    name: str
    start: int
    lines: list[bytes]
    hashes: list[bytes]
    torn: bytes
    signed: list[int]
    """Which of its lines claim to be checkpoints."""

    @property
    def end(self) -> int:
        """How many lines the record has up to the end of this file."""
        return self.start + len(self.lines)


def read_parts(folder: Path) -> list[Part]:
    """All files of a record.  Raises :class:`AuditError` if there is none, or one cannot be read."""
    found = []
    for segment in files.segments(folder):
        data = segment.read()
        lines = data.split(b"\n")
        torn = lines.pop()
        signed = checkpoints_among(lines)
        found.append(Part(segment.path.name, segment.start, lines, merkle.leaf_hashes(lines), torn, signed))
    if found and not found[-1].lines and len(found) > 1:
        found.pop()  # a file that was begun, and no more
    if not found or not found[0].lines:
        raise AuditError(
            f"there is no record in {spelled(str(folder))}",
            found="no file with a line in it",
            expected="files named record-….jsonl",
            action="correct the path: it is that of the folder",
        )
    return found


def verify(
    folder: str | os.PathLike[str],
    *,
    key: str | Verifier | None = None,
    checkpoints: Iterable[str | bytes | Note] = (),
    witnesses: Iterable[str | Verifier] = (),
    deep: bool = False,
    archived: bool = False,
    clock_steps: bool = False,
) -> Audit:
    """Verify the record in a folder: every line by the chain, and the whole by the newest checkpoint.

    `key` is the node's verifier key; without it, the record is only held against the key that it names itself.
    `checkpoints` are notes that were kept elsewhere: the record must go on from each, so one that was cut short or
    written anew is found out.  Each must be signed by the node, and by those of the `witnesses` that are named.
    `deep` verifies the signature of every checkpoint in it as well, reads every entry, and names intents without a
    result.  `archived`: the oldest files may have been taken elsewhere.  `clock_steps`: a clock that was set back is
    told as a warning.

    Raises :class:`AuditError` if it cannot be read, or for a key or note that is none.
    """
    if not isinstance(folder, (str, os.PathLike)):
        raise TypeError(f"folder must be a str or os.PathLike, not {spelled(folder)}")
    given = _verifier("key", key) if key is not None else None
    trusted = tuple(_verifier("witnesses", each) for each in witnesses)
    notes = [_note(each) for each in checkpoints]
    parts = read_parts(Path(folder))
    opening = _opening(parts[0], given)
    verifier = given or Verifier.parse(opening.key)
    kept = [_kept(note, verifier, trusted) for note in notes]
    from livepatch.govern.clocks import set_back
    from livepatch.govern.locating import locate, of_kept

    run = _Run(parts, opening, verifier, sorted(each.size for each in kept), deep=deep)
    sound = run.sound = run.go()
    flaws = [] if sound else locate(parts, verifier, archived=archived)
    if sound and parts[0].start and not archived:
        flaws.append(missing(0, parts[0].start - 1))
    flaws += [flaw for each in kept if (flaw := of_kept(each, run, parts, sound=sound and not flaws)) is not None]
    if not flaws:
        flaws += set_back(parts, clock_steps=clock_steps)
    flaws += _ends(parts[-1], run)
    return Audit(
        folder=os.fspath(folder),
        origin=verifier.name,
        key=str(verifier),
        trusted=given is not None,
        first=parts[0].start,
        size=parts[-1].end,
        entries=run.entries,
        covered=run.covered,
        checkpoint=run.newest,
        flaws=tuple(flaws),
        deep=deep,
        checkpoints=run.verified,
        witnesses=tuple(map(str, trusted)) if kept else (),
        unfinished=_unfinished(parts) if deep and sound else (),
    )


def missing(first: int, last: int) -> Flaw:
    """The flaw of files that are not there."""
    return Flaw(
        what="missing-file",
        first=first,
        last=last,
        found=f"no file with lines {first} to {last}",
        expected="all files of the record; --archived if the oldest were taken elsewhere",
    )


def _opening(part: Part, key: Verifier | None) -> Opening:
    """The first line; what it claims is verified later.  With the key, a broken one is a flaw like any other."""
    try:
        return Opening.of(part.lines[0])
    except AuditError:
        if key is None:
            raise
        return Opening(key.name, str(key), part.start, (), Note("", ()))


def _verifier(argument: str, given: object) -> Verifier:
    if isinstance(given, Verifier):
        return given
    if isinstance(given, str):
        return Verifier.parse(given)
    raise TypeError(f"{argument} must be of verifier keys, name+id+key, not {spelled(given)}")


def _note(given: object) -> Note:
    if isinstance(given, Note):
        return given
    if isinstance(given, (str, bytes)):
        return Note.parse(given)
    raise TypeError(f"checkpoints must be signed notes, not {spelled(given)}")


def _kept(read: Note, verifier: Verifier, witnesses: Sequence[Verifier]) -> Checkpoint:
    signed = read.signed_by([verifier, *witnesses])
    for each in (verifier, *witnesses):
        if each not in signed:
            raise AuditError(
                "a checkpoint that was handed in is not signed as it must be",
                found=f"signatures of {', '.join(s.name for s in read.signatures)[:200]}",
                expected=f"one of {each}",
                action="hand in the note of this very record, or the right key",
            )
    kept = Checkpoint.parse(read.text)
    if kept.origin != verifier.name:
        raise AuditError(
            "a checkpoint that was handed in is another record's",
            found=f"one of {spelled(kept.origin)}",
            expected=f"one of {verifier.name}",
            action="hand in the note of this very record",
        )
    return kept


class _Run:
    """The one pass: the chain, the tree, and the signature of the newest checkpoint, or of all."""

    def __init__(
        self, parts: list[Part], opening: Opening, verifier: Verifier, sizes: list[int], *, deep: bool
    ) -> None:
        self.parts = parts
        self.verifier = verifier
        self.deep = deep
        self.roots: dict[int, bytes] = dict.fromkeys(sizes, b"")
        """The root at each size that is asked for, as far as the record goes."""
        self.entries = sum(len(part.lines) - len(part.signed) for part in parts)
        self.covered = 0
        self.newest = ""
        self.verified = 0
        self.sound = False
        self._opening = opening

    def go(self) -> bool:
        """Whether everything holds."""
        try:
            tree = Frontier(self._opening.size, self._opening.subtrees)
        except ValueError:
            return False
        last = self.parts[0].lines[0][AFTER] if self.parts[0].start else FIRST
        newest = self._newest()
        try:
            for part in self.parts:
                if tree.size != part.start or not self._begins_rightly(part, tree):
                    return False
                hashes = part.hashes
                if b"".join([line[10:74] for line in part.lines]) != last + b"".join(hashes[:-1]).hex().encode():
                    return False
                last = hashes[-1].hex().encode()
                if not self._grow(part, tree, hashes, newest):
                    return False
            return self._end_is_plain(newest)
        except AuditError:
            return False

    def _newest(self) -> int:
        return next((part.start + part.signed[-1] for part in reversed(self.parts) if part.signed), -1)

    def _begins_rightly(self, part: Part, tree: Frontier) -> bool:
        opening = Opening.of(part.lines[0])
        same = opening.key == str(self.verifier) and opening.origin == self.verifier.name
        return (
            same
            and (opening.size, opening.subtrees) == (tree.size, tree.roots)
            and self._holds(opening.checkpoint, tree)
        )

    def _grow(self, part: Part, tree: Frontier, hashes: list[bytes], newest: int) -> bool:
        stops = {size - part.start for size in self.roots if part.start <= size <= part.end}
        signed: set[int] = set()
        if self.deep:
            signed = set(part.signed)
        elif part.start <= newest < part.end:
            signed = {newest - part.start}
        done = 0
        for stop in sorted(stops | signed | {len(hashes)}):
            tree.extend(hashes[done:stop])
            done = stop
            if stop in stops:
                self.roots[tree.size] = tree.root()
            if stop in signed:
                note = note_of(part.lines[stop])
                if not self._holds(note, tree):
                    return False
                self.newest, self.covered = str(note), tree.size + 1
        return not self.deep or all(self._is_as_written(part, number) for number in range(len(part.lines)))

    def _is_as_written(self, part: Part, number: int) -> bool:
        """Whether a line is one that livepatch writes there.  Raises :class:`AuditError` if nowhere."""
        held = parse(part.lines[number])
        if "checkpoint" in held:
            return number > 0 and not is_checkpoint(part.lines[number - 1])
        in_place: bool = held["index"] == part.start + number
        return in_place and (held["event"] == "opened") == (number == 0)

    def _holds(self, note: Note, tree: Frontier) -> bool:
        self.verified += 1
        text = Checkpoint(self.verifier.name, tree.size, tree.root()).text
        return note.text == text and note.signed_by([self.verifier]) == (self.verifier,)

    def _end_is_plain(self, newest: int) -> bool:
        """Whether what no checkpoint signs is one entry, as a crash leaves it: each is written with its checkpoint."""
        part = self.parts[-1]
        rest = part.lines[max(newest + 1 - part.start, 0) :]
        for number, line in enumerate(rest, max(newest + 1, part.start)):
            if parse(line).get("index") != number:
                return False
        return len(rest) <= 1


def _ends(part: Part, run: _Run) -> list[Flaw]:
    """What a crash leaves at the end, or somebody who cut it there."""
    found = []
    number = len(part.lines)
    if part.torn:
        found.append(
            Flaw(
                what="torn-end",
                severity="warning",
                first=part.end,
                last=part.end,
                file=part.name,
                line=number + 1,
                found=f"{counted(len(part.torn), 'byte')} without an end of line",
                expected="whole lines: a process was killed, or the disk full, while it wrote; the next entry mends it",
            )
        )
    if run.sound and run.covered < part.end:
        found.append(
            Flaw(
                what="unsigned-end",
                severity="warning",
                first=max(run.covered, part.start),
                last=part.end - 1,
                file=part.name,
                line=max(run.covered - part.start, 0) + 1,
                found="lines that no checkpoint signs",
                expected="a checkpoint at the end: a process was killed while it wrote; the next entry mends it",
            )
        )
    return found


def _unfinished(parts: list[Part]) -> tuple[int, ...]:
    """The intents without a result."""
    open_ones: dict[int, None] = {}
    for part in parts:
        for line in part.lines:
            if is_checkpoint(line):
                continue
            entry = parse(line)
            if entry["phase"] == "intent":
                open_ones[entry["index"]] = None
            elif "of" in entry:
                open_ones.pop(entry["of"], None)
    return tuple(open_ones)
