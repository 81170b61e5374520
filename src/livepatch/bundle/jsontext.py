"""JSON read strictly, from bytes that anybody may have written: one meaning for each text, or an error.

Refused are: more bytes or brackets than the caller allows, anything but ASCII, a field twice, fractions, ``NaN`` and
``Infinity``, and numbers of more than sixteen digits.  :class:`Fields` then takes an object apart, field by field, and
refuses what is missing, of another kind, or unknown.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Callable
from typing import Any, NoReturn

from livepatch.contents.release import LARGEST, is_moment
from livepatch.errors import PatchError, spelled

__all__ = ["Fields", "Refuse", "read_object", "refusing"]

_DIGITS = 16

Refuse = Callable[[str, str], Exception]
"""Makes the error to raise, of what was found and what was expected."""


def refusing(kind: Callable[..., Exception], what: str, action: str) -> Refuse:
    """Refusals of one kind of error: `what` is wrong, and the `action` to take."""
    return lambda found, expected: kind(what, found=found, expected=expected, action=action)


def read_object(data: bytes, *, most: int, brackets: int, refuse: Refuse) -> Fields:
    """The one object that `data` holds: of at most so many bytes, and so many objects and lists."""
    if len(data) > most:
        raise refuse(f"more than {most} bytes", f"{most} bytes or fewer")
    if not data.isascii():
        raise refuse("bytes that are not ASCII", "JSON in ASCII")
    # How deep it nests is bounded by how many brackets there are.
    if data.count(b"{") + data.count(b"[") > brackets:
        raise refuse(f"more than {brackets} objects and lists", "fewer")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(items)
        if len(fields) != len(items):
            names = [name for name, _ in items]
            twice = next(name for name in names if names.count(name) > 1)
            raise refuse(f"field {spelled(twice)} twice", "each field once")
        return fields

    def number(text: str) -> int:
        if len(text) > _DIGITS:
            raise refuse(f"a number of {len(text)} digits", f"a whole number from 0 to {LARGEST}")
        return int(text)

    def odd(text: str) -> NoReturn:
        raise refuse(f"the number {spelled(text)}", f"a whole number from 0 to {LARGEST}")

    try:
        value = json.loads(
            data.decode("ascii"), object_pairs_hook=pairs, parse_int=number, parse_float=odd, parse_constant=odd
        )
    except (json.JSONDecodeError, RecursionError) as error:
        raise refuse(f"no JSON: {error}", "one JSON object") from error
    if not isinstance(value, dict):
        raise refuse("JSON that is no object", "one JSON object")
    return Fields(value, refuse)


class Fields:
    """The fields of one JSON object, each taken once; :meth:`end` refuses what nobody took."""

    def __init__(self, values: dict[str, Any], refuse: Refuse, where: str = "") -> None:
        self._values = values
        self._refuse = refuse
        self._where = where

    def error(self, name: str, found: str, expected: str) -> Exception:
        """What to raise for one field."""
        return self._refuse(f"{self._where}{name}: {found}", expected)

    def text(self, name: str, most: int, judge: Callable[[str], object] | None = None) -> str:
        """A text of at most so many characters, for which `judge` does not raise :class:`PatchError`."""
        value = self._take(name, str, "a text")
        assert isinstance(value, str)
        if len(value) > most or not value.isascii():
            found = f"a text of {len(value)} characters" if value.isascii() else "a text that is not ASCII"
            raise self.error(name, found, f"at most {most} characters of ASCII")
        try:
            if judge is not None:
                judge(value)
        except PatchError as error:
            raise self.error(name, error.found, error.expected) from error
        return value

    def exactly(self, name: str, expected: object) -> None:
        """A field that has only one value."""
        value = self._take(name, type(expected), repr(expected))
        if value != expected:
            raise self.error(name, spelled(value), repr(expected))

    def number(self, name: str, least: int, most: int = LARGEST) -> int:
        """A whole number in those bounds."""
        value = self._take(name, int, "a whole number")
        assert isinstance(value, int)
        if not least <= value <= most:
            raise self.error(name, str(value), f"a number from {least} to {most}")
        return value

    def truth(self, name: str) -> bool:
        """True or false."""
        return bool(self._take(name, bool, "true or false"))

    def moment(self, name: str, *, empty: bool = False) -> str:
        """A moment of UTC; with `empty`, perhaps none."""
        value = self.text(name, 20)
        if not is_moment(value) and not (empty and not value):
            raise self.error(name, spelled(value), "a moment of UTC such as '2027-03-31T00:00:00Z'")
        return value

    def binary(self, name: str, most: int) -> bytes:
        """Bytes in base64, in its one canonical spelling."""
        value = self._take(name, str, "a text")
        assert isinstance(value, str)
        if len(value) > (most + 2) // 3 * 4:
            raise self.error(name, f"a text of {len(value)} characters", f"base64 of {most} bytes or fewer")
        try:
            found = binascii.a2b_base64(value.encode("ascii"), strict_mode=True)
        except ValueError as error:
            raise self.error(name, "a text that is no base64", "standard base64 with its padding") from error
        # What is strict about the standard library leaves open what the last digit hides below the last byte.
        last = found[-(len(found) % 3 or 3) :]
        if value[-4:].encode() != binascii.b2a_base64(last, newline=False) or len(value) != (len(found) + 2) // 3 * 4:
            raise self.error(name, "base64 in an odd spelling", "standard base64 with its padding")
        return found

    def record(self, name: str) -> Fields:
        """Another object."""
        value = self._take(name, dict, "an object")
        assert isinstance(value, dict)
        return Fields(value, self._refuse, f"{self._where}{name}.")

    def records(self, name: str, most: int) -> list[Fields]:
        """A list of at most so many objects."""
        return [
            Fields(value, self._refuse, f"{self._where}{name}[{index}].")
            for index, value in enumerate(self._list(name, most, dict, "objects"))
        ]

    def texts(self, name: str, most: int, longest: int) -> tuple[str, ...]:
        """A list of at most so many texts, each once."""
        found = self._list(name, most, str, "texts")
        if len(set(found)) != len(found) or any(len(text) > longest or not text.isascii() for text in found):
            raise self.error(name, "one of them twice or too long", f"texts of at most {longest} characters, each once")
        return tuple(found)

    def names(self, most: int) -> list[str]:
        """The names of the fields that are left, of which there may be at most so many."""
        if len(self._values) > most:
            raise self._refuse(f"{self._where or 'the object'}: {len(self._values)} fields", f"at most {most}")
        return list(self._values)

    def end(self) -> None:
        """No field is left."""
        for name in self._values:
            raise self.error(spelled(name), "an unknown field", "only the fields of the format")

    def _list(self, name: str, most: int, kind: type, noun: str) -> list[Any]:
        value = self._take(name, list, f"a list of {noun}")
        assert isinstance(value, list)
        if len(value) > most:
            raise self.error(name, f"a list of {len(value)}", f"at most {most}")
        if any(type(item) is not kind for item in value):
            raise self.error(name, "a list that holds something else", f"a list of {noun}")
        return value

    def _take(self, name: str, kind: type, expected: str) -> object:
        if name not in self._values:
            raise self.error(name, "no such field", expected)
        value = self._values.pop(name)
        if type(value) is not kind:
            raise self.error(name, f"a {type(value).__name__}", expected)
        return value
