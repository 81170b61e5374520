"""Who has to approve a patch, and when it may go in: pure judgements."""

from __future__ import annotations

from datetime import timedelta

import pytest

from livepatch.compat.approvals import ANYBODY, NOBODY, Approval, Approving, Case, Demand, Emergency, judged
from livepatch.compat.policy import Policy, merged, read_policy
from livepatch.compat.windows import is_open, moment_of, next_opening
from livepatch.contents.ownership import Owners
from livepatch.errors import PolicyError

NOW = moment_of("2026-11-26T12:00:00Z")  # a Thursday
PLAIN = Case(protected=False, state="none")
TWO = Demand(name="two", source="here", roles={"security-reviewer": 2})
HOLDERS = {"security-reviewer": ("carol", "dave", "frank"), "operator": ("erin", "carol")}


def by(holder: str, role: str = "security-reviewer", *, hours: float = 1, **changes) -> Approval:
    return Approval(holder=holder, role=role, made=NOW - timedelta(hours=hours), **changes)


def handed(*approvals: Approval, authors: tuple[str, ...] = (), idle: tuple[str, ...] = ()) -> Approving:
    return Approving(approvals=approvals, holders=HOLDERS, authors=frozenset(authors), idle=idle)


def found(rules: Policy | Demand, given: Approving = NOBODY, case: Case = PLAIN, now=NOW):
    policy = Policy(demands=(rules,)) if isinstance(rules, Demand) else rules
    return [(row.severity, row.code) for row in judged(policy, (), case, given, now)]


MISSING, NOT_YET = ("error", "approvals-missing"), ("error", "cooling-off")


def test_as_many_people_as_the_rule_says():
    assert found(TWO, handed()) == [MISSING]
    assert found(TWO, handed(by("carol"))) == [MISSING]
    assert found(TWO, handed(by("carol"), by("carol", hours=2))) == [MISSING]  # one holder, two keys
    assert found(TWO, handed(by("carol"), by("erin", "operator"))) == [MISSING]
    assert found(TWO, handed(by("carol"), by("dave"))) == []
    anybody = Demand(name="any", source="here", roles={ANYBODY: 2})
    assert found(anybody, handed(by("carol"), by("erin", "operator"))) == []
    assert found(anybody, handed(by("carol"), by("carol", "operator"))) == [MISSING]


def test_a_refusal_says_what_is_missing_and_who_can_give_it():
    given = handed(by("carol"), by("dave"), authors=("dave",), idle=("x.approval, of another patch",))
    (row,) = judged(Policy(demands=(TWO,)), (), PLAIN, given, NOW)
    assert "rule two (here): security-reviewer: 1 of 2" in row.found
    assert "not counted: x.approval, of another patch; that of dave, an author of the patch" in row.found
    assert row.expected == "2 approvals by security-reviewer"
    assert row.action.startswith("have frank approve the very file (livepatch approve)")
    (row,) = judged(Policy(demands=(TWO,)), (), PLAIN, NOBODY, NOW)
    assert row.action.startswith("load the patch from a file with trust=")
    (row,) = judged(Policy(demands=(TWO,)), (), PLAIN, Approving(holders={"operator": ("erin",)}), NOW)
    assert row.action.startswith("put more holders into the roles of the trust root")


def test_neither_too_old_nor_from_the_future():
    week = Demand(name="week", source="here", roles={"operator": 1}, max_age=timedelta(days=7))
    assert found(week, handed(by("erin", "operator", hours=7 * 24))) == []
    (row,) = judged(Policy(demands=(week,)), (), PLAIN, handed(by("erin", "operator", hours=169)), NOW)
    assert "too old: made at 2026-11-19T11:00:00Z" in row.found
    assert found(week, handed(by("erin", "operator", hours=-0.05))) == []  # a clock that is fast
    assert found(week, handed(by("erin", "operator", hours=-1))) == [MISSING]


