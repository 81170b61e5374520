"""Arguments of public calls, checked before anything is done: each error names the argument."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from livepatch.engine import modes
from livepatch.errors import PatchError, spelled
from livepatch.patch import Patch

__all__ = ["check_consistency", "check_hook", "check_mode", "check_patch", "check_seconds", "check_text", "names_of"]


def check_patch(patch: object) -> None:
    """Raise :class:`TypeError` unless it is a patch."""
    if not isinstance(patch, Patch):
        raise TypeError(f"patch must be a livepatch.Patch, not {spelled(patch)}")


def check_text(argument: str, value: object) -> None:
    """Raise :class:`TypeError` unless it is a string."""
    if not isinstance(value, str):
        raise TypeError(f"{argument} must be a str, not {spelled(value)}")


def check_mode(mode: object) -> modes.Mode:
    """The mode itself.  Raises :class:`TypeError` or :class:`PatchError` unless it is one."""
    return modes.check_mode(mode)


CONSISTENCIES = ("immediate", "chain", "quiescent")


def check_consistency(consistency: object) -> None:
    """Raise :class:`TypeError` or :class:`PatchError` unless it is a way to switch."""
    if consistency is None:
        return
    check_text("consistency", consistency)
    if consistency not in CONSISTENCIES:
        raise PatchError(
            "consistency is unknown",
            found=spelled(consistency),
            expected="None, " + " or ".join(map(repr, CONSISTENCIES)),
            action="give one of these, or leave it out",
        )


def check_hook(argument: str, value: object) -> None:
    """Raise :class:`TypeError` unless it is something that can be called, or ``None``."""
    if value is not None and not callable(value):
        raise TypeError(f"{argument} must be callable or None, not {spelled(value)}")


def check_seconds(argument: str, value: object) -> None:
    """Raise :class:`TypeError` or :class:`PatchError` unless it is a time that can be waited."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{argument} must be a number of seconds, not {spelled(value)}")
    if not 0 <= value <= threading.TIMEOUT_MAX:
        raise PatchError(
            f"{argument} is no number of seconds to wait",
            found=spelled(value),
            expected="0 or more, and finite",
            action="give another number of seconds",
        )


def check_bounds(max_pause: object, max_rest: object) -> None:
    """As :func:`check_seconds`, of how long a call may hold others up, and may rest for them; each may be ``None``."""
    for name, value in (("max_pause", max_pause), ("max_rest", max_rest)):
        if value is not None:
            check_seconds(name, value)


def names_of(argument: str, values: object) -> tuple[str, ...]:
    """The strings in `values`, each once.  Raises :class:`TypeError` if it holds anything else."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{argument} must be ids of patches, such as ['CVE-2026-1'], not {spelled(values)}")
    names = tuple(values)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{argument} must hold ids of patches, not {spelled(name)}")
    return tuple(dict.fromkeys(names))
