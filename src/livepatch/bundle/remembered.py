"""The highest versions that this node has seen, in a file that it gives: what is older is not taken any more.

The file is the node's own and is not signed: who can write to it can make the node forget.  It is read and written
under a lock beside it, whole or not at all.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from livepatch.bundle import disk
from livepatch.bundle.envelope import VerifiedBundle
from livepatch.bundle.jsontext import Fields, read_object, refusing
from livepatch.bundle.trustroot import LARGEST_ROOT, TrustRoot, clock
from livepatch.contents.identity import check_distribution, check_name
from livepatch.contents.release import Release
from livepatch.errors import BundleError, TrustError, spelled

__all__ = ["Remembered", "Seen", "see_patch", "see_roots"]

_KIND = "livepatch.trust-state"
_FORMAT = 1
_LARGEST = 16 << 20
_ENTRIES = 10_000
_BACK = timedelta(hours=1)
"""How far a clock may be set back without a word: what summer time and a synchronised clock do."""
_FRESH = timedelta(minutes=1)
_REFUSE = refusing(
    TrustError,
    "no readable trust state",
    "restore the file; if it is lost, remove it: then older versions are taken again until newer ones are seen",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The highest revision of one patch that was taken, and by which keys it was signed."""

    package: str
    channel: str
    id: str
    revision: int
    digest: str
    keyids: tuple[str, ...]

    @property
    def subject(self) -> tuple[str, str, str]:
        """What it is a revision of."""
        return self.package, self.channel, self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What a state file holds.  Each method gives what to remember from now on, or raises :class:`TrustError`."""

    time: str = ""
    roots: tuple[TrustRoot, ...] = ()
    patches: tuple[Seen, ...] = ()

    def at(self, now: str) -> Remembered:
        """A clock that was set back makes what has expired valid again."""
        if self.time and now < self.time and _moment(now) < _moment(self.time) - _BACK:
            raise TrustError(
                "the clock was set back",
                found=f"it is {now}",
                expected=f"{self.time} or later, when a file was verified last",
                action="set the clock; if it was wrong then, remove the state file",
            )
        return replace(self, time=max(now, self.time))

    def version_of(self, root: TrustRoot) -> int:
        """The version of that trust root that was seen last; 0 for none."""
        same = (each.version for each in self.roots if (each.package, each.channel) == (root.package, root.channel))
        return next(same, 0)

    def with_root(self, root: TrustRoot) -> Remembered:
        """A trust root is the one that was seen before, or the next version of it."""
        others = tuple(each for each in self.roots if (each.package, each.channel) != (root.package, root.channel))
        last = next((each for each in self.roots if each not in others), None)
        if last is not None:
            if root.version < last.version or (root.version == last.version and root.digest != last.digest):
                raise TrustError(
                    "the trust root is not the one that was seen before",
                    found=f"version {root.version} for {root.package} ({root.digest})",
                    expected=f"version {last.version} ({last.digest}), or the one after it",
                    action="get the newest trust root; an older one is never taken",
                )
            if root.version > last.version:
                last.rotate(root.envelope.to_bytes())
        return replace(self, roots=(*others, root))

    def with_patch(self, root: TrustRoot, seen: Seen) -> Remembered:
        """A patch is no older revision of one that was taken, unless a key that signed the newer one was revoked."""
        others = tuple(each for each in self.patches if each.subject != seen.subject)
        last = next((each for each in self.patches if each.subject == seen.subject), None)
        # Whoever stole a key can have signed the highest revision there is: that must not bar all that follow.
        if last is not None and set(last.keyids) <= set(root.keys):
            older = seen.revision < last.revision
            if older or (seen.revision == last.revision and seen.digest != last.digest):
                raise TrustError(
                    "an older revision of the patch" if older else "another patch under the same id and revision",
                    found=f"{seen.id}, revision {seen.revision} ({seen.digest})",
                    expected=f"revision {last.revision} ({last.digest}), which was seen before, or a later one",
                    action="get the newest file",
                )
        if len(others) >= _ENTRIES:
            raise _REFUSE(f"{_ENTRIES} patches, and one more", f"a state of {_ENTRIES} patches or fewer")
        return replace(self, patches=(*others, seen))

    @classmethod
    def parse(cls, data: bytes) -> Remembered:
        """Read a state file.  Raises :class:`TrustError`."""
        fields = read_object(data, most=_LARGEST, brackets=3 * _ENTRIES, refuse=_REFUSE)
        fields.exactly("type", _KIND)
        fields.exactly("format", _FORMAT)
        time = fields.moment("time")
        roots = []
        for each in fields.records("roots", _ENTRIES):
            roots.append(TrustRoot.parse(each.binary("envelope", 4 * LARGEST_ROOT)))
            each.end()
        patches = tuple(map(_seen, fields.records("patches", _ENTRIES)))
        fields.end()
        if len({each.subject for each in patches}) != len(patches):
            raise _REFUSE("a patch twice", "each once")
        if len({(root.package, root.channel) for root in roots}) != len(roots):
            raise _REFUSE("a trust root twice", "each once")
        return cls(time=time, roots=tuple(roots), patches=patches)

    def to_bytes(self) -> bytes:
        """As it lies in the file."""
        plain = {
            "type": _KIND,
            "format": _FORMAT,
            "time": self.time,
            "roots": [{"envelope": base64.b64encode(root.envelope.to_bytes()).decode()} for root in self.roots],
            "patches": [
                {
                    "package": each.package,
                    "channel": each.channel,
                    "id": each.id,
                    "revision": each.revision,
                    "digest": each.digest,
                    "keyids": list(each.keyids),
                }
                for each in self.patches
            ],
        }
        return json.dumps(plain, indent=1).encode() + b"\n"


def _seen(fields: Fields) -> Seen:
    seen = Seen(
        package=fields.text("package", 128, check_distribution),
        channel=fields.text("channel", 128, lambda text: check_name("channel", text)),
        id=fields.text("id", 128, lambda text: check_name("id", text)),
        revision=fields.number("revision", 1),
        digest=fields.text("digest", 71),
        keyids=fields.texts("keyids", 64, 64),
    )
    fields.end()
    return seen


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


# The file


def see_roots(path: str, roots: Sequence[TrustRoot]) -> None:
    """Hold the last of `roots` to the state file at `path`, and remember it; those before it lead there.

    Raises :class:`TrustError`; then the file is unchanged.
    """
    with _locked(path):
        before = _read(path)
        remembered = before.at(clock())
        for root in roots[:-1]:
            if remembered.version_of(root) < root.version:
                remembered = remembered.with_root(root)
        _write(path, before, remembered.with_root(roots[-1]))


def see_patch(path: str, root: TrustRoot, patch_id: str, release: Release, bundle: VerifiedBundle) -> None:
    """Hold a verified patch to the state file at `path`, and remember it.

    Raises :class:`TrustError`; then the file is unchanged.
    """
    seen = Seen(
        package=root.package,
        channel=root.channel,
        id=patch_id,
        revision=release.revision,
        digest=bundle.digest,
        keyids=tuple(keyid for keyids in bundle.signers.values() for keyid in keyids),
    )
    with _locked(path):
        before = _read(path)
        _write(path, before, before.at(clock()).with_root(root).with_patch(root, seen))


def _read(path: str) -> Remembered:
    if not os.path.lexists(path):
        return Remembered()
    return Remembered.parse(disk.read_for_trust(path, _LARGEST, "the trust state"))


def _write(path: str, before: Remembered, remembered: Remembered) -> None:
    if before.time and replace(remembered, time=before.time).to_bytes() == before.to_bytes():
        late = _moment(remembered.time) - _moment(before.time)
        if late < _FRESH:
            return  # nothing to remember but the time, which is not worth the wait for a disk
    try:
        disk.write(path, remembered.to_bytes(), "the trust state")
    except BundleError as error:
        raise TrustError(
            "the trust state cannot be written", found=error.found, expected=error.expected, action=error.action
        ) from error


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    """One process at a time.  The lock is a file beside, since the state file itself is replaced."""
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except (OSError, ValueError) as error:
        raise TrustError(
            "the trust state cannot be locked",
            found=f"{spelled(path)}.lock: {error}",
            expected="a path in a directory that can be written to",
            action="choose another path for the state",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