def test_time_to_cool_off_runs_from_the_last_approval_that_was_needed():
    cool = Demand(name="cool", source="here", roles={"security-reviewer": 2}, cooling_off=timedelta(hours=24))
    assert found(cool, handed(by("carol", hours=25), by("dave", hours=24))) == []
    given = handed(by("carol", hours=30), by("dave", hours=23), by("dave", hours=1))
    (row,) = judged(Policy(demands=(cool,)), (), PLAIN, given, NOW)
    assert (row.code, row.action) == (
        "cooling-off", "apply it from 2026-11-26T13:00:00Z on, if nobody has an objection by then",
    )  # fmt: skip
    # A third one that was not needed begins nothing anew.
    assert found(cool, handed(by("carol", hours=30), by("dave", hours=25), by("frank", hours=1))) == []


@pytest.mark.parametrize(
    ("condition", "case", "decision", "asked"),
    [
        ({"protected": True}, PLAIN, "", False),
        ({"protected": True}, Case(protected=True, state="none"), "", True),
        ({"protected": False}, Case(protected=True, state="none"), "", False),
        ({"state": ("reversible",)}, PLAIN, "", False),
        ({"state": ("reversible",)}, Case(protected=False, state="reversible"), "", True),
        ({"classes": ("full-update",)}, PLAIN, "hot-patch", False),
        ({"classes": ("full-update",)}, PLAIN, "full-update", True),
        ({"classes": ("full-update",)}, PLAIN, "", True),  # nobody has said which class it is
    ],
)
def test_a_rule_is_about_patches_of_which_all_conditions_hold(condition, case, decision, asked):
    rule = Demand(name="some", source="here", roles={"security-reviewer": 2}, **condition)
    assert found(rule, handed(by("carol", decision=decision)), case) == ([MISSING] if asked else [])


def test_an_author_cannot_name_a_class_that_lifts_a_rule():
    rule = Demand(name="some", source="here", roles={"security-reviewer": 1}, classes=("full-update",))
    own = by("dave", decision="hot-patch")
    assert found(rule, handed(own, authors=("dave",))) == [MISSING]
    assert found(rule, handed(own)) == []


def test_one_person_with_keys_in_two_roles_is_one_person():
    both = Demand(name="both", source="here", roles={"security-reviewer": 1, "operator": 1})
    alone = handed(by("carol"), by("carol", "operator"))
    (row,) = judged(Policy(demands=(both,)), (), PLAIN, alone, NOW)
    assert "security-reviewer and operator together, of which each counts once: 1 of 2 people" in row.found
    assert found(both, handed(by("carol"), by("carol", "operator"), by("dave"))) == []
    three = Demand(name="three", source="here", roles={"security-reviewer": 2, "operator": 1})
    assert found(three, handed(by("carol"), by("dave"), by("dave", "operator"))) == [MISSING]
    assert found(three, handed(by("carol"), by("dave"), by("dave", "operator"), by("erin", "operator"))) == []
    either = Demand(name="either", source="here", roles={"security-reviewer": 1, "anybody": 2})
    assert found(either, handed(by("carol"), by("carol", "operator"))) == [MISSING]
    assert found(either, handed(by("carol"), by("erin", "operator"))) == []
    urgent = [by("carol", role, emergency=True, reason="attacks") for role in ("security-reviewer", "operator")]
    assert found(read_policy(URGENT, "a"), handed(*urgent))[-1] == ("error", "emergency-missing")


def test_time_to_cool_off_runs_from_when_there_was_somebody_for_each_place():
    roles = {"security-reviewer": 1, "operator": 1}
    cool = Demand(name="cool", source="here", roles=roles, cooling_off=timedelta(hours=24))
    given = [by("carol", hours=50), by("carol", "operator", hours=40)]
    assert found(cool, handed(*given, by("dave", hours=23))) == [NOT_YET]
    assert found(cool, handed(*given, by("dave", hours=24))) == []


@pytest.mark.parametrize("hours", [-1, 24 * 8])
def test_an_approval_that_does_not_count_names_no_class_that_lifts_a_rule(hours):
    rule = Demand(
        name="some",
        source="here",
        roles={"security-reviewer": 1},
        classes=("full-update",),
        max_age=timedelta(days=7),
    )
    assert found(rule, handed(by("carol", decision="hot-patch"))) == []
    assert found(rule, handed(by("carol", decision="hot-patch", hours=hours))) == [MISSING]


# When

