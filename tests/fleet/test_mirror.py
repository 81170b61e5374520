"""What a machine knows of a bucket: the same as by looking through all of it, whatever comes, and in whatever order."""

from __future__ import annotations

import math
import sys

from hypothesis import given
from hypothesis import strategies as st

from livepatch.fleet.mirror import Mirror
from livepatch.fleet.state import ABSENT, Entry

KEYS = ("told/r-1/terms", "told/r-1/directive", "told/r-10/terms", "heard/r-1/nodes/a", "heard/r-1/nodes/b", "flags/f",
        "heard/r-1/commands/c", "one")  # fmt: skip
PREFIXES = ("", "t", "told/", "told/r-1", "told/r-1/", "heard/r-1/nodes/", "heard/r-1/nodes/a", "flags/f", "one", "no/")
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(KEYS),
        st.sampled_from([b"x", b"y", None]),
        st.sampled_from([1.0, 5.0, math.inf, math.nan]),
        st.integers(1, 30),
    ),
    max_size=40,
)


@given(CHANGES, st.integers(0, 30), st.sampled_from([0.5, 1.0, 4.0, 9.0]))
def test_it_answers_as_if_it_looked_through_everything(changes, after, now):
    mirror, plain = Mirror(), {}
    for key, value, until, revision in changes:
        mirror.take(key, value, until, revision)
        if plain.get(key, (None, 0, ABSENT))[2] < revision:
            plain[key] = value, until, revision
    assert mirror.reached == max((revision for *_, revision in plain.values()), default=ABSENT)
    for key in (*KEYS, "told/r-2/terms"):
        value, _, revision = plain.get(key, (None, math.inf, ABSENT))
        entry = None if value is None else Entry(key=key, value=value, revision=revision)
        assert mirror.get(key) == (entry, revision)
    for prefix in PREFIXES:
        below = {key: its for key, its in sorted(plain.items()) if key.startswith(prefix)}
        there = [Entry(key=key, value=its[0], revision=its[2]) for key, its in below.items() if its[0] is not None]
        assert mirror.below(prefix) == there
        news = [Entry(key=key, value=its[0], revision=its[2]) for key, its in below.items() if its[2] > after]
        told = mirror.since(prefix, after)
        assert [entry.revision for entry in told] == sorted(entry.revision for entry in told)
        assert sorted(told, key=lambda entry: entry.key) == news
    old = sorted((key, its[2]) for key, its in plain.items() if its[0] is not None and its[1] <= now)
    for _ in range(2):  # until it is taken in that they are gone
        assert sorted(mirror.expired(now)) == old
    for key, _ in old:
        mirror.take(key, None, math.inf, 31)
    assert mirror.expired(now) == []


def test_what_is_asked_takes_no_longer_for_rollouts_that_are_over():
    def steps(rollouts):
        """How many lines it takes to follow one rollout beside so many."""
        mirror, count, revision = Mirror(), 0, 0
        for rollout in range(rollouts):
            for node in range(20):
                revision += 1
                mirror.take(f"heard/r-{rollout}/nodes/{node}", b"x", math.inf, revision)

        def count_lines(frame, event, argument):
            nonlocal count
            count += event == "line"
            return count_lines

        before = sys.gettrace()
        sys.settrace(count_lines)
        try:
            assert len(mirror.below("heard/r-0/")) == 20
            assert len(mirror.since("heard/", revision - 3)) == 3
            assert mirror.expired(0.0) == []
        finally:
            sys.settrace(before)
        return count

    assert steps(50) <= steps(2) + 5
