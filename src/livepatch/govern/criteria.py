"""Criteria: by which facts a patch is a hot-patch, one that needs a quorum, or no patch but an update."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from livepatch.compat.tables import Table
from livepatch.contents.words import CLASSES, STATES, Class
from livepatch.errors import spelled
from livepatch.govern.rulefiles import read_rules
from livepatch.govern.severity import EXPLOITABILITY, EXPOSURE

__all__ = [
    "NUMBERS",
    "WORDS",
    "Criteria",
    "Criterion",
    "criteria_of",
    "default_criteria",
    "read_criteria",
]

WORDS: Mapping[str, tuple[str, ...]] = {
    "fits": ("yes", "no"),
    "exploitability": EXPLOITABILITY,
    "exposure": EXPOSURE,
    "consensus": ("none", "waived", "touched"),
    "state": STATES,
}
"""The facts that are words, and what each may be."""
NUMBERS = ("cvss", "places", "lines", "reach")
"""The facts that are numbers."""
_FACTS = (*WORDS, *NUMBERS)
_LEAST, _BELOW = "least", "below"


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One criterion: met if all its conditions are, and then the patch is of its class at least.

    `words` are the facts that must be one of some words, `bounds` those that must be at ``least`` or ``below`` a
    number, and `unknown` those that nobody knows: one of them is enough.
    """

    name: str
    decides: Class
    reason: str = ""
    words: Mapping[str, tuple[str, ...]]
    bounds: Mapping[str, Mapping[str, float]]
    unknown: tuple[str, ...] = ()

    @property
    def facts(self) -> tuple[str, ...]:
        """The facts that it asks for."""
        return (*self.words, *self.bounds)

    def met(self, facts: Mapping[str, str | float | None]) -> bool | None:
        """Whether it is met; ``None`` if that depends on facts that nobody knows."""
        answers = [None if facts[name] is None else facts[name] in words for name, words in self.words.items()]
        answers += [_within(facts[name], bounds) for name, bounds in self.bounds.items()]
        if self.unknown:
            answers.append(any(facts[name] is None for name in self.unknown))
        if False in answers:
            return False
        return None if None in answers else True

    def __str__(self) -> str:
        told = [f"{name} {' or '.join(words)}" for name, words in self.words.items()]
        for name, bounds in self.bounds.items():
            told += [f"{name} {'from' if end == _LEAST else 'below'} {number:g}" for end, number in bounds.items()]
        told += [f"no {' or no '.join(self.unknown)}"] if self.unknown else []
        return ", ".join(told)


def _within(value: str | float | None, bounds: Mapping[str, float]) -> bool | None:
    if value is None or isinstance(value, str):
        return None
    return bounds.get(_LEAST, value) <= value and (_BELOW not in bounds or value < bounds[_BELOW])


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """All criteria of one file, in its order."""

    source: str
    criteria: tuple[Criterion, ...]


def read_criteria(data: bytes, source: str) -> Criteria:
    """The criteria in the bytes of a TOML file.

    Raises :class:`PolicyError`, which says where in it and what is wrong: what is misspelt must not pass for a
    criterion that no patch meets.
    """
    table = Table.read(data, source, "file of criteria")
    found = table.tables("criterion", _criterion)
    if not found:
        table.fail("criterion", "none", "one or more tables [[criterion]]")
    table.end()
    names = [each.name for each in found]
    for index, name in enumerate(names):
        if name in names[:index]:
            table.fail(f"criterion[{index}].name", f"{spelled(name)} twice", "each name once")
    return Criteria(source=source, criteria=found)


def default_criteria() -> Criteria:
    """The criteria that come with livepatch: the file ``govern/criteria.toml`` of the package."""
    data = resources.files(__package__).joinpath("criteria.toml").read_bytes()
    return read_criteria(data, "livepatch's own criteria")


def criteria_of(path: str | os.PathLike[str] | None) -> Criteria:
    """The criteria in a file, or livepatch's own.  Raises :class:`PolicyError`, or :class:`TypeError` for no path."""
    if path is None:
        return default_criteria()
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"criteria must be the path of a TOML file or None, not {spelled(path)}")
    return read_criteria(read_rules(Path(path), os.fspath(path), "file of criteria"), os.fspath(path))


def _criterion(table: Table) -> Criterion:
    name = table.text("name")
    if not name:
        table.fail("name", "nothing", "a name such as 'large'")
    word = table.one_of("class", CLASSES)
    decides = next(each for each in CLASSES if each == word)
    made = Criterion(
        name=name,
        decides=decides,
        reason=table.text("reason"),
        words={key: words for key, known in WORDS.items() if (words := table.words(key, known))},
        bounds={key: bounds for key in NUMBERS if (bounds := table.bounds(key, (_LEAST, _BELOW)))},
        unknown=table.words("unknown", _FACTS),
    )
    if not made.facts and not made.unknown:
        table.fail("", "no condition", f"one or more of {', '.join(_FACTS)}, unknown")
    return made
