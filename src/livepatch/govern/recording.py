"""The record of this process: what it is about to do is on the disk before it does it, and what came of it after."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from livepatch.errors import AuditError, IncompatibleError, LivepatchError, shortened, spelled
from livepatch.events import emit
from livepatch.govern import tripwires

if TYPE_CHECKING:
    from livepatch.govern.log import Log
    from livepatch.patch import Patch

__all__ = ["Action", "Known", "Recording", "acting_as", "begin", "in_use", "note", "record_to"]

_MOST = 200  # names of one kind in an entry
_LONGEST = 2000  # characters of one text
_ROOM = 48 * 1024  # bytes that the details of an entry may take, so that what else is in it fits as well
_LARGEST = 10**18
_NAME = 200  # characters of who acts
_who: ContextVar[str] = ContextVar("livepatch_who", default="")


class Recording:
    """A record that this process writes; see :func:`livepatch.record_to`."""

    def __init__(self, log: Log, who: str, on_checkpoint: Callable[[str], object] | None) -> None:
        self._log = log
        self._who = who
        self._on_checkpoint = on_checkpoint

    @property
    def folder(self) -> str:
        """Where it lies."""
        return str(self._log.folder)

    @property
    def key(self) -> str:
        """The verifier key, by which others know what this node signed: hand it to `livepatch audit verify`."""
        return str(self._log.verifier)

    def checkpoint(self) -> str:
        """Sign the record as it is now: a note to keep elsewhere.  Raises :class:`AuditError`."""
        return str(self._log.checkpoint())

    def write(self, fields: Mapping[str, Any], *, way_back: bool = False) -> int:
        """Write one entry through to the disk, and give its index.  Raises :class:`AuditError`."""
        done = self._log.append({"who": _who.get() or self._who, **fields}, way_back=way_back)
        if self._on_checkpoint is not None:
            try:
                self._on_checkpoint(done.checkpoint)
            except Exception as error:  # noqa: BLE001  # the program's own code may fail in any way
                emit("on_checkpoint_failed", level="error", error=type(error).__qualname__)
        return done.index

    def after_fork(self) -> None:
        """In a child."""
        self._log.after_fork()

    def close(self) -> None:
        """Write that no more will come, if that can be written, and let go."""
        with contextlib.suppress(AuditError):
            self.write({"event": "stopped"}, way_back=True)
        self._log.close()

    def __repr__(self) -> str:
        return f"<livepatch record in {self.folder}>"


_current: Recording | None = None
_setting = threading.Lock()


@overload
def record_to(path: None) -> None: ...


@overload
def record_to(
    path: str | os.PathLike[str],
    *,
    key: str | os.PathLike[str],
    who: str = "",
    origin: str = "",
    on_checkpoint: Callable[[str], object] | None = None,
) -> Recording: ...


def record_to(
    path: str | os.PathLike[str] | None,
    *,
    key: str | os.PathLike[str] | None = None,
    who: str = "",
    origin: str = "",
    on_checkpoint: Callable[[str], object] | None = None,
) -> Recording | None:
    """Record what livepatch does in this process from now on, in the folder at `path`; ``None`` ends that.

    `key` is the file of the node's Ed25519 private key (PEM, mode 0600), which signs.  `who` acts: by default the user
    that the process runs as.  `origin` is the name of the record and of its key, by default ``HOST/livepatch``.
    `on_checkpoint` is called with each checkpoint, a signed note, to send it elsewhere; what it raises is only logged.

    From then on apply, a change of mode, revert and cancel write an entry before they do anything, and one when it is
    done or has failed.  If one cannot be written they raise :class:`AuditError`, and nothing has changed.  `check`,
    `verify` and `build` write what they found, and a ``livepatch.not_recorded`` event if that cannot be written.

    Several processes may record to one folder, with one key.  Raises :class:`AuditError` if the folder cannot be
    written, holds another key's record or one that does not hold, or for a wrong key; then what was recorded to before,
    if anything, stays in use.
    """
    global _current  # there is one record in a process
    if not isinstance(origin, str):
        raise TypeError(f"origin must be a str, not {spelled(origin)}")
    _check_who(who)
    if on_checkpoint is not None and not callable(on_checkpoint):
        raise TypeError(f"on_checkpoint must be a function of one text, not {spelled(on_checkpoint)}")
    made = _opened(path, key, who, origin, on_checkpoint) if path is not None else None
    with _setting:
        tripwires.send_to(None)
        before, _current = _current, made
        if made is not None:
            tripwires.send_to(_tripped)
    if before is not None:
        before.close()
    return made


def _opened(
    path: str | os.PathLike[str],
    key: str | os.PathLike[str] | None,
    who: str,
    origin: str,
    on_checkpoint: Callable[[str], object] | None,
) -> Recording:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be that of a folder, not {spelled(path)}")
    if not isinstance(key, (str, os.PathLike)):
        raise TypeError(
            f"key must be the path of the node's private key, not {spelled(key)}; `livepatch keygen FILE` makes one"
        )
    from livepatch.govern import surroundings
    from livepatch.govern.keys import read_key
    from livepatch.govern.log import Log

    log = Log(path, read_key(key), origin or surroundings.origin())
    return Recording(log, who or surroundings.user(), on_checkpoint)


def _check_who(who: str) -> None:
    """Who acts; nobody in particular if empty.  Raises :class:`AuditError` or :class:`TypeError`."""
    if not isinstance(who, str):
        raise TypeError(f"who must be a str, not {spelled(who)}")
    if who and (not who.strip() or not who.isprintable() or len(who) > _NAME):
        raise AuditError(
            "nobody can be recorded under that name",
            found=spelled(who) if len(who) <= _NAME else f"a text of {len(who)} characters",
            expected=f"1 to {_NAME} characters that can be printed, such as 'alice'",
            action="give another who",
        )


@contextlib.contextmanager
def acting_as(who: str) -> Iterator[None]:
    """What is recorded inside, in this context, is done by them.

    Raises :class:`AuditError` or :class:`TypeError` for what is no name, before anything inside is run.
    """
    _check_who(who)
    token = _who.set(who)
    try:
        yield
    finally:
        _who.reset(token)


def in_use() -> Recording | None:
    """The record of this process, if one is kept."""
    return _current


class Action:
    """Something that changes the process: an intent, then its result."""

    def __init__(self, recording: Recording, event: str, patch: Patch | None, *, way_back: bool) -> None:
        self._recording = recording
        self._fields = {"event": event, **_facts(patch)}
        self._way_back = way_back
        self._intent: int | None = None

    def intend(self, details: Mapping[str, Any]) -> None:
        """Say what is about to be done.  Raises :class:`AuditError`: then it must not be."""
        self._intent = self._write("intent", details)

    def done(self, details: Mapping[str, Any]) -> None:
        """Say that it was done.  Raises :class:`AuditError`: then it must be taken back."""
        self._write("done", details)

    def failed(self, error: BaseException) -> None:
        """Say that it was not done, or was taken back.  If that cannot be written, an event says so."""
        with _told_only(self._fields["event"]):
            self._write("failed", _of_error(error))

    def _write(self, phase: str, details: Mapping[str, Any]) -> int:
        of = {} if self._intent is None else {"of": self._intent}
        fields = {**self._fields, **of, "phase": phase, "details": _plain(details)}
        return self._recording.write(fields, way_back=self._way_back)


def begin(event: str, patch: Patch | None, *, way_back: bool = False) -> Action | None:
    """An action to announce, or ``None`` if nothing is recorded.  On a full disk the `way_back` has room in reserve."""
    recording = _current
    return Action(recording, event, patch, way_back=way_back) if recording is not None else None


def note(
    event: str, patch: Patch | Known | str | None = None, error: BaseException | None = None, **details: object
) -> None:
    """Record something that has no intent of its own.  If it cannot be written, an event says so.

    `patch` may be its id, where no more is known.
    """
    recording = _current
    if recording is None:
        return
    fields = {"event": event, "phase": "noted" if error is None else "failed"}
    with _told_only(event):
        told = _plain(details if error is None else {**details, **_of_error(error)})
        recording.write({**fields, **_facts(patch), "details": told})


def _tripped(patch_id: str, details: Mapping[str, Any]) -> None:
    recording = _current
    if recording is not None:
        with _told_only("tripwire"):
            recording.write({"event": "tripwire", "patch": {"id": patch_id}, "details": _plain(details)})


@contextlib.contextmanager
def _told_only(event: str) -> Iterator[None]:
    try:
        yield
    except AuditError as error:
        emit("not_recorded", level="error", what=event, error=shortened(str(error), _LONGEST))


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a patch that only lies in its file."""

    digest: str
    id: str
    package: str
    versions: str


