"""Events through structlog, which the application configures and we never do.

Events carry ids, counts and durations; never source, values or secrets.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace

__all__ = ["emit"]


def emit(event: str, /, *, level: str = "info", **fields: object) -> None:
    """Log one event.

    A log that fails changes nothing; the failure goes where the interpreter reports what cannot be raised.
    """
    if getattr(sys, "meta_path", None) is None:
        return  # the interpreter is going down, and nothing can be imported any more
    try:
        import structlog

        getattr(structlog.get_logger("livepatch"), level)(f"livepatch.{event}", **fields)
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
