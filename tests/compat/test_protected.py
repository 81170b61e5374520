"""Protected code, by hand-made graphs: what is refused, what is not, and the way through."""

from __future__ import annotations

import pytest
from tests.graphs import graph

from livepatch.compat.patterns import Pattern
from livepatch.compat.policy import Policy, Protected
from livepatch.compat.protected import Guarding, ModeFacts, Touched, built, judge_protected, no_graph, unmatched
from livepatch.contents.claims import Waiver

ON, OFF, SHADOW = (ModeFacts(kind, kind) for kind in ("on", "off", "shadow"))  # type: ignore[arg-type]  # modes
AT, SPLIT = ModeFacts("at", "at(1200)"), ModeFacts("split", "split(5%)")
CALLS = graph(
    "pkg.consensus.block:check -> pkg.hashing:digest",
    "pkg.consensus.block:check ?-> pkg.store:Store.get @7",
    "pkg.hashing:digest -> pkg.hashing:fold",
    "pkg.rpc:handler -> pkg.consensus.block:check",
)


def policy(*patterns: str, approvals: int = 0, reason: str = "") -> Policy:
    paths = tuple(map(Pattern, patterns or ["pkg.consensus.*"]))
    return Policy(protected=(Protected(paths=paths, source="here", reason=reason, approvals=approvals),))


def function(name: str) -> Touched:
    return Touched(name, ((name, True),))


def judged(
    *names: str, mode: ModeFacts = ON, claim: str = "", waivers: tuple[Waiver, ...] = (), approvals: int = 0
) -> Guarding:
    return judge_protected(
        policy(approvals=approvals), CALLS, map(function, names), mode, compatible_with=claim, waivers=waivers
    )


def codes(guarding: Guarding) -> list[tuple[str, str]]:
    return [(finding.severity, finding.code) for finding in guarding.findings]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("pkg.consensus.block:check", "it is protected as pkg.consensus.*"),
        ("pkg.consensus.new:NAME", "it is protected as pkg.consensus.*"),
        ("pkg.hashing:digest", "protected code calls it: pkg.consensus.block:check -> pkg.hashing:digest"),
        (
            "pkg.hashing:fold",
            "protected code calls it: pkg.consensus.block:check -> pkg.hashing:digest -> pkg.hashing:fold",
        ),
        ("pkg.store:Store.get", "protected code may call it: pkg.consensus.block:check ?-> pkg.store:Store.get"),
    ],
)
def test_what_is_inside_or_called_from_inside_is_refused_and_the_way_is_shown(name, told):
    guarding = judged(name)
    assert codes(guarding) == [("error", "protected-path")]
    assert guarding.guarded
    assert guarding.findings[0].target == name
    assert guarding.findings[0].found == f"{told} (here)"


def test_what_calls_protected_code_is_not_part_of_it():
    assert judged("pkg.rpc:handler", "pkg.other:f") == Guarding()


def test_without_rules_nothing_is_looked_at():
    assert judge_protected(Policy(), None, [function("a:f")], ON) == Guarding()


def test_the_way_through_needs_a_height_and_a_claim():
    for mode, claim, through in [
        (ON, ">=2", False),
        (AT, "", False),
        (SPLIT, ">=2", False),
        (AT, ">=2", True),
        (OFF, ">=2", True),
        (SHADOW, ">=2", True),
    ]:
        guarding = judged("pkg.hashing:fold", mode=mode, claim=claim)
        assert guarding.guarded
        assert all(severity != "error" for severity, _ in codes(guarding)) is through, (mode, claim)
        # Never silently.
        assert "protected-path" in [code for _, code in codes(guarding)]


def test_what_is_lacking_is_named():
    (row,) = judged("pkg.hashing:fold").findings
    assert "mode=livepatch.at(height, source)" in row.action
    assert "compatible_with=" in row.action
    assert "waive" not in row.action
    (row,) = judged("pkg.hashing:fold", claim=">=2").findings
    assert "compatible_with=" not in row.action
    (row,) = judged("pkg.store:Store.get").findings
    assert "waive('pkg.store:Store.get', reason=…)" in row.action


def test_a_split_is_refused_for_itself():
    assert codes(judged("pkg.hashing:fold", mode=SPLIT, claim=">=2")) == [
        ("error", "protected-path"),
        ("error", "protected-split"),
    ]


@pytest.mark.parametrize(("reached", "severity"), [(False, None), (True, "warning"), (None, "error")])
def test_a_height_that_is_passed_already_is_told_and_one_that_nobody_knows_refuses(reached, severity):
    mode = ModeFacts("at", "at(5)", reached=reached, trouble="OSError: gone")
    rows = [f for f in judged("pkg.hashing:fold", mode=mode, claim=">=2").findings if f.code == "activation-passed"]
    assert [row.severity for row in rows] == ([severity] if severity else [])
    assert reached is not None or "OSError: gone" in rows[0].found


