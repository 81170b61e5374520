"""From what both sides give for a name to the writes that take the live value there.  Writes nothing.

Three values of one name are compared: the live one, what the before side's statements give, and what the after side's
give.  Where the two sides agree, the live value is left alone, whatever it has become.  Where they part, the live value
must be what the before side gives; it is then changed in place as deep down as can be, so that everybody who holds it
or a part of it has the change.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import CellType, FunctionType
from typing import Any

from livepatch.engine.anatomy import PLAIN, attributes_of, cell_content, members_of, native_base, parts_of
from livepatch.engine.bases import refuses_bases
from livepatch.engine.code import same_code
from livepatch.engine.functions import code_of
from livepatch.engine.graph import Comparison, Difference, ModuleSides, Sides, Table, shown, shown_key, table, unmangled
from livepatch.engine.namespaces import is_a, is_class, is_function
from livepatch.engine.places import (
    contents_of,
    dict_of,
    item_of,
    listed,
    member_of,
    refuses_stores,
    slot_of,
    value_of,
    wanted_contents,
)
from livepatch.engine.refusal import Refusal
from livepatch.engine.relink import REBUILT, CannotFollow, Relinker
from livepatch.engine.stack import ABSENT, Slot
from livepatch.engine.wrapping import unwritable

__all__ = ["ModuleSides", "Outcome", "Reconciler", "Sides"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The writes for one name, and why there are none where it cannot be done.

    `replaced` are the objects in whose place others go, with these: who else holds one of them still holds the old.
    """

    writes: tuple[tuple[Slot, object], ...] = ()
    refusal: Refusal | None = None
    replaced: tuple[tuple[object, object], ...] = ()


