"""What is said to a node and by it: read strictly, bounded, and the same at both ends."""

from __future__ import annotations

import contextlib
import json
import random

import pytest

from livepatch.compat.report import Caller, Finding, Report
from livepatch.errors import LivepatchError, NodeError, PatchError, ProtectedError, TransitionError
from livepatch.node import failures
from livepatch.node.protocol import (
    LENGTH,
    LIMITS,
    Apply,
    Cancel,
    Check,
    Doctor,
    Flag,
    Hello,
    Probes,
    Readings,
    Revert,
    Status,
    Verify,
    answer_bytes,
    length_of,
    read_answer,
    read_head,
    request_bytes,
)

EVERY = (
    (Hello(), ()),
    (Status(), ()),
    (Verify(), ()),
    (Doctor(), ()),
    (Probes(timeout=2.5), ()),
    (Readings(span=2.5), ()),
    (Check(mode="at(5)", timeout=0.25), (b"file", b"approval")),
    (Apply(mode="split(5%)", consistency="chain", replaces=("A", "B"), timeout=1, drain=2), (b"file",)),
    (Flag(flag="f", mode="off", drain=3), ()),
    (Revert(id="A", consistency="quiescent"), ()),
    (Cancel(id="A"), ()),
)


def taken_apart(data: bytes) -> tuple[bytes, bytes]:
    length = length_of(data[:LENGTH], LIMITS.head, "this request")
    return data[LENGTH : LENGTH + length], data[LENGTH + length :]


@pytest.mark.parametrize(("request_", "parts"), EVERY, ids=lambda each: getattr(each, "verb", ""))
def test_a_request_is_what_it_was(request_, parts):
    head, rest = taken_apart(request_bytes(request_, parts))
    read = read_head(head)
    assert read.request == request_
    assert read.parts == tuple(map(len, parts))
    assert rest == b"".join(parts)


def head(**changes) -> bytes:
    return json.dumps({"protocol": 1, "request": "status", "parts": [], **changes}).encode()


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "no JSON"),
        (b"[]", "no object"),
        (b"{}", "protocol"),
        (b"\xff{}", "not ASCII"),
        (b"[" * 500, "more than 200"),
        (head(protocol="1"), "a str"),
        (head(protocol=True), "a bool"),
        (head(request="halt"), "'halt'"),
        (head(parts=[{"size": 1}]), "1"),
        (head(parts=[{"size": -1}]), "-1"),
        (head(more=1), "unknown field"),
        (head(request="revert"), "no such field"),
        (head(request="cancel", id="a b"), "'a b'"),
        (head(request="cancel", id="x" * 200), "200 characters"),
        (head(request="check", mode="on", replaces=[], timeout_ms=1, parts=[]), "0"),
        (head(request="check", mode="on", replaces=[], timeout_ms=10**12, parts=[{"size": 1}]), "1000000000000"),
        (head(request="check", mode="on", replaces=[], timeout_ms=1.5, parts=[{"size": 1}]), "1.5"),
        (head(request="check", mode="on", replaces=[], timeout_ms=1, parts=[{"size": 2**40}]), "1099511627776"),
        (
            head(request="check", mode="on", replaces=[], timeout_ms=1, parts=[{"size": 1}, {"size": 3 << 20}]),
            "an approval of",
        ),
        (head(request="check", mode="on", replaces=[], timeout_ms=1, parts=[{"size": 1 << 20}] * 40), "in all"),
        (head(request="check", mode="on", replaces=[], timeout_ms=1, parts=[{"size": 1}] * 102), "a list of 102"),
        (b'{"protocol": 1, "protocol": 1}', "twice"),
    ],
)
def test_what_is_no_request_is_told_so(data, found):
    with pytest.raises(NodeError) as caught:
        read_head(data)
    assert found in caught.value.found
    assert caught.value.expected
    assert caught.value.action


def test_another_version_is_told_which_are_spoken():
    with pytest.raises(NodeError) as caught:
        read_head(head(protocol=7, anything="that version 7 may have"))
    assert caught.value.found == "version 7"
    assert caught.value.expected == "version 1"


@pytest.mark.parametrize("data", [b"", b"\0\0\0\0", b"\0\0\0\1", b"\xff\xff\xff\xff", b"GET "])
def test_no_length_is_believed_that_is_out_of_bounds(data):
    with pytest.raises(NodeError):
        length_of(data, LIMITS.head, "this request")


def test_nothing_is_asked_that_a_node_would_refuse():
    for request, parts in [(Apply(), ()), (Status(), (b"x",)), (Cancel(id=""), ()), (Check(timeout=-1), (b"x",))]:
        with pytest.raises(LivepatchError):
            request_bytes(request, parts)


def test_bytes_of_any_kind_are_answered_by_an_error_of_ours():
    dice = random.Random(8)
    sound = [taken_apart(request_bytes(*each))[0] for each in EVERY]
    for _ in range(2000):
        data = bytearray(dice.choice(sound))
        for _ in range(dice.randrange(1, 4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        with contextlib.suppress(NodeError):  # and nothing else is raised
            read_head(bytes(data))


def test_an_answer_is_what_it_was_and_bounded():
    data = answer_bytes("result", {"text": "ü\n", "number": 1.5, "nothing": None})
    assert read_answer(data[LENGTH:]) == ("result", {"text": "ü\n", "number": 1.5, "nothing": None})
    with pytest.raises(NodeError):
        answer_bytes("result", {"text": "x" * LIMITS.answer})
    for odd in (b"", b"[]", b"{}", b'{"protocol":1}', b'{"protocol":2,"result":{}}', b'{"protocol":1,"other":{}}'):
        with pytest.raises(NodeError):
            read_answer(odd)
    with pytest.raises(NodeError):
        read_answer(b'{"protocol":1,"result":' + b"[" * 100_000)


# Errors

REPORT = Report(
    patch_id="A",
    package="p",
    versions="==1",
    targets=("m:f",),
    findings=(Finding(code="frozen", severity="error", target="", found="f", expected="e", action="a"),),
    callers=(Caller(target="m:f", caller="m:g", file="m.py", line=3, certain=True),),
    protected=True,
)
ERRORS = (
    PatchError("no", found="f; found: g", expected="e", action="a"),
    TransitionError("no", timeout=2.5, found="f", expected="e", action="a"),
    NodeError("no", found="f", expected="e", action="a"),
    ProtectedError(REPORT),
)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_comes_out_as_it_went_in(error):
    again = failures.rebuilt(json.loads(json.dumps(failures.plain(error))))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_of_what_others_raise_only_the_class_is_told():
    told = failures.plain(ValueError("a secret"))
    assert told["kind"] == "NodeError"
    assert "secret" not in json.dumps(told)
    assert "ValueError" in told["found"]


def test_a_class_of_the_program_s_own_comes_out_as_ours():
    class OwnError(PatchError):
        pass

    assert type(failures.rebuilt(failures.plain(OwnError("no", found="f")))) is PatchError


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"kind": "ValueError", "message": "m"},
        {"kind": "PatchError"},
        {**failures.plain(ERRORS[0]), "found": 5},
        {**failures.plain(ERRORS[3]), "report": {}},
        {**failures.plain(ERRORS[3]), "report": {**REPORT.to_dict(), "targets": [5]}},
        {**failures.plain(ERRORS[3]), "report": {**REPORT.to_dict(), "findings": [{"code": "x"}]}},
        {**failures.plain(ERRORS[3]), "report": {**REPORT.to_dict(), "callers": [5]}},
    ],
)
def test_what_is_no_error_is_told_so(told):
    with pytest.raises(NodeError):
        failures.rebuilt(told)
