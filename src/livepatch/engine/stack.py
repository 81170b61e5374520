"""Layers of patches over the original program, and what every place should hold under them.  Pure.

A *slot* is one place that a patch may write: an attribute of a function, a class, a module or an instance, one entry of
a dict or list, one member of a set, or the order and content of one as a whole.  The original program is
layer 0; each applied patch is a layer above it.  What a slot should hold is what the topmost layer that is on and
speaks of it says, and else the original.  Where a layer's mode decides call by call, a function should hold a
:class:`Choice` between the layer's side and what lies beneath.  The difference between two stacks is the plan of writes
that leads from one to the other, so apply, a change of flag, a cumulative replacement and a revert from the middle are
one operation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from livepatch.engine.modes import Measured, Mode, is_off, is_on

__all__ = [
    "ABSENT",
    "SIDE",
    "UNCHANGED",
    "Branch",
    "Choice",
    "Kind",
    "Layer",
    "Mode",
    "Slot",
    "Stack",
    "Write",
    "difference",
    "settled",
]


class _Mark:
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}>"


ABSENT: Final = _Mark("absent")
"""The value of a slot that does not exist: reading gives it, writing it deletes."""

UNCHANGED: Final = _Mark("unchanged")
"""In a side: the attribute is not spoken of, and stays what it is."""

SIDE: Final = ("__code__", "__defaults__", "__kwdefaults__")
"""The attributes of a function that make one side of it, and are chosen together."""


Kind = Literal["function", "class", "module", "attribute", "cell", "item", "member", "contents"]
"""What a place is: an attribute of a function, a class, a module or any other instance; what a cell holds; an entry of
a dict or an index of a list; whether a set has a member; all that a dict or list holds, in its order."""

# Equal keys of these types are one key; of any other, only the very object is: nobody's ``__eq__`` is asked.
_PLAIN_KEYS = frozenset({str, int, bool, float, bytes, type(None)})


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """A place that a patch may write.  Two slots are the same place if owner, kind, name and key are.

    `reference` gives the owner.  It is a weak one where such objects have one: a closure that nobody needs any more may
    go while a patch is applied to it.  What cannot be referred to weakly (a dict, a list, a cell) is held.
    `key` is what an item or member is found by; `name` then only tells it apart, and is no attribute.
    A `kept` one holds what the program has computed and keeps: whatever that is by now, a switch puts its own in place.
    One that `yields` is an object's own affair: what the program has stored there meanwhile stays, and is no fault.
    """

    reference: Callable[[], object | None]
    owner_id: int
    kind: Kind
    name: str
    label: str = field(default="")
    key: object = None
    kept: bool = False
    yields: bool = False

    @property
    def owner(self) -> object | None:
        """The function, class or module, if it still lives."""
        return self.reference()

    def beside(self, *names: str) -> tuple[Slot, ...]:
        """Slots of the same owner under other names."""
        stem = self.label.removesuffix(self.name)
        return tuple(
            self if name == self.name else Slot(self.reference, self.owner_id, self.kind, name, stem + name)
            for name in names
        )

    @property
    def is_name(self) -> bool:
        """Whether it is a name of a module or class: one that is new there is not noticed before code asks for it."""
        return self.kind in ("module", "class")

    def __eq__(self, other: object) -> bool:
        # One object has one reference, and an object that comes to lie at a dead one's address has another.
        return (
            isinstance(other, Slot)
            and self.reference is other.reference
            and self.kind == other.kind
            and self.name == other.name
            and (self.key is other.key or (type(self.key) in _PLAIN_KEYS and self.key == other.key))
        )

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
    flag: str = ""

    @property
    def decides_by_call(self) -> bool:
        """Whether its mode is neither on nor off, so that its functions hold a body of ours."""
        return self.mode not in ("on", "off")


@dataclass(frozen=True, slots=True)
class Branch:
    """One way that a call may go: the side of that patch's layer, in the order of :data:`SIDE`, if its mode says so."""

    patch_id: str
    mode: Mode
    side: tuple[object, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What a function holds while modes decide call by call: the layers that do, topmost first, and what is left."""

    branches: tuple[Branch, ...]
    otherwise: tuple[object, ...]

    @property
    def only_measures(self) -> bool:
        """Whether every call goes to the same side, and is counted on its way."""
        return all(isinstance(branch.mode, Measured) for branch in self.branches)

    def _key(self) -> tuple[object, ...]:
        branches = tuple((b.patch_id, b.mode, *map(id, b.side)) for b in self.branches)
        return (*branches, *map(id, self.otherwise))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Choice) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(tuple(map(id, self.otherwise)))


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
        """What every slot of the stack should hold.  All three slots of a side hold the same :class:`Choice`.

        Of a layer that decides call by call, names that the program lacks are there: only its own code knows them.
        """
        wanted = dict(self.originals)
        for layer in self.layers:
            if is_on(layer.mode):
                wanted.update(layer.values)
            elif not is_off(layer.mode):
                added = {s: v for s, v in layer.values.items() if s.is_name and self.originals[s] is ABSENT}
                wanted.update(added)
        for slot in {s for layer in self.layers if layer.decides_by_call for s in layer.values if s.name == SIDE[0]}:
            choice = self._choice(slot)
            if choice is not None:
                wanted.update((each, choice) for each in slot.beside(*SIDE) if each in self.originals)
        return wanted

    def _choice(self, code: Slot) -> Choice | None:
        slots = code.beside(*SIDE)
        branches: list[Branch] = []
        original = {slot: self.originals.get(slot, UNCHANGED) for slot in slots}
        # Lists first: a tuple that grows must not be met by a search for what refers to code.
        otherwise = (*[original[slot] for slot in slots],)
        measuring: list[Layer] = []
        for layer in reversed(self.layers):
            if code not in layer.values:
                continue
            measuring += [layer] if isinstance(layer.mode, Measured) else []
            if is_off(layer.mode):
                continue
            side = (*[layer.values.get(slot, original[slot]) for slot in slots],)
            if is_on(layer.mode):
                otherwise = side
                break
            branches.append(Branch(layer.patch_id, layer.mode, side))
        # What is measured is what calls get that no mode has sent elsewhere: the side of each of those layers.
        branches += [Branch(layer.patch_id, layer.mode, otherwise) for layer in measuring]
        return Choice(tuple(branches), otherwise) if branches else None

    def layer(self, patch_id: str) -> Layer | None:
        """The layer of a patch."""
        return next((layer for layer in self.layers if layer.patch_id == patch_id), None)

    def decider(self, slot: Slot) -> str | None:
        """The id of the patch that decides what a slot holds; ``None``: the original program.

        A layer that decides call by call does so for functions, and for names that the program lacks.
        """
        for layer in reversed(self.layers):
            if slot not in layer.values or layer.mode == "off":
                continue
            adds = slot.is_name and self.originals[slot] is ABSENT and not is_off(layer.mode)
            if is_on(layer.mode) or adds or (slot.kind == "function" and slot.name in SIDE):
                return layer.patch_id
        return None


def settled(value: object, slot: Slot) -> object:
    """The value itself, or of a choice what is there when no mode says otherwise."""
    return value.otherwise[SIDE.index(slot.name)] if isinstance(value, Choice) else value


def difference(old: Stack, new: Stack) -> tuple[Write, ...]:
    """The writes that lead from what `old` wants to what `new` wants.  What is the same object is not written."""
    before, after = old.wanted(), new.wanted()
    plan = []
    for slot in {**before, **after}:
        # A slot that only one of the two knows holds, under the other, its original.
        was = before[slot] if slot in before else new.originals[slot]
        shall = after[slot] if slot in after else old.originals[slot]
        if was is not shall and not (isinstance(was, Choice) and was == shall):
            plan.append(Write(slot, was, shall))
    return tuple(plan)