def _facts(patch: Patch | Known | str | None) -> dict[str, Any]:
    """The patch, and the version that it meets here."""
    if patch is None:
        return {}
    if isinstance(patch, str):
        return {"patch": {"id": patch}}
    from livepatch.govern.digests import digest_of
    from livepatch.govern.surroundings import version_of, versions

    digest = patch.digest if isinstance(patch, Known) else digest_of(patch)
    known = {"digest": digest, "id": patch.id, "package": patch.package}
    known["versions"] = shortened(patch.versions, 1000)
    return {"patch": known, "versions": {**versions(), patch.package: version_of(patch.package)}}


def _of_error(error: BaseException) -> dict[str, Any]:
    told: dict[str, Any] = {"error": type(error).__qualname__}
    if isinstance(error, IncompatibleError):
        return {**told, "findings": [finding.code for finding in error.report.errors]}
    # What others raise may hold anything, secrets too; and so does what was found, where that quotes it.
    if not isinstance(error, LivepatchError):
        return told
    cause = error.__cause__
    if cause is None or isinstance(cause, LivepatchError):
        return {**told, "message": str(error)}
    return {**told, "message": str(error).partition("; found: ")[0], "cause": type(cause).__qualname__}


def _plain(details: Mapping[str, Any]) -> dict[str, Any]:
    """The details as an entry holds them: as long as is of use, and as there is room for."""
    most, longest = _MOST, _LONGEST
    while True:
        made = _cut(details, most, longest)
        if most == 1 or len(json.dumps(made)) <= _ROOM:
            return made
        most, longest = most // 2, max(longest // 2, 50)


def _cut(details: Mapping[str, Any], most: int, longest: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in details.items():
        if isinstance(value, (list, tuple)):
            made[name] = [shortened(str(each), min(300, longest)) for each in value[:most]]
            if len(value) > most:
                made[f"{name}_more"] = len(value) - most
        elif value is None or (isinstance(value, (bool, int, float)) and abs(value) < _LARGEST):
            made[name] = value
        else:  # a number that JSON does not have, or nobody can read, too
            made[name] = spelled(value) if isinstance(value, int) else shortened(str(value), longest)
    return made


def _after_fork() -> None:
    global _setting  # noqa: PLW0603  # whoever holds the old one did not come along
    _setting = threading.Lock()
    if _current is not None:
        _current.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
