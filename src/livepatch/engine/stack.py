"""Layers of patches over the original program, and what every place should hold under them.  Pure.

A *slot* is one place that a patch may write: an attribute of a function, a class or a module.  The original program is
layer 0; each applied patch is a layer above it.  What a slot should hold is what the topmost layer that is on and
speaks of it says, and else the original.  The difference between two stacks is the plan of writes that leads from one
to the other, so apply, a change of flag, a cumulative replacement and a revert from the middle are one operation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

__all__ = ["ABSENT", "Layer", "Mode", "Slot", "Stack", "Write", "difference"]


class _Absent:
    __slots__ = ()

    def __repr__(self) -> str:
        return "<absent>"


ABSENT: Final = _Absent()
"""The value of a slot that does not exist: reading gives it, writing it deletes."""

Mode = Literal["on", "off"]


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """A place that a patch may write.  Two slots are the same place if owner and name are.  `reference` is a weak one.

    The owner is held weakly: a closure that nobody needs any more may go while a patch is applied to it.
    """

    reference: Callable[[], object | None]
    owner_id: int
    kind: Literal["function", "class", "module"]
    name: str
    label: str = field(default="")

    @property
    def owner(self) -> object | None:
        """The function, class or module, if it still lives."""
        return self.reference()

    def __eq__(self, other: object) -> bool:
        # One object has one weak reference, and an object that comes to lie at a dead one's address has another.
        return isinstance(other, Slot) and self.reference is other.reference and self.name == other.name

    def __hash__(self) -> int:
        return hash((self.owner_id, self.name))

    def __str__(self) -> str:
        return self.label or self.name


@dataclass(frozen=True, slots=True)
class Layer:
    """One applied patch: what it wants in each slot that it speaks of, and whether it is on."""

    patch_id: str
    mode: Mode
    values: Mapping[Slot, object]


@dataclass(frozen=True, slots=True)
class Write:
    """One store: `slot` holds `before` and shall hold `after`."""

    slot: Slot
    before: object
    after: object


@dataclass(frozen=True, slots=True)
class Stack:
    """The original values, and the layers over them, oldest first."""

    originals: Mapping[Slot, object] = field(default_factory=dict)
    layers: tuple[Layer, ...] = ()

    def push(self, layer: Layer, originals: Mapping[Slot, object]) -> Stack:
        """With `layer` on top.  `originals` gives what slots new to the stack hold now."""
        merged = {**originals, **self.originals}
        return Stack({slot: merged[slot] for slot in merged}, (*self.layers, layer))

    def without(self, patch_ids: Iterable[str]) -> Stack:
        """With those layers taken out, wherever they are; slots that nobody speaks of any more are forgotten."""
        gone = frozenset(patch_ids)
        layers = tuple(layer for layer in self.layers if layer.patch_id not in gone)
        used = {slot for layer in layers for slot in layer.values}
        return Stack({slot: value for slot, value in self.originals.items() if slot in used}, layers)

    def with_mode(self, patch_id: str, mode: Mode) -> Stack:
        """With another mode for one layer."""
        return replace(
            self,
            layers=tuple(replace(layer, mode=mode) if layer.patch_id == patch_id else layer for layer in self.layers),
        )

    def only(self, keep: Callable[[Slot], bool]) -> Stack:
        """With just the slots that `keep` accepts."""
        return Stack(
            {slot: value for slot, value in self.originals.items() if keep(slot)},
            tuple(
                replace(layer, values={slot: value for slot, value in layer.values.items() if keep(slot)})
                for layer in self.layers
            ),
        )

    def wanted(self) -> dict[Slot, object]:
        """What every slot of the stack should hold."""
        wanted = dict(self.originals)
        for layer in self.layers:
            if layer.mode == "on":
                wanted.update(layer.values)
        return wanted

    def layer(self, patch_id: str) -> Layer | None:
        """The layer of a patch."""
        return next((layer for layer in self.layers if layer.patch_id == patch_id), None)

    def decider(self, slot: Slot) -> str | None:
        """The id of the patch that decides what a slot holds; ``None``: the original program."""
        return next(
            (layer.patch_id for layer in reversed(self.layers) if layer.mode == "on" and slot in layer.values), None
        )


def difference(old: Stack, new: Stack) -> tuple[Write, ...]:
    """The writes that lead from what `old` wants to what `new` wants.  What is the same object is not written."""
    before, after = old.wanted(), new.wanted()
    plan = []
    for slot in {**before, **after}:
        # A slot that only one of the two knows holds, under the other, its original.
        was = before[slot] if slot in before else new.originals[slot]
        shall = after[slot] if slot in after else old.originals[slot]
        if was is not shall:
            plan.append(Write(slot, was, shall))
    return tuple(plan)
