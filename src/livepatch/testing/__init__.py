"""What tests of patches use: docs/testing.md says how.  Each part is imported when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from livepatch.errors import ExpectationError as ExpectationError
    from livepatch.testing.attacking import ATTACKS as ATTACKS
    from livepatch.testing.attacking import Attacked as Attacked
    from livepatch.testing.attacking import attack as attack
    from livepatch.testing.clock import FakeClock as FakeClock
    from livepatch.testing.cycles import assert_switches as assert_switches
    from livepatch.testing.cycles import cycle as cycle
    from livepatch.testing.faults import STEPS as STEPS
    from livepatch.testing.faults import InjectedFaultError as InjectedFaultError
    from livepatch.testing.faults import fail_at as fail_at
    from livepatch.testing.fleets import SimulatedNetwork as SimulatedNetwork
    from livepatch.testing.fleets import SimulatedNode as SimulatedNode
    from livepatch.testing.guard import Guard as Guard
    from livepatch.testing.machine import machine as machine
    from livepatch.testing.memory import MemoryStore as MemoryStore
    from livepatch.testing.migrations import Rehearsed as Rehearsed
    from livepatch.testing.migrations import rehearse as rehearse
    from livepatch.testing.sabotage import Drilled as Drilled
    from livepatch.testing.sabotage import drill as drill
    from livepatch.testing.simulating import Simulated as Simulated
    from livepatch.testing.simulating import simulate as simulate

_HOMES = {
    "livepatch.errors": ("ExpectationError",),
    "livepatch.testing.attacking": ("ATTACKS", "Attacked", "attack"),
    "livepatch.testing.clock": ("FakeClock",),
    "livepatch.testing.cycles": ("assert_switches", "cycle"),
    "livepatch.testing.faults": ("STEPS", "InjectedFaultError", "fail_at"),
    "livepatch.testing.fleets": ("SimulatedNetwork", "SimulatedNode"),
    "livepatch.testing.guard": ("Guard",),
    "livepatch.testing.machine": ("machine",),
    "livepatch.testing.memory": ("MemoryStore",),
    "livepatch.testing.migrations": ("Rehearsed", "rehearse"),
    "livepatch.testing.sabotage": ("Drilled", "drill"),
    "livepatch.testing.simulating": ("Simulated", "simulate"),
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
