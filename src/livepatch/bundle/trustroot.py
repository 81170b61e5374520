"""Which keys speak for a package and a channel, in which roles, how many of them, and until when.

A trust root is itself a signed file.  The next version takes its place if holders of the root keys of both versions
sign it, as many as each asks for.  The format is a DSSE envelope around JSON, see docs/trust.md.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from livepatch.bundle.envelope import Envelope, SignedBundle, VerifiedBundle, digest, read_envelope
from livepatch.bundle.jsontext import Fields, read_object, refusing
from livepatch.bundle.keys import PublicKey
from livepatch.bundle.signing import AUTHOR, OPERATOR, REVIEWER, Holder, Role, holders_of, shortfall, verify
from livepatch.contents.identity import canonical, check_distribution, check_name
from livepatch.contents.release import LARGEST, Release
from livepatch.errors import TrustError, spelled

__all__ = ["KEYS", "LARGEST_ROOT", "PATCH_ROLES", "ROLES", "ROOT", "ROOT_TYPE", "TrustRoot", "clock", "encode_root"]

ROOT_TYPE = "application/vnd.livepatch.trust-root+json"
_KIND = "livepatch.trust-root"
_FORMAT = 1
ROOT = "root"
PATCH_ROLES = (AUTHOR, REVIEWER, OPERATOR)
ROLES = (ROOT, *PATCH_ROLES)
KEYS = 64
LARGEST_ROOT = 64 << 10
"""Bytes of the JSON inside the largest trust root."""

_REFUSE = refusing(TrustError, "no readable trust root", "get the file anew from whoever keeps it")


def _absolute(path: str | os.PathLike[str]) -> str:
    """Where it lies from wherever the process may go: a daemon that leaves its directory must not forget."""
    try:
        return os.path.abspath(os.fsdecode(path))  # noqa: PTH100  # links stay as they are
    except OSError as error:
        raise TrustError(
            "the trust state cannot be found",
            found=f"{spelled(os.fsdecode(path))}: {error.strerror}",
            expected="a working directory that is there, or a path from the root",
            action="give the path from the root",
        ) from error


def clock() -> str:
    """Now, as a moment of UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRoot:
    """Whose signatures a process trusts.  Made by :meth:`load`, :meth:`parse` and :meth:`rotate`, which verify it.

    It speaks for one `package` and one `channel`.  `state` is the file in which the highest versions are remembered,
    and `node` the name of this node; both are given by the process, not by the file.
    """

    package: str
    channel: str
    version: int
    expires: str
    keys: Mapping[str, Holder]
    roles: Mapping[str, Role]
    envelope: Envelope = field(repr=False)
    state: str | None = None
    node: str = ""

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, state: str | os.PathLike[str] | None = None, node: str = ""
    ) -> TrustRoot:
        """Read the trust root at `path`, and take it as it is: its own signatures hold, but that is no proof.

        With `state`, the path of a file that livepatch writes, an older trust root than one seen before is refused, a
        newer one must be signed by the keys of the one before it, and patch files are held to the highest revision
        seen.  `node` is what this node is called in patch files for certain nodes only.

        Raises :class:`TrustError` for a file that cannot be read, is malformed, not signed by its own root keys, or
        expired, and for what the state refuses.  Then the state is unchanged.
        """
        from livepatch.bundle import remembered
        from livepatch.bundle.disk import read_for_trust

        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"path must be a str or os.PathLike, not {spelled(path)}")
        if state is not None and not isinstance(state, (str, os.PathLike)):
            raise TypeError(f"state must be None, a str or os.PathLike, not {spelled(state)}")
        if not isinstance(node, str):
            raise TypeError(f"node must be a str, not {spelled(node)}")
        if node:
            check_name("node", node)
        found = cls.parse(read_for_trust(path, 4 * LARGEST_ROOT, "the trust root"))
        found = replace(found, state=None if state is None else _absolute(state), node=node)
        found.must_be_current(clock())
        if found.state is not None:
            remembered.see_roots(found.state, [found])
        return found

    @classmethod
    def parse(cls, data: bytes) -> TrustRoot:
        """Read the bytes of a trust root, whose own root keys must have signed it.  It may have expired.

        Raises :class:`TrustError`.
        """
        if not isinstance(data, bytes):
            raise TypeError(f"data must be the bytes of a trust root, not {spelled(data)}")
        found = cls.parse_unsigned(data)
        _must_be_signed_by(found, found, "its own root keys")
        return found

    @classmethod
    def parse_unsigned(cls, data: bytes) -> TrustRoot:
        """Read one that is still to be signed.  For those who make it: nobody has vouched for what it says."""
        envelope = read_envelope(data, payload=LARGEST_ROOT, refuse=_REFUSE)
        if envelope.payload_type != ROOT_TYPE:
            raise _REFUSE(f"a payload of type {spelled(envelope.payload_type)}", f"one of type {ROOT_TYPE!r}")
        fields = read_object(envelope.payload, most=LARGEST_ROOT, brackets=4 * KEYS, refuse=_REFUSE)
        return _root(fields, envelope)

    @property
    def subject(self) -> tuple[str, str]:
        """What it speaks for, however its package is spelled: two of one subject are versions of one trust root."""
        return canonical(self.package), self.channel

    @property
    def digest(self) -> str:
        """What this version is known by, whoever signs it: the digest of the bytes that are signed."""
        return digest(self.envelope.payload)

    @property
    def patch_roles(self) -> dict[str, Role]:
        """The roles that must sign a patch file."""
        return {name: self.roles[name] for name in PATCH_ROLES if name in self.roles}

    def must_be_current(self, now: str) -> None:
        """Raise :class:`TrustError` if it has expired."""
        if now >= self.expires:
            raise TrustError(
                "the trust root has expired",
                found=f"version {self.version} for {self.package}, valid until {self.expires}; it is {now}",
                expected="a trust root that is still valid",
                action="get the next version and put it in place with livepatch trust rotate; check the clock",
            )

    def rotate(self, data: bytes) -> TrustRoot:
        """The next version, read from `data`, if the root keys of both versions signed it, as many as each asks for.

        It may have expired: then only the version after it is of use.  A state remembers it.  Raises
        :class:`TrustError`; this trust root stays as it is, whatever happens.
        """
        newer = TrustRoot.parse(data)
        if newer.subject != self.subject:
            raise TrustError(
                "the new trust root speaks for something else",
                found=f"{newer.package}, channel {newer.channel}",
                expected=f"{self.package}, channel {self.channel}",
                action="get the trust root of this package and channel",
            )
        if newer.version != self.version + 1:
            raise TrustError(
                "the new trust root is not the next version",
                found=f"version {newer.version}",
                expected=f"version {self.version + 1}",
                action="put one version after the other in place; an older one is never taken",
            )
        _must_be_signed_by(newer, self, f"the root keys of version {self.version}")
        newer = replace(newer, state=self.state, node=self.node)
        if newer.state is not None:
            from livepatch.bundle import remembered

            remembered.see_roots(newer.state, [newer])
        return newer

    def verify(self, signed: SignedBundle, now: str) -> VerifiedBundle:
        """The bytes of a patch, if the signatures hold that this trust root asks for.  Raises :class:`TrustError`."""
        self.must_be_current(now)
        return verify(signed, self.keys, self.patch_roles, self.expires)

    def must_cover(self, package: str, release: Release, now: str) -> None:
        """Raise :class:`TrustError` unless a patch for that package, given out so, is for this process, and now."""
        names = ", ".join(release.nodes[:3]) + (" …" if len(release.nodes) > 3 else "")
        for wrong, found, expected in (
            (canonical(package) != canonical(self.package), f"a patch for {package}", f"one for {self.package}"),
            (release.channel != self.channel, f"channel {release.channel}", f"channel {self.channel}"),
            (
                bool(release.expires) and now >= release.expires,
                f"a patch that expired at {release.expires}; it is {now}",
                "one that is still valid",
            ),
            (
                bool(release.nodes) and self.node not in release.nodes,
                f"a patch for the nodes {names} only",
                f"one for the node {self.node}" if self.node else "one for any node: this one was given no name",
            ),
        ):
            if wrong:
                raise TrustError(
                    "the patch file was not given out to this process",
                    found=found,
                    expected=expected,
                    action="get the file that is meant for this process",
                )


