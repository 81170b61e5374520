"""The answer to "may this patch go into this process": findings, each with what was found, expected and to be done."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from livepatch.compat.screen import screen

__all__ = ["Caller", "Finding", "Report", "Severity"]

Severity = Literal["error", "warning", "info"]
_RANK = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One row of a report.  `code` is stable; an ``error`` refuses the patch, anything else does not."""

    code: str
    severity: Severity
    target: str
    found: str
    expected: str
    action: str

    def __str__(self) -> str:
        where = f" {self.target}:" if self.target else ""
        return f"{self.severity}: [{self.code}]{where} found {self.found}; expected {self.expected}; do: {self.action}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A live function that names a target.  `certain`: the name leads to that very function."""

    target: str
    caller: str
    file: str
    line: int
    certain: bool

    def __str__(self) -> str:
        return f"{self.caller} ({self.file}:{self.line})" + ("" if self.certain else ", perhaps")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What :func:`livepatch.check` found.  ``ok`` says whether the patch may go in; it never changes anything.

    `protected` says whether it touches code that policy protects, and `waived` which possible calls from there its
    author says are never made.
    """

    patch_id: str
    package: str
    versions: str
    targets: tuple[str, ...]
    findings: tuple[Finding, ...]
    callers: tuple[Caller, ...] = ()
    protected: bool = False
    waived: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """No finding is an error."""
        return not any(finding.severity == "error" for finding in self.findings)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that refuse the patch."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    def to_dict(self) -> dict[str, Any]:
        """The whole report as plain values, fit for JSON."""
        return {**asdict(self), "ok": self.ok}

    def __str__(self) -> str:
        """The report on one screen: 24 lines of 100 characters at most; ``findings`` and ``callers`` have all."""
        return "\n".join(line.text for line in screen(self))


def by_weight(findings: list[Finding]) -> tuple[Finding, ...]:
    """Errors first, then warnings; in each, the order in which they were found; no row twice."""
    return tuple(dict.fromkeys(sorted(findings, key=lambda finding: _RANK[finding.severity])))
