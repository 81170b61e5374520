"""Which methods of a class are abstract once a patch is in: what ``ABCMeta`` finds on making it.  Writes nothing.

It is asked of a class by a name of its own, ``__abstractmethods__``, that nothing computes again; so a method that
becomes abstract, or no longer is, changes that of its class and of the classes that derive from it.
"""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

from livepatch.contents.changes import Target
from livepatch.engine.bases import linear
from livepatch.engine.locate import resolve
from livepatch.engine.namespaces import is_a, is_class, is_function, namespace_of, with_subclasses
from livepatch.engine.pace import paced
from livepatch.engine.places import dict_of
from livepatch.engine.refusal import Place, Refusal
from livepatch.engine.stack import ABSENT, Slot
from livepatch.engine.wrapping import unwritable

__all__ = ["ANSWERS", "abstract_methods", "changes_answers"]

_MARK = "__isabstractmethod__"
_NAME = "__abstractmethods__"


_HOOKS = frozenset({"__subclasshook__", "__instancecheck__", "__subclasscheck__"})


def changes_answers(values: Mapping[Slot, object], originals: Mapping[Slot, object]) -> bool:
    """Whether ``isinstance`` and ``issubclass`` may say otherwise of an abstract class under `values`.

    It may go by which names a class has, by its bases, and by hooks.
    """
    for slot, value in values.items():
        if slot.kind == "class":
            if slot.name == "__bases__" or slot.name in _HOOKS or ABSENT in (value, originals[slot]):
                return True
        elif slot.name == "__code__" and is_function(slot.owner) and slot.owner.__name__ in _HOOKS:
            return True
    return False


_REMEMBERING = frozenset({"_abc_impl", "_abc_cache"})  # what the C and the Python version keep them in


class _Answers:
    """What abstract classes remember of what they have been asked."""

    def cache_clear(self) -> None:
        """Let them find it out again."""
        for kind in with_subclasses(object):
            if ABCMeta in type(kind).__mro__ and not _REMEMBERING.isdisjoint(namespace_of(kind)):  # it is made
                ABCMeta._abc_caches_clear(kind)  # type: ignore[attr-defined]  # of both versions, C and Python


ANSWERS = _Answers()


def abstract_methods(
    values: Mapping[Slot, object], modules: dict[str, ModuleType]
) -> Iterator[tuple[type, frozenset[str] | Refusal]]:
    """The classes whose abstract methods are others under `values`: with what they are, or why they cannot be."""
    touched: dict[type, None] = {}
    for slot in values:
        owner = slot.owner
        if slot.kind == "class" and is_class(owner):
            touched[owner] = None
        elif slot.name == _MARK and is_function(owner):
            place = resolve(Target(owner.__module__, owner.__qualname__.rpartition(".")[0]), modules)
            if isinstance(place, Place) and is_class(place.value):
                touched[place.value] = None
    concerned = dict.fromkeys(each for kind in touched for each in with_subclasses(kind))
    was, shall = _View({}), _View(values)
    for kind in paced(sorted(concerned, key=lambda each: len(each.__mro__))):
        held = namespace_of(kind).get(_NAME)
        if type(held) is not frozenset:
            continue  # not made by ABCMeta
        before, after = was.of(kind), shall.of(kind)
        if after in (before, held):
            continue
        yield kind, (unwritable(kind, _NAME) or _differs(kind, held, before)) or after


def _differs(kind: type, held: frozenset[str], before: frozenset[str]) -> Refusal | None:
    if held == before:
        return None
    return Refusal(
        "value-differs-from-before",
        f"{kind.__qualname__} has the abstract methods {', '.join(sorted(held)) or 'none'}",
        f"those that its methods say: {', '.join(sorted(before)) or 'none'}",
        "find out who set them, or restart with the fix",
    )


class _View:
    """Classes as they are under a few writes."""

    def __init__(self, values: Mapping[Slot, object]) -> None:
        self._values = {
            (slot.owner_id, slot.name): value
            for slot, value in values.items()
            if slot.kind == "class" or (slot.kind == "function" and slot.name == _MARK)
        }
        self._names: dict[type, set[str]] = {}
        for slot in values:
            owner = slot.owner
            if slot.kind == "class" and is_class(owner):
                self._names.setdefault(owner, set()).add(slot.name)
        self._known: dict[type, frozenset[str]] = {}

    def of(self, kind: type) -> frozenset[str]:
        """The abstract methods of a class."""
        if kind not in self._known:
            own = {*namespace_of(kind), *self._names.get(kind, ())}
            found = {name for name in own if self._is_abstract(kind, name, self._own(kind, name))}
            for base in self._bases(kind):
                if type(namespace_of(base).get(_NAME)) is frozenset:
                    found |= {name for name in self.of(base) if self._is_abstract(kind, name, self._found(kind, name))}
            self._known[kind] = frozenset(found)
        return self._known[kind]

    def _bases(self, kind: type) -> tuple[type, ...]:
        bases: Any = self._values.get((id(kind), "__bases__"), kind.__bases__)
        return bases  # type: ignore[no-any-return]  # what a slot of that name holds

    def _order(self, kind: type) -> tuple[type, ...]:
        if not any((id(each), "__bases__") in self._values for each in kind.__mro__):
            return kind.__mro__
        bases = self._bases(kind)
        return kind, *(linear([list(self._order(base)) for base in bases] + [list(bases)]) or kind.__mro__[1:])

    def _own(self, kind: type, name: str) -> object:
        return self._values.get((id(kind), name), namespace_of(kind).get(name, ABSENT))

    def _found(self, kind: type, name: str) -> object:
        return next((value for each in self._order(kind) if (value := self._own(each, name)) is not ABSENT), ABSENT)

    def _is_abstract(self, kind: type, name: str, value: object) -> bool:
        """Whether a member says that it is abstract.  No code of the program is asked."""
        if is_a(value, property):
            return any(self._marked(each) for each in (value.fget, value.fset, value.fdel))
        if is_a(value, classmethod) or is_a(value, staticmethod):
            return self._is_abstract(kind, name, value.__func__)
        if is_function(value) or value is ABSENT:
            return self._marked(value)
        own = (dict_of(value) or {}).get(_MARK, ABSENT)
        if own is ABSENT:
            own = next((namespace_of(c)[_MARK] for c in type(value).__mro__ if _MARK in namespace_of(c)), ABSENT)
        if type(own) is property and type(value).__module__ == "functools":
            own = getattr(value, _MARK)
        if own is ABSENT or type(own) is bool:
            return own is True
        return name in (namespace_of(kind).get(_NAME) or ())  # it cannot be told: as it is

    def _marked(self, function: object) -> bool:
        if type(function) is not FunctionType:
            return False
        mark = self._values.get((id(function), _MARK), (dict_of(function) or {}).get(_MARK))
        return mark is not ABSENT and bool(mark)
