"""msgpack read strictly: the caller says what comes next, and anything else is an error that says where.

Nothing is built before its kind is known, and no length is believed before it is compared with the bytes that are
left, so a file cannot make the reader allocate or recurse: both follow the caller's own steps.  Each value has one
spelling only: whole numbers and lengths in the fewest bytes, the fields of a record all there, once, in sorted order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, ParamSpec, TypeVar

import msgpack

from livepatch.errors import BundleError, PatchError, spelled

__all__ = ["LIMITS", "Limits", "Reader"]

P = ParamSpec("P")
T = TypeVar("T")
L = TypeVar("L", bound=str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a file may hold at most.  Far above what a patch needs; how deep it nests is given by its format."""

    file: int = 16 << 20
    """Bytes of a whole file."""
    values: int = 500_000
    """Values of a file: texts, numbers, records and lists."""
    items: int = 100_000
    """Items of one list."""
    source: int = 4 << 20
    """Bytes of one definition, statement or module."""
    text: int = 64 << 10
    """Bytes of a text that people read."""
    name: int = 2048
    """Bytes of a name or path."""
    line: int = 10_000_000
    """The number of a line."""


LIMITS = Limits()

_AGAIN = "build the patch anew, and compare the file with the one that was published"
_TEXT, _NUMBER, _FLAG, _NOTHING, _LIST, _RECORD = (
    "a text",
    "a whole number",
    "true or false",
    "nothing",
    "a list",
    "a map",
)
_NEGATIVE, _BINARY, _EXTENSION, _FLOAT = (
    "a negative number",
    "binary data",
    "an extension type",
    "a floating-point number",
)


def _kind(byte: int) -> str:
    """What a value is that begins with that byte."""
    bounds = (
        (0x7F, _NUMBER), (0x8F, _RECORD), (0x9F, _LIST), (0xBF, _TEXT), (0xC0, _NOTHING), (0xC1, "an unused byte"),
        (0xC3, _FLAG), (0xC6, _BINARY), (0xC9, _EXTENSION), (0xCB, _FLOAT), (0xCF, _NUMBER), (0xD3, _NEGATIVE),
        (0xD8, _EXTENSION), (0xDB, _TEXT), (0xDD, _LIST), (0xDF, _RECORD), (0xFF, _NEGATIVE),
    )  # fmt: skip
    return next(kind for last, kind in bounds if byte <= last)


_KINDS = tuple(map(_kind, range(256)))


