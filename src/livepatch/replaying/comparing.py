"""What both sides tell of each input, compared: deciding only."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from livepatch.replaying.inputs import Input
from livepatch.replaying.replayed import Difference, Replayed

__all__ = ["ARGUMENTS", "Comparing"]

_MOST = 1000  # differences that are kept
ARGUMENTS = "its arguments"
"""The part of the state that is new with each input."""


class Comparing:
    """The inputs so far, and where the sides differ."""

    def __init__(self, activation: int | None, may_differ: Container[str]) -> None:
        self._activation = activation
        self._may_differ = may_differ
        self._found: list[Difference] = []
        self._count = self._undeclared = self._below_undeclared = 0
        self._inputs = self._below = 0
        self._missing: list[str] = []
        self._opaque: set[str] = set()
        self._diverged: dict[str, bool] = {}
        self.calls: int | None = None
        self.unfinished = ""

    def take(self, each: Input, old: dict[str, Any], new: dict[str, Any]) -> None:
        """Compare what both sides tell of an input."""
        self._inputs += 1
        self._below += self._is_below(each)
        self._opaque |= {*old["opaque"], *new["opaque"]}
        differs = old["answer"] != new["answer"]
        if differs:
            self._add(each, "answer", old["told"], new["told"])
        for part in dict.fromkeys((*old["state"], *new["state"])):
            other = old["state"].get(part) != new["state"].get(part)
            # What grows from a difference is that difference; the arguments are new each time.
            if other and (part == ARGUMENTS or not self._diverged.get(part)):
                differs = True
                told = [side["state"].get(part, b"").hex() for side in (old, new)]
                self._add(each, f"state of {part}", *(f"digest {digest}" if digest else "nothing" for digest in told))
            if part != ARGUMENTS:
                self._diverged[part] = other
        if each.differs and not differs:
            self._missing.append(each.where)

    def ends(self, each: Input, old: dict[str, Any] | str, new: dict[str, Any] | str) -> None:
        """A side has told nothing of an input: both stop there."""
        told = [side if isinstance(side, str) else side["told"] for side in (old, new)]
        self._inputs += 1
        self._below += self._is_below(each)
        self._add(each, "end", *told)
        silent = {name: side for name, side in (("old", old), ("new", new)) if isinstance(side, str)}
        self.unfinished = "; ".join(f"{each.where}: the {name} side: {why}" for name, why in silent.items())

    def _is_below(self, each: Input) -> bool:
        return self._activation is not None and each.height is not None and each.height < self._activation

    def _add(self, each: Input, what: str, old: str, new: str) -> None:
        below = self._is_below(each)
        declared = not below and what != "end" and (each.differs or each.target in self._may_differ)
        self._count += 1
        self._undeclared += not declared
        self._below_undeclared += below
        difference = Difference(
            number=each.number,
            where=each.where,
            target=each.target,
            height=each.height,
            what=what,
            old=old,
            new=new,
            declared=declared,
        )
        if len(self._found) < _MOST:
            self._found.append(difference)

    def report(self, patch_id: str, seconds: float) -> Replayed:
        """What came of it."""
        return Replayed(
            patch_id=patch_id,
            activation=self._activation,
            inputs=self._inputs,
            below=self._below,
            differences=tuple(self._found),
            count=self._count,
            undeclared=self._undeclared,
            undeclared_below=self._below_undeclared,
            missing=tuple(self._missing),
            calls=self.calls,
            opaque=tuple(sorted(self._opaque)),
            diverged=tuple(part for part, other in self._diverged.items() if other),
            unfinished=self.unfinished,
            seconds=seconds,
        )
