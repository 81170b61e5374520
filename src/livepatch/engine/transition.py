"""From one stack to another: plan the writes, flip in one step, or leave everything as it was.

There is one operation.  Applying a patch, changing its mode, replacing it and taking it out each hand a new stack to
:func:`plan`, and the plan to :func:`switch`.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType

from livepatch.engine.caches import Cache, clearers
from livepatch.engine.closures import follow
from livepatch.engine.commit import commit, restore, value_of
from livepatch.engine.environment import Environment
from livepatch.engine.latecomers import latecomers
from livepatch.engine.stack import Slot, Stack, Write, difference

__all__ = ["Foreign", "Plan", "State", "needs_staging", "plan", "switch"]


class State:
    """The stack that is in force.  Stored to only within the one step that makes it true."""

    __slots__ = ("stack", "undo")

    def __init__(self) -> None:
        self.stack = Stack()
        self.undo: tuple[Write, ...] = ()
        """What has been, or is about to be, stored in the switch that is being made; in order."""


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


def plan(state: State, new: Stack, modules: Mapping[str, ModuleType]) -> Plan:
    """What must be written to get from the stack in force to `new`.  Slots that others wrote are named, not planned."""
    writes, foreign = [], []
    for write in difference(state.stack, new):
        if write.slot.owner is None:
            continue
        if value_of(write.slot) is write.before:
            writes.append(write)
        elif value_of(write.slot) is not write.after:
            foreign.append(Foreign(write.slot, write.before, value_of(write.slot)))
    followers = follow(writes, state.stack, new)
    late, kept, walked = latecomers(state.stack, new, writes, modules)
    every = {write.slot: write for write in (*late, *followers.writes, *writes)}
    left = (*kept, *(refusal.found for refusal in followers.left))
    return Plan(new, tuple(every.values()), tuple(foreign), left, walked + (followers.walked or 0.0))


def needs_staging(writes: tuple[Write, ...], environment: Environment) -> bool:
    """Whether the stores could be interleaved, so that the functions must be switched by one cell instead."""
    functions = [write for write in writes if write.slot.kind == "function"]
    return not environment.stores_are_atomic and len(functions) > 1


def switch(state: State, planned: Plan, caches: list[Cache], environment: Environment) -> float:
    """Carry out a plan; give the seconds that the stores took.  If anything is raised, all is as it was before."""
    inside, after = clearers(caches)
    before = state.stack
    try:
        if needs_staging(planned.writes, environment):
            seconds = _staged(state, planned, inside)
        else:
            state.undo = planned.writes
            seconds = commit(planned.writes, (state, "stack", planned.stack), inside)
        for clear in after:
            clear()
    except BaseException:
        restore(state.undo)
        state.stack = before
        raise
    return seconds


def _staged(state: State, planned: Plan, inside: list[Callable[[], object]]) -> float:
    """Functions get code that asks a cell; the cell and all other stores are flipped in one step; then plain code."""
    from livepatch.engine.dispatch import guarded_code

    cell = [False]
    stage, settle, rest = [], [], []
    for write in planned.writes:
        function = write.slot.owner
        if write.slot.name != "__code__" or not isinstance(function, FunctionType):
            rest.append(write)
            continue
        assert isinstance(write.before, CodeType)
        assert isinstance(write.after, CodeType)
        guard = guarded_code(function, cell, _clone(function, write.before), _clone(function, write.after))
        stage.append(Write(write.slot, write.before, guard))
        settle.append(Write(write.slot, guard, write.after))
    state.undo = (*rest, *stage, *settle)
    commit(stage, (state, "stack", state.stack))
    flip = functools.partial(operator.setitem, cell, 0, True)
    seconds = commit(rest, (state, "stack", planned.stack), [flip, *inside])
    commit(settle, (state, "stack", planned.stack))
    return seconds


def _clone(function: FunctionType, code: CodeType) -> FunctionType:
    clone = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
    clone.__kwdefaults__ = function.__kwdefaults__
    clone.__qualname__ = function.__qualname__
    return clone
