"""Where a record does not hold, once the pass over all of it has found that it does not.

A checkpoint that fits proves every line before it, so halving finds how far the record is sound.  Right behind begins
what was done to it, and three things say what that was: a line begins with the hash of the one before, an entry says
which line it is, and where somebody has made the chain whole again, the next checkpoint does not fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

from livepatch.errors import AuditError, counted
from livepatch.govern.audit import Flaw, Kind, Part, missing
from livepatch.govern.entries import AFTER, FIRST, Checkpoint, Opening, checkpoints_among, is_checkpoint, note_of, parse
from livepatch.govern.merkle import Frontier
from livepatch.govern.notes import Verifier

__all__ = ["locate", "of_kept"]

_MOST = 20  # flaws that are told


class _Roots(Protocol):
    roots: dict[int, bytes]


class _Lines:
    """All lines that are there, counted from the first of them."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        self.start = parts[0].start
        self.lines = [line for part in parts for line in part.lines]
        self.raw = [each for part in parts for each in part.hashes]
        self.signed = checkpoints_among(self.lines)
        self.sound = 0
        """How many lines are just what the node signed."""

    def claimed(self, number: int) -> int | None:
        """Which line it says that it is; ``None`` for one that livepatch does not write."""
        line = self.lines[number]
        try:
            own = Checkpoint.parse(note_of(line).text).size if is_checkpoint(line) else parse(line)["index"]
        except AuditError:
            return None
        return int(own) - self.start

    def follows(self, number: int) -> bool:
        """Whether a line goes on from the one before it."""
        if number:
            return self.lines[number][AFTER] == self.raw[number - 1].hex().encode()
        return self.start > 0 or self.lines[0][AFTER] == FIRST

    def flaw(self, what: Kind, first: int, last: int, found: str, expected: str) -> Flaw:
        """A flaw at those lines."""
        part, before = self.parts[0], 0
        for other in self.parts[1:]:
            if first < before + len(part.lines):
                break
            part, before = other, before + len(part.lines)
        return Flaw(
            what=what,
            first=self.start + first,
            last=self.start + last,
            file=part.name,
            line=first - before + 1,
            found=found,
            expected=expected,
        )


def locate(parts: Sequence[Part], verifier: Verifier, *, archived: bool) -> list[Flaw]:
    """Every place that does not hold, 20 at most; one at least."""
    flaws = [] if archived or not parts[0].start else [missing(0, parts[0].start - 1)]
    together = [parts[0]]
    for before, part in pairwise(parts):
        if part.start > before.end:
            flaws += [*_within(_Lines(together), verifier), missing(before.end, part.start - 1)]
            together = []
        together.append(part)
    flaws += _within(_Lines(together), verifier)
    if not flaws:
        flaws = [_at_a_beginning(_Lines(parts))]
    return sorted(flaws, key=lambda flaw: flaw.first)[:_MOST]


def _within(held: _Lines, verifier: Verifier) -> list[Flaw]:
    """What is wrong in files between which none is missing."""
    tree = _first_tree(held, verifier)
    if tree is None:
        expected = "the tree of the files before, signed by the node"
        return [held.flaw("forged-checkpoint", 0, 0, "another first line of a file", expected)]
    held.sound = _sound(held, tree, verifier)
    breaks = [number for number in range(held.sound, len(held.lines)) if not held.follows(number)]
    flaws = _joined([_at_break(held, number) for number in breaks])
    unsigned = _unsigned(held, verifier)
    if unsigned is not None and not (breaks and breaks[0] <= unsigned.last - held.start + 1):
        flaws.append(unsigned)
    return flaws


def _first_tree(held: _Lines, verifier: Verifier) -> Frontier | None:
    """The tree with which the files begin; ``None`` if the node did not sign it."""
    if not held.start:
        return Frontier()
    try:
        opening = Opening.of(held.lines[0])
        tree = Frontier(opening.size, opening.subtrees)
        fits = opening.checkpoint.text == Checkpoint(verifier.name, tree.size, tree.root()).text
        return tree if fits and tree.size == held.start and opening.checkpoint.signed_by([verifier]) else None
    except (AuditError, ValueError):
        return None


def _sound(held: _Lines, tree: Frontier, verifier: Verifier) -> int:
    """How many lines the newest checkpoint that fits signs, with its own."""
    signed = held.signed
    sound, low, high = 0, 0, len(signed)
    while low < high:
        middle = (low + high) // 2
        number = signed[middle]
        longer = tree.copy()
        longer.extend(held.raw[sound:number])
        if _fits(held.lines[number], longer, verifier):
            longer.extend(held.raw[number : number + 1])
            tree, sound, low = longer, number + 1, middle + 1
        else:
            high = middle
    return sound


