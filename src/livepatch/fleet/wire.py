"""What stands in the shared state: directives, reports and commands, as JSON that is read strictly.

Times are whole milliseconds, shares whole millionths, and what is not there is -1, so that nothing is a fraction.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

from livepatch.bundle.jsontext import Fields, read_object, refusing
from livepatch.errors import PatchError, StateError
from livepatch.fleet.standing import Command, Condition, Directive, Phase, Report, Retire

__all__ = ["command_in", "directive_in", "encoded", "passed_in", "plain", "report_in", "retired_in"]

T = TypeVar("T", bound=str)

_FORMAT = 1
_MOST = 4096  # bytes
_HIGHEST = 2**53  # of a whole number: milliseconds of the epoch among them
_LONGEST = 1000  # characters of a reason, with everything spelled out that is not ASCII
_PHASES: tuple[Phase, ...] = ("planned", "running", "finishing", "complete", "aborting", "reverted")
_CONDITIONS: tuple[Condition, ...] = ("original", "applied", "dormant", "armed", "failed")
_KINDS = ("start", "pause", "resume", "promote", "abort")
_REFUSE = refusing(
    StateError,
    "what stands in the shared state cannot be read; nothing has changed",
    "see who can write to the store; livepatch takes nothing that it would not have written",
)


def encoded(value: Directive | Report | Command | Retire, *, at: float | None = None) -> bytes:
    """The value as it stands in a store.  A report does not name its node, and nor does who retires it: the key does.

    With `at`, seconds of the epoch, a directive is one that was published then.
    """
    fields: dict[str, Any]
    if isinstance(value, Directive):
        fields = {
            "rollout": value.rollout, "revision": value.revision, "order": value.order, "phase": value.phase,
            "paused": value.paused, "opened": value.opened, "attempt": value.attempt, "look": value.look,
            "passed": value.passed, "began": _milliseconds(value.began), "since": _milliseconds(value.since),
            "spent": round(value.spent * 1e6), "height": -1 if value.height is None else value.height,
            "why": plain(value.why), **({} if at is None else {"at": _milliseconds(at)}),
        }  # fmt: skip
    elif isinstance(value, Report):
        fields = {
            "sequence": value.sequence, "order": value.order, "condition": value.condition,
            "why": plain(value.why), "height": -1 if value.height is None else value.height,
        }  # fmt: skip
    elif isinstance(value, Retire):
        fields = {"who": value.who}
    else:
        fields = {"kind": value.kind, "who": value.who, "order": value.order, "why": plain(value.why)}
    kind = type(value).__name__.lower() if at is None else "passed"
    return json.dumps({"type": kind, "format": _FORMAT, **fields}, sort_keys=True, separators=(",", ":")).encode(
        "ascii"
    )


def directive_in(data: bytes, rollout: str) -> Directive:
    """The directive of that rollout in the value of a key.  Raises :class:`StateError`."""
    fields = _fields(data, "directive")
    made = _directive(fields, rollout)
    fields.end()
    return made


def passed_in(data: bytes, rollout: str) -> tuple[float, Directive]:
    """A directive that was published, and when, in seconds of the epoch.  Raises :class:`StateError`."""
    fields = _fields(data, "passed")
    made = _directive(fields, rollout)
    at = fields.number("at", 0, _HIGHEST) / 1000
    fields.end()
    return at, made


def _directive(fields: Fields, rollout: str) -> Directive:
    fields.exactly("rollout", rollout)
    height = fields.number("height", -1, _HIGHEST)
    return Directive(
        rollout=rollout,
        revision=fields.number("revision", 0, _HIGHEST),
        order=fields.number("order", 0, _HIGHEST),
        phase=_word(fields, "phase", _PHASES),
        paused=fields.truth("paused"),
        opened=fields.number("opened", 0, _HIGHEST),
        attempt=fields.number("attempt", 0, _HIGHEST),
        began=_seconds(fields, "began"),
        since=_seconds(fields, "since"),
        look=fields.number("look", 0, _HIGHEST),
        spent=fields.number("spent", 0, 1_000_000) / 1e6,
        passed=fields.truth("passed"),
        height=None if height < 0 else height,
        why=fields.text("why", _LONGEST),
    )


def report_in(data: bytes, node: str) -> Report:
    """The report of that node in the value of its key.  Raises :class:`StateError`."""
    fields = _fields(data, "report")
    height = fields.number("height", -1, _HIGHEST)
    made = Report(
        node=node,
        sequence=fields.number("sequence", 1, _HIGHEST),
        order=fields.number("order", -1, _HIGHEST),
        condition=_word(fields, "condition", _CONDITIONS),
        why=fields.text("why", _LONGEST),
        height=None if height < 0 else height,
    )
    fields.end()
    return made


def command_in(data: bytes) -> Command:
    """The command in the value of a key.  Raises :class:`StateError`."""
    fields = _fields(data, "command")
    kind = _word(fields, "kind", _KINDS)
    made = Command(
        kind=kind,  # type: ignore[arg-type]  # one of its words
        who=fields.text("who", 128),
        order=fields.number("order", -1, _HIGHEST),
        why=fields.text("why", _LONGEST),
    )
    fields.end()
    return made


def retired_in(data: bytes, node: str) -> Retire:
    """Who has said that a node does not exist any more.  Raises :class:`StateError`."""
    fields = _fields(data, "retire")
    made = Retire(node=node, who=fields.text("who", 128))
    fields.end()
    return made


def _fields(data: bytes, kind: str) -> Fields:
    fields = read_object(data, most=_MOST, brackets=1 + _LONGEST, refuse=_REFUSE)
    fields.exactly("type", kind)
    fields.exactly("format", _FORMAT)
    return fields


def _word(fields: Fields, name: str, known: tuple[T, ...]) -> T:
    def judge(value: str) -> None:
        if value not in known:
            raise PatchError(
                f"{name} is none of its words", found=repr(value), expected=" or ".join(known), action="correct it"
            )

    told = fields.text(name, 20, judge)
    return next(word for word in known if word == told)


def _milliseconds(moment: float | None) -> int:
    return -1 if moment is None else round(moment * 1000)


def _seconds(fields: Fields, name: str) -> float | None:
    told = fields.number(name, -1, _HIGHEST)
    return None if told < 0 else told / 1000


def plain(text: str) -> str:
    """A text for people as it stands in a store: in ASCII, and not too long."""
    return text.encode("ascii", "backslashreplace").decode("ascii")[:_LONGEST]
