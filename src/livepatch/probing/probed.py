"""What came of probes: what each said, and what is wrong about it.  Nothing in it quotes a probe."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from livepatch.compat.report import Finding, by_weight
from livepatch.errors import counted

__all__ = ["Expectation", "Outcome", "Probed", "Verdict", "judge", "without_probes"]

Verdict = Literal["vulnerable", "fixed", "unknown"]
Where = Literal["scratch", "live"]
Expectation = Literal["open", "closed", "not-yet", "partly", "switched-off", "taken-out", "other-release", "not-in"]
"""``open``: the patch is not there.  ``closed``: it is, and for all calls.  ``not-yet``: its height is not reached, or
it runs in shadow.  ``partly``: for some calls.  ``switched-off``: by its flag.  ``taken-out``: reverted or replaced.
``other-release``: what is installed is none of the releases that it is for.  ``not-in``: only its probes were handed
in, since another patch or release has the fix.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one probe said: ``vulnerable``, ``fixed``, or ``unknown``, and then `why`.

    `where` it ran: in a ``scratch`` process, or in this one (``live``).  `expected` is what was to be found, and why.
    """

    patch_id: str
    probe: str
    where: Where
    expected: Expectation
    verdict: Verdict
    why: str = ""

    @property
    def target(self) -> str:
        """The patch and its probe."""
        return f"{self.patch_id}/{self.probe}"

    def __str__(self) -> str:
        side = " without the patch" if self.expected == "open" else ""
        where = "this process" if self.where == "live" else "a scratch process"
        return f"{self.target}: {self.verdict}{side}, in {where}" + (f" ({self.why})" if self.why else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What :func:`livepatch.probe` found.  True if every probe said what it should.

    `outcomes` are what each probe said, in the order in which they ran; `findings` what is wrong about it; `seconds`
    the time that it took.
    """

    outcomes: tuple[Outcome, ...]
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """No hole is open that a patch has closed, and every probe shows what it should."""
        return not any(finding.severity == "error" for finding in self.findings)

    def __bool__(self) -> bool:
        return self.ok

    @property
    def open(self) -> tuple[Outcome, ...]:
        """The alarms: probes that find the hole open, and should not."""
        wrong = {each.target for each in self.findings if each.code == _OPEN and each.severity == "error"}
        return tuple(
            o for o in self.outcomes if o.target in wrong and o.verdict == "vulnerable" and o.expected != "open"
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {**asdict(self), "ok": self.ok}

    def to_json(self) -> str:
        """All of it as one JSON object in ASCII, its names sorted."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True)

    def __str__(self) -> str:
        verdict = "as it should be" if self.ok else "NOT as it should be"
        head = f"{counted(len(self.outcomes), 'probe')} run: {verdict}"
        return "\n".join([head, *(f"  {outcome}" for outcome in self.outcomes), *map(str, self.findings)])


_OPEN = "hole-open"
_STANDS: dict[Expectation, str] = {
    "closed": "although the patch is live",
    "not-yet": "as long as the patch waits",
    "partly": "for some calls, since the patch is live for others",
    "switched-off": "since the patch is switched off",
    "taken-out": "since the patch was taken out",
    "other-release": "and the patch is not for the release that is installed",
    "not-in": "and nothing that is there closes it",
}
_ACTIONS: dict[Expectation, str] = {
    "closed": "find out what came after it (livepatch.status, livepatch.verify), and take that out or mend it",
    "not-yet": "nothing, if that is meant: probe again once the patch is live",
    "partly": "nothing, if that is meant: probe again once the patch is live for all",
    "switched-off": "switch the patch on, or have another one close the hole",
    "taken-out": "apply the patch again, or what is to take its place",
    "other-release": "build the patch for this release, or install one that has the fix",
    "not-in": "put its fix into the patch that is to take its place, or into the release",
}
_MILD = ("not-yet", "partly")  # what a mode is for


def judge(outcomes: Iterable[Outcome], unprobed: Iterable[str] = ()) -> tuple[Finding, ...]:
    """What is wrong about what the probes said.  `unprobed` are patches that carry none."""
    rows = [row for outcome in outcomes for row in _judged(outcome)]
    return by_weight([*rows, *(without_probes(patch_id) for patch_id in unprobed)])


def _judged(outcome: Outcome) -> Iterator[Finding]:
    expected = outcome.expected
    if outcome.verdict == "unknown":
        yield Finding(
            code="probe-inconclusive",
            severity="error",
            target=outcome.target,
            found=f"nothing: {outcome.why}",
            expected="True or False from vulnerable()",
            action="mend the probe, or what keeps it from running; until then nobody knows whether the hole is open",
        )
    elif expected == "open" and outcome.verdict == "fixed":
        yield Finding(
            code="probe-blind",
            severity="error",
            target=outcome.target,
            found="fixed, without the patch",
            expected="vulnerable: a probe that always says fixed shows nothing",
            action="mend the probe; or the release that is installed has the fix already, and needs no patch",
        )
    elif expected != "open" and outcome.verdict == "vulnerable":
        yield Finding(
            code="hole-open",
            severity="warning" if expected in _MILD else "error",
            target=outcome.target,
            found=f"the hole is open, {_STANDS[expected]}",
            expected="fixed",
            action=_ACTIONS[expected],
        )


def without_probes(patch_id: str) -> Finding:
    """A patch of which nothing shows that it holds."""
    return Finding(
        code="probe-missing",
        severity="warning",
        target=patch_id,
        found="a patch without a probe",
        expected="one that shows that its hole is closed",
        action="have its author add one (livepatch build --probe)",
    )
