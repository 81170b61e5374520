"""Events through structlog, which the application configures and we never do.

Events carry ids, counts and durations; never source, values or secrets.
"""

from __future__ import annotations

import os
import sys
import threading
from types import SimpleNamespace

__all__ = ["emit", "keep_apart"]

# A log's own lock that another thread holds at a fork stays taken in the child for ever, so forks wait for our events;
# only so long, for an event may itself wait for what the forking thread holds.
_LONGEST = 1.0  # seconds
_logging = threading.RLock()
_held: list[bool] = []
_apart: list[bool] = []


def _before_fork() -> None:
    _held.append(_logging.acquire(timeout=_LONGEST))


def _after_fork_in_parent() -> None:
    if _held.pop():
        _logging.release()


def _after_fork_in_child() -> None:
    global _logging  # noqa: PLW0603  # whoever holds the old one did not come along
    _held.clear()
    _logging = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def keep_apart() -> None:
    """From here on events go to standard error unless the program says where: it may know nothing of livepatch."""
    _apart.append(True)


def emit(event: str, /, *, level: str = "info", **fields: object) -> None:
    """Log one event.

    A log that fails changes nothing; the failure goes where the interpreter reports what cannot be raised.
    """
    if getattr(sys, "meta_path", None) is None:
        return  # the interpreter is going down, and nothing can be imported any more
    try:
        import structlog

        if _apart and not structlog.is_configured():
            logger = structlog.wrap_logger(structlog.PrintLogger(sys.stderr))
        else:
            logger = structlog.get_logger("livepatch")
        with _logging:
            getattr(logger, level)(f"livepatch.{event}", **fields)
    except Exception as error:  # noqa: BLE001  # an application's log may fail in any way
        sys.unraisablehook(
            SimpleNamespace(
                exc_type=type(error),
                exc_value=error,
                exc_traceback=error.__traceback__,
                err_msg=f"livepatch could not log {event}",
                object=None,
            )
        )
