"""What a node must keep to: thresholds on what probes show, written in code or in a TOML file."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, Literal, cast

from livepatch.compat.tables import Table
from livepatch.errors import PatchError, spelled
from livepatch.govern.rulefiles import read_rules

__all__ = ["MEASURES", "Rule", "load_rules", "rules_in", "written_rules"]

MEASURES: Final = ("calls", "errors", "latency")
"""What is measured of each target: calls in a second, the share that raised, seconds a call."""

_KINDS = ("above", "below", "times", "plus", "minus", "shifts")
_EXAMPLE = "one of above, below, times, plus, minus and shifts"
_LARGEST = 1e300
_NOUN = "file of health rules"


@dataclass(frozen=True, slots=True)
class Rule:
    """A threshold for a probe, by its name or a pattern of names such as ``"*/latency"``.

    Exactly one of these says what is a breach, in the probe's own unit:

    * `above`, `below`: a value beyond this one;
    * `times`: more than so many times the median of the baseline; below 1, less than that part of it;
    * `plus`, `minus`: more than so much above, or below, the median of the baseline;
    * `shifts`, ``"up"`` or ``"down"``: the values have moved from those of the baseline by more than its noise, as a
      cumulative sum of standardised deviations shows (Page, 1954).  That takes six values or more, and 30 in the
      baseline, where the others need three.

    `least`: for `times` and `shifts`, a change by no more than so much is never a breach.  `in_a_row`: so many known
    values in a row must be beyond the limit, 1 to 100 (`shifts` has a way of its own).  `within`: the newest known
    value may be so many seconds old; then all is unknown.  By default three readings may be missing in a row.

    Raises :class:`TypeError` or :class:`PatchError`, each naming the argument.
    """

    probe: str
    _: KW_ONLY
    above: float | None = None
    below: float | None = None
    times: float | None = None
    plus: float | None = None
    minus: float | None = None
    shifts: Literal["up", "down"] | None = None
    least: float | None = None
    in_a_row: int = 2
    within: float | None = None

    def __post_init__(self) -> None:
        _check_name(self.probe)
        _check_kind({name: value for name in _KINDS if (value := getattr(self, name)) is not None})
        for name in ("above", "below", "times", "plus", "minus", "least", "within"):
            _check_number(name, getattr(self, name), signed=name in ("above", "below"))
        if self.least is not None and self.times is None and self.shifts is None:
            raise _wrong("least", "with a limit that is exact already", "times or shifts beside it")
        if isinstance(self.in_a_row, bool) or not isinstance(self.in_a_row, int):
            raise TypeError(f"in_a_row must be an int, not {spelled(self.in_a_row)}")
        if not 1 <= self.in_a_row <= 100:
            raise _wrong("in_a_row", spelled(self.in_a_row), "1 to 100")

    @property
    def compares(self) -> bool:
        """Whether it needs a baseline."""
        return self.above is None and self.below is None

    @property
    def of_calls(self) -> bool:
        """Whether it is about the calls of a patch's functions, which are measured while that soaks only."""
        return any(self.covers(f"{self.probe.rpartition('/')[0]}/{name}") for name in MEASURES)

    def covers(self, name: str) -> bool:
        """Whether it is about a probe of that name."""
        return fnmatchcase(name, self.probe)

    def __str__(self) -> str:
        given = [(each.name, getattr(self, each.name), each.default) for each in fields(self)[1:]]
        return f"{self.probe} {' '.join(f'{name}={value!r}' for name, value, usual in given if value != usual)}"


def _wrong(name: str, found: str, expected: str) -> PatchError:
    return PatchError(f"{name} of a rule is wrong", found=found, expected=expected, action="correct the rule")


def _check_name(probe: object) -> None:
    if not isinstance(probe, str):
        raise TypeError(f"probe must be the name of a probe or a pattern of names, not {spelled(probe)}")
    if not probe or len(probe) > 300 or not probe.isprintable():
        raise _wrong("probe", spelled(probe), "the name of a probe, or a pattern such as '*/latency'")


def _check_kind(given: dict[str, object]) -> None:
    if len(given) != 1:
        raise _wrong("the limit", ", ".join(given) or "nothing", _EXAMPLE)
    if "shifts" in given and given["shifts"] not in ("up", "down"):
        raise _wrong("shifts", spelled(given["shifts"]), "'up' or 'down'")


def _check_number(name: str, value: object, *, signed: bool) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, not {spelled(value)}")
    if not (math.isfinite(value) and abs(value) < _LARGEST and (signed or value > 0)):
        raise _wrong(name, spelled(value), "a finite number" if signed else "a finite number above 0")


def load_rules(path: str | os.PathLike[str]) -> tuple[Rule, ...]:
    """The rules in a TOML file, each a table ``[[rule]]`` with the arguments of :class:`Rule` as keys.

    Raises :class:`TypeError`, and :class:`PolicyError` for a file that cannot be read, an unknown key, a value that no
    rule may have, or no rule at all.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be that of a file with rules, not {spelled(path)}")
    source = os.fspath(path)
    return rules_in(read_rules(Path(path), source, _NOUN), source)


def rules_in(data: bytes, source: str) -> tuple[Rule, ...]:
    """The rules in the bytes of such a file, which is called `source` in a :class:`PolicyError`."""
    table = Table.read(data, source, _NOUN)
    rules = cast("tuple[Rule, ...]", table.tables("rule", _rule))
    if not rules:
        table.fail("rule", "none", "at least one [[rule]]: without any, everything would pass")
    table.end()
    return rules


def written_rules(rules: Iterable[Rule]) -> str:
    """Those rules as the text of such a file, in ASCII."""
    lines: list[str] = []
    for rule in rules:
        given = {each.name: getattr(rule, each.name) for each in fields(rule)}
        lines.append("[[rule]]")
        lines += [f"{name} = {_written(value)}" for name, value in given.items() if value is not None]
    return "\n".join(lines)


def _written(value: str | float) -> str:
    if not isinstance(value, str):
        return repr(value)
    plain = (c if c.isascii() and c not in '"\\' else f"\\U{ord(c):08x}" for c in value)
    return f'"{"".join(plain)}"'


def _rule(table: Table) -> Rule:
    probe = table.text("probe")
    numbers = {name: table.number(name) for name in ("above", "below", "times", "plus", "minus", "least", "within")}
    shifts = table.text("shifts") or None
    row = table.number("in_a_row")
    in_a_row = 2 if row is None else int(row) if row == int(row) else -1
    try:
        return Rule(probe, shifts=cast("Literal['up', 'down'] | None", shifts), in_a_row=in_a_row, **numbers)
    except PatchError as error:
        table.fail("", f"{error.found} ({str(error).partition(';')[0]})", error.expected)
