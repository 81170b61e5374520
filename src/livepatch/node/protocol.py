"""What a node is told over its control socket, and how it answers: bytes to values and back.  Does no IO.

A request is four bytes with the length of its head, the head, and then its parts: a patch file, and approvals.  The
head is one JSON object, read strictly, which says how long each part is; nothing is read before its length is known to
be within bounds.  An answer is four bytes and one JSON object.  To each request there come any number of answers that
tell of ``progress``, and then one that is its ``result`` or an ``error``.  Several requests may follow each other on
one connection, each once the one before it is answered.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, get_args

from livepatch.bundle.envelope import LARGEST_FILE
from livepatch.bundle.jsontext import Fields, read_object, refusing
from livepatch.contents.identity import check_name
from livepatch.errors import LivepatchError, NodeError, spelled

__all__ = [
    "LENGTH",
    "LIMITS",
    "REQUESTS",
    "SPOKEN",
    "Apply",
    "Cancel",
    "Check",
    "Doctor",
    "Drill",
    "Flag",
    "Head",
    "Health",
    "Hello",
    "Limits",
    "Probes",
    "Readings",
    "Request",
    "Revert",
    "Soak",
    "Status",
    "Verify",
    "answer_bytes",
    "length_of",
    "read_answer",
    "read_head",
    "request_bytes",
]

SPOKEN = (1,)
"""The versions of the protocol that this release speaks."""
LENGTH = 4
"""Bytes that say how long what follows is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a message may hold at most, and how long it may take."""

    head: int = 16 << 10
    """Bytes of the head of a request."""
    brackets: int = 200
    """Objects and lists in it."""
    file: int = LARGEST_FILE
    """Bytes of a patch file."""
    approvals: int = 100
    """Approvals that are handed in with it."""
    approval: int = 2 << 20
    """Bytes of one of them."""
    parts: int = 24 << 20
    """Bytes of all parts together."""
    answer: int = 16 << 20
    """Bytes of an answer."""
    seconds: int = 24 * 3600
    """Seconds that a request may ask the node to wait."""
    connections: int = 16
    """Connections at a time."""
    receiving: float = 10.0
    """Seconds from the first byte of a request to the last."""
    sending: float = 10.0
    """Seconds that an answer may take to be taken up."""
    idle: float = 60.0
    """Seconds between two requests of one connection."""
    pulse: float = 10.0
    """Seconds after which, again and again, who asks is told that the node is at work."""


LIMITS = Limits()
_REFUSE = refusing(NodeError, "this is no request that a node understands", "ask with the livepatch of the node")
_NAMES = 200  # ids of patches in one request
_TEXT = 300  # characters of a mode
_RULES = 8000  # and of rules


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timed:
    timeout: float = 30.0
    """Seconds to wait for another switch, or for a quiescent moment."""
    drain: float = 0.0
    """Seconds to wait, and to tell of progress, until no call is left on the other side."""


@dataclass(frozen=True, slots=True)
class _Plain:
    @classmethod
    def read(cls, fields: Fields) -> Self:  # noqa: ARG003  # there is nothing to read
        """It has no fields."""
        return cls()


@dataclass(frozen=True, slots=True)
class Hello(_Plain):
    """Who are you?"""

    verb: ClassVar[str] = "hello"


@dataclass(frozen=True, slots=True)
class Status(_Plain):
    """How does each patch stand?"""

    verb: ClassVar[str] = "status"


@dataclass(frozen=True, slots=True)
class Verify(_Plain):
    """Does every place still hold what the patches say?"""

    verb: ClassVar[str] = "verify"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """Are the holes closed that your patches have closed?"""

    verb: ClassVar[str] = "probes"
    timeout: float = 30.0
    """Seconds for each regression probe to answer."""

    @classmethod
    def read(cls, fields: Fields) -> Probes:
        """Its fields."""
        return cls(timeout=_seconds(fields, "timeout"))


@dataclass(frozen=True, slots=True)
class Doctor(_Plain):
    """What could keep you from being patched?"""

    verb: ClassVar[str] = "doctor"


@dataclass(frozen=True, slots=True)
class Health(_Plain):
    """Are you well?"""

    verb: ClassVar[str] = "health"


@dataclass(frozen=True, slots=True)
class Drill(_Plain):
    """Practise with patches of your own."""

    verb: ClassVar[str] = "drill"


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What have your probes shown?"""

    verb: ClassVar[str] = "readings"
    span: float = 600.0
    """For the last so many seconds."""

    @classmethod
    def read(cls, fields: Fields) -> Readings:
        """Its fields."""
        return cls(span=_seconds(fields, "span"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """May the patch in the first part go in?  The other parts are approvals."""

    verb: ClassVar[str] = "check"
    mode: str = "on"
    replaces: tuple[str, ...] = ()
    timeout: float = 30.0

    @classmethod
    def read(cls, fields: Fields) -> Check:
        """Its fields."""
        return cls(
            mode=fields.text("mode", _TEXT),
            replaces=fields.texts("replaces", _NAMES, 128),
            timeout=_seconds(fields, "timeout"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply(_Timed):
    """Take the patch in the first part.  The other parts are approvals."""

    verb: ClassVar[str] = "apply"
    mode: str = "on"
    consistency: str = ""
    replaces: tuple[str, ...] = ()

    @classmethod
    def read(cls, fields: Fields) -> Apply:
        """Its fields."""
        return cls(
            mode=fields.text("mode", _TEXT),
            consistency=fields.text("consistency", _TEXT),
            replaces=fields.texts("replaces", _NAMES, 128),
            timeout=_seconds(fields, "timeout"),
            drain=_seconds(fields, "drain"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """Take the patch in the first part if you stay well with it.  The other parts are approvals."""

    verb: ClassVar[str] = "soak"
    during: float
    """Seconds for which it is watched."""
    before: float = 0.0
    """Seconds of the baseline."""
    rules: str = ""
    """Rules besides the node's own, as the text of a file of them."""
    consistency: str = ""
    timeout: float = 30.0

    @classmethod
    def read(cls, fields: Fields) -> Soak:
        """Its fields."""
        return cls(
            during=_seconds(fields, "during"),
            before=_seconds(fields, "before"),
            rules=fields.text("rules", _RULES),
            consistency=fields.text("consistency", _TEXT),
            timeout=_seconds(fields, "timeout"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag(_Timed):
    """Switch the patch with that flag to that mode."""

    verb: ClassVar[str] = "flag"
    flag: str
    mode: str

    @classmethod
    def read(cls, fields: Fields) -> Flag:
        """Its fields."""
        return cls(
            flag=fields.text("flag", 128, lambda text: check_name("flag", text)),
            mode=fields.text("mode", _TEXT),
            timeout=_seconds(fields, "timeout"),
            drain=_seconds(fields, "drain"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Revert(_Timed):
    """Give that patch back."""

    verb: ClassVar[str] = "revert"
    id: str
    consistency: str = ""

    @classmethod
    def read(cls, fields: Fields) -> Revert:
        """Its fields."""
        return cls(
            id=fields.text("id", 128, lambda text: check_name("id", text)),
            consistency=fields.text("consistency", _TEXT),
            timeout=_seconds(fields, "timeout"),
            drain=_seconds(fields, "drain"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Take back the switch of that patch that is being made."""

    verb: ClassVar[str] = "cancel"
    id: str

    @classmethod
    def read(cls, fields: Fields) -> Cancel:
        """Its fields."""
        return cls(id=fields.text("id", 128, lambda text: check_name("id", text)))


Request = (
    Hello
    | Status
    | Verify
    | Probes
    | Doctor
    | Health
    | Readings
    | Drill
    | Check
    | Apply
    | Soak
    | Flag
    | Revert
    | Cancel
)
REQUESTS: Mapping[str, Callable[[Fields], Request]] = {each.verb: each.read for each in get_args(Request)}
_WITH_FILE = (Apply, Check, Soak)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The head of a request: what is asked, and how many bytes each part has that follows."""

    request: Request
    parts: tuple[int, ...] = ()


def _seconds(fields: Fields, name: str) -> float:
    """Whole milliseconds on the wire: JSON is read without fractions."""
    return fields.number(f"{name}_ms", 0, LIMITS.seconds * 1000) / 1000


def length_of(data: bytes, most: int, what: str) -> int:
    """The length that the first bytes of a message tell.  Raises :class:`NodeError` for one that is out of bounds."""
    length = int.from_bytes(data, "big")
    if not 2 <= length <= most:
        raise NodeError(
            f"{what} is of a length that no {what.rpartition(' ')[2]} has",
            found=f"{length} bytes",
            expected=f"2 to {most} bytes",
            action="ask with livepatch, and ask the socket of a node",
        )
    return length


def read_head(data: bytes, limits: Limits = LIMITS) -> Head:
    """The head of a request.  Raises :class:`NodeError`, and for an unknown version one that tells those spoken."""
    fields = read_object(data, most=limits.head, brackets=limits.brackets, refuse=_REFUSE)
    version = fields.number("protocol", 0)
    if version not in SPOKEN:
        raise NodeError(
            "the node does not speak this version of the protocol",
            found=f"version {version}",
            expected="version " + " or ".join(map(str, SPOKEN)),
            action="ask with the livepatch that the node has",
        )
    verb = fields.text("request", 40)
    read = REQUESTS.get(verb)
    if read is None:
        raise fields.error("request", spelled(verb), "one of " + ", ".join(REQUESTS))
    parts = [each.number("size", 0, limits.file) for each in _parts(fields, limits)]
    request = read(fields)
    fields.end()
    with_file = isinstance(request, _WITH_FILE)
    if with_file != bool(parts):
        raise fields.error("parts", f"{len(parts)}", "a patch file first" if with_file else "none")
    if any(size > limits.approval for size in parts[1:]):
        raise fields.error("parts", f"an approval of {max(parts[1:])} bytes", f"{limits.approval} bytes or fewer")
    if sum(parts) > limits.parts:
        raise fields.error("parts", f"{sum(parts)} bytes in all", f"{limits.parts} bytes or fewer")
    return Head(request=request, parts=tuple(parts))


def _parts(fields: Fields, limits: Limits) -> list[Fields]:
    return fields.records("parts", 1 + limits.approvals)


def request_bytes(request: Request, parts: tuple[bytes, ...] = (), *, version: int = SPOKEN[-1]) -> bytes:
    """A whole request.  Raises :class:`NodeError` for one that a node would not take."""
    head: dict[str, Any] = {"protocol": version, "request": request.verb}
    head["parts"] = [{"size": len(part)} for part in parts]
    for name in (field.name for field in dataclasses.fields(request)):
        value = getattr(request, name)
        if isinstance(value, float | int):
            if not (math.isfinite(value) and 0 <= value <= LIMITS.seconds):
                raise NodeError(
                    f"{name} is no time that a node waits",
                    found=spelled(value),
                    expected=f"0 to {LIMITS.seconds} seconds",
                    action="give another number of seconds",
                )
            head[f"{name}_ms"] = math.ceil(value * 1000)
        else:
            head[name] = list(value) if isinstance(value, tuple) else value
    data = json.dumps(head).encode("ascii")
    if version in SPOKEN:
        read_head(data)
    return len(data).to_bytes(LENGTH, "big") + data + b"".join(parts)


def answer_bytes(kind: str, value: Mapping[str, Any], limits: Limits = LIMITS) -> bytes:
    """An answer: ``progress``, ``result`` or ``error``.  Raises :class:`NodeError` for one that is too long."""
    data = json.dumps({"protocol": SPOKEN[-1], kind: value}).encode("ascii")
    if len(data) > limits.answer:
        raise NodeError(
            "the answer is too long",
            found=f"{len(data)} bytes",
            expected=f"{limits.answer} bytes or fewer",
            action="ask in the process itself, such as by livepatch.status()",
        )
    return len(data).to_bytes(LENGTH, "big") + data


def read_answer(data: bytes) -> tuple[str, dict[str, Any]]:
    """What kind of answer it is, and what it holds.  Raises :class:`NodeError`."""
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _no_answer(f"no JSON: {type(error).__name__}") from error
    if not isinstance(answer, dict) or answer.pop("protocol", None) not in SPOKEN or len(answer) != 1:
        raise _no_answer("something else")
    ((kind, value),) = answer.items()
    if kind not in ("progress", "result", "error") or not isinstance(value, dict):
        raise _no_answer(spelled(kind))
    return kind, value


def _no_answer(found: str) -> LivepatchError:
    return NodeError(
        "the node's answer is not understood",
        found=found,
        expected="progress, a result or an error, in version " + " or ".join(map(str, SPOKEN)),
        action="ask with the livepatch that the node has; what was asked for may have been done: see its status",
    )
