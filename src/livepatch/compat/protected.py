"""Protected code: what must be alike in all processes that work together, and what a patch may do to it.

A target is guarded if a rule names it, or if protected code calls it, directly or through others.  A guarded patch goes
in only by the way that policy leaves open, and never silently: dormant until an activation height, with the author's
claim of what it stays compatible with, and with the approvals that the rule asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from livepatch.compat.approvals import ANYBODY, Demand
from livepatch.compat.patterns import Pattern
from livepatch.compat.policy import Policy, Protected, Protocol
from livepatch.compat.reach import Graph, Reach, reach, spelled_way
from livepatch.compat.report import Finding
from livepatch.contents.claims import Waiver
from livepatch.engine.pace import breathe

__all__ = [
    "Guarding",
    "ModeFacts",
    "Touched",
    "because",
    "built",
    "concerned",
    "judge_protected",
    "no_graph",
    "starts_of",
    "unmatched",
]


@dataclass(frozen=True, slots=True)
class Touched:
    """One place that a patch changes.

    `functions` are those whose behaviour that changes, by their names in a call graph: the function itself, or, if it
    is a value, those that read it, with ``True`` for each of which that is certain.  `shared`: a value that is there
    already, and so is the same for all calls, whatever the mode.
    """

    label: str
    functions: tuple[tuple[str, bool], ...] = ()
    is_value: bool = False
    shared: bool = False


@dataclass(frozen=True, slots=True)
class ModeFacts:
    """The mode in which a patch is to go in.  `reached`: whether the height is; ``None`` if its source cannot tell."""

    kind: Literal["on", "off", "split", "at", "shadow"]
    spelled: str
    reached: bool | None = False
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Guarding:
    """What came of it: the findings, whether the patch touches protected code, and what its author has waived."""

    findings: tuple[Finding, ...] = ()
    guarded: bool = False
    waived: tuple[str, ...] = ()
    demands: tuple[Demand, ...] = ()
    """Who must approve it because of the code that it touches: also where its author has waived that."""


@dataclass(frozen=True, slots=True)
class _Way:
    """How a rule comes to be about a target."""

    rule: Protected
    told: str
    certain: bool


def judge_protected(
    policy: Policy,
    graph: Graph | None,
    touched: Iterable[Touched],
    mode: ModeFacts,
    *,
    compatible_with: str = "",
    waivers: Iterable[Waiver] = (),
) -> Guarding:
    """Whether what a patch touches is guarded, and if so whether the way through is open.

    Without a `graph` only what a rule names is known to be guarded; see :func:`no_graph`.
    """
    if not policy.protected:
        return Guarding(tuple(_unused(waivers, ())))
    places = list(touched)
    reached = _reached(policy, graph) if graph is not None else []
    reasons = {waiver.target: waiver.reason for waiver in waivers}
    findings: list[Finding] = []
    guarding: list[_Way] = []
    every: list[_Way] = []
    waived: list[str] = []
    for place in places:
        ways = [way for rule, reaches in reached or _without_graph(policy) if (way := _way(rule, reaches, place))]
        if not ways:
            continue
        every += ways
        certain = any(way.certain for way in ways)
        if not certain and place.label in reasons:
            waived.append(place.label)
            findings.append(_waived(place, ways[0], reasons[place.label]))
            continue
        guarding += ways
        first = min(ways, key=lambda way: not way.certain)
        shared = [each.label for each in places if each.shared]
        findings.append(_guarded(place, first, mode, compatible_with, shared))
    if guarding:
        findings += _conditions(mode)
    findings += _unused(waivers, waived)
    return Guarding(tuple(findings), bool(guarding), tuple(waived), tuple(_demands(every)))


def built(build: Callable[[], Graph]) -> tuple[Graph | None, str]:
    """A call graph, or why there is none."""
    breathe(now=True)
    try:
        return build(), ""
    except Exception as error:  # noqa: BLE001  # it looks into objects of any kind
        return None, f"{type(error).__qualname__}: {error}"[:200]
    finally:
        breathe(now=True)


def starts_of(patterns: Iterable[Pattern], graph: Graph) -> list[str]:
    """The functions that patterns name."""
    several = list(patterns)
    return [name for name in graph.functions if any(pattern.matches(name) for pattern in several)]


def unmatched(policy: Policy, graph: Graph, modules: Collection[str]) -> tuple[Finding, ...]:
    """A warning for each pattern that names nothing in the process: it may be misspelt."""
    rules = [(rule.paths, rule.source) for rule in policy.protected]
    rules += [(rule.paths, rule.source) for rule in policy.protocols]
    return tuple(
        Finding(
            code="rule-matches-nothing",
            severity="warning",
            target=str(pattern),
            found=f"a rule of {source} that names no module or function in this process",
            expected="rules about code that is there",
            action="correct the pattern, or see that the module is imported before patches are applied",
        )
        for paths, source in rules
        for pattern in paths
        if not any(map(pattern.matches, graph.functions)) and not any(map(pattern.matches, modules))
    )


def _way_to(reaches: Reach, place: Touched) -> tuple[str, bool] | None:
    """The shortest way from protected code to what a place changes, in words, and whether it is certain."""
    found = []
    for name, certain in place.functions:
        way = reaches.way(name)
        if way is None:
            continue
        told = spelled_way(way) if way else name
        if place.is_value:
            told += f", which {'reads' if certain else 'may read'} it"
        elif not way:
            continue  # a rule names the function itself
        sure = certain and all(call.certain for call in way)
        found.append((not sure, len(way), told))
    if not found:
        return None
    perhaps, _, told = min(found)
    return told, not perhaps


def _reached(policy: Policy, graph: Graph) -> list[tuple[Protected, Reach]]:
    return [(rule, reach(graph, starts_of(rule.paths, graph))) for rule in policy.protected]


def _without_graph(policy: Policy) -> list[tuple[Protected, Reach]]:
    return [(rule, Reach({}, {})) for rule in policy.protected]


def _way(rule: Protected, reaches: Reach, place: Touched) -> _Way | None:
    found = concerned(rule, reaches, place, named="it is protected as {}", code="protected code")
    return None if found is None else _Way(rule, *found)


def concerned(
    rule: Protected | Protocol, reaches: Reach, place: Touched, *, named: str, code: str
) -> tuple[str, bool] | None:
    """How a rule comes to be about a place, in words and whether that is certain; ``None``: it is not.

    `named` says that a pattern, for which ``{}`` stands, names it; `code` is what the rule calls what it names.
    """
    names = [place.label, *(name for name, _ in place.functions if not place.is_value)]
    pattern = next((pattern for pattern in rule.paths if any(map(pattern.matches, names))), None)
    if pattern is not None:
        return named.format(pattern), True
    way = _way_to(reaches, place)
    return None if way is None else (f"{code} {'calls' if way[1] else 'may call'} it: {way[0]}", way[1])


def because(rule: Protected | Protocol) -> str:
    """Why a rule is there, and where it comes from."""
    return f" ({rule.reason}; {rule.source})" if rule.reason else f" ({rule.source})"


def _guarded(place: Touched, way: _Way, mode: ModeFacts, compatible_with: str, shared: list[str]) -> Finding:
    missing = []
    if shared and mode.kind in ("on", "split"):
        told = ", ".join(shared[:3]) + (f" and {len(shared) - 3} more" if len(shared) > 3 else "")
        missing.append(
            f"put what changes of {told} into the functions that use it, for all calls share a value and it cannot "
            "wait for a height; or restart with the release that has the fix"
        )
    if mode.kind in ("on", "split"):
        missing.append("give it an activation height, mode=livepatch.at(height, source)")
    if not compatible_with:
        missing.append("declare in the patch what it stays compatible with, compatible_with=")
    if not way.certain:
        missing.append(f"or, if that call is never made, say so in the patch: waive({place.label!r}, reason=…)")
    lacking = mode.kind in ("on", "split") or not compatible_with
    return Finding(
        code="protected-path",
        severity="error" if lacking else "warning",
        target=place.label,
        found=way.told + because(way.rule),
        expected="code that no protected code calls"
        if lacking
        else f"an activation height and a claim; it has {mode.spelled} and {compatible_with}",
        action="; ".join(missing) if lacking else "see that every process of the network gets it before that height",
    )


def _conditions(mode: ModeFacts) -> list[Finding]:
    """What holds for the patch as a whole, once it touches protected code."""
    findings = []
    if mode.kind == "split":
        findings.append(
            Finding(
                code="protected-split",
                severity="error",
                target="",
                found=f"{mode.spelled}, for a patch that touches protected code",
                expected="one side for all: a network of which a part runs a change of its rules is the fault itself",
                action="let every process change at the same moment, as the rows of protected-path say",
            )
        )
    if mode.kind == "at" and mode.reached is not False:
        findings.append(
            Finding(
                code="activation-passed",
                severity="warning" if mode.reached else "error",
                target="",
                found=f"{mode.spelled}, which is reached already"
                if mode.reached
                else f"{mode.spelled}, whose source cannot tell whether it is reached: {mode.trouble}",
                expected="an activation height that is still to come",
                action="expect the new side at once, and see what was decided since by the old one"
                if mode.reached
                else "mend the source",
            )
        )
    return findings


def _demands(ways: list[_Way]) -> Iterable[Demand]:
    """The greatest number of approvals that a rule about the code asks for."""
    strictest = max((way.rule for way in ways), key=lambda rule: rule.approvals, default=None)
    if strictest is not None and strictest.approvals:
        names = ", ".join(map(str, strictest.paths[:2])) + (" …" if len(strictest.paths) > 2 else "")
        yield Demand(
            name=f"of what protects {names}",
            source=strictest.source,
            reason=strictest.reason,
            roles={ANYBODY: strictest.approvals},
        )


def _waived(place: Touched, way: _Way, reason: str) -> Finding:
    return Finding(
        code="protected-waived",
        severity="warning",
        target=place.label,
        found=f"{way.told}{because(way.rule)}; the patch waives it: {reason}",
        expected="code that no protected code calls",
        action="see for yourself that the call with the question mark is never made",
    )


def _unused(waivers: Iterable[Waiver], used: Collection[str]) -> list[Finding]:
    return [
        Finding(
            code="waiver-unused",
            severity="info",
            target=waiver.target,
            found="a waiver for what no protected code seems to call, or calls for certain, or what is not changed",
            expected="waivers for possible calls only",
            action="nothing; it lifts no refusal",
        )
        for waiver in waivers
        if waiver.target not in used
    ]


def no_graph(why: str) -> Finding:
    """The error for rules about what code calls, where that is not known, and so cannot be allowed."""
    return Finding(
        code="call-graph-missing",
        severity="error",
        target="",
        found=f"rules about protected code or protocols, and no call graph: {why}",
        expected="to know what such code calls",
        action="report this to whoever makes livepatch; until then no patch goes in where there are rules",
    )
