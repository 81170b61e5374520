"""The lines of a record: one JSON object each, in the one way in which it can be written.

A line begins with the hash of the line before (its RFC 6962 leaf hash), so that no line can be changed, taken out, put
in or moved without breaking what follows.  It is either an entry, which says what was done, or a checkpoint, which
signs everything above it.  Only ASCII is written, so that a line shows what it holds and cannot steer a terminal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from json.encoder import encode_basestring_ascii
from typing import Any, Final, Literal, Self

from livepatch.errors import AuditError, spelled
from livepatch.govern.notes import Note, decoded, encoded
from livepatch.govern.surroundings import Here

__all__ = ["EVENTS", "Checkpoint", "Opening", "Phase", "checkpoint_line", "encode", "entry_line", "note_of", "parse"]

FORMAT: Final = 1
LARGEST: Final = 64 * 1024  # bytes of a line
AFTER: Final = slice(10, 74)
"""Where the hash of the line before stands in a line."""
FIRST: Final = b"0" * 64
"""What stands there in the very first line."""
MARK: Final = b'","checkpoint":"'
"""What makes a line a checkpoint: it stands right behind the hash, and cannot occur elsewhere."""

Phase = Literal["intent", "done", "failed", "noted"]
PHASES: Final = ("intent", "done", "failed", "noted")
EVENTS: Final = frozenset(
    {
        "built", "signed", "approved", "tested", "classified", "loaded", "checked", "applied",
        "mode_changed", "breach", "drilled", "rolled_back", "reverted", "verified", "migrated", "not_restored",
        "overridden", "restored", "tripwire",
        "opened", "recovered", "rotated", "stopped",
    }
)  # fmt: skip
"""What is recorded; the last four are about the record itself."""

CLOCKS: Final = re.compile(
    rb'^\{"after":"[0-9a-f]{64}","at":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)",'
    rb'"clock":\{"boot":"([0-9a-f]{16})","monotonic_ns":(\d{1,19})\},',
    re.MULTILINE,
)
"""The times of each entry: UTC, the start of the machine, and nanoseconds since about then."""


# What holds itself is found as well as what goes too deep, without a list of all that is gone through.
_encoder = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False, check_circular=False)
_written = _encoder.encode


def _made_once() -> Callable[[Any], str]:
    """The encoder of dictionaries that `_written` makes anew for each, where the `json` of this Python has that one."""
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    try:
        made = make(None, _encoder.default, encode_basestring_ascii, None, ":", ",", True, False, False)
        if "".join(made({"b": ["\u2014", 1, {}], "a": None}, 0)) == '{"a":null,"b":["\\u2014",1,{}]}':
            return lambda value: "".join(made(value, 0))
    except TypeError:
        pass  # no such thing, or one that is asked in another way
    return _written


_plain = _made_once()
_text = encode_basestring_ascii


def encode(after: bytes, fields: Mapping[str, Any]) -> bytes:
    """A line, without its newline.  `after` is the hash of the line before, in hexadecimal digits.

    Raises :class:`AuditError` for what is no plain value, or too long.
    """
    try:
        text = _written({"after": after.decode(), **fields})
    except (TypeError, ValueError, RecursionError) as error:
        raise _no_plain_value(str(error)) from error
    return _short_enough(text.encode())


_GIVEN: Final = frozenset({"details", "event", "of", "patch", "phase", "versions", "who"})
"""The fields of an entry that are about what is done; the others say when and where."""


def entry_line(after: bytes, index: int, here: Here, at: str, ticks: int, fields: Mapping[str, Any]) -> bytes:
    """What :func:`encode` makes of an entry with these fields and those of when and where, in a third of the time.

    `at` is the time in UTC as the record writes it, and `ticks` that of the clock that nobody sets, in nanoseconds.
    Raises :class:`AuditError` for a field that entries do not have, for what is no plain value, or too long.
    """
    if not fields.keys() <= _GIVEN:
        raise _no_plain_value(f"the fields {', '.join(map(spelled, fields.keys() - _GIVEN))}")
    try:
        of = f'"of":{_plain(fields["of"])},' if "of" in fields else ""
        patch = f'"patch":{_plain(fields["patch"])},' if "patch" in fields else ""
        # In the order of their names.  What the system says of itself has nothing that JSON writes in another way.
        text = (
            f'{{"after":"{after.decode()}","at":"{at}",'
            f'"clock":{{"boot":"{here.boot}","monotonic_ns":{ticks}}},'
            f'"details":{_plain(fields["details"])},"event":{_text(fields["event"])},"host":"{here.host}",'
            f'"index":{index},{of}{patch}"phase":{_text(fields["phase"])},'
            f'"process":{{"pid":{here.pid},"started":{here.started}}},'
            f'"versions":{_plain(fields["versions"])},"who":{_text(fields["who"])}}}'
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise _no_plain_value(str(error)) from error
    return _short_enough(text.encode())


def _no_plain_value(found: str) -> AuditError:
    return AuditError(
        "an entry of the record cannot be written",
        found=found,
        expected="plain values: text, whole numbers, lists and dictionaries of them",
        action="correct what is to be recorded",
    )


def _short_enough(line: bytes) -> bytes:
    if len(line) > LARGEST:
        raise AuditError(
            "an entry of the record is too long",
            found=f"{len(line)} bytes",
            expected=f"{LARGEST} at most",
            action="record less of it",
        )
    return line


def checkpoint_line(after: bytes, note: str) -> bytes:
    """The line of a checkpoint, without its newline, of the note as it is written."""
    return b'{"after":"%b","checkpoint":%b}' % (after, encode_basestring_ascii(note).encode())


def is_checkpoint(line: bytes) -> bool:
    """Whether a line claims to be a checkpoint."""
    return line.startswith(MARK, AFTER.stop)


def checkpoints_among(lines: Sequence[bytes]) -> list[int]:
    """Which lines claim to be checkpoints; as little Python for each as can be."""
    place = slice(AFTER.stop, AFTER.stop + len(MARK))
    return [number for number, line in enumerate(lines) if line[place] == MARK]


def _wrong(found: str, expected: str = "a line as livepatch writes it") -> AuditError:
    return AuditError(
        "that is no line of a record", found=found, expected=expected, action="see livepatch audit verify"
    )


def parse(line: bytes) -> dict[str, Any]:
    """What a line holds.  Raises :class:`AuditError` for one that would have been written with other bytes."""
    if len(line) > LARGEST:
        raise _wrong(f"{len(line)} bytes", f"{LARGEST} at most")
    try:
        held = json.loads(line)
        again = _written(held).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise _wrong(f"no JSON: {type(error).__name__}") from error
    if again != line or not isinstance(held, dict):
        raise _wrong("other JSON")
    if set(held) == {"after", "checkpoint"}:
        _require(held, {"after": str, "checkpoint": str})
    else:
        _check_entry(held, line)
    if not re.fullmatch(r"[0-9a-f]{64}", held["after"]):
        raise _wrong("no hash of the line before")
    return held


_FIELDS: dict[str, type] = {
    "after": str, "at": str, "clock": dict, "details": dict, "event": str, "host": str, "index": int, "phase": str,
    "process": dict, "versions": dict, "who": str,
}  # fmt: skip
_MAY_BE: dict[str, type] = {"of": int, "patch": dict}
_LATER = ("done", "failed")  # the phases of a result, which names its intent if there was one
_NUMBER = 10**18
"""Above all that is counted here: lines, processes, ticks."""


def _check_entry(held: dict[str, Any], line: bytes) -> None:
    """Hold an entry to what the writer writes, so that who shows one may rely on it."""
    _require(held, {**_FIELDS, **{name: kind for name, kind in _MAY_BE.items() if name in held}})
    _require(held["clock"], {"boot": str, "monotonic_ns": int})
    _require(held["process"], {"pid": int, "started": int})
    texts = [*held["versions"].items(), *held.get("patch", {}).items()]
    numbers = [held["index"], held.get("of", 0), *held["process"].values()]
    index, phase = held["index"], held["phase"]
    for right, what in (
        (held["event"] in EVENTS, "event"),
        (phase in PHASES, "phase"),
        (all(type(value) is str for _, value in texts), "versions or patch"),
        (all(0 <= number < _NUMBER for number in numbers), "a number"),
        ("of" not in held or (phase in _LATER and held["of"] < index), "of"),
        (CLOCKS.match(line) is not None and _is_time(held["at"]), "a time"),
    ):
        if not right:
            raise _wrong(f"{what} of another kind")


def _is_time(at: str) -> bool:
    try:
        return datetime.strptime(at, "%Y-%m-%dT%H:%M:%S.%f%z").second < 60
    except ValueError:
        return False


def _require(held: dict[str, Any], fields: dict[str, type]) -> None:
    """All of these fields, of these types, and no others."""
    for name, kind in fields.items():
        if type(held.get(name)) is not kind:
            raise _wrong(f"{name} is {spelled(held.get(name))}", f"{name} of type {kind.__name__}")
    for name in held:
        if name not in fields:
            raise _wrong(f"the field {spelled(name)}", f"the fields {', '.join(fields)}")


def note_of(line: bytes) -> Note:
    """The signed note in the line of a checkpoint.  Raises :class:`AuditError`."""
    held = parse(line)
    if "checkpoint" not in held:
        raise _wrong("an entry", "a checkpoint")
    note = Note.parse(held["checkpoint"])
    if str(note) != held["checkpoint"] or len(note.signatures) != 1:
        raise _wrong("a checkpoint that is written in another way", "one signature, that of the node")
    return note


def checkpoint_text(origin: str, size: int, root: bytes) -> str:
    """The body of a checkpoint (C2SP tlog-checkpoint)."""
    return f"{origin}\n{size}\n{encoded(root)}\n"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The body of a checkpoint (C2SP tlog-checkpoint): the name of a record, its size and the root of its tree."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """What is signed."""
        return checkpoint_text(self.origin, self.size, self.root)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text of a note.  Raises :class:`AuditError`."""
        lines = text.split("\n")
        right = "the name of a record, its size and the root of its tree (C2SP tlog-checkpoint)"
        if len(lines) != 4 or lines[3] or not lines[0] or not re.fullmatch(r"0|[1-9][0-9]{0,17}", lines[1], re.ASCII):
            raise AuditError("that is no checkpoint", found=spelled(text), expected=right, action="get it anew")
        try:
            root = decoded(lines[2])
        except ValueError:
            root = b""
        if len(root) != 32:
            raise AuditError("that is no checkpoint", found=spelled(lines[2]), expected=right, action="get it anew")
        return cls(lines[0], int(lines[1]), root)