NIGHT = b"[[window]]\ndays = ['wed', 'thu']\nfrom = '22:00'\nto = '04:00'\n"


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-11-25T21:59:59Z", False),
        ("2026-11-25T22:00:00Z", True),
        ("2026-11-26T03:59:59Z", True),  # the night that began on Wednesday
        ("2026-11-26T04:00:00Z", False),
        ("2026-11-27T03:00:00Z", True),
        ("2026-11-27T22:00:00Z", False),
    ],
)
def test_a_window_may_go_past_midnight(moment, is_open):
    rows = found(read_policy(NIGHT, "night.toml"), now=moment_of(moment))
    assert rows == ([] if is_open else [("error", "outside-window")])


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-12-31T23:29:59Z", False), ("2026-12-31T23:30:00Z", True), ("2027-01-01T00:00:00Z", True),
        ("2027-01-01T00:29:59Z", True), ("2027-01-01T00:30:00Z", False),  # over the end of a year,
        ("2028-02-29T23:30:00Z", False), ("2028-03-02T23:59:59Z", True), ("2028-03-03T00:30:00Z", False),  # a leap day,
        ("2027-03-28T01:30:00Z", False), ("2027-03-25T23:45:00Z", True),  # and when clocks on walls are set
    ],
)  # fmt: skip
def test_windows_know_no_year_and_no_daylight_saving(moment, is_open):
    rules = read_policy(b"[[window]]\ndays = ['thu']\nfrom = '23:30'\nto = '00:30'\n", "thursday.toml")
    assert found(rules, now=moment_of(moment)) == ([] if is_open else [("error", "outside-window")])


@pytest.mark.parametrize("times", [("00:00", "00:01"), ("23:59", "00:00"), ("12:00", "12:00"), ("23:00", "01:00")])
@pytest.mark.parametrize("day", ["mon", "sun"])
def test_what_is_told_as_the_next_opening_is_one_and_lies_ahead(day, times):
    text = "[[window]]\ndays = ['{}']\nfrom = '{}'\nto = '{}'\n".format(day, *times)
    windows = read_policy(text.encode(), "a").windows
    for minutes in range(0, 15 * 24 * 60, 97):
        now = moment_of("2026-12-24T00:00:59Z") + timedelta(minutes=minutes)
        opening = next_opening(windows, now)
        assert now < opening <= now + timedelta(days=8)
        assert is_open(windows, opening)


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-26T00:00:00Z"])
def test_windows_know_the_ends_of_the_calendar(moment):
    late = read_policy(b"[[window]]\nfrom = '22:00'\nto = '00:00'\n", "late.toml")
    saturdays = read_policy(b"[[window]]\ndays = ['sat']\nfrom = '22:00'\nto = '23:00'\n", "saturdays.toml")
    now = moment_of(moment)
    assert found(late, now=now) == ([] if now.hour == 23 else [("error", "outside-window")])
    assert found(saturdays, now=now) == [("error", "outside-window")]
    assert next_opening(saturdays.windows, now) > now


@pytest.mark.parametrize(
    "text",
    [
        "0001-01-01T00:00:00+2359",
        "2027-01-01T00:00:00+00:00",
        "\uff12\uff10\uff12\uff17-01-01T00:00:00Z",
        "2027-1-1T0:0:0Z",
    ],
)
def test_a_moment_has_one_spelling(text):
    with pytest.raises(ValueError, match="no moment of UTC"):
        moment_of(text)


def test_the_next_opening_is_told_and_each_source_has_windows_of_its_own():
    night = read_policy(NIGHT, "night.toml")
    (row,) = judged(night, (), PLAIN, NOBODY, NOW)
    assert row.expected == "wed, thu 22:00 to 04:00 UTC"
    assert row.action == "apply it from 2026-11-26T22:00:00Z on"
    noon = read_policy(b"[[window]]\nfrom = '11:00'\nto = '13:00'\n", "noon.toml")
    assert found(noon) == []
    assert found(merged([night, noon])) == [("error", "outside-window")]  # rules are only ever added
    day = read_policy(b"[[window]]\nfrom = '00:00'\nto = '00:00'\n", "day.toml")
    assert found(day) == found(day, now=moment_of("2026-11-26T00:00:00Z")) == []


FREEZE = b"[[freeze]]\nfrom = '2026-11-26T00:00:00Z'\nto = '2026-11-27T00:00:00Z'\nreason = 'the upgrade'\n"
URGENT = FREEZE + b"[emergency]\nroles = { security-reviewer = 1, operator = 1 }\n"


