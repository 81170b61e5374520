"""A report on one screen: the decision, the reasons by weight, what is touched, who calls it, what to do next."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple

from livepatch.errors import counted

if TYPE_CHECKING:
    from livepatch.compat.report import Caller, Finding, Report

__all__ = ["HEIGHT", "PROCESS", "WIDTH", "Line", "Weight", "screen"]

WIDTH, HEIGHT = 100, 24
"""Columns and lines of a screen where nobody says how large it is."""

PROCESS = "this process"

_FIRST, _OTHER = 9, 4  # lines of the heaviest reason, and of each further one
_MOST_TARGETS, _MOST_CALLERS = 4, 4
_NARROWEST, _LOWEST = 40, 12
_SHORTEST = 20  # characters that are left of what was found, or expected

Weight = Literal["fits", "refused", "error", "warning", "info", "target", "caller", "next"]


class Line(NamedTuple):
    """One line of the screen, and what it is part of."""

    weight: Weight
    text: str


def screen(report: Report, *, width: int = WIDTH, height: int = HEIGHT, place: str = PROCESS) -> list[Line]:
    """The lines of a report, `height` at most, each of `width` characters at most; what is left out is counted.

    The heaviest reason is always there.  `place` is what the patch was compared with.
    """
    width, height = max(width, _NARROWEST), max(height, _LOWEST)
    head = _wrapped("fits" if report.ok else "refused", _decision(report, place), width, "", 3)
    last = _wrapped("next", _next(report, place), width, "  next: ", 3)
    foot = [*_targets(report, width), *_callers(report, width)]
    room = height - len(head) - len(last)
    # What is touched gives way to the heaviest reason, and to the lines that say what else there is.
    heaviest = len(_reason(report.findings[0], width, _FIRST)) + 2 if report.findings else 0
    foot = foot[: max(room - heaviest, 0)]
    return [*head, *_reasons(report, width, room - len(foot)), *foot, *last]


def _decision(report: Report, place: str) -> str:
    weights = Counter(finding.severity for finding in report.findings)
    counts = [counted(weights[each], each) for each in ("error", "warning") if weights[each]]
    protected = ", and touches protected code" if report.protected else ""
    verdict = f"{'fits' if report.ok else 'does not fit'} {place}{protected}"
    return f"patch {report.patch_id} for {report.package} {report.versions} {verdict}" + (
        f" ({', '.join(counts)})" if counts else ""
    )


def _reasons(report: Report, width: int, room: int) -> list[Line]:
    """As many reasons as there is room for, whole ones; the rest by number.  Notes that refuse nothing come last."""
    heavy = [finding for finding in report.findings if finding.severity != "info"]
    notes = [finding for finding in report.findings if finding.severity == "info"]
    room -= bool(notes)
    lines: list[Line] = []
    for index, finding in enumerate(heavy):
        spare = room - len(lines) - (index < len(heavy) - 1)
        rows = _reason(finding, width, _OTHER if index else min(_FIRST, spare))
        if len(rows) > spare:
            left = Counter(each.severity for each in heavy[index:])
            told = " and ".join(counted(left[each], each) for each in ("error", "warning") if left[each])
            text = f"  and {told} more: see report.findings, or --json"
            lines.append(Line(finding.severity, _cut_off(text, width)))
            break
        lines += rows
    return [*lines, *_notes(notes, width, room - len(lines) + 1)]


def _notes(notes: list[Finding], width: int, room: int) -> list[Line]:
    """Each note in a line, if there is room for that; else their codes in one."""
    if len(notes) <= room:
        found = (f"  info: [{note.code}] {note.target}{': ' * bool(note.target)}{note.found}" for note in notes)
        texts = [" ".join(text.split()) for text in found]
        return [Line("info", _cut_off(f"  {text}", width)) for text in dict.fromkeys(texts)]
    codes = ", ".join(dict.fromkeys(note.code for note in notes))
    return [Line("info", _cut_off(f"  info: {codes}", width))]


def _reason(finding: Finding, width: int, most: int) -> list[Line]:
    """Why, in `most` lines: where there is not enough room, what was found and expected is cut, not what to do."""
    where = f" {finding.target}:" if finding.target else ""
    room = max(len(finding.found), len(finding.expected))
    while True:
        found, expected = _cut_off(finding.found, room), _cut_off(finding.expected, room)
        text = f"[{finding.code}]{where} found {found}; expected {expected}; do: {finding.action}"
        fits = len(_wrapped(finding.severity, text, width, f"  {finding.severity}: ", most + 1)) <= most
        if fits or room <= _SHORTEST:
            return _wrapped(finding.severity, text, width, f"  {finding.severity}: ", most)
        room = max(room * 4 // 5, _SHORTEST)


def _wrapped(weight: Weight, text: str, width: int, start: str, most: int) -> list[Line]:
    """The text in `most` lines at most; a name that is longer than a line goes on in the next."""
    rows = textwrap.wrap(
        " ".join(text.split()),
        width,
        initial_indent=start,
        subsequent_indent=" " * min(len(start) + 2, 6),
        max_lines=most,
        placeholder=" …",
        break_on_hyphens=False,
    )
    return [Line(weight, row) for row in rows]


def _targets(report: Report, width: int) -> list[Line]:
    return _listed("target", "  changes ", report.targets, _MOST_TARGETS, width)


def _callers(report: Report, width: int) -> list[Line]:
    start = "  called by "
    return _listed(
        "caller", start, [_caller(each, width - len(start)) for each in report.callers], _MOST_CALLERS, width
    )


def _caller(caller: Caller, room: int) -> str:
    """Who calls, and where; of a long path only the name of the file."""
    text = str(caller)
    return text if len(text) <= room else text.replace(caller.file, caller.file.rpartition("/")[2], 1)


def _listed(weight: Weight, start: str, names: Iterable[str], most: int, width: int) -> list[Line]:
    every = list(names)
    shown = every if len(every) <= most else every[: most - 1]
    lines = [Line(weight, _cut(start + name, width)) for name in shown]
    left = len(every) - len(shown)
    return [*lines, Line(weight, f"{start}{left} more")] if left else lines


def _cut(text: str, width: int) -> str:
    """A line of a name: what tells names apart stands at their ends."""
    return text if len(text) <= width else f"{text[: width // 2 - 1]}…{text[-(width - width // 2) :]}"


def _cut_off(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _next(report: Report, place: str) -> str:
    if not report.ok:
        first = report.errors[0]
        more = f", then see to the {counted(len(report.errors) - 1, 'other error')}" if len(report.errors) > 1 else ""
        return first.action + more
    warnings = sum(finding.severity == "warning" for finding in report.findings)
    then = "apply it" if place == PROCESS else "check it in the process that is to take it"
    return f"judge the {counted(warnings, 'warning')}, then {then}" if warnings else then
