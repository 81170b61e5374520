"""The tables of a TOML file, read strictly: each key is asked for once, and what is left over is an error."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NoReturn

from livepatch.compat.patterns import Pattern
from livepatch.compat.windows import moment_of
from livepatch.contents.identity import check_name
from livepatch.contents.release import is_moment
from livepatch.errors import PatchError, PolicyError, spelled

__all__ = ["LARGEST", "Table", "kind_of"]

LARGEST = 256 << 10
"""Bytes of a file."""

_MOST = 1000  # items of one list
_LONGEST = 300  # characters of a text
_LONG = 20_000  # and of one in several lines
_DEEPEST = 50
_HUGE = 2.0**1000  # beyond every number that is meant
_PART = rb"""(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+"""
_DEEP = re.compile(rb"(?<![\w.-])" + _PART + rb"(?:\.[ \t]*+" + _PART + rb"){%d}" % _DEEPEST)
"""A key of so many parts, of which the library makes tables within tables, in time that grows with their square."""
_CLOCK = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")


class Table:
    """One table of the file, at the place `where` in it.  `source` is where the file came from, `noun` what it is."""

    def __init__(self, source: str, where: str, values: dict[str, Any], noun: str = "policy") -> None:
        self.source = source
        self.where = where
        self.noun = noun
        self._left = dict(values)
        self._known: list[str] = []

    @classmethod
    def read(cls, data: bytes, source: str, noun: str = "policy") -> Table:
        """The outermost table in the bytes of a file.  Raises :class:`PolicyError`."""
        if len(data) > LARGEST:
            _fail(source, noun, "", f"{len(data)} bytes or more", f"{LARGEST} bytes or fewer")
        if _DEEP.search(data):
            _fail(source, noun, "", f"a key of more than {_DEEPEST} parts", "keys of a few parts")
        try:
            tables = tomllib.loads(data.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise PolicyError(
                f"{source} is no readable {noun}",
                found=f"{error}"[:200],
                expected="TOML in UTF-8",
                action="correct the file",
            ) from error
        return cls(source, "", tables, noun)

    def _take(self, key: str) -> Any:
        self._known.append(key)
        return self._left.pop(key, None)

    def fail(self, key: str, found: str, expected: str) -> NoReturn:
        """Raise :class:`PolicyError` for what stands under a key."""
        _fail(self.source, self.noun, f"{self.where}.{key}".strip("."), found, expected)

    def tables(self, key: str, read: Callable[[Table], Any]) -> tuple[Any, ...]:
        """An array of tables, each as `read` reads it."""
        values = self._take(key)
        if values is None:
            return ()
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            self.fail(key, kind_of(values), f"an array of tables: [[{f'{self.where}.{key}'.strip('.')}]]")
        self._bound(key, values)
        found = []
        for index, value in enumerate(values):
            inner = Table(self.source, f"{self.where}.{key}[{index}]".strip("."), value, self.noun)
            found.append(read(inner))
            inner.end()
        return tuple(found)

    def patterns(self, key: str) -> tuple[Pattern, ...]:
        """A list of patterns, one or more."""
        values = self._take(key)
        if not isinstance(values, list) or not values:
            self.fail(key, "nothing" if values is None else kind_of(values), "a list of patterns, one or more")
        self._bound(key, values)
        found = []
        for index, value in enumerate(values):
            try:
                found.append(Pattern(value))
            except TypeError:
                self.fail(f"{key}[{index}]", kind_of(value), "a text such as 'package.consensus.*'")
            except PolicyError as error:
                self.fail(f"{key}[{index}]", error.found, error.expected)
        return tuple(found)

    def text(self, key: str) -> str:
        """A text in one line, perhaps empty."""
        value = self._take(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            self.fail(key, kind_of(value), "a text")
        if len(value) > _LONGEST or not value.isprintable():
            self.fail(key, spelled(value), f"a text of {_LONGEST} characters or fewer, in one line")
        return value

    def prose(self, key: str) -> str:
        """A text of several lines, perhaps empty."""
        value = self._take(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            self.fail(key, kind_of(value), "a text")
        if len(value) > _LONG or not value.replace("\n", "").replace("\t", "").isprintable():
            self.fail(key, spelled(value), f"a text of {_LONG} characters or fewer, without control characters")
        return value.strip()

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts, each in one line."""
        values = self._take(key)
        if values is None:
            return ()
        if not isinstance(values, list):
            self.fail(key, kind_of(values), "a list of texts")
        self._bound(key, values)
        for index, value in enumerate(values):
            if not isinstance(value, str) or not value or len(value) > 10 * _LONGEST or not value.isprintable():
                self.fail(f"{key}[{index}]", spelled(value), "a text in one line")
        return tuple(values)

    def one_of(self, key: str, known: tuple[str, ...]) -> str:
        """One of a few words; there must be one."""
        value = self.text(key)
        if value not in known:
            self.fail(key, spelled(value) if value else "nothing", f"one of {', '.join(known)}")
        return value

    def words(self, key: str, known: tuple[str, ...]) -> tuple[str, ...]:
        """Some of a few words: a list, one or more, each once; nothing without the key."""
        values = self._take(key)
        if values is None:
            return ()
        if not isinstance(values, list) or not values:
            self.fail(key, kind_of(values), f"a list of one or more of {', '.join(known)}")
        for index, value in enumerate(values):
            if not isinstance(value, str) or value not in known:
                self.fail(f"{key}[{index}]", spelled(value), f"one of {', '.join(known)}")
            if value in values[:index]:
                self.fail(f"{key}[{index}]", f"{spelled(value)} twice", "each once")
        return tuple(values)

    def bounds(self, key: str, names: tuple[str, ...]) -> Mapping[str, float]:
        """A table of numbers from 0 under one or more of a few names; nothing without the key."""
        value = self._take(key)
        if value is None:
            return {}
        if not isinstance(value, dict) or not value:
            self.fail(key, kind_of(value), f"a table such as {{ {names[0]} = 4 }}")
        for name, number in value.items():
            if name not in names:
                self.fail(f"{key}.{name}", "an unknown key", f"one of {', '.join(names)}")
            if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number < 2**53:
                self.fail(f"{key}.{name}", spelled(number), "a number from 0")
        return dict(value)

    def table(self, key: str, read: Callable[[Table], Any]) -> Any:
        """One table, as `read` reads it; nothing without the key."""
        value = self._take(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.fail(key, kind_of(value), f"a table: [{f'{self.where}.{key}'.strip('.')}]")
        inner = Table(self.source, f"{self.where}.{key}".strip("."), value, self.noun)
        found = read(inner)
        inner.end()
        return found

    def flag(self, key: str) -> bool | None:
        """True or false; nothing without the key."""
        value = self._take(key)
        if value is not None and not isinstance(value, bool):
            self.fail(key, kind_of(value), "true or false")
        return value

    def names(self, key: str) -> tuple[str, ...]:
        """A list of names, each once; nothing without the key."""
        values = self._take(key)
        if values is None:
            return ()
        if not isinstance(values, list) or not values:
            self.fail(key, kind_of(values), "a list of names, one or more")
        self._bound(key, values)
        for index, value in enumerate(values):
            try:
                check_name(key, value) if isinstance(value, str) else self.fail(key, kind_of(value), "names")
            except PatchError as error:
                self.fail(f"{key}[{index}]", error.found, error.expected)
            if value in values[:index]:
                self.fail(f"{key}[{index}]", f"{spelled(value)} twice", "each once")
        return tuple(values)

    def counts(self, key: str, known: tuple[str, ...], most: int, *, needed: bool = True) -> Mapping[str, int]:
        """A table of whole numbers from 1 under one or more of a few names; if it is not `needed`, perhaps none."""
        value = self._take(key)
        if value is None and not needed:
            return {}
        if not isinstance(value, dict) or not value:
            self.fail(key, "nothing" if value is None else kind_of(value), f"a table such as {{ {known[0]} = 2 }}")
        for name, number in value.items():
            if name not in known:
                self.fail(f"{key}.{name}", "an unknown key", f"one of {', '.join(known)}")
            if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= most:
                self.fail(f"{key}.{name}", spelled(number), f"1 to {most}")
        return dict(value)

    def minutes(self, key: str) -> int:
        """A time of day, in minutes after midnight."""
        value = self.text(key)
        if not _CLOCK.fullmatch(value):
            self.fail(key, spelled(value) if value else "nothing", "a time of day such as '02:30', from 00:00 to 23:59")
        return int(value[:2]) * 60 + int(value[3:])

    def moment(self, key: str) -> datetime:
        """A moment of UTC."""
        value = self.text(key)
        if not is_moment(value):
            self.fail(key, spelled(value) if value else "nothing", "a moment of UTC such as '2027-03-31T00:00:00Z'")
        return moment_of(value)

    def count(self, key: str, most: int) -> int:
        """A whole number from 0."""
        value = self._take(key)
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, int):
            self.fail(key, kind_of(value), "a whole number")
        if not 0 <= value <= most:
            self.fail(key, spelled(value), f"0 to {most}")
        return value

    def number(self, key: str, least: float = -_HUGE, most: float = _HUGE) -> float | None:
        """A finite number within bounds, perhaps with a fraction; nothing without the key."""
        value = self._take(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.fail(key, kind_of(value), "a number")
        if not least <= value <= most:
            within = "a finite number" if most == _HUGE else f"a number from {least:g} to {most:g}"
            self.fail(key, spelled(value), within)
        return value

    def end(self) -> None:
        """Nothing is left."""
        for key in self._left:
            self.fail(key, "an unknown key", "one of " + ", ".join(self._known))

    def _bound(self, key: str, values: list[Any]) -> None:
        if len(values) > _MOST:
            self.fail(key, f"{len(values)} items", f"{_MOST} items or fewer")


def _fail(source: str, noun: str, where: str, found: str, expected: str) -> NoReturn:
    raise PolicyError(
        f"{source} is no {noun}{f': {where}' if where else ''}",
        found=found,
        expected=expected,
        action="correct the file; nothing is applied while a rule cannot be read"
        if noun == "policy"
        else "correct the file",
    )


def kind_of(value: object) -> str:
    """What kind of value of TOML it is, in words."""
    kinds = {dict: "a table", list: "a list", str: "a text", bool: "true or false", int: "a whole number"}
    return "an empty list" if value == [] else kinds.get(type(value), f"a {type(value).__name__}")
