"""The kinds of places that a patch may write: how one is named, what it holds, and which calls store to it.

Every store is a call of the interpreter's own C code with ready arguments, so that many of them can be one step.
Nothing that the program defines is asked: no ``__setattr__``, no ``__setitem__``, no ``__eq__``.
"""

from __future__ import annotations

import operator
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from types import CellType
from typing import Any

from livepatch.engine.namespaces import is_a, is_class, is_function, is_module, namespace_of
from livepatch.engine.stack import ABSENT, Kind, Slot
from livepatch.errors import TransitionError, spelled

__all__ = [
    "Contents",
    "contents_of",
    "descriptor_of",
    "dict_of",
    "item_of",
    "items_of",
    "listed",
    "member_of",
    "refuses_stores",
    "slot_of",
    "stores",
    "value_of",
    "wanted_contents",
]


class _Holding:
    """The one reference to an owner that cannot be referred to weakly, and the contents of it that are known."""

    __slots__ = ("__weakref__", "_owner", "known")

    def __init__(self, owner: object) -> None:
        self._owner = owner
        self.known: list[weakref.ref[Contents]] = []

    def __call__(self) -> object:
        return self._owner


# As long as a holding lives so does its owner, and the id is its own.
_holdings: weakref.WeakValueDictionary[int, _Holding] = weakref.WeakValueDictionary()


def _holding(owner: object) -> _Holding:
    found = _holdings.get(id(owner))
    return found if found is not None else _holdings.setdefault(id(owner), _Holding(owner))


def _reference(owner: object) -> Callable[[], object | None]:
    try:
        return weakref.ref(owner)
    except TypeError:
        return _holding(owner)


# Naming a place


def slot_of(owner: object, name: str, label: str = "") -> Slot:
    """The slot for an attribute of a live function, class, module or other instance, or for what a cell holds."""
    kind: Kind
    if is_function(owner):
        kind = "function"
    elif is_module(owner):
        kind = "module"
    elif is_class(owner):
        kind = "class"
    elif type(owner) is CellType:
        kind = "cell"
    else:
        kind = "attribute"
    return Slot(_reference(owner), id(owner), kind, name, label)


def item_of(owner: object, key: object, label: str = "") -> Slot:
    """The slot for one entry of a dict, or one index of a list."""
    return Slot(_reference(owner), id(owner), "item", f"[{_spelled_key(key)}]", label, key)


def member_of(owner: object, element: object, label: str = "") -> Slot:
    """The slot for one member of a set: it holds the member, or :data:`~livepatch.engine.stack.ABSENT`."""
    return Slot(_reference(owner), id(owner), "member", f"{{{_spelled_key(element)}}}", label, element)


def contents_of(owner: object, label: str = "") -> Slot:
    """The slot for all that a dict or list holds, in its order.  Its values are :class:`Contents`."""
    return Slot(_holding(owner), id(owner), "contents", "[:]", label)


def _spelled_key(key: object) -> str:
    text = spelled(key)
    return text if text != f"a {type(key).__module__}.{type(key).__qualname__}" else f"{text} at {id(key):#x}"


# What cannot be stored to

_SETS_ITEMS = (dict.__setitem__, OrderedDict.__setitem__, list.__setitem__)
_DELETES_ITEMS = (dict.__delitem__, OrderedDict.__delitem__, list.__delitem__)


def _plainly(owner: object, name: str, known: Iterable[object]) -> bool:
    found = next((namespace_of(c)[name] for c in type(owner).__mro__ if name in namespace_of(c)), None)
    return any(found is each for each in known)


def refuses_stores(slot: Slot) -> str | None:
    """Why a slot cannot be stored to in one step of C code, in words, or ``None``."""
    owner = slot.owner
    kind = f"{type(owner).__module__}.{type(owner).__qualname__}"
    if slot.kind == "item" and (is_a(owner, dict) or is_a(owner, list)):
        if not (_plainly(owner, "__setitem__", _SETS_ITEMS) and _plainly(owner, "__delitem__", _DELETES_ITEMS)):
            return f"{kind} has its own way of storing items"
        return None if _hashes_plainly(slot.key) else f"a key whose hash is computed by {type(slot.key).__qualname__}"
    if slot.kind == "contents" and (is_a(owner, dict) or is_a(owner, list)):
        own = not (_plainly(owner, "__setitem__", _SETS_ITEMS) and _plainly(owner, "__delitem__", _DELETES_ITEMS))
        return f"{kind} has its own way of storing items" if own else None
    if slot.kind == "member" and is_a(owner, set):
        if type(owner) is not set:
            return f"{kind} may have its own way of storing members"
        return (
            None if _hashes_plainly(slot.key) else f"a member whose hash is computed by {type(slot.key).__qualname__}"
        )
    if slot.kind in ("item", "contents", "member"):
        return f"{kind} is no dict, list or set"
    if slot.kind == "attribute" and dict_of(owner) is None and descriptor_of(owner, slot.name) is None:
        return f"{kind} has no place for an attribute {slot.name}"
    return None


