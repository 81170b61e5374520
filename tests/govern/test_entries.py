"""The lines of a record: each in the one way in which it can be written, however fast it is written."""

from __future__ import annotations

import pytest

from livepatch.errors import AuditError
from livepatch.govern import entries
from livepatch.govern.entries import encode, entry_line, parse
from livepatch.govern.surroundings import Here

AFTER = b"0" * 64
HERE = Here("fedcba9876543210", "0123456789abcdef", 5, 6)
AT, TICKS = "2026-11-27T10:00:00.000123Z", 17
WHERE = {
    "at": AT,
    "clock": {"boot": HERE.boot, "monotonic_ns": TICKS},
    "host": HERE.host,
    "process": {"pid": HERE.pid, "started": HERE.started},
}
GIVEN = {"details": {}, "event": "applied", "phase": "noted", "versions": {"python": "3.12.1"}, "who": "alice"}
ODD = [
    {},
    {"who": 'al"ice\n\u2014\u202e\ud800\x00\x7f\\'},
    {"details": {"z": [1, -5, 1.5, True, None, "é", []], "a": {"c": {}, "b": [{"y": 1, "x": 2}]}, "é": 10**17}},
    {"of": 3, "patch": {"id": "CVE-2026-1", "digest": "sha256:0"}, "phase": "done"},
    {"versions": {"é": "1", "B": "2", "a": "3"}},
]


@pytest.fixture(params=["encoder made once", "encoder made anew"])
def either_encoder(request, monkeypatch):
    if request.param == "encoder made anew":  # as on a Python whose json has no such encoder
        monkeypatch.setattr(entries.json.encoder, "c_make_encoder", None)
        assert entries._made_once() is entries._written
    monkeypatch.setattr(entries, "_plain", entries._made_once())


@pytest.mark.parametrize("fields", ODD)
def test_an_entry_is_written_as_any_line_is(fields, either_encoder):
    given = {**GIVEN, **fields}
    line = entry_line(AFTER, 4, HERE, AT, TICKS, given)
    assert line == encode(AFTER, {**WHERE, **given, "index": 4})
    assert parse(line) == {**WHERE, **given, "after": AFTER.decode(), "index": 4}


def test_an_encoder_that_writes_in_another_way_is_not_used(monkeypatch):
    for other in (lambda *_: lambda value, _: [repr(value)], lambda: None):
        monkeypatch.setattr(entries.json.encoder, "c_make_encoder", other)
        assert entries._made_once() is entries._written


def holds_itself():
    made = []
    made.append(made)
    return made


@pytest.mark.parametrize(
    "fields",
    [
        {"at": AT},
        {"more": 1},
        {"who": 5},
        {"event": None},
        {"details": {"n": float("inf")}},
        {"details": {"n": b""}},
        {"details": {"n": holds_itself()}},
        {"versions": {"a": {1}}},
    ],
)
def test_what_is_no_entry_is_refused(fields, either_encoder):
    with pytest.raises(AuditError, match="an entry of the record cannot be written"):
        entry_line(AFTER, 4, HERE, AT, TICKS, {**GIVEN, **fields})