def _must_be_signed_by(root: TrustRoot, other: TrustRoot, whose: str) -> None:
    """Raise :class:`TrustError` unless `root` is signed by as many root keys of `other` as that asks for."""
    role = other.roles[ROOT]
    short = shortfall(ROOT, role, holders_of(root.envelope, role.keyids, other.keys).values())
    if short:
        raise TrustError(
            f"the trust root is not signed by {whose}",
            found=f"version {root.version} for {root.package}, {short}",
            expected=f"signatures of {role.threshold} of their holders",
            action="have them sign it (livepatch trust sign), or get the file that they signed",
        )


# The payload


def encode_root(
    *, package: str, channel: str, version: int, expires: str, keys: Mapping[str, Holder], roles: Mapping[str, Role]
) -> Envelope:
    """An envelope, unsigned, around a trust root.  Raises :class:`TrustError` for what could not be read back."""
    plain: dict[str, Any] = {
        "type": _KIND,
        "format": _FORMAT,
        "package": package,
        "channel": channel,
        "version": version,
        "expires": expires,
        "keys": {keyid: {**held.key.to_dict(), "holder": held.name} for keyid, held in keys.items()},
        "roles": {name: {"keyids": list(role.keyids), "threshold": role.threshold} for name, role in roles.items()},
    }
    envelope = Envelope(payload_type=ROOT_TYPE, payload=json.dumps(plain, indent=1, sort_keys=True).encode())
    try:
        TrustRoot.parse_unsigned(envelope.to_bytes())
    except TrustError as error:
        raise TrustError(
            "there can be no such trust root", found=error.found, expected=error.expected, action="correct it"
        ) from error
    return envelope


