"""What this interpreter's instructions look like: how far each reaches, where it jumps, and what raises where.

Plain bytes are read, because `dis` makes an object for each instruction and takes a millisecond for twenty lines.
"""

from __future__ import annotations

import opcode
import sys
from collections.abc import Iterator
from types import CodeType
from typing import Any

__all__ = [
    "CODES",
    "LOADS_NULL_FIRST",
    "OPERATORS",
    "REACH",
    "VERSION",
    "Protected",
    "loops",
    "protected",
    "stored_locals",
    "swapped_of",
]

VERSION = sys.version_info[:2]

CODES: dict[str, int] = {
    name: code for name, code in opcode.opmap.items() if code < 256 and not name.startswith("INSTRUMENTED_")
}

LOADS_NULL_FIRST = VERSION < (3, 13)
"""Whether the empty slot of a call lies below the callable and not above it."""


def _caches() -> dict[int, int]:
    found: Any = getattr(opcode, "_inline_cache_entries", {})
    if hasattr(found, "items"):  # by name, since 3.13
        return {CODES[name]: count for name, count in found.items() if name in CODES}
    return dict(enumerate(found))


_counts = _caches()
REACH: list[int] = [2 + 2 * _counts.get(code, 0) for code in range(256)]
"""Bytes from an instruction to the next one, by its code."""


def _operators() -> list[tuple[str, str, str]]:
    """By the argument of BINARY_OP: the in-place method or nothing, the method, and the reflected one."""
    names = {
        "+": "add",
        "&": "and",
        "//": "floordiv",
        "<<": "lshift",
        "@": "matmul",
        "*": "mul",
        "%": "mod",
        "|": "or",
        "**": "pow",
        ">>": "rshift",
        "-": "sub",
        "/": "truediv",
        "^": "xor",
    }
    rows: list[tuple[str, str, str]] = []
    for _, sign in opcode._nb_ops:  # type: ignore[attr-defined]  # noqa: SLF001  # nothing public tells them
        name = names.get(sign.removesuffix("="), "")
        if not name:
            rows.append(("", "__getitem__", ""))
            continue
        rows.append((f"__i{name}__" if sign.endswith("=") else "", f"__{name}__", f"__r{name}__"))
    return rows


OPERATORS = _operators()

_SWAPPED = {"__lt__": "__gt__", "__gt__": "__lt__", "__le__": "__ge__", "__ge__": "__le__"}


def swapped_of(comparison: str) -> str:
    """The method that the right side is asked for where the left one has none."""
    return _SWAPPED.get(comparison, comparison)


_STORES_ONE = {CODES[name] for name in ("STORE_FAST", "STORE_DEREF") if name in CODES}
_STORES_TWO = CODES.get("STORE_FAST_STORE_FAST", -1)
_STORES_FIRST = CODES.get("STORE_FAST_LOAD_FAST", -1)


def stored_locals(code: CodeType) -> frozenset[int]:
    """The positions of the local variables that the code assigns (those past 255 left out)."""
    raw = code.co_code
    found = set()
    for op, argument in zip(raw[::2], raw[1::2], strict=True):
        if op in _STORES_ONE:
            found.add(argument)
        elif op == _STORES_TWO:
            found |= {argument >> 4, argument & 15}
        elif op == _STORES_FIRST:
            found.add(argument >> 4)
    return frozenset(found)


_GOES_BACK = frozenset(code for name, code in CODES.items() if "JUMP_BACKWARD" in name)
_EXTENDED = CODES["EXTENDED_ARG"]


def loops(code: CodeType) -> list[tuple[int, int]]:
    """Where each loop of the code begins, and from where it goes back there."""
    raw = code.co_code
    found: list[tuple[int, int]] = []
    if _GOES_BACK.isdisjoint(raw[::2]):  # most bodies of modules and classes have none
        return found
    offset = extended = 0
    while offset < len(raw):
        op, argument = raw[offset], extended | raw[offset + 1]
        following = offset + REACH[op]
        if op in _GOES_BACK:
            found.append((following - 2 * argument, offset))
        extended = argument << 8 if op == _EXTENDED else 0
        offset = following
    return found


Protected = tuple[int, int, int, bool]
"""Where it begins, its handler, how deep the stack is there, and whether the place of the error lies on it."""


def protected(code: CodeType) -> Iterator[Protected]:
    """The parts of the code from which errors lead to a handler."""
    table = iter(code.co_exceptiontable)
    for first in table:
        start = _number(first, table)
        _number(next(table), table)
        target = _number(next(table), table)
        depth = _number(next(table), table)
        yield start * 2, target * 2, depth >> 1, bool(depth & 1)


def _number(byte: int, table: Iterator[int]) -> int:
    value = byte & 63
    while byte & 64:
        byte = next(table)
        value = value << 6 | byte & 63
    return value
