"""Values that are attached to objects from outside: found by identity, made once, gone with the object.

Nothing of the object is asked but whether it is this very one: neither ``__eq__`` nor ``__hash__``.  Where a value lies
depends on the object.

* In its own ``__dict__``, if it has one and the variable is an attribute.  Then it is as if the object had set it
  itself: it dies with the object, a cycle through it is collected, a copy and a pickle take it along.  Only a weak
  reference is kept outside, to find the object again.
* Else in a table, by ``id``, behind a weak reference that takes the entry out when the object dies.  An entry counts
  only for the object that its reference gives, so an address that is used again gives nothing away.
* An object to which no weak reference can be made is held in the table itself.  It is let go when nothing else refers
  to it any more, which is looked for at collections and as the table grows.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from threading import get_ident
from typing import Any

from livepatch.engine.pace import paced
from livepatch.engine.stack import ABSENT
from livepatch.errors import StateError, spelled

__all__ = ["Attached", "Entry", "check_attachable", "has_weak_references"]

# Equal ones of these types may be one object: what is attached to one would be attached to others.
_WITHOUT_IDENTITY = frozenset({
    type(None), bool, int, float, complex, str, bytes, tuple, frozenset, range, type(...), type(NotImplemented),
})  # fmt: skip


def check_attachable(value: object) -> None:
    """Raise :class:`TypeError` for a plain value: the interpreter may have one object for many of them."""
    if type(value) in _WITHOUT_IDENTITY:
        raise TypeError(
            f"nothing can be attached to {spelled(value)}: equal values of that type may be one object; "
            "attach it to the object that holds the value"
        )


class _Weak(weakref.ref[Any]):
    """An entry of an object that can be referred to weakly."""

    __slots__ = ("entries", "key", "value")

    entries: dict[int, Entry]
    key: int
    value: object


class _Held:
    """An entry that holds its object."""

    __slots__ = ("held", "key", "value")

    def __init__(self, held: object, value: object) -> None:
        self.held, self.key, self.value = held, id(held), value

    def __call__(self) -> object:
        return self.held


Entry = _Weak | _Held


def _died(entry: weakref.ref[Any]) -> None:
    assert isinstance(entry, _Weak)
    if entry.entries.get(entry.key) is entry:
        del entry.entries[entry.key]


def _weakly(entries: dict[int, Entry], owner: object, value: object) -> _Weak:
    entry = _Weak(owner, _died)
    entry.entries, entry.key, entry.value = entries, id(owner), value
    return entry


def has_weak_references(kind: type) -> bool:
    """Whether objects of a class can be referred to weakly."""
    return kind.__weakrefoffset__ != 0


class Attached:
    """What one shadow variable has attached.  With `attribute`, under that name in each ``__dict__`` there is."""

    __slots__ = ("__weakref__", "_closed", "_looked", "attribute", "entries", "inside", "label")

    def __init__(self, label: str, attribute: str = "") -> None:
        self.label, self.attribute = label, attribute
        self.entries: dict[int, Entry] = {}
        """What lies outside, by the id of the object."""
        self.inside: dict[int, Entry] = {}
        """The objects that have it in their ``__dict__``; the entries hold no value, which may refer to the object."""
        self._closed = False
        self._looked = 0

    def __len__(self) -> int:
        return len(self.entries) + len(self.inside)

    def get(self, owner: object) -> object:
        """What an object has, or ``ABSENT``."""
        names = self._names(owner)
        if names is not None and self.attribute in names:
            return names[self.attribute]
        entry = self.entries.get(id(owner))
        return entry.value if entry is not None and entry() is owner else ABSENT

    def get_or_make(self, owner: object, make: Callable[[object], object]) -> object:
        """What an object has; else what `make` gives for it, attached.

        However many threads ask at once, `make` is called by one of them, and the others wait.  What it raises leaves
        nothing behind, and the next one tries again.  Raises :class:`StateError` where waiting would have no end.
        """
        value = self.get(owner)
        return value if value is not ABSENT else self._made(owner, make)

    def _made(self, owner: object, make: Callable[[object], object]) -> object:
        key = id(self), id(owner)
        mine = _Making(get_ident())
        try:
            while (found := _making.setdefault(key, mine)) is not mine:
                _wait(found, self.label)
                value = self.get(owner)
                if value is not ABSENT:
                    return value
            value = self.get(owner)  # it may have been made between the look and this moment
            if value is not ABSENT:
                return value
            try:
                value = make(owner)
            except AttributeError as error:
                # From a descriptor it would mean that there is no such attribute, and a class may answer for that.
                raise StateError(
                    f"the default of {self.label} could not be made",
                    found=f"AttributeError: {error}",
                    expected="a factory that returns a value",
                    action="mend the factory; nothing was attached",
                ) from error
            return self._keep(owner, value)
        finally:
            if _making.get(key) is mine:
                del _making[key]
            mine.done.release()

    def put(self, owner: object, value: object) -> None:
        """Attach a value in the place of what an object has, if anything."""
        names = self._names(owner)
        if self._closed:
            return
        if names is not None and has_weak_references(type(owner)):
            self.inside[id(owner)] = _weakly(self.inside, owner, None)
            names[self.attribute] = value
            return
        entry = self._entry(owner, value)
        if entry.value is not value:
            entry.value = value

    def free(self, owner: object) -> bool:
        """Take away what an object has; say whether there was anything."""
        names = self._names(owner)
        self.inside.pop(id(owner), None)
        if names is not None and names.pop(self.attribute, ABSENT) is not ABSENT:
            return True
        entry = self.entries.get(id(owner))
        if entry is None or entry() is not owner:
            return False
        return self.entries.pop(id(owner), None) is not None

    def free_all(self) -> int:
        """Take away what was attached, and what has been put in its place, from all objects; give their number."""
        count = len(self)
        for entry in paced(list(self.inside.values())):
            owner = entry()
            names = self._names(owner) if owner is not None else None
            if names is not None:
                names.pop(self.attribute, None)
            self.inside.pop(entry.key, None)
        for entry in paced(list(self.entries.values())):
            self.entries.pop(entry.key, None)
        _holding.pop(id(self), None)
        return count

    def is_closed(self) -> bool:
        """Whether the patch is gone, so that nothing is attached any more."""
        return self._closed

    def close(self) -> int:
        """Take away all, for good: what still asks gets values that are attached to nothing."""
        self._closed = True
        return self.free_all()

    def _names(self, owner: object) -> dict[str, object] | None:
        """The object's own ``__dict__``, if it has one and that is where the value belongs."""
        if not self.attribute:
            return None
        try:
            names = object.__getattribute__(owner, "__dict__")
        except AttributeError:
            return None
        return names if type(names) is dict else None

    def _keep(self, owner: object, value: object) -> object:
        names = self._names(owner)
        if self._closed or (get_ident(), id(owner)) in _letting_go:
            return value
        if names is not None and has_weak_references(type(owner)):
            entry = self.inside[id(owner)] = _weakly(self.inside, owner, None)
            kept = names.setdefault(self.attribute, value)
            if kept is not value:  # the program has given it one of its own meanwhile
                _died(entry)
            value = kept
        else:
            value = self._entry(owner, value).value
        if self.is_closed():  # meanwhile
            self.free(owner)
        return value

    def _entry(self, owner: object, value: object) -> Entry:
        """The entry that is there, or a new one with `value`."""
        check_attachable(owner)
        key = id(owner)
        stale = self.entries.get(key)
        if stale is not None and stale() is not owner:
            self.entries.pop(key, None)
        if has_weak_references(type(owner)):
            if len(self.entries) >= 2 * self._looked + 64:
                self._drop_dead()
            return self.entries.setdefault(key, _weakly(self.entries, owner, value))
        if len(self.entries) >= 2 * self._looked + 64:
            self.let_go()
        entry = self.entries.setdefault(key, _Held(owner, value))
        if _holding.setdefault(id(self), self) is self and _at_collections not in gc.callbacks:
            gc.callbacks.append(_at_collections)
        return entry

    def _drop_dead(self) -> None:
        """A collection may clear references that were made in a finalizer without telling."""
        for entry in list(self.entries.values()):
            if entry() is None and self.entries.get(entry.key) is entry:
                del self.entries[entry.key]
        self._looked = len(self.entries)

    def let_go(self) -> None:
        """Let go of the objects that are held here and nowhere else."""
        for entry in list(self.entries.values()):
            if type(entry) is _Held and _references(entry) <= _ALONE and self.entries.get(entry.key) is entry:
                # Its finalizer may ask for the value: that must not hold it again.
                mark = get_ident(), entry.key
                _letting_go.add(mark)
                try:
                    del self.entries[entry.key]
                    entry.held = None
                finally:
                    _letting_go.discard(mark)
        self._looked = len(self.entries)


