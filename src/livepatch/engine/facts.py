"""What a survey finds: facts for the checks, and the values that a patch's layer would hold."""

from __future__ import annotations

from dataclasses import dataclass, field

from livepatch.contents.changes import Target
from livepatch.engine.caches import Cache
from livepatch.engine.callees import Passed
from livepatch.engine.code import CodeKind, Parameter
from livepatch.engine.commit import slot_of, value_of
from livepatch.engine.heap import Walks
from livepatch.engine.loaded import Loaded
from livepatch.engine.outliving import Outliving
from livepatch.engine.refusal import Refusal
from livepatch.engine.relatives import Relative
from livepatch.engine.shadow_variables import Shadows
from livepatch.engine.stack import Slot
from livepatch.engine.sweep import CallSite

__all__ = ["Survey", "TargetFacts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFacts:
    """The two sides of one function, as far as callers and pins can tell them apart."""

    target: Target
    count: int
    via: tuple[str, ...]
    kinds: tuple[CodeKind, CodeKind]
    parameters: tuple[tuple[Parameter, ...], tuple[Parameter, ...]]
    expect: tuple[str, ...]
    pin: str
    on_disk: bool | None
    """Whether the file on disk gives the code in memory; ``None`` if that cannot be told."""
    asserts: bool
    forwarded: bool
    caches: tuple[str, ...]
    covers: str | None
    alias_of: str
    variants: int
    relatives: tuple[Relative, ...] = ()
    """Other definitions of a method's name, by which its callers may come to it or that they may meet instead."""
    bound: bool = False
    """Whether callers leave the first parameter to the binding."""
    passes: tuple[Passed, ...] = ()
    """The calls of the new body that lead to a live function for certain."""
    proved: bool = False
    """Whether the patch carries the before side, and the process was seen to run it."""


@dataclass(slots=True)
class Survey:
    """All that was found, and the values that the patch's layer would hold."""

    facts: list[TargetFacts] = field(default_factory=list)
    observations: list[tuple[str, Refusal]] = field(default_factory=list)
    values: dict[Slot, object] = field(default_factory=dict)
    originals: dict[Slot, object] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    caches: list[Cache] = field(default_factory=list)
    outliving: Outliving = field(default_factory=Outliving)
    """What the patch means to objects that outlive a call."""
    shadows: Shadows = field(default_factory=Shadows)
    """The attributes that it attaches to objects."""
    calls: list[tuple[Target, CallSite]] = field(default_factory=list)
    loaded: Loaded = field(default_factory=Loaded)
    """The modules that its statements have loaded."""
    walks: Walks = field(default_factory=Walks)
    """The walks through the heap that it took."""

    @property
    def walked(self) -> float | None:
        """The seconds that they took together; ``None`` if there was none."""
        return self.walks.taken or None

    def note(self, target: object, refusal: Refusal) -> None:
        """Keep an observation about a target."""
        self.observations.append((str(target), refusal))

    def put(self, owner: object, name: str, value: object, label: str) -> None:
        """Let the layer hold `value` in an attribute; remember what is there now."""
        self.put_in(slot_of(owner, name, label), value)

    def put_in(self, slot: Slot, value: object) -> None:
        """Let the layer hold `value` in a slot; remember what is there now."""
        label = str(slot)
        if slot in self.values and self.values[slot] is not value:
            self.note(
                label,
                Refusal(
                    "changed-twice",
                    f"two changes of this patch reach {label}",
                    "one change for each live object",
                    "name one of the paths that lead to it",
                ),
            )
        self.values[slot] = value
        self.originals.setdefault(slot, value_of(slot))