_PLAIN_HASHES = frozenset(
    map(id, (object.__hash__, str.__hash__, int.__hash__, bytes.__hash__, float.__hash__, type(None).__hash__))
)


def _hashes_plainly(key: object) -> bool:
    """Whether neither hash nor comparison of a key runs anything that is written in Python."""
    if type(key) is tuple or type(key) is frozenset:
        return all(map(_hashes_plainly, key))
    return _hash_of(type(key)) in _PLAIN_HASHES


def _hash_of(kind: type) -> int:
    return id(next((namespace_of(c)["__hash__"] for c in kind.__mro__ if "__hash__" in namespace_of(c)), None))


# Reading a place

_bases: Any = vars(type)["__bases__"].__get__
_get_member: Any = types.MemberDescriptorType.__get__
_set_member: Any = types.MemberDescriptorType.__set__
_delete_member: Any = types.MemberDescriptorType.__delete__


def dict_of(owner: object) -> dict[str, Any] | None:
    """An instance's own ``__dict__``, whatever its class says about attributes; ``None`` if it has none."""
    for kind in type(owner).__mro__:
        found: Any = namespace_of(kind).get("__dict__")
        if type(found) in (types.GetSetDescriptorType, types.MemberDescriptorType):
            namespace = found.__get__(owner)
            return namespace if type(namespace) is dict else None
    return None


def descriptor_of(owner: object, name: str) -> types.MemberDescriptorType | None:
    """What ``__slots__`` made for an attribute of an instance, if the name leads there first."""
    for kind in type(owner).__mro__:
        if name in namespace_of(kind):
            found = namespace_of(kind)[name]
            return found if type(found) is types.MemberDescriptorType else None
    return None


def value_of(slot: Slot) -> object:
    """What a slot holds now: its raw value, no descriptor asked; :data:`ABSENT` if it does not exist."""
    owner = slot.owner
    if owner is None:
        return ABSENT
    if slot.kind == "function":
        return getattr(owner, slot.name, ABSENT)
    if slot.kind in ("module", "class"):
        if slot.name == "__bases__" and is_class(owner):
            return _bases(owner)
        return namespace_of(owner).get(slot.name, ABSENT)  # type: ignore[arg-type]  # a class or module, by the kind
    return _READERS[slot.kind](slot, owner)


def _attribute(slot: Slot, owner: object) -> object:
    descriptor = descriptor_of(owner, slot.name)
    if descriptor is not None:
        try:
            return _get_member(descriptor, owner, type(owner))
        except AttributeError:
            return ABSENT
    return (dict_of(owner) or {}).get(slot.name, ABSENT)


def _cell(_: Slot, owner: Any) -> object:
    try:
        return owner.cell_contents
    except ValueError:
        return ABSENT


def _item(slot: Slot, owner: Any) -> object:
    if is_a(owner, list):
        index = slot.key
        return list.__getitem__(owner, index) if type(index) is int and index < list.__len__(owner) else ABSENT
    return dict.get(owner, slot.key, ABSENT)


def _member(slot: Slot, owner: Any) -> object:
    return slot.key if set.__contains__(owner, slot.key) else ABSENT


def _contents(slot: Slot, owner: object) -> object:
    return _now(slot.reference, listed(owner))


_READERS: dict[str, Callable[[Slot, Any], object]] = {
    "attribute": _attribute,
    "cell": _cell,
    "item": _item,
    "member": _member,
    "contents": _contents,
}


# Contents as one value

Entry = tuple[object, ...]  # (value,) of a list, (key, value) of a dict


class Contents:
    """What a dict or list held, item by item.  Equal by identity, and there is one for one content of one owner.

    A container *has* these contents as long as it holds the very same items in their order, whatever else the program
    has put there since: entries under other keys of a dict, items at the end of a list.
    """

    __slots__ = ("__weakref__", "instead_of", "items")

    def __init__(self, items: tuple[Entry, ...], instead_of: Contents | None = None) -> None:
        self.items = items
        self.instead_of = instead_of
        """What was there when these were asked for: it must stay known, as these may be part of it."""

    def are_in(self, live: tuple[Entry, ...]) -> bool:
        """Whether a container that holds `live` has these contents."""
        if len(self.items) > len(live):
            return False
        if self.items and len(self.items[0]) == 1:
            return all(map(_identical, self.items, live))
        mine = {_token(item[0]) for item in self.items}
        shared = [entry for entry in live if len(entry) == 2 and _token(entry[0]) in mine]
        return len(shared) == len(self.items) and all(map(_identical, self.items, shared))

    def others(self, live: tuple[Entry, ...]) -> tuple[Entry, ...]:
        """What a container that has these contents holds besides."""
        if live and len(live[0]) == 1:
            return live[len(self.items) :]
        mine = {_token(item[0]) for item in self.items}
        return tuple(entry for entry in live if _token(entry[0]) not in mine)

    def __repr__(self) -> str:
        return f"<contents of {len(self.items)} items>"


