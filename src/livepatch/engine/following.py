"""What shall stand where a live value stands, given what both sides have there.  Writes nothing itself.

A value that can be changed is changed in place, by writes that are handed on, and stays the object that it is.  Any
other is made again of the after side's, with those of its parts that stay.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import replace
from types import CellType, FunctionType, SimpleNamespace
from typing import Any

from livepatch.engine.anatomy import (
    PLAIN,
    attributes_of,
    cell_content,
    is_frozen,
    is_value,
    members_of,
    native_base,
    parts_of,
)
from livepatch.engine.bases import refuses_bases
from livepatch.engine.code import same_code
from livepatch.engine.functions import code_of
from livepatch.engine.graph import (
    Comparison,
    Difference,
    Sides,
    Table,
    computed_since,
    shown,
    shown_key,
    table,
    unmangled,
)
from livepatch.engine.heap import referrers
from livepatch.engine.namespaces import is_a, is_class, is_function
from livepatch.engine.places import (
    contents_of,
    dict_of,
    item_of,
    items_of,
    member_of,
    refuses_stores,
    slot_of,
    wanted_contents,
)
from livepatch.engine.refusal import Refusal
from livepatch.engine.relink import REBUILT, CannotFollow, Relinker
from livepatch.engine.stack import ABSENT, Slot
from livepatch.engine.wrapping import unwritable

__all__ = ["Follower", "splits"]

Write = Callable[[Slot, object, object, str], None]
"""Takes a slot, its new value, what the after side has there, and how the place is called."""


class Follower:
    """Follows the changes of one patch through live graphs.  What two places share stays shared."""

    def __init__(self, sides: Sides, relink: Relinker, write: Write) -> None:
        self._sides = sides
        self._relink = relink
        self._write = write
        self._answers: dict[tuple[int, int, bool], tuple[bool, object, object]] = {}
        self._followed: dict[int, tuple[object, object]] = {}
        """By the id of a live object that is changed in place: it, and what it shall become."""
        self._sides_of: list[tuple[object, object]] = []
        """What both sides have in the place of those."""
        self.replaced: dict[tuple[int, int], tuple[object, object, object]] = {}
        """By the ids of a live object and what the after side has in its place: these, and what goes there."""
        self.caches: dict[int, object] = {}
        """Wrappers that stay, and keep answers of functions that change."""

    def kept(self) -> Callable[[], None]:
        """What takes it back to where it is now."""
        then = dict(self._followed), dict(self.replaced), dict(self.caches)
        pairs = list(self._sides_of)

        def back() -> None:
            self._followed, self.replaced, self.caches = then
            self._sides_of = pairs

        return back

    def same(self, before: object, after: object, *, root: bool = False) -> bool:
        """Whether both sides have the same; as a `root`, also where one name stands for both."""
        if before is ABSENT or after is ABSENT:
            return before is after
        key = id(before), id(after), root
        if key not in self._answers:
            answer = Comparison(self._sides, live=False).holds(before, after, root=root)
            self._answers[key] = answer, before, after
        return self._answers[key][0]

    def _stays(self, before: object, after: object) -> bool:
        """Whether both sides have the same, apart from what is changed in place and that may lead back to."""
        if self.same(before, after):
            return True
        if type(before) in PLAIN or type(before) is not type(after) or not self._sides_of:
            return False
        return Comparison(self._sides, live=False, known=self._sides_of).holds(before, after)

    def _alike(self, one: object, other: object) -> bool:
        return Comparison(self._sides, live=True).holds(one, other)

    def _must_correspond(
        self, live: object, before: object, path: str, *, root: bool = True, more: bool = True
    ) -> None:
        """Raise unless the live value is that of the before side; without `more`, with nothing that came since."""
        if live is ABSENT or before is ABSENT:
            if live is not before:
                raise _differs(path, Difference("", shown(live), shown(before)))
            return
        comparison = Comparison(self._sides, live=True, more=more)
        if not comparison.holds(live, before, root=root):
            raise _differs(path, comparison.difference or Difference("", shown(live), shown(before)))

    # Following

    def follow(self, live: Any, before: Any, after: Any, path: str, *, root: bool = False) -> Any:
        """What shall stand where `live` stands.  What can be changed in place is, by writes, and stays the object."""
        if live is after or self.same(before, after, root=root):
            return live
        if before is ABSENT or after is ABSENT or live is ABSENT:
            return self._come_or_go(live, before, after, path)
        if type(live) in PLAIN:
            self._must_correspond(live, before, path)
            return self._relink(after, path)
        if (id(live), id(after)) in self.replaced:
            return self.replaced[id(live), id(after)][2]
        known = self._followed.get(id(live))
        change = None if self._sides.part(before, after) else self._changer(live, before, after)
        if change is None:
            new = self._rebuilt(live, before, after, path)
            self.replaced[id(live), id(after)] = (live, after, new)
            if type(after) not in PLAIN:
                self._relink.know(after, new)
            return new
        if known is not None:
            if known[1] is not after and not self.same(known[1], after, root=True):
                raise CannotFollow(splits(path, live))
            return live
        # While its parts are followed they may lead back to it.
        self._followed[id(live)] = (live, after)
        self._sides_of.append((before, after))
        self._relink.know(after, live)
        change(live, before, after, path)
        return live

    def _come_or_go(self, live: object, before: object, after: object, path: str) -> object:
        if before is ABSENT:
            if live is not ABSENT:
                if Comparison(self._sides, live=True).holds(live, after):
                    return live
                raise _differs(path, Difference("", shown(live), "nothing"))
            return self._relink(after, path)
        if live is ABSENT:
            if after is ABSENT:
                return ABSENT
            raise _differs(path, Difference("", "nothing", shown(before)))
        self._must_correspond(live, before, path)
        return ABSENT

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
        if base is object and is_value(type(live)) and (is_frozen(type(live)) or _is_key(live)):
            return None  # it may be a key somewhere
        if base in (dict, list, set, object, CellType, OrderedDict, defaultdict, SimpleNamespace):
            return self._object
        if issubclass(base, BaseException) and type(live) is not base:
            return self._object
        return None

    def _object(self, live: Any, before: Any, after: Any, path: str) -> None:
        parts = [parts_of(each) or [] for each in (live, before, after)]
        if type(live) is CellType:
            new = self.follow(cell_content(live), cell_content(before), cell_content(after), path)
            if new is not cell_content(live):
                self._write(slot_of(live, "cell_contents", path), new, cell_content(after), path)
            return
        for (step, mine), (_, was), (_, shall) in zip(*parts, strict=True):
            if not self.same(was, shall):
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
        self._forget(live, slotted, path)
        self._attributes(live, slotted, path)
        if own[0] is not None and own[1] is not None and own[2] is not None:
            self._forget(live, own, path)
            self._attributes(live, own, path)

    def _forget(self, live: object, spaces: list[Any], path: str) -> None:
        """What an object has computed since may come from what changes in it: let it compute that anew, or refuse.

        An answer that a cached property keeps is dropped, and a plain value in the place of a mark gives way to it.
        """
        mine, was, shall = spaces
        for name, value in mine.items():
            label = f"{path}.{name}"
            slot = replace(slot_of(live, name, label), kept=True)
            if name not in was and name not in shall:
                if not _is_kept_answer(type(live), name):
                    raise _differs(label, Difference("", shown(value), "nothing"))
                self._write(slot, ABSENT, ABSENT, label)
            elif name in was and name in shall and self.same(was[name], shall[name]):
                if was[name] is not value and computed_since(value, was[name]):
                    self._write(slot, self._relink(shall[name], label), shall[name], label)
                else:
                    self._must_correspond(value, was[name], label)

    def _attributes(self, live: object, spaces: list[Any], path: str) -> None:
        mine, was, shall = spaces
        changed: dict[str, tuple[object, object]] = {}
        for name in {**was, **shall}:
            values = _under(name, mine, was, shall)
            new = self.follow(*values, f"{path}.{name}")
            if new is not values[0]:
                changed[name] = (new, values[2])
        gone = [name for name in mine if name in changed and changed[name][0] is ABSENT]
        own = dict_of(live)
        if own is not None and mine is own and gone and (gone != [*own][-len(gone) :] or len(gone) < len(changed)):
            # Put back one by one, they would come back at the end.
            entries = {**own, **{name: new for name, (new, _) in changed.items()}}
            self._refill(own, [pair for pair in entries.items() if pair[1] is not ABSENT], ABSENT, path)
            return
        for name, (new, after) in changed.items():
            self._write(slot_of(live, name, f"{path}.{name}"), new, after, f"{path}.{name}")

    def _function(self, live: FunctionType, before: FunctionType, after: FunctionType, path: str) -> None:
        if not same_code(before.__code__, after.__code__):
            if not same_code(code_of(live), before.__code__):
                raise _differs(path, Difference("", f"other code of {live.__qualname__}", "that of the before side"))
            self._write(slot_of(live, "__code__", f"{path}.__code__"), after.__code__, after.__code__, path)
        for name in ("__defaults__", "__kwdefaults__"):
            values = getattr(live, name), getattr(before, name), getattr(after, name)
            if not self.same(values[1], values[2]):
                self._must_correspond(values[0], values[1], f"{path}.{name}")
                if _all(values, tuple):
                    new = self._sequence(*values, f"{path}.{name}")
                elif _all(values, dict):
                    new = {key: self.follow(*_under(key, *values), f"{path}.{key}") for key in values[2]}
                else:
                    new = self._relink(values[2], f"{path}.{name}")
                self._write(slot_of(live, name, f"{path}.{name}"), new, values[2], f"{path}.{name}")
        if type(before.__doc__) is type(after.__doc__) is str and before.__doc__ != after.__doc__:
            self._write(slot_of(live, "__doc__", f"{path}.__doc__"), after.__doc__, after.__doc__, path)
        for i, name in enumerate(live.__code__.co_freevars):
            mine, was, shall = ((each.__closure__ or ())[i] for each in (live, before, after))
            self.follow(mine, was, shall, f"{path}<{name}>")
        own = [{} if space is None else space for space in map(dict_of, (live, before, after))]
        self._attributes(live, own, path)

    def _class(self, live: type, before: type, after: type, path: str) -> None:
        for what, differ in (
            (
                "metaclass",
                not self._sides.is_one(type(before), type(after), changed=True) and type(before) is not type(after),
            ),
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
            values = _under(name, mine, was, shall)
            new = self.follow(*values, f"{path}.{name}")
            if new is values[0]:
                continue
            refusal = unwritable(live, name)
            if refusal is not None:
                raise CannotFollow(refusal)
            self._write(slot_of(live, name, f"{path}.{name}"), new, values[2], f"{path}.{name}")

    def _bases(self, live: type, before: type, after: type, path: str) -> None:
        if self.same(before.__bases__, after.__bases__):
            return
        self._must_correspond(live.__bases__, before.__bases__, f"{path}.__bases__")
        bases = self._relink(after.__bases__, f"{path}.__bases__")
        assert isinstance(bases, tuple)
        refusal = refuses_bases(live, bases)
        if refusal is not None:
            raise CannotFollow(refusal)
        self._write(slot_of(live, "__bases__", f"{path}.__bases__"), bases, after.__bases__, path)

    def _dict(self, live: Any, before: Any, after: Any, path: str) -> None:
        mine, was, shall = table(self._sides, self._alike, *map(items_of, (live, before, after)))
        entries: Table = {}
        changed: list[object] = []
        for token, (key, value) in shall.items():
            old = mine.get(token, (key, ABSENT))
            held = was.get(token, (key, ABSENT))[1]
            new = self.follow(old[1], held, value, f"{path}[{shown_key(key)}]")
            if new is ABSENT:
                continue  # taken out by the program itself, and the same on both sides
            entries[token] = (old[0] if token in mine else self._relink(key, path), new)
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
        if len(was) == len(shall) and not self._moved(was, shall):
            for i, (held, old, new) in enumerate(zip(mine, was, shall, strict=False)):
                value = self.follow(held, old, new, f"{path}[{i}]")
                if value is not held:
                    self._write(item_of(live, i, f"{path}[{i}]"), value, new, f"{path}[{i}]")
            return
        items = [*self._aligned(mine, was, shall, path), *mine[len(was) :]]
        self._refill(live, [(item,) for item in items], after, path)

    def _must_correspond_items(self, mine: list[object], was: list[object], path: str) -> None:
        if len(mine) < len(was):
            raise _differs(path, Difference("", f"{len(mine)} items", f"at least {len(was)}"))
        for i, (held, old) in enumerate(zip(mine, was, strict=False)):
            self._must_correspond(held, old, f"{path}[{i}]", root=False)

    def _moved(self, was: list[object], shall: list[object]) -> bool:
        """Whether items are at other places on the after side, rather than others at the same places."""
        changed = [i for i, pair in enumerate(zip(was, shall, strict=True)) if not self.same(*pair)]
        return any(
            self.same(was[i], shall[j])
            for at, i in enumerate(changed)
            for j in changed[max(0, at - _AHEAD) : at + _AHEAD]
            if i != j
        )

    def _aligned(self, mine: list[object], was: list[object], shall: list[object], path: str) -> list[object]:
        """The items of the after side, those that the before side has too as the live ones."""
        items, at, left = [], 0, set(range(len(was)))
        for i, item in enumerate(shall):
            place = next((j for j in range(at, min(len(was), at + _AHEAD)) if self._stays(was[j], item)), None)
            if place is None:
                items.append(self._relink(item, f"{path}[{i}]"))
            else:
                if type(item) not in PLAIN:
                    self._relink.know(item, mine[place])
                items.append(mine[place])
                left.discard(place)
                at = place + 1
        for i in left:
            # Its place is taken: what the program has put into it since would be lost.
            self._must_correspond(mine[i], was[i], f"{path}[{i}]", more=False)
        return items

    def _refill(self, live: object, items: Iterable[tuple[object, ...]], after: object, path: str) -> None:
        slot = contents_of(live, path)
        refused = refuses_stores(slot)
        value = wanted_contents(slot, items) if refused is None else after
        self._write(slot, value, after, path)

    def _set(self, live: set[Any], before: set[Any], after: set[Any], path: str) -> None:
        pairs = [[(element, element) for element in set.__iter__(each)] for each in (live, before, after)]
        mine, was, shall = table(self._sides, self._alike, *pairs)
        for token, (element, _) in shall.items():
            if token not in was and token not in mine:
                new = self._relink(element, path)
                self._write(member_of(live, new, f"{path}{{{shown_key(element)}}}"), new, element, path)
        for token in was:
            if token not in shall and token in mine:
                element = mine[token][0]
                self._write(member_of(live, element, f"{path}{{{shown_key(element)}}}"), ABSENT, ABSENT, path)

    # Made again

    def _rebuilt(self, live: Any, before: Any, after: Any, path: str) -> object:
        """A new object in the place of one that cannot be changed, with those of its parts that stay."""
        if type(live) is type(after) is ContextVar:
            raise CannotFollow(
                Refusal(
                    "context-variable",
                    f"{path} is a context variable with another default",
                    "the same variable: running tasks have set it, and another one would not hold what they set",
                    "restart with the fix, or set the variable where the new default is needed",
                )
            )
        if type(live) is type(before) is type(after) and type(live) in REBUILT:
            parts = [parts_of(each) or [] for each in (live, before, after)]
            if len({len(each) for each in parts}) == 1:
                return self._with_parts(live, before, after, parts, path)
        tuples = is_a(live, tuple) and is_a(before, tuple) and is_a(after, tuple)
        if tuples and self._sides.is_same_class(type(live), type(after)) and not attributes_of(after):
            return self._sequence(live, before, after, path)
        self._must_correspond(live, before, path, more=False)
        return self._relink(after, path)

    def _with_parts(self, live: Any, before: Any, after: Any, parts: list[Any], path: str) -> object:
        new = [
            self.follow(mine, was, shall, f"{path}.{step}")
            for (step, mine), (_, was), (_, shall) in zip(*parts, strict=True)
        ]
        own = [
            {name: value for name, value in (dict_of(each) or {}).items() if name != "cache_parameters"}
            for each in (live, before, after)
        ]
        stays = all(one is mine for one, (_, mine) in zip(new, parts[0], strict=True))
        if stays:
            self._attributes(live, own, path)
            if hasattr(type(live), "cache_clear"):
                self.caches[id(live)] = live
            return live
        self._must_correspond(own[0], own[1], path)
        made = REBUILT[type(live)](after, new)
        room = dict_of(made)
        if room is not None:
            room.update({k: self._relink(v, f"{path}.{k}") for k, v in own[2].items() if k not in room})
        return made

    def _sequence(self, live: Any, before: Any, after: Any, path: str) -> object:
        mine, was, shall = ([*tuple.__iter__(each)] for each in (live, before, after))
        if len(mine) != len(was):
            raise _differs(path, Difference("", f"{len(mine)} items", f"{len(was)}"))
        if len(was) == len(shall) and not self._moved(was, shall):
            items = [self.follow(*each, f"{path}[{i}]") for i, each in enumerate(zip(mine, was, shall, strict=True))]
            if all(new is held for new, held in zip(items, mine, strict=True)):
                return live
        else:
            self._must_correspond_items(mine, was, path)
            items = self._aligned(mine, was, shall, path)
        return tuple(items) if type(live) is tuple else tuple.__new__(type(live), items)


def _is_kept_answer(kind: type, name: str) -> bool:
    """Whether an attribute of an object is what a descriptor of its class, such as a cached property, keeps there."""
    for base in kind.__mro__:
        if name in members_of(base):
            descriptor = type(members_of(base)[name])
            return hasattr(descriptor, "__get__") and not hasattr(descriptor, "__set__")
    return False


def _is_key(value: object) -> bool:
    """Whether a dict or set finds the object by its hash.  Walks the heap."""
    return any(
        any(key is value for key in list(holder)) for holder in referrers([value]) if is_a(holder, dict, set, frozenset)
    )


_AHEAD = 50  # items among which one that has moved is looked for


def _same_shape(live: FunctionType, before: FunctionType, after: FunctionType, sides: Sides) -> bool:
    """Whether a live function can become that of the after side: the same variables around it, and the same module."""
    free = {code_of(live).co_freevars, before.__code__.co_freevars, after.__code__.co_freevars}
    return (
        len(free) == 1
        and live.__code__.co_freevars in free
        and len({sides.space(each.__globals__) for each in (live, before, after)}) == 1
    )


def _layout(kind: type) -> tuple[object, ...]:
    return kind.__basicsize__, kind.__itemsize__, kind.__dictoffset__, kind.__weakrefoffset__


def _under(name: object, *spaces: Any) -> tuple[Any, Any, Any]:
    mine, was, shall = spaces
    return mine.get(name, ABSENT), was.get(name, ABSENT), shall.get(name, ABSENT)


def _all(values: tuple[object, ...], kind: type) -> bool:
    return all(type(value) is kind for value in values)


def _differs(path: str, difference: Difference) -> CannotFollow:
    return CannotFollow(
        Refusal(
            "value-differs-from-before",
            f"{path}{difference.path} is {difference.found}",
            f"{difference.expected}, as the source gives it that the patch was made for",
            "find out what set it; build with only= and without it, or restart, if the program itself computes it",
        )
    )


def splits(path: str, value: object) -> Refusal:
    """The refusal of one object that the fix makes several."""
    return Refusal(
        "shared-value-splits",
        f"{path} is {shown(value)}, one object in several places, which the fix makes different",
        "the same change in every place that shares an object",
        "restart with the fix",
    )
