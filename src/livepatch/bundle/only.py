"""What ``only=`` names, compared with what there is."""

from __future__ import annotations

import difflib

from livepatch.bundle.changes import Difference
from livepatch.bundle.selection import matches
from livepatch.bundle.world import World
from livepatch.errors import PatchError, spelled

__all__ = ["check_only"]


def check_only(only: tuple[str, ...], found: list[Difference], noticed: set[str], old: World, new: World) -> None:
    """See that each pattern of `only` picks something that differs: one of `found`, or a target or module in `noticed`.

    One wrong name among several would leave out a part of the fix without a word.
    Raises :class:`PatchError`, which names each pattern that picks nothing, and what is near.
    """
    targets = {d.target for d in found} | noticed
    lost = [
        pattern
        for pattern in dict.fromkeys(only)
        if not any(matches(pattern, d.module, d.qualname) for d in found)
        and not any(matches(pattern, *target.partition(":")[::2]) for target in noticed)
    ]
    if not lost and only:
        return
    near = list(dict.fromkeys(text for pattern in lost for text in _near(pattern, targets)))
    raise PatchError(
        "only= picks nothing" if len(lost) == len(set(only)) else "a name in only= picks nothing",
        found=", ".join(_told(pattern, old, new) for pattern in lost) or "no names",
        expected=f"names of what differs, such as {', '.join(near)}" if near else "names of what differs",
        action="correct the names, or build without only= and see the plan",
    )


def _told(pattern: str, old: World, new: World) -> str:
    same = _exists(pattern, old) and _exists(pattern, new)
    return f"{spelled(pattern)}, the same in both trees" if same else spelled(pattern)


def _near(pattern: str, targets: set[str]) -> list[str]:
    """Up to three targets that resemble a pattern; any, if none does."""
    names = {target.rpartition(":")[2]: target for target in sorted(targets, reverse=True)}
    _, _, last = pattern.rpartition(":")
    close = difflib.get_close_matches(pattern, sorted(targets), 3, 0.6)
    close += [names[name] for name in difflib.get_close_matches(last, sorted(names), 3, 0.6)]
    return list(dict.fromkeys(close))[:3] or sorted(targets)[:3]


def _exists(pattern: str, world: World) -> bool:
    module, colon, qualname = pattern.partition(":")
    return module in world.names and (not colon or bool(world.items((module, qualname))))
