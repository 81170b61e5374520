"""Tests of which a run under several interpreters does each under one: what they try hardly depends on which it is.

``tools/test_everywhere.py`` says in ``LIVEPATCH_TESTS_SHARE`` how many interpreters there are and which this is, as in
``1/3``.  The short form leaves the other shares out; the long form, and pytest by itself, has them all.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

_TESTS = Path(__file__).parent
_FILES = (
    "attacks/test_bundle_files.py",
    "benchmarks/",
    "examples/",
    "fleet/test_canary.py",
    "fleet/test_simulate.py",
    "test_errors.py",
    "test_floors.py",
)

_MINE, _, _OF = os.environ.get("LIVEPATCH_TESTS_SHARE", "0/1").partition("/")


def _marks(turn: int) -> list[pytest.MarkDecorator]:
    return [] if turn % int(_OF) == int(_MINE) else [pytest.mark.slow]


def in_turn(values: Iterable[Any]) -> list[Any]:
    """Parameters of a test, each for another interpreter than the one before it."""
    return [pytest.param(value, marks=_marks(turn)) for turn, value in enumerate(values)]


def share_out(items: Iterable[pytest.Item]) -> None:
    """Mark the tests of whole files that are for other interpreters as slow ones."""
    for item in items:
        path = item.path.relative_to(_TESTS).as_posix()
        if path.startswith(_FILES):
            for mark in _marks(zlib.crc32(path.encode())):
                item.add_marker(mark)
