"""Rules in code and in files: what cannot be meant is refused, with the place and what may stand there."""

from __future__ import annotations

import pytest

from livepatch.errors import PatchError, PolicyError
from livepatch.health.rules import Rule, load_rules, rules_in, written_rules


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, PatchError),
        ({"above": 1, "below": 2}, PatchError),
        ({"above": True}, TypeError),
        ({"above": "1"}, TypeError),
        ({"above": float("nan")}, PatchError),
        ({"above": float("inf")}, PatchError),
        ({"times": 0}, PatchError),
        ({"times": -1}, PatchError),
        ({"shifts": "sideways"}, PatchError),
        ({"above": 1, "least": 1}, PatchError),
        ({"above": 1, "in_a_row": 0}, PatchError),
        ({"above": 1, "in_a_row": 1.5}, TypeError),
        ({"above": 1, "within": -1}, PatchError),
    ],
)
def test_a_wrong_rule_is_refused(arguments, error):
    with pytest.raises(error) as caught:
        Rule("x", **arguments)
    assert error is TypeError or (caught.value.found and caught.value.expected and caught.value.action)


@pytest.mark.parametrize("probe", ["", "a\nb", "x" * 301])
def test_a_name_that_no_probe_has_is_refused(probe):
    with pytest.raises(PatchError):
        Rule(probe, above=1)


def test_a_file_gives_the_rules_that_it_says(tmp_path):
    path = tmp_path / "health.toml"
    path.write_text(
        '[[rule]]\nprobe = "*/latency"\ntimes = 1.5\nleast = 0.002\n'
        '[[rule]]\nprobe = "head_lag"\nabove = 3\nin_a_row = 1\nwithin = 30\n'
        '[[rule]]\nprobe = "process/rss"\nshifts = "up"\n'
    )
    assert load_rules(path) == (
        Rule("*/latency", times=1.5, least=0.002),
        Rule("head_lag", above=3, in_a_row=1, within=30),
        Rule("process/rss", shifts="up"),
    )


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "rule"),
        ("rule = 1", "rule"),
        ("[[rule]]\nabove = 1", "rule[0]"),
        ("[[rule]]\nprobe = 1\nabove = 1", "rule[0].probe"),
        ("[[rule]]\nprobe = 'x'", "rule[0]"),
        ("[[rule]]\nprobe = 'x'\nabove = 1\nbelow = 2", "rule[0]"),
        ("[[rule]]\nprobe = 'x'\nabove = '1'", "rule[0].above"),
        ("[[rule]]\nprobe = 'x'\nabove = nan", "rule[0].above"),
        ("[[rule]]\nprobe = 'x'\nabove = inf", "rule[0].above"),
        ("[[rule]]\nprobe = 'x'\nabove = true", "rule[0].above"),
        ("[[rule]]\nprobe = 'x'\nabove = 1\nin_a_row = 1.5", "rule[0]"),
        ("[[rule]]\nprobe = 'x'\nabove = 1\nover = 2", "rule[0].over"),
        ("[[rule]]\nprobe = 'x'\nshifts = 'left'", "rule[0]"),
        ("[[rule]]\nprobe = 'x'\nabove = 1\n[more]\n", "more"),
        ("[[rule", "TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path, text, place):
    path = tmp_path / "health.toml"
    path.write_text(text)
    with pytest.raises(PolicyError) as caught:
        load_rules(path)
    assert place in str(caught.value)
    assert caught.value.found
    assert caught.value.expected
    assert caught.value.action


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(PolicyError):
        load_rules(tmp_path / "none.toml")
    with pytest.raises(TypeError):
        load_rules(5)


def test_rules_are_written_as_they_are_read():
    rules = (
        Rule("head_lag", above=3),
        Rule("*/latency", times=1.5, least=2e-05, within=60, in_a_row=1),
        Rule('a "b" \\ é 😀', shifts="up"),
    )
    text = written_rules(rules)
    assert text.isascii()
    assert rules_in(text.encode(), "a request") == rules
