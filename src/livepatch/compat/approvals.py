"""Who has to approve a patch, and whether they have: facts in, findings out."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import combinations
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
    findings = []
    for demand in demands:
        if demand.protected not in (None, case.protected) or (demand.state and case.state not in demand.state):
            continue
        counting, idle = _counting(demand, given, now)
        # A class that nobody has named may be any; and what does not count as an approval lifts no rule either.
        named = {each.decision for each in counting if each.decision}
        if demand.classes and named and not named.intersection(demand.classes):
            continue
        findings += not_carried(str(demand), demand.owners, case.owners, probe=demand.probes and not case.probes)
        findings += [*_unproved(demand, given), *_unapproved(demand, given, counting, idle, now)]
    return findings


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


def _counting(demand: Demand, given: Approving, now: datetime) -> tuple[list[Approval], list[str]]:
    """The approvals that count for a rule, and why others do not."""
    idle = list(given.idle)
    counting = []
    for each in given.approvals:
        if each.holder in given.authors:
            idle.append(f"that of {each.holder}, an author of the patch")
        elif each.made - now > _SKEW:
            idle.append(f"that of {each.holder}, made in the future at {told_moment(each.made)}")
        elif demand.max_age is not None and now - each.made > demand.max_age:
            idle.append(f"that of {each.holder}, too old: made at {told_moment(each.made)}")
        else:
            counting.append(each)
    return counting, idle


def _unapproved(
    demand: Demand, given: Approving, counting: list[Approval], idle: list[str], now: datetime
) -> list[Finding]:
    missing, could = _counted(demand.roles, counting, given)
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
    last = _completed(demand.roles, counting, given) if demand.cooling_off and demand.roles else now
    if now - last < demand.cooling_off:
        return [
            Finding(
                code="cooling-off",
                severity="error",
                target="",
                found=f"{demand}: the last approval was made at {told_moment(last)}",
                expected=f"{_length(demand.cooling_off)} between that and the patch",
                action=f"apply it from {told_moment(last + demand.cooling_off)} on, if nobody has an objection by then",
            )
        ]
    return []


def _counted(roles: Mapping[str, int], counting: list[Approval], given: Approving) -> tuple[list[str], list[str]]:
    """What the roles lack, and who could give it."""
    missing: list[str] = []
    could: list[str] = []
    for group, number in _groups(roles):
        have = {each.holder for each in counting if ANYBODY in group or each.role in group}
        if len(have) >= number or (missing and len(group) > 1):
            continue
        together = f" together, of which each counts once: {len(have)} of {number} people"
        missing.append(" and ".join(group) + (f": {len(have)} of {number}" if len(group) == 1 else together))
        known = [name for role, names in given.holders.items() if ANYBODY in group or role in group for name in names]
        could += [name for name in known if name not in have and name not in given.authors]
    return missing, list(dict.fromkeys(could))


def _groups(roles: Mapping[str, int]) -> Iterator[tuple[tuple[str, ...], int]]:
    """The roles, and all groups of them that people are named for, with how many each needs.

    One person may hold keys in two roles, and counts in one of them.  That there is somebody else for each place is so
    just if no group has fewer people than places (Hall's marriage theorem).
    """
    yield from (((role,), number) for role, number in roles.items())
    named = [role for role in roles if role != ANYBODY]
    for size in range(2, len(named) + 1):
        for group in combinations(named, size):
            yield group, sum(roles[role] for role in group)


def _completed(roles: Mapping[str, int], counting: list[Approval], given: Approving) -> datetime:
    """When the approval was made with which nothing lacked any more."""
    moments = sorted({each.made for each in counting})

    def is_complete(last: datetime) -> bool:
        return not _counted(roles, [each for each in counting if each.made <= last], given)[0]

    return moments[bisect_left(moments, True, key=is_complete)]


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
    declared: list[Approval] = []
    for rule in rules:
        counting = [each for each in urgent if -_SKEW <= now - each.made <= rule.max_age]
        missing, could = _counted(rule.roles, counting, given)
        if missing:
            old = f"; declared more than {_length(rule.max_age)} ago, or in the future, by {_names(urgent, counting)}"
            found = f"{'; '.join(missing)} ({rule.source})" + (old if len(counting) < len(urgent) else "")
            return [*rows, _no_emergency(found, f"{_have(could)} declare it, too")]
        declared += counting
    told = "; ".join(f"{each.holder} ({each.role}): {each.reason}" for each in dict.fromkeys(declared))
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
