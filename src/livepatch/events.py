"""Events through structlog, which the application configures and we never do.

Events carry ids, counts and durations; never source, values or secrets.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from types import SimpleNamespace

__all__ = ["emit", "keep_apart", "listen"]

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
        _report(error, f"livepatch could not log {event}")
    for listener in _listeners:
        try:
            listener(event, fields)
        except Exception as error:  # noqa: BLE001  # so may what others make of it
            _report(error, f"livepatch could not tell {event}")


Listener = Callable[[str, Mapping[str, object]], object]
_listeners: tuple[Listener, ...] = ()


def listen(listener: Listener) -> Callable[[], None]:
    """Have `listener` called with the name and the fields of each event, in the thread that emits it; gives the end.

    It must return soon, and cannot switch patches: it may be called in the middle of a switch.
    """
    global _listeners  # noqa: PLW0603  # a tuple that is exchanged: an event sees all or none of a change
    _listeners = (*_listeners, listener)

    def end() -> None:
        global _listeners  # noqa: PLW0603  # see above
        _listeners = tuple(each for each in _listeners if each is not listener)

    return end


def _report(error: Exception, what: str) -> None:
    sys.unraisablehook(
        SimpleNamespace(
            exc_type=type(error),
            exc_value=error,
            exc_traceback=error.__traceback__,
            err_msg=what,
            object=None,
        )
    )
