"""What a migration may do to the data that it declares, and what it did beyond that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Final

from livepatch.errors import PatchError, spelled

__all__ = ["GONE", "Touches", "beyond"]

GONE: Final = "gone"
"""The digest of what is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Touches:
    """Names of attributes, or ``"module:name"`` of a value, by what a migration does to them.

    It `reads` some and leaves them as they are, `modifies` or brings in others, `archives` what it takes out of use and
    does not alter, and `leaves` the rest alone; an attribute in none of the four is to be left alone as well.
    """

    reads: tuple[str, ...] = ()
    modifies: tuple[str, ...] = ()
    archives: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()

    @classmethod
    def of(cls, value: object) -> Touches | None:
        """What is declared so, also as a dict of lists.  Raises :class:`TypeError` or :class:`PatchError`."""
        if value is None or isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise TypeError(f"touches must be a livepatch.Touches, a dict or None, not {spelled(value)}")
        known = [field.name for field in fields(cls)]
        odd = next((key for key in value if key not in known), None)
        if odd is not None:
            raise PatchError(
                "touches has an unknown part",
                found=spelled(odd),
                expected=", ".join(known),
                action="correct the name of the part",
            )
        return cls(**{key: _names(key, names) for key, names in value.items()})

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for field in fields(self):
            names = _names(field.name, getattr(self, field.name))
            object.__setattr__(self, field.name, names)
            for name in names:
                if seen.setdefault(name, field.name) != field.name:
                    raise PatchError(
                        f"touches names {name} twice",
                        found=f"{seen[name]} and {field.name}",
                        expected="one of them",
                        action="leave one of the two out",
                    )

    @property
    def places(self) -> tuple[str, ...]:
        """The values of modules among the names, as ``"module:name"``."""
        every = (*self.reads, *self.modifies, *self.archives, *self.leaves)
        return tuple(name for name in every if ":" in name)


def _names(argument: str, value: object) -> tuple[str, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError(f"touches: {argument} must be names, such as ['waiting'], not {spelled(value)}")
    names = tuple(value)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"touches: {argument} must hold names, not {spelled(name)}")
        module, colon, path = name.rpartition(":")
        if not all(part.isidentifier() for part in [*(module.split(".") if colon else ()), *path.split(".")]) or (
            "." in path and not colon
        ):
            raise PatchError(
                f"touches: {argument} holds no name",
                found=spelled(name),
                expected="an attribute such as 'waiting', or 'package.module:name'",
                action="write the name as the code does",
            )
    return tuple(dict.fromkeys(names))


def beyond(touches: Touches, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    """What was done that is not declared, told one by one.  The digests are by the names of attributes and places."""
    for name in dict.fromkeys([*before, *after]):
        was, now = before.get(name, GONE), after.get(name, GONE)
        if was == now or name in touches.modifies:
            continue
        if name in touches.archives:
            if now != GONE:
                yield f"{name} is altered, and was to be archived"
        elif name in touches.reads:
            yield f"{name} is altered, and was to be read only"
        else:
            yield f"{name} is {'taken away' if now == GONE else 'brought in' if was == GONE else 'altered'}"