# One thread makes a value


class _Making:
    """A value that is being made, and the thread that makes it."""

    __slots__ = ("done", "thread")

    def __init__(self, thread: int) -> None:
        self.thread = thread
        self.done = threading.Lock()
        self.done.acquire()


_making: dict[tuple[int, int], _Making] = {}
_waiting: dict[int, _Making] = {}
"""By thread, what it waits for."""


def _wait(found: _Making, label: str) -> None:
    """Wait until a value is made, or was not.  Raises :class:`StateError` if this thread is waited for in turn."""
    me = get_ident()
    _waiting[me] = found
    try:
        seen: set[int] = set()
        other: _Making | None = found
        while other is not None and id(other) not in seen:
            if other.thread == me:
                raise StateError(
                    f"the default of {label} is asked for while it is made",
                    found="a factory that reads the value that it is to give"
                    if other is found
                    else "factories in two threads, each of which reads what the other one makes",
                    expected="factories that need no value that is being made",
                    action="make the value of what is known before",
                )
            seen.add(id(other))
            other = _waiting.get(other.thread)
        with found.done:
            pass
    finally:
        _waiting.pop(me, None)


def _after_fork() -> None:
    """In a child: what other threads were making, nobody makes any more."""
    me = get_ident()
    for key, making in list(_making.items()):
        if making.thread != me:
            del _making[key]
    _waiting.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# Objects that are held


_holding: dict[int, Attached] = {}
"""The variables that hold objects, by id."""
_letting_go: set[tuple[int, int]] = set()
"""The thread, and the id of the object, where one is let go of at this moment."""
_next_look = [0.0]
_RARELY = 50  # at most a fiftieth of the time goes into looking


def _references(entry: _Held) -> int:
    return sys.getrefcount(entry.held)


_ALONE = _references(_Held(object(), None))


def _at_collections(phase: str, _: dict[str, int]) -> None:
    if phase != "stop" or not _holding or time.monotonic() < _next_look[0]:
        return
    begun = time.monotonic()
    for attached in list(_holding.values()):
        attached.let_go()
        if not any(type(entry) is _Held for entry in list(attached.entries.values())):
            _holding.pop(id(attached), None)
    ended = time.monotonic()
    _next_look[0] = ended + (ended - begun) * _RARELY
