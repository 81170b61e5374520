"""What the stress tests share: threads that take turns often, and a log that keeps nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog


@pytest.fixture(autouse=True)
def threads_take_turns_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(autouse=True)
def silent_log() -> Iterator[None]:
    """Thousands of lines would be kept for a failing test's report, and that is memory too."""
    structlog.configure(processors=[_drop])
    yield
    structlog.reset_defaults()


def _drop(logger: object, method: str, event: dict[str, Any]) -> dict[str, Any]:
    raise structlog.DropEvent


@pytest.fixture(autouse=True)
def a_busy_machine_changes_no_outcome() -> None:
    """Here it may, as in a process in use: its threads work all the time, and no walk is to hold them up."""