class Reconciler:
    """Reconciles the names of one patch: a value that several of them share is changed once, and stays shared."""

    def __init__(self, sides: Sides) -> None:
        self._sides = sides
        self._relink = Relinker(sides, self._counterpart)
        self._writes: dict[Slot, object] = {}
        self._after: dict[Slot, object] = {}
        self._followed: dict[int, tuple[object, object, object]] = {}
        """By the id of a live object: it, what the after side has in its place, and what goes there."""
        self._open: set[int] = set()
        """The ids of what is being carried over: no live object stands for these."""

    def reconcile(self, slot: Slot, before: object, after: object, label: str = "") -> Outcome:
        """The writes after which a name of a module or class has what the after side gives.

        `before` and `after` may be :data:`~livepatch.engine.stack.ABSENT`.  Changes nothing live.
        """
        label = label or str(slot)
        kept = dict(self._writes), dict(self._after), dict(self._followed)
        seen = set(self._writes)
        try:
            live = value_of(slot)
            new = self._follow(live, before, after, label, root=True)
            if new is not live:
                self._write(slot, new, after, label)
        except CannotFollow as answer:
            self._writes, self._after, self._followed = kept
            return Outcome(refusal=answer.refusal)
        writes = tuple((each, value) for each, value in self._writes.items() if each not in seen)
        replaced = tuple(
            (old, new) for key, (old, _, new) in self._followed.items() if key not in kept[2] and new is not old
        )
        return Outcome(writes, None, replaced)

    def carried(self, value: object, label: str) -> object:
        """A value of the after side, fit for the live module: for names that are new.  Raises :class:`CannotFollow`."""
        return self._relink(value, label)

    # What stands for what

    def _counterpart(self, value: object) -> object:
        """The live object in the place of one that the after side made, or ``ABSENT``."""
        sides = self._sides
        key = sides.key_of(value)
        live = sides.live_at.get(key, ABSENT) if key is not None else ABSENT
        if key is None or live is ABSENT or id(value) in self._open or sides.after_at.get(key) is not value:
            return ABSENT
        name = key.partition("#")[0]
        if name != key and type(sides.live_at.get(name)) is not type(sides.after_at.get(name)):
            return ABSENT  # a static method's function, say, does not become that of a class method: who kept it calls it
        if not sides.changes(key):
            return live if is_class(live) == is_class(value) else ABSENT
        return self._follow(live, sides.before_at.get(key, ABSENT), value, key, root=True)

    def _carry(self, value: object, path: str) -> Any:
        """The value of the after side in a place where no live object can become it."""
        key = id(value)
        outer = key in self._open
        self._open.add(key)
        try:
            return self._relink(value, path)
        finally:
            if not outer:
                self._open.discard(key)

    def _same(self, before: object, after: object, *, root: bool = False) -> bool:
        if before is ABSENT or after is ABSENT:
            return before is after
        return Comparison(self._sides, live=False).holds(before, after, root=root)

    def _corresponds(self, live: object, before: object) -> bool:
        return Comparison(self._sides, live=True).holds(live, before)

    def _must_correspond(self, live: object, before: object, path: str, *, root: bool = False) -> None:
        if live is ABSENT or before is ABSENT:
            if live is not before:
                raise _differs(path, Difference("", shown(live), shown(before)))
            return
        comparison = Comparison(self._sides, live=True)
        if not comparison.holds(live, before, root=root):
            raise _differs(path, comparison.difference or Difference("", shown(live), shown(before)))

    # Following

    def _follow(self, live: Any, before: Any, after: Any, path: str, *, root: bool = False) -> Any:
        """What shall stand where `live` stands.  What can be changed in place is, by writes, and stays the object."""
        if live is after or self._same(before, after, root=root):
            return live
        if before is ABSENT or after is ABSENT or live is ABSENT:
            return self._come_or_go(live, before, after, path)
        if type(live) in PLAIN:
            self._must_correspond(live, before, path)
            return self._carry(after, path)
        known = self._followed.get(id(live))
        if known is not None:
            if known[1] is not after and not self._same(known[1], after, root=True):
                raise CannotFollow(_splits(path, live))
            return known[2]
        change = self._changer(live, before, after)
        if change is None:
            self._must_correspond(live, before, path)
            new = self._rebuilt(live, before, after, path)
            self._followed[id(live)] = (live, after, new)
            return new
        # While its parts are followed they may lead back to it.
        self._followed[id(live)] = (live, after, live)
        self._relink.know(after, live)
        change(live, before, after, path)
        return live

    def _come_or_go(self, live: object, before: object, after: object, path: str) -> object:
        if before is ABSENT:
            if live is not ABSENT:
                if self._corresponds(live, after):
                    return live
                raise _differs(path, Difference("", shown(live), "nothing"))
            return self._carry(after, path)
        if live is ABSENT:
            if after is ABSENT:
                return ABSENT
            raise _differs(path, Difference("", "nothing", shown(before)))
        self._must_correspond(live, before, path)
        return ABSENT

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
            if not self._same(self._after[slot], after, root=True):
                raise CannotFollow(_splits(path, slot.owner))
            return
        self._writes[slot] = value
        self._after[slot] = after

    # In place

    def _changer(self, live: Any, before: Any, after: Any) -> Callable[[Any, Any, Any, str], None] | None:
        """What changes such an object in place, if all three are of one kind."""
        if is_function(live) and is_function(before) and is_function(after):
            return self._function if _same_shape(live, before, after, self._sides) else None
        if is_class(live) and is_class(before) and is_class(after):
            return self._class
        if is_function(live) or is_class(live):
            return None
        one = self._sides.is_one
        if not all(type(x) is type(live) or one(type(live), type(x), changed=True) for x in (before, after)):
            return None
        base = native_base(type(live))
        if base in (dict, list, set, object, CellType, OrderedDict) or base.__name__ in ("defaultdict", "SimpleNamespace"):
            return self._object
        if issubclass(base, BaseException) and type(live) is not base:
            return self._object
        return None

    def _object(self, live: Any, before: Any, after: Any, path: str) -> None:
        parts = [parts_of(each) or [] for each in (live, before, after)]
        if type(live) is CellType:
            new = self._follow(*map(cell_content, (live, before, after)), path)
            if new is not cell_content(live):
                self._write(slot_of(live, "cell_contents", path), new, cell_content(after), path)
            return
        for (step, mine), (_, was), (_, shall) in zip(*parts, strict=True):
            if not self._same(was, shall):
                raise _differs(f"{path}.{step}", Difference("", shown(mine), "a part that can be exchanged"))
        if is_a(live, dict):
            self._dict(live, before, after, path)
        elif is_a(live, list):
            self._list(live, before, after, path)
        elif is_a(live, set):
            self._set(live, before, after, path)
        own = [dict_of(each) for each in (live, before, after)]
        slotted = [
            {name: value for name, value in attributes_of(each).items() if name not in (dict_of(each) or {})}
            for each in (live, before, after)
        ]
        self._attributes(live, slotted, path)
        if own[0] is not None and own[1] is not None and own[2] is not None:
            self._attributes(live, own, path)

    def _attributes(self, live: object, spaces: list[Any], path: str) -> None:
        mine, was, shall = spaces
        for name in {**was, **shall}:
            values = [space.get(name, ABSENT) for space in (mine, was, shall)]
            new = self._follow(*values, f"{path}.{name}")
            if new is not values[0]:
                self._write(slot_of(live, name, f"{path}.{name}"), new, values[2], f"{path}.{name}")

    def _function(self, live: FunctionType, before: FunctionType, after: FunctionType, path: str) -> None:
        if not same_code(before.__code__, after.__code__):
            if not same_code(code_of(live), before.__code__):
                raise _differs(path, Difference("", f"other code of {live.__qualname__}", "that of the before side"))
            self._write(slot_of(live, "__code__", f"{path}.__code__"), after.__code__, after.__code__, path)
        for name in ("__defaults__", "__kwdefaults__"):
            values = [getattr(each, name) for each in (live, before, after)]
            if not self._same(values[1], values[2]):
                self._must_correspond(values[0], values[1], f"{path}.{name}")
                new = self._carry(values[2], f"{path}.{name}")
                if name == "__defaults__" and _all(values, tuple):
                    new = self._sequence(*values, f"{path}.{name}")
                self._write(slot_of(live, name, f"{path}.{name}"), new, values[2], f"{path}.{name}")
        if type(before.__doc__) is type(after.__doc__) is str and before.__doc__ != after.__doc__:
            self._write(slot_of(live, "__doc__", f"{path}.__doc__"), after.__doc__, after.__doc__, path)
        for i, name in enumerate(live.__code__.co_freevars):
            cells = [(each.__closure__ or ())[i] for each in (live, before, after)]
            self._follow(*cells, f"{path}<{name}>")
        own = [dict_of(each) or {} for each in (live, before, after)]
        self._attributes(live, own, path)

    def _class(self, live: type, before: type, after: type, path: str) -> None:
        for what, differ in (
            ("metaclass", not self._sides.is_one(type(before), type(after), changed=True) and type(before) is not type(after)),
            ("layout", _layout(before) != _layout(after) or _layout(live) != _layout(before)),
        ):
            if differ:
                raise CannotFollow(
                    Refusal(
                        "class-shape",
                        f"another {what} of {path}",
                        "the same metaclass and slots: objects of the class live on",
                        "restart with the fix",
                    )
                )
        self._bases(live, before, after, path)
        mine, was, shall = map(members_of, (live, before, after))
        key = self._sides.key_of(live)
        for name in {**was, **shall}:
            own = f"{key}.{unmangled(name, live)}"
            if own in self._sides.names or own in self._sides.elsewhere:
                continue  # it is seen to by itself
            values = [space.get(name, ABSENT) for space in (mine, was, shall)]
            new = self._follow(*values, f"{path}.{name}")
            if new is values[0]:
                continue
            refusal = unwritable(live, name)
            if refusal is not None:
                raise CannotFollow(refusal)
            self._write(slot_of(live, name, f"{path}.{name}"), new, values[2], f"{path}.{name}")

    def _bases(self, live: type, before: type, after: type, path: str) -> None:
        if self._same(before.__bases__, after.__bases__):
            return
        self._must_correspond(live.__bases__, before.__bases__, f"{path}.__bases__")
        bases = self._carry(after.__bases__, f"{path}.__bases__")
        assert isinstance(bases, tuple)
        refusal = refuses_bases(live, bases)
        if refusal is not None:
            raise CannotFollow(refusal)
        self._write(slot_of(live, "__bases__", f"{path}.__bases__"), bases, after.__bases__, path)

    def _dict(self, live: Any, before: Any, after: Any, path: str) -> None:
        mine, was, shall = table(self._sides, *(dict.items(each) for each in (live, before, after)), live=True)
        entries: Table = {}
        changed: list[object] = []
        for token, (key, value) in shall.items():
            old = mine.get(token, (key, ABSENT))
            held = was.get(token, (key, ABSENT))[1]
            new = self._follow(old[1], held, value, f"{path}[{shown_key(key)}]")
            if new is ABSENT:
                continue  # taken out by the program itself, and the same on both sides
            entries[token] = (old[0] if token in mine else self._carry(key, path), new)
            if new is not old[1]:
                changed.append(token)
        gone = [token for token in was if token not in shall and token in mine]
        for token in gone:
            self._must_correspond(mine[token][1], was[token][1], f"{path}[{shown_key(mine[token][0])}]")
        entries.update((token, pair) for token, pair in mine.items() if token not in entries and token not in gone)
        if not changed and not gone and list(was) == list(shall):
            return
        order = list(mine)
        at_end = gone == order[len(order) - len(gone) :] if gone else True
        stays = [token for token in shall if token in was] == [token for token in was if token in shall]
        added = [token for token in shall if token not in was]
        appended = list(shall)[len(shall) - len(added) :] == added
        plain = at_end and stays and appended and not (gone and added)
        if plain and all(refuses_stores(item_of(live, entries[t][0])) is None for t in changed):
            for token in changed:
                key, new = entries[token]
                self._write(item_of(live, key, f"{path}[{shown_key(key)}]"), new, shall[token][1], path)
            for token in gone:
                key = mine[token][0]
                self._write(item_of(live, key, f"{path}[{shown_key(key)}]"), ABSENT, ABSENT, path)
            return
        self._refill(live, list(entries.values()), after, path)

    def _list(self, live: Any, before: Any, after: Any, path: str) -> None:
        mine, was, shall = ([*list.__iter__(each)] for each in (live, before, after))
        self._must_correspond_items(mine, was, path)
        if len(was) == len(shall):
            for i, (held, old, new) in enumerate(zip(mine, was, shall, strict=False)):
                value = self._follow(held, old, new, f"{path}[{i}]")
                if value is not held:
                    self._write(item_of(live, i, f"{path}[{i}]"), value, new, f"{path}[{i}]")
            return
        items = [*self._aligned(mine, was, shall, path), *mine[len(was) :]]
        self._refill(live, [(item,) for item in items], after, path)

    def _must_correspond_items(self, mine: list[object], was: list[object], path: str) -> None:
        if len(mine) < len(was):
            raise _differs(path, Difference("", f"{len(mine)} items", f"at least {len(was)}"))
        for i, (held, old) in enumerate(zip(mine, was, strict=False)):
            self._must_correspond(held, old, f"{path}[{i}]")

    def _aligned(self, mine: list[object], was: list[object], shall: list[object], path: str) -> list[object]:
        """The items of the after side, those that the before side has too as the live ones."""
        items, at = [], 0
        for i, item in enumerate(shall):
            place = next((j for j in range(at, len(was)) if self._same(was[j], item)), None)
            if place is None:
                items.append(self._carry(item, f"{path}[{i}]"))
            else:
                items.append(mine[place])
                at = place + 1
        return items

    def _refill(self, live: object, items: Iterable[tuple[object, ...]], after: object, path: str) -> None:
        slot = contents_of(live, path)
        refused = refuses_stores(slot)
        value = wanted_contents(slot, items) if refused is None else after
        self._write(slot, value, after, path)

    def _set(self, live: set[Any], before: set[Any], after: set[Any], path: str) -> None:
        pairs = [zip(*([set.__iter__(each)] * 1), set.__iter__(each), strict=True) for each in (live, before, after)]
        mine, was, shall = table(self._sides, *pairs, live=True)
        for token, (element, _) in shall.items():
            if token not in was and token not in mine:
                new = self._carry(element, path)
                self._write(member_of(live, new, f"{path}{{{shown_key(element)}}}"), new, element, path)
        for token in was:
            if token not in shall and token in mine:
                element = mine[token][0]
                self._write(member_of(live, element, f"{path}{{{shown_key(element)}}}"), ABSENT, ABSENT, path)

    # Made again

    def _rebuilt(self, live: Any, before: Any, after: Any, path: str) -> object:
        """A new object in the place of one that cannot be changed, with those of its parts that stay."""
        same = type(live) is type(after) or self._sides.is_one(type(live), type(after), changed=True)
        if not same or not isinstance(before, type(before)):
            return self._carry(after, path)
        if is_a(live, tuple) and is_a(after, tuple):
            if not attributes_of(after):
                return self._sequence(live, before, after, path)
            return self._carry(after, path)
        rebuild = REBUILT.get(type(live))
        if rebuild is None or not type(live) is type(before) is type(after):
            return self._carry(after, path)
        parts = [parts_of(each) or [] for each in (live, before, after)]
        if len({len(each) for each in parts}) != 1:
            return self._carry(after, path)
        new = [
            self._follow(mine, was, shall, f"{path}.{step}")
            for (step, mine), (_, was), (_, shall) in zip(*parts, strict=True)
        ]
        if all(one is mine for one, (_, mine) in zip(new, parts[0], strict=True)):
            return live
        made = rebuild(after, new)
        own = dict_of(made)
        if own is not None:
            for name, value in (dict_of(after) or {}).items():
                if name not in own:
                    own[name] = self._carry(value, f"{path}.{name}")
        return made

    def _sequence(self, live: Any, before: Any, after: Any, path: str) -> object:
        mine, was, shall = ([*tuple.__iter__(each)] for each in (live, before, after))
        if len(mine) == len(was) == len(shall):
            items = [self._follow(*each, f"{path}[{i}]") for i, each in enumerate(zip(mine, was, shall, strict=True))]
            if all(new is held for new, held in zip(items, mine, strict=True)):
                return live
        else:
            items = self._aligned(mine, was, shall, path)
        return tuple(items) if type(live) is tuple else tuple.__new__(type(live), items)