def test_in_a_freeze_nothing_goes_in_but_by_an_emergency_and_that_shows():
    frozen = ("error", "frozen")
    assert found(read_policy(FREEZE, "a")) == [frozen]
    assert found(read_policy(FREEZE, "a"), now=moment_of("2026-11-27T00:00:00Z")) == []
    urgent = read_policy(URGENT, "a")
    declared = [
        by("carol", emergency=True, reason="attacks"),
        by("erin", "operator", emergency=True, reason="so they do"),
    ]
    assert found(urgent, handed(*declared)) == [("warning", "frozen"), ("warning", "emergency-override")]
    row = judged(urgent, (), PLAIN, handed(*declared), NOW)[-1]
    assert row.found == ("an emergency, declared by carol (security-reviewer): attacks; erin (operator): so they do")
    assert found(urgent, handed(declared[0])) == [frozen, ("error", "emergency-missing")]
    assert found(urgent, handed(by("carol"), by("erin", "operator"))) == [frozen]
    assert found(urgent, handed(*declared, authors=("erin",))) == [frozen, ("error", "emergency-missing")]
    assert found(read_policy(FREEZE, "a"), handed(*declared)) == [frozen, ("error", "emergency-missing")]


def test_an_emergency_is_over_after_its_hours():
    old = [
        by("carol", emergency=True, reason="attacks", hours=24),
        by("erin", "operator", emergency=True, reason="so they do", hours=24.1),
    ]
    urgent = read_policy(URGENT, "a")
    row = judged(urgent, (), PLAIN, handed(*old), NOW)[-1]
    assert (row.severity, row.code) == ("error", "emergency-missing")
    assert "operator: 0 of 1 (a); declared more than 24 hours ago, or in the future, by erin" in row.found
    again = [*old, by("dave", emergency=True, reason="now"), by("frank", "operator", emergency=True, reason="as I say")]
    row = judged(urgent, (), PLAIN, handed(*again), NOW)[-1]
    assert row.code == "emergency-override"
    assert "frank (operator): as I say" in row.found
    assert "erin" not in row.found
    longer = read_policy(URGENT + b"max-age-hours = 48\n", "a")
    assert found(longer, handed(*old))[-1] == ("warning", "emergency-override")
    ahead = [by("carol", emergency=True, reason="a"), by("erin", "operator", emergency=True, reason="b", hours=-1)]
    assert found(urgent, handed(*ahead))[-1] == ("error", "emergency-missing")


def test_an_emergency_cuts_the_time_to_cool_off_short_but_not_the_approvals():
    cool = Demand(name="cool", source="a", roles={"security-reviewer": 2}, cooling_off=timedelta(hours=24))
    policy = Policy(demands=(cool,), emergencies=(Emergency(roles={"operator": 1}, source="a"),))
    urgent = by("erin", "operator", emergency=True, reason="attacks")
    assert found(policy, handed(by("carol"), by("dave"))) == [NOT_YET]
    assert found(policy, handed(by("carol"), by("dave"), urgent)) == [
        ("warning", "cooling-off"), ("warning", "emergency-override"),
    ]  # fmt: skip
    assert found(policy, handed(by("carol"), urgent)) == [MISSING]


