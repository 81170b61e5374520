"""Recorded calls, read strictly: plain values only, and every refusal says where.

In a file they are JSON lines, or msgpack maps one after the other; nothing is unpickled.  JSON has no bytes and no
tuples, so ``{"$hex": "00ff"}`` and ``{"$tuple": [1, 2]}`` stand for them.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import msgpack

from livepatch.errors import PatchError, spelled
from livepatch.replaying.plain import PLAIN

__all__ = ["Input", "check_name_of_place", "read_inputs"]

_LARGEST = 64 * 2**20  # bytes of one recorded call in a file
_DEEPEST = 100
_HIGHEST = 2**63
_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_FIELDS = ("target", "args", "kwargs", "height", "differs")
_JSON_SPACE = b" \t\r\n"

Inputs = Iterable[Mapping[str, object]] | str | os.PathLike[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One recorded call: what is called with what, and at which height.

    `where` says where it was recorded (``line 7``, ``input 7``), `differs` that the sides are meant to differ on it.
    """

    number: int
    where: str
    target: str
    args: tuple[object, ...] = ()
    kwargs: dict[str, object]
    height: int | None = None
    differs: bool = False


def check_name_of_place(argument: str, value: object) -> str:
    """``"module:name.of.what"``.  Raises :class:`PatchError`, or :class:`TypeError` if it is no text."""
    if not isinstance(value, str):
        raise TypeError(f"{argument} must be a str such as 'package.module:name', not {spelled(value)}")
    if not _PATH.fullmatch(value):
        raise PatchError(
            f"{argument} names nothing",
            found=spelled(value),
            expected="'package.module:name'",
            action="name a function of a module",
        )
    return value


def read_inputs(inputs: Inputs, activation: int | None = None) -> Iterator[Input]:
    """The recorded calls of a file or an iterable, in order.

    With an `activation` height each must have its height, and none below may be meant to differ.  Raises
    :class:`PatchError` for the first that is none, naming where it stands, and :class:`TypeError` for what is no
    iterable of mappings.
    """
    number = 0
    for where, record in _records(inputs):
        number += 1
        yield _input(number, where, record, activation)
    if not number:
        raise PatchError("there are no inputs", found="none", expected="recorded calls", action="record some")


def _records(inputs: Inputs) -> Iterator[tuple[str, object]]:
    if isinstance(inputs, (str, os.PathLike)):
        yield from _records_in(Path(inputs))
        return
    given: object = inputs
    if not isinstance(given, Iterable) or isinstance(given, (bytes, Mapping)):
        raise TypeError(f"inputs must be a path or an iterable of mappings, not {spelled(given)}")
    for number, record in enumerate(given, 1):
        yield f"input {number}", record


def _records_in(path: Path) -> Iterator[tuple[str, object]]:
    try:
        # A pipe would make the open wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123  # it is the descriptor that is opened
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ValueError("no regular file")
            first = file.read(1)
            file.seek(0)
            # A map of msgpack begins with a byte that is no character of ASCII.
            yield from _lines(file) if first in (*(bytes([c]) for c in _JSON_SPACE), b"{") else _maps(file, first)
    except (OSError, ValueError) as error:
        if isinstance(error, PatchError):
            raise
        raise PatchError(
            "the inputs cannot be read",
            found=f"{path}: {getattr(error, 'strerror', None) or error}",
            expected="a file of JSON lines, or of msgpack maps one after the other",
            action="correct the path",
        ) from error


def _lines(file: BinaryIO) -> Iterator[tuple[str, object]]:
    number = 0
    while line := file.readline(_LARGEST + 1):
        number += 1
        where = f"line {number}"
        if len(line) > _LARGEST:
            _refuse(where, f"more than {_LARGEST} bytes", "a shorter one")
        if not line.strip():
            continue
        try:
            yield (
                where,
                json.loads(line.decode(), object_pairs_hook=_pairs, parse_constant=_constant, parse_float=_fraction),
            )
        except PatchError as error:
            _refuse(where, error.found, error.expected)
        except (ValueError, RecursionError) as error:
            _refuse(where, f"no JSON: {error}"[:200], "one JSON object")


