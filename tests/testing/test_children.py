"""Something in a forked child: it has its time, and its end is told."""

from __future__ import annotations

import time

import pytest

from livepatch.testing.children import Ended, can_fork, goes_on, in_child

pytestmark = pytest.mark.skipif(not can_fork(), reason="this platform has no children that are copies")


def test_a_child_that_goes_on_has_its_time_for_each_step():
    def steps(pause: float) -> int:
        for _ in range(4):
            time.sleep(pause)
            goes_on()
        return 4

    assert in_child(lambda: steps(0.2), timeout=0.7) == Ended(value=4)
    late = in_child(lambda: (goes_on(), goes_on(), time.sleep(30)), timeout=0.3)
    assert late == Ended(died="no end within 0.3 s, after 2 steps")
