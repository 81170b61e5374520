"""Whose turn is when: each node's place in a rollout, by a hash that everybody computes alike.

A place is the first 8 bytes of the BLAKE2b hash of the rollout's id and the node's, as a number.  A stage opens all
places below its cut.  So nobody has to be asked: who knows the plan and its own name knows its stage; who is in a stage
is in all later ones; and each rollout begins with other nodes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["PLACES", "Cut", "cut_for", "place_of", "stage_of"]

PLACES = 1 << 64
"""How many places there are; they are 0 to one less."""


def place_of(rollout: str, node: str) -> int:
    """A node's place in a rollout: 0 to 2**64 - 1, the same in every process and on every machine."""
    digest = hashlib.blake2b(digest_size=8, person=b"livepatch.place")
    for name in (rollout, node):
        data = name.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big"))  # so that no two pairs of names give the same bytes
        digest.update(data)
    return int.from_bytes(digest.digest(), "big")


def cut_for(places: Iterable[int], count: int) -> int:
    """The cut below which exactly `count` of the places lie (all of them, if there are fewer)."""
    ordered = sorted(places)
    return PLACES if count >= len(ordered) else ordered[count]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Who belongs to a stage: nodes named, or those that suit `where` and whose place is below `below`."""

    below: int
    nodes: frozenset[str] = frozenset()
    where: Mapping[str, tuple[str, ...]]

    def takes(self, node: str, place: int, traits: Mapping[str, Iterable[str]]) -> bool:
        """Whether a node is in it.  `traits` are its ``region``, ``version`` and ``label``, none or more of each."""
        if self.nodes:
            return node in self.nodes
        return place < self.below and self.suits(traits)

    def suits(self, traits: Mapping[str, Iterable[str]]) -> bool:
        """Whether a node with these traits is one of those that the stage is about."""
        return all(any(value in wanted for value in traits.get(trait, ())) for trait, wanted in self.where.items())


def stage_of(rollout: str, cuts: Iterable[Cut], node: str, traits: Mapping[str, Iterable[str]]) -> int | None:
    """The number of the first stage that a node is in, from 0; ``None`` if it is in none."""
    place = place_of(rollout, node)
    return next((number for number, cut in enumerate(cuts) if cut.takes(node, place, traits)), None)
