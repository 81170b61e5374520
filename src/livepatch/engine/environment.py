"""What this interpreter does to code and stores: tools that are attached, hooks, optimisation, the lock."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from typing import Any

__all__ = ["Environment", "observe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Facts about the running interpreter that decide how, and whether, code may be switched."""

    python: tuple[int, int, int]
    has_gil: bool
    optimize: int
    monitoring_tools: tuple[str, ...]
    tracing: str | None
    profiling: str | None
    audit_hooked: bool

    @property
    def stores_are_atomic(self) -> bool:
        """Whether a C-level pass of several function stores cannot be interleaved by another thread."""
        return self.has_gil and not self.audit_hooked


def observe() -> Environment:
    """Read the facts.  Changes nothing."""
    return Environment(
        python=sys.version_info[:3],
        has_gil=getattr(sys, "_is_gil_enabled", lambda: True)(),
        optimize=sys.flags.optimize,
        monitoring_tools=_monitoring_tools(),
        tracing=_name_of(sys.gettrace() or threading.gettrace()),
        profiling=_name_of(sys.getprofile() or threading.getprofile()),
        audit_hooked=_audit_hooked(),
    )


def _monitoring_tools() -> tuple[str, ...]:
    monitoring: Any = getattr(sys, "monitoring", None)  # CPython 3.12 and later
    if monitoring is None:
        return ()
    return tuple(str(tool) for tool in map(monitoring.get_tool, range(6)) if tool is not None)


def _name_of(hook: object) -> str | None:
    if hook is None:
        return None
    kind = hook if hasattr(hook, "__qualname__") else type(hook)
    return f"{getattr(kind, '__module__', None)}.{getattr(kind, '__qualname__', kind)}"


def _audit_hooked() -> bool:
    """Whether any audit hook is installed.  Nothing lists them, but only with a hook are the arguments looked at."""
    return _refused_by_audit() if sys.version_info < (3, 14) else _refused_by_audit_in_c()


def _refused_by_audit() -> bool:
    no_name: Any = 0
    try:
        sys.audit(no_name)
    except TypeError:
        return True
    return False


def _refused_by_audit_in_c() -> bool:
    try:
        import ctypes
    except ImportError:
        return True  # unknown is no
    try:
        ctypes.pythonapi.PySys_Audit(b"livepatch.probe", b"?", None)  # no such format
    except SystemError:
        return True
    return False