def _identical(one: Entry, other: Entry) -> bool:
    if len(one) == 1:
        return one[0] is other[0]
    return _token(one[0]) == _token(other[0]) and one[1] is other[1]


def _token(key: object) -> object:
    return (type(key), key) if type(key) in (str, int, bytes, bool, type(None)) else id(key)


def listed(owner: object) -> tuple[Entry, ...]:
    """The items of a dict, as (key, value), or of a list, as (value,)."""
    if is_a(owner, dict):
        return tuple(items_of(owner))
    assert is_a(owner, list)
    return tuple(zip(list.__iter__(owner)))


def items_of(owner: dict[Any, Any]) -> Iterable[tuple[Any, Any]]:
    """The items of a dict in its order, no method of a derived class asked."""
    return OrderedDict.items(owner) if is_a(owner, OrderedDict) else dict.items(owner)


def _known(reference: Callable[[], object | None]) -> list[Contents]:
    assert isinstance(reference, _Holding)
    reference.known = [known for known in reference.known if known() is not None]
    return [contents for known in reference.known if (contents := known()) is not None]


def _now(
    reference: Callable[[], object | None], live: tuple[Entry, ...], instead_of: Contents | None = None
) -> Contents:
    """The known contents that a container with the items `live` has; those that are `instead_of` others, exactly."""
    found = [known for known in _known(reference) if known.are_in(live)]
    found = [known for known in found if instead_of is None or len(known.items) == len(live)]
    if found:
        return max(found, key=lambda known: len(known.items))
    made = Contents(live, instead_of)
    assert isinstance(reference, _Holding)
    reference.known.append(weakref.ref(made))
    return made


def wanted_contents(slot: Slot, items: Iterable[Entry]) -> Contents:
    """The value for a contents slot with which its owner shall hold `items`.

    What the owner holds beyond what it is known to hold is somebody else's, and is left out here: it stays anyhow.
    """
    live = listed(slot.owner)
    now = _now(slot.reference, live)
    others = now.others(live)
    kept = tuple(item for item in items if not any(_identical(item, other) for other in others))
    return _now(slot.reference, kept, instead_of=now)


def _merged(owner: object, held: Contents, wanted: Contents) -> tuple[Entry, ...]:
    """What a container holds once it has left `held` for `wanted`: those items, and then what others put there."""
    live = listed(owner)
    if not held.are_in(live):
        raise TransitionError(
            "a container was changed by others at the moment of the switch",
            found=f"{held!r} are not there any more",
            expected="nobody else to change or take out what a patch changes",
            action="find out who did; then try again",
        )
    others = held.others(live)
    if is_a(owner, dict):
        mine = {_token(item[0]) for item in wanted.items}
        others = tuple(entry for entry in others if _token(entry[0]) not in mine)
    return (*wanted.items, *others)


# Storing to a place

Store = tuple[object, ...]  # something to call, and its arguments


def stores(slot: Slot, owner: Any, held: object, value: object) -> list[Store]:
    """The calls of C code that take a slot of `owner` from `held` to `value`.  Calls none of them."""
    gone = value is ABSENT
    if slot.kind == "module":
        namespace = namespace_of(owner)
        return [(operator.delitem, namespace, slot.name) if gone else (operator.setitem, namespace, slot.name, value)]
    if slot.kind == "attribute":
        descriptor = descriptor_of(owner, slot.name)
        if descriptor is not None:
            return [(_delete_member, descriptor, owner) if gone else (_set_member, descriptor, owner, value)]
        own = dict_of(owner)
        return [(dict.__delitem__, own, slot.name) if gone else (dict.__setitem__, own, slot.name, value)]
    if slot.kind == "item":
        return [(operator.delitem, owner, slot.key) if gone else (operator.setitem, owner, slot.key, value)]
    if slot.kind == "member":
        return [(set.remove if gone else set.add, owner, slot.key)]
    if slot.kind == "contents":
        assert isinstance(held, Contents)
        assert isinstance(value, Contents)
        merged: Any = _merged(owner, held, value)
        if is_a(owner, dict):
            base = OrderedDict if is_a(owner, OrderedDict) else dict
            return [(base.clear, owner), (base.update, owner, dict(merged))]
        return [(list.__setitem__, owner, slice(None), [item for (item,) in merged])]
    return [(delattr, owner, slot.name) if gone else (setattr, owner, slot.name, value)]
