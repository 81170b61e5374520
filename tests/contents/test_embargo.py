"""What nobody is told before a date, and when that is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from livepatch.contents.embargo import Embargo
from livepatch.errors import PatchError

UNTIL = "2026-12-01T00:00:00Z"


def test_it_is_over_at_its_moment_and_in_every_time_zone():
    embargo = Embargo(until=UNTIL)
    moment = datetime(2026, 12, 1, tzinfo=UTC)
    assert embargo.is_over(moment)
    assert not embargo.is_over(moment - timedelta(microseconds=1))
    assert not embargo.is_over(datetime(2026, 12, 1, 1, 59, tzinfo=timezone(timedelta(hours=2))))
    assert embargo.is_over(datetime(2026, 12, 1, 2, 0, tzinfo=timezone(timedelta(hours=2))))


def test_its_repr_tells_the_date_alone():
    embargo = Embargo(until=UNTIL, proof_of_concept="CANARY", affected_paths=("CANARY",), reporter="CANARY")
    assert repr(embargo) == f"Embargo(until='{UNTIL}')"


@pytest.mark.parametrize(
    "wrong",
    [
        {"until": "tomorrow"},
        {"until": ""},
        {"proof_of_concept": "CANARY" * 20_000},
        {"proof_of_concept": "CANARY\0"},
        {"affected_paths": ("CANARY", "CANARY")},
        {"affected_paths": ("CANARY\n",)},
        {"affected_paths": ("",)},
        {"affected_paths": tuple(f"CANARY{number}" for number in range(1001))},
        {"reporter": "CANARY\n"},
        {"reporter": "CANARY" * 100},
    ],
)
def test_what_is_refused_is_not_quoted(wrong):
    with pytest.raises(PatchError) as error:
        Embargo(**{"until": UNTIL, **wrong})
    assert "CANARY" not in str(error.value)
    assert error.value.found
    assert error.value.expected
    assert error.value.action


@pytest.mark.parametrize(
    "wrong", [{"until": None}, {"proof_of_concept": b"CANARY"}, {"affected_paths": "CANARY"}, {"affected_paths": (7,)}]
)
def test_what_is_of_another_type_is_refused(wrong):
    with pytest.raises(TypeError) as error:
        Embargo(**{"until": UNTIL, **wrong})
    assert "CANARY" not in str(error.value)
