"""What tests of patches use: docs/testing.md says how.  Each part is imported when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from livepatch.errors import ExpectationError as ExpectationError
    from livepatch.testing.clock import FakeClock as FakeClock
    from livepatch.testing.cycles import assert_switches as assert_switches
    from livepatch.testing.cycles import cycle as cycle
    from livepatch.testing.guard import Guard as Guard
    from livepatch.testing.migrations import Rehearsed as Rehearsed
    from livepatch.testing.migrations import rehearse as rehearse

_HOMES = {
    "livepatch.errors": ("ExpectationError",),
    "livepatch.testing.clock": ("FakeClock",),
    "livepatch.testing.cycles": ("assert_switches", "cycle"),
    "livepatch.testing.guard": ("Guard",),
    "livepatch.testing.migrations": ("Rehearsed", "rehearse"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605  # names that are imported on first use


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'livepatch.testing' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])
