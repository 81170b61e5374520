"""A fleet in a test: the controller and the nodes' part of a real rollout, on nodes that are told how to behave."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from livepatch.errors import ExpectationError, PatchError, StateError, counted, spelled
from livepatch.fleet.controller import State
from livepatch.fleet.following import Member, Wanted
from livepatch.fleet.judging import Series
from livepatch.fleet.planning import Planned
from livepatch.fleet.running import Controller, Follower, directive_of, send
from livepatch.fleet.standing import Command, Condition, Directive, Judge, Tell
from livepatch.fleet.state import Store
from livepatch.process.arguments import check_seconds
from livepatch.testing.memory import MemoryStore

__all__ = ["SimulatedNetwork", "SimulatedNode"]

_COMMANDS = ("start", "promote", "pause", "resume", "abort")
_MISSED = 6  # turns of a node after which it is taken for gone


@dataclass(slots=True, eq=False)
class SimulatedNode:
    """A node of a :class:`SimulatedNetwork`, which does what it is told.

    Set `refuses` for one that cannot apply the patch, and `away` for one that nobody reaches.  `metrics` are what it
    measures, by the names of the plan's gates: a number, or a function of whether it has the patch.
    """

    id: str
    stage: str
    refuses: bool = False
    away: bool = False
    metrics: dict[str, float | Callable[[bool], float]] = field(default_factory=dict)
    history: list[Wanted] = field(default_factory=list)
    """What it was told to do, in order."""
    follower: Follower | None = field(default=None, repr=False)
    """Its part in the rollout."""

    @property
    def condition(self) -> Condition:
        """How it stands: ``original``, ``applied``, ``failed``, …"""
        return "original" if self.follower is None else self.follower.member.condition

    @property
    def patched(self) -> bool:
        """Whether it runs the patch."""
        return self.condition == "applied"

    def do(self, goal: Wanted, _: Directive) -> Condition:
        """What a directive says, as far as it can."""
        self.history.append(goal)
        return "failed" if self.refuses and goal != "original" else goal

    def measured(self, name: str) -> float | None:
        """What it measures now."""
        value = self.metrics.get(name)
        return value(self.patched) if callable(value) else value


class SimulatedNetwork:
    """The nodes of a plan, a controller, and a network that loses a share `loss` of what they say to the store.

    What decides is the code of a real fleet; nodes only pretend to apply the patch.  Time is `now`, in seconds, which
    :meth:`run` moves; everybody has a turn `every` so many.  The same `seed` loses the same.  `planned` is what
    :func:`livepatch.fleet.planning.plan` gives.  Raises :class:`PatchError` for a share that is none.
    """

    def __init__(self, planned: Planned, *, seed: int = 0, loss: float = 0.0, every: float = 15.0) -> None:
        check_seconds("every", every)
        if not every:
            raise PatchError(
                "time cannot stand still",
                found="every=0",
                expected="more than 0 seconds",
                action="give another `every`",
            )
        if not 0 <= loss < 1:
            raise PatchError(
                "a network cannot lose such a share",
                found=spelled(loss),
                expected="0 to 1, and less than 1",
                action="give another loss",
            )
        self._every = every
        self.planned = planned
        self.now = 0.0
        self.store = MemoryStore(lambda: self.now)
        self.told: list[Tell] = []
        """What the controller tells people, in order."""
        self._chance = random.Random(seed)  # noqa: S311  # a test has to be repeatable
        self._loss = loss
        names = [stage.name for stage in planned.rollout.stages]
        self.nodes = {
            node.id: SimulatedNode(node.id, names[stage])
            for node, stage in zip(planned.nodes, planned.stages, strict=True)
        }
        consensus = planned.rollout.activation is not None
        for (name, node), stage in zip(self.nodes.items(), planned.stages, strict=True):
            member = Member(id=name, stage=stage, consensus=consensus)
            node.follower = Follower(self.rollout, member, _Link(self.reach, node), node.do, ttl=_MISSED * every)
        self._controller = self._made()

    @property
    def rollout(self) -> str:
        """The id of the rollout."""
        return self.planned.rollout.id

    @property
    def directive(self) -> Directive:
        """How the rollout stands."""
        return directive_of(self.store, self.rollout) or State.of(self.planned).directive

    def of_stage(self, name: str) -> list[SimulatedNode]:
        """The nodes of a stage.  Raises :class:`PatchError` if there is no such stage."""
        names = [stage.name for stage in self.planned.rollout.stages]
        if name not in names:
            raise PatchError(
                "there is no such stage", found=spelled(name), expected=", ".join(names), action="name one of these"
            )
        return [node for node in self.nodes.values() if node.stage == name]

    def patched(self) -> set[str]:
        """The ids of the nodes that run the patch."""
        return {name for name, node in self.nodes.items() if node.patched}

    def measure(self, metric: str, value: float | Callable[[bool], float], nodes: Iterable[str] = ()) -> None:
        """Have all nodes, or those `nodes`, measure that.  Raises :class:`PatchError` for a node that there is not."""
        names = tuple(nodes) or tuple(self.nodes)
        for name in names:
            if name not in self.nodes:
                raise PatchError(
                    "there is no such node",
                    found=spelled(name),
                    expected=f"one of {counted(len(self.nodes), 'node')}, such as {next(iter(self.nodes))}",
                    action="name nodes by their ids",
                )
        for name in names:
            self.nodes[name].metrics[metric] = value

    def say(self, kind: Any, who: str, why: str = "") -> None:
        """Say ``start``, ``promote``, ``pause``, ``resume`` or ``abort``, as :func:`livepatch.fleet.running.send`.

        Raises :class:`PatchError` for anything else.
        """
        if kind not in _COMMANDS:
            raise PatchError(
                "nobody understands this", found=spelled(kind), expected=", ".join(_COMMANDS), action="say one of these"
            )
        send(self.store, self.rollout, Command(kind=kind, who=who, order=self.directive.order, why=why))

    def take_over(self) -> None:
        """Let the controller die without a word, and another one take its place once its lease has run out."""
        self._controller = self._made()

    def run(self, seconds: float, until: Callable[[], object] | None = None) -> Directive:
        """Let time go by, up to so many seconds, or until that holds; every node and the controller takes its turns.

        Raises :class:`ExpectationError` if it never holds.
        """
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + self._every)
            for node in self.nodes.values():
                assert node.follower is not None
                try:
                    node.follower.turn()
                except StateError:
                    continue  # it did not get through, and tries again at its next turn
            self._controller.turn(self.now)
            if until is not None and until():
                return self.directive
        if until is not None:
            stands = self.directive
            raise ExpectationError(
                f"what was waited for did not come within {seconds:g} simulated seconds",
                found=f"phase {stands.phase}, {counted(stands.opened, 'open stage')}, {len(self.patched())} patched",
                expected="that `until` holds",
                action="wait for longer, or look at `directive`, `told` and the nodes",
            )
        return self.directive

    def _made(self) -> Controller:
        return Controller(self.planned, self.store, measure=self._measured, told=self.told.append)

    def _measured(self, asked: Judge) -> Series:
        """What nodes that can be reached measure, those of open stages that have the patch and those that wait."""
        treated: dict[str, dict[str, float]] = {gate.metric: {} for gate in self.planned.rollout.gates}
        untreated: dict[str, dict[str, float]] = {metric: {} for metric in treated}
        for (name, node), stage in zip(self.nodes.items(), self.planned.stages, strict=True):
            is_open = stage < asked.opened
            if node.away or node.condition != ("applied" if is_open else "original"):
                continue
            for metric in treated:
                value = node.measured(metric)
                if value is not None:
                    (treated if is_open else untreated)[metric][name] = value
        return Series(treated=treated, untreated=untreated)

    def reach(self, node: SimulatedNode) -> Store:
        """The store, for a call of a node.  Raises :class:`StateError` if it does not get through."""
        if node.away or (self._loss and self._chance.random() < self._loss):
            raise StateError(
                f"{node.id} does not reach the store",
                found="a network that loses messages" if not node.away else "a node that is away",
                expected="a store that answers",
                action="nothing: it is tried again at the next turn",
            )
        return self.store


class _Link:
    """The store as one node reaches it, or does not."""

    def __init__(self, reach: Callable[[SimulatedNode], Store], node: SimulatedNode) -> None:
        self._reach, self._node = reach, node

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reach(self._node), name)
