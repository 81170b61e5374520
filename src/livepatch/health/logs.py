"""A probe of what the program logs.  It adds a handler that counts, and changes nothing else of `logging`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from livepatch.health.probes import Rate

__all__ = ["LogRate"]


class LogRate(Rate):
    """How many log records of a level or above are written in a second, by a logger of `logging` and those beneath.

    For structlog, put :attr:`processor` among the processors; it counts, and hands the event on.
    """

    def __init__(self, logger: str = "", level: int | str = logging.ERROR, *, name: str = "log/errors") -> None:
        super().__init__(name, lambda: self._total, "records/s", quick=True)
        self._total = 0
        self._logger = logging.getLogger(logger)
        self._handler = _Counting(level, self._counted)
        self._level = self._handler.level

    def _counted(self) -> None:
        self._total += 1

    def open(self) -> None:
        """Begin to count."""
        super().open()
        self._logger.addHandler(self._handler)

    def close(self) -> None:
        """Count no more."""
        self._logger.removeHandler(self._handler)

    def processor(self, _: object, method: str, event: Any) -> Any:
        """A processor for structlog."""
        level = {"exception": "error", "warn": "warning", "fatal": "critical"}.get(method, method).upper()
        if logging.getLevelNamesMapping().get(level, 0) >= self._level:
            self._counted()
        return event


class _Counting(logging.Handler):
    def __init__(self, level: int | str, counted: Callable[[], None]) -> None:
        super().__init__(level)
        self._counted = counted

    def handle(self, record: logging.LogRecord) -> bool:
        """Count it; without the handler's lock, for a thread that hangs in a log must not hold up others here."""
        if self.filter(record):
            self._counted()
        return True
