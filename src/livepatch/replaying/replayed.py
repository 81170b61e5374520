"""What came of a replay: where the sides differ, and whether they were meant to."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from livepatch.errors import counted, shortened

__all__ = ["Difference", "Replayed"]

_WIDTH = 100
_HEIGHT = 24
_FOR_ONE = 3  # lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One input on which the sides differ.

    `what` is ``"answer"`` (a value, or what was raised), ``"state"`` and what holds it, or ``"end"`` if a side did not
    answer.  `declared`: it was meant to, at this height.
    """

    number: int
    where: str
    target: str
    height: int | None
    what: str
    old: str
    new: str
    declared: bool = False

    def __str__(self) -> str:
        height = "" if self.height is None else f" at height {self.height}"
        declared = "declared" if self.declared else "NOT DECLARED"
        return f"{self.where}{height}: {self.target}: {self.what}, {declared}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What :func:`livepatch.replay` found.  ``ok``: every input was run, and the sides differ where declared, only.

    `inputs` were run on both sides, `below` of them below the `activation` height.  `differences` are the first 1000;
    `count` is how many there are, `undeclared` how many of them were not declared.  `missing` are inputs that were
    declared to differ, and do not.  `calls` is how often the new side called functions of the patch (``None`` if that
    is not counted: without an activation height).  `opaque` are types of which nothing was compared, `diverged` states
    that are different at the end.  `unfinished` says why not all inputs were run.  `seconds` is the time it took.
    """

    patch_id: str
    activation: int | None
    inputs: int
    below: int
    differences: tuple[Difference, ...]
    count: int
    undeclared: int
    undeclared_below: int
    missing: tuple[str, ...]
    calls: int | None
    opaque: tuple[str, ...]
    diverged: tuple[str, ...]
    unfinished: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Every input was run, every difference was declared, and every declared one is there."""
        return not (self.undeclared or self.missing or self.unfinished)

    def __bool__(self) -> bool:
        return self.ok

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {**asdict(self), "ok": self.ok}

    def to_json(self) -> str:
        """All of it as one JSON object in ASCII, its names sorted."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True)

    def __str__(self) -> str:
        """All of it on one screen: 24 lines of 100 characters at most; ``differences`` has more."""
        lines = [self._head(), *self._notes()]
        left = _HEIGHT - len(lines) - 1
        # Who reads it looks for what was not declared.
        shown = sorted(self.differences, key=lambda each: each.declared)[: max(left, 0) // _FOR_ONE]
        for each in shown:
            lines += [f"  {each}", f"    old: {each.old}", f"    new: {each.new}"]
        if self.count > len(shown):
            lines.append(f"  and {counted(self.count - len(shown), 'more difference')}")
        return "\n".join(shortened(" ".join(line.split("\n")), _WIDTH) for line in lines)

    def _head(self) -> str:
        verdict = "as declared" if self.ok else "NOT as declared"
        if self.ok and not self.count:
            verdict = "both sides alike"
        return f"replay of {self.patch_id}: {counted(self.inputs, 'input')}, {verdict}"

    def _notes(self) -> list[str]:
        notes = [f"  {counted(self.count, 'difference')}, {self.undeclared} of them not declared"]
        if self.activation is not None:
            told = f"  {counted(self.below, 'input')} below the activation height {self.activation}"
            notes.append(f"{told}, with {counted(self.undeclared_below, 'difference')}")
        if self.unfinished:
            notes.append(f"  not all were run: {self.unfinished}")
        if self.missing:
            more = f" and {len(self.missing) - 3} more" if len(self.missing) > 3 else ""
            notes.append(f"  declared to differ, and alike: {', '.join(self.missing[:3])}{more}")
        if self.calls == 0:
            notes.append("  no function of the patch was called: these inputs show nothing of it")
        if self.diverged:
            notes.append(f"  different at the end: {', '.join(self.diverged)}")
        if self.opaque:
            notes.append(f"  not compared, for nothing tells what they hold: {', '.join(self.opaque)}")
        return notes
