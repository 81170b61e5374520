"""What shall stand where a live value stands, given what both sides have there.  Writes nothing itself.

A value that can be changed is changed in place, by writes that are handed on, and stays the object that it is.  Any
other is made again of the after side's, with those of its parts that stay.
"""

from __future__ import annotations

import sys
from collections import OrderedDict, defaultdict
from collections.abc import Callable
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
from livepatch.engine.containers import differs, follow_dict, follow_list, follow_set, follow_tuple, refill
from livepatch.engine.counterparts import Sides, unmangled
from livepatch.engine.functions import code_of
from livepatch.engine.graph import Comparison, Difference, computed_since, shown, sides_part
from livepatch.engine.heap import referrers
from livepatch.engine.namespaces import is_a, is_class, is_function
from livepatch.engine.places import (
    dict_of,
    slot_of,
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
        self.sides = sides
        self.relink = relink
        self.write = write
        self._answers: dict[tuple[int, int, bool], tuple[bool, object, object]] = {}
        self._followed: dict[int, tuple[object, object]] = {}
        """By the id of a live object that is changed in place: it, and what it shall become."""
        self._sides_of: list[tuple[object, object]] = []
        """What both sides have in the place of those."""
        self.replaced: dict[tuple[int, int], tuple[object, object, object]] = {}
        """By the ids of a live object and what the after side has in its place: these, and what goes there."""
        self.given: dict[int, object] = {}
        """Live objects that the before side did not make anew, such as functions of the standard library."""
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
            answer = Comparison(self.sides, live=False).holds(before, after, root=root)
            self._answers[key] = answer, before, after
        return self._answers[key][0]

    def stays(self, before: object, after: object) -> bool:
        """Whether both sides have the same, apart from what is changed in place and that may lead back to."""
        if self.same(before, after):
            return True
        if type(before) in PLAIN or type(before) is not type(after) or not self._sides_of:
            return False
        return Comparison(self.sides, live=False, known=self._sides_of).holds(before, after)

    def alike(self, one: object, other: object) -> bool:
        """Whether a live object is what a side has."""
        return Comparison(self.sides, live=True).holds(one, other)

    def must_correspond(self, live: object, before: object, path: str, *, root: bool = True, more: bool = True) -> None:
        """Raise unless the live value is that of the before side; without `more`, with nothing that came since."""
        if live is ABSENT or before is ABSENT:
            if live is not before:
                raise differs(path, Difference("", shown(live), shown(before)))
            return
        comparison = Comparison(self.sides, live=True, more=more)
        if not comparison.holds(live, before, root=root):
            raise differs(path, comparison.difference or Difference("", shown(live), shown(before)))

    # Following

    def follow(self, live: Any, before: Any, after: Any, path: str, *, root: bool = False) -> Any:
        """What shall stand where `live` stands.  What can be changed in place is, by writes, and stays the object."""
        if live is after or self.same(before, after, root=root):
            return live
        if before is ABSENT or after is ABSENT or live is ABSENT:
            return self._come_or_go(live, before, after, path)
        if type(live) in PLAIN:
            self.must_correspond(live, before, path)
            return self.relink(after, path)
        if (id(live), id(after)) in self.replaced:
            return self.replaced[id(live), id(after)][2]
        known = self._followed.get(id(live))
        # What the before side did not make anew is not its own: it gives way to another, and stays what it is.
        if live is before:
            self.given[id(live)] = live
        bound_anew = live is before or sides_part(self.sides, before, after)
        change = None if bound_anew else self._changer(live, before, after)
        if change is None:
            new = self._rebuilt(live, before, after, path)
            self.replaced[id(live), id(after)] = (live, after, new)
            if type(after) not in PLAIN:
                self.relink.know(after, new)
            return new
        if known is not None:
            if known[1] is not after and not self.same(known[1], after, root=True):
                raise CannotFollow(splits(path, live))
            return live
        # While its parts are followed they may lead back to it.
        self._followed[id(live)] = (live, after)
        self._sides_of.append((before, after))
        self.relink.know(after, live)
        change(live, before, after, path)
        return live

    def _come_or_go(self, live: object, before: object, after: object, path: str) -> object:
        if before is ABSENT:
            if live is not ABSENT:
                if Comparison(self.sides, live=True).holds(live, after):
                    return live
                raise differs(path, Difference("", shown(live), "nothing"))
            return self.relink(after, path)
        if live is ABSENT:
            if after is ABSENT:
                return ABSENT
            raise differs(path, Difference("", "nothing", shown(before)))
        self.must_correspond(live, before, path)
        return ABSENT

    # In place

    def _changer(self, live: Any, before: Any, after: Any) -> Callable[[Any, Any, Any, str], None] | None:
        """What changes such an object in place, if all three are of one kind."""
        if is_function(live) and is_function(before) and is_function(after):
            return self._function if _same_shape(live, before, after, self.sides) else None
        if is_class(live) and is_class(before) and is_class(after):
            return self._class
        if is_function(live) or is_class(live):
            return None
        one = self.sides.is_one
        if not all(type(x) is type(live) or one(type(live), type(x), changed=True) for x in (before, after)):
            return None
        base = native_base(type(live))
        if _is_shared(type(live)):
            return None
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
                self.write(slot_of(live, "cell_contents", path), new, cell_content(after), path)
            return
        for (step, mine), (_, was), (_, shall) in zip(*parts, strict=True):
            if not self.same(was, shall):
                raise differs(f"{path}.{step}", Difference("", shown(mine), "a part that can be exchanged"))
        if is_a(live, dict):
            follow_dict(self, live, before, after, path)
        elif is_a(live, list):
            follow_list(self, live, before, after, path)
        elif is_a(live, set):
            follow_set(self, live, before, after, path)
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
                    raise differs(label, Difference("", shown(value), "nothing"))
                self.write(slot, ABSENT, ABSENT, label)
            elif name in was and name in shall and self.same(was[name], shall[name]):
                if was[name] is not value and computed_since(value, was[name]):
                    self.write(slot, self.relink(shall[name], label), shall[name], label)
                else:
                    self.must_correspond(value, was[name], label)

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
            refill(self, own, [pair for pair in entries.items() if pair[1] is not ABSENT], ABSENT, path)
            return
        for name, (new, after) in changed.items():
            self.write(slot_of(live, name, f"{path}.{name}"), new, after, f"{path}.{name}")

    def _function(self, live: FunctionType, before: FunctionType, after: FunctionType, path: str) -> None:
        if not same_code(before.__code__, after.__code__):
            if not same_code(code_of(live), before.__code__):
                raise differs(path, Difference("", f"other code of {live.__qualname__}", "that of the before side"))
            self.write(slot_of(live, "__code__", f"{path}.__code__"), after.__code__, after.__code__, path)
        for name in ("__defaults__", "__kwdefaults__"):
            values = getattr(live, name), getattr(before, name), getattr(after, name)
            if not self.same(values[1], values[2]):
                self.must_correspond(values[0], values[1], f"{path}.{name}")
                if _all(values, tuple):
                    new = follow_tuple(self, *values, f"{path}.{name}")
                elif _all(values, dict):
                    new = {key: self.follow(*_under(key, *values), f"{path}.{key}") for key in values[2]}
                else:
                    new = self.relink(values[2], f"{path}.{name}")
                self.write(slot_of(live, name, f"{path}.{name}"), new, values[2], f"{path}.{name}")
        if type(before.__doc__) is type(after.__doc__) is str and before.__doc__ != after.__doc__:
            self.write(slot_of(live, "__doc__", f"{path}.__doc__"), after.__doc__, after.__doc__, path)
        for i, name in enumerate(live.__code__.co_freevars):
            mine, was, shall = ((each.__closure__ or ())[i] for each in (live, before, after))
            self.follow(mine, was, shall, f"{path}<{name}>")
        own = [{} if space is None else space for space in map(dict_of, (live, before, after))]
        self._attributes(live, own, path)

    def _class(self, live: type, before: type, after: type, path: str) -> None:
        for what, differ in (
            (
                "metaclass",
                not self.sides.is_one(type(before), type(after), changed=True) and type(before) is not type(after),
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
        key = self.sides.key_of(live)
        for name in {**was, **shall}:
            own = f"{key}.{unmangled(name, live)}"
            if own in self.sides.names or own in self.sides.elsewhere:
                continue  # it is seen to by itself
            values = _under(name, mine, was, shall)
            new = self.follow(*values, f"{path}.{name}")
            if new is values[0]:
                continue
            refusal = unwritable(live, name)
            if refusal is not None:
                raise CannotFollow(refusal)
            self.write(slot_of(live, name, f"{path}.{name}"), new, values[2], f"{path}.{name}")

    def _bases(self, live: type, before: type, after: type, path: str) -> None:
        if self.same(before.__bases__, after.__bases__):
            return
        self.must_correspond(live.__bases__, before.__bases__, f"{path}.__bases__")
        bases = self.relink(after.__bases__, f"{path}.__bases__")
        assert isinstance(bases, tuple)
        refusal = refuses_bases(live, bases)
        if refusal is not None:
            raise CannotFollow(refusal)
        self.write(slot_of(live, "__bases__", f"{path}.__bases__"), bases, after.__bases__, path)

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
        if tuples and self.sides.is_same_class(type(live), type(after)) and not attributes_of(after):
            return follow_tuple(self, live, before, after, path)
        self.must_correspond(live, before, path, more=False)
        return self.relink(after, path)

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
        self.must_correspond(own[0], own[1], path)
        made = REBUILT[type(live)](after, new)
        room = dict_of(made)
        if room is not None:
            room.update({k: self.relink(v, f"{path}.{k}") for k, v in own[2].items() if k not in room})
        return made


def _is_kept_answer(kind: type, name: str) -> bool:
    """Whether an attribute of an object is what a descriptor of its class, such as a cached property, keeps there."""
    for base in kind.__mro__:
        if name in members_of(base):
            descriptor = type(members_of(base)[name])
            return hasattr(descriptor, "__get__") and not hasattr(descriptor, "__set__")
    return False


def _is_shared(kind: type) -> bool:
    """Whether a class of the standard library makes values, such as paths: `Union[int, str]` is one for all users."""
    module = str(kind.__module__).partition(".")[0]
    return module == "typing" or (module in sys.stdlib_module_names and is_value(kind))


def _is_key(value: object) -> bool:
    """Whether a dict or set finds the object by its hash.  Walks the heap."""
    return any(
        any(key is value for key in list(holder)) for holder in referrers([value]) if is_a(holder, dict, set, frozenset)
    )


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


def splits(path: str, value: object) -> Refusal:
    """The refusal of one object that the fix makes several."""
    return Refusal(
        "shared-value-splits",
        f"{path} is {shown(value)}, one object in several places, which the fix makes different",
        "the same change in every place that shares an object",
        "restart with the fix",
    )
