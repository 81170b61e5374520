"""The wire and the disk: what other processes, and later ones, must still be able to read.

A change on a declared protocol path needs the author's claim of which releases it stays compatible with, and round
trips that show it: what the old side encodes the new one decodes, and the other way.  Snapshots show the same of data
that is there already.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from livepatch.compat.policy import Policy, Protocol
from livepatch.compat.protected import Touched, because, concerned, starts_of
from livepatch.compat.reach import Graph, Reach, reach
from livepatch.compat.report import Finding
from livepatch.contents.claims import RoundTrip, Snapshot
from livepatch.errors import counted

__all__ = [
    "Contract",
    "Proof",
    "judge_protocols",
    "narrow_claim",
    "round_trip_differs",
    "round_trip_failed",
    "unexercised",
]

Proof = RoundTrip | Snapshot
"""What is to be tried with both sides before anything is live."""


@dataclass(frozen=True, slots=True)
class Contract:
    """What came of it: the findings, and what is to be tried with both sides before anything is live.

    `on_path`: a change is on a protocol path for certain.
    """

    findings: tuple[Finding, ...] = ()
    round_trips: tuple[Proof, ...] = ()
    on_path: bool = False


def judge_protocols(
    policy: Policy,
    graph: Graph | None,
    touched: Iterable[Touched],
    *,
    compatible_with: str = "",
    round_trips: Iterable[Proof] = (),
) -> Contract:
    """Which changes are on a protocol path, whether the patch claims to be compatible, and what shall show it."""
    findings: list[Finding] = []
    trips: list[Proof] = list(round_trips)
    on_path = False
    places = list(touched)
    for rule in policy.protocols:
        reaches = Reach({}, {}) if graph is None else reach(graph, starts_of(rule.paths, graph))
        rows = [row for place in places if (row := _row(rule, reaches, place, compatible_with)) is not None]
        findings += [finding for finding, _ in rows]
        on_path = on_path or any(certain for _, certain in rows)
        if rows:
            trips += [trip for trip in rule.round_trips if trip not in trips]
    if on_path and compatible_with and not trips:
        findings.append(
            Finding(
                code="claim-unchecked",
                severity="warning",
                target="",
                found=f"the claim to be compatible with {compatible_with}, and no round trip that shows it",
                expected="examples of what is encoded and decoded",
                action="give some with patch.round_trip(encode, decode, values), or in the policy",
            )
        )
    if trips:
        findings.append(
            Finding(
                code="round-trips-to-come",
                severity="info",
                target="",
                found=f"{_counts(trips)} to be made by apply, before anything is live",
                expected="that either side reads what the other writes",
                action="nothing; what does not refuses the patch then",
            )
        )
    return Contract(tuple(findings), tuple(trips), on_path)


def narrow_claim(compatible_with: str, package: str, installed: str | None) -> Finding | None:
    """An error if a claim does not even hold for the release that runs, whose other processes are there already."""
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion, Version

    if not compatible_with or installed is None:
        return None
    try:
        if SpecifierSet(compatible_with).contains(Version(installed), prereleases=True):
            return None
    except InvalidVersion:
        return None  # told elsewhere
    return Finding(
        code="claim-too-narrow",
        severity="error",
        target=package,
        found=f"a claim to be compatible with {compatible_with}",
        expected=f"one that holds for {package} {installed}, which runs here and in processes without the patch",
        action="correct compatible_with=, or stop all processes and restart them with the fix",
    )


def round_trip_failed(trip: Proof, what: str, why: str) -> Finding:
    """The error for a round trip that cannot be made."""
    return Finding(
        code="round-trip-failed",
        severity="error",
        target=_named(trip),
        found=f"{what}: {why}",
        expected="examples that either side reads and writes",
        action="correct the example if the old side fails on it; else the patch is not compatible",
    )


def round_trip_differs(trip: Proof, what: str, gave: str, expected: str) -> Finding:
    """The error for what one side encodes and the other takes for something else."""
    return Finding(
        code="round-trip-differs",
        severity="error",
        target=_named(trip),
        found=f"{what} gives {gave}",
        expected=expected,
        action="mend the patch: processes without it, or data that is there, would be misread",
    )


def unexercised(round_trips: Iterable[Proof]) -> Finding:
    """The warning for examples that run nothing of what the patch changes."""
    named = ", ".join(map(_named, round_trips))
    return Finding(
        code="round-trip-misses",
        severity="warning",
        target="",
        found=f"examples that run no function of the patch, of {named}",
        expected="examples that go through what is changed",
        action="give examples that do; these show nothing of the change",
    )


def _named(trip: Proof) -> str:
    return " / ".join(
        part if isinstance(part, str) else getattr(part, "__qualname__", "a callable")
        for part in ((trip.encode, trip.decode) if isinstance(trip, RoundTrip) else (trip.store, trip.load))
        if part
    )


def _counts(trips: list[Proof]) -> str:
    snapshots = sum(isinstance(trip, Snapshot) for trip in trips)
    counts = (len(trips) - snapshots, "round trip"), (snapshots, "snapshot")
    return " and ".join(counted(number, noun) for number, noun in counts if number)


def _row(rule: Protocol, reaches: Reach, place: Touched, compatible_with: str) -> tuple[Finding, bool] | None:
    found = concerned(rule, reaches, place, named="it is on the protocol path {}", code="protocol code")
    if found is None:
        return None
    told, certain = found
    lacking = certain and not compatible_with
    claimed = f", as claimed for {compatible_with}" if compatible_with else ""
    finding = Finding(
        code="protocol-path",
        severity="error" if lacking else "warning",
        target=place.label,
        found=told + because(rule),
        expected="a claim of the releases with which messages and data can still be exchanged (compatible_with=)"
        if lacking
        else f"messages and data that stay as they are{claimed}",
        action="find out, and declare it in the patch: Patch(…, compatible_with='>=2.0,<3')"
        if lacking
        else "see that the claim holds for what your peers run and for what is stored",
    )
    return finding, certain
