"""The page of simulated rollouts: what happened is in its plots, and no more points than can be seen."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from tests.fleet.plans import rollout
from tests.fleet.test_simulate import BOUNDS

from livepatch.fleet.planning import plan
from livepatch.fleet.scenario import Effect, Metric, Scenario, generated
from livepatch.fleet.simulate import simulate
from livepatch.fleet.simulated import summary
from livepatch.fleet.simulated_page import page

HARM = Scenario(
    nodes=200, effect=Effect(stops=0.5, consensus=True), metrics=(Metric(name="errors", usual=0.004, factor=1.6),)
)


class Figures(HTMLParser):
    """The captions and lines of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.captions: list[str] = []
        self.lines: dict[str, list[tuple[float, float]]] = {}
        self.named, self.inside = "", False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.inside = tag == "figcaption"
        if tag == "svg":
            self.named = found["aria-label"]
        if tag == "polyline":
            self.lines[self.named] = [tuple(map(float, each.split(","))) for each in found["points"].split()]

    def handle_data(self, data):
        if self.inside:
            self.captions.append(data)
            self.inside = False


def shown(scenario: Scenario, rollouts: int = 1):
    made, first, course = [], None, []
    for seed in range(1, rollouts + 1):
        planned = plan(rollout(BOUNDS), generated(scenario, rollout(BOUNDS), seed))
        first = first or planned
        made.append(simulate(planned, scenario, seed=seed, course=course if seed == 1 else None))
    return page({**summary(made), "seed": 1}, first, made, course), made, course


def test_a_rollout_that_gets_everywhere_is_a_line_that_goes_up():
    text, (made,), course = shown(Scenario(nodes=200))
    assert made == simulate(
        plan(rollout(BOUNDS), generated(Scenario(nodes=200), rollout(BOUNDS), 1)), Scenario(), seed=1
    )
    figures = Figures(text)
    assert figures.captions == [
        "nodes with the patch: 200 of 200 at most, over 3.2 h",
        "stages open: 5 of 5 at most, over 3.2 h",
    ]
    line = figures.lines["nodes with the patch"]
    assert line[0] == (0.0, 95.0)
    assert line[-1] == (600.0, 5.0)  # all of them
    assert [x for x, _ in line] == sorted(x for x, _ in line)
    assert all(other[0] - one[0] <= 1.1 or one[1] == other[1] for one, other in pairwise(line)), "no steps"
    assert [each.at for each in course] == sorted({each.at for each in course})
    assert "1 complete</span>" in text
    assert "http-equiv=refresh" not in text  # nothing will ever change


def test_what_a_bad_patch_does_is_shown_as_its_outcome_tells_it():
    text, made, course = shown(HARM, 5)
    first = made[0]
    assert max(each.split for each in course) == pytest.approx(first.split)
    assert max(each.halted for each in course) == pytest.approx(first.halted)
    assert (course[-1].applied, course[-1].opened) == (0, first.opened)
    figures = Figures(text)
    assert [caption.partition(":")[0] for caption in figures.captions] == [
        "nodes with the patch",
        "stages open",
        "weight that disagrees with the rest",
        *(["weight that stands still"] if first.halted else []),
        "until no node had it any more, after the stop",
        "nodes harmed before the stop",
        "weight that disagreed with the rest",
        *(["weight that stood still"] if any(each.halted for each in made) else []),
    ]
    shares = figures.lines["nodes harmed before the stop"]
    assert shares[0] == (0.0, 95.0)
    assert shares[-1] == (600.0, 5.0)
    assert re.search(r"<td>canary</td><td>10</td><td>30 min</td><td class='reverted'>\d</td>", text)


def test_many_nodes_are_no_more_points_than_can_be_seen():
    text, _, course = shown(Scenario(nodes=6_000, away=0))
    assert len(course) > 5_000
    line = Figures(text).lines["nodes with the patch"]
    assert len(line) < 4 * 601
    assert min(y for _, y in line) == 5.0
    assert len(text) < 100_000


def test_a_rollout_in_which_nothing_happens_has_no_plot():
    _, made, _ = shown(Scenario(nodes=200))
    planned = plan(rollout(BOUNDS), generated(Scenario(nodes=200), rollout(BOUNDS), 1))
    assert "Nothing has happened." in page({**summary(made), "seed": 1}, planned, made, [])
