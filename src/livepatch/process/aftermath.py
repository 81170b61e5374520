"""What is known after a switch: which patches with probes have been in this process, and who wants to hear of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from livepatch.contents.probes import Probe
from livepatch.patch import Patch

__all__ = ["Known", "call_after_switches", "known", "switched"]

_known: dict[str, Known] = {}
_listener: list[Callable[[], object]] = []


@dataclass(frozen=True, slots=True)
class Known:
    """A patch that was applied here, with the probes that it carried then."""

    patch: Patch
    probes: tuple[Probe, ...]


def known() -> dict[str, Known]:
    """The patches with probes that were ever applied here, each as it was applied last, by id."""
    return dict(_known)


def call_after_switches(listener: Callable[[], object] | None) -> None:
    """Call that after each apply, change of mode and revert that was made; ``None``: nobody."""
    _listener[:] = [] if listener is None else [listener]


def switched(patch: Patch | None = None) -> None:
    """Something was switched; the `patch`, if one is given, went in."""
    if patch is not None:
        _known.pop(patch.id, None)
        if patch.probes:
            _known[patch.id] = Known(patch, patch.probes)
    for listener in tuple(_listener):
        listener()
