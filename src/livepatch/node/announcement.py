"""What a node says of itself to its peers, as bytes and as text, and how two nodes stand to each other.  Does no IO.

The first byte is the format; 1 is the one spoken here.  After it comes one msgpack row, read strictly: package,
release, words, salt and tag.  Each value has one spelling.  An empty value says nothing, and a greater first byte is a
format that is not known yet: both read as a node that speaks no word.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

import msgpack

from livepatch.bundle.reading import Limits, Reader
from livepatch.errors import BundleError, PatchError, PeerError, counted, spelled

__all__ = [
    "LARGEST",
    "MOST_WORDS",
    "SILENT",
    "Announcement",
    "Relation",
    "Terms",
    "check_words",
    "read",
    "tagged",
    "terms_of",
]

LARGEST: Final = 512
"""Bytes of a value at most."""
MOST_WORDS: Final = 16
"""Words of a value at most."""

Relation = Literal["alike", "mixed", "apart"]

_FORMAT = 1
_NEWEST = 127
_LONGEST_TEXT = -(-LARGEST * 4 // 3)
_WORD = re.compile(r"[a-z][a-z0-9-]{0,15}/(0|[1-9][0-9]{0,2})")
_ADVISORY = re.compile(r"(cve|ghsa|osv|pysec)-")
_PACKAGE = re.compile(r"([a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?)?")
_RELEASE = re.compile(r"[0-9A-Za-z.+!-]{0,32}")
_HEX = re.compile(r"([0-9a-f]{32})?")
_BASE64 = re.compile(r"[A-Za-z0-9_-]*")
_LIMITS = Limits(file=LARGEST, values=64, items=MOST_WORDS, text=64, name=64)
_PURPOSE = b"livepatch peers 1\0"
_ASK = "close the connection, or treat the peer as one that says nothing: livepatch.peers.SILENT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What a node says of itself: the words that it speaks, and the release that is installed, if it names that.

    Made by :meth:`livepatch.peers.Speaker.announce` and by :func:`read`.  ``bytes()`` of it, and :attr:`text`, are what
    travels; :func:`read` reads both.  `newer` is true of one in a format
    that this version of livepatch does not know; nothing else is known of that node.  All of it is a claim.
    """

    package: str = ""
    release: str = ""
    words: tuple[str, ...] = ()
    newer: bool = False
    salt: str = field(default="", repr=False)
    tag: str = field(default="", repr=False)

    def speaks(self, word: str) -> bool:
        """Whether the node says that it speaks that word, such as ``"tx/2"``.

        Raises :class:`TypeError` for anything but a text.
        """
        if not isinstance(word, str):
            raise TypeError(f"word must be a str such as 'tx/2', not {spelled(word)}")
        return word in self.words

    def __bytes__(self) -> bytes:
        """At most :data:`LARGEST` bytes.  Of one that is `newer` nothing is known, so it is empty."""
        if self.newer or self == SILENT:
            return b""
        row = [self.package, self.release, list(self.words), self.salt, self.tag]
        return bytes([_FORMAT]) + bytes(msgpack.packb(row))

    @property
    def text(self) -> str:
        """The bytes in the letters of URL-safe base64, without padding."""
        return base64.urlsafe_b64encode(bytes(self)).rstrip(b"=").decode()

    def __str__(self) -> str:
        if self.newer:
            return "a newer format"
        return " ".join([*filter(None, [f"{self.package} {self.release}".strip()]), *self.words]) or "nothing"


SILENT: Final = Announcement()
"""A node that says nothing, such as one without livepatch: it speaks no word."""


def read(value: object) -> Announcement:
    """What a peer said of itself: the bytes, or the text form; ``None`` and empty ones are a node that says nothing.

    Looks at no more than :data:`LARGEST` bytes.  Raises :class:`PeerError` for whatever else there may be; nothing has
    changed then.
    """
    if value is None:
        return SILENT
    data = _bytes_of(value)
    if not data:
        return SILENT
    if data[0] != _FORMAT:
        if _FORMAT < data[0] <= _NEWEST:
            return Announcement(newer=True)
        raise _refusal(f"a first byte of {data[0]}", f"a format from {_FORMAT} to {_NEWEST}")
    reader = Reader(data[1:], _LIMITS)
    try:
        said = _row(reader)
        reader.end()
    except BundleError as error:
        raise _refusal(error.found, error.expected) from error
    if bytes(said) != data:
        raise _refusal("a value in another spelling", "the one spelling of each value")
    return said


