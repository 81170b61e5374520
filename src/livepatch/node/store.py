"""The store of a node, a directory that outlives the process: patch files, what is wished for, the node's key, its log.

Each change of what is wished for is one file that takes the place of another in one step, so that whoever opens the
store after a crash finds the set from before it or the one from after it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Self

from livepatch.bundle import codec, disk
from livepatch.bundle.envelope import digest, read_bundle
from livepatch.bundle.keyfiles import make_key, private_key
from livepatch.bundle.trust import admitted
from livepatch.bundle.trustroot import clock
from livepatch.errors import StateError, TrustError, spelled
from livepatch.events import emit
from livepatch.govern import surroundings
from livepatch.govern.files import is_still, let_go
from livepatch.node.stored import Installed, StoreView, hex_of, read_file, telling, unusable
from livepatch.node.wanted import GUARD, LARGEST, Fallen, Wanted, Wish, modules_told
from livepatch.state.files import SYSTEM, Files, put, remove

__all__ = ["GUARD", "Installed", "Store", "StoreView"]

_LARGEST_APPROVAL = 2 << 20
_TEMPORARY = ".livepatch-*.tmp*"


class Store(StoreView):
    """The store that this process has for itself; others may look into it (:class:`StoreView`).

    `guard` is the number of seconds for which the process has to live on after a patch went in.  One that did not is
    found out here: then the set that is wished for is the one before, `fell` names what was lost, and `died` is true,
    also if there was nothing left to go back to.

    Raises :class:`StateError` if another process has it, or it cannot be read or written, or others than its owner may
    write to it.  Then it is as it was, but for what a crash had left half-written.
    """

    def __init__(self, path: str | os.PathLike[str], *, guard: float = GUARD, files: Files = SYSTEM) -> None:
        if isinstance(path, (str, os.PathLike)):
            with telling(Path(os.fsdecode(path))):
                Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
        super().__init__(path)
        self.guard = guard
        self._files = files
        self._mutex = threading.RLock()
        self._changing = False
        self._until = 0.0
        self._timer: threading.Timer | None = None
        self._lock: int | None = None
        self._session: int | None = None
        with telling(self.path):
            self._lock, is_same = _taken(self.path)
            self._locked = os.fstat(self._lock)
        try:
            self._sweep()
            self._make_key()
            self._wanted = super().wanted
            self.died = self._wanted.trial is not None and not is_same
            """Whether the process before this one died while something was on trial."""
            self.fell: tuple[Fallen, ...] = ()
            """What this process begins without, for that is what the one before may have died of."""
            if self.died:
                self._fall_back()
            self._watch()
        except BaseException:
            self._let_go()
            raise
        _open.add(self)

    def _sweep(self) -> None:
        with telling(self.path):
            for folder in (self.path, self.path / "patches", *(self.path / "approvals").glob("*")):
                for left in folder.glob(_TEMPORARY):
                    remove(left, self._files)  # what a process that is gone had not yet put in place
            for name in ("patches", "approvals"):
                (self.path / name).mkdir(mode=0o700, exist_ok=True)

    def _make_key(self) -> None:
        if self.key_file.exists():
            private_key(self.key_file)  # one that others can read is refused before anything is signed with it
            return
        beside = self.path / f".livepatch-{os.urandom(8).hex()}.tmp"
        try:
            make_key(beside)
        except TrustError as error:
            raise unusable(self.path, error.found) from error
        with telling(self.path):
            remove(beside.with_name(f"{beside.name}.pub"), self._files)
            self._files.replace(beside, self.key_file)
            self._files.sync_directory(self.path)

    def _fall_back(self) -> None:
        before = self._wanted
        after = before.after_death(clock())
        self._write(after)
        self.fell = tuple(each for each in after.fallen if each not in before.fallen)
        emit(
            "died_on_trial",
            level="error",
            store=str(self.path),
            without=[each.id for each in self.fell],
            left=[each.id for each in after.patches],
        )

    # What is wished for

    @property
    def wanted(self) -> Wanted:
        """What the node is wished to run."""
        return self._wanted

    @contextlib.contextmanager
    def changing(self, patches: Iterable[Wish]) -> Iterator[None]:
        """Wish for those from the end of the block on, in which the process is brought to run them.

        If something goes in, that it is on trial is on the disk before the block begins, and until the process has
        lived on for `guard` seconds after it.  What the block raises leaves what is wished for as it was.

        Raises :class:`StateError` if it cannot be written, before the block or after it: then what is wished for is as
        it was, and the caller takes back what the block has done.  :class:`PatchError` for what is no set of patches.
        """
        given = tuple(patches)
        for each in given:
            self.read(each.file)
        with self._mutex:
            self._may_write()
            was = self._wanted
            wished = was.wishing(given)
            if was.brings_in(given):
                self._write(was.trying(given))
            self._changing = True
            try:
                yield
                self._write(wished)
            except BaseException:
                if self._wanted is not was:
                    self._withdraw(was)
                raise
            finally:
                self._changing = False
                self._watch()

    @contextlib.contextmanager
    def restoring(self) -> Iterator[tuple[Wish, ...]]:
        """At the start: what is wished for goes in within the block, and is on trial as if it went in anew.

        If that cannot be written, it goes in all the same, and an event says so: the node would start without patches.
        """
        with self._mutex:
            self._may_write()
            self._go_on_trial(anew=True)
            self._changing = True
            try:
                yield self._wanted.patches
            finally:
                self._changing = False
                self._watch()

    def goes_in_late(self, seconds: float) -> bool:
        """Of what is wished for, something goes in only now: it is on trial from here on.

        Whether a change that another thread makes has ended within so many seconds.
        """
        if not self._mutex.acquire(timeout=seconds):
            return False
        try:
            if self._lock is not None:
                self._go_on_trial(anew=False)
                if not self._changing:
                    self._watch()
            return True
        finally:
            self._mutex.release()

    def _go_on_trial(self, *, anew: bool) -> None:
        if not self._wanted.patches or (self._wanted.trial is not None and not anew):
            return
        try:
            self._write(self._wanted.restoring())
        except StateError as error:
            emit("not_on_trial", level="error", store=str(self.path), error=str(error))

    def _withdraw(self, was: Wanted) -> None:
        try:
            self._write(self._wanted.withdrawn(was))
        except StateError as error:
            # Harmless: a death from here on leads to what ran before as well.
            emit("trial_not_withdrawn", level="error", store=str(self.path), error=str(error))

    # The trial

    def _watch(self) -> None:
        """Let the time run from now on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._wanted.trial is None:
            return
        self._until = time.monotonic() + self.guard
        self._wait(self.guard)

    def _wait(self, seconds: float, then: Callable[[], None] | None = None) -> None:
        self._timer = threading.Timer(seconds, then or self._look)
        self._timer.name = "livepatch-guard"
        self._timer.daemon = True
        self._timer.start()

    def _look(self) -> None:
        with self._mutex:
            if self._lock is None or self._changing or time.monotonic() < self._until:
                return  # whoever changes it lets the time run anew
            try:
                self._prove()
            except StateError as error:
                emit("trial_not_ended", level="error", store=str(self.path), error=str(error))
                self._wait(max(self.guard, 1.0))

    def _prove(self) -> None:
        if self._wanted.trial is not None:
            self._write(self._wanted.proved())

    def close(self, *, well: bool = True) -> None:
        """Let go of it; twice is harmless.  A process that ends `well` does so in good order: nothing is to blame."""
        with self._mutex:
            if self._lock is None:
                return
            if self._timer is not None:
                self._timer.cancel()
            try:
                if well:
                    self._prove()
            except StateError as error:
                emit("trial_not_ended", level="error", store=str(self.path), error=str(error))
            finally:
                self._let_go()

    def _let_go(self) -> None:
        """Close the lock, but nothing that the program has opened in its place, having closed all files."""
        lock, self._lock = self._lock, None
        if lock is not None:
            let_go(lock, self._locked)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.close(well=kind is None)

    # Files

    def install(self, data: bytes) -> Installed:
        """Put the bytes of a patch file here, as they came.  Says nothing about who signed it; nothing is compiled.

        Raises :class:`BundleError` if they are no patch file, and :class:`StateError` if they cannot be written; then
        nothing has changed.  Files that are here already stay as they are.
        """
        file = digest(data)
        bundle = admitted(read_bundle(data), None, file)
        contents = codec.decode(bundle)
        changed = [*(e.module for e in contents.edits), *(o.target.partition(":")[0] for o in contents.obstacles)]
        found = Installed(
            file=file,
            digest=bundle.digest,
            id=contents.id,
            path=self.place_of(file),
            modules=modules_told(changed),
        )
        self._keep(found.path, data)
        return found

    def keep_approval(self, patch: str, data: bytes) -> Path:
        """Put the bytes of an approval of the patch of that digest here.  Who has signed it is asked when it is used.

        Raises :class:`StateError` if it is too large or cannot be written; then nothing has changed.
        """
        if len(data) > _LARGEST_APPROVAL:
            raise StateError(
                "no approval that can be kept",
                found=f"{len(data)} bytes",
                expected=f"{_LARGEST_APPROVAL} bytes or fewer",
                action="get the file anew from whoever approved the patch",
            )
        path = self.path / "approvals" / hex_of(patch) / f"{hex_of(digest(data))}.json"
        with self._mutex:
            self._may_write()
            with telling(self.path):
                if not path.parent.is_dir():
                    path.parent.mkdir(mode=0o700)
                    self._files.sync_directory(path.parent.parent)
        self._keep(path, data)
        return path

    def _keep(self, path: Path, data: bytes) -> None:
        with self._mutex:
            self._may_write()
            with telling(self.path):
                if not path.exists() or disk.read_at_most(path, len(data)) != data:
                    put(path, data, self._files)

    def discard(self, file: str) -> None:
        """Remove an installed patch file.  Approvals of its patch stay.

        Raises :class:`StateError` if it is wished for, or is what the node goes back to; then nothing has changed.
        """
        wanted = self._wanted
        used = (*wanted.patches, *wanted.before, *(wanted.trial or ()))
        if any(each.file == file for each in used):
            raise StateError(
                "a patch file of the store is in use",
                found=f"{file}, which is wished for, or which the node goes back to",
                expected="a file that is in no set",
                action="take the patch out first",
            )
        with self._mutex:
            self._may_write()
            with telling(self.path):
                self._files.remove(self.place_of(file))

    # The disk

    def _may_write(self) -> None:
        if self._lock is None:
            raise StateError(
                "the store is not this process's any more",
                found="a store that was closed, or that belongs to the process that this one was forked from",
                expected="the process that opened it",
                action="open it in one process, and have that one write",
            )
        with telling(self.path):
            is_there = os.path.samestat((self.path / "lock").lstat(), self._locked)
        if not is_there or not is_still(self._lock, self._locked):
            raise StateError(
                "the store is not this process's any more",
                found=f"{spelled(str(self.path))}, "
                + ("of which the program has closed the lock" if is_there else "in whose place another was put"),
                expected="the directory that was opened, and its lock, which is let go of when it is closed",
                action="start the node anew; close no files that the program has not opened itself",
            )

    def _write(self, wanted: Wanted) -> None:
        """Put it in the place of what is on the disk; if it raises, that is as it was."""
        self._may_write()
        data = wanted.to_bytes()
        Wanted.parse(data)  # nothing is written that the next start would refuse to read
        path = self.path / "wanted"
        try:
            put(path, data, self._files)
        except OSError as error:
            if read_file(path, LARGEST) == data:
                # It is there, and may not outlive a power cut: neither could be relied on, so what was before is put.
                with contextlib.suppress(OSError):
                    put(path, self._wanted.to_bytes(), self._files)
                if read_file(path, LARGEST) == data:
                    self._wanted = wanted
            raise unusable(self.path, disk.reason(error)) from error
        self._wanted = wanted

    def _leave(self) -> None:
        """In a child of a fork: the store is its parent's."""
        self._mutex = threading.RLock()
        self._timer = None
        if self._lock is not None and self._wanted.trial is not None:
            self._session = os.getsid(0)
        self._let_go()
        if self._session is not None:
            self._wait(self.guard, self._outlive)

    def _outlive(self) -> None:
        """In a child that has put itself into the background, and has lived on for its while.

        A program does so by a session of its own, and by the end of its parent, which then has not died of the trial.
        """
        if os.getsid(0) == self._session:
            return
        try:
            with self._mutex, telling(self.path):
                self._lock = _locked(self.path)
                try:
                    if self._lock is None:
                        self._wait(max(self.guard, 1.0), self._outlive)
                    elif StoreView(self.path).wanted == self._wanted:  # nobody has had it since
                        self._prove()
                finally:
                    self._let_go()
        except StateError as error:
            emit("trial_not_ended", level="error", store=str(self.path), error=str(error))


_open: weakref.WeakSet[Store] = weakref.WeakSet()


def _after_fork() -> None:
    for store in list(_open):
        store._leave()  # noqa: SLF001  # for this file alone


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _locked(path: Path) -> int | None:
    """The lock, if nobody else has it; what stands in it stays."""
    lock = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _taken(path: Path) -> tuple[int, bool]:
    """The lock of the store, which is let go of when the process ends; and whether this very process had it last.

    That is so if it has put another program in its own place: nothing has died then.
    """
    lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        last = os.pread(lock, 200, 0).decode("ascii", "replace").strip()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StateError(
                "another process has the store",
                found=f"{path}, which process {last.partition(' ')[0] or 'unknown'} has",
                expected="a store of its own for each node",
                action="end that process, or choose another directory",
            ) from error
        own = " ".join(map(str, (*surroundings.process().values(), surroundings.boot())))
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{own}\n".encode(), 0)
    except BaseException:
        os.close(lock)
        raise
    return lock, last == own
