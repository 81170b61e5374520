"""Who looks after a patch, by role: who watches it, who may stop it, and whom to call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from livepatch.errors import PatchError, spelled

__all__ = ["NOBODY", "ROLES", "Owners", "check_owner", "owners_of", "unnamed"]

ROLES = ("watches", "stops", "call")

_LONGEST = 200  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Owners:
    """Who `watches` a patch, who `stops` it if need be, and whom to `call`: a name, a handle or a duty for each.

    It is text for people, in one line of up to 200 characters; empty where nobody has said.  Name duties ("the operator
    on duty") rather than persons: who they are changes more often than a patch does.  Raises :class:`PatchError` or
    :class:`TypeError`.
    """

    watches: str = ""
    stops: str = ""
    call: str = ""

    def __post_init__(self) -> None:
        for role, text in asdict(self).items():
            if not isinstance(text, str):
                raise TypeError(f"owners: {role} must be a str, not {spelled(text)}")
            check_owner(text)

    def __bool__(self) -> bool:
        return bool(self.watches or self.stops or self.call)

    def __str__(self) -> str:
        named = (("watched by", self.watches), ("stopped by", self.stops), ("call", self.call))
        return ", ".join(f"{what} {who}" for what, who in named if who)


ROLES = ("watches", "stops", "call")


def check_owner(text: str) -> None:
    """Raise :class:`PatchError` unless it is one line for people, or empty."""
    if len(text) > _LONGEST or not text.isprintable() or text != text.strip():
        raise PatchError(
            "nobody owns a patch under such a name",
            found=f"a text of {len(text)} characters" if len(text) > _LONGEST else spelled(text),
            expected=f"up to {_LONGEST} characters in one line, without blanks around it",
            action="name a duty, a team or a handle, such as 'the operator on duty'",
        )


NOBODY = Owners()
"""Nobody has said."""


def owners_of(value: object) -> Owners:
    """What was given as owners: :class:`Owners`, or a mapping from roles to texts.

    Raises :class:`PatchError` or :class:`TypeError`.
    """
    if isinstance(value, Owners):
        return value
    if not isinstance(value, Mapping):
        raise TypeError(f"owners must be livepatch.Owners, or a mapping such as {{'call': '…'}}, not {spelled(value)}")
    for role in value:
        if role not in ROLES:
            raise PatchError(
                "owners names a role that there is not",
                found=spelled(role),
                expected=f"one of {', '.join(ROLES)}",
                action="correct the role",
            )
    return Owners(**value)


def unnamed(owners: Owners, roles: Iterable[str]) -> tuple[str, ...]:
    """Those of the roles for which nobody is named."""
    return tuple(role for role in roles if not getattr(owners, role))
