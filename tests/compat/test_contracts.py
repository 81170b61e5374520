"""Protocol paths, by hand-made graphs: which changes are named, and what the claim must say."""

from __future__ import annotations

import pytest
from tests.graphs import graph

from livepatch.compat.contracts import Contract, judge_protocols, narrow_claim
from livepatch.compat.patterns import Pattern
from livepatch.compat.policy import Policy, Protocol
from livepatch.compat.protected import Touched
from livepatch.contents.claims import RoundTrip

TRIP = RoundTrip(encode="pkg.wire:dump", decode="pkg.wire:load", values="pkg.examples:ALL")
OTHER = RoundTrip(encode="pkg.disk:dump", decode="pkg.disk:load", values="pkg.examples:ALL")
CALLS = graph("pkg.wire:dump -> pkg.numbers:pack", "pkg.wire:dump ?-> pkg.log:Log.note", "pkg.app:f -> pkg.wire:dump")


def policy(*trips: RoundTrip) -> Policy:
    return Policy(protocols=(Protocol(paths=(Pattern("pkg.wire"),), source="here", round_trips=trips),))


def judged(name: str, *trips: RoundTrip, claim: str = "", own: tuple[RoundTrip, ...] = ()) -> Contract:
    return judge_protocols(
        policy(*trips), CALLS, [Touched(name, ((name, True),))], compatible_with=claim, round_trips=own
    )


def codes(contract: Contract) -> list[tuple[str, str]]:
    return [(finding.severity, finding.code) for finding in contract.findings]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("pkg.wire:dump", "it is on the protocol path pkg.wire (here)"),
        ("pkg.numbers:pack", "protocol code calls it: pkg.wire:dump -> pkg.numbers:pack (here)"),
    ],
)
def test_a_change_on_the_path_is_named_and_needs_a_claim(name, told):
    contract = judged(name)
    assert codes(contract) == [("error", "protocol-path")]
    assert contract.findings[0].found == told
    assert contract.on_path
    contract = judged(name, claim=">=1")
    assert codes(contract) == [("warning", "protocol-path"), ("warning", "claim-unchecked")]
    assert "as claimed for >=1" in contract.findings[0].expected


def test_what_may_be_on_the_path_is_told_and_refuses_nothing():
    contract = judged("pkg.log:Log.note")
    assert codes(contract) == [("warning", "protocol-path")]
    assert not contract.on_path


def test_what_only_calls_the_protocol_is_not_part_of_it():
    assert judged("pkg.app:f") == Contract()
    assert judge_protocols(Policy(), None, [Touched("pkg.wire:dump")]) == Contract()


def test_round_trips_of_the_rule_and_of_the_patch_are_made_once_each():
    contract = judged("pkg.wire:dump", TRIP, claim=">=1", own=(TRIP, OTHER))
    assert codes(contract) == [("warning", "protocol-path"), ("info", "round-trips-to-come")]
    assert contract.round_trips == (TRIP, OTHER)
    assert judged("pkg.app:f", TRIP).round_trips == ()
    assert judged("pkg.app:f", own=(OTHER,)).round_trips == (OTHER,)  # the patch asks for it


@pytest.mark.parametrize(
    ("claim", "installed", "narrow"),
    [
        ("", "1.0", False),
        (">=1", "1.0", False),
        (">=1", None, False),
        (">=1", "no version", False),
        (">=1", "1.5rc1", False),
        (">=2", "1.0", True),
        ("==1.1", "1.0", True),
    ],
)
def test_a_claim_must_hold_for_the_release_that_runs(claim, installed, narrow):
    row = narrow_claim(claim, "specimen", installed)
    assert (row is not None) == narrow
    assert row is None or (row.severity, row.code) == ("error", "claim-too-narrow")