# The file


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("[[approval]]\nroles = {operator = 1}", "approval[0].name", "a name"),
        ("[[approval]]\nname = 'a'", "approval[0].roles", "a table such as"),
        ("[[approval]]\nname = 'a'\nroles = {}", "approval[0].roles", "a table such as"),
        ("[[approval]]\nname = 'a'\nroles = {author = 1}", "approval[0].roles.author", "security-reviewer, operator"),
        ("[[approval]]\nname = 'a'\nroles = {operator = 0}", "approval[0].roles.operator", "1 to 100"),
        ("[[approval]]\nname = 'a'\nroles = {operator = true}", "approval[0].roles.operator", "1 to 100"),
        ("[[approval]]\nname = 'a'\nroles = {operator = 1}\nstate = ['bad']", "approval[0].state[0]", "reversible"),
        ("[[approval]]\nname = 'a'\nroles = {operator = 1}\nprotected = 'yes'", "approval[0].protected", "true or"),
        ("[[approval]]\nname = 'a'\nroles = {operator = 1}\ncooling-off-hours = -1", "cooling-off-hours", "0 to"),
        ("[[approval]]\nname = 'a'\nroles = {operator = 1}\n" * 2, "approval[1].name", "each name once"),
        ("[[window]]\nfrom = '25:00'\nto = '03:00'", "window[0].from", "a time of day"),
        ("[[window]]\nfrom = '02:00'", "window[0].to", "a time of day"),
        ("[[window]]\nfrom = '02:00'\nto = '03:00'\ndays = ['monday']", "window[0].days[0]", "mon"),
        ("[[freeze]]\nfrom = '2026-11-26'\nto = '2026-11-27T00:00:00Z'", "freeze[0].from", "a moment of UTC"),
        ("[[freeze]]\nfrom = '2026-11-27T00:00:00Z'\nto = '2026-11-27T00:00:00Z'", "freeze[0].to", "a moment after"),
        ("[[freeze]]\nfrom = '2026-13-27T00:00:00Z'\nto = '2026-11-27T00:00:00Z'", "freeze[0].from", "a moment of UTC"),
        ("[emergency]", "emergency.roles", "a table such as"),
        ("[[emergency]]\nroles = {operator = 1}", "emergency", "a table: [emergency]"),
        ("[emergency]\nroles = {operator = 1}\nwho = 'me'", "emergency.who", "one of max-age-hours, roles"),
    ],
)
def test_rules_about_approvals_are_read_strictly(text, place, expected):
    with pytest.raises(PolicyError) as error:
        read_policy(text.encode(), "mine.toml")
    assert place in str(error.value)
    assert expected in error.value.expected


def test_a_rule_may_ask_that_the_patch_says_who_looks_after_it():
    rules = read_policy(b'[[approval]]\nname = "owned"\nowners = ["watches", "call"]\n', "rules.toml")
    missing = ("error", "owners-missing")
    named = Case(protected=False, state="none", owners=Owners(watches="operations", call="security"))
    half = Case(protected=False, state="none", owners=Owners(watches="operations", stops="me"))
    assert found(rules) == [missing]
    assert found(rules, case=half) == [missing]
    assert found(rules, case=named) == []
    (row,) = judged(rules, (), half, NOBODY, NOW)
    assert row.found == "rule owned (rules.toml): the patch does not say whom to call"
    assert row.expected == "that it names watches, call"
    for timed in (True, False):
        assert [each.code for each in judged(rules, (), half, NOBODY, NOW, timed=timed)] == ["owners-missing"]
    urgent = Policy(demands=rules.demands, emergencies=(Emergency(roles={ANYBODY: 1}, source="here"),))
    assert missing in found(urgent, handed(by("carol", emergency=True, reason="now")), half)


def test_owners_and_conditions_of_one_rule_hold_together():
    rules = read_policy(
        b'[[approval]]\nname = "x"\nowners = ["stops"]\nprotected = true\nroles = { operator = 1 }\n', "rules.toml"
    )
    assert found(rules) == []
    touched = Case(protected=True, state="none")
    assert found(rules, case=touched) == [("error", "owners-missing"), MISSING]
    assert found(rules, handed(by("erin", "operator")), touched) == [("error", "owners-missing")]


@pytest.mark.parametrize("value", ["[]", '["wakes"]', '"call"', '["call", "call"]', "7"])
def test_owners_of_a_rule_are_roles(value):
    with pytest.raises(PolicyError, match=r"approval\[0\]\.owners"):
        read_policy(f'[[approval]]\nname = "x"\nowners = {value}\n'.encode(), "rules.toml")


def test_a_rule_may_ask_that_the_patch_carries_a_probe():
    rules = read_policy(b'[[approval]]\nname = "x"\nprobes = true\n', "rules.toml")
    assert found(rules) == [("error", "probes-missing")]
    assert found(rules, case=Case(protected=False, state="none", probes=1)) == []
    with pytest.raises(PolicyError, match=r"approval\[0\]\.roles"):
        read_policy(b'[[approval]]\nname = "x"\nprobes = false\n', "rules.toml")
    with pytest.raises(PolicyError, match="true or false"):
        read_policy(b'[[approval]]\nname = "x"\nprobes = 1\n', "rules.toml")
