"""Patterns of names: which functions and values a rule is about."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from livepatch.errors import PolicyError, spelled

__all__ = ["Pattern"]

_LONGEST = 300  # characters
_MOST_STARS = 8
_PART = re.compile(r"[\w*]+")
_INNER = re.compile(r"[\w*]+|<locals>|<lambda>")


@dataclass(frozen=True, slots=True)
class Pattern:
    """``"package.module"`` or ``"package.module:Class.method"``: what has that name, and all that lies below it.

    So ``"pkg.consensus"`` and ``"pkg.consensus.*"`` both are the package and all its modules, and ``"pkg.node:Node"``
    is the class with its methods and what these make.  ``*`` stands for any characters of one part of a name.

    Raises :class:`PolicyError` for what is no pattern, and :class:`TypeError` for what is no text.
    """

    text: str
    _module: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _qualname: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise TypeError(f"a pattern must be a str such as 'package.consensus.*', not {spelled(self.text)}")
        module, colon, qualname = self.text.partition(":")
        parts, inner = module.split("."), qualname.split(".")
        sound = (
            len(self.text) <= _LONGEST
            and self.text.count("*") <= _MOST_STARS
            and parts[0].isidentifier()
            and all(map(_PART.fullmatch, parts))
            and (not colon or (all(map(_INNER.fullmatch, inner)) and not inner[0].startswith("<")))
        )
        if not sound:
            raise PolicyError(
                "a pattern names nothing",
                found=spelled(self.text),
                expected="'package.consensus.*' or 'package.module:Class.method', beginning with the name of a package",
                action="correct it",
            )
        # A star at the end stands for all that is below, and so does its absence.
        last = inner if colon else parts
        if len(last) > 1 and last[-1] == "*":
            last.pop()
        object.__setattr__(self, "_module", tuple(parts))
        object.__setattr__(self, "_qualname", tuple(inner) if colon else ())

    @property
    def package(self) -> str:
        """The top-level package or module that it is about."""
        return self._module[0]

    def matches(self, name: str) -> bool:
        """Whether the pattern is about ``"module"`` or ``"module:qualified.name"``."""
        module, _, qualname = name.partition(":")
        parts = module.split(".")
        if not self._qualname:
            return _begins(parts, self._module)
        return (
            len(parts) == len(self._module)
            and _begins(parts, self._module)
            and _begins(qualname.split("."), self._qualname)
        )

    def __str__(self) -> str:
        return self.text


def _begins(parts: list[str], pattern: tuple[str, ...]) -> bool:
    return len(parts) >= len(pattern) and all(map(_is_like, parts, pattern))


def _is_like(part: str, pattern: str) -> bool:
    """Each piece between two stars is taken where it first comes: no name makes that slow."""
    first, *pieces = pattern.split("*")
    if not pieces:
        return part == first
    *middle, last = pieces
    if len(part) < len(first) + len(last) or not part.startswith(first) or not part.endswith(last):
        return False
    at, end = len(first), len(part) - len(last)
    for piece in middle:
        at = part.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True