def _same_shape(live: FunctionType, before: FunctionType, after: FunctionType, sides: Sides) -> bool:
    """Whether a live function can become that of the after side: the same variables around it, and the same module."""
    free = {code_of(live).co_freevars, before.__code__.co_freevars, after.__code__.co_freevars}
    return (
        len(free) == 1
        and live.__code__.co_freevars in free
        and len({sides.space(each.__globals__) for each in (live, before, after)}) == 1
    )


def _layout(kind: type) -> tuple[object, ...]:
    return kind.__basicsize__, kind.__itemsize__, kind.__dictoffset__, kind.__weakrefoffset__, native_base(kind)


def _all(values: list[object], kind: type) -> bool:
    return all(type(value) is kind for value in values)


def _differs(path: str, difference: Difference) -> CannotFollow:
    return CannotFollow(
        Refusal(
            "value-differs-from-before",
            f"{path}{difference.path} is {difference.found}",
            f"{difference.expected}, as the source gives it that the patch was made for",
            "find out what set it; a value that is computed at run time is for a migration",
        )
    )


def _splits(path: str, value: object) -> Refusal:
    return Refusal(
        "shared-value-splits",
        f"{path} is {shown(value)}, one object in several places, which the fix makes different",
        "the same change in every place that shares an object",
        "restart with the fix",
    )


