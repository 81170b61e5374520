"""Modes that decide call by call, where calls never cease and closures outlive their makers."""

from __future__ import annotations

import threading

import pytest
from tests.held import fixing, new_side

import livepatch


@pytest.fixture
def both(write_module, new_patch):
    def write(source, *names, new=""):
        m = write_module(source)
        return m, fixing(new_patch(), m, write_module(new or new_side(source)), *names)

    return write


SLOW = "import time\ndef leaf():\n time.sleep(0.005)\n return 'old'\ndef a():\n return leaf(), leaf()\n"


@pytest.mark.parametrize("mode", [livepatch.split(5), livepatch.split(50), livepatch.at(1, lambda: 0)], ids=str)
def test_a_mode_settles_under_load(both, mode):
    """Calls that the mode itself sends to the old side (copies of the old code) hold the drain open for ever."""
    m, fix = both(SLOW, "leaf", "a")
    stop = threading.Event()

    def work():
        while not stop.is_set():
            m.a()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    try:
        applied = livepatch.apply(fix, mode=mode)
        assert applied.wait(3), applied.status()
    finally:
        stop.set()
        for t in threads:
            t.join()


CLOSURE = """
def make():
    def inner(): return 'old', helper()
    return inner
def helper(): return 'old'
early = make()
"""


def test_a_live_closure_keeps_to_one_side_under_a_mode(both):
    m, fix = both(CLOSURE, "make", "helper")
    livepatch.apply(fix, mode=livepatch.at(1, lambda: 1))
    assert m.early() in (("new", "new"), ("old", "old"))  # ('old', 'new'); status().left is ()


def test_a_closure_made_on_the_new_side_stays_on_it_after_a_reorganisation(both):
    m, fix = both(CLOSURE, "make", "helper")
    height = [1]
    livepatch.apply(fix, mode=livepatch.at(1, lambda: height[0]))
    late = m.make()
    assert late() == ("new", "new")
    height[0] = 0
    assert late() in (("new", "new"), ("old", "old"))


def test_a_live_closure_follows_a_patch_that_is_on(both):
    m, fix = both(CLOSURE, "make", "helper")
    livepatch.apply(fix)
    assert m.early() == ("new", "new")