def _fits(line: bytes, tree: Frontier, verifier: Verifier) -> bool:
    try:
        note = note_of(line)
        same = note.text == Checkpoint(verifier.name, tree.size, tree.root()).text
        return same and note.signed_by([verifier]) == (verifier,)
    except AuditError:
        return False


def _at_break(held: _Lines, number: int) -> Flaw:
    """What happened where line `number` does not go on from the one before."""
    claimed = held.claimed(number)
    expected = f"line {held.start + number} as it was written"
    if claimed is None:
        return held.flaw("edited", number, number, "a line that livepatch does not write", expected)
    was = f"what was line {held.start + claimed}"
    if claimed != number:
        wanted = held.raw[number - 1].hex().encode() if number else FIRST
        later = any(line[AFTER] == wanted for line in held.lines[number + 1 :])
        if claimed > number:
            return held.flaw("reordered" if later else "deleted", number, number, was, expected)
        return held.flaw("inserted", number, number, was, expected)
    # If the next line goes on from this one, this one is as it was, and the one before is not.
    next_follows = number + 1 < len(held.lines) and held.follows(number + 1)
    if next_follows and number - 1 >= held.sound:
        expected = f"line {held.start + number - 1} as it was written"
        return held.flaw("edited", number - 1, number - 1, "a line with another hash", expected)
    return held.flaw("spliced" if next_follows else "edited", number, number, "a line of another history", expected)


def _joined(flaws: Sequence[Flaw]) -> list[Flaw]:
    """One flaw for breaks that lie next to each other: the first says what it is."""
    joined: list[Flaw] = []
    for flaw in sorted(flaws, key=lambda each: each.first):
        if not joined or flaw.first > joined[-1].last + 1:
            joined.append(flaw)
    return joined


def _unsigned(held: _Lines, verifier: Verifier) -> Flaw | None:
    """What is wrong with the lines behind the sound ones, up to the next checkpoint, apart from their chain."""
    sound, end = held.sound, len(held.lines)
    number = next((n for n in held.signed if n >= sound), None)
    for each in range(sound, end if number is None else number):
        if held.claimed(each) != each:
            return held.flaw("edited", each, each, "a line that livepatch does not write", "its own")
    if number is None:
        if end - sound > 1:
            expected = "one line at most, as a process leaves it that is killed"
            return held.flaw("inserted", sound, end - 1, f"{counted(end - sound, 'line')} that nobody signed", expected)
        return None
    try:
        signed = note_of(held.lines[number]).signed_by([verifier]) == (verifier,)
    except AuditError:
        signed = False
    if not signed:
        expected = f"one of {verifier}"
        return held.flaw("forged-checkpoint", number, number, "a checkpoint that the key has not signed", expected)
    found = "lines that fit each other and not the checkpoint that signs them"
    return held.flaw("rewritten", sound, number, found, "the lines that were signed")


def _at_a_beginning(held: _Lines) -> Flaw:
    """All is chained and signed, so it is the files that do not begin where they should."""
    for part in held.parts:
        number = part.start - held.start
        try:
            fine = not 0 <= number < len(held.lines) or held.lines[number] is part.lines[0]
            opening = Opening.of(part.lines[0])
            fine = fine and opening.size == part.start
        except (AuditError, IndexError):
            fine = False
        if not fine:
            first = sum(len(other.lines) for other in held.parts if other.start < part.start)
            first = min(first, len(held.lines) - 1)
            return held.flaw("edited", first, first, "a file that begins in another way", "the first line of a file")
    last = len(held.lines) - 1
    odd = next((number for number in range(last + 1) if held.claimed(number) != number), None)
    if odd is not None:
        return held.flaw(
            "edited", odd, odd, "a line, signed with the node's key, that livepatch does not write", "its own"
        )
    return held.flaw("edited", 0, last, "another record or key in the first lines", "files of one record")


def of_kept(kept: Checkpoint, run: _Roots, parts: Sequence[Part], *, sound: bool) -> Flaw | None:
    """What a checkpoint that was kept elsewhere says of the record."""
    end = parts[-1].end
    if kept.size > end:
        return Flaw(
            what="truncated",
            first=end,
            last=kept.size - 1,
            file=parts[-1].name,
            line=len(parts[-1].lines) + 1,
            found=f"the end of the record after {end} lines",
            expected=f"{kept.size} lines, as the checkpoint that was handed in signs",
        )
    if not sound or kept.size < parts[0].start or run.roots.get(kept.size) == kept.root:
        return None
    return Flaw(
        what="rewritten",
        first=parts[0].start,
        last=kept.size - 1,
        found="another history, signed with the same key",
        expected=f"the first {kept.size} lines as the checkpoint that was handed in signs them",
    )