def _bytes_of(value: object) -> bytes:
    if isinstance(value, str):
        if len(value) > _LONGEST_TEXT:
            raise _refusal(f"a text of {len(value)} characters", f"{_LONGEST_TEXT} or fewer")
        if not _BASE64.fullmatch(value):
            raise _refusal("a text with other characters", "letters, digits, - and _")
        try:
            data = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
        except binascii.Error as error:
            raise _refusal("a text of a length that none has", "URL-safe base64 without padding") from error
        if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != value:
            raise _refusal("a text in another spelling", "the one spelling of each value")
        value = data
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise _refusal(spelled(value), "bytes, a text, or nothing")
    size = value.nbytes if isinstance(value, memoryview) else len(value)
    if size > LARGEST:
        raise _refusal(counted(size, "byte"), f"{LARGEST} or fewer")
    return bytes(value)


def _row(reader: Reader) -> Announcement:
    count = reader.row()
    if count != 5:
        reader.fail(found=f"a row of {count}", expected="package, release, words, salt and tag")
    package = _matching(reader, _PACKAGE, "the name of a distribution, in its one spelling")
    release = _matching(reader, _RELEASE, "a version")
    words = reader.items(_matching, reader, _WORD, "a word such as 'tx/2'")
    if list(words) != sorted(set(words)):
        reader.fail(found="words twice, or in disorder", expected="each word once, sorted")
    salt, tag = (_matching(reader, _HEX, "32 hexadecimal digits, or none") for _ in range(2))
    if bool(salt) != bool(tag):
        reader.fail(found="a salt or a tag alone", expected="both, or neither")
    return Announcement(package=package, release=release, words=words, salt=salt, tag=tag)


def _matching(reader: Reader, pattern: re.Pattern[str], expected: str) -> str:
    text = reader.text(64)
    if not pattern.fullmatch(text):
        reader.fail(found=spelled(text), expected=expected)
    return text


def _refusal(found: str, expected: str) -> PeerError:
    return PeerError("a peer said what cannot be read", found=found, expected=expected, action=_ASK)


def check_words(argument: str, words: object) -> tuple[str, ...]:
    """Words of this node itself, each once and sorted.  Raises :class:`PatchError` or :class:`TypeError`."""
    if isinstance(words, str) or not isinstance(words, Iterable):
        raise TypeError(f"{argument} must be words such as ['tx/2'], not {spelled(words)}")
    given = tuple(words)
    for word in given:
        if not isinstance(word, str):
            raise TypeError(f"{argument} must hold words such as 'tx/2', not {spelled(word)}")
        if not _WORD.fullmatch(word):
            raise PatchError(
                f"{argument} holds no word",
                found=spelled(word),
                expected="a protocol and its version, such as 'tx/2': 1 to 16 small letters, digits and -, a number",
                action="name the protocol, and count its versions",
            )
        if _ADVISORY.match(word):
            raise PatchError(
                f"{argument} names an advisory",
                found=spelled(word),
                expected="the name of a protocol: every peer reads it, and misses it where the fix is not",
                action="name what changes in the messages, or nothing",
            )
    if len(set(given)) > MOST_WORDS:
        raise PatchError(
            f"{argument} are too many words",
            found=str(len(set(given))),
            expected=f"at most {MOST_WORDS}",
            action="leave out versions that nobody speaks any more",
        )
    return tuple(sorted(set(given)))


def tagged(secret: bytes, salt: bytes, live: Iterable[tuple[str, str]]) -> str:
    """What proves to those who have the secret, and to nobody else, which patches are live: pairs of id and digest."""
    told = hmac.new(secret, _PURPOSE + salt, hashlib.sha256)
    for pair in sorted(live):
        for text in pair:
            data = text.encode()
            told.update(b"%d:%b" % (len(data), data))
    return told.hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How this node and a peer stand to each other.

    `common` are the words that both speak, `ours` and `theirs` those of one side only, and `missing` those that this
    node requires and the peer does not speak.  `compatible`: the claims of the live patches hold for the peer's
    release; ``None`` if nobody can tell.  `same_patches`: the same patches are live in both; ``None`` without a secret
    in common.  These two are for the operator: what a node does by them, its peers see.
    """

    common: frozenset[str]
    ours: frozenset[str]
    theirs: frozenset[str]
    missing: frozenset[str]
    compatible: bool | None
    same_patches: bool | None

    @property
    def relation(self) -> Relation:
        """``"alike"``: the same words.  ``"mixed"``: they differ and can work together.  ``"apart"``: they cannot.

        It follows from words alone.  If it followed from claims, a peer that names one release after the other would
        find out where the claims of the live patches end.
        """
        if self.missing:
            return "apart"
        return "mixed" if self.ours or self.theirs else "alike"


def terms_of(
    ours: frozenset[str],
    required: frozenset[str],
    peer: Announcement,
    *,
    compatible: bool | None = None,
    same_patches: bool | None = None,
) -> Terms:
    """The terms with a peer, from what both say."""
    theirs = frozenset(peer.words)
    return Terms(
        common=ours & theirs,
        ours=ours - theirs,
        theirs=theirs - ours,
        missing=required - theirs,
        compatible=compatible,
        same_patches=same_patches,
    )
