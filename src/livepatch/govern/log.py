"""The record on disk: lines are added, each time with a checkpoint, and nothing else is ever done to it.

What is written is an entry and the checkpoint that signs it and all before, in one write, and it is on the disk when
:meth:`Log.append` returns.  Several threads and processes may write to one record: each takes the lock of the folder,
reads what others have added, and goes on from there.  What a process that was killed left half written is recognised,
kept in an entry of its own, and gone on from.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from livepatch.errors import AuditError, spelled
from livepatch.govern import files, merkle, surroundings
from livepatch.govern.entries import (
    AFTER,
    FIRST,
    Opening,
    checkpoint_line,
    checkpoint_text,
    entry_line,
    is_checkpoint,
    note_of,
    parse,
)
from livepatch.govern.merkle import Frontier
from livepatch.govern.notes import Note, Signer, verifier_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["Log", "Written"]

_T = TypeVar("_T")

_SEGMENT = 16 * 1024 * 1024  # bytes, from which on a new file is begun
_AT_ONCE = 2  # lines, that are written in one go
_TORN = 4096  # bytes of what was half written that are kept as they are


@dataclass(frozen=True, slots=True)
class Written:
    """Where an entry went, and the checkpoint that covers it, a signed note as it is written."""

    index: int
    checkpoint: str


class _Tail:
    """The end of the record as this process knows it, and the file that is written to."""

    end = b""
    """The bytes before `offset`: the last line at least."""
    room = 0
    """Where the room ends that was set aside in the file for lines to come."""

    def __init__(self, path: Path, tree: Frontier, last: bytes, *, descriptor: int, offset: int) -> None:
        self.path = str(path)
        self.tree = tree
        self.last = last
        """The hash of the last line, in hexadecimal digits."""
        self.descriptor = descriptor
        self.made = os.fstat(descriptor)
        self.offset = offset
        self.uncovered = 0
        """Whether no checkpoint signs the one line that there is yet: 1, or 0."""
        self.closed = False
        """The last entry says that the record goes on in another file."""

    def ends_as_known(self) -> bool:
        """Whether nobody has added to the file."""
        return files.ends_as_known(self.descriptor, end=self.end, offset=self.offset, room=self.room)


class Log:
    """A record in a folder, written with one key.  Opening it checks its newest file and makes it if there is none.

    `origin` is the name of the record and of its key, such as ``node7.example.com/livepatch``.  Raises
    :class:`AuditError` if it cannot be written, if it is another key's or name's, or if it does not hold.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        key: Ed25519PrivateKey,
        origin: str,
        *,
        segment_bytes: int = _SEGMENT,
        patience: float = 10.0,
    ) -> None:
        try:
            self.folder = Path(folder).absolute()  # a daemon may leave its directory
        except OSError as error:
            raise files.unwritable(Path(folder), error) from error
        self.verifier = verifier_of(origin, key)
        self._folder_path = str(self.folder)
        self._lock_path = files.lock_path(self.folder)
        self._signer = Signer(self.verifier, key)
        self._segment_bytes = min(segment_bytes, files.LARGEST // 2)
        self._patience = patience
        self._mutex = threading.RLock()
        self._lock: tuple[int, os.stat_result] | None = None
        self._tail: _Tail | None = None
        self._names: files.Names | None = None
        """The state of the folder in which lock and tail were seen to be the files of their names."""
        self._same_names = False
        """Whether it is in that state still."""
        self._seen = (0, FIRST)
        """How many lines this process knows to be there, and the hash of the last of them: fewer there are never."""
        self._writing = False
        self._keeps_reserve = True
        try:
            self._alone(self._begin_writing)
        except BaseException:
            self.close()
            raise

    def append(self, fields: Mapping[str, Any], *, way_back: bool = False) -> Written:
        """Add an entry; it is on the disk, with a checkpoint, when this returns.

        On a full disk the `way_back` may use room that was set aside, and others are refused while there is no room to
        set aside.  Raises :class:`AuditError` if it cannot be written: then the record ends as it did before, or if
        even that fails with what will be taken for half written.
        """
        return self._alone(lambda: self._append(fields, way_back=way_back))

    def checkpoint(self) -> Note:
        """Sign the record as it is now: all lines, of other processes too.  Raises :class:`AuditError`."""
        return Note.parse(self._alone(lambda: self._sign(self._catch_up({"who": surroundings.user()}).tree)))

    def close(self) -> None:
        """Let go of the files."""
        with self._mutex:
            self._give_room()
            self._let_go()

    def after_fork(self) -> None:
        """In a child: open all anew with the next entry.  A lock that another thread held is not ours."""
        self._mutex = threading.RLock()
        self._writing = False
        with contextlib.suppress(OSError):
            self._let_go()  # only closed and never unlocked, for the parent may be writing

    # Beneath the locks

    def _begin_writing(self) -> None:
        self._catch_up({"who": surroundings.user()})
        with contextlib.suppress(OSError):  # the first entry tells
            self._keeps_reserve = files.keep_reserve(self.folder)

    def _append(self, fields: Mapping[str, Any], *, way_back: bool) -> Written:
        try:
            return self._add(fields, ahead=not way_back)
        except (AuditError, OSError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            full = isinstance(cause, OSError) and cause.errno in files.FULL
            if not (way_back and full and files.give_reserve(self.folder)):
                raise
        self._drop_tail()
        return self._add(fields, ahead=False)

    def _alone(self, act: Callable[[], _T]) -> _T:
        """Do that while no other thread or process writes.  Raises :class:`AuditError` for an :class:`OSError`, too."""
        if not self._mutex.acquire(blocking=False) and not self._mutex.acquire(timeout=self._patience):
            raise self._busy("another thread of this process writes, and does not end")
        try:
            if self._writing:
                raise self._busy("a call from a signal handler or __del__ that ran while this thread was writing")
            self._writing = True
            try:
                try:
                    self._take_lock()
                    return act()
                finally:
                    if self._lock is not None:
                        files.unlock(self._lock[0])
            except (OSError, ValueError) as error:
                self._drop_tail()
                raise files.unwritable(self.folder, error) from error
            except BaseException:
                self._drop_tail()  # whatever was interrupted: the next one reads what is there
                raise
            finally:
                self._writing = False
        finally:
            self._mutex.release()

    def _take_lock(self) -> None:
        """Lock the file that lies in the folder, which may have been taken away or made anew meanwhile."""
        pauses = None
        while True:
            if self._lock is not None and not files.is_still(*self._lock):
                self._drop_lock()  # and locks no file of the program's, which may have closed this one
            if self._lock is None:
                made = self._made()
                self._lock = made, os.fstat(made)
            taken = files.try_lock(self._lock[0])
            names = files.names_in(self._folder_path)
            self._same_names = names is not None and names == self._names
            if not self._same_names:
                self._names = names if files.will_differ(names) else None
            if not self._same_names and not files.lies_at(self._lock_path, self._lock[1]):
                if taken:
                    files.unlock(self._lock[0])
                self._drop_lock()
            elif taken:
                return
            else:
                pauses = pauses or files.pauses(self.folder, self._patience)
                time.sleep(next(pauses))

    def _drop_lock(self) -> None:
        lock, self._lock = self._lock, None
        self._names = None
        if lock is not None:
            files.let_go(*lock)

    def _busy(self, found: str) -> AuditError:
        return AuditError(
            f"the record in {spelled(str(self.folder))} is being written",
            found=found,
            expected="one entry at a time",
            action="try again",
        )

    def _let_go(self) -> None:
        self._drop_tail()
        self._drop_lock()

    def _give_room(self) -> None:
        """Leave a file that has lines only, unless somebody writes just now."""
        tail, lock = self._tail, self._lock
        if self._writing or tail is None or tail.room <= tail.offset or lock is None or not files.is_still(*lock):
            return
        with contextlib.suppress(OSError):
            if files.try_lock(lock[0]):
                try:
                    there = files.lies_at(self._lock_path, lock[1]) and files.lies_at(tail.path, tail.made)
                    if there and tail.ends_as_known():
                        os.ftruncate(tail.descriptor, tail.offset)
                finally:
                    files.unlock(lock[0])

    def _made(self) -> int:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return files.open_lock(self._lock_path)

    def _drop_tail(self) -> None:
        tail, self._tail = self._tail, None
        self._names = None
        if tail is not None:
            files.let_go(tail.descriptor, tail.made)

    def _catch_up(self, fields: Mapping[str, Any]) -> _Tail:
        """Read what others have added, and mend what somebody left half written."""
        tail = self._tail
        if tail is None or not (self._is_in_place(tail) and tail.ends_as_known()):
            tail = self._read_on(fields)
        while tail.closed:
            tail = self._go_on(tail, fields)
        self._must_have_all(tail.tree)
        self._seen = (tail.tree.size, tail.last)
        return tail

    def _is_in_place(self, tail: _Tail) -> bool:
        return self._same_names or files.lies_at(tail.path, tail.made)

    def _read_on(self, fields: Mapping[str, Any]) -> _Tail:
        size = None if self._tail is None else files.size_at(self._tail.path, self._tail.descriptor, self._tail.made)
        if size is None:
            self._drop_tail()  # others have gone on in the next file, and this one is in an archive: or it was stolen
        tail = self._tail or self._open(fields)
        if size is None:
            size = os.fstat(tail.descriptor).st_size
        if not tail.offset <= size <= files.LARGEST:
            self._drop_tail()
            raise self._broken(f"{size} bytes, where there were {tail.offset}", "a file that only grows, line by line")
        there = os.pread(tail.descriptor, size - tail.offset + len(tail.end), tail.offset - len(tail.end))
        if not there.startswith(tail.end):
            self._drop_tail()
            raise self._broken(f"another line before byte {tail.offset}", "a file that only grows, line by line")
        tail.room = size
        added = files.without_room(there)[len(tail.end) :]
        if added:
            torn = self._take_in(tail, added)
            if torn or tail.uncovered:
                self._mend(tail, fields, torn)
        return tail

    def _open(self, fields: Mapping[str, Any]) -> _Tail:
        found = files.segments(self.folder)
        for segment in reversed(found):
            data = segment.read()
            if not _is_half_written(data):
                return self._enter(segment, data.partition(b"\n")[0])
        if found and found[0].start:
            raise self._broken("no file with a whole line", "files of a record")
        return self._begin(Frontier(), FIRST, fields)

    def _must_have_all(self, tree: Frontier) -> None:
        """Raise :class:`AuditError` if lines are gone that this process has seen: it would sign what takes their place.

        Somebody who can write to the folder may put back an older state of it, in which everything fits.
        """
        if tree.size < self._seen[0]:
            raise self._broken(f"{tree.size} lines", f"the {self._seen[0]} that this process has seen there")

    def _enter(self, segment: files.Segment, head: bytes) -> _Tail:
        """Go on with a file that is there.  Its lines are read when the end is caught up with."""
        opening = Opening.of(head)
        if (opening.origin, opening.key) != (self.verifier.name, str(self.verifier)):
            raise AuditError(
                f"the record in {spelled(str(self.folder))} is another one's",
                found=f"a record of {opening.origin}, with the key {opening.key}",
                expected=str(self.verifier),
                action="use the key and the name with which it was begun, or another folder",
            )
        try:
            tree = Frontier(opening.size, opening.subtrees)
        except ValueError as error:
            raise self._broken(str(error), "the tree of the files before") from error
        self._check(opening.checkpoint, tree)
        if segment.start != tree.size:
            raise self._broken(f"the name {segment.path.name}", files.path_of(self.folder, tree.size).name)
        descriptor = os.open(segment.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._tail = _Tail(segment.path, tree, head[AFTER], descriptor=descriptor, offset=0)
        return self._tail

    def _begin(self, tree: Frontier, last: bytes, fields: Mapping[str, Any]) -> _Tail:
        """Begin a new file, with the tree so far in its first line."""
        self._must_have_all(tree)
        path = files.path_of(self.folder, tree.size)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._drop_tail()
        self._tail = tail = _Tail(path, tree, last, descriptor=descriptor, offset=0)
        os.ftruncate(descriptor, 0)  # the first line of a file may have been left half written
        opening = Opening(self.verifier.name, str(self.verifier), tree.size, tree.roots, Note.parse(self._sign(tree)))
        self._write(tail, {**_own(fields), "event": "opened", "details": opening.details()})
        files.sync_folder(self.folder)
        return tail

    def _add(self, fields: Mapping[str, Any], *, ahead: bool) -> Written:
        tail = self._catch_up(fields)
        if tail.offset >= self._segment_bytes:
            tail = self._rotate(tail, fields)
        return self._write(tail, fields, ahead=ahead)

    def _rotate(self, tail: _Tail, fields: Mapping[str, Any]) -> _Tail:
        self._write(tail, {**_own(fields), "event": "rotated", "details": {}})
        os.ftruncate(tail.descriptor, tail.offset)
        return self._begin(tail.tree, tail.last, fields)

    def _go_on(self, tail: _Tail, fields: Mapping[str, Any]) -> _Tail:
        """Follow to the file with which another process has gone on, or see to it if that did not get so far."""
        path = files.path_of(self.folder, tail.tree.size)
        segment = files.Segment(path, tail.tree.size)
        data = segment.read() if path.exists() else b""
        if _is_half_written(data):
            return self._begin(tail.tree, tail.last, fields)
        self._drop_tail()
        self._enter(segment, data.partition(b"\n")[0])
        return self._catch_up(fields)

    def _take_in(self, tail: _Tail, added: bytes) -> bytes:
        """Check lines that follow, and give what is half written: no whole line, or one that no checkpoint signs."""
        lines = added.split(b"\n")
        torn = lines.pop()
        # Where the machine itself stopped, blocks of what was written last may be missing: they read as zeros or room.
        whole = next((i for i, line in enumerate(lines) if _has_hole(line)), len(lines))
        if len(lines) - _AT_ONCE <= whole < len(lines):
            torn = b"\n".join([*lines[whole:], torn])
            del lines[whole:]
        hashes = merkle.leaf_hashes(lines)
        before = [tail.last, *(each.hex().encode() for each in hashes)]
        for number, (line, last) in enumerate(zip(lines, before, strict=False)):
            if line[AFTER] != last:
                raise self._broken(f"a break before line {tail.tree.size + number}", "an unbroken chain")
        known = self._seen[0] - tail.tree.size
        if 0 <= known < len(before) and before[known] != self._seen[1]:
            raise self._broken("another history", f"the {self._seen[0]} lines that this process has seen there")
        signed = next((i for i in reversed(range(len(lines))) if is_checkpoint(lines[i])), None)
        covered = 0
        if signed is not None:
            tail.tree.extend(hashes[:signed])
            self._check(note_of(lines[signed]), tail.tree)
            tail.tree.extend(hashes[signed : signed + 1])
            covered = signed + 1
        rest = lines[covered:]
        if rest and tail.offset == covered == 0:
            # The first line of a file, which _enter has looked at; without it there would be no file to go on with.
            tail.tree.extend(hashes[:1])
            tail.uncovered, covered, rest = 1, 1, rest[1:]
        if rest:
            # An entry and its checkpoint are written in one go, so nobody was told that this one is there.  It must not
            # be signed as if it had been written: whoever can write to the folder can put a line there.
            if len(rest) + tail.uncovered > 1 or parse(rest[0]).get("index") != tail.tree.size:
                raise self._broken(
                    f"{len(rest)} lines that no checkpoint signs, from line {tail.tree.size} on",
                    "one entry at most, as a process leaves it that is killed",
                )
            torn = b"%b\n%b" % (rest[0], torn)
            del lines[covered:]
        tail.last = before[covered]
        tail.offset += len(added) - len(torn)
        if lines:
            tail.end = lines[-1] + b"\n"
        last_entry = next((line for line in reversed(lines) if not is_checkpoint(line)), None)
        tail.closed = last_entry is not None and parse(last_entry)["event"] == "rotated"
        return torn

    def _mend(self, tail: _Tail, fields: Mapping[str, Any], torn: bytes) -> None:
        """Take what was left half written into an entry."""
        self._must_have_all(tail.tree)
        torn = torn.lstrip(files.PAD)
        os.ftruncate(tail.descriptor, tail.offset)
        tail.room = tail.offset
        details = {
            "torn": torn[:_TORN].decode("ascii", "backslashreplace"),
            "torn_bytes": len(torn),
            "torn_sha256": hashlib.sha256(torn).hexdigest(),
            "uncovered": tail.uncovered,
        }
        closed = tail.closed
        self._write(tail, {**_own(fields), "event": "recovered", "details": details})
        if closed:
            self._write(tail, {**_own(fields), "event": "rotated", "details": {}})
            tail.closed = True

    def _write(self, tail: _Tail, fields: Mapping[str, Any], *, ahead: bool = False) -> Written:
        """Write one entry with its checkpoint; if it is `ahead`, with room behind it for those to come."""
        tree, index = tail.tree, tail.tree.size
        given = {"details": {}, "phase": "noted", "versions": surroundings.versions(), **fields}
        at, ticks = surroundings.utc(time.time_ns()), time.monotonic_ns()
        entry = entry_line(tail.last, index, surroundings.here(), at, ticks, given)
        # Whatever fails from here on lets go of the tail, and the next one reads what is there.
        first = merkle.leaf_hash(entry)
        tree.add(first)
        note = self._sign(tree)
        signed = checkpoint_line(first.hex().encode(), note)
        last = merkle.leaf_hash(signed)
        tree.add(last)
        data = b"%b\n%b\n" % (entry, signed)
        tail.last, tail.uncovered = last.hex().encode(), 0
        seen, written = (tree.size, tail.last), Written(index, note)  # as much as can be before the disk is waited for
        if ahead and tail.offset + len(data) > tail.room:
            self._set_aside(tail)
        try:
            files.write_through(tail.descriptor, data, tail.offset)
        except BaseException as error:
            # Whether an interrupt or a failure, some of it may be there; and the disk may have lost what it was given.
            with contextlib.suppress(OSError):
                os.ftruncate(tail.descriptor, tail.offset)
            self._drop_tail()
            if isinstance(error, OSError):
                raise files.unwritable(self.folder, error) from error
            raise
        tail.offset += len(data)
        tail.end, self._seen = data, seen
        return written

    def _set_aside(self, tail: _Tail) -> None:
        """Set room aside for lines to come, once there is some in reserve.  Raises :class:`OSError` if there is not."""
        if self._keeps_reserve:
            self._keeps_reserve = files.keep_reserve(self.folder)
        most = max(self._segment_bytes - tail.offset, 0)  # no more than until the next file is begun
        tail.room = files.set_aside(tail.descriptor, tail.offset, min(files.ROOM, most))

    def _sign(self, tree: Frontier) -> str:
        return self._signer.sign(checkpoint_text(self.verifier.name, tree.size, tree.root()))

    def _check(self, note: Note, tree: Frontier) -> None:
        expected = checkpoint_text(self.verifier.name, tree.size, tree.root())
        if note.text != expected or not note.signed_by([self.verifier]):
            raise self._broken("a checkpoint that does not fit the lines before it", "the node's own")

    def _broken(self, found: str, expected: str) -> AuditError:
        return AuditError(
            f"the record in {spelled(str(self.folder))} does not hold",
            found=found,
            expected=expected,
            action="`livepatch audit verify` says where; keep it as it is, and record to another folder",
        )


def _is_half_written(data: bytes) -> bool:
    """Whether a file has nothing but a beginning that somebody left half written."""
    newlines = data.count(b"\n")
    return newlines == 0 or (newlines <= _AT_ONCE and _has_hole(data))


def _has_hole(data: bytes) -> bool:
    """Whether a block is missing there, as a machine leaves it that stopped: no line has such bytes."""
    return b"\0" in data or files.PAD in data


def _own(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What an entry about the record itself takes from the one for which it is written."""
    return {"who": fields["who"]}
