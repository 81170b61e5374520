"""From one stack to another: which stores lead there.  Plans, and writes nothing.

There is one operation.  Applying a patch, changing its mode, replacing it and taking it out each hand a new stack to
:func:`plan`, and :mod:`livepatch.engine.transition` carries the plan out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

from livepatch.engine.choosing import Chooser, Chosen, chosen
from livepatch.engine.closures import follow
from livepatch.engine.commit import value_of
from livepatch.engine.latecomers import latecomers
from livepatch.engine.pace import breathe
from livepatch.engine.stack import SIDE, Choice, Slot, Stack, Write, difference

if TYPE_CHECKING:
    from livepatch.engine.transition import Transition

__all__ = ["Foreign", "Plan", "State", "held_now", "plan"]

Choices = Mapping[tuple[object, Choice], Chosen]


class State:
    """The stack that is in force, and what serves it.  Stored to only within the one step that makes it true."""

    __slots__ = ("choices", "choosers", "open", "stack", "undo")

    def __init__(self) -> None:
        self.stack = Stack()
        self.undo: tuple[Write, ...] = ()
        """What has been, or is about to be, stored in the switch that is being made; in order."""
        self.open: Transition | None = None
        """The transition whose last calls have not yet left the other side."""
        self.choosers: Mapping[str, Chooser] = {}
        """What decides call by call, by patch."""
        self.choices: Choices = {}
        """The bodies that ask them, by function and what they choose between."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """A slot that holds neither what we put there nor what we found: somebody else wrote it."""

    slot: Slot
    expected: object
    found: object


@dataclass(frozen=True, slots=True)
class Plan:
    """The stack to reach and the writes that lead there.

    They include what follows: live closures, copies and imports of a side that leaves.  `left` names those that cannot.
    """

    stack: Stack
    writes: tuple[Write, ...]
    foreign: tuple[Foreign, ...]
    left: tuple[str, ...]
    walked: float
    """How long the heap was walked for it, in seconds; other threads stood still."""
    choosers: Mapping[str, Chooser] = field(default_factory=dict)
    choices: Choices = field(default_factory=dict)


def plan(state: State, new: Stack, modules: Mapping[str, ModuleType]) -> Plan:
    """What must be written to get from the stack in force to `new`.  Slots that others wrote are named, not planned."""
    choosers = {
        layer.patch_id: known
        if (known := state.choosers.get(layer.patch_id)) is not None and known.mode == layer.mode
        else Chooser(layer.mode, layer.flag)
        for layer in new.layers
        if layer.decides_by_call
    }
    writes, foreign, choices = _stores(state, new, choosers)
    # Closures are made on one side or the other while calls decide, and stay as they were made.
    followed = _followed(writes, {**state.choices, **choices})
    by_themselves = {slot.owner_id for stack in (state.stack, new) for slot in stack.originals if slot.name == SIDE[0]}
    followers = follow(followed, state.stack, new, known=by_themselves)
    late, kept, walked = latecomers(state.stack, new, writes, modules)
    every = {write.slot: write for write in (*late, *followers.writes, *writes)}
    left = (*kept, *(refusal.found for refusal in followers.left))
    wanted = {(slot.reference, value) for slot, value in new.wanted().items() if isinstance(value, Choice)}
    still: dict[tuple[object, Choice], Chosen] = {k: made for k, made in state.choices.items() if k in wanted}
    return Plan(
        new,
        tuple(every.values()),
        tuple(foreign),
        left,
        walked + (followers.walked or 0.0),
        choosers,
        {**still, **choices},
    )


def _stores(
    state: State, new: Stack, choosers: Mapping[str, Chooser]
) -> tuple[list[Write], list[Foreign], dict[tuple[object, Choice], Chosen]]:
    """What is to be stored where the stacks differ, what others have stored there, and the bodies that choose."""
    # A function of its own: a variable that still holds the last code would pass for a holder that is to be looked for.
    choices: dict[tuple[object, Choice], Chosen] = {}
    writes: list[Write] = []
    foreign: list[Foreign] = []
    for write in difference(state.stack, new):
        if write.slot.owner is None:
            continue
        breathe()
        before = _concrete(write.slot, write.before, state.choices)
        if isinstance(write.after, Choice):
            _choose(write.slot, write.after, choosers, choices)
        after = _concrete(write.slot, write.after, choices)
        if value_of(write.slot) is before:
            if before is not after:
                writes.append(Write(write.slot, before, after))
        elif write.slot.kept:
            writes.append(Write(write.slot, value_of(write.slot), after))
        elif value_of(write.slot) is not after and not write.slot.yields:
            foreign.append(Foreign(write.slot, before, value_of(write.slot)))
    return writes, foreign, choices


def _followed(writes: list[Write], choices: Choices) -> list[Write]:
    """The writes that closures are to follow.  A body that only measures is, to them, the side that it measures."""
    bodies = [(id(made.dispatch.code), choice) for (_, choice), made in choices.items()]
    deciding = {body for body, choice in bodies if not choice.only_measures}
    measured = {body: choice.otherwise[0] for body, choice in bodies if choice.only_measures}
    sides = [
        Write(w.slot, measured.get(id(w.before), w.before), measured.get(id(w.after), w.after))
        for w in writes
        if id(w.after) not in deciding
    ]
    return [write for write in sides if write.before is not write.after]


def _choose(
    slot: Slot,
    choice: Choice,
    choosers: Mapping[str, Chooser],
    choices: dict[tuple[object, Choice], Chosen],
) -> None:
    key = (slot.reference, choice)
    function = slot.owner
    if key not in choices and isinstance(function, FunctionType):
        choices[key] = chosen(function, choice, choosers, slot.label.removesuffix(f".{slot.name}"))


def _concrete(slot: Slot, value: object, choices: Choices) -> object:
    """The very object that a slot holds for what the stack wants there."""
    if not isinstance(value, Choice):
        return value
    made = choices.get((slot.reference, value))
    if made is None:
        return value
    return (made.dispatch.code, made.dispatch.defaults, made.dispatch.kwdefaults)[SIDE.index(slot.name)]


def held_now(state: State) -> dict[Slot, object]:
    """What every slot of the stack in force should hold at this moment, with the bodies that choose in their places."""
    held = {slot: _concrete(slot, value, state.choices) for slot, value in state.stack.wanted().items()}
    if state.open is not None:
        held.update((slot, value) for slot, value in state.open.holds() if slot in held)
    return held
