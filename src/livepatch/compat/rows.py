"""A row of a report, written in the order in which it is read."""

from __future__ import annotations

from livepatch.compat.report import Finding, Severity

__all__ = ["row"]


def row(severity: Severity, code: str, target: object, found: str, expected: str, action: str) -> Finding:
    """The finding with these parts."""
    return Finding(code=code, severity=severity, target=str(target), found=found, expected=expected, action=action)
