"""Instance attributes that new code reads and objects that exist already lack."""

from __future__ import annotations

from livepatch.bundle.changes import Difference
from livepatch.bundle.world import World
from livepatch.edits import AttributeDefault

__all__ = ["attribute_defaults"]


def attribute_defaults(
    old: World, new: World, taken: list[Difference], whole: list[str]
) -> dict[str, list[AttributeDefault]]:
    return {}
