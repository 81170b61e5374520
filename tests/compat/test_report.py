"""Reports: the decision first, then the reasons by weight; the same as plain values."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import pytest

import livepatch
from livepatch.compat.report import Caller, Finding, Report, Severity, by_weight

if TYPE_CHECKING:
    from tests.conftest import WriteFix, WriteModule


def finding(severity: Severity, code: str = "a-code", target: str = "m:f") -> Finding:
    return Finding(code=code, severity=severity, target=target, found="this", expected="that", action="do so")


def caller(name: str, *, certain: bool = True) -> Caller:
    return Caller(target="m:f", caller=f"app:{name}", file="app.py", line=7, certain=certain)


def report(*findings: Finding, callers: tuple[Caller, ...] = ()) -> Report:
    return Report(
        patch_id="FIX",
        package="specimen",
        versions=">=1,<2",
        targets=("m:f", "m:LIMIT"),
        findings=findings,
        callers=callers,
    )


def test_errors_come_first_each_weight_in_the_order_found_and_no_row_twice():
    rows = [finding(severity, code) for code in "abc" for severity in ("info", "error", "warning")]  # type: ignore[arg-type]  # they are severities
    ordered = by_weight([*rows, *rows])
    assert [(f.severity, f.code) for f in ordered] == [
        (severity, code) for severity in ("error", "warning", "info") for code in "abc"
    ]
    assert by_weight([]) == ()


@pytest.mark.parametrize(("severities", "ok"), [((), True), (("info", "warning"), True), (("info", "error"), False)])
def test_only_errors_refuse(severities: tuple[Severity, ...], ok: bool):
    made = report(*map(finding, severities))
    assert made.ok is ok
    assert made.errors == tuple(f for f in made.findings if f.severity == "error")


def test_a_report_that_fits_says_what_it_would_touch():
    assert str(report(finding("warning"), callers=(caller("one"), caller("two", certain=False)))) == (
        "patch FIX for specimen >=1,<2 fits this process (1 warning)\n"
        "  warning: [a-code] m:f: found this; expected that; do: do so\n"
        "  changes m:f\n"
        "  changes m:LIMIT\n"
        "  called by app:one (app.py:7)\n"
        "  called by app:two (app.py:7), perhaps\n"
        "  next: judge the 1 warning, then apply it"
    )
    assert str(report()).startswith("patch FIX for specimen >=1,<2 fits this process\n")
    assert str(report()).endswith("\n  next: apply it")


def test_a_report_that_refuses_says_why_and_what_to_do_next():
    assert str(report(finding("error"), finding("error", "b-code", ""), callers=(caller("one"),))) == (
        "patch FIX for specimen >=1,<2 does not fit this process (2 errors)\n"
        "  error: [a-code] m:f: found this; expected that; do: do so\n"
        "  error: [b-code] found this; expected that; do: do so\n"
        "  changes m:f\n"
        "  changes m:LIMIT\n"
        "  called by app:one (app.py:7)\n"
        "  next: do so, then see to the 1 other error"
    )
    assert "(1 error)\n" in str(report(finding("error")))


@pytest.mark.parametrize(("count", "rows", "last"), [(4, 4, "app:c3 (app.py:7)"), (5, 4, "2 more"), (30, 4, "27 more")])
def test_many_callers_are_counted(count: int, rows: int, last: str):
    lines = str(report(callers=tuple(caller(f"c{i}") for i in range(count)))).splitlines()
    called = [line for line in lines if "called by" in line]
    assert len(called) == rows
    assert called[-1].startswith(f"  called by {last}")


def test_a_report_is_plain_values():
    made = report(finding("error"), finding("info"), callers=(caller("one"),))
    plain = made.to_dict()
    assert json.loads(json.dumps(plain)) == json.loads(
        json.dumps(
            {
                "patch_id": "FIX",
                "package": "specimen",
                "versions": ">=1,<2",
                "targets": ["m:f", "m:LIMIT"],
                "findings": [dataclasses.asdict(f) for f in made.findings],
                "callers": [dataclasses.asdict(c) for c in made.callers],
                "protected": False,
                "waived": [],
                "ok": False,
            }
        )
    )


def test_a_report_and_its_rows_do_not_change():
    for thing, name in ((report(), "findings"), (finding("info"), "code"), (caller("one"), "certain")):
        with pytest.raises((AttributeError, TypeError)):
            setattr(thing, name, None)
    assert report() == report()
    assert hash(finding("info")) == hash(finding("info"))


def test_what_check_really_gives(write_module: WriteModule, write_fix: WriteFix):
    m = write_module("""
        LIMIT = 1
        def f(a): return 'old'
        def calls(): return f(1)
        class C:
            def f_too(self): return self.f(1)
            def names(self, other): return other.f
    """)
    fix = write_fix(f"{m.__name__}:f", "def f(a): return 'new'")
    fix.set(f"{m.__name__}:LIMIT", 2)
    made = livepatch.check(fix)
    assert (made.patch_id, made.package, made.versions) == (fix.id, "specimen", "==1.0")
    assert set(made.targets) == {f"{m.__name__}:f", f"{m.__name__}:LIMIT"}
    ours = [(c.caller, c.certain, c.line) for c in made.callers if c.file == m.__file__]
    # A method's `.f` may be anybody's; since a global f is there too, only the call by name is sure to lead to it.
    assert (f"{m.__name__}:calls", True, 4) in ours
    assert made.callers == tuple(sorted(made.callers, key=lambda c: (not c.certain, c.target, c.caller)))
    assert json.loads(json.dumps(made.to_dict()))["ok"] is True
    assert str(made).startswith(f"patch {fix.id} for specimen ==1.0 fits this process (1 warning)\n")
    applied = livepatch.apply(fix)
    assert applied.report.targets == made.targets
    assert applied.report.callers == ()  # looked for by check alone
    assert json.loads(json.dumps(applied.status().to_dict()))["drained"] is True


def test_the_error_that_carries_a_report_says_all_of_it(write_module: WriteModule, write_fix: WriteFix):
    m = write_module("def f(a): return 'old'")
    with pytest.raises(livepatch.IncompatibleError) as caught:
        livepatch.apply(write_fix(f"{m.__name__}:f", "def f(a, b): return 'new'"))
    assert str(caught.value) == str(caught.value.report)
    assert "does not fit this process" in str(caught.value)
    assert "breaks calls without 'b'" in " ".join(str(caught.value).split())
