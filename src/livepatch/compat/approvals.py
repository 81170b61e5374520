"""Who has to approve a patch, and whether they have: facts in, findings out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from livepatch.compat.carried import not_carried
from livepatch.compat.report import Finding
from livepatch.compat.windows import Freeze, Window, is_open, next_opening, told_moment
from livepatch.contents.ownership import NOBODY as UNSAID
from livepatch.contents.ownership import Owners
from livepatch.errors import counted

__all__ = ["ANYBODY", "NOBODY", "Approval", "Approving", "Case", "Demand", "Emergency", "Evidence", "judged"]

ANYBODY = "anybody"
"""Any role but that of the authors."""

_SKEW = timedelta(minutes=5)  # by which clocks of those who approve may be fast
_LIKELY = 4  # names in an advice


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Who must approve: how many holders in each role, for patches of which all conditions hold.

    `protected`, `state` and `classes` are the conditions; one that is ``None`` or empty always holds.  Approvals count
    for `max_age`, and the patch may go in `cooling_off` after the last that was needed.
    """

    name: str
    source: str
    roles: Mapping[str, int]
    reason: str = ""
    protected: bool | None = None
    state: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    cooling_off: timedelta = timedelta(0)
    max_age: timedelta | None = None
    evidence: tuple[str, ...] = ()
    """The suites of tests that must have run against the patch, and none of their tests failed."""
    owners: tuple[str, ...] = ()
    """The roles for which the patch must say who looks after it."""
    probes: bool = False
    """Whether the patch must carry a probe."""

    def __str__(self) -> str:
        why = f"{self.reason}; {self.source}" if self.reason else self.source
        return f"rule {self.name} ({why})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Emergency:
    """Who must say that it is an emergency, so that no window, freeze or time to cool off holds a patch up.

    What they say counts for `max_age`.
    """

    roles: Mapping[str, int]
    source: str
    max_age: timedelta = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """An approval of the very patch, by a key that the trust root knows."""

    holder: str
    role: str
    made: datetime
    decision: str = ""
    """The class that whoever approves found: see docs/classification.md."""
    emergency: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What came of a suite of tests that ran against the very patch: ``PASSED``, ``WARNED`` or ``FAILED``."""

    holder: str
    suite: str
    result: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Approving:
    """What was handed in for a patch: approvals and evidence, who may give more, and what did not count, in words."""

    approvals: tuple[Approval, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    holders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    authors: frozenset[str] = frozenset()
    idle: tuple[str, ...] = ()


class Rules(Protocol):
    """What policy says of approvals and of times."""

    @property
    def demands(self) -> tuple[Demand, ...]:
        """Who must approve which patches."""

    @property
    def windows(self) -> tuple[Window, ...]:
        """When patches may go in."""

    @property
    def freezes(self) -> tuple[Freeze, ...]:
        """When none may."""

    @property
    def emergencies(self) -> tuple[Emergency, ...]:
        """Who may say that it cannot wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What the conditions of a demand are about."""

    protected: bool
    state: str
    owners: Owners = UNSAID
    probes: int = 0
    """How many it carries."""


NOBODY = Approving()


def judged(
    policy: Rules, demands: Iterable[Demand], case: Case, given: Approving, now: datetime, *, timed: bool = True
) -> list[Finding]:
    """What the rules say to a patch with these approvals; if it is not `timed`, only who must still approve it."""
    rows = _judge_approvals([*demands, *policy.demands], case, given, now)
    waiting = [row for row in rows if row.code == "cooling-off"]
    missing = [row for row in rows if row.code != "cooling-off"]
    if not timed:
        return missing
    return missing + _judge_time(policy.windows, policy.freezes, policy.emergencies, given, now, waiting)


def _judge_approvals(demands: Iterable[Demand], case: Case, given: Approving, now: datetime) -> list[Finding]:
    """What is missing, rule by rule; and how long a patch that has all has still to wait."""
    # What an author calls the patch lifts no rule about it.
    named = {each.decision for each in given.approvals if each.decision and each.holder not in given.authors}
    findings = []
    for demand in demands:
        if demand.protected not in (None, case.protected) or (demand.state and case.state not in demand.state):
            continue
        # A class that nobody has named may be any.
        if demand.classes and named and not named.intersection(demand.classes):
            continue
        findings += not_carried(str(demand), demand.owners, case.owners, probe=demand.probes and not case.probes)
        findings += _unmet(demand, given, now)
    return findings


def _unmet(demand: Demand, given: Approving, now: datetime) -> list[Finding]:
    return [*_unproved(demand, given), *_unapproved(demand, given, now)]


def _unproved(demand: Demand, given: Approving) -> list[Finding]:
    ran: dict[str, set[str]] = {}
    for each in given.evidence:
        if each.holder not in given.authors:
            ran.setdefault(each.suite, set()).add(each.result)
    told = [
        f"{suite}: failed" if "FAILED" in ran.get(suite, ()) else f"{suite}: no evidence"
        for suite in demand.evidence
        if "FAILED" in ran.get(suite, ()) or suite not in ran
    ]
    if not told:
        return []
    idle = list(given.idle)
    idle += [
        f"that of {name}, an author of the patch" for name in sorted({e.holder for e in given.evidence} & given.authors)
    ]
    return [
        Finding(
            code="evidence-missing",
            severity="error",
            target="",
            found=f"{demand}: {'; '.join(told)}" + (f"; not counted: {'; '.join(idle)}" if idle else ""),
            expected=f"that {', '.join(demand.evidence)} ran against the very patch, and no test failed",
            action="run it against the patched package, have whoever ran it sign that (livepatch attest), and pass the "
            "file in approvals=",
        )
    ]


def _unapproved(demand: Demand, given: Approving, now: datetime) -> list[Finding]:
    idle = list(given.idle)
    counting = []
    for each in given.approvals:
        if each.holder in given.authors:
            idle.append(f"that of {each.holder}, an author of the patch")
        elif each.made > now + _SKEW:
            idle.append(f"that of {each.holder}, made in the future at {told_moment(each.made)}")
        elif demand.max_age is not None and now - each.made > demand.max_age:
            idle.append(f"that of {each.holder}, too old: made at {told_moment(each.made)}")
        else:
            counting.append(each)
    missing, could, last = _counted(demand.roles, counting, given)
    if missing:
        return [
            Finding(
                code="approvals-missing",
                severity="error",
                target="",
                found=f"{demand}: {'; '.join(missing)}" + (f"; not counted: {'; '.join(idle)}" if idle else ""),
                expected=", ".join(f"{counted(number, 'approval')} by {role}" for role, number in demand.roles.items()),
                action=_have(could) + " approve the very file (livepatch approve), and pass approvals="
                if given.holders
                else "load the patch from a file with trust=, have those whom the trust root names approve that "
                "(livepatch approve), and pass approvals=",
            )
        ]
    until = max(last, default=now) + demand.cooling_off
    if demand.cooling_off and now < until:
        return [
            Finding(
                code="cooling-off",
                severity="error",
                target="",
                found=f"{demand}: the last approval was made at {told_moment(until - demand.cooling_off)}",
                expected=f"{_length(demand.cooling_off)} between that and the patch",
                action=f"apply it from {told_moment(until)} on, if nobody has an objection by then",
            )
        ]
    return []


def _counted(
    roles: Mapping[str, int], counting: list[Approval], given: Approving
) -> tuple[list[str], list[str], list[datetime]]:
    """What each role lacks, who could give it, and when the approvals were made that complete each role."""
    missing, could, last = [], [], []
    for role, number in roles.items():
        made: dict[str, datetime] = {}
        for each in counting:
            if role in (ANYBODY, each.role):
                made[each.holder] = min(each.made, made.get(each.holder, each.made))
        if len(made) < number:
            missing.append(f"{role}: {len(made)} of {number}")
            known = [name for one, names in given.holders.items() if role in (ANYBODY, one) for name in names]
            could += [name for name in known if name not in made and name not in given.authors]
        else:
            last.append(sorted(made.values())[number - 1])
    return missing, list(dict.fromkeys(could)), last


def _have(could: list[str]) -> str:
    if not could:
        return "put more holders into the roles of the trust root, and have them"
    more = " or others" if len(could) > _LIKELY else ""
    return f"have {', '.join(could[:_LIKELY])}{more}"


def _judge_time(
    windows: Iterable[Window],
    freezes: Iterable[Freeze],
    emergencies: Iterable[Emergency],
    given: Approving,
    now: datetime,
    waiting: list[Finding],
) -> list[Finding]:
    """Whether a patch may go in at this moment.  `waiting` are findings of patches that have only to wait.

    With the approvals that an emergency needs these become warnings, and one says whose they are.
    """
    rows = list(waiting)
    by_source: dict[str, list[Window]] = {}
    for window in windows:
        by_source.setdefault(window.source, []).append(window)
    for source, every in by_source.items():
        if not is_open(every, now):
            rows.append(
                Finding(
                    code="outside-window",
                    severity="error",
                    target="",
                    found=f"{told_moment(now)}, outside of the windows of {source}",
                    expected="; ".join(map(str, every[:_LIKELY])),
                    action=f"apply it from {told_moment(next_opening(every, now))} on",
                )
            )
    rows += [
        Finding(
            code="frozen",
            severity="error",
            target="",
            found=f"{told_moment(now)}, in a freeze ({each.source}): {each}",
            expected="no freeze",
            action=f"apply it from {told_moment(each.until)} on",
        )
        for each in freezes
        if each.covers(now)
    ]
    urgent = [each for each in given.approvals if each.emergency and each.holder not in given.authors]
    if not rows or not urgent:
        return rows
    rules = list(emergencies)
    if not rules:
        return [*rows, _no_emergency("no rule says who may declare one", "a rule [emergency] in a policy file")]
    for rule in rules:
        counting = [each for each in urgent if now - rule.max_age <= each.made <= now + _SKEW]
        missing, could, _ = _counted(rule.roles, counting, given)
        if missing:
            old = f"; declared more than {_length(rule.max_age)} ago, or in the future, by {_names(urgent, counting)}"
            found = f"{'; '.join(missing)} ({rule.source})" + (old if len(counting) < len(urgent) else "")
            return [*rows, _no_emergency(found, f"{_have(could)} declare it, too")]
    told = "; ".join(f"{each.holder} ({each.role}): {each.reason}" for each in urgent)
    overridden = [_warned(row) for row in rows]
    return [
        *overridden,
        Finding(
            code="emergency-override",
            severity="warning",
            target="",
            found=f"an emergency, declared by {told}",
            expected=", ".join(dict.fromkeys(row.code for row in rows)) + " kept",
            action="look into it afterwards: the record has it",
        ),
    ]


def _names(all_of_them: list[Approval], but_for: list[Approval]) -> str:
    return ", ".join(dict.fromkeys(each.holder for each in all_of_them if each not in but_for))


def _no_emergency(found: str, action: str) -> Finding:
    return Finding(
        code="emergency-missing",
        severity="error",
        target="",
        found=f"an emergency that too few declare: {found}",
        expected="the approvals that an emergency needs",
        action=action,
    )


def _warned(row: Finding) -> Finding:
    return Finding(
        code=row.code,
        severity="warning",
        target=row.target,
        found=row.found,
        expected=row.expected,
        action="nothing: the emergency overrides it",
    )


def _length(time: timedelta) -> str:
    hours = time.total_seconds() / 3600
    return f"{hours:g} hours"