@dataclass(frozen=True, slots=True)
class Opening:
    """What the first line of a file says: whose record it is, and the tree with which the file goes on."""

    origin: str
    key: str
    size: int
    subtrees: tuple[bytes, ...]
    checkpoint: Note

    def details(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "checkpoint": str(self.checkpoint),
            "format": FORMAT,
            "key": self.key,
            "origin": self.origin,
            "size": self.size,
            "subtrees": [each.hex() for each in self.subtrees],
        }

    @classmethod
    def of(cls, line: bytes) -> Self:
        """Read the first line of a file.  Raises :class:`AuditError`; no signature is looked at."""
        held = parse(line)
        details = held.get("details")
        if held.get("event") != "opened" or not isinstance(details, dict) or details.get("format") != FORMAT:
            raise _wrong("a file that begins in another way", f"the first line of a record of format {FORMAT}")
        kinds = {"checkpoint": str, "format": int, "key": str, "origin": str, "size": int, "subtrees": list}
        _require(details, kinds)
        try:
            subtrees = tuple(bytes.fromhex(each) for each in details["subtrees"])
        except (TypeError, ValueError) as error:
            raise _wrong("subtrees that are none") from error
        note = Note.parse(details["checkpoint"])
        made = cls(details["origin"], details["key"], details["size"], subtrees, note)
        if made.details() != details or held["index"] != made.size:
            raise _wrong("a first line that is written in another way")
        return made
