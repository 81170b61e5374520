"""The words of a source: what tells, before anything is parsed, that a text cannot mention a name."""

from __future__ import annotations

import re

__all__ = ["words_of"]

_WORDS = re.compile(r"[^\W\d]\w*")
_DIGITS = "0123456789"
# All but letters, digits and underscores becomes a space: to split a text is many times as fast as to search it.
_BLANKS = bytes(byte if chr(byte).isalnum() or byte == ord("_") else ord(" ") for byte in range(128)).ljust(256)


def words_of(source: bytes) -> frozenset[str]:
    """Every identifier in a text in UTF-8, those in strings and comments too.

    Raises :class:`UnicodeDecodeError` if it is in another encoding.
    """
    if not source.isascii():
        return frozenset(_WORDS.findall(source.decode()))
    words = frozenset(source.translate(_BLANKS).decode("ascii").split())
    numbers = [word for word in words if word < ":"]  # what begins with a digit, as nothing else here sorts so low
    if not numbers:
        return words
    return words.difference(numbers).union(filter(None, (word.lstrip(_DIGITS) for word in numbers)))