def _root(fields: Fields, envelope: Envelope) -> TrustRoot:
    fields.exactly("type", _KIND)
    fields.exactly("format", _FORMAT)
    package = fields.text("package", 128, check_distribution)
    channel = fields.text("channel", 128, lambda text: check_name("channel", text))
    version = fields.number("version", 1)
    expires = fields.moment("expires")
    keys = _keys(fields.record("keys"))
    roles = _roles(fields.record("roles"), keys)
    fields.end()
    idle = set(keys).difference(*(role.keyids for role in roles.values()))
    if idle:
        raise _REFUSE(f"the key {min(idle)} in no role", "only keys that have a role")
    return TrustRoot(
        package=package,
        channel=channel,
        version=version,
        expires=expires,
        keys=keys,
        roles=roles,
        envelope=envelope,
    )


def _keys(fields: Fields) -> dict[str, Holder]:
    keys = {}
    spellings: dict[str, str] = {}
    for keyid in fields.names(KEYS):
        each = fields.record(keyid)
        each.exactly("keytype", "ed25519")
        each.exactly("scheme", "ed25519")
        value = each.record("keyval")
        key = PublicKey.of_hex(value.text("public", 64, PublicKey.of_hex))
        value.end()
        name = each.text("holder", 128, lambda text: check_name("holder", text))
        each.end()
        other = spellings.setdefault(name.lower(), name)
        if other != name:
            raise _REFUSE(f"the holders {other} and {name}", "one spelling a holder, since holders are counted")
        if key.id != keyid:
            raise _REFUSE(f"a key under the id {spelled(keyid)}", f"the id that its bytes give: {key.id}")
        keys[keyid] = Holder(key, name)
    return keys


def _roles(fields: Fields, keys: Mapping[str, Holder]) -> dict[str, Role]:
    roles = {}
    named = fields.names(len(ROLES))
    for name in ROLES:
        if name not in named and name not in (ROOT, AUTHOR):
            continue
        each = fields.record(name)
        keyids = each.texts("keyids", KEYS, 64)
        threshold = each.number("threshold", 1, LARGEST)
        each.end()
        for keyid in keyids:
            if keyid not in keys:
                raise _REFUSE(f"a key {spelled(keyid)} in the role {name}, which is not among the keys", "known keys")
        holders = {keys[keyid].name for keyid in keyids}
        if threshold > len(holders):
            raise _REFUSE(f"{len(holders)} holders in the role {name}, and a threshold of {threshold}", "as many")
        roles[name] = Role(keyids, threshold)
    fields.end()
    _must_be_apart(roles)
    return roles


def _must_be_apart(roles: Mapping[str, Role]) -> None:
    """A signature on a patch says in which role it was made only by its key."""
    taken: dict[str, str] = {}
    for name in PATCH_ROLES:
        for keyid in roles[name].keyids if name in roles else ():
            if keyid in taken:
                raise _REFUSE(f"the key {keyid} in the roles {taken[keyid]} and {name}", "a key for each of the two")
            taken[keyid] = name
