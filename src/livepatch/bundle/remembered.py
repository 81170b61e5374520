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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from livepatch.bundle import disk
from livepatch.bundle.envelope import VerifiedBundle
from livepatch.bundle.jsontext import Fields, read_object, refusing
from livepatch.bundle.trustroot import KEYS, LARGEST_ROOT, PATCH_ROLES, TrustRoot, clock
from livepatch.contents.identity import canonical, check_distribution, check_name
from livepatch.contents.release import Release
from livepatch.errors import BundleError, TrustError, spelled

__all__ = ["Remembered", "Seen", "Signers", "newest", "see_patch", "see_roots"]

_KIND = "livepatch.trust-state"
_FORMAT = 1
_LARGEST = 16 << 20
_ENTRIES = 10_000
_BRACKETS = 12 * _ENTRIES
_BACK = timedelta(hours=1)
"""How far a clock may be set back without a word: what summer time and a synchronised clock do."""
_FRESH = timedelta(minutes=1)
_REFUSE = refusing(
    TrustError,
    "no readable trust state",
    "restore the file; if it is lost, remove it: then older versions are taken again until newer ones are seen",
)


@dataclass(frozen=True, slots=True)
class Signers:
    """Whose signatures counted in a role, and how many holders had to sign by then."""

    keyids: frozenset[str]
    threshold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A revision of one patch that was taken, and by which keys it was signed."""

    package: str
    channel: str
    id: str
    revision: int
    digest: str
    signers: Mapping[str, Signers]

    @property
    def subject(self) -> tuple[str, str, str]:
        """What it is a revision of, however the package is spelled."""
        return canonical(self.package), self.channel, self.id

    def counts_for(self, root: TrustRoot) -> bool:
        """Whether as many of those who signed it as had to are still trusted with patches.

        Whoever stole a key can have signed the highest revision there is: that must not bar all that follow once the
        key is revoked.
        """
        trusted = {keyid for role in root.patch_roles.values() for keyid in role.keyids}
        return all(
            len({root.keys[keyid].name for keyid in each.keyids & trusted}) >= each.threshold
            for each in self.signers.values()
        )

    def covers(self, other: Seen) -> bool:
        """Whether it counts wherever the other one does, and bars as much."""
        return self.revision >= other.revision and all(
            role in other.signers
            and other.signers[role].keyids <= each.keyids
            and other.signers[role].threshold >= each.threshold
            for role, each in self.signers.items()
        )

    def with_signers_of(self, other: Seen) -> Seen:
        """The same file, with all that were seen to have signed it."""
        signers = {
            role: replace(each, keyids=each.keyids | other.signers[role].keyids) if role in other.signers else each
            for role, each in self.signers.items()
        }
        return replace(self, signers=signers)


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

    def root_for(self, subject: tuple[str, str]) -> TrustRoot | None:
        """The trust root for that package and channel that was seen last."""
        return next((each for each in self.roots if each.subject == subject), None)

    def with_root(self, root: TrustRoot) -> Remembered:
        """A trust root is the one that was seen before, or the next version of it."""
        last = self.root_for(root.subject)
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
        return replace(self, roots=(*(each for each in self.roots if each is not last), root))

    def with_patch(self, root: TrustRoot, seen: Seen) -> Remembered:
        """A patch is no older revision of one that was taken, of those that still count for the trust root."""
        known = [each for each in self.patches if each.subject == seen.subject]
        counting = [each for each in known if each.counts_for(root)]
        highest = max((each.revision for each in counting), default=0)
        top = [each.digest for each in counting if each.revision == highest]
        older = seen.revision < highest
        if older or (seen.revision == highest and seen.digest not in top):
            raise TrustError(
                "an older revision of the patch" if older else "another patch under the same id and revision",
                found=f"{seen.id}, revision {seen.revision} ({seen.digest})",
                expected=f"revision {highest} ({top[0]}), which was seen before, or a later one",
                action="get the newest file",
            )
        for each in known:
            if (each.revision, each.digest) == (seen.revision, seen.digest):
                seen = seen.with_signers_of(each)
        others = (each for each in self.patches if each.subject != seen.subject or not seen.covers(each))
        return replace(self, patches=(*others, seen))

    @classmethod
    def parse(cls, data: bytes) -> Remembered:
        """Read a state file.  Raises :class:`TrustError`."""
        fields = read_object(data, most=_LARGEST, brackets=_BRACKETS, refuse=_REFUSE)
        fields.exactly("type", _KIND)
        fields.exactly("format", _FORMAT)
        time = fields.moment("time")
        roots = []
        for each in fields.records("roots", _ENTRIES):
            roots.append(TrustRoot.parse(each.binary("envelope", 4 * LARGEST_ROOT)))
            each.end()
        patches = tuple(map(_seen, fields.records("patches", _ENTRIES)))
        fields.end()
        if len({(*each.subject, each.revision, each.digest) for each in patches}) != len(patches):
            raise _REFUSE("a patch twice", "each once")
        if len({root.subject for root in roots}) != len(roots):
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
                    "signers": {
                        role: {"threshold": signers.threshold, "keyids": sorted(signers.keyids)}
                        for role, signers in each.signers.items()
                    },
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
        signers=_signers(fields.record("signers")),
    )
    fields.end()
    return seen


def _signers(fields: Fields) -> dict[str, Signers]:
    signers = {}
    for role in fields.names(len(PATCH_ROLES)):
        each = fields.record(role)
        signers[role] = Signers(frozenset(each.texts("keyids", KEYS, 64)), each.number("threshold", 1))
        each.end()
        if role not in PATCH_ROLES:
            raise fields.error(role, "an unknown role", ", ".join(PATCH_ROLES))
    return signers


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
            last = remembered.root_for(root.subject)
            if last is None or last.version < root.version:
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
        signers={
            role: Signers(frozenset(keyids), root.roles[role].threshold) for role, keyids in bundle.signers.items()
        },
    )
    with _locked(path):
        before = _read(path)
        _write(path, before, before.at(clock()).with_root(root).with_patch(root, seen))


def newest(root: TrustRoot) -> TrustRoot:
    """The trust root that its state has seen last in its place; `root` itself if it has no state, or none is newer.

    Raises :class:`TrustError` for a state that cannot be read.
    """
    if root.state is None:
        return root
    with _locked(root.state):
        last = _read(root.state).root_for(root.subject)
    if last is None or last.version <= root.version:
        return root
    return replace(last, state=root.state, node=root.node)


def _read(path: str) -> Remembered:
    if not os.path.lexists(path):
        return Remembered()
    return Remembered.parse(disk.read_for_trust(path, _LARGEST, "the trust state"))


def _write(path: str, before: Remembered, remembered: Remembered) -> None:
    if before.time and replace(remembered, time=before.time).to_bytes() == before.to_bytes():
        late = _moment(remembered.time) - _moment(before.time)
        if late < _FRESH:
            return  # nothing to remember but the time, which is not worth the wait for a disk
    data = remembered.to_bytes()
    _must_be_readable(remembered, data)
    try:
        disk.write(path, data, "the trust state")
    except BundleError as error:
        raise TrustError(
            "the trust state cannot be written", found=error.found, expected=error.expected, action=error.action
        ) from error


def _must_be_readable(remembered: Remembered, data: bytes) -> None:
    """Nothing is written that the next one would refuse to read."""
    many = max(len(remembered.roots), len(remembered.patches))
    brackets = data.count(b"{") + data.count(b"[")
    if many > _ENTRIES or len(data) > _LARGEST or brackets > _BRACKETS:
        raise TrustError(
            "the trust state cannot hold more",
            found=f"{many} patches or trust roots, in {len(data)} bytes",
            expected=f"{_ENTRIES} of each or fewer, in {_LARGEST} bytes or fewer",
            action="give a state of its own to each package and channel",
        )


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    """One process at a time.  The lock is a file beside, since the state file itself is replaced; beyond any links."""
    try:
        lock = f"{os.path.realpath(path)}.lock"
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except (OSError, ValueError) as error:
        raise TrustError(
            "the trust state cannot be locked",
            found=f"{spelled(path)}.lock: {disk.reason(error)}",
            expected="a path in a directory that can be written to",
            action="choose another path for the state",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
