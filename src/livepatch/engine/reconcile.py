"""From what both sides give for a name to the writes that take the live value there.  Writes nothing.

Three values of one name are compared: the live one, what the before side's statements give, and what the after side's
give.  Where the two sides agree, the live value is left alone, whatever it has become.  Where they part, the live value
must be what the before side gives; it is then changed in place as deep down as can be, so that everybody who holds it
or a part of it has the change.
"""

from __future__ import annotations

from dataclasses import dataclass

from livepatch.engine.counterparts import ModuleSides, Sides, unmangled
from livepatch.engine.following import Follower, splits
from livepatch.engine.graph import shown
from livepatch.engine.namespaces import is_class, is_module, owner_name
from livepatch.engine.places import item_of, refuses_stores, value_of
from livepatch.engine.refusal import Refusal
from livepatch.engine.relink import CannotFollow, Relinker
from livepatch.engine.stack import ABSENT, Slot

__all__ = ["ModuleSides", "Outcome", "Reconciler", "Sides"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The writes for one name, and why there are none where it cannot be done.

    `replaced` are the objects in whose place others go, with these: who else holds one of them still holds the old.
    """

    writes: tuple[tuple[Slot, object], ...] = ()
    refusal: Refusal | None = None
    replaced: tuple[tuple[object, object], ...] = ()
    caches: tuple[object, ...] = ()
    """``lru_cache`` wrappers that stay and keep answers of functions that change: to be cleared with the writes."""


class Reconciler:
    """Reconciles the names of one patch: a value that several of them share is changed once, and stays shared."""

    def __init__(self, sides: Sides) -> None:
        self._sides = sides
        self._relink = Relinker(sides, self._counterpart)
        self._writes: dict[Slot, object] = {}
        self._after: dict[Slot, object] = {}
        self._follower = Follower(sides, self._relink, self._write)
        self._given: set[Slot] = set()
        self._told: set[object] = set()
        self._open: set[int] = set()
        """The ids of what is being carried over: no live object stands for these."""

    def reconcile(self, slot: Slot, before: object, after: object, label: str = "") -> Outcome:
        """The writes after which a name of a module or class has what the after side gives.

        `before` and `after` may be :data:`~livepatch.engine.stack.ABSENT`.  Changes nothing live.
        """
        label = label or str(slot)
        kept, back = (dict(self._writes), dict(self._after)), self._follower.kept()
        try:
            live = value_of(slot)
            new = self._follow_name(_key_of(slot), live, before, after, label)
            if new is not live:
                self._write(slot, new, after, label)
        except CannotFollow as answer:
            self._writes, self._after = kept
            back()
            return Outcome(refusal=answer.refusal)
        return self.rest()

    def bring(self, scratch: object, live: object) -> None:
        """Let a live object, such as a module that comes, stand for the copy in which it was computed."""
        self._relink.know(scratch, live)

    def carried(self, value: object, label: str) -> object:
        """A value of the after side, fit for the live module: for names that are new.  Raises :class:`CannotFollow`.

        It may hold what is changed in place: those writes are in the next outcome, or in :meth:`rest`.
        """
        kept, back = (dict(self._writes), dict(self._after)), self._follower.kept()
        try:
            return self._relink(value, label)
        except CannotFollow:
            self._writes, self._after = kept
            back()
            raise

    def enter(self, container: object, key: object, value: object, label: str) -> None:
        """Bring a new entry of a live dict; its write is in :meth:`rest`.  Raises :class:`CannotFollow`."""
        kept, back = (dict(self._writes), dict(self._after)), self._follower.kept()
        try:
            known = self._relink(key, label)
            path = f"{label}[{shown(known)}]"
            self._write(item_of(container, known, path), self._relink(value, path), value, path)
        except CannotFollow:
            self._writes, self._after = kept
            back()
            raise

    @property
    def given(self) -> dict[int, object]:
        """By their ids, live objects that give way to others and that the before side did not make anew."""
        return self._follower.given

    def rest(self) -> Outcome:
        """All that was found and is in no outcome yet."""
        writes = [slot for slot in self._writes if slot not in self._given]
        replaced = [key for key in self._follower.replaced if key not in self._told]
        caches = [key for key in self._follower.caches if key not in self._told]
        self._given.update(writes)
        self._told.update([*replaced, *caches])
        pairs = [self._follower.replaced[key] for key in replaced]
        return Outcome(
            tuple((slot, self._writes[slot]) for slot in writes),
            None,
            tuple((old, now) for old, _, now in pairs if now is not old),
            tuple(self._follower.caches[key] for key in caches),
        )

    # What stands for what

    def _counterpart(self, value: object) -> object:
        """The live object in the place of one that the after side made, or ``ABSENT``."""
        sides = self._sides
        key = sides.key_of(value)
        live = sides.live_at.get(key, ABSENT) if key is not None else ABSENT
        if key is None or live is ABSENT or sides.after_at.get(key) is not value:
            return ABSENT
        name = key.partition("#")[0]
        if name != key and type(sides.live_at.get(name)) is not type(sides.after_at.get(name)):
            return ABSENT  # who kept the function of a static method does not call it as that of a class method
        if not sides.changes(key):
            return live if name in sides.elsewhere or sides.is_alike(live, value) else ABSENT
        if id(value) in self._open:
            return ABSENT
        return self._follow_name(key, live, sides.before_at.get(key, ABSENT), value, key)

    def _follow_name(self, key: str, live: object, before: object, after: object, path: str) -> object:
        """What a name shall stand for.  While that is found out, no live object stands for it."""
        mine = self._sides.key_of(after) in (key, None) and id(after) not in self._open
        if mine:
            self._open.add(id(after))
        try:
            return self._follower.follow(live, before, after, path, root=True)
        finally:
            if mine:
                self._open.discard(id(after))

    def _write(self, slot: Slot, value: object, after: object, path: str) -> None:
        refused = refuses_stores(slot)
        if refused is not None:
            raise CannotFollow(
                Refusal(
                    "not-in-one-step",
                    f"{path}: {refused}",
                    "a place that is stored to by the interpreter's own code, so that no other thread sees half",
                    "restart with the fix, or change the functions that use it",
                )
            )
        if slot in self._writes and self._writes[slot] is not value:
            if not self._follower.same(self._after[slot], after, root=True):
                raise CannotFollow(splits(path, slot.owner))
            return
        self._writes[slot] = value
        self._after[slot] = after


def _key_of(slot: Slot) -> str:
    owner = slot.owner
    if is_class(owner):
        return f"{owner_name(owner)}.{unmangled(slot.name, owner)}"
    return f"{owner_name(owner)}:{slot.name}" if is_module(owner) else ""
