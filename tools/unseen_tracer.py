"""A pytest plugin that hides coverage's tracer, in the process that it measures, from who asks what watches the code.

livepatch reports tools that are attached, and reads no bytecode beside them, so without this a run that is measured
would take other paths than one that is not. A test that attaches a tracer of its own gets it, and coverage's is back
when that one is taken away. Children that a test starts are not measured.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest


def _is_coverage(hook: object) -> bool:
    """Whether a trace function is one of coverage.py's, in whatever core."""
    owner = getattr(hook, "__self__", hook)
    return type(owner).__module__.partition(".")[0] == "coverage"


def _hide(module: Any) -> Callable[[], None]:
    """Let `gettrace` of ``sys`` or ``threading`` say nothing of coverage, and `settrace(None)` bring it back."""
    get, put = module.gettrace, module.settrace
    # The trace function of ``sys`` is each thread's own.
    measuring: Any = threading.local() if module is sys else SimpleNamespace()

    def gettrace() -> Any:
        hook = get()
        return None if _is_coverage(hook) else hook

    def settrace(hook: Callable[..., Any] | None) -> None:
        now = get()
        if _is_coverage(now):
            measuring.hook = now
        put(getattr(measuring, "hook", None) if hook is None else hook)

    def show() -> None:
        module.gettrace, module.settrace = get, put

    module.gettrace, module.settrace = gettrace, settrace
    return show


def _hide_monitoring() -> Callable[[], None]:
    monitoring: Any = getattr(sys, "monitoring", None)  # CPython 3.12 and later
    if monitoring is None:
        return lambda: None
    get = monitoring.get_tool

    def get_tool(tool: int) -> str | None:
        name: str | None = get(tool)
        return None if name == "coverage.py" else name

    def show() -> None:
        monitoring.get_tool = get

    monitoring.get_tool = get_tool
    return show


def pytest_configure(config: pytest.Config) -> None:
    """Hide it before anything of livepatch is asked."""
    if hasattr(config, "workerinput"):
        os.environ.pop("COVERAGE_PROCESS_CONFIG", None)  # by which coverage.py finds its way into children
    for show in (_hide(sys), _hide(threading), _hide_monitoring()):
        config.add_cleanup(show)
