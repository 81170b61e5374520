"""What is changed, as a patch that is written in code has it: a target, and what comes in its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from livepatch.errors import PatchError, spelled

__all__ = ["Addition", "Assignment", "Attachment", "Change", "Replacement", "Target", "Wrapping", "places_of"]

_SEGMENT = re.compile(r"[^\W\d]\w*|<locals>|<lambda>")


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """Where something lives: a module, and a qualified name in it (empty: the module itself).

    The name is written as in ``__qualname__``: ``Mempool.validate``, ``make.<locals>.handler``,
    private names unmangled.  The accessors of a property are ``C.x.fget``, ``C.x.fset``, ``C.x.fdel``.
    """

    module: str
    qualname: str

    @classmethod
    def parse(cls, text: object, *, argument: str = "target", owner: bool = False) -> Target:
        """Read ``"module:qualified.name"``, or with `owner` also a bare ``"module"``.

        Raises :class:`PatchError`, or :class:`TypeError` if `text` is no string.
        """
        if not isinstance(text, str):
            raise TypeError(f"{argument} must be a str such as 'package.module:Class.method', not {spelled(text)}")
        module, colon, qualname = text.partition(":")
        right = "'package.module' or 'package.module:Class'" if owner else "'package.module:Class.method'"
        if not module or not all(part.isidentifier() for part in module.split(".")):
            raise PatchError(
                f"{argument} names no module",
                found=spelled(text),
                expected=right,
                action="name it as Python imports it",
            )
        if not colon and owner:
            return cls(module, "")
        segments = qualname.split(".")
        if not all(_SEGMENT.fullmatch(part) for part in segments) or segments[0] == "<locals>":
            raise PatchError(
                f"{argument} has no qualified name",
                found=spelled(text),
                expected=right,
                action="correct the name" if colon else "put a colon between the module and the name in it",
            )
        return cls(module, qualname)

    def __str__(self) -> str:
        return f"{self.module}:{self.qualname}" if self.qualname else self.module


@dataclass(frozen=True, slots=True)
class Replacement:
    """The new side of a function, or with a class as `source` of several.

    `source` is a plain function, a class body, or one of them in a ``staticmethod``, ``classmethod``,
    ``property`` or ``cached_property``.  `expect` holds fingerprints; one of them must be that of the live code.
    A `pure` function changes nothing and depends on nothing but its arguments, so that both sides may run.
    """

    target: Target
    source: object
    expect: tuple[str, ...] = ()
    pure: bool = False


@dataclass(frozen=True, slots=True)
class Addition:
    """Names that a module or class does not have yet."""

    owner: Target
    names: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Assignment:
    """Another value for a module or class attribute that exists."""

    target: Target
    value: object


@dataclass(frozen=True, slots=True)
class Wrapping:
    """A wrapper ``(wrapped, instance, args, kwargs)`` in place of a callable that has no Python code."""

    target: Target
    wrapper: Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Attachment:
    """Attributes that objects of a class lack, each with its default: a plain value, or a factory."""

    owner: Target
    names: Mapping[str, object]


Change = Replacement | Addition | Assignment | Wrapping | Attachment


def places_of(change: Change) -> set[Target]:
    """What it changes: no patch may change one of them twice."""
    if isinstance(change, (Addition, Attachment)):
        prefix = change.owner.qualname + "." if change.owner.qualname else ""
        return {Target(change.owner.module, prefix + name) for name in change.names}
    return {change.target}