def _maps(file: BinaryIO, first: bytes) -> Iterator[tuple[str, object]]:
    if first and not (0x80 <= first[0] <= 0x8F or first[0] in (0xDE, 0xDF)):
        _refuse("the file", f"a file that begins with {first!r}", "JSON lines, or msgpack maps one after the other")
    size = os.fstat(file.fileno()).st_size
    most = max(1, min(size, _LARGEST))  # room is made for as many as a list says; each takes a byte or more
    unpacker = msgpack.Unpacker(
        file,
        strict_map_key=True,
        raw=False,
        object_pairs_hook=_fields,
        max_buffer_size=_LARGEST,
        max_array_len=most,
        max_map_len=most,
        timestamp=0,
    )
    number = 0
    while True:
        number += 1
        begun = unpacker.tell()
        where = f"map {number}, at byte {begun}"
        try:
            record = unpacker.unpack()
        except msgpack.OutOfData:
            if begun < size:
                _refuse(where, "a file that ends inside it", "a whole map")
            return
        except PatchError as error:
            _refuse(where, error.found, error.expected)
        except (ValueError, RecursionError, msgpack.UnpackException) as error:
            _refuse(where, f"no msgpack: {type(error).__name__}: {error}"[:200], "a map of at most 64 MiB")
        yield where, record


def _input(number: int, where: str, record: object, activation: int | None) -> Input:
    if not isinstance(record, Mapping):
        _refuse(where, spelled(record), f"a mapping with {', '.join(_FIELDS)}")
    unknown = [name for name in record if name not in _FIELDS]
    if unknown:
        _refuse(where, f"a field {spelled(unknown[0])}", f"only {', '.join(_FIELDS)}")
    target, args, kwargs = record.get("target"), record.get("args", ()), record.get("kwargs", {})
    height, differs = record.get("height"), record.get("differs", False)
    if not isinstance(target, str) or not _PATH.fullmatch(target):
        _refuse(where, f"target {spelled(target)}", "'package.module:name.of.what.is.called'")
    if not isinstance(args, (list, tuple)):
        _refuse(where, f"args {spelled(args)}", "a list")
    if not isinstance(kwargs, Mapping) or not all(isinstance(name, str) for name in kwargs):
        _refuse(where, f"kwargs {spelled(kwargs)}", "a mapping whose names are texts")
    if height is None and activation is not None:
        _refuse(where, "no height", "the height at which it was recorded: there is an activation height")
    if height is not None and (type(height) is not int or not 0 <= height < _HIGHEST):
        _refuse(where, f"height {spelled(height)}", "a whole number from 0")
    if type(differs) is not bool:
        _refuse(where, f"differs {spelled(differs)}", "true or false")
    if differs and activation is not None and height is not None and height < activation:
        _refuse(
            where,
            f"differs at height {height}",
            f"no difference below the activation height {activation}",
        )
    _check_plain(where, args)
    _check_plain(where, kwargs)
    return Input(
        number=number,
        where=where,
        target=target,
        args=tuple(args),
        kwargs=dict(kwargs),
        height=height,
        differs=differs,
    )


def _check_plain(where: str, value: object, depth: int = 0) -> None:
    kind = type(value)
    if kind in PLAIN:
        return
    if depth > _DEEPEST:
        _refuse(where, f"values more than {_DEEPEST} levels deep", "fewer levels")
    if kind in (list, tuple):
        for item in value:  # type: ignore[attr-defined]  # a list or tuple
            _check_plain(where, item, depth + 1)
    elif isinstance(value, dict if depth else Mapping):
        for key, item in value.items():
            if type(key) not in PLAIN:
                _refuse(where, f"the key {spelled(key)}", "keys that are plain values")
            _check_plain(where, item, depth + 1)
    else:
        _refuse(
            where,
            spelled(value),
            "None, bool, int, float, str, bytes, and lists, tuples and dicts of these; what else a call needs, "
            "a function of your own makes of them",
        )


def _fields(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in items:
        if name in fields:
            raise PatchError(
                "", found=f"field {spelled(name)} twice", expected="each field once", action="leave one of the two out"
            )
        fields[name] = value
    return fields


def _pairs(items: list[tuple[str, Any]]) -> object:
    fields = _fields(items)
    if len(fields) != 1:
        return fields
    ((name, value),) = items
    if name == "$hex":
        try:
            return bytes.fromhex(value)
        except (TypeError, ValueError):
            raise PatchError(
                "",
                found=f"$hex {spelled(value)}",
                expected="two digits for each byte",
                action="write each byte as two hexadecimal digits",
            ) from None
    if name == "$tuple":
        if not isinstance(value, list):
            raise PatchError(
                "", found=f"$tuple {spelled(value)}", expected="a list", action="write the values as a list"
            )
        return tuple(value)
    return fields


def _fraction(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        _constant(text)
    return value


def _constant(text: str) -> NoReturn:
    raise PatchError("", found=f"the number {text}", expected="numbers that JSON has", action="write it as JSON does")


def _refuse(where: str, found: str, expected: str) -> NoReturn:
    raise PatchError(
        f"{where} is no recorded call",
        found=found,
        expected=expected,
        action="correct what records it; docs/replay.md has the form",
    )
