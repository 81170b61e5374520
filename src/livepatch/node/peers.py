"""What this node speaks, for the handshake of the client: made anew each time from its code and its live patches.

Public as `livepatch.peers`; see docs/peers.md.
"""

from __future__ import annotations

import hmac
import os
import sys
from collections.abc import Callable, Iterable, Iterator

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from livepatch.contents.identity import canonical, check_distribution
from livepatch.engine.modes import At, is_on
from livepatch.errors import PatchError, spelled
from livepatch.govern.digests import digest_of
from livepatch.node.announcement import (
    LARGEST,
    SILENT,
    Announcement,
    Terms,
    check_words,
    read,
    tagged,
    terms_of,
)
from livepatch.patch import Patch
from livepatch.process.distribution import look_up
from livepatch.process.live import live

__all__ = ["LARGEST", "SILENT", "Announcement", "Speaker", "Terms", "read"]

Words = Iterable[str] | Callable[[], Iterable[str]]

_SHORTEST = 16  # bytes of a secret


class Speaker:
    """What this node tells its peers, and how it stands to them.

    `words` are those of its protocols, such as ``["tx/1", "tx/2"]``, or a function of the client that gives them and is
    asked each time: what a patch makes of that function, the node says.  `required` are the words without which a peer
    is ``"apart"``, given likewise; none by default, so that fixed and other nodes work together.  `package` is the
    distribution of the client: then its installed release is named, and the claims of live patches are compared with
    that of the peer.  `secret`, 16 bytes or more and the same in all nodes of an operator, lets these see whether the
    same patches are live in both.

    Raises :class:`PatchError` or :class:`TypeError`, each naming the argument.
    """

    def __init__(self, words: Words, *, required: Words = (), package: str = "", secret: bytes | None = None) -> None:
        self._words = _source("words", words)
        self._required = _source("required", required)
        if not isinstance(package, str):
            raise TypeError(f"package must be a str, not {spelled(package)}")
        self._package, self._release = _installed(package) if package else ("", "")
        if secret is not None and not isinstance(secret, bytes):
            raise TypeError("secret must be bytes, or None")
        if secret is not None and len(secret) < _SHORTEST:
            raise PatchError(
                "secret is too short",
                found=f"{len(secret)} bytes",
                expected=f"{_SHORTEST} bytes or more, the same in all nodes of one operator",
                action="make one with secrets.token_bytes(32), and keep it as you keep keys",
            )
        self._secret = secret
        self._digests: dict[str, tuple[Patch, str]] = {}

    def announce(self) -> Announcement:
        """What this node says now, for its handshake and its periodic messages.

        Raises what the function with the words raises, and :class:`PatchError` or :class:`TypeError` if it gives none.
        """
        salt = os.urandom(16) if self._secret is not None else b""
        return Announcement(
            package=self._package,
            release=self._release,
            words=check_words("words", self._words()),
            salt=salt.hex(),
            tag=self._tag(salt),
        )

    def terms(self, peer: Announcement) -> Terms:
        """How this node stands now to a peer that said that.  Raises as :meth:`announce` does."""
        _check_peer("peer", peer)
        return terms_of(
            frozenset(check_words("words", self._words())),
            frozenset(check_words("required", self._required())),
            peer,
            compatible=self._compatible(peer),
            same_patches=self._same_patches(peer),
        )

    def common(self, peers: Iterable[Announcement]) -> frozenset[str]:
        """The words that this node and all of those speak now: for what is said once to everybody.

        Raises as :meth:`announce` does.
        """
        words = frozenset(check_words("words", self._words()))
        for peer in peers:
            _check_peer("peers", peer)
            words &= frozenset(peer.words)
        return words

    def _tag(self, salt: bytes) -> str:
        if self._secret is None:
            return ""
        return tagged(self._secret, salt, [(patch.id, self._digest(patch)) for patch in _live_patches()])

    def _digest(self, patch: Patch) -> str:
        known = self._digests.get(patch.id)
        if known is None or known[0] is not patch:
            known = self._digests[patch.id] = patch, digest_of(patch)
        return known[1]

    def _same_patches(self, peer: Announcement) -> bool | None:
        if self._secret is None or not peer.tag:
            return None
        return hmac.compare_digest(self._tag(bytes.fromhex(peer.salt)), peer.tag)

    def _compatible(self, peer: Announcement) -> bool | None:
        if not self._package or peer.package != self._package:
            return None
        try:
            release = Version(peer.release)
        except InvalidVersion:
            return None
        claims = [
            patch.compatible_with
            for patch in _live_patches()
            if patch.compatible_with and canonical(patch.package) == self._package
        ]
        return all(SpecifierSet(claim).contains(release, prereleases=True) for claim in claims) if claims else None


def _live_patches() -> Iterator[Patch]:
    """The patches whose new side answers every call now."""
    layers = {layer.patch_id: layer.mode for layer in live.state.stack.layers}
    for record in tuple(live.records.values()):
        mode = layers.get(record.id, "off")
        if is_on(mode) or (isinstance(mode, At) and _is_reached(mode)):
            yield record.patch


def _is_reached(mode: At) -> bool:
    try:
        return mode.reached()
    except Exception:  # noqa: BLE001  # the program's own source: if it fails, calls get the old side
        return False


def _source(argument: str, words: Words) -> Callable[[], object]:
    if callable(words):
        return words
    checked = check_words(argument, words)
    return lambda: checked


def _installed(package: str) -> tuple[str, str]:
    name = canonical(check_distribution(package))
    found = look_up(package, (), sys.modules).installed
    release = found or ""
    try:
        readable = Announcement(package=name, release=release)
        if found is not None and read(bytes(readable)) == readable:
            return name, release
    except ValueError as error:
        cause: Exception | None = error
    else:
        cause = None
    raise PatchError(
        "package names no release",
        found=f"{spelled(package)}, " + ("which is not installed" if found is None else f"version {spelled(release)}"),
        expected="an installed distribution, with a name of up to 64 and a version of up to 32 characters",
        action="give the name by which pip knows the client, or none",
    ) from cause


def _check_peer(argument: str, peer: object) -> None:
    if not isinstance(peer, Announcement):
        raise TypeError(f"{argument} must be what livepatch.peers.read gave, not {spelled(peer)}")
