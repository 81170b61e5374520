"""livepatch: fix a vulnerability in a running Python process without a restart, and take the fix back in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from livepatch.bundle.approval import approve as approve
    from livepatch.bundle.build import build as build
    from livepatch.bundle.evidence import attest as attest
    from livepatch.bundle.load import load as load
    from livepatch.bundle.signed import sign as sign
    from livepatch.bundle.trust import UNSIGNED as UNSIGNED
    from livepatch.bundle.trustroot import TrustRoot as TrustRoot
    from livepatch.compat.report import Finding as Finding
    from livepatch.compat.report import Report as Report
    from livepatch.contents.embargo import Embargo as Embargo
    from livepatch.contents.ownership import Owners as Owners
    from livepatch.contents.probes import Probe as Probe
    from livepatch.contents.release import Release as Release
    from livepatch.engine.frames import InFlight as InFlight
    from livepatch.engine.frames import Stuck as Stuck
    from livepatch.engine.measuring import Measured as Measured
    from livepatch.engine.measuring import MeasuredCalls as MeasuredCalls
    from livepatch.engine.modes import At as At
    from livepatch.engine.modes import Shadow as Shadow
    from livepatch.engine.modes import Split as Split
    from livepatch.engine.modes import at as at
    from livepatch.engine.modes import split as split
    from livepatch.engine.shadow_variables import shadow as shadow
    from livepatch.engine.units import unit_of_work as unit_of_work
    from livepatch.errors import AuditError as AuditError
    from livepatch.errors import BundleError as BundleError
    from livepatch.errors import IncompatibleError as IncompatibleError
    from livepatch.errors import LivepatchError as LivepatchError
    from livepatch.errors import NodeError as NodeError
    from livepatch.errors import PatchError as PatchError
    from livepatch.errors import PeerError as PeerError
    from livepatch.errors import PolicyError as PolicyError
    from livepatch.errors import ProtectedError as ProtectedError
    from livepatch.errors import RolloutError as RolloutError
    from livepatch.errors import StateError as StateError
    from livepatch.errors import TransitionError as TransitionError
    from livepatch.errors import TrustError as TrustError
    from livepatch.errors import UnknownPatchError as UnknownPatchError
    from livepatch.errors import UntrustedFileError as UntrustedFileError
    from livepatch.govern.classification import Classification as Classification
    from livepatch.govern.policies import Protection as Protection
    from livepatch.govern.policies import protect as protect
    from livepatch.govern.recording import Recording as Recording
    from livepatch.govern.recording import record_to as record_to
    from livepatch.govern.tripwires import tripwire as tripwire
    from livepatch.health.judge import Verdict as Verdict
    from livepatch.health.probes import HealthProbe as HealthProbe
    from livepatch.health.rules import Rule as Rule
    from livepatch.health.rules import load_rules as load_rules
    from livepatch.health.soak import soak as soak
    from livepatch.health.soaking import Soak as Soak
    from livepatch.health.soaking import Soaked as Soaked
    from livepatch.health.watchdog import Watchdog as Watchdog
    from livepatch.node import peers as peers
    from livepatch.node.agent import Agent as Agent
    from livepatch.node.fleet import Fleet as Fleet
    from livepatch.patch import Patch as Patch
    from livepatch.probing.probe import probe as probe
    from livepatch.probing.probed import Probed as Probed
    from livepatch.probing.switches import probe_after_switches as probe_after_switches
    from livepatch.process.applied import Applied as Applied
    from livepatch.process.applied import cancel as cancel
    from livepatch.process.applied import flags as flags
    from livepatch.process.applied import revert as revert
    from livepatch.process.applied import status as status
    from livepatch.process.applied import verify as verify
    from livepatch.process.classifying import classify as classify
    from livepatch.process.public import apply as apply
    from livepatch.process.public import check as check
    from livepatch.process.public import fingerprint as fingerprint
    from livepatch.process.recovery import Recovered as Recovered
    from livepatch.process.recovery import Recovery as Recovery
    from livepatch.process.recovery import recover as recover
    from livepatch.process.standing import Migrated as Migrated
    from livepatch.process.standing import Status as Status
    from livepatch.process.standing import Verification as Verification
    from livepatch.replaying.replay import replay as replay
    from livepatch.replaying.replayed import Difference as Difference
    from livepatch.replaying.replayed import Replayed as Replayed
    from livepatch.state.checkpoint import Checkpoint as Checkpoint
    from livepatch.state.lazies import up_to_date as up_to_date
    from livepatch.state.touches import Touches as Touches

# Where each public name lives; its module is imported when the name is first used.
_HOMES = {
    "livepatch.bundle.approval": ("approve",),
    "livepatch.bundle.build": ("build",),
    "livepatch.bundle.evidence": ("attest",),
    "livepatch.bundle.load": ("load",),
    "livepatch.contents.embargo": ("Embargo",),
    "livepatch.contents.ownership": ("Owners",),
    "livepatch.contents.probes": ("Probe",),
    "livepatch.contents.release": ("Release",),
    "livepatch.bundle.signed": ("sign",),
    "livepatch.bundle.trust": ("UNSIGNED",),
    "livepatch.bundle.trustroot": ("TrustRoot",),
    "livepatch.compat.report": ("Finding", "Report"),
    "livepatch.errors": (
        "AuditError",
        "BundleError",
        "IncompatibleError",
        "LivepatchError",
        "NodeError",
        "PatchError",
        "PeerError",
        "PolicyError",
        "ProtectedError",
        "RolloutError",
        "StateError",
        "TransitionError",
        "TrustError",
        "UnknownPatchError",
        "UntrustedFileError",
    ),
    "livepatch.engine.frames": ("InFlight", "Stuck"),
    "livepatch.engine.measuring": ("Measured", "MeasuredCalls"),
    "livepatch.engine.modes": ("At", "Shadow", "Split", "at", "split"),
    "livepatch.engine.shadow_variables": ("shadow",),
    "livepatch.engine.units": ("unit_of_work",),
    "livepatch.govern.classification": ("Classification",),
    "livepatch.govern.recording": ("Recording", "record_to"),
    "livepatch.govern.tripwires": ("tripwire",),
    "livepatch.node": ("peers",),
    "livepatch.node.agent": ("Agent",),
    "livepatch.node.fleet": ("Fleet",),
    "livepatch.health.judge": ("Verdict",),
    "livepatch.health.probes": ("HealthProbe",),
    "livepatch.health.rules": ("Rule", "load_rules"),
    "livepatch.health.soak": ("soak",),
    "livepatch.health.soaking": ("Soak", "Soaked"),
    "livepatch.health.watchdog": ("Watchdog",),
    "livepatch.patch": ("Patch",),
    "livepatch.govern.policies": ("Protection", "protect"),
    "livepatch.probing.probe": ("probe",),
    "livepatch.probing.probed": ("Probed",),
    "livepatch.probing.switches": ("probe_after_switches",),
    "livepatch.process.applied": ("Applied", "cancel", "flags", "revert", "status", "verify"),
    "livepatch.process.classifying": ("classify",),
    "livepatch.process.public": ("apply", "check", "fingerprint"),
    "livepatch.process.recovery": ("Recovered", "Recovery", "recover"),
    "livepatch.process.standing": ("Migrated", "Status", "Verification"),
    "livepatch.replaying.replay": ("replay",),
    "livepatch.replaying.replayed": ("Difference", "Replayed"),
    "livepatch.state.checkpoint": ("Checkpoint",),
    "livepatch.state.lazies": ("up_to_date",),
    "livepatch.state.touches": ("Touches",),
}
_MACHINERY = {
    *("livepatch.process.applied", "livepatch.process.classifying", "livepatch.process.public"),
    *("livepatch.probing.probe", "livepatch.probing.switches"),
    "livepatch.node",
    *("livepatch.health.soak", "livepatch.health.soaking"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605  # names that are imported on first use


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        if name == "__version__":
            from importlib.metadata import version

            return version("livepatch")
        raise AttributeError(f"module 'livepatch' has no attribute {name!r}")
    from importlib import import_module

    if home in _MACHINERY:
        from livepatch.loading import load_in_steps

        load_in_steps()
    module = import_module(home)
    # A public name may be a module itself.
    value = getattr(module, name) if hasattr(module, name) else import_module(f"{home}.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])
