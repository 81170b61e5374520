"""The regression probes that a patch carries, as functions to attack it with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from livepatch.contents import probes
from livepatch.errors import ExpectationError, PatchError
from livepatch.patch import Patch
from livepatch.probing.calling import ask, asked
from livepatch.testing.cycles import assert_switches
from livepatch.testing.probing import Probe

__all__ = ["asking", "carried_probes", "closes", "raising"]


def carried_probes(patch: Patch) -> Mapping[str, probes.Probe]:
    """Those of a patch, by name.  Raises :class:`PatchError` if it carries none."""
    if not patch.probes:
        raise PatchError(
            f"there is nothing to try the flaw of {patch.id} with",
            found="no probe=, and a patch that carries none",
            expected="a function without parameters that tries the flaw, or a regression probe in the patch",
            action="pass probe= (--probe), or add one to the patch: Patch.probe(), or build --probe",
        )
    return {each.name: each for each in patch.probes}


def asking(probe: probes.Probe) -> Probe:
    """A function that gives what the probe says, and tells no word of its own."""

    def say() -> str:
        verdict, why = asked(probe.name, probe.source)
        return f"{verdict}: {why}" if why else verdict

    return say


def raising(probe: probes.Probe) -> Probe:
    """A function that gives, or raises, just what the probe does."""
    return lambda: ask(probe.name, probe.source)


def closes(patch: Patch, probe: probes.Probe, options: Mapping[str, Any]) -> str:
    """The probe finds the hole open without the patch, and closed with it.

    Raises :class:`ExpectationError` if that does not hold, or anything is not as it was; the patch is out afterwards.
    """
    switched = assert_switches(patch, asking(probe), **options)
    found = f"{switched.off} before, {switched.on} after"
    if found != "'vulnerable' before, 'fixed' after":
        raise ExpectationError(
            f"probe {probe.name} does not find the hole open, and then closed",
            found=found,
            expected="'vulnerable' without the patch, and 'fixed' with it",
            action="see whether the package has the flaw here, and whether the probe tries just that",
        )
    return found
