"""A plot: as many points as were known, and nothing where nothing was."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livepatch.pages.plot import Limit, plot


def points(svg):
    """Every point of it that stands for a value: of lines, and alone."""
    found = [point for line in re.findall(r"<polyline points='([^']*)'", svg) for point in line.split()]
    return found + re.findall(r"<circle cx='([^']*)' cy='([^']*)'", svg)


def test_known_readings_that_follow_each_other_are_joined():
    svg = plot("lag", [(30.0, 0.0), (20.0, 10.0), (10.0, None), (5.0, 5.0), (0.0, 5.0)], span=60)
    assert re.findall(r"<polyline points='([^']*)'", svg) == ["300.0,95.0 400.0,5.0", "550.0,50.0 600.0,50.0"]
    assert re.findall(r"<path d='([^']*)'", svg) == ["M500.0,100v-6"]


def test_one_alone_is_a_dot_and_none_at_all_is_an_empty_plot():
    assert points(plot("lag", [(1.0, 3.0)], span=60)) == [("590.0", "50.0")]
    assert points(plot("lag", [], span=60)) == []
    assert points(plot("lag", [(1.0, None)], span=60)) == []


def test_what_is_older_than_the_span_is_left_out():
    assert len(points(plot("lag", [(70.0, 1.0), (50.0, 1.0), (40.0, 2.0)], span=60))) == 2


def test_thresholds_are_lines_across_within_the_plot():
    limits = [Limit(3.0, "ok", "head_lag above=3"), Limit(20.0, "breach", "x\"'><script>")]
    svg = plot("lag", [(1.0, 0.0), (0.5, 1.0)], span=60, limits=limits)
    assert re.findall(r"class='limit (\w+)' x1=0 x2=600 y1='([\d.]+)'", svg) == [("ok", "81.5"), ("breach", "5.0")]
    assert "<title>head_lag above=3</title>" in svg
    assert "<script" not in svg


@pytest.mark.parametrize("value", [0.0, -5.0, 1e308, -1e308])
def test_one_value_again_and_again_is_a_line_in_the_middle(value):
    svg = plot("lag", [(2.0, value), (1.0, value)], span=4)
    assert points(svg) == ["300.0,50.0", "450.0,50.0"]


numbers = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.floats(0, 600), numbers), max_size=50), st.lists(numbers, max_size=3))
def test_every_known_reading_is_one_point_within_the_plot(readings, limits):
    lines = [Limit(each, "ok", "rule") for each in limits if each is not None]
    svg = plot("<&'\"", readings, span=600, limits=lines)
    found = [point.split(",") if isinstance(point, str) else point for point in points(svg)]
    assert len(found) == sum(value is not None for _, value in readings)
    assert all(0 <= float(x) <= 600 and 0 <= float(y) <= 100 for x, y in found)
    quoted = re.sub(r"=([\w]+)(?=[ />])", r"='\1'", svg)
    assert len(ET.fromstring(quoted).findall("line")) == len(lines)
