"""What nodes have measured: averages over windows, put together over the time of a look."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepatch.errors import StateError
from livepatch.fleet.measured import Windows, averages, series_of


def windows(*readings, every=10.0, now=1000.0):
    made = Windows(every)
    for at, value in readings:
        made.add("errors", at, value)
    made.is_news(now)
    return made


def test_readings_are_averaged_over_the_windows_between_two_moments():
    made = windows((100.0, 1.0), (105.0, 3.0), (110.0, 10.0), (125.0, 20.0), (139.9, 40.0))
    data = made.encoded()
    assert averages(data, 0, 2000) == {"errors": 74 / 5}
    assert averages(data, 100, 110) == {"errors": 2.0}
    assert averages(data, 101, 110) == {}  # what is partly from before the patch does not count
    assert averages(data, 110, 130) == {"errors": 15.0}
    assert averages(data, 130, 139) == {}


def test_what_is_open_is_not_told_before_it_is_whole():
    made = Windows(10.0)
    assert not made.is_news(5.0)
    made.add("errors", 6.0, 1.0)
    assert not made.is_news(9.9)
    assert averages(made.encoded(), 0, 100) == {}
    assert made.is_news(10.1)
    assert not made.is_news(10.2)
    assert averages(made.encoded(), 0, 100) == {"errors": 1.0}
    made.add("errors", 11.0, 3.0)
    made.add("latency", 25.0, 5.0)  # which closes the one before
    assert made.is_news(25.1)
    assert averages(made.encoded(), 0, 100) == {"errors": 2.0}


def test_what_is_no_number_is_no_reading():
    made = windows((1.0, math.nan), (2.0, math.inf), (3.0, 1e300), (4.0, 7.0))
    assert averages(made.encoded(), 0, 1000) == {"errors": 7.0}


@given(st.lists(st.tuples(st.floats(0, 5000), st.floats(-1e6, 1e6)), max_size=300))
def test_however_many_they_are_their_sum_stays(readings):
    made = windows(*sorted(readings), every=3.0, now=6000.0)
    assert len(made.closed) <= 64
    found = averages(made.encoded(), -1, 1e9)
    if readings:
        assert found["errors"] == pytest.approx(sum(v for _, v in readings) / len(readings), abs=1e-3)
    else:
        assert found == {}


def test_the_newest_windows_stay_as_they_are():
    made = windows(*((float(at), float(at)) for at in range(2000)), every=1.0, now=2000.0)
    assert len(made.closed) <= 64
    assert averages(made.encoded(), 1999, 2000) == {"errors": 1999.0}
    assert averages(made.encoded(), 1990, 2000) == {"errors": 1994.5}
    assert made.closed[0].begin == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"measured"', b'"report"'),
        (b'"errors 2.0 1"', b'"errors 2.0"'),
        (b'"errors 2.0 1"', b'"errors two 1"'),
        (b'"errors 2.0 1"', b'"errors nan 1"'),
        (b'"errors 2.0 1"', b'"errors 2.0 0"'),
        (b'"errors 2.0 1"', b'"errors 2.0 1 1"'),
        (b'"begin":0', b'"begin":-1'),
        (b'"begin":0', b'"begin":0,"more":1'),
        (b'"errors 2.0 1"', b'"' + b"x" * 500 + b'"'),
    ],
)
def test_what_was_measured_is_read_strictly(old, new):
    data = windows((1.0, 2.0)).encoded()
    assert old in data
    with pytest.raises(StateError) as caught:
        averages(data.replace(old, new, 1), 0, 1000)
    assert caught.value.action


def test_both_sides_by_metric():
    series = series_of([("n1", {"errors": 1.0, "latency": 2.0}), ("n2", {"errors": 3.0})], [("n3", {"errors": 4.0})])
    assert series.treated == {"errors": {"n1": 1.0, "n2": 3.0}, "latency": {"n1": 2.0}}
    assert series.untreated == {"errors": {"n3": 4.0}}
