"""A report on one screen: whatever it holds, the decision and the heaviest reason are there, and it fits."""

from __future__ import annotations

import itertools

import pytest

from livepatch.compat.report import Caller, Finding, Report, Severity, by_weight
from livepatch.compat.screen import Line, screen

LONG = "package.of.a.client.with.deep.modules:Class.and_a_method_of_it"


def finding(severity: Severity, number: int = 0, words: int = 5) -> Finding:
    text = " ".join(f"word{n}" for n in range(words))
    return Finding(
        code=f"code-{number}", severity=severity, target=f"{LONG}{number}", found=text, expected=text, action=text
    )


def report(*findings: Finding, targets: int = 1, callers: int = 0, protected: bool = False) -> Report:
    return Report(
        patch_id="FIX",
        package="specimen",
        versions=">=1,<2",
        targets=tuple(f"{LONG}_{n}" for n in range(targets)),
        findings=by_weight(list(findings)),
        callers=tuple(
            Caller(target="m:f", caller=f"{LONG}_{n}", file="/a/" * 30 + "b.py", line=n, certain=True)
            for n in range(callers)
        ),
        protected=protected,
    )


def weights(lines: list[Line]) -> list[str]:
    return [weight for weight, _ in itertools.groupby(line.weight for line in lines)]


@pytest.mark.parametrize("width", [40, 80, 100, 250])
@pytest.mark.parametrize("height", [12, 24, 60])
@pytest.mark.parametrize("words", [3, 60, 600])
@pytest.mark.parametrize(("errors", "warnings", "notes"), [(0, 0, 0), (1, 0, 0), (0, 3, 4), (2, 2, 30), (70, 40, 1)])
def test_it_fits_the_screen_whatever_there_is_to_say(width, height, words, errors, warnings, notes):
    rows = [finding("error", n, words) for n in range(errors)]
    rows += [finding("warning", n, words) for n in range(warnings)]
    rows += [finding("info", n, words) for n in range(notes)]
    lines = screen(report(*rows, targets=30, callers=40), width=width, height=height)
    assert len(lines) <= height
    assert max(len(line.text) for line in lines) <= width
    assert lines[0].weight == ("refused" if errors else "fits")
    assert lines[-1].weight == "next"
    if errors or warnings:
        assert any("[code-0]" in line.text for line in lines)


def test_the_decision_comes_first_then_the_reasons_the_targets_the_callers_and_what_is_next():
    rows = [finding("info"), finding("warning"), finding("error")]
    assert weights(screen(report(*rows, callers=2))) == [
        "refused", "error", "warning", "info", "target", "caller", "next",
    ]  # fmt: skip


def test_what_is_left_out_is_counted():
    lines = screen(
        report(*(finding("error", n, 60) for n in range(9)), finding("warning", 1, 60), targets=9, callers=9)
    )
    text = "\n".join(line.text for line in lines)
    shown = text.count("  error: [")
    assert 1 <= shown < 9
    assert f"  and {9 - shown} errors and 1 warning more: see report.findings, or --json" in text
    assert "  changes 6 more" in text
    assert "  called by 6 more" in text


def test_notes_take_a_line_each_and_one_that_names_their_codes_where_there_is_no_room():
    notes = [*(finding("info", n) for n in range(3)), finding("info", 0)]

    def told(height: int) -> list[str]:
        return [line.text for line in screen(report(*notes), height=height) if line.weight == "info"]

    whole = "word0 word1 word2 word3 word4"
    assert told(24) == [f"  info: [code-{n}] {LONG}{n}: {whole}"[:99] + "…" for n in range(3)]
    assert len(screen(report(*notes, *(finding("error", n, 60) for n in range(4))), height=12)) <= 12
    crowded = screen(report(*notes, *(finding("error", n, 60) for n in range(4))), height=12)
    assert [line.text for line in crowded if line.weight == "info"] == ["  info: code-0, code-1, code-2"]


def test_what_to_do_is_there_even_where_the_rest_has_no_room():
    rows = [
        Finding(
            code=f"c{n}", severity="warning", target="", found="found " * 90, expected="it " * 90, action="do this!"
        )
        for n in range(3)
    ]
    text = " ".join(" ".join(line.text for line in screen(report(*rows))).split())
    assert text.count("do: do this!") == 3
    assert text.count("…; expected it it") == 3


def test_the_first_reason_is_shown_whole_as_far_as_it_can_be():
    (row,) = [finding("error", 0, 30)]
    text = " ".join(line.text.strip() for line in screen(report(row)) if line.weight == "error")
    assert text == str(row)


def test_what_to_do_next():
    def last(*rows: Finding, place: str = "this process") -> str:
        return screen(report(*rows), place=place)[-1].text

    assert last() == "  next: apply it"
    assert last(finding("warning"), finding("warning", 1)) == "  next: judge the 2 warnings, then apply it"
    assert last(place="these sources") == "  next: check it in the process that is to take it"
    assert last(finding("error", 0, 1)) == "  next: word0"
    assert last(finding("error", 0, 1), finding("error", 1, 1), finding("warning")) == (
        "  next: word0, then see to the 1 other error"
    )


def test_that_protected_code_is_touched_is_part_of_the_decision():
    first = screen(report(protected=True))[0]
    assert first == Line("fits", "patch FIX for specimen >=1,<2 fits this process, and touches protected code")


def test_of_a_caller_the_name_is_kept_and_of_its_file_what_there_is_room_for():
    def line(width: int) -> str:
        return screen(report(callers=1), width=width)[-2].text

    assert line(250) == f"  called by {LONG}_0 ({'/a/' * 30}b.py:0)"
    assert line(100) == f"  called by {LONG}_0 (b.py:0)"
    assert line(60).startswith("  called by package.of.a")
    assert line(60).endswith("_of_it_0 (b.py:0)")
    assert "…" in line(60)
