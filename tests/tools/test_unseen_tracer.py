"""A run that is measured takes the paths of one that is not: coverage's tracer is hidden, and comes back."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from livepatch.engine.endless import is_readable
from livepatch.engine.environment import observe
from tools import unseen_tracer

Tracer = type("Tracer", (), {"__module__": "coverage.tracer", "__call__": lambda self, *_: None})


@pytest.fixture
def hidden() -> Iterator[Any]:
    """A tracer of coverage's, attached and hidden in the way that the plugin does it."""
    tracer, before = Tracer(), sys.gettrace()
    cleanups: list[Any] = []
    sys.settrace(tracer)
    unseen_tracer.pytest_configure(SimpleNamespace(add_cleanup=cleanups.append))  # type: ignore[arg-type]  # enough
    try:
        yield tracer
    finally:
        for cleanup in cleanups:
            cleanup()
        shown = sys.gettrace()
        sys.settrace(before)
    assert shown is tracer


def test_livepatch_sees_no_tool(hidden):
    assert observe().tracing is None
    assert is_readable()


def test_a_tracer_of_a_test_is_seen_and_then_the_hidden_one_is_back(hidden):
    def trace(frame, event, argument):
        return None

    sys.settrace(trace)
    try:
        assert sys.gettrace() is trace
        assert not is_readable()
    finally:
        sys.settrace(None)
    assert sys.gettrace() is None


def test_threads_that_a_test_traces_are_seen(hidden):
    def trace(frame, event, argument):
        return None

    threading.settrace(trace)
    try:
        assert threading.gettrace() is trace
    finally:
        threading.settrace(None)  # type: ignore[arg-type]  # this takes it away
    assert threading.gettrace() is None


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with 3.12")
def test_a_monitoring_tool_is_hidden_by_its_name(hidden):
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined]
    free = [tool for tool in range(6) if monitoring.get_tool(tool) is None]
    monitoring.use_tool_id(free[-1], "coverage.py")
    try:
        assert monitoring.get_tool(free[-1]) is None
        assert observe().monitoring_tools == ()
    finally:
        monitoring.free_tool_id(free[-1])