class Reader:
    """Reads the values of a file one after the other.  Whatever does not hold raises :class:`BundleError`."""

    def __init__(
        self, data: bytes, limits: Limits = LIMITS, *, refusal: str = "no readable patch file", action: str = _AGAIN
    ) -> None:
        self._refusal = refusal
        self._action = action
        self._data = data
        self._limits = limits
        self._path: list[str | int] = []
        self._values = 0
        self._left = 0  # fields of the record that is being read
        self._last = ""  # the last of them
        if len(data) > limits.file:
            self.fail(found=f"{len(data)} bytes", expected=f"{limits.file} bytes or fewer")
        # The limits of 0 let nothing through that holds other values: those are opened by their headers alone.
        self._unpacker = msgpack.Unpacker(
            raw=False,
            strict_map_key=True,
            max_buffer_size=max(len(data), 1),
            max_str_len=limits.file,
            max_bin_len=0,
            max_array_len=0,
            max_map_len=0,
            max_ext_len=0,
        )
        self._unpacker.feed(data)

    def fail(self, *, found: str, expected: str, action: str = "", cause: BaseException | None = None) -> NoReturn:
        """Refuse the file for what was just read."""
        raise BundleError(
            f"{self._refusal}: {self._where()}", found=found, expected=expected, action=action or self._action
        ) from cause

    def _where(self) -> str:
        text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self._path)
        return text.removeprefix(".") or "the file"

    # Single values

    def text(self, most: int, *, least: int = 0) -> str:
        """A text of `least` to `most` bytes."""
        value: object = self._scalar(_TEXT)
        assert isinstance(value, str)
        size = len(value.encode())
        if not least <= size <= most:
            self.fail(found=f"a text of {size} bytes", expected=f"one of {least} to {most} bytes")
        return value

    def free(self) -> str:
        """A text that people read, perhaps empty."""
        return self.text(self._limits.text)

    def name(self, judge: Callable[[str], object]) -> str:
        """A text for which `judge` does not raise :class:`PatchError`, which it need not raise for a long one."""
        value = self.text(self._limits.name)
        try:
            judge(value)
        except PatchError as error:
            self.fail(found=error.found, expected=error.expected, cause=error)
        return value

    def source(self, *, least: int = 1, most: int | None = None) -> str:
        """Source text: no line ends in anything but a line feed.  It is neither parsed nor compiled."""
        value = self.text(self._limits.source if most is None else most, least=least)
        for odd in "\0\r":
            if odd in value:
                self.fail(found=f"{odd!r} in a source text", expected="lines that end in '\\n', and no NUL")
        return value

    def choice(self, values: tuple[L, ...]) -> L:
        """One of those texts."""
        found = self.text(self._limits.name)
        if found not in values:
            self.fail(found=spelled(found), expected="one of " + ", ".join(map(repr, values)))
        return values[values.index(found)]

    def number(self, least: int, most: int) -> int:
        """A whole number from `least`, which is not negative, to `most`."""
        value: object = self._scalar(_NUMBER)
        assert isinstance(value, int)
        if not least <= value <= most:
            self.fail(found=str(value), expected=f"a number from {least} to {most}")
        return value

    def line(self) -> int:
        """The number of a line, from 1."""
        return self.number(1, self._limits.line)

    def flag(self) -> bool:
        """True or false."""
        return bool(self._scalar(_FLAG))

    def optional(self, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Nothing, or what `read` reads."""
        if self._next() == _NOTHING:
            self._scalar(_NOTHING)
            return None
        return read(*args, **kwargs)

    # What holds others

    def row(self) -> int:
        """Open a list of unlike values; how many."""
        return self._open(_LIST)

    def items(self, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[T, ...]:
        """A list of what `read` reads."""
        count = self._open(_LIST)
        if count > self._limits.items:
            self.fail(found=f"a list of {count} items", expected=f"{self._limits.items} items or fewer")
        values: list[T] = []
        for index in range(count):
            self._path.append(index)
            values.append(read(*args, **kwargs))
            self._path.pop()
        return tuple(values)

    def record(self, read: Callable[[], T]) -> T:
        """A record whose every field `read` reads, with :meth:`field`, in the order of their names."""
        around = self._left, self._last
        self._left, self._last = self._open(_RECORD), ""
        value = read()
        if self._left:
            self._wrong_field(self._key(), "")
        self._left, self._last = around
        return value

    def field(self, name: str, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The next field of the record, which must have that `name`."""
        if not self._left:
            self.fail(found=f"no field {name!r}", expected="all fields of the format")
        self._left -= 1
        key = self._key()
        if key != name:
            self._wrong_field(key, name)
        self._last = name
        self._path.append(name)
        value = read(*args, **kwargs)
        self._path.pop()
        return value

    def end(self) -> None:
        """Nothing follows."""
        rest = len(self._data) - self._unpacker.tell()
        if rest:
            self.fail(found=f"{rest} bytes after the end", expected="nothing after the end")

    def _key(self) -> str:
        key: object = self._scalar(_TEXT)
        assert isinstance(key, str)
        return key

    def _wrong_field(self, key: str, expected: str) -> NoReturn:
        if key == self._last:
            self.fail(found=f"field {spelled(key)} twice", expected="each field once")
        if not expected:
            self.fail(found=f"an unknown field {spelled(key)}", expected="only the fields of the format")
        self.fail(found=f"field {spelled(key)}", expected=f"field {expected!r} next: all fields, sorted by name")

    # Bytes

    def _next(self) -> str:
        at = self._unpacker.tell()
        if at >= len(self._data):
            self.fail(found=f"the end after {at} bytes", expected="a whole file")
        kind: str = _KINDS[self._data[at]]
        return kind

    def _begin(self, kind: str) -> int:
        found = self._next()
        if found != kind:
            self.fail(found=found, expected=kind)
        self._values += 1
        if self._values > self._limits.values:
            self.fail(found=f"more than {self._limits.values} values", expected="fewer")
        return int(self._unpacker.tell())

    def _scalar(self, kind: str) -> object:
        start = self._begin(kind)
        try:
            value: object = self._unpacker.unpack()
        except msgpack.OutOfData as error:
            self.fail(found="a length beyond the end of the file", expected="a whole file", cause=error)
        except UnicodeDecodeError as error:
            self.fail(found="a text that is not UTF-8", expected="UTF-8 without surrogates", cause=error)
        except ValueError as error:
            self.fail(found="bytes that are no msgpack", expected=kind, cause=error)
        size = self._unpacker.tell() - start
        shortest = _size(value)
        if size != shortest:
            self.fail(found=f"{kind} in {size} bytes", expected=f"its shortest form, {shortest} bytes")
        return value

    def _open(self, kind: str) -> int:
        start = self._begin(kind)
        unpacker = self._unpacker
        try:
            count = int(unpacker.read_map_header() if kind == _RECORD else unpacker.read_array_header())
        except msgpack.OutOfData as error:
            self.fail(found="a length beyond the end of the file", expected="a whole file", cause=error)
        except ValueError as error:
            self.fail(found="bytes that are no msgpack", expected=kind, cause=error)
        at = unpacker.tell()
        shortest = 1 if count < 16 else 3 if count < 1 << 16 else 5
        if at - start != shortest:
            self.fail(
                found=f"the length of {kind} in {at - start} bytes", expected=f"its shortest form, {shortest} bytes"
            )
        rest = len(self._data) - at
        if count * (1 + (kind == _RECORD)) > rest:
            self.fail(found=f"{kind} of {count}, and {rest} bytes to the end of the file", expected="a whole file")
        return count


def _size(value: object) -> int:
    """How many bytes it takes at least, header included."""
    if isinstance(value, str):
        content = len(value) if value.isascii() else len(value.encode())
        return content + (1 if content < 32 else 2 if content < 1 << 8 else 3 if content < 1 << 16 else 5)
    if value is None or isinstance(value, bool) or not isinstance(value, int):
        return 1
    return 1 if value < 1 << 7 else 2 if value < 1 << 8 else 3 if value < 1 << 16 else 5 if value < 1 << 32 else 9
