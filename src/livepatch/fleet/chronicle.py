"""What has become of a rollout, for people: each directive that was published, and each judgement with its series."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from livepatch.bundle.jsontext import Fields, read_object, refusing
from livepatch.errors import StateError
from livepatch.fleet.judging import Answer, Judgement
from livepatch.fleet.keys import judged_key, judged_of, passed_key, passed_of
from livepatch.fleet.standing import Directive
from livepatch.fleet.state import ABSENT, LARGEST, Store, key_of, names_in
from livepatch.fleet.wire import encoded, passed_in, plain

__all__ = ["Look", "Passed", "judgements", "keep_judgement", "keep_passed", "passages"]

_SHOWN = 200  # values of one side of a gate that are kept; a fleet may have more nodes
_ANSWERS = 1000
_BRACKETS = 50_000  # those in reasons count as well
_HIGHEST = 2**53
_REFUSE = refusing(
    StateError,
    "what was judged cannot be read",
    "see who can write to the store; livepatch takes nothing that it would not have written",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A directive, and when it was published, in seconds of the epoch."""

    at: float
    directive: Directive


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A look at a stage, when it was, and of each gate the metric, the verdict, why, and the values by node."""

    at: float
    opened: int
    look: int
    verdict: str
    answers: tuple[Mapping[str, Any], ...]


def keep_passed(store: Store, directive: Directive, at: float) -> None:
    """Note that a directive was published; once.  Raises :class:`StateError`."""
    store.put(passed_key(directive.rollout, directive.revision), encoded(directive, at=at), expected=ABSENT)


def passages(store: Store, rollout: str) -> tuple[Passed, ...]:
    """What was published, in its order.  What cannot be read is left out.  Raises :class:`StateError`."""
    found = []
    for entry in store.entries(passed_of(rollout)):
        try:
            at, directive = passed_in(entry.value or b"", rollout)
        except StateError:
            continue  # it is for people, and nothing follows from it
        found.append(Passed(at=at, directive=directive))
    return tuple(found)


def keep_judgement(store: Store, rollout: str, judgement: Judgement, at: float) -> None:
    """Note what was judged by which values.  Raises :class:`StateError`."""
    asked = judgement.asked
    told: dict[str, Any] = {
        "type": "judgement", "format": 1, "at": round(at * 1000), "opened": asked.opened, "look": asked.look,
        "verdict": judgement.verdict, "answers": [_told(answer) for answer in judgement.answers],
    }  # fmt: skip
    data = json.dumps(told, sort_keys=True, separators=(",", ":")).encode("ascii")
    if len(data) > LARGEST:
        told["answers"] = [{**each, "treated": [], "untreated": []} for each in told["answers"]]
        data = json.dumps(told, sort_keys=True, separators=(",", ":")).encode("ascii")
    store.put(judged_key(rollout, asked.opened, asked.look), data, expected=None)


def judgements(store: Store, rollout: str) -> tuple[Look, ...]:
    """What was judged, in its order.  What cannot be read is left out.  Raises :class:`StateError`."""
    found = []
    for entry in store.entries(judged_of(rollout)):
        try:
            found.append(_judged(entry.value or b""))
        except StateError:
            continue  # as above
    return tuple(found)


def _told(answer: Answer) -> dict[str, Any]:
    return {
        "metric": answer.gate.metric,
        "verdict": answer.verdict,
        "why": plain(answer.why),
        "treated": _values(answer.treated),
        "untreated": _values(answer.untreated),
    }


def _values(side: Mapping[str, float]) -> list[str]:
    return [f"{key_of(node)} {value!r}" for node, value in sorted(side.items())[:_SHOWN] if math.isfinite(value)]


def _judged(data: bytes) -> Look:
    fields = read_object(data, most=LARGEST, brackets=_BRACKETS, refuse=_REFUSE)
    fields.exactly("type", "judgement")
    fields.exactly("format", 1)
    made = Look(
        at=fields.number("at", 0, _HIGHEST) / 1000,
        opened=fields.number("opened", 0, _HIGHEST),
        look=fields.number("look", 0, _HIGHEST),
        verdict=fields.text("verdict", 10),
        answers=tuple(_answer(each) for each in fields.records("answers", _ANSWERS)),
    )
    fields.end()
    return made


def _answer(fields: Fields) -> Mapping[str, Any]:
    made = {name: fields.text(name, 1000) for name in ("metric", "verdict", "why")}
    sides = {
        side: dict(_value(each, fields) for each in fields.texts(side, _SHOWN, 300))
        for side in ("treated", "untreated")
    }
    fields.end()
    return {**made, **sides}


def _value(text: str, fields: Fields) -> tuple[str, float]:
    node, _, value = text.partition(" ")
    try:
        return names_in(node)[0], float(value)
    except ValueError as error:
        raise fields.error("treated", "no value", "the name of a node and a number") from error
