"""``livepatch policy``: read a policy file as a process would, and say what it asks for."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from livepatch.cli.output import add_json, in_line, print_json, print_lines, visible

if TYPE_CHECKING:
    from livepatch.compat.approvals import Demand
    from livepatch.compat.policy import Policy

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "test a policy file: read it strictly, and say what it asks for"
DESCRIPTION = """\
test FILE reads a policy file as strictly as a process does, and tells each rule in it; and
whether a patch may go in at a moment, by its windows and freezes."""
EXAMPLE = "livepatch policy test livepatch.toml --at 2027-03-31T02:30:00Z"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    actions = parser.add_subparsers(title="what to do", metavar="ACTION", required=True)
    does = "read a policy file and tell its rules"
    test = actions.add_parser("test", help=does, description=f"{does.capitalize()}.", allow_abbrev=False)
    test.add_argument("file", metavar="FILE", help="the policy file, such as livepatch.toml")
    test.add_argument("--at", metavar="MOMENT", default="", help="the moment to ask for; by default now")
    add_json(test)


def run(given: argparse.Namespace) -> bool:
    """Tell the rules.  Whether patches may go in at the moment."""
    from livepatch.compat.approvals import NOBODY, Case, judged
    from livepatch.compat.policy import Policy, read_policy
    from livepatch.compat.windows import moment_of, told_moment
    from livepatch.errors import PatchError
    from livepatch.govern.rulefiles import read_rules

    try:
        now = moment_of(given.at) if given.at else datetime.now(UTC)
    except ValueError as error:
        raise PatchError(
            "--at is no moment",
            found=str(error),
            expected="a moment of UTC such as 2027-03-31T00:00:00Z",
            action="correct the moment",
        ) from error
    rules = read_policy(read_rules(Path(given.file), given.file), given.file)
    timed = Policy(windows=rules.windows, freezes=rules.freezes, emergencies=rules.emergencies)
    closed = judged(timed, (), Case(protected=False, state="none"), NOBODY, now)
    if given.json:
        print_json(
            {"file": given.file, "at": told_moment(now), "open": not closed, "rules": _plain(rules),
             "closed_by": [{"code": each.code, "found": each.found, "action": each.action} for each in closed]}
        )  # fmt: skip
        return not closed
    lines = [f"{in_line(given.file)}: {'; '.join(_counts(rules)) or 'no rule'}"]
    lines += [f"  protected: {', '.join(map(str, rule.paths))}{_why(rule.reason)}" for rule in rules.protected]
    lines += [f"  protocol: {', '.join(map(str, rule.paths))}{_why(rule.reason)}" for rule in rules.protocols]
    lines += [f"  approval {rule.name}: {_demanded(rule)}{_why(rule.reason)}" for rule in rules.demands]
    lines += [f"  window: {window}" for window in rules.windows]
    lines += [f"  freeze: {freeze}" for freeze in rules.freezes]
    for rule in rules.emergencies:
        hours = rule.max_age.total_seconds() / 3600
        lines.append(f"  emergency: {_numbers(dict(rule.roles))}, within {hours:g} hours")
    lines += [f"closed at {told_moment(now)}: {each.found}; {each.action}" for each in closed]
    lines += [] if closed else [f"open at {told_moment(now)}"]
    print_lines(map(visible, lines))
    return not closed


def _counts(rules: Policy) -> list[str]:
    kinds: dict[str, tuple[object, ...]] = {
        "protected": rules.protected, "protocol": rules.protocols, "approval": rules.demands,
        "window": rules.windows, "freeze": rules.freezes, "emergency": rules.emergencies,
    }  # fmt: skip
    return [f"{len(every)} {kind}" for kind, every in kinds.items() if every]


def _why(reason: str) -> str:
    return f" ({reason})" if reason else ""


def _numbers(roles: dict[str, int]) -> str:
    return ", ".join(f"{number} by {role}" for role, number in roles.items())


def _demanded(rule: Demand) -> str:
    told = [_numbers(dict(rule.roles))] if rule.roles else []
    told += [f"evidence of {', '.join(rule.evidence)}"] if rule.evidence else []
    told += [f"that it says {', '.join(rule.owners)}"] if rule.owners else []
    told += ["that it carries a probe"] if rule.probes else []
    if rule.protected is not None:
        told.append(f"of patches that touch {'' if rule.protected else 'no '}protected code")
    told += [f"of state {' or '.join(rule.state)}"] if rule.state else []
    told += [f"of class {' or '.join(rule.classes)}"] if rule.classes else []
    told += [f"{rule.cooling_off.total_seconds() / 3600:g} hours before"] if rule.cooling_off else []
    told += [f"at most {rule.max_age.days} days old"] if rule.max_age else []
    return ", ".join(told)


def _plain(rules: Policy) -> dict[str, Any]:
    return {
        "protected": [{"paths": list(map(str, r.paths)), "reason": r.reason} for r in rules.protected],
        "protocol": [{"paths": list(map(str, r.paths)), "reason": r.reason} for r in rules.protocols],
        "approval": [
            {
                "name": r.name, "reason": r.reason, "roles": dict(r.roles), "protected": r.protected,
                "evidence": list(r.evidence), "owners": list(r.owners), "probes": r.probes,
                "state": list(r.state), "class": list(r.classes),
                "cooling_off_hours": r.cooling_off.total_seconds() / 3600,
                "max_age_days": r.max_age.days if r.max_age else None,
            }
            for r in rules.demands
        ],
        "window": list(map(str, rules.windows)),
        "freeze": list(map(str, rules.freezes)),
        "emergency": [
            {"roles": dict(r.roles), "max_age_hours": r.max_age.total_seconds() / 3600} for r in rules.emergencies
        ],
    }  # fmt: skip
