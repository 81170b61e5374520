"""What a fix needs and cannot be done live, as far as the source tells."""

from __future__ import annotations

from livepatch.bundle.changes import Difference
from livepatch.bundle.trees import Tree
from livepatch.bundle.world import World
from livepatch.edits import Obstacle

__all__ = ["effect_obstacle", "native_obstacles", "obstacles_of"]


def native_obstacles(before: Tree, after: Tree) -> list[Obstacle]:
    return []


def obstacles_of(one: Difference, old: World, new: World) -> list[Obstacle]:
    return []


def effect_obstacle(one: Difference, world: World) -> list[Obstacle]:
    return []