def test_a_rule_about_code_asks_for_approvals():
    (demand,) = judged("pkg.hashing:fold", mode=AT, claim=">=2", approvals=2).demands
    assert demand.roles == {"anybody": 2}
    assert "pkg.consensus" in str(demand)
    assert judged("pkg.other:f", approvals=2) == Guarding()


def test_a_possible_way_may_be_waived_and_that_shows():
    waiver = Waiver(target="pkg.store:Store.get", reason="that get is a dict's")
    guarding = judged("pkg.store:Store.get", waivers=(waiver,))
    assert codes(guarding) == [("warning", "protected-waived")]
    assert "that get is a dict's" in guarding.findings[0].found
    assert "?->" in guarding.findings[0].found
    assert guarding.waived == ("pkg.store:Store.get",)
    assert not guarding.guarded


def test_a_waiver_lifts_no_approval():
    waiver = Waiver(target="pkg.store:Store.get", reason="that get is a dict's")
    (demand,) = judged("pkg.store:Store.get", waivers=(waiver,), approvals=2).demands
    assert demand.roles == {"anybody": 2}
    assert judged("pkg.rpc:handler", approvals=2).demands == ()


def test_a_certain_way_cannot_be_waived():
    for name in ("pkg.hashing:fold", "pkg.consensus.block:check"):
        guarding = judged(name, waivers=(Waiver(target=name, reason="I say so"),))
        assert codes(guarding) == [("error", "protected-path"), ("info", "waiver-unused")]
        assert guarding.waived == ()


def test_a_waiver_is_for_one_target():
    waiver = Waiver(target="pkg.store:Store.get", reason="that get is a dict's")
    guarding = judged("pkg.store:Store.get", "pkg.hashing:fold", waivers=(waiver,))
    assert codes(guarding) == [("warning", "protected-waived"), ("error", "protected-path")]
    assert guarding.guarded


def test_the_reason_of_a_rule_is_told():
    rows = judge_protected(policy(reason="all must agree"), CALLS, [function("pkg.hashing:fold")], ON).findings
    assert rows[0].found.endswith("(all must agree; here)")


def test_a_value_is_guarded_by_who_reads_it():
    value = Touched("pkg.limits:MOST", (("pkg.hashing:fold", True), ("pkg.rpc:handler", True)), is_value=True)
    (row,) = judge_protected(policy(), CALLS, [value], ON).findings
    assert row.found == (
        "protected code calls it: pkg.consensus.block:check -> pkg.hashing:digest -> pkg.hashing:fold, "
        "which reads it (here)"
    )
    perhaps = Touched("pkg.limits:C.most", (("pkg.consensus.block:check", False),), is_value=True)
    (row,) = judge_protected(policy(), CALLS, [perhaps], ON).findings
    assert row.found == "protected code may call it: pkg.consensus.block:check, which may read it (here)"
    unread = Touched("pkg.limits:MOST", (("pkg.rpc:handler", True),), is_value=True)
    assert judge_protected(policy(), CALLS, [unread], ON) == Guarding()


def test_the_strictest_of_several_rules_holds_and_the_certain_way_is_shown():
    two = Policy(
        protected=(
            Protected(paths=(Pattern("pkg.rpc"),), source="one", approvals=0),
            Protected(paths=(Pattern("pkg.hashing:digest"),), source="two", approvals=3),
        )
    )
    guarding = judge_protected(two, CALLS, [function("pkg.hashing:digest")], AT, compatible_with=">=2")
    assert codes(guarding) == [("warning", "protected-path")]
    assert [(each.source, each.roles) for each in guarding.demands] == [("two", {"anybody": 3})]


def test_a_graph_that_cannot_be_built_refuses_and_says_why():
    def fails():
        raise RecursionError("too deep")

    made, why = built(fails)
    assert made is None
    refusal = no_graph(why)
    assert (refusal.severity, refusal.code) == ("error", "call-graph-missing")
    assert "RecursionError: too deep" in refusal.found
    assert built(lambda: CALLS) == (CALLS, "")
    # What a rule names is known all the same.
    named = [function("pkg.consensus.block:check"), function("pkg.hashing:fold")]
    (row,) = judge_protected(policy(), None, named, ON).findings
    assert row.target == "pkg.consensus.block:check"


def test_a_pattern_that_names_nothing_is_told():
    rows = unmatched(policy("pkg.consensus.*", "pkg.consenus.*", "pkg.values"), CALLS, {"pkg.values", "pkg"})
    assert [(row.severity, row.code, row.target) for row in rows] == [
        ("warning", "rule-matches-nothing", "pkg.consenus.*")
    ]
