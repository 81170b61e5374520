"""The frames of all threads are visited, and on CPython 3.11 nothing is collected meanwhile."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType

import pytest
from tests.test_fork import in_child

import livepatch
from livepatch.engine import stacks
from livepatch.engine.stacks import visit_frames

COLLECTS_INSIDE = sys.version_info < (3, 12)


@pytest.fixture(autouse=True)
def collecting():
    gc.enable()
    yield
    gc.enable()


def test_every_frame_of_every_thread_is_visited_innermost_first():
    begun, end = threading.Event(), threading.Event()

    def inner():
        begun.set()
        end.wait(20)

    def outer():
        inner()

    thread = threading.Thread(target=outer)
    thread.start()
    begun.wait(20)
    found: dict[int, list[str]] = {}

    def visit(frame: FrameType, ident: int) -> None:
        found.setdefault(ident, []).append(frame.f_code.co_name)

    try:
        visit_frames(visit)
    finally:
        end.set()
        thread.join()
    assert thread.ident is not None
    names = found[thread.ident]
    assert names.index("inner") < names.index("outer") < names.index("run")
    assert "test_every_frame_of_every_thread_is_visited_innermost_first" in found[threading.get_ident()]


def test_nothing_is_collected_while_frames_of_others_are_made():
    seen = []
    visit_frames(lambda *_: seen.append(gc.isenabled()))
    assert set(seen) == {not COLLECTS_INSIDE}
    assert gc.isenabled()


def test_the_collector_is_on_again_after_walks_within_walks_and_failures():
    def again(*_):
        visit_frames(lambda *_: None)
        assert gc.isenabled() is not COLLECTS_INSIDE

    visit_frames(again)
    assert gc.isenabled()

    def fail(*_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        visit_frames(fail)
    assert gc.isenabled()
    assert stacks._walks == {}


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_child_collects_though_it_was_forked_in_the_middle_of_a_walk(monkeypatch):
    monkeypatch.setitem(stacks._walks, object(), None)
    gc.disable()

    def collects():
        assert gc.isenabled()
        assert stacks._walks == {}

    in_child(collects)


def test_a_collector_that_the_program_has_switched_off_stays_off():
    gc.disable()
    visit_frames(lambda *_: None)
    assert not gc.isenabled()


CRASHING = """
import gc, sys, threading, time
from livepatch.engine.stacks import visit_frames
sys.setswitchinterval(1e-6)
gc.set_threshold(1)
class Cycle:
    def __init__(self): self.me = self
    def __del__(self):
        for _ in range(50): pass
def down(n):
    return down(n - 1) if n else None
def work():
    while True:
        for n in (1, 400, 3, 250, 900, 2): down(n)
for _ in range(4): threading.Thread(target=work, daemon=True).start()
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    visit_frames(lambda *_: Cycle())
print("done", flush=True)
import os
os._exit(0)
"""


@pytest.mark.parametrize("seconds", [2, pytest.param(120, marks=pytest.mark.slow)])
def test_threads_that_come_and_go_beneath_a_walk_do_not_crash_the_process(seconds):
    source = Path(livepatch.__file__).resolve().parents[1]
    told = subprocess.run(
        [sys.executable, "-c", CRASHING, str(seconds)],
        env={"PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
    )
    assert (told.returncode, told.stdout) == (0, "done\n"), told.stderr[-2000:]
