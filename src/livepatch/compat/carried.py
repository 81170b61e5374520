"""What rules ask that a patch carries: who looks after it, and what shows that its hole is closed."""

from __future__ import annotations

from collections.abc import Iterable

from livepatch.compat.report import Finding
from livepatch.contents.ownership import Owners, unnamed

__all__ = ["not_carried"]

_ROLES = {"watches": "who watches it", "stops": "who may stop it", "call": "whom to call"}


def not_carried(rule: str, asked: Iterable[str], owners: Owners, *, probe: bool) -> list[Finding]:
    """What a patch lacks by a rule: the `asked` roles that its `owners` leave out, and a `probe`, if one is missing."""
    roles = tuple(asked)
    missing = unnamed(owners, roles)
    findings = []
    if missing:
        findings.append(
            Finding(
                code="owners-missing",
                severity="error",
                target="",
                found=f"{rule}: the patch does not say {', '.join(_ROLES[role] for role in missing)}",
                expected=f"that it names {', '.join(roles)}",
                action="have whoever makes it name them (livepatch build --owner ROLE TEXT, or owners=) and sign it",
            )
        )
    if probe:
        findings.append(
            Finding(
                code="probes-missing",
                severity="error",
                target="",
                found=f"{rule}: the patch carries no probe",
                expected="one that shows that its hole is closed",
                action="have whoever makes it add one (livepatch build --probe) and sign it",
            )
        )
    return findings
