"""A client whose process has an agent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from tests.node.clients import Client


@pytest.fixture
def client(tmp_path) -> Iterator[Client]:
    made = Client(tmp_path)
    yield made
    made.module.gate.set()
    made.forget()


@pytest.fixture
def events() -> Iterator[list]:
    with structlog.testing.capture_logs() as captured:
        yield captured
